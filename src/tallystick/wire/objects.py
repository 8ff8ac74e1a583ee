"""An incremental splitter of JSON objects: one a line, elements of one array, or one alone."""

from __future__ import annotations

import re
from typing import Final

from tallystick.wire.sse import MAX_EVENT_BYTES, Event

__all__ = ["ObjectDecoder"]

OUTSIDE: Final = re.compile(rb'["{}]')
INSIDE: Final = re.compile(rb'["\\]')


class ObjectDecoder:
    """Turns bytes, cut anywhere, into the outermost objects. It keeps no more than one."""

    __slots__ = ("_depth", "_escaped", "_parts", "_quoted", "_size", "dropped")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self.dropped = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the objects that the chunk completes, as events without a name."""
        events: list[Event] = []
        start = place = 0
        if self._escaped and chunk:
            self._escaped = False
            place = 1
        while True:
            match = (INSIDE if self._quoted else OUTSIDE).search(chunk, place)
            if match is None:
                break
            place = match.end()
            mark = match.group()
            if mark == b"\\":
                if place == len(chunk):
                    self._escaped = True
                place += 1
            elif mark == b'"':
                # What lies between objects is no text that matters.
                self._quoted = not self._quoted and self._depth > 0
            elif mark == b"{":
                if self._depth == 0:
                    start = place - 1
                self._depth += 1
            elif self._depth > 0:
                self._depth -= 1
                if self._depth == 0:
                    self._keep(chunk[start:place])
                    self._emit(events)
        if self._depth > 0:
            self._keep(chunk[start:])
        return events

    def close(self) -> list[Event]:
        """Return nothing: an object that was cut cannot be read."""
        self._parts.clear()
        self._size = 0
        return []

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > MAX_EVENT_BYTES:
            self._parts.clear()
        else:
            self._parts.append(part)

    def _emit(self, events: list[Event]) -> None:
        if self._size > MAX_EVENT_BYTES:
            self.dropped += 1
        else:
            events.append(Event("", b"".join(self._parts)))
        self._parts.clear()
        self._size = 0
