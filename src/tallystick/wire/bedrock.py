"""Amazon Bedrock: Converse, and InvokeModel with the bodies of each maker of models.

Converse's `inputTokens` leaves out what was read from or written to a cache; here it is added.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire import anthropic, openai
from tallystick.wire.block import argument_length, merged, utf8_length
from tallystick.wire.reading import Reading, text

__all__ = ["settle", "settle_invoke", "take_body", "take_chunk", "take_event", "take_invoked"]

CUT: Final = frozenset(
    {
        "max_tokens",
        "guardrail_intervened",
        "content_filtered",
        "model_context_window_exceeded",
        "malformed_model_output",
        "malformed_tool_use",
        # Titan's and Llama's words.
        "LENGTH",
        "CONTENT_FILTERED",
        "length",
    }
)


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole Converse response."""
    _take_metadata(reading, body)
    _take_stop(reading, body.get("stopReason"))
    output = body.get("output")
    message = output.get("message") if isinstance(output, Mapping) else None
    content = message.get("content") if isinstance(message, Mapping) else None
    for block in content if isinstance(content, list) else ():
        reading.text_bytes += _block_length(block)


def take_event(reading: Reading, event: str, body: Mapping[str, Any]) -> bool:
    """Read one event of a Converse stream; return whether it is the last."""
    if event.endswith("Exception"):
        reading.outcome, reading.error_type = "failed", event
        return True
    delta = body.get("delta")
    if isinstance(delta, Mapping):
        length = _block_length(delta)
        reading.text_bytes += length
        reading.output_events += bool(length)
    _take_stop(reading, body.get("stopReason"))
    _take_metadata(reading, body)
    return event == "metadata"


def _take_metadata(reading: Reading, body: Mapping[str, Any]) -> None:
    reading.raw_usage = merged(reading.raw_usage, body.get("usage"))
    tier = body.get("serviceTier")
    name = text(tier.get("type") if isinstance(tier, Mapping) else tier)
    if name is not None and name != "auto":
        reading.service_tier = name
    performance = body.get("performanceConfig")
    latency = text(performance.get("latency")) if isinstance(performance, Mapping) else None
    if latency is not None and latency != "standard":
        reading.modifiers["latency"] = latency
    trace = body.get("trace")
    router = trace.get("promptRouter") if isinstance(trace, Mapping) else None
    if isinstance(router, Mapping):
        # A prompt router answers with a model of its choice, and that one is billed.
        reading.model = text(router.get("invokedModelId")) or reading.model


def _take_stop(reading: Reading, reason: Any) -> None:
    name = text(reason)
    if name in CUT:
        reading.outcome, reading.error_type = "incomplete", name
    elif name is not None and reading.outcome is None:
        reading.outcome = "completed"


def _block_length(block: Any) -> int:
    if not isinstance(block, Mapping):
        return 0
    length = utf8_length(block.get("text"))
    reasoning = block.get("reasoningContent")
    if isinstance(reasoning, Mapping):
        inner = reasoning.get("reasoningText")
        inner = inner if isinstance(inner, Mapping) else reasoning
        length += utf8_length(inner.get("text"))
    tool = block.get("toolUse")
    if isinstance(tool, Mapping):
        asked = tool.get("input")
        # A stream gives the input as text, a whole response decoded.
        length += utf8_length(tool.get("name"))
        length += utf8_length(asked) if isinstance(asked, str) else argument_length(asked)
    return length


def take_invoked(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole InvokeModel response, whose form is the model's own."""
    if isinstance(body.get("choices"), list):
        openai.take_body(reading, body)
    elif body.get("type") == "message":
        anthropic.take_body(reading, body)
    elif "inputTextTokenCount" in body or "prompt_token_count" in body:
        _take_counts(reading, body)
    else:
        take_body(reading, body)
    if reading.outcome is None and ("embedding" in body or "embeddings" in body):
        reading.outcome = "completed"


def take_chunk(reading: Reading, event: str, body: Mapping[str, Any]) -> bool:
    """Read one event of an InvokeModel stream: the model's own event, in base64."""
    if event.endswith("Exception"):
        reading.outcome, reading.error_type = "failed", event
        return True
    encoded = body.get("bytes")
    if isinstance(encoded, str):
        try:
            inner = json.loads(b64decode(encoded))
        except (ValueError, RecursionError):
            reading.note("a chunk that is no JSON")
            return False
        if not isinstance(inner, Mapping):
            return False
        body = inner
    return _take_inner(reading, body)


def _take_inner(reading: Reading, body: Mapping[str, Any]) -> bool:
    metrics = body.get("amazon-bedrock-invocationMetrics")
    if isinstance(metrics, Mapping):
        reading.raw_usage = merged(reading.raw_usage, {"invocationMetrics": metrics})
    if isinstance(body.get("choices"), list):
        openai.take_event(reading, "", body)
    elif isinstance(body.get("type"), str):
        anthropic.take_event(reading, "", body)
    elif "metadata" in body or "contentBlockDelta" in body or "messageStop" in body:
        for name, inner in body.items():  # Nova: Converse's events, named inside
            if isinstance(inner, Mapping):
                take_event(reading, str(name), inner)
    else:
        before = reading.text_bytes
        _take_counts(reading, body)
        reading.output_events += reading.text_bytes > before
    return isinstance(metrics, Mapping)


def _take_counts(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read Titan's and Llama's counts, which lie beside the text."""
    names = (
        "inputTextTokenCount",
        "totalOutputTextTokenCount",
        "prompt_token_count",
        "generation_token_count",
    )
    usage = {name: body[name] for name in names if name in body}
    results = body.get("results")
    if isinstance(results, list):
        counts = [result.get("tokenCount") for result in results if isinstance(result, Mapping)]
        usage["results"] = [{"tokenCount": count} for count in counts]
        for result in results:
            if isinstance(result, Mapping):
                reading.text_bytes += utf8_length(result.get("outputText"))
                _take_stop(reading, result.get("completionReason"))
    if usage:
        reading.raw_usage = merged(reading.raw_usage, usage)
    for name in ("outputText", "generation"):
        reading.text_bytes += utf8_length(body.get(name))
    _take_stop(reading, body.get("completionReason") or body.get("stop_reason"))


def settle(reading: Reading) -> None:
    """Set the counts of a Converse reading from its raw usage, made inclusive."""
    usage = reading.raw_usage
    if usage is None:
        return
    _add_up(
        reading,
        sent=reading.count(usage, "inputTokens"),
        received=reading.count(usage, "outputTokens"),
        cached=reading.count(usage, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        written=reading.count(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount"),
    )
    details = usage.get("cacheDetails")
    for detail in details if isinstance(details, list) else ():
        span = detail.get("ttl") if isinstance(detail, Mapping) else None
        number = reading.count(detail, "inputTokens")
        if span in ("5m", "1h") and number is not None:
            reading.input_details[f"cache_write_{span}_tokens"] = number
    total = reading.count(usage, "totalTokens")
    if total is not None and reading.total_tokens not in (None, total):
        # Amazon describes its total both with and without the cached part.
        sent = reading.count(usage, "inputTokens") or 0
        if total != sent + (reading.output_tokens or 0):
            reading.note(f"totalTokens: {total} for {reading.total_tokens}")
    tools = usage.get("serverToolUsage")
    if isinstance(tools, Mapping):
        reading.ran("web_search", reading.count(tools, "webSearchRequests"))


def settle_invoke(reading: Reading) -> None:
    """Set the counts of an InvokeModel reading, in whatever form the model gave them."""
    usage = reading.raw_usage
    if usage is None:
        return
    if "prompt_tokens" in usage:
        openai.settle(reading)
    elif "inputTokens" in usage:
        settle(reading)
    elif "input_tokens" in usage:
        anthropic.settle(reading)
    else:
        _settle_plain(reading, usage)
    if not reading.has_usage:
        metrics = usage.get("invocationMetrics")
        _add_up(
            reading,
            sent=reading.count(metrics, "inputTokenCount"),
            received=reading.count(metrics, "outputTokenCount"),
            cached=reading.count(metrics, "cacheReadInputTokenCount"),
            written=reading.count(metrics, "cacheWriteInputTokenCount"),
        )
    if reading.output_tokens is None and not reading.text_bytes and reading.has_usage:
        # The count of output is left out where there is none to count: embeddings.
        reading.output_tokens = 0
        reading.finish_counts()


def _settle_plain(reading: Reading, usage: Mapping[str, Any]) -> None:
    received = reading.count(usage, "totalOutputTextTokenCount", "generation_token_count")
    results = usage.get("results")
    if isinstance(results, list):
        counts = [reading.count(result, "tokenCount") for result in results]
        if None not in counts:
            received = sum(number for number in counts if number is not None)
    sent = reading.count(usage, "inputTextTokenCount", "prompt_token_count")
    _add_up(reading, sent=sent, received=received, cached=None, written=None)


def _add_up(
    reading: Reading,
    *,
    sent: int | None,
    received: int | None,
    cached: int | None,
    written: int | None,
) -> None:
    for name, number in (("cached_tokens", cached), ("cache_write_tokens", written)):
        if number is not None:
            reading.input_details[name] = number
    if sent is not None:
        reading.input_tokens = sent + sum(part for part in (cached, written) if part is not None)
    reading.output_tokens = received
    reading.finish_counts()
