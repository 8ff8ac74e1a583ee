"""`Ledger`: what the rest of Tallystick writes to and reads from."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from tallystick.attribution import Attribution
from tallystick.clock import Clock
from tallystick.errors import LedgerError, LedgerUnavailable, NotFound
from tallystick.ledger.entry import READING, decode
from tallystick.ledger.location import locate
from tallystick.ledger.sqlite import Durability, SqliteStore
from tallystick.ledger.store import (
    TOTAL_COLUMNS,
    Abandon,
    CloseRun,
    Finish,
    Hold,
    OpenRun,
    RunOutcome,
    RunRow,
    RunTotals,
    Store,
)
from tallystick.ledger.verify import Verification, verify
from tallystick.ledger.writer import Writer
from tallystick.usage import RequestUsage, Usage

_logger = logging.getLogger("tallystick")

_FORK_PATIENCE_SECONDS = 10.0

_RUN_COLUMNS = (
    "id, parent_id, root_id, name, host, started_at, ended_at, outcome, "
    'customer, "user", project, session, tags'
)
_ENTRY_COLUMNS = ", ".join(f'"{name}"' for name in READING)
_TREE = (
    "WITH RECURSIVE tree (id) AS (SELECT ? UNION "
    "SELECT runs.id FROM runs JOIN tree ON runs.parent_id = tree.id) "
)
_ENDED = frozenset({"settled", "released", "in_doubt"})


def open_ledger(
    url: str | os.PathLike[str] | None = None,
    *,
    durability: Durability = "normal",
    clock: Clock | None = None,
    read_only: bool = False,
) -> Ledger:
    """Open a ledger, and make it where there is none.

    Entries that processes left behind that have ended since are put in doubt.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, a plain path, ``:memory:``,
            or None for ``$TALLYSTICK_URL`` and else a file in the user's data directory.
        durability: what a committed row survives: ``normal`` a killed process, ``full`` also
            a power cut.
        clock: where time and ids come from.
        read_only: refuse to write, also to make or to migrate the ledger.

    Raises:
        ConfigError: the URL is of a kind that no ledger has.
        LedgerUnavailable: it cannot be opened; the message says what to do.
        LedgerTooNew: a newer version of Tallystick wrote it.
        NotALedger: the file is something else; it was left as it is.
    """
    clock = clock or Clock()
    store = SqliteStore(locate(url), durability=durability, clock=clock, read_only=read_only)
    ledger = Ledger(store, clock=clock)
    if not read_only:
        try:
            ledger.recover()
        except LedgerError as error:
            _logger.warning("tallystick: what other processes left is not yet in doubt: %s", error)
    return ledger


class Ledger:
    """The runs and requests of all time, in one database.

    Each method that writes returns a future that is done when the row is committed. It has
    failed with `LedgerUnavailable` where the ledger could not be written, and with another
    `LedgerError` where that row was refused. A caller that runs no event loop finds it done,
    unless other threads are writing. All methods may be called from any thread.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._writer = Writer(store)
        self._closed = False
        self._after_fork_in_child()
        self._unopened: dict[str, RunRow] = {}
        _open_ledgers.add(self)

    def _after_fork_in_child(self) -> None:
        """Be a ledger to which this process has written nothing."""
        self._closing = threading.Lock()
        self._wrote = False

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def open_run(self, run: RunRow) -> Future[bool]:
        """Write a run that begins. A parent has to be opened before its children.

        Where this fails because the ledger is unavailable, the run is written together with
        the first of its requests that can be.
        """
        self._begin_to_write()
        self._unopened[run.id] = run
        future: Future[bool] = self._writer.submit(OpenRun(run))
        future.add_done_callback(lambda done: self._opened(run.id, done))
        return future

    def _begin_to_write(self) -> None:
        if self._wrote:
            return
        self._wrote = True
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            # Such a process may end without running what is registered with atexit.
            from multiprocessing.util import Finalize

            Finalize(None, _close_if_open, args=(weakref.ref(self),), exitpriority=0)

    def _opened(self, run_id: str, done: Future[bool]) -> None:
        if not isinstance(done.exception(), LedgerUnavailable):
            self._unopened.pop(run_id, None)

    def _missing(self, run_id: str | None) -> tuple[RunRow, ...]:
        """Return the runs from the top down to this one that may not be written yet."""
        missing: list[RunRow] = []
        while run_id is not None and (run := self._unopened.get(run_id)) is not None:
            missing.insert(0, run)
            run_id = run.parent_id
        return tuple(missing)

    def close_run(self, run_id: str, ended_at: int, outcome: RunOutcome) -> Future[bool]:
        """Write how and when (nanoseconds) a run ended; False where it had ended already."""
        self._begin_to_write()
        missing = self._missing(run_id)
        future: Future[bool] = self._writer.submit(CloseRun(run_id, ended_at, outcome, missing))
        if missing:
            future.add_done_callback(lambda _: self._unopened.pop(run_id, None))
        return future

    def hold(self, entry: RequestUsage, *, started_ns: int) -> Future[bool]:
        """Write an entry as held, before its request leaves.

        Args:
            entry: it needs an `id` and a `run_id`.
            started_ns: when it is sent, in nanoseconds since 1970-01-01 UTC.
        """
        if entry.id is None or entry.run_id is None:
            return _failed(LedgerError("an entry needs an id and a run to be held"))
        self._begin_to_write()
        return self._writer.submit(Hold(entry, started_ns, self._missing(entry.run_id)))

    def finish(
        self,
        entry: RequestUsage,
        *,
        raw_usage: Mapping[str, Any] | None = None,
        duration_ns: int | None = None,
    ) -> Future[bool]:
        """Write how a request ended: all of the entry, by its `status`.

        The future's result is False where the entry had ended already; then nothing changed.
        An entry in doubt may still be settled or released. An entry whose hold could not be
        kept is written now.

        Args:
            entry: its status is settled, released or in_doubt.
            raw_usage: the provider's usage block. Long text in it is left out.
            duration_ns: nanoseconds from sending to the last byte.
        """
        if entry.id is None or entry.run_id is None or entry.status not in _ENDED:
            return _failed(
                LedgerError(f"an entry of id {entry.id!r} cannot end as {entry.status!r}")
            )
        if duration_ns is not None and duration_ns < 0:
            duration_ns = None
        self._begin_to_write()
        missing = self._missing(entry.run_id)
        now = self._clock.now()
        return self._writer.submit(Finish(entry, raw_usage, duration_ns, now, missing))

    def recover(self) -> int:
        """Put in doubt what ended processes left held, and end the runs that they left open.

        What was held may have been sent and may be billed, so it is never released here. Rows
        of processes that still run are not touched. `open_ledger` does this by itself.

        Returns:
            How many processes had left something.
        """
        gone = tuple(self._store.gone_processes())
        if gone:
            self._writer.submit(Abandon(gone, self._clock.now())).result()
        return len(gone)

    def flush(self, timeout: float | None = None) -> None:
        """Return when all that was asked before is committed, or has failed.

        Raises:
            LedgerUnavailable: that took longer than `timeout` seconds.
        """
        self._writer.flush(timeout)

    def close(self) -> None:
        """Write what is asked, and let go of the ledger. Closing it again does nothing.

        What this process still holds is put in doubt: nobody will finish it any more. Python
        calls this when it exits.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            _open_ledgers.discard(self)
            if self._wrote:
                self._writer.submit(Abandon((self._store.process_id,), self._clock.now()))
            self._writer.close()
            self._store.close()

    # Reading

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
            values.append(since)
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

    def entries(self, run_id: str, *, children: bool = True) -> list[RequestUsage]:
        """Return the entries of a run in order of their start, of every status.

        Args:
            run_id: the run's whole id.
            children: also the entries of the runs inside it, at every depth.

        Raises:
            NotFound: there is no such run.
        """
        self.run(run_id)
        tree, where = (_TREE, "run_id IN (SELECT id FROM tree)") if children else ("", "run_id = ?")
        rows = self._store.query(
            f"{tree}SELECT {_ENTRY_COLUMNS} FROM entries WHERE {where} "  # noqa: S608
            "ORDER BY started_at, number",
            (run_id,),
        )
        return [decode(row) for row in rows]

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


def _run(row: tuple[Any, ...]) -> RunRow:
    free = MappingProxyType(json.loads(row[12])) if row[12] else Attribution().tags
    who = Attribution(row[8], row[9], row[10], row[11], free)
    return RunRow(row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], who)


def _failed(error: LedgerError) -> Future[bool]:
    future: Future[bool] = Future()
    future.set_exception(error)
    return future


# A ledger that nobody closes is closed when Python exits, and none is carried across a fork.

_open_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()
_forking: list[tuple[Ledger, contextlib.ExitStack]] = []


def _close_if_open(reference: weakref.ref[Ledger]) -> None:
    ledger = reference()
    if ledger is not None:
        ledger.close()


@atexit.register
def _close_all() -> None:
    for ledger in list(_open_ledgers):
        ledger.close()


def _before_fork() -> None:
    for ledger in list(_open_ledgers):
        stack = contextlib.ExitStack()
        if not stack.enter_context(ledger._writer.quiet(_FORK_PATIENCE_SECONDS)):
            _logger.warning("tallystick: %s is busy while the process forks", ledger.url)
        ledger._store.before_fork()
        _forking.append((ledger, stack))


def _after_fork_in_parent() -> None:
    for ledger, stack in _forking:
        ledger._store.after_fork_in_parent()
        stack.close()
    _forking.clear()


def _after_fork_in_child() -> None:
    for ledger, _ in _forking:
        ledger._store.after_fork_in_child()
        ledger._writer.after_fork_in_child()
        ledger._after_fork_in_child()
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
