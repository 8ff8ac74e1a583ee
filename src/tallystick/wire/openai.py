"""OpenAI's usage block, and Chat Completions, Completions and Embeddings, as many hosts serve them.

Read here as well, because they share the form: Azure, Groq, Mistral, DeepSeek, xAI, OpenRouter,
Perplexity, llama.cpp and others, with what each does differently.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from tallystick.usage import INPUT_DETAILS, OUTPUT_DETAILS, count
from tallystick.wire.block import merged, utf8_length
from tallystick.wire.reading import Reading, shown, text

__all__ = [
    "identity",
    "settle",
    "settle_embeddings",
    "skip",
    "take_body",
    "take_error",
    "take_event",
]

# Finish reasons that cut the answer short; "model_length" is Mistral's.
CUT: Final = frozenset({"length", "content_filter", "model_length", "max_tokens"})

# A chunk of one choice that holds only text without escapes. The whole chunk must match, so no
# usage, error or finish reason can hide in one that does.
PLAIN: Final = re.compile(
    rb'\{(?:"(?:id|object|model|provider|service_tier|system_fingerprint)": ?"[^"\\]*+", ?'
    rb'|"created": ?\d++, ?|"(?:service_tier|system_fingerprint|usage)": ?null, ?)*+'
    rb'"choices": ?\[\{"index": ?\d++, ?"delta": ?\{(?:"role": ?"assistant", ?)?+'
    rb'(?:"content": ?null, ?)?+'
    rb'(?:"(?:content|reasoning|reasoning_content)": ?"([^"\\]*+)"'
    rb'|"tool_calls": ?\[\{"index": ?\d++, ?"function": ?\{"arguments": ?"([^"\\]*+)"\}\}\])\}'
    rb'(?:, ?"(?:logprobs|finish_reason|native_finish_reason|stop_reason|token_ids)": ?null)*+'
    rb'\}\](?:, ?"(?:id|object|model|service_tier|system_fingerprint|obfuscation|p)": ?"[^"\\]*+"'
    rb'|, ?"created": ?\d++|, ?"(?:service_tier|system_fingerprint|usage)": ?null)*+\}'
)

# Where a cached count is found beside OpenAI's own `cached_tokens`: DeepSeek; Mistral; Moonshot
# and Together; gateways that pass on Anthropic's name.
CACHED: Final = (
    "prompt_cache_hit_tokens",
    "num_cached_tokens",
    "cached_tokens",
    "cache_read_input_tokens",
)

# Tools that a host ran itself, by the names of OpenRouter, Anthropic and xAI.
TOOLS: Final = {
    "web_search_requests": "web_search",
    "web_search_calls": "web_search",
    "web_fetch_requests": "web_fetch",
    "x_search_calls": "x_search",
    "code_interpreter_calls": "code_interpreter",
    "file_search_calls": "file_search",
    "document_search_calls": "document_search",
    "mcp_calls": "mcp",
}


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole Chat Completions, Completions or Embeddings body."""
    _take(reading, body, "message")
    if reading.outcome is None and body.get("choices"):
        # Some hosts give no finish reason.
        reading.outcome = "completed"


def take_event(reading: Reading, event: str, body: Mapping[str, Any]) -> bool:
    """Read one chunk of a stream. Only ``[DONE]`` ends one, so this never says that it did."""
    if event == "error" and "error" not in body:
        take_error(reading, {"error": body})
    _take(reading, body, "delta")
    return False


def _take(reading: Reading, body: Mapping[str, Any], part: str) -> None:
    identity(reading, body)
    take_error(reading, body)
    choices = body.get("choices")
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, Mapping):
                _take_choice(reading, choice, part)
    reading.raw_usage = merged(reading.raw_usage, body.get("usage"))
    groq = body.get("x_groq")
    if isinstance(groq, Mapping):
        reading.raw_usage = merged(reading.raw_usage, groq.get("usage"))
    timings = body.get("timings")
    if isinstance(timings, Mapping) and "predicted_n" in timings:
        # llama.cpp sends these with the last chunk, whether usage was asked for or not.
        reading.raw_usage = merged(reading.raw_usage, {"timings": timings})


def skip(reading: Reading, data: bytes) -> int | None:
    """Return the length of the text in a chunk that has nothing else that is new, or None."""
    if reading.service_tier is None and b'"service_tier"' in data:
        return None
    match = PLAIN.fullmatch(data)
    if match is None or match.lastindex is None:
        return None
    return match.end(match.lastindex) - match.start(match.lastindex)


def identity(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read the model, id and tier that a body or chunk names."""
    reading.model = text(body.get("model")) or reading.model
    reading.response_id = text(body.get("id")) or reading.response_id
    tier = text(body.get("service_tier"))
    if tier is not None and tier != "auto":
        # "auto" repeats the request's wish; it is no tier that anything is billed at.
        reading.service_tier = tier


def take_error(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read an error that came in place of a response, or in the middle of a stream."""
    error = body.get("error")
    if not error:
        return
    reading.outcome, reading.error_type = "failed", "error"
    if isinstance(error, Mapping):
        # OpenAI's code, else the type; Google's status is the name of its numeric code.
        names = (text(error.get(name)) for name in ("code", "type", "status"))
        code = count(error.get("code"))
        number = None if code is None else str(code)
        reading.error_type = next((name for name in names if name), number) or "error"


def _take_choice(reading: Reading, choice: Mapping[str, Any], part: str) -> None:
    reason = text(choice.get("finish_reason"))
    if reason == "error":
        reading.outcome, reading.error_type = "failed", reading.error_type or "error"
    elif reason is not None and reading.outcome != "failed":
        if reason in CUT:
            reading.outcome, reading.error_type = "incomplete", reason
        elif reading.outcome is None:
            reading.outcome = "completed"
    message = choice.get(part)
    length = utf8_length(choice.get("text"))
    if isinstance(message, Mapping):
        length += _message_length(message)
    reading.text_bytes += length
    if part == "delta" and length:
        reading.output_events += 1


def _message_length(message: Mapping[str, Any]) -> int:
    length = utf8_length(message.get("refusal"))
    # The same reasoning comes under one of these names, at OpenRouter under two.
    length += utf8_length(message.get("reasoning_content") or message.get("reasoning"))
    content = message.get("content")
    if isinstance(content, list):
        for item in content:
            if isinstance(item, Mapping):
                length += utf8_length(item.get("text"))
    else:
        length += utf8_length(content)
    calls = message.get("tool_calls")
    functions = (
        [call.get("function") for call in calls if isinstance(call, Mapping)]
        if (isinstance(calls, list))
        else []
    )
    for function in (*functions, message.get("function_call")):
        if isinstance(function, Mapping):
            length += utf8_length(function.get("name")) + utf8_length(function.get("arguments"))
    audio = message.get("audio")
    if isinstance(audio, Mapping):
        length += utf8_length(audio.get("transcript"))
    return length


def settle(reading: Reading) -> None:
    """Set the counts of a reading from its raw usage, in the form that OpenAI and others share."""
    usage = reading.raw_usage
    if usage is None:
        return
    sent = reading.count(usage, "prompt_tokens", "input_tokens")
    received = reading.count(usage, "completion_tokens", "output_tokens")
    total = reading.count(usage, "total_tokens")
    timings = usage.get("timings")
    if sent is None and received is None and isinstance(timings, Mapping):
        sent, received = _timings(reading, timings)
    _input_details(reading, usage)
    _output_details(reading, usage)
    reading.input_tokens = sent
    reading.output_tokens = _with_hidden_reasoning(reading, sent, received, total)
    reading.total_tokens = total
    _fees(reading, usage)
    reading.finish_counts()


def settle_embeddings(reading: Reading) -> None:
    """Set the counts of an embeddings request: all that it uses is input."""
    settle(reading)
    if reading.input_tokens is None:
        reading.input_tokens = reading.total_tokens
    if reading.has_usage and reading.output_tokens is None:
        reading.output_tokens = 0
    reading.finish_counts()
    if reading.outcome is None:
        reading.outcome = "completed"


def _timings(reading: Reading, timings: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Read llama.cpp's own counts: the prompt without its cached part, the cached part, output."""
    fresh = reading.count(timings, "prompt_n")
    cached = reading.count(timings, "cache_n")
    received = reading.count(timings, "predicted_n")
    if fresh is None or cached is None:
        # Without the cached part the size of the prompt is not known.
        return None, received
    reading.input_details["cached_tokens"] = cached
    return fresh + cached, received


def _input_details(reading: Reading, usage: Mapping[str, Any]) -> None:
    counts = reading.input_details
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if isinstance(details, Mapping):
        for name in INPUT_DETAILS:
            number = reading.count(details, name)
            if number is not None:
                counts[name] = number
        if "cache_write_tokens" not in counts:
            written = reading.count(details, "cache_creation_tokens")
            if written is not None:
                counts["cache_write_tokens"] = written
        cached = details.get("cached_tokens_details")
        for name in ("text_tokens", "audio_tokens", "image_tokens"):
            number = reading.count(cached, name)
            if number is not None:
                counts["cached_" + name] = number
    elif details is not None:
        reading.note(f"prompt_tokens_details: {shown(details)}")
    if "cached_tokens" not in counts:
        number = reading.count(usage, *CACHED)
        if number is not None:
            counts["cached_tokens"] = number
    if "cache_write_tokens" not in counts:
        number = reading.count(usage, "cache_creation_input_tokens")
        if number is not None:
            counts["cache_write_tokens"] = number


def _output_details(reading: Reading, usage: Mapping[str, Any]) -> None:
    counts = reading.output_details
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    if isinstance(details, Mapping):
        for name in OUTPUT_DETAILS:
            number = reading.count(details, name)
            if number is not None:
                counts[name] = number
    elif details is not None:
        reading.note(f"completion_tokens_details: {shown(details)}")
    if "reasoning_tokens" not in counts:
        number = reading.count(usage, "reasoning_tokens")
        if number is not None:
            counts["reasoning_tokens"] = number


def _with_hidden_reasoning(
    reading: Reading, sent: int | None, received: int | None, total: int | None
) -> int | None:
    """Return the output, reasoning included, where a host counts reasoning beside it.

    The total tells: at xAI it is prompt + completion + reasoning; Gemini behind its
    OpenAI-compatible interface leaves its thoughts out of all but the total.
    """
    if sent is None or received is None or total is None:
        return received
    beside = total - sent - received
    if beside == 0:
        return received
    reasoning = reading.output_details.get("reasoning_tokens")
    if beside > 0 and reasoning == beside:
        return received + reasoning
    if beside > 0 and reasoning is None and "gemini" in (reading.model or ""):
        reading.output_details["reasoning_tokens"] = beside
        return received + beside
    reading.note(f"total_tokens: {total} for {sent} + {received}")
    return received


def _fees(reading: Reading, usage: Mapping[str, Any]) -> None:
    """Read what else is charged: tools that the host ran, and the cost where it says so."""
    for block in ("server_tool_use", "server_tool_use_details", "server_side_tool_usage_details"):
        tools = usage.get(block)
        if isinstance(tools, Mapping):
            for name, tool in TOOLS.items():
                reading.ran(tool, reading.count(tools, name))
    # Perplexity; xAI's live search, which is charged by the source.
    reading.ran("web_search", reading.count(usage, "num_search_queries"))
    reading.ran("live_search_sources", reading.count(usage, "num_sources_used"))
    size = text(usage.get("search_context_size"))
    if size is not None:
        reading.modifiers["search_context_size"] = size
    reading.provider_cost = _cost(reading, usage)


def _cost(reading: Reading, usage: Mapping[str, Any]) -> Decimal | None:
    cost = usage.get("cost")
    if isinstance(cost, Mapping):  # Perplexity
        return amount(reading, "cost", cost.get("total_cost"))
    ticks = amount(reading, "cost_in_usd_ticks", usage.get("cost_in_usd_ticks"))
    if ticks is not None:  # xAI
        return ticks / 10**10
    if cost is None:  # DeepInfra
        return amount(reading, "estimated_cost", usage.get("estimated_cost"))
    charged = amount(reading, "cost", cost)
    if charged is None or usage.get("is_byok") is not True:
        return charged
    # With a key of one's own, OpenRouter's cost is only its fee; the model is paid upstream.
    details = usage.get("cost_details")
    upstream = details.get("upstream_inference_cost") if isinstance(details, Mapping) else None
    paid = amount(reading, "upstream_inference_cost", upstream)
    return None if paid is None else charged + paid


def amount(reading: Reading, name: str, value: Any) -> Decimal | None:
    """Return a reported cost exactly as it was written, or None where it cannot be one."""
    if value is None:
        return None
    try:
        # The text of a float is its shortest decimal form, which is what was sent.
        number = None if isinstance(value, bool) else Decimal(str(value))
    except (InvalidOperation, ValueError):
        number = None
    if number is None or not number.is_finite() or not 0 <= number < 10**9:
        reading.note(f"{name}: {shown(value)}")
        return None
    return number
