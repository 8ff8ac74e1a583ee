"""Which processes that wrote to a ledger still run.

Each writing process holds an operating system's lock on a file of its own, in a folder beside
the ledger. The system takes the lock away when the process ends, however it ends, and never
before. Process ids and start times would not do: containers that share a folder do not see
each other's processes, and would declare each other dead.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from tallystick.ledger.sent import SentMarks, read_marks


def _lock(descriptor: int) -> bool:
    """Take the lock of an open file without waiting; say whether it was free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


class Processes:
    """The folder of locks beside one ledger."""

    def __init__(self, ledger: Path) -> None:
        self._folder = ledger.with_name(ledger.name + "-processes")
        self._descriptor: int | None = None
        self._file: Path | None = None
        self._marks: SentMarks | None = None

    def enter(self, process_id: str) -> None:
        """Hold the lock of this process from now on.

        Raises:
            OSError: the folder cannot be written.
        """
        if self._descriptor is not None:
            return
        file = self._folder / process_id
        for attempt in range(3):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            try:
                descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
                break
            except FileNotFoundError:
                # Another process that left has just removed the empty folder.
                if attempt == 2:
                    raise
        if not _lock(descriptor):
            os.close(descriptor)
            raise OSError(f"{file} is locked by another process")
        self._descriptor, self._file = descriptor, file
        self._marks = SentMarks(descriptor)

    def mark_sent(self, entry_id: str) -> None:
        """Mark an entry that is about to be sent; see `Store.mark_sent`."""
        if self._marks is not None:
            self._marks.add(entry_id)

    def forget_sent(self, entry_id: str) -> None:
        """Take a mark away."""
        if self._marks is not None:
            self._marks.discard(entry_id)

    def sent_by(self, process_id: str) -> frozenset[str] | None:
        """Return what a process that is gone marked; see `Store.sent_by`."""
        return read_marks(self._folder / process_id)

    def leave(self) -> None:
        """Let go of the lock and remove its file; nothing happens where none is held."""
        if self._descriptor is None or self._file is None:
            return
        self._unmap()
        if sys.platform == "win32":
            # An open file cannot be removed there.
            os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._file.unlink()
        if sys.platform != "win32":
            os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._folder.rmdir()
        self._descriptor = self._file = None

    def forget(self) -> None:
        """In a forked child: drop the parent's lock without letting go of it for the parent."""
        self._unmap()
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = self._file = None

    def _unmap(self) -> None:
        if self._marks is not None:
            self._marks.close()
            self._marks = None

    def gone(self, process_id: str) -> bool:
        """Whether a process has ended. What cannot be told counts as still running."""
        file = self._folder / process_id
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            return _lock(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def sweep(self, process_ids: Iterable[str]) -> None:
        """Remove the files of processes that are gone, and the folder where it is empty.

        Only of processes that the ledger knows: one that is not in it yet may have made its
        file this very moment, and not locked it.
        """
        for process_id in process_ids:
            with contextlib.suppress(OSError):
                (self._folder / process_id).unlink()
        with contextlib.suppress(OSError):
            self._folder.rmdir()
