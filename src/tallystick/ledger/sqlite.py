"""How the ledger uses SQLite: connections, migrations, waiting and failures.

The only module that touches `sqlite3`; `SqliteStore` is built on what is here.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from tallystick.errors import LedgerError, LedgerUnavailable, NotALedger
from tallystick.ledger.header import check_version
from tallystick.ledger.schema import APPLICATION_ID, MIGRATIONS, VERSION
from tallystick.ledger.store import Busy

Connection = sqlite3.Connection

Error = sqlite3.Error
"""What SQLite raises; `failure` makes an error of ours of it."""

REFUSED = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    OverflowError,
)
"""What a statement raises that its own values or constraints forbid. SQLite has undone that
statement, and what else is in the transaction stands."""

Durability = Literal["normal", "full"]
"""What a committed row survives: a killed process, or also a power cut."""

OLDEST_SQLITE = (3, 35, 0)
"""The first with RETURNING; the rest is older."""

BUSY_SECONDS = 5.0
"""How long a write waits for other processes before it fails."""

BRIEF_SECONDS = 0.1
"""How long it waits where one has just failed so: a file that is locked for good should hold up
one request, and not every one."""

BRIEFLY_FOR_SECONDS = 30.0
"""For how long after such a failure."""

_LONGEST_PAUSE_SECONDS = 0.02

_LARGEST_IDLE_LOG = 32 * 1024 * 1024
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


def check_library() -> None:
    """Refuse a SQLite that is too old.

    Raises:
        LedgerUnavailable: it is.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise LedgerUnavailable(
            f"this Python has SQLite {sqlite3.sqlite_version}; a ledger needs "
            f"{'.'.join(map(str, OLDEST_SQLITE))} or newer"
        )


def failure(error: Error, where: str) -> LedgerError:
    """Return SQLite's error as one of ours, which says what to do."""
    code = getattr(error, "sqlite_errorcode", None)
    advice = None if code is None else _ADVICE.get(code & 0xFF)
    if advice is None:
        return LedgerError(f"{where}: {error}")
    return LedgerUnavailable(f"{where} {advice} ({error})")


def connect(path: Path, mode: str) -> Connection:
    """Open a file that is there; `mode` is ``rw`` or ``ro``."""
    return sqlite3.connect(
        f"file:{quote(path.as_posix())}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def connect_to_write(path: Path | None, durability: Durability, now: int) -> Connection:
    """Open a file, or memory, to write; make or migrate the schema where it has to be.

    Raises:
        LedgerTooNew: a newer version of Tallystick wrote it.
        NotALedger: it belongs to another application.
    """
    if path is None:
        connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    else:
        connection = connect(path, "rw")
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        application, version = _marks(connection)
        check_version(path, version)
        if (application, version) != (APPLICATION_ID, VERSION):
            _migrate_alone(connection, path, now)
        # The first migration was written without a log, so that the file's header, by which it
        # is known as a ledger, was in the file before there was one.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {_LARGEST_IDLE_LOG}")
        connection.execute(f"PRAGMA synchronous = {durability.upper()}")
        # From here on `begin` does the waiting.
        connection.execute("PRAGMA busy_timeout = 0")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path, *, read_only: bool) -> Connection:
    """Open a file to read from it beside those who write.

    Args:
        path: the file.
        read_only: do not even make the files that SQLite keeps beside it.

    Raises:
        LedgerTooNew: a newer version of Tallystick wrote it.
        LedgerUnavailable: an older one wrote it, and nobody has migrated it yet.
    """
    connection = connect(path, "ro" if read_only else "rw")
    try:
        _, version = _marks(connection)
    except sqlite3.OperationalError:
        connection.close()
        if not read_only or path.with_name(path.name + "-wal").exists():
            raise
        # In a folder that cannot be written there is no room for the log's index; and with no
        # log there is nobody who writes.
        connection = connect(path, "ro&immutable=1")
        _, version = _marks(connection)
    try:
        check_version(path, version)
        if version < VERSION:
            raise LedgerUnavailable(
                f"{path} has the older schema {version}; open it once for writing"
            )
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def checkpoint(path: Path) -> None:
    """Move what the log holds into the file, as far as nobody has to wait for it."""
    with contextlib.closing(connect(path, "rw")) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def expected_schema(listing: str) -> list[tuple[str, str, str]]:
    """Return what a query of the schema gives in a ledger that is as it should be."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
        _migrate(model, 0, 0)
        rows: list[tuple[str, str, str]] = model.execute(listing).fetchall()
        return rows


def is_busy(error: Error) -> bool:
    """Whether it is that somebody else has the file locked."""
    return _code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def begin(
    connection: sqlite3.Connection, *, patient: bool = True, seconds: float = BUSY_SECONDS
) -> None:
    """Begin to write, waiting for other processes with pauses that differ from theirs.

    SQLite's own waiting backs off to a tenth of a second, in which a busy file passes a patient
    process by; short uneven pauses give each its turn.

    Raises:
        Busy: another process writes, and the call is not patient.
    """
    deadline = time.monotonic() + seconds
    pause = 0.0005
    while True:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
            if not patient:
                raise Busy("another process is writing") from error
            time.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - no secret depends on it
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        else:
            return


def marks_in(path: Path) -> tuple[int, int] | None:
    """Return the application id and the version in a file's header; None: it is no SQLite file.

    They are read through SQLite. Closing a descriptor of one's own would take away all locks that
    this process has on the file, those of another ledger on it included, and whoever closes the
    file next would delete the log that this process writes to.

    Raises:
        LedgerUnavailable: it cannot be read.
    """
    try:
        try:
            return _marks_by(path, "ro&immutable=1")
        except sqlite3.Error as error:
            # In the midst of a checkpoint the header may be ahead of the file; who looks at the
            # log as well sees them agree.
            if _code(error) != sqlite3.SQLITE_CORRUPT:
                raise
            return _marks_by(path, "ro")
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_NOTADB:
            return None
        raise failure(error, str(path)) from error


def _marks_by(path: Path, mode: str) -> tuple[int, int]:
    with contextlib.closing(connect(path, mode)) as connection:
        return _marks(connection)


def _code(error: Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _marks(connection: Connection) -> tuple[int, int]:
    ((application,),) = connection.execute("PRAGMA application_id").fetchall()
    ((version,),) = connection.execute("PRAGMA user_version").fetchall()
    return application, version


def _migrate_alone(connection: Connection, path: Path | None, now: int) -> None:
    begin(connection)
    try:
        # Another process may have done it meanwhile.
        application, version = _marks(connection)
        check_version(path, version)
        ((tables,),) = connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        if application != APPLICATION_ID and tables:
            raise NotALedger(f"{path} is another application's SQLite file; name another")
        _migrate(connection, version, now)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


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
