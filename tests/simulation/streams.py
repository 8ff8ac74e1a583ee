"""A server that streams in the shapes of three APIs, breaks off at any point, and keeps a ledger.

The shapes are those of OpenAI's Chat Completions and Responses and of Anthropic's Messages, cut
down to what their clients and `tallystick.wire` read.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tallystick.testing.server import Channel, ClientGone, Server, Stopped, response_head
from tallystick.testing.tokenizer import count_tokens

Api = Literal["chat", "responses", "messages"]

PATHS: dict[str, Api] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}
WORDS = 40
"""How many tokens each answer has: a word each."""

SERVER_POINTS = (
    "before the headers",
    "before the first byte",
    "after the first event",
    "inside an event",
    "inside the content",
    "before the usage",
    "before the end marker",
    "before the close",
    "never",
)
"""Where the server breaks off."""

FALSE_ENDS = ("clean end inside the content", "error event inside the content")
"""Where it breaks off, and ends the HTTP body as if it were whole."""


@dataclass(slots=True)
class Billed:
    """What the server bills for one request."""

    input_tokens: int
    output_tokens: int = 0


class Streams:
    """The service. It breaks every answer off at its `point`, and enters it in `billed`.

    Args:
        goes_on: bill the whole answer, as providers do that generate on when nobody listens; else
            what was sent.
    """

    def __init__(self, point: str, *, goes_on: bool) -> None:
        self.point = point
        self.goes_on = goes_on
        self.billed: list[Billed] = []
        self.idle = threading.Event()

    def get(self, channel: Channel, path: str) -> bool:
        """Answer nothing."""
        return False

    def post(self, channel: Channel, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Answer with a stream, as far as the point lets it."""
        api = PATHS[path]
        billed = Billed(prompt_tokens(json.loads(body)), WORDS if self.goes_on else 0)
        self.billed.append(billed)
        try:
            return self._stream(channel, api, billed)
        except (ClientGone, Stopped):
            return False
        finally:
            self.idle.set()

    def _stream(self, channel: Channel, api: Api, billed: Billed) -> bool:
        if self.point == "before the headers":
            return False
        head = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        channel.send(response_head(200, head))
        if self.point == "before the first byte":
            return False
        sent = 0
        for place, data in events(api, billed.input_tokens):
            if self.point == "before the usage" and place == "usage":
                return False
            if self.point == "before the end marker" and place == "end":
                return False
            if place == "content":
                sent += 1
                billed.output_tokens = max(billed.output_tokens, sent)
            broken = place == "content" and sent == WORDS // 2
            if self.point == "inside an event" and broken:
                channel.send(chunk(data[: len(data) // 2]))
                return False
            channel.send(chunk(data))
            if self.point == "after the first event":
                return False
            if not broken:
                continue
            match self.point:
                case "inside the content":
                    return False
                case "client":
                    channel.wait(10)  # until it goes away
                case "clean end inside the content":
                    channel.send(b"0\r\n\r\n")
                    return False
                case "error event inside the content":
                    channel.send(chunk(error(api)) + b"0\r\n\r\n")
                    return False
        if self.point == "before the close":
            return False
        channel.send(b"0\r\n\r\n")
        return True


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return what the input is billed as."""
    said = body["input"] if "input" in body else body["messages"][0]["content"]
    return count_tokens(said) + 7


def chunk(data: bytes) -> bytes:
    """Return a piece of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def events(api: Api, input_tokens: int) -> Iterator[tuple[str, bytes]]:
    """Yield the events of an answer, each with what it brings: begin, content, usage or end."""
    match api:
        case "chat":
            return _chat(input_tokens)
        case "responses":
            return _responses(input_tokens)
        case "messages":
            return _messages(input_tokens)


def _chat(input_tokens: int) -> Iterator[tuple[str, bytes]]:
    same = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-5-mini"}

    def event(**more: Any) -> bytes:
        return b"data: " + json.dumps({**same, **more}).encode() + b"\n\n"

    def choice(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "finish_reason": reason}]

    yield "begin", event(choices=choice({"role": "assistant", "content": ""}))
    for _ in range(WORDS):
        yield "content", event(choices=choice({"content": " word"}))
    yield "finish", event(choices=choice({}, "stop"))
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": WORDS,
        "total_tokens": input_tokens + WORDS,
    }
    yield "usage", event(choices=[], usage=usage)
    yield "end", b"data: [DONE]\n\n"


def _responses(input_tokens: int) -> Iterator[tuple[str, bytes]]:
    response: dict[str, Any] = {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5-mini",
        "status": "in_progress",
        "output": [],
    }

    def event(kind: str, **more: Any) -> bytes:
        data = json.dumps({"type": kind, **more})
        return f"event: {kind}\ndata: {data}\n\n".encode()

    yield "begin", event("response.created", response=response)
    for _ in range(WORDS):
        yield "content", event("response.output_text.delta", delta=" word", output_index=0)
    yield "finish", event("response.output_text.done", text=" word" * WORDS)
    usage = {
        "input_tokens": input_tokens,
        "output_tokens": WORDS,
        "total_tokens": input_tokens + WORDS,
    }
    whole = {**response, "status": "completed", "usage": usage}
    # This one event brings the usage and is the end.
    yield "usage", event("response.completed", response=whole)


def _messages(input_tokens: int) -> Iterator[tuple[str, bytes]]:
    def event(kind: str, **more: Any) -> bytes:
        data = json.dumps({"type": kind, **more})
        return f"event: {kind}\ndata: {data}\n\n".encode()

    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [],
        "stop_reason": None,
        # The API counts its first output token here, and says the rest at the end.
        "usage": {"input_tokens": input_tokens, "output_tokens": 1},
    }
    yield "begin", event("message_start", message=message)
    yield "begin", event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for _ in range(WORDS):
        delta = {"type": "text_delta", "text": " word"}
        yield "content", event("content_block_delta", index=0, delta=delta)
    yield "finish", event("content_block_stop", index=0)
    yield (
        "usage",
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": WORDS},
        ),
    )
    yield "end", event("message_stop")


def error(api: Api) -> bytes:
    """Return the event by which a provider says in the midst of a stream that it failed."""
    if api == "chat":
        body: dict[str, Any] = {"error": {"message": "overloaded", "type": "server_error"}}
        return b"data: " + json.dumps(body).encode() + b"\n\n"
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    return b"event: error\ndata: " + json.dumps(body).encode() + b"\n\n"


def serve(service: Streams) -> Server:
    """Serve on a free port of loopback."""
    return Server(service, 0)
