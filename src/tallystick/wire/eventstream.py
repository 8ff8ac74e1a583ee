"""An incremental decoder of Amazon's binary event stream.

A message is: total length, length of the headers, a checksum of the two (each 32 bits, big
endian); the headers; the payload; a checksum of all before it.
"""

from __future__ import annotations

from struct import Struct
from typing import Final
from zlib import crc32

from tallystick.wire.sse import MAX_EVENT_BYTES, Event

__all__ = ["EventStreamDecoder"]

PRELUDE: Final = Struct(">III")
CHECKSUM: Final = Struct(">I")
SMALLEST: Final = PRELUDE.size + CHECKSUM.size

# The sizes of header values by their type; text and bytes (7 and 6) give their own.
SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}


class EventStreamDecoder:
    """Turns bytes, cut anywhere, into events. It keeps no more than the current message."""

    __slots__ = ("_rest", "broken", "dropped")

    def __init__(self) -> None:
        self._rest = bytearray()
        self.broken = False
        """Whether a checksum or length was wrong; nothing after that can be read."""
        self.dropped = 0

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that the chunk completes."""
        events: list[Event] = []
        if self.broken:
            return events
        rest = self._rest
        rest += chunk
        start = 0
        while len(rest) - start >= PRELUDE.size:
            total, headers, checksum = PRELUDE.unpack_from(rest, start)
            if (
                checksum != crc32(rest[start : start + 8])
                or not SMALLEST + headers <= total <= MAX_EVENT_BYTES
            ):
                self._break()
                return events
            end = start + total
            if len(rest) < end:
                break
            if CHECKSUM.unpack_from(rest, end - 4)[0] != crc32(rest[start : end - 4]):
                self._break()
                return events
            body = start + PRELUDE.size + headers
            name = _name(bytes(rest[start + PRELUDE.size : body]))
            events.append(Event(name, bytes(rest[body : end - 4])))
            start = end
        del rest[:start]
        return events

    def close(self) -> list[Event]:
        """Return nothing: a message that was cut cannot be read."""
        self._rest.clear()
        return []

    def _break(self) -> None:
        self.broken = True
        self._rest.clear()


def _name(headers: bytes) -> str:
    """Return the event's type, or the exception's."""
    values: dict[str, str] = {}
    place = 0
    while place < len(headers):
        length = headers[place]
        name = headers[place + 1 : place + 1 + length].decode("utf-8", "replace")
        place += 1 + length
        if place >= len(headers):
            break
        kind = headers[place]
        place += 1
        if kind in (6, 7):
            size = int.from_bytes(headers[place : place + 2], "big")
            place += 2
        elif kind in SIZES:
            size = SIZES[kind]
        else:
            break
        if kind == 7:
            values[name] = headers[place : place + size].decode("utf-8", "replace")
        place += size
    for name in (":event-type", ":exception-type", ":error-code"):
        if name in values:
            # An exception is marked by its name's end; an error's code may lack it.
            mark = name == ":error-code" and not values[name].endswith("Exception")
            return values[name] + "Exception" * mark
    return ""
