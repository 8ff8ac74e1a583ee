"""What can be read from a ledger: the same statements for every database."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tallystick.attribution import Attribution
from tallystick.clock import FIRST, LAST, checked
from tallystick.errors import NotFound
from tallystick.ledger.adjustment import COLUMNS, Adjustment, unpacked
from tallystick.ledger.balance import Amounts
from tallystick.ledger.entry import READING, decode
from tallystick.ledger.reading_budgets import BudgetReading
from tallystick.ledger.reconciliation import COLUMNS as RECONCILIATION_COLUMNS
from tallystick.ledger.reconciliation import Reconciliation, reconciliation_of
from tallystick.ledger.rollup import NUMBERS, Rollup, split, statement
from tallystick.ledger.store import TOTAL_COLUMNS, RunRow, RunTotals
from tallystick.ledger.verify import Verification, verify
from tallystick.usage import RequestUsage, Usage

_RUN_COLUMNS = (
    "id, parent_id, root_id, name, host, started_at, ended_at, outcome, "
    'customer, "user", project, session, tags'
)
_PAGE = 2_000

_ENTRY_COLUMNS = ", ".join(f'"{name}"' for name in READING)
_TREE = (
    "WITH RECURSIVE tree (id) AS (SELECT ? UNION "
    "SELECT runs.id FROM runs JOIN tree ON runs.parent_id = tree.id) "
)


_ADJUSTMENT_COLUMNS = ", ".join(f"adjustments.{name}" for name in COLUMNS)


class Reading(BudgetReading):
    """The part of a `Ledger` that reads. It never waits for those who write.

    Entries are given as they were written, and `usage` and `totals` are sums of those: a settled
    entry never changes, and both equal what the run showed while it ran. With ``adjusted=True``
    the price of each entry is that of its newest adjustment where it has one. The view
    `adjusted_entries` says so in one place, for every reader and for what appends adjustments;
    reports ask for it, because they say what a request costs by what is known today.
    """

    @property
    def url(self) -> str:
        """Where it is, in a form that `open_ledger` takes."""
        return self._store.url

    @property
    def path(self) -> Path | None:
        """Its file, or None where it is in memory."""
        _, separator, path = self.url.partition("sqlite:///")
        return Path(path) if separator else None

    def __repr__(self) -> str:
        return f"<Ledger {self.url}>"

    def runs(
        self,
        *,
        limit: int | None = None,
        since: int | None = None,
        name: str | None = None,
        top: bool = False,
    ) -> list[RunRow]:
        """Return runs, the newest first.

        Args:
            limit: at most so many.
            since: only those that started at this nanosecond or later.
            name: only those of this name.
            top: only those that have no parent.
        """
        conditions: list[str] = []
        values: list[Any] = []
        if since is not None:
            conditions.append("started_at >= ?")
            values.append(checked(since))
        if name is not None:
            conditions.append("name = ?")
            values.append(name)
        if top:
            conditions.append("parent_id IS NULL")
        where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
        end = ""
        if limit is not None:
            end = " LIMIT ?"
            values.append(limit)
        sql = f"SELECT {_RUN_COLUMNS} FROM runs {where}ORDER BY started_at DESC, id DESC{end}"  # noqa: S608
        return [_run(row) for row in self._store.query(sql, values)]

    def run(self, identity: str) -> RunRow:
        """Return the run of this id, or the only one whose id begins so.

        Raises:
            NotFound: there is none, or several; then the message names them.
        """
        # No database is asked for a text that it cannot hold, such as half of a character.
        identity = identity.encode("utf-8", "replace").decode()
        start = identity if identity.startswith("run_") else f"run_{identity}"
        rows = self._store.query(
            f"SELECT {_RUN_COLUMNS} FROM runs WHERE id = ? OR (id >= ? AND id < ?) "  # noqa: S608
            "ORDER BY id = ? DESC, id LIMIT 6",
            (identity, start, start + "\U0010ffff", identity),
        )
        if not rows:
            raise NotFound(f"{self.url} holds no run {identity!r}")
        if len(rows) > 1 and rows[0][0] != identity:
            named = ", ".join(row[0] for row in rows[:5])
            more = " and more" if len(rows) > 5 else ""
            raise NotFound(f"{identity!r} begins the ids of several runs: {named}{more}")
        return _run(rows[0])

    def descendants(self, run_id: str) -> list[RunRow]:
        """Return the runs inside a run, at every depth, in order of their start.

        Raises:
            NotFound: there is no such run.
        """
        self.run(run_id)
        rows = self._store.query(
            f"{_TREE}SELECT {_RUN_COLUMNS} FROM runs JOIN tree USING (id) WHERE id <> ? "  # noqa: S608
            "ORDER BY started_at, id",
            (run_id, run_id),
        )
        return [_run(row) for row in rows]

    def entries(
        self, run_id: str, *, children: bool = True, adjusted: bool = False
    ) -> list[RequestUsage]:
        """Return the entries of a run in order of their start, of every status.

        Args:
            run_id: the run's whole id.
            children: also the entries of the runs inside it, at every depth.
            adjusted: with the prices that they have by now.

        Raises:
            NotFound: there is no such run.
        """
        self.run(run_id)
        tree, where = (_TREE, "run_id IN (SELECT id FROM tree)") if children else ("", "run_id = ?")
        rows = self._store.query(
            f"{tree}SELECT {_ENTRY_COLUMNS} FROM {_table(adjusted)} WHERE {where} "  # noqa: S608
            "ORDER BY started_at, number",
            (run_id,),
        )
        return [decode(row) for row in rows]

    def entries_between(
        self, since: int | None = None, until: int | None = None, *, adjusted: bool = False
    ) -> Iterator[RequestUsage]:
        """Yield the entries of all runs that were sent in a period, of every status.

        They come in the order in which they were held. Those are read a few thousand at a time:
        what is written meanwhile may be among them.

        Args:
            since: the first moment, in nanoseconds; None for the beginning.
            until: the first moment after; None for no end.
            adjusted: with the prices that they have by now.
        """
        begin, end = _moments(since, until)
        ((first, last),) = self._store.query(NUMBERS, (begin, end, begin, end))
        while first is not None:
            rows = self._store.query(
                f"SELECT number, {_ENTRY_COLUMNS} FROM {_table(adjusted)} "  # noqa: S608
                "WHERE number BETWEEN ? AND ? AND started_at >= ? AND started_at < ? "
                "ORDER BY number LIMIT ?",
                (first, last, begin, end, _PAGE),
            )
            for _, *row in rows:
                yield decode(row)
            if len(rows) < _PAGE:
                return
            first = rows[-1][0] + 1

    def rollups(
        self, by: Sequence[str] = (), since: int | None = None, until: int | None = None
    ) -> list[Rollup]:
        """Return what the requests of a period come to, by group, without reading them.

        It takes as long as there are groups in each hour, and not as there are requests.

        Args:
            by: what to group by, any of `ROLLUP_KEYS`. Of hours and days in UTC.
            since: the first moment, in nanoseconds, a whole hour; None for the beginning.
            until: the first moment after, a whole hour; None for no end.

        Raises:
            ValueError: a key is none of these, or a bound lies inside an hour.
        """
        sql, values = statement(by, since, until)
        keys = len(by)
        return [Rollup(row[:keys], *row[keys:]) for row in self._store.query(sql, values)]

    def entry(self, entry_id: str) -> RequestUsage:
        """Return the entry of this id.

        Raises:
            NotFound: there is none.
        """
        rows = self._store.query(
            f"SELECT {_ENTRY_COLUMNS} FROM entries WHERE id = ?",  # noqa: S608
            (entry_id,),
        )
        if not rows:
            raise NotFound(f"{self.url} holds no entry {entry_id!r}")
        return decode(rows[0])

    def in_doubt(
        self, since: int | None = None, until: int | None = None, *, adjusted: bool = False
    ) -> list[RequestUsage]:
        """Return the entries in doubt that were sent in a period, the oldest first.

        Args:
            since: the first moment, in nanoseconds; None for the beginning.
            until: the first moment after; None for no end.
            adjusted: with the prices that they have by now.
        """
        begin, end = _moments(since, until)
        rows = self._store.query(
            f"SELECT {_ENTRY_COLUMNS} FROM {_table(adjusted)} "  # noqa: S608
            "WHERE status = 'in_doubt' AND started_at >= ? AND started_at < ? "
            "ORDER BY started_at, number",
            (begin, end),
        )
        return [decode(row) for row in rows]

    def held_in_doubt(self) -> dict[str, Amounts]:
        """Return what entries in doubt hold, by their ids; those under no budget hold nothing."""
        rows = self._store.query(
            "SELECT entry_id, max(nanodollars), max(tokens), max(requests) FROM holds "
            "WHERE entry_id IN (SELECT id FROM entries WHERE status = 'in_doubt') "
            "GROUP BY entry_id"
        )
        return {entry_id: Amounts(*amounts) for entry_id, *amounts in rows}

    def reconciliations(self, entry_id: str | None = None) -> list[Reconciliation]:
        """Return how requests in doubt came to their ends, the oldest first.

        Args:
            entry_id: only that of this entry.
        """
        rows = self._store.query(
            f"SELECT {', '.join(RECONCILIATION_COLUMNS)} FROM reconciliations "  # noqa: S608
            "WHERE ifnull(?, entry_id) = entry_id ORDER BY number",
            (entry_id,),
        )
        return [reconciliation_of(row) for row in rows]

    def count_between(self, since: int | None = None, until: int | None = None) -> int:
        """Return how many entries of every status were sent in a period."""
        begin, end = _moments(since, until)
        ((number,),) = self._store.query(
            "SELECT count(*) FROM entries WHERE started_at >= ? AND started_at < ?", (begin, end)
        )
        return int(number)

    def repriced_between(self, since: int | None = None, until: int | None = None) -> int:
        """Return how many entries that were sent in a period have a price made later."""
        whole, edges = split(since, until)
        repriced = 0 if whole is None else sum(found.repriced for found in self.rollups((), *whole))
        for edge in edges:
            begin, end = _moments(*edge)
            ((first, last),) = self._store.query(NUMBERS, (begin, end, begin, end))
            ((number,),) = self._store.query(
                "SELECT count(*) FROM entries "
                "WHERE number BETWEEN ? AND ? AND started_at >= ? AND started_at < ? AND EXISTS "
                "(SELECT 1 FROM adjustments WHERE entry_id = id AND status = entries.status)",
                (first, last, begin, end),
            )
            repriced += number
        return repriced

    def adjustments(
        self, entry_id: str | None = None, *, run_id: str | None = None, since: int | None = None
    ) -> list[Adjustment]:
        """Return prices made later, oldest first; also those that count no more.

        Args:
            entry_id: only those of this entry.
            run_id: only those of entries of this run and of the runs inside it.
            since: only those made at this nanosecond or later.
        """
        conditions, values = ["made_at >= ?"], [FIRST if since is None else checked(since)]
        tree, named = "", []
        if entry_id is not None:
            conditions.append("entry_id = ?")
            named.append(entry_id)
        if run_id is not None:
            tree = _TREE
            conditions.append(
                "entry_id IN (SELECT id FROM entries WHERE run_id IN (SELECT id FROM tree))"
            )
        rows = self._store.query(
            f"{tree}SELECT {_ADJUSTMENT_COLUMNS} FROM adjustments "  # noqa: S608
            f"WHERE {' AND '.join(conditions)} ORDER BY number",
            (*(() if run_id is None else (run_id,)), *values, *named),
        )
        return [Adjustment(*row)._replace(cost_estimated=bool(row[6])) for row in rows]

    def book(self, name: str) -> bytes | None:
        """Return the content of a book that entries name, or None where it is not kept.

        Raises:
            ValueError: it is damaged.
        """
        rows = self._store.query("SELECT content FROM books WHERE hash = ?", (name,))
        return unpacked(rows[0][0]) if rows else None

    def raw_usage(self, entry_id: str) -> Mapping[str, Any] | None:
        """Return the provider's usage block of an entry, or None where it gave none.

        Raises:
            NotFound: there is no such entry.
        """
        rows = self._store.query("SELECT raw_usage FROM entries WHERE id = ?", (entry_id,))
        if not rows:
            raise NotFound(f"{self.url} holds no entry {entry_id!r}")
        text: str | None = rows[0][0]
        if text is None:
            return None
        raw: Mapping[str, Any] = json.loads(text)
        return raw

    def usage(self, run_id: str, *, children: bool = True) -> Usage:
        """Return what a run used: the requests that are settled or in doubt.

        That is what `run.usage` showed when it ended. Requests that were never sent are not in
        it, nor those that have not ended; `totals` counts both.

        Raises:
            NotFound: there is no such run.
        """
        usage = Usage()
        for entry in self.entries(run_id, children=children):
            if entry.status in {"settled", "in_doubt"}:
                usage.append(entry)
        return usage

    def totals(self, run_id: str, *, children: bool = True) -> RunTotals:
        """Return what the requests of a run come to, from the totals that the ledger keeps.

        The ledger keeps the totals of a run's own requests only, and sums a tree here. So a
        request is in one row, and cannot count twice in an ancestor.

        Raises:
            NotFound: there is no such run.
        """
        self.run(run_id)
        columns = ", ".join(f"sum({name})" for name in TOTAL_COLUMNS)
        tree, where = (_TREE, "run_id IN (SELECT id FROM tree)") if children else ("", "run_id = ?")
        # In one statement, so that both are of one moment.
        rows = self._store.query(
            f"{tree}SELECT {columns}, (SELECT count(*) FROM entries "  # noqa: S608
            f"WHERE status = 'held' AND {where}) FROM run_totals WHERE {where}",
            (run_id,) if children else (run_id, run_id),
        )
        return RunTotals(*rows[0])

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a statement that reads; for reports. See `ledger.schema`."""
        return self._store.query(sql, parameters)

    def verify(self) -> Verification:
        """Compare what the ledger keeps with what its entries come to; see `verify`."""
        return verify(self._store)


def _moments(since: int | None, until: int | None) -> tuple[int, int]:
    """Return the bounds of a period, in nanoseconds.

    Raises:
        ValueError: 64 bits cannot hold one.
    """
    return FIRST if since is None else checked(since), LAST if until is None else checked(until)


def _table(adjusted: bool) -> str:  # noqa: FBT001 - the name of what the caller was asked
    return "adjusted_entries" if adjusted else "entries"


def _run(row: tuple[Any, ...]) -> RunRow:
    free = MappingProxyType(json.loads(row[12])) if row[12] else Attribution().tags
    who = Attribution(row[8], row[9], row[10], row[11], free)
    return RunRow(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], who)
