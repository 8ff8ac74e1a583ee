"""`TrackedModel`: a model of the host's, each call of which is counted."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any

from agents import Model, ModelProvider
from agents.models.chatcmpl_helpers import ChatCmplHelpers

from tallystick.errors import BudgetRefused
from tallystick.integrations import http
from tallystick.integrations.openai_agents.call import ModelCall, http_client
from tallystick.integrations.openai_agents.refusal import advice, with_settings
from tallystick.recorder import Recorder
from tallystick.run import current_run
from tallystick.wire import Reading

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_CHAT_MODELS = frozenset({"OpenAIChatCompletionsModel", "LitellmModel", "AnyLLMModel"})


class TrackedModel(Model):
    """A model of the host's, each call of which is counted. All else is the model's own."""

    def __init__(self, recorder: Recorder, model: Model, agent: str | None = None) -> None:
        self._recorder = recorder
        self._inner = model
        self._agent = agent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        # The SDK asks some models what they are; the wrapper answers for its model.
        return type(self._inner)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._inner._cleanup_on_run_end(owner)

    async def close(self) -> None:
        """Close the model itself."""
        await self._inner.close()

    def get_retry_advice(self, request: Any) -> Any:
        """Return the model's own advice, and for a refusal of a budget not to try again."""
        if isinstance(request.error, BudgetRefused):
            return advice()
        return self._inner.get_retry_advice(request)

    def _call(self) -> ModelCall | None:
        """Return the call to count, or None where it is counted already or cannot be."""
        outer = http.call_of.get()
        if outer is not None and not outer.over and outer.run is current_run():
            # A tracked model inside another: what it sends is counted for the outer one.
            return None
        try:
            client = http_client(self._inner)
            if client is not None and not http.sees(client):
                http.instrument(client, None)
            return ModelCall(self._recorder, self._inner, self._agent)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            self._recorder.fault("beginning a model call", error)
            return None

    async def get_response(self, *arguments: Any, **options: Any) -> Any:
        """Call the model and count every attempt that it makes."""
        call = self._call()
        if call is None:
            return await self._inner.get_response(*arguments, **options)
        arguments, options = await call.begin(arguments, options)
        token = http.call_of.set(call)
        try:
            response = await self._inner.get_response(*arguments, **options)
        except BaseException as error:
            self._count(call, call.fail, error)
            await call.announce()
            call.raise_refusal(error)
            raise
        finally:
            http.call_of.reset(token)
        self._count(call, call.complete, response)
        call.expect(response.usage, same=True)
        await call.announce()
        return response

    async def stream_response(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        """Stream from the model and count every attempt that it makes."""
        call = self._call()
        if call is None:
            async for event in self._inner.stream_response(*arguments, **options):
                yield event
            return
        arguments, options = await call.begin(arguments, options)
        stream: Any = None
        watch = _Watch()
        try:
            asking = _asks_usage.set(True)
            try:
                asked_arguments, asked_options = self._asking(arguments, options)
                stream = self._inner.stream_response(*asked_arguments, **asked_options)
            finally:
                _asks_usage.reset(asking)
            asks = True
            while True:
                # Set only while the model runs: between its events, this context is its reader's.
                token, asking = http.call_of.set(call), _asks_usage.set(asks)
                try:
                    event = await stream.__anext__()
                except StopAsyncIteration:
                    break
                except Exception as error:
                    if watch.started or not asks or not _refuses_usage(error):
                        raise
                    # The server does not know the option that was added: do without it.
                    asks = False
                    stream = self._inner.stream_response(*arguments, **options)
                    continue
                finally:
                    _asks_usage.reset(asking)
                    http.call_of.reset(token)
                self._count(call, watch.see, event)
                if watch.cut and call.limited_by is not None:
                    raise call.cut_short()
                yield event
        except BaseException as error:
            try:
                # First, because HTTP may have seen more of the stream than has come out of it.
                with contextlib.suppress(Exception):
                    await _close(stream)
            finally:
                if watch.terminal is not None:
                    self._count(call, call.complete, watch.terminal)
                else:
                    self._count(call, call.fail, error, watch.seen)
            await call.announce()
            call.raise_refusal(error)
            raise
        self._count(call, call.complete, watch.terminal)
        call.expect(getattr(watch.terminal, "usage", None), same=False)
        await call.announce()

    def _asking(
        self, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Ask for the usage chunk of a Chat Completions stream, which the SDK asks only of OpenAI.

        Returns:
            The arguments to call the model with.
        """
        names = {parent.__name__ for parent in type(self._inner).__mro__}
        settings = options.get("model_settings", arguments[2] if len(arguments) > 2 else None)
        if not names & _CHAT_MODELS or getattr(settings, "include_usage", True) is not None:
            return arguments, options
        return with_settings(arguments, options, include_usage=True)

    def _count(self, call: ModelCall, action: Any, *arguments: Any) -> None:
        """Do what counting takes. If it fails, the call is in doubt and the host goes on."""
        try:
            action(*arguments)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            if action not in (call.complete, call.fail):
                self._recorder.fault("watching a stream", error)
                return
            call.give_up("unreadable_response")
            self._recorder.fault("counting a model call", error)


class _Watch:
    """What has come out of a model's stream so far."""

    def __init__(self) -> None:
        self.started = False
        self.terminal: Any = None
        self.cut = False
        """Whether the answer was cut by a limit."""
        self.seen = Reading()

    def see(self, event: Any) -> None:
        self.started = True
        kind = getattr(event, "type", None)
        if not isinstance(kind, str):
            return
        if kind in _TERMINAL:
            self.terminal = event.response
            self.cut = kind == "response.incomplete"
        elif kind.endswith(".delta"):
            self.seen.output_events += 1
            text = str(getattr(event, "delta", ""))
            self.seen.text_bytes += len(text.encode("utf-8", "surrogatepass"))


_asks_usage: ContextVar[bool] = ContextVar("tallystick_asks_usage", default=False)


def stream_options(original: Any) -> Any:
    """Return the SDK's own choice of `stream_options`, asking for usage inside a tracked call.

    A model of the user's that wraps a chat model is not known to be one, so that it is asked
    here, where the SDK decides.
    """

    def get_stream_options_param(cls: Any, client: Any, model_settings: Any, stream: bool) -> Any:  # noqa: ARG001, FBT001 - the SDK's signature
        chosen = original(client, model_settings, stream)
        if chosen is None and stream and model_settings.include_usage is None:
            return {"include_usage": True} if _asks_usage.get() else None
        return chosen

    return classmethod(get_stream_options_param)


def patch_chat() -> Any:
    """Have chat streams asked for their usage inside any model; return what undoes it."""
    original = ChatCmplHelpers.__dict__["get_stream_options_param"]
    bound = ChatCmplHelpers.get_stream_options_param
    ChatCmplHelpers.get_stream_options_param = stream_options(bound)  # type: ignore[method-assign]

    def undo() -> None:
        ChatCmplHelpers.get_stream_options_param = original  # type: ignore[method-assign]

    return undo


def _refuses_usage(error: Exception) -> bool:
    if getattr(error, "status_code", None) not in {400, 422}:
        return False
    text = str(error)
    return "stream_options" in text or "include_usage" in text


async def _close(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


class TrackedProvider(ModelProvider):
    """A model provider whose models are counted."""

    def __init__(self, recorder: Recorder, provider: ModelProvider) -> None:
        self._recorder = recorder
        self._inner = provider

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def get_model(self, model_name: str | None) -> Model:
        """Return the provider's model, wrapped."""
        return tracked_model(self._recorder, self._inner.get_model(model_name))

    async def aclose(self) -> None:
        """Close the provider itself."""
        await self._inner.aclose()


def is_tracked(model: Any) -> bool:
    """Whether a model is wrapped already; its class alone does not say."""
    return issubclass(type(model), TrackedModel)


def tracked_model(recorder: Recorder, model: Any) -> Model:
    """Return `model` wrapped, so that each of its calls is counted."""
    return model if is_tracked(model) else TrackedModel(recorder, model)
