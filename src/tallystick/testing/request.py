"""A request as the provider read it: the value that predicates and scripted functions are given.

It hides which of the APIs was used, so that one script serves both.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

__all__ = ["Api", "BadRequest", "Message", "Request"]

Api = Literal["responses", "responses.compact", "chat"]

IMAGE_TOKENS = 85
"""What an image, a sound or a file counts: OpenAI's price of a low-detail image."""


class BadRequest(Exception):  # noqa: N818 - named for the HTTP status it becomes
    """The provider refuses the request with HTTP 400, as OpenAI would."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class Message(NamedTuple):
    """One item of the conversation: who says it, its text, and how many images are in it."""

    role: str
    text: str
    images: int = 0


@dataclass(frozen=True)
class Request:
    """One request to the provider.

    `number` counts the requests that this provider received, from 1. `headers` are all of them,
    with lower-case names; `body` is the parsed JSON, not to be changed.
    """

    number: int
    api: Api
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body["model"])

    @property
    def stream(self) -> bool:
        """Whether the answer is to be streamed."""
        return self.body.get("stream") is True and self.api != "responses.compact"

    @property
    def include_usage(self) -> bool:
        """Whether a Chat Completions stream is to end with the usage chunk."""
        options = self.body.get("stream_options")
        return isinstance(options, Mapping) and options.get("include_usage") is True

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens that may be generated, reasoning included; None without a limit."""
        if self.api != "chat":
            limit = self.body.get("max_output_tokens")
        else:
            limit = self.body.get("max_completion_tokens")
            if limit is None:
                limit = self.body.get("max_tokens")
        return limit if isinstance(limit, int) else None

    @property
    def tools(self) -> tuple[str, ...]:
        """The names of the function tools that are offered, handoffs included."""
        return tuple(name for name, _ in self.tool_parameters)

    @property
    def tool_parameters(self) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """Name and parameter schema of each function tool that is offered."""
        found = []
        for tool in _mappings(self.body.get("tools")):
            function = tool.get("function") if self.api == "chat" else tool
            if tool.get("type") == "function" and isinstance(function, Mapping):
                parameters = function.get("parameters")
                name = str(function.get("name"))
                found.append((name, parameters if isinstance(parameters, Mapping) else {}))
        return tuple(found)

    @property
    def output_schema(self) -> Mapping[str, Any] | None:
        """The JSON schema that the answer must fit, or None."""
        if self.api == "chat":
            form = self.body.get("response_format")
            form = form.get("json_schema") if isinstance(form, Mapping) else None
        else:
            form = self.body.get("text")
            form = form.get("format") if isinstance(form, Mapping) else None
        schema = form.get("schema") if isinstance(form, Mapping) else None
        return schema if isinstance(schema, Mapping) else None

    @cached_property
    def messages(self) -> tuple[Message, ...]:
        """The conversation in order, without the instructions of a Responses request."""
        if self.api == "chat":
            return tuple(_chat_messages(self.body.get("messages")))
        given = self.body.get("input")
        if isinstance(given, str):
            return (Message("user", given),)
        return tuple(_response_messages(given))

    @property
    def instructions(self) -> str:
        """The instructions: of the Responses request, and the system and developer messages."""
        own = self.body.get("instructions") if self.api != "chat" else None
        said = [m.text for m in self.messages if m.role in ("system", "developer")]
        return "\n".join([own, *said] if isinstance(own, str) else said)

    @property
    def user_text(self) -> str:
        """What the user said last, or the empty text."""
        said = [message.text for message in self.messages if message.role == "user"]
        return said[-1] if said else ""

    @property
    def tool_outputs(self) -> tuple[str, ...]:
        """The outputs of tools in the conversation, in order."""
        return tuple(message.text for message in self.messages if message.role == "tool")


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, Mapping))


def _text_of(content: Any) -> tuple[str, int]:
    """Return the text of a message's content, and the number of parts that are not text."""
    if isinstance(content, str):
        return content, 0
    texts: list[str] = []
    images = 0
    for part in _mappings(content):
        text = part.get("text", part.get("refusal"))
        if isinstance(text, str):
            texts.append(text)
        else:
            images += 1
    return "".join(texts), images


def _chat_messages(messages: Any) -> Iterator[Message]:
    for message in _mappings(messages):
        text, images = _text_of(message.get("content"))
        for call in _mappings(message.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, Mapping):
                text += f"{function.get('name')}{function.get('arguments')}"
        yield Message(str(message.get("role")), text, images)


def _response_messages(items: Any) -> Iterator[Message]:
    for item in _mappings(items):
        kind = item.get("type", "message")
        if kind == "message":
            yield Message(str(item.get("role")), *_text_of(item.get("content")))
        elif kind == "function_call":
            yield Message("assistant", f"{item.get('name')}{item.get('arguments')}")
        elif kind == "function_call_output":
            yield Message("tool", *_text_of(item.get("output")))
        elif kind in ("compaction", "compaction_summary"):
            yield Message("assistant", _decrypted(item.get("encrypted_content")))
        elif kind not in ("reasoning", "item_reference"):
            # The API drops the reasoning of earlier turns. Items of hosted tools are counted by
            # the text they are written in, as nothing better is known of them.
            yield Message("assistant", json.dumps(item, sort_keys=True))


def _decrypted(content: Any) -> str:
    """Return the summary in a compaction item: this provider only encodes it."""
    try:
        return base64.b64decode(str(content), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return str(content)
