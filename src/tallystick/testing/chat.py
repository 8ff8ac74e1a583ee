"""Answers in the form of the OpenAI Chat Completions API: a body, or the chunks of a stream."""

from __future__ import annotations

import json
from typing import Any

from tallystick.testing.generation import Billed, Event, Generation
from tallystick.testing.request import Request
from tallystick.testing.responses import Head, error_body

__all__ = ["body", "events", "usage_block"]

_FINGERPRINT = "fp_tallystick"


def usage_block(billed: Billed, *, cache_writes: bool) -> dict[str, Any]:
    """Return the usage block of a chat completion."""
    prompt = {"cached_tokens": billed.cached_tokens, "audio_tokens": 0}
    if cache_writes:
        prompt["cache_write_tokens"] = billed.cache_write_tokens
    return {
        "prompt_tokens": billed.input_tokens,
        "completion_tokens": billed.output_tokens,
        "total_tokens": billed.total_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {
            "reasoning_tokens": billed.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish_reason(generation: Generation) -> str:
    if generation.reason is not None:
        return "length" if generation.reason == "max_output_tokens" else "content_filter"
    return "tool_calls" if any(True for _ in generation.calls) else "stop"


def body(head: Head, generation: Generation) -> dict[str, Any]:
    """Return the completion that is not streamed."""
    texts = [said.text for said in generation.said if not said.refusal]
    refusals = [said.text for said in generation.said if said.refusal]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": [],
    }
    calls = [
        {
            "id": call.call_id or head.item_id("call", index),
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(generation.calls)
    ]
    if calls:
        message["tool_calls"] = calls
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": _finish_reason(generation),
    }
    completion: dict[str, Any] = {
        "id": head.id,
        "object": "chat.completion",
        "created": head.created_at,
        "model": head.model,
        "choices": [choice],
        "service_tier": head.service_tier,
        "system_fingerprint": _FINGERPRINT,
    }
    if head.usage is None:
        usage = usage_block(generation.billed, cache_writes=head.bill_cache_writes)
        completion["usage"] = usage
    elif head.usage.null:
        completion["usage"] = None
    return completion


class _Stream:
    """The chunks of one completion, in the order in which they are sent."""

    def __init__(self, request: Request, head: Head) -> None:
        self.events: list[Event] = []
        self.output_tokens = 0
        self.base: dict[str, Any] = {
            "id": head.id,
            "object": "chat.completion.chunk",
            "created": head.created_at,
            "model": head.model,
            "service_tier": head.service_tier,
            "system_fingerprint": _FINGERPRINT,
        }
        self.rest: dict[str, Any] = {"usage": None} if request.include_usage else {}

    def send(self, chunk: dict[str, Any], *, has_usage: bool = False) -> None:
        data = f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"
        self.events.append(Event(data.encode(), self.output_tokens, has_usage))

    def delta(self, delta: dict[str, Any], finish_reason: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        self.send({**self.base, "choices": [choice], **self.rest})


def events(request: Request, head: Head, generation: Generation) -> list[Event]:
    """Return the chunks of the streamed completion, and `[DONE]`."""
    stream = _Stream(request, head)
    stream.output_tokens = generation.billed.reasoning_tokens
    said = list(generation.said)
    content = "" if said or not generation.items else None
    stream.delta({"role": "assistant", "content": content, "refusal": None})
    for item in said:
        for text, tokens in item.pieces:
            stream.output_tokens += tokens
            if text:
                stream.delta({"refusal" if item.refusal else "content": text})
    for index, call in enumerate(generation.calls):
        stream.output_tokens += call.name_tokens
        opened = {
            "index": index,
            "id": call.call_id or head.item_id("call", index),
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        stream.delta({"tool_calls": [opened]})
        for text, tokens in call.pieces:
            stream.output_tokens += tokens
            if text:
                stream.delta({"tool_calls": [{"index": index, "function": {"arguments": text}}]})
    stream.output_tokens = generation.billed.output_tokens
    if generation.failure is not None:
        failure = generation.failure
        stream.send(error_body(failure.message, "server_error", failure.code))
        return stream.events
    stream.delta({}, _finish_reason(generation))
    if request.include_usage and (head.usage is None or head.usage.null):
        usage = None
        if head.usage is None:
            usage = usage_block(generation.billed, cache_writes=head.bill_cache_writes)
        stream.send({**stream.base, "choices": [], "usage": usage}, has_usage=usage is not None)
    stream.events.append(Event(b"data: [DONE]\n\n", stream.output_tokens))
    return stream.events
