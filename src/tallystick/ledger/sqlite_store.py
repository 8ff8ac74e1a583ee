"""The store in SQLite.

One connection writes and one reads, each opened when it is needed, so that after a fork they
are opened anew. The file is in WAL mode: readers never wait for the writer, nor it for them.
Checkpoints run on a connection of their own and keep nobody waiting.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from tallystick.clock import Clock
from tallystick.errors import LedgerError, LedgerUnavailable
from tallystick.ledger.header import check, create, identity
from tallystick.ledger.location import Location
from tallystick.ledger.operations import apply
from tallystick.ledger.process import Processes
from tallystick.ledger.schema import VERSION
from tallystick.ledger.sqlite import (
    BRIEF_SECONDS,
    BRIEFLY_FOR_SECONDS,
    BUSY_SECONDS,
    REFUSED,
    Connection,
    Durability,
    Error,
    begin,
    check_library,
    checkpoint,
    connect_to_read,
    connect_to_write,
    expected_schema,
    failure,
    is_busy,
    marks_in,
)
from tallystick.ledger.store import Operation, Query, Result

_LOOK_SECONDS = 0.05

_UNFINISHED = (
    "SELECT id FROM processes WHERE ended_at IS NULL "
    "UNION SELECT process_id FROM entries WHERE status = 'held' "
    "UNION SELECT process_id FROM runs WHERE outcome IS NULL"
)


class SqliteStore:
    """A `Store` in one SQLite file, or in memory."""

    def __init__(
        self,
        location: Location,
        *,
        durability: Durability = "normal",
        clock: Clock | None = None,
        read_only: bool = False,
    ) -> None:
        """Open a ledger, making or migrating it where it has to be.

        Raises:
            LedgerUnavailable: it cannot be opened.
            LedgerTooNew: a newer version of Tallystick wrote it.
            NotALedger: the file is something else; it was left as it is.
        """
        check_library()
        self._location = location
        self._path = location.path
        self._durability = durability
        self._clock = clock or Clock()
        self._read_only = read_only
        self._processes = None if self._path is None else Processes(self._path)
        self._writing: Connection | None = None
        self._reading: Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._look_again = 0.0
        self._brief_until = 0.0
        self._closed = False
        self._become_new()
        if self._path is not None and not check(self._path, marks_in, writing=not read_only):
            create(self._path)
        try:
            if read_only:
                self._reading = self._connect_to_read()
            else:
                self._writing = self._connect_to_write()
        except Error as error:
            raise failure(error, str(self._location)) from error

    def _become_new(self) -> None:
        self.untidy = 0
        self.process_id = self._clock.id("proc")
        self._registered = False
        # In memory there is one connection, and this lock decides who uses it.
        self._lock = threading.RLock()
        self._tidying = threading.Lock()

    @property
    def url(self) -> str:
        """Where the ledger is, in a form that `open_ledger` takes."""
        return self._location.url

    @property
    def swift(self) -> bool:
        """Whether a commit waits for no disk: with NORMAL, or in memory."""
        return self._path is None or self._durability == "normal"

    def commit(
        self, operations: Sequence[Operation], *, again: bool = False, patient: bool = True
    ) -> list[Result]:
        """Do operations in order and in one transaction; see `Store.commit`."""
        try:
            if self._path is not None:
                return self._commit(operations, again=again, patient=patient)
            with self._lock:
                return self._commit(operations, again=again, patient=patient)
        except Error as error:
            raise failure(error, str(self._location)) from error
        except OSError as error:
            raise LedgerUnavailable(
                f"{self._location} cannot be written: {error}; make room or allow writing"
            ) from error

    def _commit(
        self, operations: Sequence[Operation], *, again: bool, patient: bool
    ) -> list[Result]:
        connection = self._writing
        if connection is not None and self._moved():
            with self._lock:
                self._disconnect()
            connection = None
        if connection is None:
            connection = self._writing = self._connect_to_write()
        if self._processes is not None and not self._registered:
            self._processes.enter(self.process_id)
        if connection.in_transaction:
            # An interrupt came in the midst of undoing one.
            connection.execute("ROLLBACK")
        try:
            # An interrupt may come when the transaction has begun and before this has returned.
            self._begin(connection, patient=patient)
            if not self._registered:
                row = (self.process_id, os.getpid(), platform.node(), self._clock.now())
                connection.execute(
                    "INSERT INTO processes (id, pid, host, started_at) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (id) DO NOTHING",
                    row,
                )
            results = [self._apply(connection, operation, again) for operation in operations]
            connection.execute("COMMIT")
        except BaseException:
            # Some failures, a full disk among them, have rolled it back already.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        self._registered = True
        self.untidy += len(operations)
        return results

    def _begin(self, connection: Connection, *, patient: bool) -> None:
        brief = time.monotonic() < self._brief_until
        try:
            begin(connection, patient=patient, seconds=BRIEF_SECONDS if brief else BUSY_SECONDS)
        except Error as error:
            if is_busy(error):
                self._brief_until = time.monotonic() + BRIEFLY_FOR_SECONDS
            raise
        self._brief_until = 0.0

    def _apply(self, connection: Connection, operation: Operation, again: bool) -> Result:  # noqa: FBT001
        try:
            return apply(connection.execute, operation, self.process_id, again=again)
        except LedgerError as error:
            return error
        except REFUSED as error:
            if not connection.in_transaction:
                raise
            refusal = LedgerError(f"{type(operation).__name__} was refused: {error}")
            refusal.__cause__ = error
            return refusal

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement that reads."""
        with self._lock:
            try:
                return self._reader().execute(sql, parameters).fetchall()
            except Error as error:
                raise failure(error, str(self._location)) from error

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Query]:
        """Return a context in which all queries see one state of the ledger."""
        with self._lock:
            try:
                connection = self._reader()
                connection.execute("BEGIN")
            except Error as error:
                raise failure(error, str(self._location)) from error
            try:
                yield self.query
            finally:
                connection.execute("ROLLBACK")

    def integrity(self) -> list[str]:
        """Return what SQLite finds wrong with the file, the schema or the keys."""
        problems = []
        for (finding,) in self.query("PRAGMA integrity_check"):
            if finding != "ok":
                problems.append(f"storage: {finding}")
        for table, row, parent, _ in self.query("PRAGMA foreign_key_check"):
            problems.append(f"{table} row {row} refers to a row of {parent} that is not there")
        ((version,),) = self.query("PRAGMA user_version")
        if version != VERSION:
            problems.append(f"schema: the version is {version}, not {VERSION}")
        listing = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        found = {(kind, name): sql for kind, name, sql in self.query(listing)}
        expected = {(kind, name): sql for kind, name, sql in expected_schema(listing)}
        for kind, name in sorted(expected.keys() | found.keys()):
            if (kind, name) not in found:
                problems.append(f"schema: the {kind} {name} is missing")
            elif (kind, name) not in expected:
                problems.append(f"schema: the {kind} {name} is not ours")
            elif found[kind, name] != expected[kind, name]:
                problems.append(f"schema: the {kind} {name} was changed")
        return problems

    def mark_sent(self, entry_id: str) -> None:
        """Note that an entry is about to be sent; see `Store.mark_sent`."""
        if self._processes is not None:
            self._processes.mark_sent(entry_id)

    def forget_sent(self, entry_id: str) -> None:
        """Note that it is committed how an entry ended."""
        if self._processes is not None:
            self._processes.forget_sent(entry_id)

    def sent_by(self, process_id: str) -> frozenset[str] | None:
        """Return what a process that is gone may have sent and not ended; None: not known."""
        return None if self._processes is None else self._processes.sent_by(process_id)

    def gone_processes(self) -> list[str]:
        """Return the processes that did not close the ledger and no longer run."""
        if self._processes is None:
            return []
        gone = self._processes.gone
        return [
            name for (name,) in self.query(_UNFINISHED) if name != self.process_id and gone(name)
        ]

    def sweep(self, process_ids: Sequence[str]) -> None:
        """Remove the lock files of processes that are gone."""
        if self._processes is not None:
            self._processes.sweep(process_ids)

    def tidy(self) -> None:
        """Move what the log holds into the file, as far as nobody has to wait for it.

        What fails here is done by the next checkpoint, or by the one at the end.
        """
        self.untidy = 0
        if self._path is None:
            return
        with self._tidying, contextlib.suppress(Error):
            if not self._closed:
                checkpoint(self._path)

    def before_fork(self) -> None:
        """Close the connections: nothing of SQLite may be carried into a child.

        A child inherits SQLite's own record of which locks the process holds, and none of the
        locks. A ledger in memory has no locks, and the child keeps its copy.
        """
        self._lock.acquire()
        self._tidying.acquire()
        if self._path is not None:
            self._disconnect()

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        self._tidying.release()
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Become a store of the child's own, with a row of its own among the processes."""
        self._become_new()
        if self._processes is not None:
            self._processes.forget()

    def close(self) -> None:
        """Let go of everything, for good."""
        with self._lock:
            self._closed = True
            with self._tidying:
                self._disconnect()
            if self._processes is not None:
                self._processes.leave()

    def _disconnect(self) -> None:
        for connection in (self._writing, self._reading):
            if connection is not None:
                with contextlib.suppress(Error):
                    connection.close()
        self._writing = self._reading = None

    def _reader(self) -> Connection:
        if self._path is None:
            self._check_open()
            if self._writing is None:
                self._writing = self._connect_to_write()
            return self._writing
        if self._reading is None:
            self._reading = self._connect_to_read()
        return self._reading

    def _connect_to_write(self) -> Connection:
        if self._read_only:
            raise LedgerUnavailable(f"{self._location} was opened to be read only")
        self._check_open()
        if self._path is not None and not self._path.exists():
            raise LedgerUnavailable(
                f"{self._path} is gone: it was moved or deleted while it was in use; "
                "put it back or open another"
            )
        connection = connect_to_write(self._path, self._durability, self._clock.now())
        if self._path is not None:
            self._identity = identity(self._path)
        return connection

    def _connect_to_read(self) -> Connection:
        self._check_open()
        if self._path is None:
            raise LedgerUnavailable("a ledger in memory cannot be opened to be read only")
        return connect_to_read(self._path, read_only=self._read_only)

    def _check_open(self) -> None:
        if self._closed:
            raise LedgerUnavailable(f"{self._location} is closed")

    def _moved(self) -> bool:
        """Whether the file that is open is no longer the one at the path.

        SQLite would go on writing to a file that nobody can find. In a burst of commits it is
        looked at only now and then.
        """
        now = time.monotonic()
        if self._path is None or now < self._look_again:
            return False
        self._look_again = now + _LOOK_SECONDS
        return identity(self._path) != self._identity
