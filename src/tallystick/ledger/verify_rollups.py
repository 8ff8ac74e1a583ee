"""Whether the hourly rollups are what their entries come to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tallystick.ledger.rollup import HOUR_OF, SUBJECT_COLUMNS, SUM_COLUMNS
from tallystick.ledger.store import Query

_ENDED = "status IN ('settled', 'in_doubt')"

_SUBJECT = ", ".join(f'"{name}"' for name in SUBJECT_COLUMNS)

_RECOMPUTED = {
    "requests": f"sum({_ENDED})",
    "released": "sum(status = 'released')",
    "in_doubt": "sum(status = 'in_doubt')",
    "estimated": f"sum({_ENDED} AND coalesce(estimated, 0) = 1)",
    "cost_unpriced": f"sum({_ENDED} AND cost_nanodollars IS NULL)",
    "cost_estimated": (
        f"sum({_ENDED} AND cost_nanodollars IS NOT NULL AND coalesce(cost_estimated, 0) = 1)"
    ),
    "repriced": (
        "sum(EXISTS (SELECT 1 FROM adjustments WHERE adjustments.entry_id = adjusted_entries.id "
        "AND adjustments.status = adjusted_entries.status))"
    ),
}
"""How each sum follows from the entries; what is not here is a sum or a count of unknowns."""

_ENTRIES = (
    f"SELECT {HOUR_OF} AS hour, {_SUBJECT}, min(number), max(number), "  # noqa: S608
    + ", ".join(
        _RECOMPUTED.get(name)
        or (
            f"sum({_ENDED} AND {name.removesuffix('_unknown')}_tokens IS NULL)"
            if name.endswith("_unknown")
            else f"coalesce(sum(CASE WHEN {_ENDED} THEN {name} END), 0)"
        )
        for name in SUM_COLUMNS
    )
    + f" FROM adjusted_entries WHERE status <> 'held' GROUP BY hour, {_SUBJECT}"
)
_KEPT = (
    f"SELECT hour, {_SUBJECT}, first_number, last_number, {', '.join(SUM_COLUMNS)} "  # noqa: S608
    "FROM rollups JOIN subjects ON subjects.id = subject_id"
)
_KEY = 1 + len(SUBJECT_COLUMNS)
_NOTHING = (0,) * len(SUM_COLUMNS)


def rollup_problems(query: Query) -> Iterator[str]:
    """Say where a rollup is not what its entries come to, at the prices of today."""
    expected = {tuple(row[:_KEY]): row[_KEY:] for row in query(_ENTRIES)}
    for row in query(_KEPT):
        key = tuple(row[:_KEY])
        # Of what was in doubt under other names, a rollup without entries may be left.
        first, last, *sums = row[_KEY:]
        least, most, *entries = expected.pop(key, (first, last, *_NOTHING))
        if not first <= least <= most <= last:
            yield (
                f"{_named(key)} has entries from number {least} to {most}, "
                f"and is said to have them from {first} to {last}"
            )
        for name, kept, total in zip(SUM_COLUMNS, sums, entries, strict=True):
            if kept != total:
                yield f"{_named(key)}: {name} is kept as {kept}, and its entries come to {total}"
    for key in expected:
        yield f"{_named(key)} has entries and no row"


def _named(key: tuple[Any, ...]) -> str:
    hour, *names = key
    who = ", ".join(
        f"{column} {name!r}"
        for column, name in zip(SUBJECT_COLUMNS, names, strict=True)
        if name is not None
    )
    return f"the rollup of hour {hour}{', ' if who else ''}{who}"
