"""The ledger in SQLite: the only module that touches `sqlite3`.

One connection writes and one reads, each opened when it is needed, so that after a fork they
are opened anew. The file is in WAL mode: readers never wait for the writer, nor it for them.
Checkpoints run on a connection of their own and keep nobody waiting.
"""

from __future__ import annotations

import contextlib
import os
import platform
import random
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import quote

from tallystick.clock import Clock
from tallystick.errors import LedgerError, LedgerUnavailable, NotALedger
from tallystick.ledger.header import check, check_version
from tallystick.ledger.location import Location
from tallystick.ledger.operations import apply
from tallystick.ledger.process import Processes
from tallystick.ledger.schema import APPLICATION_ID, MIGRATIONS, VERSION
from tallystick.ledger.store import Operation, Query, Result

Durability = Literal["normal", "full"]

OLDEST_SQLITE = (3, 24, 0)
"""The first with upserts; partial indexes are older."""

BUSY_SECONDS = 5.0
"""How long a write waits for other processes before it fails."""

_LONGEST_PAUSE_SECONDS = 0.02

_LARGEST_IDLE_LOG = 16 * 1024 * 1024
"""To how many bytes the log is cut when all of it is in the file."""

_ADVICE = {
    sqlite3.SQLITE_BUSY: "is locked by another process; see what holds it open",
    sqlite3.SQLITE_LOCKED: "is locked by another process; see what holds it open",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full; make room",
    sqlite3.SQLITE_IOERR: "cannot be read or written: the disk is full or fails; "
    "make room or check it",
    sqlite3.SQLITE_READONLY: "cannot be written: the file or its folder is read-only; "
    "allow writing, or set TALLYSTICK_URL to another file",
    sqlite3.SQLITE_PERM: "cannot be opened: permission is refused; "
    "allow it, or set TALLYSTICK_URL to another file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; see that its folder is there and can be written",
    sqlite3.SQLITE_CORRUPT: "is damaged; move it away, and restore a copy or begin a new one",
    sqlite3.SQLITE_NOTADB: "is damaged; move it away, and restore a copy or begin a new one",
}

_UNFINISHED = (
    "SELECT process_id FROM entries WHERE status = 'held' "
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
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise LedgerUnavailable(
                f"this Python has SQLite {sqlite3.sqlite_version}; a ledger needs "
                f"{'.'.join(map(str, OLDEST_SQLITE))} or newer"
            )
        self._location = location
        self._path = location.path
        self._durability = durability
        self._clock = clock or Clock()
        self._read_only = read_only
        self._processes = None if self._path is None else Processes(self._path)
        self._writing: sqlite3.Connection | None = None
        self._reading: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._inherited: list[sqlite3.Connection] = []
        self._closed = False
        self._become_new()
        if self._path is not None and not check(self._path, writing=not read_only):
            self._create_file(self._path)
        try:
            if read_only:
                self._reading = self._connect_to_read()
            else:
                self._writing = self._connect_to_write()
        except sqlite3.Error as error:
            self._raise(error)

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

    def commit(self, operations: Sequence[Operation], *, again: bool = False) -> list[Result]:
        """Do operations in order and in one transaction; see `Store.commit`."""
        with self._lock if self._path is None else contextlib.nullcontext():
            try:
                return self._commit(operations, again=again)
            except sqlite3.Error as error:
                self._raise(error)
            except OSError as error:
                raise LedgerUnavailable(
                    f"{self._location} cannot be written: {error}; make room or allow writing"
                ) from error

    def _commit(self, operations: Sequence[Operation], *, again: bool) -> list[Result]:
        connection = self._writing
        if connection is not None and self._moved():
            connection.close()
            connection = self._writing = None
        if connection is None:
            connection = self._writing = self._connect_to_write()
        if self._processes is not None and not self._registered:
            self._processes.enter(self.process_id)
        _begin(connection)
        try:
            if not self._registered:
                row = (self.process_id, os.getpid(), platform.node(), self._clock.now())
                connection.execute(
                    "INSERT INTO processes (id, pid, host, started_at) VALUES (?, ?, ?, ?)", row
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

    def _apply(self, connection: sqlite3.Connection, operation: Operation, again: bool) -> Result:  # noqa: FBT001
        try:
            return apply(connection.execute, operation, self.process_id, again=again)
        except LedgerError as error:
            return error
        except (
            sqlite3.IntegrityError,
            sqlite3.InterfaceError,
            sqlite3.ProgrammingError,
            OverflowError,
        ) as error:
            # A statement that its values or its constraints forbid fails alone; SQLite has
            # undone it, and what else is in the transaction stands.
            if not connection.in_transaction:
                raise
            failure = LedgerError(f"{type(operation).__name__} was refused: {error}")
            failure.__cause__ = error
            return failure

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement that reads."""
        with self._lock:
            try:
                return self._reader().execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                self._raise(error)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Query]:
        """Return a context in which all queries see one state of the ledger."""
        with self._lock:
            try:
                connection = self._reader()
                connection.execute("BEGIN")
            except sqlite3.Error as error:
                self._raise(error)
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
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
            _migrate(model, 0, 0)
            expected = {(kind, name): sql for kind, name, sql in model.execute(listing)}
        for kind, name in sorted(expected.keys() | found.keys()):
            if (kind, name) not in found:
                problems.append(f"schema: the {kind} {name} is missing")
            elif (kind, name) not in expected:
                problems.append(f"schema: the {kind} {name} is not ours")
            elif found[kind, name] != expected[kind, name]:
                problems.append(f"schema: the {kind} {name} was changed")
        return problems

    def gone_processes(self) -> list[str]:
        """Return the processes that left something unfinished and no longer run."""
        if self._processes is None:
            return []
        gone = self._processes.gone
        return [
            name for (name,) in self.query(_UNFINISHED) if name != self.process_id and gone(name)
        ]

    def tidy(self) -> bool:
        """Move what the log holds into the file, as far as nobody has to wait for it."""
        self.untidy = 0
        if self._path is None:
            return True
        with self._tidying:
            try:
                with contextlib.closing(self._connect(self._path, "rw")) as connection:
                    rows = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except (sqlite3.Error, LedgerUnavailable):
                # The next checkpoint does what this one could not, or the one at the end.
                return True
        ((_, frames, moved),) = rows
        return bool(frames == moved)

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
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        self._writing = self._reading = None

    def _reader(self) -> sqlite3.Connection:
        if self._path is None:
            if self._writing is None:
                raise LedgerUnavailable(f"{self._location} is closed")
            return self._writing
        if self._reading is None:
            self._reading = self._connect_to_read()
        return self._reading

    def _create_file(self, path: Path) -> None:
        """Make an empty file that only its owner can read, before SQLite would make another."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            path.chmod(0o600)
        except OSError as error:
            raise LedgerUnavailable(
                f"{path} cannot be made: {error.strerror}; "
                "set TALLYSTICK_URL to a file that can be written"
            ) from error

    def _connect(self, path: Path, mode: str) -> sqlite3.Connection:
        if self._closed:
            raise LedgerUnavailable(f"{self._location} is closed")
        return sqlite3.connect(
            f"file:{quote(path.as_posix())}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def _connect_to_write(self) -> sqlite3.Connection:
        if self._read_only:
            raise LedgerUnavailable(f"{self._location} was opened to be read only")
        if self._path is None:
            if self._closed:
                raise LedgerUnavailable(f"{self._location} is closed")
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        else:
            if not self._path.exists():
                raise LedgerUnavailable(
                    f"{self._path} is gone: it was moved or deleted while it was in use; "
                    "put it back or open another"
                )
            connection = self._connect(self._path, "rw")
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        if self._path is not None:
            self._inode = _identity(self._path)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        application, version = _marks(connection)
        check_version(self._path, version)
        if (application, version) != (APPLICATION_ID, VERSION):
            _begin(connection)
            try:
                self._migrate(connection)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        # The first migration was written without a log, so that the file's header, by which it
        # is known as a ledger, was in the file before there was one.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_IDLE_LOG}")
        connection.execute(f"PRAGMA synchronous = {self._durability.upper()}")
        # From here on `_begin` does the waiting.
        connection.execute("PRAGMA busy_timeout = 0")

    def _migrate(self, connection: sqlite3.Connection) -> None:
        """Bring the schema up to date, looking again now that nobody else can do it."""
        application, version = _marks(connection)
        check_version(self._path, version)
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if application != APPLICATION_ID and tables:
            raise NotALedger(f"{self._location} is another application's file; name another")
        _migrate(connection, version, self._clock.now())

    def _connect_to_read(self) -> sqlite3.Connection:
        if self._path is None:
            raise LedgerUnavailable("a ledger in memory cannot be opened to be read only")
        mode = "ro" if self._read_only else "rw"
        connection = self._connect(self._path, mode)
        try:
            _, version = _marks(connection)
        except sqlite3.OperationalError:
            connection.close()
            if not self._read_only or self._path.with_name(self._path.name + "-wal").exists():
                raise
            # In a folder that cannot be written there is no room for the log's index; and with
            # no log there is nobody who writes.
            connection = self._connect(self._path, "ro&immutable=1")
            _, version = _marks(connection)
        check_version(self._path, version)
        if version < VERSION:
            connection.close()
            raise LedgerUnavailable(
                f"{self._path} has the older schema {version}; open it once for writing"
            )
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _moved(self) -> bool:
        """Whether the file that is open is no longer the one at the path.

        SQLite would go on writing to a file that nobody can find.
        """
        return self._path is not None and _identity(self._path) != self._inode

    def _raise(self, error: sqlite3.Error) -> NoReturn:
        code = getattr(error, "sqlite_errorcode", None)
        advice = None if code is None else _ADVICE.get(code & 0xFF)
        if advice is None:
            raise LedgerError(f"{self._location}: {error}") from error
        raise LedgerUnavailable(f"{self._location} {advice} ({error})") from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - once for each transaction, and twice as fast
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return application, version


def _migrate(connection: sqlite3.Connection, version: int, now: int) -> None:
    for migration in MIGRATIONS:
        if migration.number > version:
            for statement in migration.statements:
                connection.execute(statement)
            connection.execute(
                "INSERT INTO migrations (number, name, applied_at) VALUES (?, ?, ?)",
                (migration.number, migration.name, now),
            )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _begin(connection: sqlite3.Connection) -> None:
    """Begin to write, waiting for other processes with pauses that differ from theirs.

    SQLite's own waiting backs off to a tenth of a second, in which a busy file passes a patient
    process by; short uneven pauses give each its turn.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    pause = 0.0005
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret depends on it
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return
