"""What reports read from a ledger: entries of a period, runs and their trees, one at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from tallystick.errors import NotFound
from tallystick.ledger import ROLLUP_KEYS, Ledger, RunRow, split
from tallystick.report.grouping import Key, Report, group
from tallystick.report.listing import RunSummary, shortest_ids, summarise
from tallystick.report.period import Period
from tallystick.report.waterfall import Waterfall, waterfall
from tallystick.usage import RequestUsage

LAST = "last"
"""What stands for the run that started last, in place of an id."""

_NEIGHBOURHOOD = 70 * 1_000_000_000
"""An id begins with its milliseconds in hex, so the first eight digits change every 65.5
seconds: a run that began longer before another than this cannot begin like it."""


def entries_within(ledger: Ledger, period: Period) -> Iterator[RequestUsage]:
    """Yield every entry that was sent in a period, of every status, at the price it has by now."""
    return ledger.entries_between(period.since, period.until, adjusted=True)


def usage_within(ledger: Ledger, period: Period, keys: Sequence[Key]) -> Report:
    """Return the usage of a period by group, at the prices of today.

    Of whole hours the rollups say it, as far as they tell requests apart by these keys. Entries
    are read where they do not, and for what the period has of an hour at its ends.
    """
    whole, edges = split(period.since, period.until)
    if any(key.is_tag or key.name not in ROLLUP_KEYS for key in keys):
        whole, edges = None, [(period.since, period.until)]
    return group(
        itertools.chain.from_iterable(
            ledger.entries_between(since, until, adjusted=True) for since, until in edges
        ),
        keys,
        top_run_names(ledger) if Key("run") in keys else None,
        rollups=() if whole is None else ledger.rollups([key.name for key in keys], *whole),
        repriced=sum(ledger.repriced_between(since, until) for since, until in edges),
    )


def top_run_names(ledger: Ledger) -> dict[str, str]:
    """Return, by the id of each run, the name of the run at the top of its tree."""
    runs = ledger.runs()
    names = {run.id: run.name for run in runs}
    return {run.id: names.get(run.root_id, run.name) for run in runs}


def latest_runs(
    ledger: Ledger, period: Period, *, limit: int, customer: str | None = None
) -> list[RunSummary]:
    """Return the newest top-level runs, newest first, with what each tree used.

    Args:
        ledger: where they are.
        period: only runs that started in it.
        limit: at most so many.
        customer: only runs that are for this customer.
    """
    narrowed = customer is not None or period.until is not None
    runs = [
        run
        for run in ledger.runs(limit=None if narrowed else limit, since=period.since, top=True)
        if (customer is None or run.attribution.customer == customer)
        and period.holds(run.started_at)
    ][:limit]
    if not runs:
        return []
    oldest = min(run.started_at for run in runs)
    ids = [run.id for run in ledger.runs(since=oldest - _NEIGHBOURHOOD)]
    short = shortest_ids(ids)
    return [
        summarise(run, ledger.entries(run.id, adjusted=True), short_id=short[run.id])
        for run in runs
    ]


def find_run(ledger: Ledger, name: str) -> RunRow:
    """Return the run that `name` stands for: its id, the beginning of it, or ``last``.

    Raises:
        NotFound: there is none, or several begin so.
    """
    if name != LAST:
        return ledger.run(name)
    runs = ledger.runs(limit=1, top=True)
    if not runs:
        raise NotFound(f"{ledger.url} holds no run yet")
    return runs[0]


def waterfall_of(ledger: Ledger, run: RunRow) -> Waterfall:
    """Return the waterfall of a run and of the runs inside it."""
    entries = ledger.entries(run.id, adjusted=True)
    adjustments = ledger.adjustments(run_id=run.id)
    return waterfall(run, entries, ledger.descendants(run.id), adjustments)
