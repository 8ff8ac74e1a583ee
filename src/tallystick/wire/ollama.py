"""Ollama's own API. Its counts lie at the top of the last object, among durations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire.block import argument_length, merged, utf8_length
from tallystick.wire.openai import take_error
from tallystick.wire.reading import Reading, text

__all__ = ["settle", "settle_embeddings", "take_body", "take_event"]

NAMES: Final = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole response."""
    reading.model = text(body.get("model")) or reading.model
    if body.get("done") is True:
        if body.get("done_reason") == "length":
            reading.outcome, reading.error_type = "incomplete", "length"
        else:
            reading.outcome = "completed"
    take_error(reading, body)
    reading.text_bytes += utf8_length(body.get("response")) + utf8_length(body.get("thinking"))
    message = body.get("message")
    if isinstance(message, Mapping):
        reading.text_bytes += _message_length(message)
    usage = {name: body[name] for name in NAMES if name in body}
    reading.raw_usage = merged(reading.raw_usage, usage or None)


def take_event(reading: Reading, _event: str, body: Mapping[str, Any]) -> bool:
    """Read one line of a stream; return whether it is the last."""
    before = reading.text_bytes
    take_body(reading, body)
    reading.output_events += reading.text_bytes > before
    return body.get("done") is True


def _message_length(message: Mapping[str, Any]) -> int:
    length = utf8_length(message.get("content")) + utf8_length(message.get("thinking"))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            length += utf8_length(function.get("name")) + argument_length(function.get("arguments"))
    return length


def settle(reading: Reading) -> None:
    """Set the counts of a reading from its raw usage.

    Older servers leave the prompt's count out when they had all of it in their cache; it is
    unknown then, and not zero.
    """
    usage = reading.raw_usage
    if usage is None:
        return
    reading.input_tokens = reading.count(usage, "prompt_eval_count")
    reading.output_tokens = reading.count(usage, "eval_count")
    reading.finish_counts()


def settle_embeddings(reading: Reading) -> None:
    """Set the counts of an embeddings request: all that it uses is input."""
    settle(reading)
    if reading.outcome is None:
        reading.outcome = "completed"
    if reading.has_usage and reading.output_tokens is None:
        reading.output_tokens = 0
        reading.finish_counts()
