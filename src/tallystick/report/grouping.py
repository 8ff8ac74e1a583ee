"""Usage grouped by what requests have in common: one pass, and a row for each group."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.clock import timestamp
from tallystick.ledger import Rollup
from tallystick.report.period import sent_at
from tallystick.report.totals import Totals
from tallystick.usage import RequestUsage

Value = str | int | None
"""What a group has in common; None where its requests have no such thing."""

_FIELDS = (
    "model",
    "provider",
    "agent",
    "turn",
    "customer",
    "user",
    "project",
    "session",
    "status",
    "outcome",
    "service_tier",
)

KEYS = (*_FIELDS, "run", "day", "hour")
"""What usage can be grouped by, beside tags. `run` is the name of the top-level run."""

_TIMES = {"day": 10, "hour": 13}
"""The keys that are times, and how much of an ISO moment each is."""

_TAG = "tag:"


@dataclass(frozen=True, slots=True)
class Key:
    """One thing to group by: one of `KEYS`, or a tag."""

    name: str
    is_tag: bool = False


def read_keys(text: str) -> tuple[Key, ...]:
    """Return the keys that a list such as ``model,agent,tier`` names.

    A name that is not one of `KEYS` is a tag. ``tag:day`` is the tag of the name `day`.

    Raises:
        ValueError: there is none, an empty one, or one twice.
    """
    names = [name.strip() for name in text.split(",")]
    if not all(name.removeprefix(_TAG) for name in names):
        raise ValueError(f"{text!r} lacks a name; give any of {', '.join(KEYS)} or a tag")
    keys = tuple(
        Key(name.removeprefix(_TAG), is_tag=name.startswith(_TAG) or name not in KEYS)
        for name in names
    )
    if len(set(keys)) < len(keys):
        raise ValueError(f"{text!r} names a key twice")
    return keys


@dataclass(frozen=True, slots=True)
class ReportRow:
    """The usage of one group."""

    key: tuple[Value, ...]
    """The group's value for each key of the report."""
    totals: Totals


@dataclass(frozen=True, slots=True)
class Report:
    """Usage by group, dearest first; or in order of time where the first key is a time."""

    keys: tuple[Key, ...]
    rows: tuple[ReportRow, ...]
    total: Totals
    """All requests, those of groups that have no row included."""
    absent_tags: tuple[str, ...]
    """The tags among the keys that not one request has: most likely typing errors."""
    repriced: int = 0
    """How many requests have a price that was made later."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        names = column_names(self.keys)
        return {
            "by": list(names),
            "rows": [
                {"key": dict(zip(names, row.key, strict=True)), **row.totals.to_dict()}
                for row in self.rows
            ],
            "total": self.total.to_dict(),
            "repriced": self.repriced,
        }


def column_names(keys: Sequence[Key]) -> tuple[str, ...]:
    """Return a name for each key; a tag called like another key has ``tag:`` before it."""
    plain = [key.name for key in keys]
    return tuple(
        _TAG + key.name
        if key.is_tag and (key.name in KEYS or plain.count(key.name) > 1)
        else key.name
        for key in keys
    )


def suggestion(tag: str) -> str | None:
    """Return the key that somebody who typed the name of an absent tag may have meant."""
    close = difflib.get_close_matches(tag, KEYS, n=1)
    return close[0] if close else None


def group(
    entries: Iterable[RequestUsage],
    keys: Sequence[Key],
    run_names: Mapping[str, str] | None = None,
    *,
    rollups: Iterable[Rollup] = (),
    repriced: int = 0,
) -> Report:
    """Group entries; each is read once and not kept.

    Args:
        entries: the requests.
        keys: what to group by.
        run_names: for the key `run`, the name of the top-level run of each run, by its id.
        rollups: what other requests come to, by the same keys.
        repriced: how many of the entries have a price that was made later.
    """
    readers = [_reader(key, run_names or {}) for key in keys]
    groups: dict[tuple[Value, ...], Totals] = {}
    for rollup in rollups:
        groups[_rolled_up(rollup.key, keys)] = Totals.of(rollup)
        repriced += rollup.repriced
    for entry in entries:
        record = entry.record
        value = tuple([read(record) for read in readers])
        totals = groups.get(value)
        if totals is None:
            totals = groups[value] = Totals()
        totals.count(entry)
    total = Totals()
    for totals in groups.values():
        total.add(totals)
    # What was never sent is no usage: it has a row only where the rows tell it apart.
    tells_apart = any(key.name in ("status", "outcome") and not key.is_tag for key in keys)
    rows = [
        ReportRow(value, totals)
        for value, totals in groups.items()
        if tells_apart or totals.requests or totals.held
    ]
    rows.sort(key=_by_time if keys[0].name in _TIMES and not keys[0].is_tag else _by_cost)
    absent = tuple(
        key.name
        for index, key in enumerate(keys)
        if key.is_tag and groups and all(value[index] is None for value in groups)
    )
    return Report(tuple(keys), tuple(rows), total, absent, repriced)


def _reader(key: Key, run_names: Mapping[str, str]) -> Callable[[Mapping[str, Any]], Value]:
    name = key.name
    if key.is_tag:
        return lambda record: record["tags"].get(name) if "tags" in record else None
    if name in _TIMES:
        length = _TIMES[name]
        return lambda record: _time(record.get("started_at"), length)
    if name == "run":
        return lambda record: run_names.get(record.get("run_id", ""))
    if name == "status":
        return lambda record: record.get("status", "settled")
    return lambda record: record.get(name)


def _rolled_up(values: Sequence[Value], keys: Sequence[Key]) -> tuple[Value, ...]:
    """Return the key of a rollup as that of a group: its times as text."""
    return tuple(
        _time(timestamp(value).isoformat(), _TIMES[key.name])
        if key.name in _TIMES and isinstance(value, int)
        else value
        for key, value in zip(keys, values, strict=True)
    )


def _time(started_at: str | None, length: int) -> str | None:
    """Return the UTC day or hour of an ISO moment."""
    if started_at is None:
        return None
    if not started_at.endswith("+00:00"):
        moment = sent_at(RequestUsage(started_at=started_at))
        if moment is None:
            return None
        started_at = timestamp(moment).isoformat()
    text = started_at[:length]
    return text if length == _TIMES["day"] else f"{text[:10]} {text[11:]}:00"


def _key_order(value: Sequence[Value]) -> tuple[tuple[bool, int, str], ...]:
    return tuple((item is None, item if isinstance(item, int) else 0, str(item)) for item in value)


def _by_cost(row: ReportRow) -> tuple[Any, ...]:
    totals = row.totals
    return (
        -totals.cost_nanodollars,
        -totals.counts["total_tokens"],
        -totals.requests,
        _key_order(row.key),
    )


def _by_time(row: ReportRow) -> tuple[Any, ...]:
    return (_key_order(row.key[:1]), *_by_cost(row))
