"""Cohere's Chat and Embed, in both versions.

Cohere counts twice: `tokens` is what its model saw, with Cohere's own instructions around the
prompt; `billed_units` is what is charged. The billed units are counted here. The cached tokens
that it reports are part of the first, and are not discounted, so they are kept only raw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire.block import argument_length, merged, utf8_length
from tallystick.wire.reading import Reading, text

__all__ = ["settle", "settle_embeddings", "take_body", "take_event"]

FAILED: Final = frozenset({"ERROR", "ERROR_TOXIC", "TIMEOUT"})
CUT: Final = frozenset({"MAX_TOKENS", "ERROR_LIMIT", "USER_CANCEL"})


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole response."""
    reading.model = text(body.get("model")) or reading.model
    identifier = text(body.get("id")) or text(body.get("response_id"))
    reading.response_id = identifier or reading.response_id
    _take_finish(reading, body)
    reading.text_bytes += _length(body)
    message = body.get("message")
    if isinstance(message, Mapping):
        reading.text_bytes += _message_length(message)


def take_event(reading: Reading, event: str, body: Mapping[str, Any]) -> bool:
    """Read one event of a stream; return whether it is the last."""
    kind = text(body.get("type")) or text(body.get("event_type")) or event
    reading.response_id = text(body.get("id")) or reading.response_id
    delta = body.get("delta")
    if isinstance(delta, Mapping):  # version 2
        _take_finish(reading, delta)
        message = delta.get("message")
        length = _message_length(message) if isinstance(message, Mapping) else 0
    else:
        length = _length(body) if kind == "text-generation" else 0
    reading.text_bytes += length
    reading.output_events += bool(length)
    response = body.get("response")
    if isinstance(response, Mapping):  # version 1 ends with the whole response
        streamed = reading.text_bytes
        take_body(reading, response)
        reading.text_bytes = max(streamed, reading.text_bytes - streamed)
    return kind in ("message-end", "stream-end")


def _take_finish(reading: Reading, block: Mapping[str, Any]) -> None:
    reason = text(block.get("finish_reason"))
    if reason in FAILED:
        reading.outcome, reading.error_type = "failed", reason
    elif reason in CUT:
        reading.outcome, reading.error_type = "incomplete", reason
    elif reason is not None:
        reading.outcome = "completed"
    reading.raw_usage = merged(reading.raw_usage, block.get("usage"))
    meta = block.get("meta")
    if isinstance(meta, Mapping):  # version 1, and Embed
        named = {
            name: meta[name] for name in ("billed_units", "tokens", "cached_tokens") if name in meta
        }
        reading.raw_usage = merged(reading.raw_usage, named or None)


def _length(body: Mapping[str, Any]) -> int:
    length = utf8_length(body.get("text"))
    calls = body.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, Mapping):
            length += utf8_length(call.get("name")) + argument_length(call.get("parameters"))
    return length


def _message_length(message: Mapping[str, Any]) -> int:
    length = utf8_length(message.get("tool_plan"))
    content = message.get("content")
    # A stream gives one part, a whole response a list of them.
    for part in content if isinstance(content, list) else (content,):
        if isinstance(part, Mapping):
            length += utf8_length(part.get("text")) + utf8_length(part.get("thinking"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else (calls,):
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            length += utf8_length(function.get("name")) + utf8_length(function.get("arguments"))
    return length


def settle(reading: Reading) -> None:
    """Set the counts of a reading from its raw usage."""
    usage = reading.raw_usage
    if usage is None:
        return
    billed = usage.get("billed_units")
    block = billed if isinstance(billed, Mapping) else usage.get("tokens")
    reading.input_tokens = reading.count(block, "input_tokens")
    reading.output_tokens = reading.count(block, "output_tokens")
    reading.ran("search_units", reading.count(billed, "search_units"))
    reading.finish_counts()


def settle_embeddings(reading: Reading) -> None:
    """Set the counts of an embeddings request: all that it uses is input."""
    settle(reading)
    if reading.outcome is None:
        reading.outcome = "completed"
    if reading.has_usage and reading.output_tokens is None:
        reading.output_tokens = 0
        reading.finish_counts()
