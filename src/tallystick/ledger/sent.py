"""What a process is about to send, kept where a kill cannot take it away.

A row that is held says that a request was about to be sent; whether it was is known only to the
process. It notes each id in its own file, mapped into memory, right before it sends: that takes
less than a microsecond, and what is in the mapping is the system's when the process is killed.
So who finds the file later can release what was never sent.

The file is not flushed to the disk. After the machine itself went down it says nothing, which
is known by the boot that it was written under.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
from pathlib import Path

_SLOT = 48
"""Bytes for one id."""

_SLOTS = 256
"""How many slots a file begins with. It grows by as many as it has."""


def _boot() -> bytes | None:
    """Return what names the time since the machine was started; None where nothing does."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    return None


def _allot(descriptor: int, begin: int, end: int) -> None:
    """Write zeros: a store into a hole of a mapped file kills the process where the disk is full.

    Raises:
        OSError: there is no room.
    """
    os.lseek(descriptor, begin, os.SEEK_SET)
    left = end - begin
    while left:
        left -= os.write(descriptor, bytes(left))


class SentMarks:
    """The marks of one process, in a file that it has open. The first slot names the boot."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._size = _SLOTS * _SLOT
        _allot(descriptor, 0, self._size)
        self._map = mmap.mmap(descriptor, self._size)
        self._free.extend(range(_SLOT, self._size, _SLOT))
        self._map[:_SLOT] = (_boot() or b"").ljust(_SLOT, b"\0")

    def add(self, entry_id: str) -> None:
        """Mark an entry, before it is sent. It never fails."""
        name = entry_id.encode("utf-8", "replace")
        # It has been closed where the ledger was, which put all that is held in doubt.
        with self._lock, contextlib.suppress(ValueError):
            try:
                if not self._free:
                    self._grow()
            except OSError:
                name = bytes(_SLOT + 1)
            if len(name) > _SLOT:
                # The disk is full, or the id is of somebody else's making. From here on the
                # file says nothing.
                self._map[:_SLOT] = bytes(_SLOT)
                return
            slot = self._slots[entry_id] = self._free.pop()
            self._map[slot : slot + _SLOT] = name.ljust(_SLOT, b"\0")

    def discard(self, entry_id: str) -> None:
        """Take a mark away: it is committed how the entry ended."""
        with self._lock, contextlib.suppress(ValueError):
            slot = self._slots.pop(entry_id, None)
            if slot is not None:
                self._map[slot : slot + _SLOT] = bytes(_SLOT)
                self._free.append(slot)

    def _grow(self) -> None:
        size = 2 * self._size
        _allot(self._descriptor, self._size, size)
        self._map.close()
        self._map = mmap.mmap(self._descriptor, size)
        self._free.extend(range(self._size, size, _SLOT))
        self._size = size

    def close(self) -> None:
        """Let go of the mapping; in a forked child too, where it is the parent's."""
        self._map.close()


def read_marks(path: Path) -> frozenset[str] | None:
    """Return the entries that a process which is gone marked and did not take back.

    None where the file says nothing: there is none, or it is of before the machine started.
    """
    boot = _boot()
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if boot is None or content[:_SLOT].rstrip(b"\0") != boot:
        return None
    slots = (content[at : at + _SLOT].rstrip(b"\0") for at in range(_SLOT, len(content), _SLOT))
    return frozenset(slot.decode("utf-8", "replace") for slot in slots if slot)
