"""Anthropic's Messages API, as Anthropic, Vertex, Bedrock and llama.cpp serve it.

Its `input_tokens` leaves out what was read from or written to a cache; here it is added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire.block import argument_length, merged, utf8_length
from tallystick.wire.openai import identity, take_error
from tallystick.wire.reading import Reading, text

__all__ = ["settle", "skip", "take_body", "take_event"]

# Stop reasons that cut the answer short; every other one ends a turn as it should.
CUT: Final = frozenset({"max_tokens", "model_context_window_exceeded", "refusal"})

# A delta that holds only text without escapes; the whole event must match.
PLAIN: Final = re.compile(
    rb'\{"type": ?"content_block_delta", ?"index": ?\d++, ?'
    rb'"delta": ?\{"type": ?"[a-z_]++", ?"(?:text|thinking|partial_json)": ?"([^"\\]*+)" *\} *\}'
)

TOOLS: Final = {
    "web_search_requests": "web_search",
    "web_fetch_requests": "web_fetch",
    "code_execution_requests": "code_execution",
    "tool_search_requests": "tool_search",
}


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole message."""
    identity(reading, body)
    take_error(reading, body)
    _take_stop(reading, body)
    content = body.get("content")
    if isinstance(content, list):
        reading.text_bytes += sum(map(_block_length, content))
    reading.raw_usage = merged(reading.raw_usage, body.get("usage"))


def take_event(reading: Reading, event: str, body: Mapping[str, Any]) -> bool:
    """Read one event of a stream; return whether it is the last."""
    kind = text(body.get("type")) or event
    if kind == "content_block_delta":
        delta = body.get("delta")
        length = _block_length(delta)
        reading.text_bytes += length
        reading.output_events += bool(length)
        return False
    message = body.get("message")
    if isinstance(message, Mapping):
        take_body(reading, message)
    elif kind == "content_block_start":
        reading.text_bytes += _block_length(body.get("content_block"))
    elif kind == "error":
        take_error(reading, body)
        return True
    delta = body.get("delta")
    if isinstance(delta, Mapping):
        _take_stop(reading, delta)
    reading.raw_usage = merged(reading.raw_usage, body.get("usage"))
    metrics = body.get("amazon-bedrock-invocationMetrics")
    if isinstance(metrics, Mapping):
        reading.raw_usage = merged(reading.raw_usage, {"invocationMetrics": metrics})
    return kind == "message_stop"


def skip(_reading: Reading, data: bytes) -> int | None:
    """Return the length of the text in an event that has nothing else, or None."""
    match = PLAIN.fullmatch(data)
    return None if match is None else match.end(1) - match.start(1)


def _take_stop(reading: Reading, block: Mapping[str, Any]) -> None:
    reason = text(block.get("stop_reason"))
    if reason in CUT:
        reading.outcome, reading.error_type = "incomplete", reason
    elif reason is not None:
        reading.outcome = "completed"


def _block_length(block: Any) -> int:
    if not isinstance(block, Mapping):
        return 0
    names = ("text", "thinking", "partial_json")
    length = sum(utf8_length(block.get(name)) for name in names)
    asked = block.get("input")
    if isinstance(asked, Mapping) and asked:
        # What a tool is called with comes decoded; its text is about as long as it was.
        length += utf8_length(block.get("name")) + argument_length(asked)
    return length


def settle(reading: Reading) -> None:
    """Set the counts of a reading from its raw usage, made inclusive."""
    usage = reading.raw_usage
    if usage is None:
        return
    _counts(reading, usage)
    _iterations(reading, usage)
    reading.finish_counts()
    tier = text(usage.get("service_tier"))
    if tier is not None and tier != "auto":
        reading.service_tier = tier
    for name in ("inference_geo", "speed"):
        value = text(usage.get(name))
        if value is not None and value != "not_available":
            reading.modifiers[name] = value
    tools = usage.get("server_tool_use")
    for name, tool in TOOLS.items():
        reading.ran(tool, reading.count(tools, name))


def _counts(reading: Reading, usage: Mapping[str, Any]) -> None:
    sent = reading.count(usage, "input_tokens")
    cached = reading.count(usage, "cache_read_input_tokens")
    written = reading.count(usage, "cache_creation_input_tokens")
    parts: dict[str, int | None] = {"cached_tokens": cached, "cache_write_tokens": written}
    spans = usage.get("cache_creation")
    if isinstance(spans, Mapping):
        minutes = reading.count(spans, "ephemeral_5m_input_tokens")
        hour = reading.count(spans, "ephemeral_1h_input_tokens")
        parts["cache_write_5m_tokens"], parts["cache_write_1h_tokens"] = minutes, hour
        if written is None and minutes is not None and hour is not None:
            parts["cache_write_tokens"] = written = minutes + hour
    reading.input_details.update(
        {name: number for name, number in parts.items() if number is not None}
    )
    if sent is not None:
        # A part that was not reported is none: the fields are left out where no cache was used.
        reading.input_tokens = sent + sum(part for part in (cached, written) if part is not None)
    reading.output_tokens = reading.count(usage, "output_tokens")
    thinking = reading.count(usage.get("output_tokens_details"), "thinking_tokens")
    if thinking is not None:
        reading.output_details["reasoning_tokens"] = thinking


def _iterations(reading: Reading, usage: Mapping[str, Any]) -> None:
    """Add what was sampled beside the message itself: compactions, and other models' advice.

    The counts at the top are the sum of the iterations of type "message". A compaction is billed
    as well, at the same rates; an advisor's message at the rates of its own model.
    """
    iterations = usage.get("iterations")
    if not isinstance(iterations, list):
        return
    for iteration in iterations:
        if not isinstance(iteration, Mapping) or iteration.get("type") == "message":
            continue
        beside = Reading(model=text(iteration.get("model")) or reading.model)
        _counts(beside, iteration)
        if not beside.has_usage:
            continue
        beside.finish_counts()
        if beside.model != reading.model:
            beside.service_tier = reading.service_tier
            beside.raw_usage = dict(iteration)
            reading.others.append(beside)
            reading.note(f"{beside.total_tokens} tokens of {beside.model} beside")
        else:
            reading.include(beside)
