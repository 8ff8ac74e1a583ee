"""The file: whether it is a ledger, told from its header before SQLite may write to it.

SQLite writes to files that it opens: it recovers their journals and checkpoints their logs. A
database that belongs to another application has to stay as it is, to the byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tallystick.errors import LedgerTooNew, LedgerUnavailable, NotALedger
from tallystick.ledger.schema import APPLICATION_ID, VERSION

Marks = Callable[[Path], tuple[int, int] | None]
"""Gives the application id and the schema in a file's header, or None for no SQLite file."""


def check(path: Path, marks: Marks, *, writing: bool) -> bool:
    """Say whether there is a ledger at `path`: False where one can be made there.

    Args:
        path: the file.
        marks: reads its header and changes nothing.
        writing: whether it is opened to be written to.

    Raises:
        LedgerUnavailable: it cannot be read or written, or its folder does not exist.
        LedgerTooNew: a newer version of Tallystick wrote it.
        NotALedger: it is something else.
    """
    try:
        if path.is_dir():
            raise LedgerUnavailable(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise LedgerUnavailable(
                f"{path} cannot be made: the folder {path.parent} does not exist; make it first"
            )
        if writing and not os.access(path.parent, os.W_OK | os.X_OK):
            raise LedgerUnavailable(
                f"{path} cannot be written: its folder is read-only; allow writing there, "
                "or set TALLYSTICK_URL to another file"
            )
        if not path.exists():
            if not writing:
                raise LedgerUnavailable(f"there is no ledger at {path}")
            return False
        if writing and not os.access(path, os.W_OK):
            raise LedgerUnavailable(
                f"{path} cannot be written: the file is read-only; allow writing, "
                "or set TALLYSTICK_URL to another file"
            )
        empty = path.stat().st_size == 0
    except OSError as error:
        raise LedgerUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if empty:
        if not writing:
            raise NotALedger(f"{path} is empty, and holds no ledger to read")
        return False
    found = marks(path)
    if found is None:
        raise NotALedger(f"{path} is no Tallystick ledger, and was left as it is; name another")
    application, version = found
    if application != APPLICATION_ID:
        raise NotALedger(
            f"{path} is another application's SQLite file, and was left as it is; name another"
        )
    check_version(path, version)
    return True


def create(path: Path) -> None:
    """Make an empty file that only its owner can read, before SQLite would make another.

    Raises:
        LedgerUnavailable: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
    except OSError as error:
        raise LedgerUnavailable(
            f"{path} cannot be made: {error.strerror}; "
            "set TALLYSTICK_URL to a file that can be written"
        ) from error


def identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at a path from any other, or None where there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - once for each transaction, and twice as fast
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_version(path: Path | None, version: int) -> None:
    """Refuse a schema that is newer than this version of Tallystick.

    Raises:
        LedgerTooNew: it is.
    """
    if version > VERSION:
        raise LedgerTooNew(
            f"{path} has schema {version}, and this Tallystick knows up to {VERSION}; "
            "upgrade Tallystick to use it"
        )
