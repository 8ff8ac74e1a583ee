"""`ModelCall`: one call of a model by the host, and the attempts that it makes."""

from __future__ import annotations

import json
from typing import Any

import agents
from agents import AgentsException, ModelBehaviorError
from agents import usage as agents_usage
from agents.models.fake_id import FAKE_RESPONSES_ID
from agents.tracing import get_current_span
from agents.tracing.span_data import TurnSpanData

from tallystick.errors import BudgetExceeded, BudgetRefused
from tallystick.integrations import http
from tallystick.integrations.openai_agents.refusal import asked_of, host_error, with_settings
from tallystick.integrations.openai_agents.usage import HostUsage, counts_of, readings_of
from tallystick.recorder import Recorder
from tallystick.request import Request
from tallystick.run import Run, current_run
from tallystick.usage import Usage
from tallystick.wire import API, Reading, provider_of, read_request

HOST = "openai-agents"

_API: API = "openai.responses"
"""The shape in which a call is looked at that goes out by other ways than HTTP."""


class ModelCall:
    """One call of a model by the host: the attempts it makes, and whose they are."""

    def __init__(self, recorder: Recorder, model: Any, agent: str | None) -> None:
        run = current_run()
        turn, spanned = _turn()
        self.agent = agent or spanned
        self._own_run: Run | None = None
        if run is None:
            run = self._own_run = Run(recorder, self.agent or "model", host=HOST).start()
        self.run = run
        self.over = False
        """Whether the model has returned. A task that it left behind is not of this call."""
        self._about: dict[str, Any] = {"agent": self.agent, "turn": turn}
        self._model = model
        self.requests: list[Request] = []
        self._held: Request | None = None
        """The request that was held before the model was called, until an attempt takes it."""

    async def begin(
        self, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Hold a request before the model is called, unless HTTP is sure to see it leave.

        Returns:
            The arguments to call the model with: a budget may lower the limit on the answer.

        Raises:
            BudgetRefused: a budget does not let it leave.
        """
        if http.sees(http_client(self._model)):
            return arguments, options
        body = _body_of(asked_of(arguments, options))
        about = {} if body is None else {"body": body, "asked": read_request(_API, body)}
        self._held = self._request(api=_API, **about)
        self._held.fixed_model = True
        try:
            await self._held.start()
        except BudgetRefused as refusal:
            await self.announce()
            raise host_error(refusal) from None
        if self._held.output_limit is None:
            return arguments, options
        return with_settings(arguments, options, max_tokens=self._held.output_limit)

    def _request(self, **about: Any) -> Request:
        known = {"provider": _provider(self._model), "model": _name(self._model), **self._about}
        request = Request(self.run, **{**known, **about})
        self.requests.append(request)
        return request

    def attempt(self, about: dict[str, Any]) -> tuple[Request, http.State]:
        """Return the request to count an HTTP attempt as, and how far it is."""
        held, self._held = self._held, None
        if held is None or held.ended:
            return self._request(**about), "new"
        held.fixed_model = False
        return held, "held" if held.take_over(about) else "told"

    @property
    def limited_by(self) -> str | None:
        """The budget that set the limit on the answer of the latest attempt, if one did."""
        return self.requests[-1].limited_by if self.requests else None

    def cut_short(self) -> BudgetRefused:
        """Return the error of an answer that was cut by the limit that a budget set."""
        request = self.requests[-1]
        return host_error(
            BudgetExceeded(
                f"budget {request.limited_by!r}: the answer of {request.model} was cut at "
                f"{request.output_limit} tokens, because the budget affords no more",
                budget=request.limited_by,
                usage=self.run.snapshot(),
                unit="tokens",
                asked=request.asked.max_output_tokens,
            )
        )

    def raise_refusal(self, error: BaseException) -> None:
        """Raise what a budget has to do with an error of the model, in the SDK's kind.

        Whatever a model or its client makes of a refusal, the caller gets the refusal.

        Raises:
            BudgetRefused: a budget refused the latest attempt, or cut its answer.
        """
        if isinstance(error, AgentsException) and isinstance(error, BudgetRefused):
            return
        refusal = self.requests[-1].refusal if self.requests else None
        if refusal is not None and isinstance(error, Exception):
            raise host_error(refusal) from None
        if self.limited_by is not None and isinstance(error, ModelBehaviorError):
            raise self.cut_short() from error

    def complete(self, response: Any) -> None:
        """The model has answered: count what HTTP did not see."""
        if self._held is not None:
            self._settle_by(response, self._held)
        elif not self.requests:
            # It was to be seen on HTTP, and has another way out, as a client of a test has.
            request = self._request()
            request.hold_late()
            self._settle_by(response, request)
        self.give_up("response_not_read", "completed")

    def _settle_by(self, response: Any, request: Request) -> None:
        """Count a call that was not seen on HTTP by the response of its model."""
        usage = _usage_of(response)
        if usage is None:
            request.settle(response)
            return
        if isinstance(usage, Usage) and any(
            entry.id is not None and self.run.has_counted(entry.id)
            for entry in usage.request_usage_entries
        ):
            # The model ran agents of its own, and gives back what they have been counted for.
            request.release("counted_inside")
            return
        if usage.requests == 0 and counts_of(usage) == (0, 0, 0):
            # The model says that it made no request: a fake, or an answer from its own cache.
            request.release("no_request_made")
            return
        first, *others = readings_of(usage)
        if counts_of(usage) == (0, 0, 0):
            # The Agents SDK writes zeros where the provider said nothing.
            first.input_tokens = first.output_tokens = first.total_tokens = None
            first.text_bytes = len(str(response.output).encode("utf-8", "surrogatepass"))
        response_id = getattr(response, "response_id", None) or getattr(response, "id", None)
        first.response_id = None if response_id == FAKE_RESPONSES_ID else response_id
        request.settle(first)
        for other in others:
            extra = self._request()
            extra.hold_late()
            extra.settle(other)

    def fail(self, error: BaseException, seen: Reading | None = None) -> None:
        """The call broke off: end whatever has not ended by itself."""
        for request in self.requests:
            if not request.ended:
                request.fail(error, seen)

    def give_up(self, why: str, outcome: Any = "error") -> None:
        """Put in doubt whatever has not ended."""
        for request in self.requests:
            if not request.ended:
                request.doubt(outcome=outcome, error_type=why)

    async def announce(self) -> None:
        """Tell the hooks of every attempt that ended, and close a run of the call's own."""
        self.over = True
        for request in self.requests:
            await request.announce()
        if self._own_run is not None:
            await self._own_run.finish("completed")

    def expect(self, response_usage: Any, *, same: bool) -> None:
        """Tell the usages that the host may add to that this response has been counted."""
        for usage in self.run.usages():
            if isinstance(usage, HostUsage):
                usage.expect(response_usage, same=same)


def _usage_of(response: Any) -> Any:
    """Return the usage of a model's response in the SDK's own class, or None without one.

    A streamed response has the provider's usage block, to which an adapter may have attached
    what it stands for; the SDK's own conversion reads that.
    """
    usage = getattr(response, "usage", None)
    if usage is None or isinstance(usage, agents.Usage):
        return usage
    convert = getattr(agents_usage, "_response_usage_to_usage", None)
    if convert is None or (type(usage).__module__.startswith("openai.") and not vars(usage)):
        return None
    return convert(usage)


def _turn() -> tuple[int | None, str | None]:
    """Return the turn and the agent that the SDK's current span names."""
    span: Any = get_current_span()
    data = getattr(span, "span_data", None)
    if isinstance(data, TurnSpanData):
        return data.turn, data.agent_name
    return None, None


def http_client(model: Any) -> Any:
    """Return the HTTP client that a model sends with, or None if it is not known to have one."""
    client = getattr(model, "_client", None)
    if client is None or "WS" in type(model).__name__:
        return None
    inner = getattr(client, "_client", None)
    return inner if hasattr(inner, "send") else None


def _provider(model: Any) -> str | None:
    url = getattr(getattr(model, "_client", None), "base_url", None)
    return None if url is None else provider_of(str(url), None)


def _name(model: Any) -> str | None:
    name = getattr(model, "model", None)
    return name if isinstance(name, str) else None


def _body_of(asked: Any) -> bytes | None:
    """Return about what will be sent, to estimate its size; None for what is no JSON."""
    try:
        return json.dumps(asked, default=str).encode()
    except (TypeError, ValueError, RecursionError):
        return None
