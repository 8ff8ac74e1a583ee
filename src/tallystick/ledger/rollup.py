"""Hourly rollups: what they can be asked for, and the statement that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

SUBJECT_COLUMNS = (
    "provider",
    "model",
    "agent",
    "service_tier",
    "customer",
    "project",
)
"""What rollups tell requests apart by, beside the hour in which they were sent."""

HOUR = 3_600_000_000_000
"""An hour in nanoseconds."""

_TIMES = {
    "hour": f"hour * {HOUR}",
    "day": f"(hour / 24 - (hour % 24 < 0)) * {24 * HOUR}",
}
ROLLUP_KEYS = (*SUBJECT_COLUMNS, *_TIMES)
"""What rollups can be grouped by."""

HOUR_OF = f"started_at / {HOUR} - (started_at % {HOUR} < 0)"
"""The hour of an entry, counted from 1970-01-01 00:00 UTC. Of a time before that, SQLite's `/`
cuts off upwards."""

_FOREVER = 2**63 - 1

NUMBERS = (
    "SELECT min(first), max(last) FROM ("  # noqa: S608
    "SELECT min(first_number) AS first, max(last_number) AS last FROM rollups "
    f"WHERE hour >= ? / {HOUR} - 1 AND hour <= ? / {HOUR} UNION ALL "
    "SELECT min(number), max(number) FROM entries "
    "WHERE status = 'held' AND started_at >= ? AND started_at < ?)"
)
"""Reads between which numbers the entries of a period lie; both are NULL where it has none. Its
bounds are asked for twice."""


@dataclass(frozen=True, slots=True)
class Rollup:
    """What the requests of a group come to. Sums are of what is known, at the price of today."""

    key: tuple[str | int | None, ...]
    """The value of each key that was asked for; of an hour or a day its first nanosecond."""
    requests: int
    """Requests that are settled or in doubt."""
    released: int
    """Requests that were never sent; in no other number here."""
    in_doubt: int
    estimated: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    total_tokens: int
    input_unknown: int
    """How many of `requests` did not say their input tokens."""
    cached_unknown: int
    cache_write_unknown: int
    output_unknown: int
    reasoning_unknown: int
    total_unknown: int
    cost_nanodollars: int
    cost_unpriced: int
    """How many of `requests` have no price."""
    cost_estimated: int
    repriced: int
    """How many of `requests` have a price that was made later."""
    held: int
    """Requests that are out and have not ended; in no other number here."""


SUM_COLUMNS = tuple(column.name for column in fields(Rollup) if column.name not in ("key", "held"))
"""The columns of `rollups` that are sums over entries, in the order of `Rollup`. What is held is
in no rollup, and counted when it is asked for."""


Bounds = tuple[int | None, int | None]
"""From when until before when, in nanoseconds; None is open."""


def split(since: int | None, until: int | None) -> tuple[Bounds | None, list[Bounds]]:
    """Return the whole hours of a period, None where it has none, and what is left at its ends."""
    first = None if since is None else -(-since // HOUR) * HOUR
    end = None if until is None else until // HOUR * HOUR
    if first is not None and end is not None and first >= end:
        return None, [(since, until)]
    edges = [(since, first)] if since != first else []
    return (first, end), edges + ([(end, until)] if until != end else [])


def statement(by: Sequence[str], since: int | None, until: int | None) -> tuple[str, list[Any]]:
    """Return what reads rollups grouped by `by`: one statement, so that all is of one moment.

    The rows have the keys and then the columns of `Rollup`, `held` last.

    Raises:
        ValueError: a key is none of `ROLLUP_KEYS`, or a bound lies inside an hour.
    """
    for name in by:
        if name not in ROLLUP_KEYS:
            raise ValueError(f"rollups do not know {name!r}; they know {', '.join(ROLLUP_KEYS)}")
    for moment in (since, until):
        if moment is not None and moment % HOUR:
            raise ValueError(f"a rollup is of a whole hour, and {moment} lies inside one")
    bounds = [
        -_FOREVER if since is None else since // HOUR,
        _FOREVER if until is None else until // HOUR,
    ]
    times = [name for name in by if name in _TIMES]
    keys = [f'"{name}"' for name in by]
    totals = [f"ifnull(sum({name}), 0)" for name in (*SUM_COLUMNS, "held")]
    summed = [f"{_TIMES[name]} AS {name}" for name in times]
    summed += [f"sum({name}) AS {name}" for name in SUM_COLUMNS]
    held = [f"{_TIMES[name]} AS {name}" if name in times else f'"{name}"' for name in by]
    held += ["0"] * len(SUM_COLUMNS)
    # Hours are summed by subject before their names are looked up: subjects are few.
    sql = (
        f"SELECT {', '.join([*keys, *totals])} FROM ("  # noqa: S608
        f"SELECT {', '.join([*keys, *SUM_COLUMNS])}, 0 AS held FROM ("
        f"SELECT subject_id, {', '.join(summed)} FROM rollups WHERE hour >= ? AND hour < ? "
        f"GROUP BY {', '.join(['subject_id', *times])}) "
        "JOIN subjects ON subjects.id = subject_id "
        f"UNION ALL SELECT {', '.join(held)}, 1 FROM "
        f"(SELECT *, {HOUR_OF} AS hour FROM entries WHERE status = 'held') "
        "WHERE hour >= ? AND hour < ?)"
    )
    if by:
        sql += f" GROUP BY {', '.join(keys)}"
    return sql, bounds * 2
