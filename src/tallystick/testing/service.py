"""The two APIs: what a request asks for, what it is given, and what it is billed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tallystick.clock import Clock
from tallystick.testing import chat, responses
from tallystick.testing.cache import PromptCache
from tallystick.testing.exchange import Exchange
from tallystick.testing.generation import Billed, Generation, generate
from tallystick.testing.prompt import Conversations, Prompt, check, read
from tallystick.testing.reply import Fail, NoUsage, Reply, Slow
from tallystick.testing.request import Api, BadRequest, Request
from tallystick.testing.responses import Head
from tallystick.testing.script import Scripts
from tallystick.testing.served import ServedLedger
from tallystick.testing.server import Channel, ClientGone, Stopped, response_head

__all__ = ["ApiService"]

_APIS: Mapping[str, Api] = {
    "/v1/responses": "responses",
    "/v1/responses/compact": "responses.compact",
    "/v1/chat/completions": "chat",
}

_TIERS = {None: "default", "auto": "default", "fast": "priority"}
"""What the answer calls a tier that was asked for by another name."""


class ApiService:
    """Answers the requests of all connections."""

    def __init__(
        self,
        *,
        scripts: Scripts,
        ledger: ServedLedger,
        clock: Clock,
        cache: PromptCache,
        models: Mapping[str, str],
        slow: Slow,
        minimum_output_tokens: int,
        bill_cache_writes: bool,
    ) -> None:
        self.errors: list[Exception] = []
        self._scripts = scripts
        self._ledger = ledger
        self._clock = clock
        self._cache = cache
        self._conversations = Conversations()
        self._models = dict(models)
        self._slow = slow
        self._minimum_output_tokens = minimum_output_tokens
        self._bill_cache_writes = bill_cache_writes

    def get(self, channel: Channel, path: str) -> bool:
        """List the models that are known: those of the mapping, and those asked for so far."""
        status, body = 404, responses.error_body(f"Unknown path {path}", "invalid_request_error")
        if path.partition("?")[0] == "/v1/models":
            asked = (record.requested_model for record in self._ledger.records())
            names = {*self._models, *self._models.values(), *filter(None, asked)}
            data = [
                {"id": name, "object": "model", "created": 0, "owned_by": "tallystick"}
                for name in sorted(names)
            ]
            status, body = 200, {"object": "list", "data": data}
        payload = json.dumps(body).encode()
        headers = {"content-type": "application/json", "content-length": str(len(payload))}
        try:
            channel.send(response_head(status, headers) + payload)
        except (ClientGone, Stopped):
            return False
        return True

    def post(self, channel: Channel, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Answer a request for an answer, and enter it in the ledger."""
        path = path.partition("?")[0]
        api = _APIS.get(path)
        given = _parsed(body)
        model = given.get("model") if given is not None else None
        record = self._ledger.receive(
            api=api or "unknown",
            path=path,
            requested_model=model if isinstance(model, str) else None,
            stream=given is not None and given.get("stream") is True,
            headers=headers,
        )
        exchange = Exchange(channel, self._ledger, record)
        try:
            if api is None:
                return exchange.refuse(404, f"Invalid URL (POST {path})")
            if given is None:
                return exchange.refuse(400, "We could not parse the JSON body of your request.")
            return self._answer(exchange, Request(record.number, api, path, headers, given))
        except BadRequest as bad:
            return exchange.refuse(400, bad.message, code=bad.code, param=bad.param)
        except (ClientGone, Stopped) as end:
            exchange.end_early(end)
            return False

    def _answer(self, exchange: Exchange, request: Request) -> bool:
        check(request, self._minimum_output_tokens)
        prompt, conversation = read(request, self._conversations)
        try:
            reply = self._scripts.reply_to(request)
        except Exception as error:  # noqa: BLE001 - the user's function may raise anything
            self.errors.append(error)
            return exchange.refuse(500, f"The script raised {error!r}", "server_error")
        slow = reply.fault(Slow) or self._slow
        fail = reply.fault(Fail)
        if fail is not None:
            return exchange.fail(fail, slow)
        head = self._head(request, reply)
        exchange.model, exchange.response_id = head.model, head.id
        exchange.service_tier = head.service_tier
        generation = generate(reply, request.max_output_tokens, self._input(head.model, prompt))
        if request.api == "responses" and request.body.get("store") is not False:
            self._conversations.keep(head.id, conversation, generation.transcript)
        return _deliver(exchange, request, reply, slow, head, generation)

    def _head(self, request: Request, reply: Reply) -> Head:
        new = self._clock.id("resp").partition("_")[2]
        tier = request.body.get("service_tier")
        return Head(
            id=f"chatcmpl-{new}" if request.api == "chat" else f"resp_{new}",
            model=reply.model or self._models.get(request.model, request.model),
            service_tier=reply.service_tier or _TIERS.get(tier) or str(tier),
            created_at=self._clock.now() // 1_000_000_000,
            usage=reply.fault(NoUsage),
            bill_cache_writes=self._bill_cache_writes,
        )

    def _input(self, model: str, prompt: Prompt) -> Billed:
        cached, written = self._cache.use(model, prompt)
        return Billed(len(prompt), cached, written if self._bill_cache_writes else 0)


def _parsed(body: bytes) -> dict[str, Any] | None:
    try:
        given = json.loads(body)
    except ValueError:
        return None
    return given if isinstance(given, dict) else None


def _deliver(
    exchange: Exchange,
    request: Request,
    reply: Reply,
    slow: Slow,
    head: Head,
    generation: Generation,
) -> bool:
    billed, status = generation.billed, generation.status
    if request.api == "responses.compact":
        body = responses.compaction(request, head, generation)
    elif request.stream:
        if request.api == "chat":
            events = chat.events(request, head, generation)
        else:
            events = responses.events(request, head, generation)
        return exchange.deliver_stream(events, status, reply, slow, billed)
    elif request.api == "responses":
        body = responses.body(request, head, generation)
    elif generation.failure is None:
        body = chat.body(head, generation)
    else:
        exchange.billed = billed
        failure = generation.failure
        return exchange.refuse(
            500, failure.message, "server_error", code=failure.code, outcome="failed"
        )
    return exchange.deliver_body(body, status, reply, slow, billed)
