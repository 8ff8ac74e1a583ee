"""`Reconciliation`: how a request in doubt came to its end, and the statements that write it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tallystick.ledger.entry import CHANGING, COUNT_COLUMNS, encode, encode_raw_usage, storable
from tallystick.ledger.holding import Execute
from tallystick.ledger.store import Query, Reconcile


class Reconciliation(NamedTuple):
    """How a request in doubt came to its end: by whom or what, and what they went by."""

    number: int
    """Its place among all reconciliations."""
    entry_id: str
    made_at: int
    """When, in nanoseconds since 1970-01-01 UTC."""
    status: Literal["settled", "released"]
    source: str
    """Who or what it was settled by, such as ``by hand`` or the name of an export."""
    detail: str
    """What they went by, in words."""
    previous: Mapping[str, Any]
    """The counts and the price that the entry had in doubt, by the names of its columns."""


COLUMNS = Reconciliation._fields
"""The columns of `reconciliations`, in the order of `Reconciliation`."""

_KEPT = (
    *COUNT_COLUMNS,
    "estimated",
    "cost_estimated",
    "price_book",
    "price_rule",
    "price_reason",
)
_BEFORE = (
    f"SELECT duration, {', '.join(_KEPT)} FROM entries "  # noqa: S608
    "WHERE id = ? AND status = 'in_doubt'"
)
# What was seen of the response before it broke off stays, where nothing better is known; so does
# the moment at which the request ended, because the trail has the one at which it was settled.
_CHANGES = ", ".join(f'"{name}" = ?' for name in CHANGING)
_END = (
    "UPDATE entries SET status = ?, raw_usage = ifnull(?, raw_usage), "  # noqa: S608
    f"{_CHANGES} WHERE id = ? AND status = 'in_doubt'"
)
_TRAIL = (
    "INSERT INTO reconciliations (entry_id, made_at, status, source, detail, previous) "
    "VALUES (?, ?, ?, ?, ?, ?)"
)
_SAME = (
    "SELECT 1 FROM reconciliations "
    "WHERE entry_id = ? AND made_at = ? AND status = ? AND source = ? AND detail = ?"
)


def reconcile(execute: Execute, operation: Reconcile, *, again: bool) -> bool:
    """End an entry in doubt and write its trail; the caller undoes both where one fails.

    Returns:
        Whether it did. With `again` also whether this very operation was done before.
    """
    entry = operation.entry
    trail = storable(
        (entry.id, operation.made_at, entry.status, operation.source, operation.detail)
    )
    before = execute(_BEFORE, (entry.id,)).fetchone()
    if before is None:
        return again and execute(_SAME, trail).fetchone() is not None
    duration, *kept = before
    previous = {name: value for name, value in zip(_KEPT, kept, strict=True) if value is not None}
    raw_usage = encode_raw_usage(operation.raw_usage)
    execute(_END, storable((entry.status, raw_usage, *encode(entry, duration), entry.id)))
    execute(_TRAIL, (*trail, json.dumps(previous, separators=(",", ":"))))
    return True


def reconciliation_problems(query: Query) -> Iterator[str]:
    """Say which reconciliations are not how their entries ended; for `verify`."""
    for number, entry_id, said, found in query(
        "SELECT reconciliations.number, entry_id, reconciliations.status, "
        "ifnull(entries.status, 'not there') "
        "FROM reconciliations LEFT JOIN entries ON entries.id = entry_id "
        "WHERE entries.status IS NOT reconciliations.status ORDER BY reconciliations.number"
    ):
        yield f"reconciliation {number} says that entry {entry_id} is {said}, and it is {found}"


def reconciliation_of(row: Sequence[Any]) -> Reconciliation:
    """Return a reconciliation from a row of `COLUMNS`."""
    made = Reconciliation(*row)
    return made._replace(previous=MappingProxyType(json.loads(row[-1])))
