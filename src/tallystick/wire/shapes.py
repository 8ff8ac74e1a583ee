"""Responses recognised by their shape: what a user's own loop gets back from any SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.usage import RequestUsage, Usage
from tallystick.wire.families import family_of
from tallystick.wire.plain import plain
from tallystick.wire.reading import Reading, shown, text
from tallystick.wire.response import read_response
from tallystick.wire.routes import API

__all__ = ["read_object"]

# What a bare usage block is recognised by, in order: Anthropic's has OpenAI's names too.
BARE: Final[tuple[tuple[frozenset[str], API], ...]] = (
    (frozenset({"promptTokenCount", "prompt_token_count"}), "gemini.generate"),
    (frozenset({"totalTokenCount", "total_token_count"}), "gemini.generate"),
    (frozenset({"inputTokens", "outputTokens"}), "bedrock.converse"),
    (frozenset({"billed_units"}), "cohere.chat"),
    (frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"}), "anthropic.messages"),
    (frozenset({"prompt_tokens", "completion_tokens"}), "openai.chat"),
    (frozenset({"input_tokens", "output_tokens"}), "openai.responses"),
)


def read_object(response: Any) -> Reading:
    """Read a response that an SDK returned, or a usage. It never raises.

    Args:
        response: a response object of openai, anthropic, google-genai, boto3, cohere, ollama or
            whoever speaks like them; the Agents SDK's `ModelResponse` or `Usage`; a `Usage` or
            `RequestUsage`; or any of these as a dict.

    Returns:
        A reading. Of what is not recognised, one that knows nothing and names the type in its
        anomalies.
    """
    if isinstance(response, RequestUsage):
        return _of_request(response)
    if isinstance(response, Usage) or _is_agents_usage(response):
        return _of_usage(response)
    if _is_model_response(response):
        return _of_model_response(response)
    body = plain(response)
    api = _recognised(body) if isinstance(body, Mapping) else None
    if api is not None:
        return read_response(api, 200, _headers(body), body)
    reading = Reading()
    bare = _recognised_block(body) if isinstance(body, Mapping) else None
    if bare is not None:
        # The same reading as of a response that holds nothing but this block.
        reading.raw_usage = dict(read_response(bare, 200, {}, _around(bare, body)).raw_usage or {})
        family_of(bare).settle(reading)
        reading.outcome = "completed"
    else:
        reading.note(f"response: {shown(response)}")
    return reading


def _recognised(body: Mapping[str, Any]) -> API | None:
    kind = body.get("object")
    if kind == "response.compaction":
        return "openai.responses.compact"
    if "usageMetadata" in body or "usage_metadata" in body or "candidates" in body:
        return "gemini.generate"
    if kind == "response" or isinstance(body.get("output"), list):
        return "openai.responses"
    if isinstance(body.get("choices"), list):
        return "openai.chat"
    if body.get("type") == "message" and isinstance(body.get("content"), list):
        return "anthropic.messages"
    if isinstance(body.get("data"), list) and isinstance(body.get("usage"), Mapping):
        return "openai.embeddings"
    return _recognised_by_usage(body)


def _recognised_by_usage(body: Mapping[str, Any]) -> API | None:
    if "eval_count" in body or ("done" in body and "model" in body):
        return "ollama.chat"
    if isinstance(body.get("embeddings"), list) and "prompt_eval_count" in body:
        return "ollama.embed"
    usage = body.get("usage")
    if isinstance(usage, Mapping):
        return _recognised_block(usage)
    meta = body.get("meta")
    if isinstance(meta, Mapping) and "billed_units" in meta:
        return "cohere.embed" if "embeddings" in body else "cohere.chat"
    return None


def _recognised_block(block: Mapping[str, Any]) -> API | None:
    return next((api for names, api in BARE if names & block.keys()), None)


def _around(api: API, block: Mapping[str, Any]) -> dict[str, Any]:
    return {"usageMetadata" if api == "gemini.generate" else "usage": block}


def _headers(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the headers that boto3 and google-genai put beside a response."""
    for name, inner in (
        ("ResponseMetadata", "HTTPHeaders"),
        ("sdk_http_response", "headers"),
    ):
        block = body.get(name)
        headers = block.get(inner) if isinstance(block, Mapping) else None
        if isinstance(headers, Mapping):
            return headers
    return {}


def _is_agents_usage(value: Any) -> bool:
    return hasattr(value, "requests") and hasattr(value, "request_usage_entries")


def _is_model_response(value: Any) -> bool:
    return _is_agents_usage(getattr(value, "usage", None)) and hasattr(value, "response_id")


def _of_model_response(response: Any) -> Reading:
    raw = getattr(response, "raw_usage", None)
    block = plain(raw)
    if isinstance(block, Mapping) and _recognised_block(block) is not None:
        reading = read_object(block)
    else:
        reading = _of_usage(response.usage)
    reading.response_id = text(response.response_id)
    return reading


def _of_usage(usage: Any) -> Reading:
    """Read a sum of requests as one. One of no requests and no tokens says nothing."""
    if isinstance(usage, Usage) and len(usage.request_usage_entries) == usage.requests == 1:
        return _of_request(usage.request_usage_entries[0])
    reading = Reading()
    if not usage.requests and not usage.total_tokens:
        return reading
    missing = usage.unknown if isinstance(usage, Usage) else {}
    _take(reading, RequestUsage.of(usage))
    for name, requests in missing.items():
        # A sum that lacks a request is no count of the whole.
        if name in ("input_tokens", "output_tokens"):
            setattr(reading, name, None)
            reading.total_tokens = None
            reading.note(f"{name}: unknown for {requests} requests")
        else:
            reading.input_details.pop(name, None)
            reading.output_details.pop(name, None)
    if isinstance(usage, Usage):
        reading.tool_requests = usage.tool_requests
    reading.outcome = "completed"
    return reading


def _of_request(request: RequestUsage) -> Reading:
    reading = Reading(
        model=request.model,
        response_id=request.response_id,
        outcome=request.outcome or "completed",
        error_type=request.error_type,
        service_tier=request.service_tier,
        tool_requests=dict(request.tool_requests),
        modifiers=dict(request.modifiers),
        provider_cost=request.provider_cost,
        anomalies=list(request.anomalies),
    )
    _take(reading, request)
    return reading


def _take(reading: Reading, request: RequestUsage) -> None:
    reading.input_tokens = request.input_tokens
    reading.output_tokens = request.output_tokens
    reading.total_tokens = request.total_tokens
    reading.input_details = request.input_tokens_details.model_dump()
    reading.output_details = request.output_tokens_details.model_dump()
