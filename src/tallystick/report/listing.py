"""Runs, one line each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.clock import timestamp
from tallystick.ledger import RunRow
from tallystick.report.totals import Totals
from tallystick.usage import RequestUsage

_SHORTEST = 8
"""How many digits a short id has at least."""


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run, and what it and the runs inside it used."""

    run: RunRow
    short_id: str
    """The beginning of its id that no other run shares, without ``run_``."""
    totals: Totals

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {**run_dict(self.run), "usage": self.totals.to_dict()}


def summarise(run: RunRow, entries: Iterable[RequestUsage], *, short_id: str) -> RunSummary:
    """Return a run with the totals of its entries."""
    totals = Totals()
    for entry in entries:
        totals.count(entry)
    return RunSummary(run, short_id, totals)


def seconds_taken(run: RunRow) -> float | None:
    """Return how long a run took, or None where it is open or its clock went backwards."""
    if run.ended_at is None or run.ended_at < run.started_at:
        return None
    return (run.ended_at - run.started_at) / 1e9


def run_dict(run: RunRow) -> dict[str, Any]:
    """Return a JSON-safe dict of a run; moments are ISO 8601 in UTC."""
    who = run.attribution
    return {
        "id": run.id,
        "parent_id": run.parent_id,
        "root_id": run.root_id,
        "name": run.name,
        "host": run.host,
        "started_at": timestamp(run.started_at).isoformat(),
        "ended_at": None if run.ended_at is None else timestamp(run.ended_at).isoformat(),
        "duration_seconds": seconds_taken(run),
        "outcome": run.outcome,
        "customer": who.customer,
        "user": who.user,
        "project": who.project,
        "session": who.session,
        "tags": dict(who.tags),
    }


def shortest_ids(ids: Sequence[str]) -> dict[str, str]:
    """Return for each id its shortest beginning that no other of `ids` has, without ``run_``.

    All are of one length, so that they make a column.
    """
    ordered = sorted(identity.removeprefix("run_") for identity in ids)
    length = _SHORTEST
    for left, right in itertools.pairwise(ordered):
        pairs = enumerate(zip(left, right, strict=False))
        differing = next((place for place, (one, other) in pairs if one != other), len(left))
        length = max(length, differing + 1)
    return {identity: identity.removeprefix("run_")[:length] for identity in ids}
