"""An incremental decoder of server-sent events, by the WHATWG specification.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAX_EVENT_BYTES", "Event", "EventDecoder"]

MAX_EVENT_BYTES: Final = 64 * 1024 * 1024
"""An event past this size is dropped, so that memory is bounded. It is this large because a final
event repeats the whole output, with its images."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event: its type ("" where the stream names none) and its data, still as bytes."""

    name: str
    data: bytes


class EventDecoder:
    """Turns bytes, cut anywhere, into events. It keeps no more than the current event."""

    __slots__ = (
        "_after_return",
        "_data",
        "_data_size",
        "_name",
        "_rest",
        "_rest_size",
        "_started",
        "_too_long",
        "dropped",
    )

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._data: list[bytes] = []
        self._data_size = 0
        self._name = b""
        self._started = False
        self._after_return = False
        self._too_long = False
        self.dropped = 0
        """How many events were dropped for their size."""

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that the chunk completes."""
        if self._after_return and chunk:
            # A line feed here belongs to the carriage return that ended the last chunk.
            self._after_return = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        if self._rest:
            chunk = b"".join((*self._rest, chunk))
            self._rest.clear()
            self._rest_size = 0
        if not self._started:
            self._started = True
            chunk = chunk.removeprefix(BYTE_ORDER_MARK)
        # bytes.splitlines knows the three line ends of the specification, and no others.
        lines = chunk.splitlines()
        if chunk[-1:] == b"\r":
            self._after_return = True
        elif chunk[-1:] != b"\n":
            self._keep(lines.pop())
        events: list[Event] = []
        for line in lines:
            if line:
                self._read_field(line)
            else:
                self._dispatch(events)
        return events

    def close(self) -> list[Event]:
        """Return the event that the stream broke off in, if there is one.

        The specification drops it. It is given here because a last event without its empty line
        can carry the usage; whoever reads it must expect it to be cut.
        """
        if self._rest:
            line = b"".join(self._rest)
            self._rest.clear()
            self._rest_size = 0
            self._read_field(line if self._started else line.removeprefix(BYTE_ORDER_MARK))
        events: list[Event] = []
        self._dispatch(events)
        return events

    def _keep(self, part: bytes) -> None:
        if not part:
            return
        self._rest_size += len(part)
        if self._rest_size + self._data_size > MAX_EVENT_BYTES:
            self._too_long = True
            # A colon makes the rest of this line a comment, so that it is not read as another.
            self._rest = [b":"]
            self._rest_size = 1
        else:
            self._rest.append(part)

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data_size += len(value)
            if self._data_size > MAX_EVENT_BYTES:
                self._too_long = True
                self._data.clear()
                self._data_size = 0
            elif not self._too_long:
                self._data.append(value[1:] if value[:1] == b" " else value)
        elif name == b"event":
            self._name = value[1:] if value[:1] == b" " else value

    def _dispatch(self, events: list[Event]) -> None:
        if self._too_long:
            self.dropped += 1
            self._too_long = False
        elif self._data:
            data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
            events.append(Event(self._name.decode("utf-8", "replace"), data))
        self._data.clear()
        self._data_size = 0
        self._name = b""
