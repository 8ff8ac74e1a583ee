"""Google's generateContent, of the Gemini API and of Vertex.

Thoughts and the prompts of tools are counted beside candidates and prompt; here they are added.
Protocol buffers leave out what is zero, so an absent count may be one: the total tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.wire.block import argument_length, merged, utf8_length
from tallystick.wire.openai import take_error
from tallystick.wire.reading import Reading, text

__all__ = ["settle", "settle_embeddings", "take_body", "take_event"]

# By name, and by number in the protocol buffer's form. Documents are billed as the images that
# their pages are read as.
MODALITIES: Final[Mapping[Any, str]] = {
    "TEXT": "text_tokens", 1: "text_tokens",
    "IMAGE": "image_tokens", 2: "image_tokens",
    "VIDEO": "video_tokens", 3: "video_tokens",
    "AUDIO": "audio_tokens", 4: "audio_tokens",
    "DOCUMENT": "image_tokens", 5: "image_tokens",
}  # fmt: skip

FINISHED: Final = frozenset({"STOP", "1"})

TIERS: Final = {"ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole response."""
    _take(reading, body)


def take_event(reading: Reading, _event: str, body: Mapping[str, Any]) -> bool:
    """Read one response of a stream; return whether it is the last."""
    before = reading.text_bytes
    _take(reading, body)
    reading.output_events += reading.text_bytes > before
    return reading.outcome is not None


def _take(reading: Reading, body: Mapping[str, Any]) -> None:
    reading.model = text(_either(body, "modelVersion", "model_version")) or reading.model
    identifier = text(_either(body, "responseId", "response_id"))
    reading.response_id = identifier or reading.response_id
    _take_feedback(reading, body)
    searches = 0
    candidates = body.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, Mapping):
            _take_candidate(reading, candidate)
            searches += _searches(reading, candidate)
    reading.ran("web_search", searches)
    take_error(reading, body)
    usage = _either(body, "usageMetadata", "usage_metadata")
    reading.raw_usage = merged(reading.raw_usage, usage)


def _either(block: Mapping[str, Any], camel: str, snake: str) -> Any:
    """Return a field by its name on the wire, or by the name that Google's own library gives it."""
    value = block.get(camel)
    return block.get(snake) if value is None else value


def _take_feedback(reading: Reading, body: Mapping[str, Any]) -> None:
    feedback = _either(body, "promptFeedback", "prompt_feedback")
    if isinstance(feedback, Mapping):
        reason = text(_either(feedback, "blockReason", "block_reason"))
        if reason is not None:
            reading.outcome, reading.error_type = "incomplete", reason


def _take_candidate(reading: Reading, candidate: Mapping[str, Any]) -> None:
    reason = _either(candidate, "finishReason", "finish_reason")
    if isinstance(reason, int) and not isinstance(reason, bool):
        reason = str(reason) if 0 < reason < 100 else None
    reason = text(reason)
    if reason is not None and reason != "FINISH_REASON_UNSPECIFIED":
        if reason not in FINISHED:
            reading.outcome, reading.error_type = "incomplete", reason
        elif reading.outcome is None:
            reading.outcome = "completed"
    content = candidate.get("content")
    parts = content.get("parts") if isinstance(content, Mapping) else None
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Mapping):
            reading.text_bytes += utf8_length(part.get("text"))
            call = _either(part, "functionCall", "function_call")
            if isinstance(call, Mapping):
                reading.text_bytes += utf8_length(call.get("name")) + argument_length(
                    call.get("args")
                )


def _searches(reading: Reading, candidate: Mapping[str, Any]) -> int:
    grounding = _either(candidate, "groundingMetadata", "grounding_metadata")
    if not isinstance(grounding, Mapping):
        return 0
    chunks = _either(grounding, "groundingChunks", "grounding_chunks")
    for chunk in chunks if isinstance(chunks, list) else ():
        if isinstance(chunk, Mapping) and chunk.get("maps"):
            # Grounding by maps is charged by the prompt, however many places it finds.
            reading.ran("google_maps", 1)
    queries = _either(grounding, "webSearchQueries", "web_search_queries")
    # An empty query is listed at times; it searches for nothing.
    return sum(1 for query in queries if query) if isinstance(queries, list) else 0


def settle(reading: Reading) -> None:
    """Set the counts of a reading from its raw usage, made inclusive."""
    usage = reading.raw_usage
    if usage is None:
        return
    prompt = reading.count(usage, "promptTokenCount", "prompt_token_count")
    tools = reading.count(usage, "toolUsePromptTokenCount", "tool_use_prompt_token_count")
    candidates = reading.count(
        usage,
        "candidatesTokenCount",
        "candidates_token_count",
        "responseTokenCount",
        "response_token_count",
    )
    thoughts = reading.count(usage, "thoughtsTokenCount", "thoughts_token_count")
    total = reading.count(usage, "totalTokenCount", "total_token_count")
    sent = _sum(prompt, tools) if prompt is not None else None
    received = _sum(candidates, thoughts)
    if sent is not None and total is not None:
        if received is None or (candidates is None and sent + received < total):
            received = total - sent if total >= sent else None
        elif sent + received != total:
            reading.note(f"totalTokenCount: {total} for {sent} + {received}")
    reading.input_tokens, reading.output_tokens, reading.total_tokens = sent, received, total
    _input_details(reading, usage)
    _output_details(reading, usage, thoughts)
    _tier(reading, usage)
    reading.finish_counts()


def settle_embeddings(reading: Reading) -> None:
    """Set the counts of an embeddings request: all that it uses is input."""
    settle(reading)
    if reading.has_usage and reading.output_tokens is None:
        reading.output_tokens = 0
        reading.finish_counts()
    if reading.outcome is None:
        reading.outcome = "completed"


def _sum(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def _input_details(reading: Reading, usage: Mapping[str, Any]) -> None:
    cached = reading.count(usage, "cachedContentTokenCount", "cached_content_token_count")
    if cached is not None:
        reading.input_details["cached_tokens"] = cached
    for camel, snake, prefix in (
        ("promptTokensDetails", "prompt_tokens_details", ""),
        ("toolUsePromptTokensDetails", "tool_use_prompt_tokens_details", ""),
        ("cacheTokensDetails", "cache_tokens_details", "cached_"),
    ):
        _modalities(reading, reading.input_details, _either(usage, camel, snake), prefix)


def _output_details(reading: Reading, usage: Mapping[str, Any], thoughts: int | None) -> None:
    if thoughts is not None:
        reading.output_details["reasoning_tokens"] = thoughts
    for camel, snake in (
        ("candidatesTokensDetails", "candidates_tokens_details"),
        ("responseTokensDetails", "response_tokens_details"),
    ):
        _modalities(reading, reading.output_details, _either(usage, camel, snake), "")


def _modalities(reading: Reading, counts: dict[str, int], details: Any, prefix: str) -> None:
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, Mapping):
            continue
        modality = detail.get("modality")
        name = MODALITIES.get(modality) if isinstance(modality, str | int) else None
        number = reading.count(detail, "tokenCount", "token_count")
        if name is not None and number is not None:
            counts[prefix + name] = counts.get(prefix + name, 0) + number


def _tier(reading: Reading, usage: Mapping[str, Any]) -> None:
    tier = text(_either(usage, "serviceTier", "service_tier"))
    traffic = text(_either(usage, "trafficType", "traffic_type"))
    if reading.service_tier is None:
        # Else the header said it, which is what Google bills by.
        if tier is not None and "unspecified" not in tier.lower():
            reading.service_tier = tier.lower()
        elif traffic in TIERS:
            reading.service_tier = TIERS[traffic]
    if traffic == "PROVISIONED_THROUGHPUT":
        # Paid for by the hour, not by the token.
        reading.modifiers["traffic_type"] = "provisioned_throughput"
