"""Streams of any API, read while they pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallystick.wire.eventstream import EventStreamDecoder
from tallystick.wire.families import family_of
from tallystick.wire.headers import header, take_headers
from tallystick.wire.objects import ObjectDecoder
from tallystick.wire.reading import Reading, mark_error
from tallystick.wire.sse import BYTE_ORDER_MARK, EventDecoder

__all__ = ["StreamReader"]

Decoder = EventDecoder | EventStreamDecoder | ObjectDecoder


class StreamReader:
    """Reads a stream while it passes: bytes in, a reading out.

    It keeps counts and names, and of the content no more than the event that is under way. It
    never raises, whatever the bytes are.

    Args:
        api: the request's API, as `identify` names it.
        headers: the response's headers, in any case.
        status: the HTTP status.
    """

    def __init__(
        self, api: str | None, headers: Mapping[str, Any] | None = None, status: int = 200
    ) -> None:
        self._family = family_of(api)
        self._skip = self._family.skip
        self._status = status
        kind = header(headers, "content-type") or ""
        self._binary = "amazon.eventstream" in kind or self._family.binary
        self._decoder: Decoder | None = None
        self._reading = Reading()
        take_headers(self._reading, api or "", headers)
        self._read = False
        self._finished = False
        self._closed = False

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes of the body."""
        decoder = self._decoder
        if decoder is None:
            decoder = self._decoder = self._recognise(chunk)
            if decoder is None:
                return
        for name, data in decoder.feed(chunk):
            self._take(name, data)

    def close(self) -> Reading:
        """Return the reading, once all bytes that will come were fed.

        Its outcome is None where the stream broke off before it said how it ended.
        """
        if not self._closed:
            self._closed = True
            self._end()
        return self.reading

    @property
    def reading(self) -> Reading:
        """What was said so far: a copy, which later events do not change."""
        reading = self._reading.copy()
        self._family.settle(reading)
        if self._status >= 400:
            mark_error(reading, self._status)
        return reading

    @property
    def finished(self) -> bool:
        """Whether the provider said that this is the end of the stream."""
        return self._finished

    def _recognise(self, chunk: bytes) -> Decoder | None:
        """Choose the decoder by the first byte that says something.

        An error comes as plain JSON where a stream was asked for, at times under the stream's
        content type; no line of an event stream that means anything begins with a bracket.
        """
        first = chunk.removeprefix(BYTE_ORDER_MARK).lstrip()[:1]
        if first in (b"{", b"["):
            return ObjectDecoder()
        if self._binary and chunk:
            return EventStreamDecoder()
        return EventDecoder() if first else None

    def _take(self, name: str, data: bytes) -> None:
        reading = self._reading
        if self._skip is not None and reading.model is not None and reading.response_id is not None:
            length = self._skip(reading, data)
            if length is not None:
                reading.text_bytes += length
                reading.output_events += length > 0
                return
        body = _decoded(data)
        if isinstance(body, Mapping):
            self._take_object(name, body)
        elif data.strip() == b"[DONE]":
            self._done()
        else:
            self._reading.note("an event that is no JSON object")

    def _done(self) -> None:
        self._finished = True
        if self._reading.outcome is None:
            # Some hosts give no finish reason.
            self._reading.outcome = "completed"

    def _take_object(self, name: str, body: Mapping[str, Any]) -> None:
        self._read = True
        if isinstance(self._decoder, ObjectDecoder) and not self._family.streams_objects:
            # A whole response, although a stream was asked for.
            self._family.take_body(self._reading, body)
            self._finished = True
        elif self._family.take_event(self._reading, name, body):
            self._finished = True

    def _end(self) -> None:
        decoder = self._decoder
        if decoder is None:
            return
        for name, data in decoder.close():
            # What broke off may be cut anywhere, so it is read only if it is whole.
            body = _decoded(data)
            if isinstance(body, Mapping):
                self._take_object(name, body)
            elif data.strip() == b"[DONE]":
                self._done()
        if isinstance(decoder, ObjectDecoder) and not self._read:
            self._reading.outcome, self._reading.error_type = "error", "malformed_body"
        if decoder.dropped:
            self._reading.note(f"{decoder.dropped} events too long to be read")
        if isinstance(decoder, EventStreamDecoder) and decoder.broken:
            self._reading.note("the stream's framing is broken")


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
