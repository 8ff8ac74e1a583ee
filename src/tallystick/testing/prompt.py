"""A request as the tokens that the model reads, and what is wrong with a request.

The layout is that of OpenAI's models as far as it can be seen from outside: three tokens around
each message, its role, and three more that open the answer; tools and instructions come first. For
messages of plain text to GPT-4o and GPT-4.1 the count is the one that OpenAI bills, in all but a
few of the answers we compared; its reasoning models bill one token less. How OpenAI writes tools
and schemas is not public, so those are counted as their JSON text.
"""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict
from threading import Lock
from typing import TypeAlias

from tallystick.testing.request import IMAGE_TOKENS, BadRequest, Message, Request
from tallystick.testing.tokenizer import encode

__all__ = ["Conversations", "Prompt", "check", "read"]

Prompt: TypeAlias = "array[int]"
"""Token ids in the order in which the model reads them."""

_MESSAGE = [200006, 200008, 200007]
"""Marks around a message. Their values do not matter, only that no text has them."""

_ANSWER = [200006, 200005, 200008]

_IMAGE = [200010] * IMAGE_TOKENS


class Conversations:
    """What `previous_response_id` refers to: conversations by the id of their last response.

    The newest `limit` are kept.
    """

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, Prompt] = OrderedDict()
        self._lock = Lock()

    def keep(self, response_id: str, conversation: Prompt, answer: str) -> None:
        """Keep a conversation with the answer it was given."""
        _add(conversation, Message("assistant", answer))
        with self._lock:
            self._kept[response_id] = conversation
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)

    def before(self, response_id: str) -> Prompt:
        """Return the conversation up to that response.

        Raises:
            BadRequest: no such response is kept.
        """
        with self._lock:
            kept = self._kept.get(response_id)
        if kept is None:
            raise BadRequest(
                f"Previous response with id '{response_id}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return kept


def check(request: Request, minimum_output_tokens: int) -> None:
    """Refuse what OpenAI refuses.

    Raises:
        BadRequest: the model or the messages are missing, a limit is no number or too small, or
            more than one choice is asked for, which this provider does not do.
    """
    body = request.body
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise BadRequest("you must provide a model parameter", param="model")
    if request.api == "chat":
        if not isinstance(body.get("messages"), list) or not body["messages"]:
            raise BadRequest("Missing required parameter: 'messages'.", param="messages")
        if body.get("n") not in (None, 1):
            raise BadRequest("The testing provider makes one choice.", param="n")
        for name in ("max_tokens", "max_completion_tokens"):
            _check_limit(body.get(name), name, 1)
        if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
            raise BadRequest(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not "
                "supported.",
                param="max_tokens",
            )
    elif request.api == "responses":
        _check_limit(body.get("max_output_tokens"), "max_output_tokens", minimum_output_tokens)


def _check_limit(value: object, name: str, minimum: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRequest(
            f"Invalid type for '{name}': expected an integer.", param=name, code="invalid_type"
        )
    if value < minimum:
        raise BadRequest(
            f"Invalid '{name}': integer below minimum value. "
            f"Expected a value >= {minimum}, but got {value} instead.",
            param=name,
            code="integer_below_min_value",
        )


def read(request: Request, conversations: Conversations) -> tuple[Prompt, Prompt]:
    """Return the prompt of a request, and of it the conversation that a later one may continue.

    Raises:
        BadRequest: it continues a response that is not known.
    """
    body = request.body
    head = array("I")
    for written in (body.get("tools"), request.output_schema):
        if written:
            head.extend(encode(json.dumps(written, separators=(",", ":"), ensure_ascii=False)))
    conversation = array("I")
    if request.api != "chat":
        if isinstance(body.get("instructions"), str):
            _add(head, Message("system", body["instructions"]))
        previous = body.get("previous_response_id")
        if isinstance(previous, str):
            conversation.extend(conversations.before(previous))
    for message in request.messages:
        _add(conversation, message)
    return head + conversation + array("I", _ANSWER), conversation


def _add(prompt: Prompt, message: Message) -> None:
    prompt.extend(_MESSAGE)
    prompt.extend(encode(message.role))
    prompt.extend(encode(message.text))
    for _ in range(message.images):
        prompt.extend(_IMAGE)
