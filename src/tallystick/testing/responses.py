"""Answers in the form of the OpenAI Responses API: a body, or the events of a stream."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallystick.testing.generation import Billed, Call, Event, Generation, Said
from tallystick.testing.reply import NoUsage
from tallystick.testing.request import Request

__all__ = ["Head", "body", "compaction", "error_body", "events", "usage_block"]

_ECHOED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, with the values that stand for "not given"."""


@dataclass(frozen=True)
class Head:
    """What an answer is, before anything is generated: ids, model, tier, and time in seconds."""

    id: str
    model: str
    service_tier: str
    created_at: int
    usage: NoUsage | None
    bill_cache_writes: bool

    def item_id(self, prefix: str, index: int) -> str:
        """Return the id of the item at `index`."""
        return f"{prefix}_{self.id.replace('-', '_').partition('_')[2]}{index:02x}"


def error_body(
    message: str, kind: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the body of an HTTP error, the same in both APIs."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def usage_block(billed: Billed, *, cache_writes: bool) -> dict[str, Any]:
    """Return the usage block of a response."""
    written = billed.cache_write_tokens if cache_writes else 0
    return {
        "input_tokens": billed.input_tokens,
        "input_tokens_details": {
            "cached_tokens": billed.cached_tokens,
            "cache_write_tokens": written,
        },
        "output_tokens": billed.output_tokens,
        "output_tokens_details": {"reasoning_tokens": billed.reasoning_tokens},
        "total_tokens": billed.total_tokens,
    }


def _usage(head: Head, billed: Billed) -> dict[str, Any]:
    if head.usage is None:
        return {"usage": usage_block(billed, cache_writes=head.bill_cache_writes)}
    return {"usage": None} if head.usage.null else {}


def _started(request: Request, head: Head) -> dict[str, Any]:
    given = request.body
    echoed = {
        name: given[name] if given.get(name) is not None else default
        for name, default in _ECHOED.items()
    }
    return {
        "id": head.id,
        "object": "response",
        "created_at": head.created_at,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": head.model,
        "output": [],
        "service_tier": given.get("service_tier") or "auto",
        "usage": None,
        **echoed,
    }


def _ended(
    request: Request, head: Head, generation: Generation, output: list[dict[str, Any]]
) -> dict[str, Any]:
    response = _started(request, head)
    del response["usage"]
    response |= {
        "status": generation.status,
        "output": output,
        "service_tier": head.service_tier,
        **_usage(head, generation.billed),
    }
    if generation.status == "completed":
        response["completed_at"] = head.created_at
    if generation.reason is not None:
        response["incomplete_details"] = {"reason": generation.reason}
    if generation.failure is not None:
        failure = generation.failure
        response["error"] = {"code": failure.code, "message": failure.message}
    return response


def _reasoning(head: Head) -> dict[str, Any]:
    return {"id": head.item_id("rs", 0), "type": "reasoning", "summary": []}


def _part(item: Said, text: str) -> dict[str, Any]:
    if item.refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(head: Head, index: int, item: Said, *, done: bool) -> dict[str, Any]:
    return {
        "id": head.item_id("msg", index),
        "type": "message",
        "status": _status(item) if done else "in_progress",
        "content": [_part(item, item.text)] if done else [],
        "role": "assistant",
    }


def _call(head: Head, index: int, item: Call, *, done: bool) -> dict[str, Any]:
    return {
        "id": head.item_id("fc", index),
        "type": "function_call",
        "status": _status(item) if done else "in_progress",
        "arguments": item.arguments if done else "",
        "call_id": item.call_id or head.item_id("call", index),
        "name": item.name,
    }


def _status(item: Said | Call) -> str:
    return "completed" if item.whole else "incomplete"


def body(request: Request, head: Head, generation: Generation) -> dict[str, Any]:
    """Return the response that is not streamed."""
    output = [_reasoning(head)] if generation.billed.reasoning_tokens else []
    for item in generation.items:
        make = _message if isinstance(item, Said) else _call
        output.append(make(head, len(output), item, done=True))  # type: ignore[arg-type]
    return _ended(request, head, generation, output)


def compaction(request: Request, head: Head, generation: Generation) -> dict[str, Any]:
    """Return a compaction: what the user said, and one item that stands for the rest.

    The summary is encoded, not encrypted.
    """
    summary = base64.b64encode(generation.transcript.encode()).decode("ascii")
    kept = [
        {
            "id": head.item_id("msg", index),
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_text", "text": message.text}],
        }
        for index, message in enumerate(request.messages)
        if message.role == "user"
    ]
    item = {"id": head.item_id("cmp", 0), "type": "compaction", "encrypted_content": summary}
    return {
        "id": head.id,
        "object": "response.compaction",
        "created_at": head.created_at,
        "output": [*kept, item],
        **_usage(head, generation.billed),
    }


class _Stream:
    """The events of one response, in the order in which they are sent."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.events: list[Event] = []
        self.output: list[dict[str, Any]] = []
        self.output_tokens = 0

    def add(self, kind: str, *, has_usage: bool = False, **fields: Any) -> None:
        event = {"type": kind, "sequence_number": len(self.events), **fields}
        data = f"event: {kind}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n"
        self.events.append(Event(data.encode(), self.output_tokens, has_usage))

    def reasoning(self, tokens: int) -> None:
        item = _reasoning(self.head)
        self.add("response.output_item.added", output_index=0, item=item)
        self.output_tokens += tokens
        self.add("response.output_item.done", output_index=0, item=item)
        self.output.append(item)

    def said(self, item: Said) -> None:
        index = len(self.output)
        opened = _message(self.head, index, item, done=False)
        place = {"item_id": opened["id"], "output_index": index, "content_index": 0}
        self.add("response.output_item.added", output_index=index, item=opened)
        self.add("response.content_part.added", **place, part=_part(item, ""))
        kind = "response.refusal" if item.refusal else "response.output_text"
        rest: dict[str, Any] = {} if item.refusal else {"logprobs": []}
        for text, tokens in item.pieces:
            self.output_tokens += tokens
            if text:
                self.add(f"{kind}.delta", **place, delta=text, **rest)
        whole: dict[str, Any] = {"refusal" if item.refusal else "text": item.text}
        self.add(f"{kind}.done", **place, **whole, **rest)
        self.add("response.content_part.done", **place, part=_part(item, item.text))
        self.done(_message(self.head, index, item, done=True))

    def call(self, item: Call) -> None:
        index = len(self.output)
        opened = _call(self.head, index, item, done=False)
        place = {"item_id": opened["id"], "output_index": index}
        self.output_tokens += item.name_tokens
        self.add("response.output_item.added", output_index=index, item=opened)
        kind = "response.function_call_arguments"
        for text, tokens in item.pieces:
            self.output_tokens += tokens
            if text:
                self.add(f"{kind}.delta", **place, delta=text)
        if item.whole:
            self.add(f"{kind}.done", **place, name=item.name, arguments=item.arguments)
        self.done(_call(self.head, index, item, done=True))

    def done(self, item: dict[str, Any]) -> None:
        self.add("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)


def events(request: Request, head: Head, generation: Generation) -> list[Event]:
    """Return the events of the streamed response."""
    stream = _Stream(head)
    started = _started(request, head)
    stream.add("response.created", response=started)
    stream.add("response.in_progress", response=started)
    if generation.billed.reasoning_tokens:
        stream.reasoning(generation.billed.reasoning_tokens)
    for item in generation.items:
        if isinstance(item, Said):
            stream.said(item)
        else:
            stream.call(item)
    stream.output_tokens = generation.billed.output_tokens
    ended = _ended(request, head, generation, stream.output)
    stream.add(f"response.{generation.status}", has_usage=head.usage is None, response=ended)
    return stream.events
