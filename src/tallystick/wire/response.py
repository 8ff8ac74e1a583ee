"""Whole response bodies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallystick.wire.families import family_of
from tallystick.wire.headers import take_headers
from tallystick.wire.plain import plain
from tallystick.wire.reading import Reading, mark_error
from tallystick.wire.sse import BYTE_ORDER_MARK
from tallystick.wire.stream import StreamReader

__all__ = ["read_response"]

# How a body begins that is a stream after all.
STREAMS = (b"data:", b"event:", b"id:", b":", b"\x00")


def read_response(
    api: str | None, status: int, headers: Mapping[str, Any] | None, body: Any
) -> Reading:
    """Read a whole response. It never raises, whatever the body is.

    Args:
        api: the request's API, as `identify` names it.
        status: the HTTP status.
        headers: the response's headers, in any case.
        body: the bytes or text, the decoded JSON, or an object with `model_dump`.

    Returns:
        A reading. Of an HTTP error, the outcome is "error" and the type is the provider's code
        or the status; of a body that cannot be read, "error" and "malformed_body".
    """
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    if isinstance(body, bytes | bytearray | memoryview):
        content = bytes(body).removeprefix(BYTE_ORDER_MARK)
        if content.lstrip().startswith(STREAMS):
            return _read_stream(api, status, headers, content)
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            if family_of(api).streams_objects:
                return _read_stream(api, status, headers, content)
            body = None
    else:
        body = plain(body)
    reading = Reading()
    take_headers(reading, api or "", headers)
    _take(reading, api, body)
    if status >= 400:
        mark_error(reading, status)
    return reading


def _read_stream(
    api: str | None, status: int, headers: Mapping[str, Any] | None, content: bytes
) -> Reading:
    reader = StreamReader(api, headers, status)
    reader.feed(content)
    return reader.close()


def _take(reading: Reading, api: str | None, body: Any) -> None:
    family = family_of(api)
    if isinstance(body, list):
        # Gemini without server-sent events streams the elements of one array.
        for element in body:
            if isinstance(element, Mapping):
                family.take_event(reading, "", element)
    elif isinstance(body, Mapping):
        family.take_body(reading, body)
    else:
        reading.outcome, reading.error_type = "error", "malformed_body"
    family.settle(reading)
