"""A demonstration: the conversation, and what three parties counted of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tallystick.demo.comparison import (
    Count,
    ServerCount,
    count_of_entries,
    differences,
)
from tallystick.demo.conversation import Listener, Turn
from tallystick.demo.desk import Desk
from tallystick.demo.models import Source
from tallystick.integrations.openai_agents import HOST
from tallystick.tally import Tally
from tallystick.usage import RequestUsage, Usage


@dataclass(frozen=True)
class Line:
    """One request of a turn."""

    entry: RequestUsage
    nested: bool
    """Whether its agent ran inside another agent's run."""


@dataclass(frozen=True)
class Demonstration:
    """What happened and what was counted, read back from the ledger."""

    model: str
    run_id: str
    turns: tuple[tuple[Turn, tuple[Line, ...]], ...]
    usage: Usage
    """What Tallystick kept in the ledger."""
    sdk: Count
    """What the Agents SDK's own counters say of the same runs."""
    missed: dict[str, Count]
    """What is not in the SDK's counters, by the reason."""
    server: ServerCount
    differences: list[str]
    """Where the ledger and the server disagree; empty if nowhere."""
    seconds: float
    """How long the conversation took."""
    faults: int
    """How many things Tallystick could not do."""

    @property
    def counted(self) -> Count:
        """What Tallystick counted in all."""
        return count_of_entries(self.usage.request_usage_entries)

    @property
    def in_doubt(self) -> Count:
        """What of it is an estimate, because the server never told."""
        entries = self.usage.request_usage_entries
        return count_of_entries(entry for entry in entries if entry.status == "in_doubt")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe form."""
        return {
            "model": self.model,
            "run_id": self.run_id,
            "seconds": round(self.seconds, 3),
            "turns": [
                {
                    "title": turn.title,
                    "customer": turn.customer,
                    "way": turn.way,
                    "requests": [{"nested": line.nested, **line.entry.record} for line in lines],
                }
                for turn, lines in self.turns
            ],
            "cost": self.usage.cost.to_dict(),
            "counted": {
                "tallystick": self.counted.to_dict(),
                "tallystick_in_doubt": self.in_doubt.to_dict(),
                "sdk": self.sdk.to_dict(),
                "sdk_missed": {why: count.to_dict() for why, count in self.missed.items()},
                "server": {
                    "source": self.server.source,
                    **self.server.total.to_dict(),
                    "untold": self.server.untold.to_dict(),
                },
            },
            "differences": self.differences,
            "faults": self.faults,
        }


async def demonstrate(tally: Tally, source: Source, listener: Listener) -> Demonstration:
    """Have the conversation and read back what was counted.

    Args:
        tally: counts it; it tracks the Agents SDK already.
        source: the model, serving.
        listener: is told what happens while it happens.
    """
    started = time.monotonic()
    conversation = await Desk(source, listener).converse(tally)
    seconds = time.monotonic() - started
    server = await source.counted()
    tally.flush()
    ledger = tally.ledger
    run_id = conversation.run.id
    runs = {row.id: row for row in ledger.descendants(run_id)}

    def is_nested(entry: RequestUsage) -> bool:
        row = runs.get(entry.run_id or "")
        above = runs.get(row.parent_id or "") if row is not None else None
        return above is not None and above.host == HOST

    turns = tuple(
        (turn, tuple(Line(entry, is_nested(entry)) for entry in ledger.entries(turn_run.id)))
        for turn, turn_run in conversation.turns
    )
    entries = ledger.entries(run_id)
    return Demonstration(
        model=source.title,
        run_id=run_id,
        turns=turns,
        usage=ledger.usage(run_id),
        sdk=conversation.sdk,
        missed=_missed(turns, told_streams=source.asks_for_usage()),
        server=server,
        differences=differences(entries, server),
        seconds=seconds,
        faults=tally.faults,
    )


def _missed(
    turns: Iterable[tuple[Turn, tuple[Line, ...]]], *, told_streams: bool
) -> dict[str, Count]:
    """Return what the SDK's counters leave out, by the reason: what is known of the SDK.

    That it is all, is for the reader to see: the SDK's counters and these add up to the ledger.
    """
    missed: dict[str, Count] = {}

    def add(why: str, count: Count) -> None:
        missed[why] = missed.get(why, Count()) + count

    for turn, lines in turns:
        for line in lines:
            count = count_of_entries([line.entry])
            if line.entry.status == "in_doubt":
                add("cancelled", count)
            elif line.entry.outcome == "error":
                add("failed", count)
            elif line.nested:
                add("nested", count)
            elif turn.way != "asked" and not told_streams:
                # The SDK counts the request, and none of its tokens.
                add("streamed", count - Count(requests=1))
    return missed
