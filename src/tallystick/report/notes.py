"""Footnotes: why figures of a run are missing, estimated or in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tallystick.clock import timestamp
from tallystick.ledger import Adjustment
from tallystick.usage import RequestUsage

Kind = Literal[
    "in_doubt",
    "held",
    "released",
    "unpriced",
    "cost_estimated",
    "estimated",
    "anomaly",
    "repriced",
]


@dataclass(frozen=True, slots=True)
class Note:
    """A reason, and how many requests it is true of."""

    number: int
    """From 1, in order of first appearance."""
    kind: Kind
    text: str
    requests: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "number": self.number,
            "kind": self.kind,
            "text": self.text,
            "requests": self.requests,
        }


_OF_THE_COUNTS = (None, "the counts are an estimate")
"""Why a price is an estimate where nothing but its counts is: then the counts have a note."""


class Notes:
    """Collects the reasons of one request after the other; each reason is noted once."""

    __slots__ = ("_numbers", "_requests")

    def __init__(self) -> None:
        self._numbers: dict[tuple[Kind, str], int] = {}
        self._requests: list[int] = []

    def mark(self, entry: RequestUsage, adjustment: Adjustment | None = None) -> tuple[int, ...]:
        """Note the reasons of an entry, and whether its price was made later; return numbers."""
        numbers = []
        found = reasons(entry)
        if adjustment is not None:
            day = timestamp(adjustment.made_at).date().isoformat()
            found.append(("repriced", f"the price was made on {day}, by {adjustment.rule}"))
        for reason in dict.fromkeys(found):
            number = self._numbers.setdefault(reason, len(self._numbers) + 1)
            if number > len(self._requests):
                self._requests.append(0)
            self._requests[number - 1] += 1
            numbers.append(number)
        return tuple(numbers)

    def all(self) -> tuple[Note, ...]:
        """Return the notes, in order of their numbers."""
        return tuple(
            Note(number, kind, text, self._requests[number - 1])
            for (kind, text), number in self._numbers.items()
        )


def reasons(entry: RequestUsage) -> list[tuple[Kind, str]]:
    """Return what is missing or uncertain about an entry, each with its reason."""
    found: list[tuple[Kind, str]] = []
    status = entry.status
    why = entry.error_type or entry.outcome
    if status == "held":
        text = "not finished: it is still running, or its process ended and was not yet recovered"
        return [("held", text)]
    if status == "released":
        found.append(("released", f"never sent ({why})" if why else "never sent"))
        return found
    if status == "in_doubt":
        what = "sent, and what it used was never reported"
        counts = "; its counts are estimates" if entry.estimated else ""
        found.append(("in_doubt", f"{what}{f' ({why})' if why else ''}{counts}"))
    elif entry.estimated:
        found.append(("estimated", "the provider reported no counts; they are estimates"))
    reason = entry.price_reason
    if entry.cost_nanodollars is None:
        found.append(("unpriced", reason or f"no price is known for {entry.model or 'its model'}"))
    elif entry.cost_estimated and not (entry.estimated and reason in _OF_THE_COUNTS):
        found.append(("cost_estimated", reason or "its price rests on an estimate"))
    found.extend(("anomaly", str(anomaly)) for anomaly in entry.anomalies)
    return found
