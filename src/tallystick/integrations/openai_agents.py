"""The OpenAI Agents SDK: every run counted, request by request, whatever becomes of it.

`install` puts two things in place for the process, and `uninstall` takes them away:

- a default `AgentRunner` that opens a `Run` around each `Runner.run`, `run_sync` and
  `run_streamed`, and gives the run's context a `Usage` of Tallystick's;
- a `get_model` that returns the model in a wrapper which holds each request before it is sent,
  whatever way the model was given.

The HTTP layer (`integrations.http`) then counts each attempt inside a model call by what was
really sent and received. Models that send through something else are counted by their response.

Without any process-wide change: `run_config` and `run_context`, inside ``with tally.run(…)``.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from tallystick.errors import HostError
from tallystick.integrations import http
from tallystick.request import Recorder, Request, logger, tokens_in
from tallystick.run import Run, RunOutcome, current_run, outcome_of
from tallystick.usage import Usage
from tallystick.wire import Reading, provider_of, read_object

try:
    import agents
    import agents.run as agents_run
    from agents import Model, ModelProvider, RunConfig, RunContextWrapper
    from agents.run_internal import run_loop
    from agents.run_state import RunState
    from agents.tracing import get_current_span
    from agents.tracing.span_data import TurnSpanData
except ImportError as error:
    raise HostError(
        'tracking "openai-agents" needs the OpenAI Agents SDK, 0.22 or newer: '
        'pip install "tallystick[openai-agents]"'
    ) from error

if TYPE_CHECKING:
    from tallystick.tally import Tally

HOST = "openai-agents"


# The usage that the host's run context carries.


class HostUsage(Usage, agents.Usage):  # type: ignore[misc]
    """The `Usage` of a run context: the Agents SDK's own class, filled by Tallystick.

    Requests are counted here when they end. When the SDK adds the usage of a response afterwards,
    it is recognised and not counted again; a usage that nothing was counted for (from a tool that
    runs models by itself, say) is counted and kept as reported.
    """

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self._expected: list[tuple[Any, tuple[int, int, int]]] = []
        self._origin: Any = None
        self._owner: Run | None = None

    @classmethod
    def carrying(cls, other: Any) -> HostUsage:
        """Return one that starts from what `other` holds, and keeps `other` up to date."""
        usage = cls()
        Usage.add(usage, other)
        usage._origin = other
        return usage

    def expect(self, response_usage: Any, *, same: bool) -> None:
        """The SDK is about to add the usage of a response that has been counted.

        Args:
            response_usage: the response's usage, or None where it had none.
            same: whether the SDK will add that very object, or one made from its counts.
        """
        self._expected.append((response_usage if same else None, _counts_of(response_usage)))

    def _is_expected(self, other: Any) -> bool:
        for index, (known, _) in enumerate(self._expected):
            if known is not None and known is other:
                del self._expected[index]
                return True
        counts = _counts_of(other)
        for index, (known, expected) in enumerate(self._expected):
            if known is None and expected == counts:
                del self._expected[index]
                return True
        return False

    def add(self, other: Any) -> None:
        """Add a usage, unless it is that of a response which has been counted already."""
        if self._origin is not None:
            self._origin.add(other)
        if self._is_expected(other):
            return
        if self._owner is None or self._owner.outcome is not None or isinstance(other, Usage):
            Usage.add(self, other)
        else:
            _report(self._owner, Usage.of(other), self)

    def snapshot(self) -> HostUsage:
        """Return a copy that later adds do not change."""
        copy: HostUsage = super().snapshot()  # type: ignore[assignment]
        copy._expected = []
        copy._origin = None
        copy._owner = None
        return copy

    __copy__ = snapshot


def _counts_of(usage: Any) -> tuple[int, int, int]:
    def number(name: str) -> int:
        value = getattr(usage, name, None)
        return value if isinstance(value, int) else 0

    return number("input_tokens"), number("output_tokens"), number("total_tokens")


def _report(run: Run, usage: Usage, target: Usage) -> None:
    """Keep a usage that the host or the user reports, of requests that were not seen."""
    if not usage.requests:
        Usage.add(target, usage)
        return
    entries = usage.request_usage_entries
    if not entries:
        single = Usage()
        single.add(usage)
        entries = single.request_usage_entries
    readings = [read_object(entry) for entry in entries] or [read_object(usage)]
    # The report may name more requests than it has counts for.
    readings += [Reading(input_tokens=0, output_tokens=0)] * (usage.requests - len(readings))
    for reading in readings:
        request = Request(run)
        request.hold()
        request.settle(reading)


# A call of a model by the host.


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
        self._about: dict[str, Any] = {"agent": self.agent, "turn": turn}
        self._model = model
        self.requests: list[Request] = []
        self._held: Request | None = None
        """The request that was held before the model was called, until an attempt takes it."""

    async def begin(self, arguments: Any) -> None:
        """Hold a request before the model is called, unless HTTP is sure to see it leave."""
        client = _client(self._model)
        if client is None or not http.sees(client._client):
            self._held = self._request(body=json.dumps(arguments, default=str).encode())
            await self._held.start()

    def _request(self, **about: Any) -> Request:
        known = {"provider": _provider(self._model), "model": _name(self._model), **self._about}
        request = Request(self.run, **{**known, **about})
        self.requests.append(request)
        return request

    def attempt(self, about: dict[str, Any]) -> tuple[Request, bool]:
        """Return the request to count an HTTP attempt as, and whether it is held already."""
        held, self._held = self._held, None
        if held is None or held.ended:
            return self._request(**about), False
        held.provider = about["provider"]
        held.model = about["model"] or held.model
        held.max_output_tokens = about["max_output_tokens"]
        held.body_tokens = tokens_in(about["body"])
        return held, True

    def complete(self, response: Any) -> None:
        """The model has answered: count what HTTP did not, and expect the host to add it."""
        if self._held is not None:
            self._settle_by(response, self._held)
        elif not self.requests:
            # It was to be seen on HTTP, and has another way out, as a client of a test has.
            request = self._request()
            request.hold()
            self._settle_by(response, request)
        for request in self.requests:
            if not request.ended:
                request.doubt(outcome="completed", error_type="response_not_read")

    def _settle_by(self, response: Any, request: Request) -> None:
        """Count a call that was not seen on HTTP by the response of its model."""
        usage = getattr(response, "usage", None)
        if not isinstance(usage, agents.Usage):
            request.settle(response)
            return
        if usage.requests == 0 and _counts_of(usage) == (0, 0, 0):
            # The model says that it made no request: a fake, or an answer from its own cache.
            request.release("no_request_made")
            return
        entries = usage.request_usage_entries
        reading = read_object(entries[0] if len(entries) > 1 else response)
        if _counts_of(usage) == (0, 0, 0):
            # The Agents SDK writes zeros where the provider said nothing.
            reading.input_tokens = reading.output_tokens = reading.total_tokens = None
            reading.text_bytes = len(str(response.output).encode())
        reading.response_id = response.response_id
        request.settle(reading)
        for entry in entries[1:]:
            extra = self._request()
            extra.hold()
            extra.settle(read_object(entry))

    def fail(self, error: BaseException, seen: Reading | None = None) -> None:
        """The call broke off: end whatever has not ended by itself."""
        for request in self.requests:
            if not request.ended:
                request.fail(error, seen)

    async def announce(self) -> None:
        """Tell the hooks of every attempt that ended, and close a run of the call's own."""
        for request in self.requests:
            await request.announce()
        if self._own_run is not None:
            await self._own_run.finish("completed")

    def expect(self, response_usage: Any, *, same: bool) -> None:
        """Tell the usages that the host may add to that this response has been counted."""
        for usage in self.run.usages():
            if isinstance(usage, HostUsage):
                usage.expect(response_usage, same=same)


def _turn() -> tuple[int | None, str | None]:
    """Return the turn and the agent that the SDK's current span names."""
    span: Any = get_current_span()
    data = getattr(span, "span_data", None)
    if isinstance(data, TurnSpanData):
        return data.turn, data.agent_name
    return None, None


def _client(model: Any) -> Any:
    """Return the openai client that a model sends with over HTTP, or None if it has another way."""
    client = getattr(model, "_client", None)
    if client is None or not hasattr(client, "base_url") or "WS" in type(model).__name__:
        return None
    return client


def _provider(model: Any) -> str | None:
    url = getattr(getattr(model, "_client", None), "base_url", None)
    return None if url is None else provider_of(str(url), None)


def _name(model: Any) -> str | None:
    name = getattr(model, "model", None)
    return name if isinstance(name, str) else None


# The wrapped model.


class TrackedModel(Model):
    """A model of the host's, each call of which is counted. All else is the model's own."""

    def __init__(self, recorder: Recorder, model: Model, agent: str | None = None) -> None:
        self._recorder = recorder
        self._inner = model
        self._agent = agent
        self._instrumented = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._inner._cleanup_on_run_end(owner)

    async def close(self) -> None:
        """Close the model itself."""
        await self._inner.close()

    def get_retry_advice(self, request: Any) -> Any:
        """Return the model's own advice."""
        return self._inner.get_retry_advice(request)

    def _call(self) -> ModelCall | None:
        try:
            client = _client(self._inner)
            if client is not None and not http.sees(client._client):
                http.instrument(client._client, None)
            return ModelCall(self._recorder, self._inner, self._agent)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            self._recorder.fault("beginning a model call", error)
            return None

    async def get_response(self, *arguments: Any, **options: Any) -> Any:
        """Call the model and count every attempt that it makes."""
        call = self._call()
        if call is None:
            return await self._inner.get_response(*arguments, **options)
        await call.begin(_input_of(arguments, options))
        token = http.call_of.set(call)
        try:
            response = await self._inner.get_response(*arguments, **options)
        except BaseException as error:
            self._guard(call.fail, error)
            await call.announce()
            raise
        finally:
            http.call_of.reset(token)
        self._guard(call.complete, response)
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
        await call.begin(_input_of(arguments, options))
        asked, changed = self._asking_for_usage(arguments, options)
        stream: Any = self._inner.stream_response(*asked[0], **asked[1])
        terminal: Any = None
        seen = Reading()
        started = False
        try:
            while True:
                # Set only while the model runs: between its events, this context is its reader's.
                token = http.call_of.set(call)
                try:
                    event = await stream.__anext__()
                except StopAsyncIteration:
                    break
                except Exception as error:
                    if started or not changed or not _refuses_usage(error):
                        raise
                    # The server does not know the option that was added: do without it.
                    changed = False
                    stream = self._inner.stream_response(*arguments, **options)
                    continue
                finally:
                    http.call_of.reset(token)
                started = True
                kind = getattr(event, "type", "")
                if kind in _TERMINAL:
                    terminal = event.response
                elif kind.endswith(".delta"):
                    seen.output_events += 1
                    seen.text_bytes += len(str(getattr(event, "delta", "")).encode())
                yield event
        except BaseException as error:
            await _close(stream)
            if terminal is not None:
                self._guard(call.complete, terminal)
            else:
                self._guard(call.fail, error, seen)
            await call.announce()
            raise
        self._guard(call.complete, terminal)
        call.expect(getattr(terminal, "usage", None), same=False)
        await call.announce()

    def _asking_for_usage(
        self, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[tuple[Any, ...], dict[str, Any]], bool]:
        """Ask for the usage chunk of a Chat Completions stream, which the SDK asks only of OpenAI.

        Returns:
            The arguments to call the model with, and whether they were changed.
        """
        names = {parent.__name__ for parent in type(self._inner).__mro__}
        settings = options.get("model_settings", arguments[2] if len(arguments) > 2 else None)
        if not names & _CHAT_MODELS or getattr(settings, "include_usage", True) is not None:
            return (arguments, options), False
        settings = dataclasses.replace(settings, include_usage=True)  # type: ignore[type-var]
        if "model_settings" in options:
            return (arguments, {**options, "model_settings": settings}), True
        return ((*arguments[:2], settings, *arguments[3:]), options), True

    def _guard(self, action: Any, *arguments: Any) -> None:
        try:
            action(*arguments)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            self._recorder.fault("counting a model call", error)


_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
_CHAT_MODELS = frozenset({"OpenAIChatCompletionsModel", "LitellmModel", "AnyLLMModel"})


def _refuses_usage(error: Exception) -> bool:
    status = getattr(error, "status_code", None)
    text = str(error)
    return status in {400, 422} and ("stream_options" in text or "include_usage" in text)


def _input_of(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return [*arguments[:2], options.get("system_instructions"), options.get("input")]


async def _close(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        await close()


# The process-wide tracker.


_installed: list[Recorder] = []
_lock = threading.Lock()
_original_get_model: Any = None


class TrackedRunner(agents_run.AgentRunner):
    """The default runner, with a `Run` around each run. The latest tracker's, outside any run."""

    def __init__(self, inner: agents_run.AgentRunner) -> None:
        self._inner = inner

    async def run(self, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
        """Run the agent inside a run of its own."""
        run = _open_run(starting_agent, input, options)
        if run is None:
            return await self._inner.run(starting_agent, input, **options)
        run.enter()
        outcome: RunOutcome = "completed"
        try:
            await run.emit("on_run_start")
            return await self._inner.run(starting_agent, input, **options)
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            run.leave()
            await run.finish(outcome)

    def run_sync(self, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
        """Run the agent inside a run of its own."""
        run = _open_run(starting_agent, input, options)
        if run is None:
            return self._inner.run_sync(starting_agent, input, **options)
        with run:
            return self._inner.run_sync(starting_agent, input, **options)

    def run_streamed(self, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
        """Start the agent inside a run of its own, which ends when its loop does."""
        run = _open_run(starting_agent, input, options)
        if run is None:
            return self._inner.run_streamed(starting_agent, input, **options)
        run.enter()
        try:
            run.emit_sync("on_run_start")
            result = self._inner.run_streamed(starting_agent, input, **options)
        except BaseException as error:
            run.close(outcome_of(error))
            raise
        finally:
            run.leave()
        task = result.run_loop_task
        if task is None:
            run.close()
        else:
            task.add_done_callback(lambda done: _close_streamed(run, done))
        return result


def _close_streamed(run: Run, task: Any) -> None:
    error = None if task.cancelled() else task.exception()
    if run.close("cancelled" if task.cancelled() else outcome_of(error)) is not None:
        run.emit_sync("on_run_end")


def _recorder() -> Recorder | None:
    run = current_run()
    if run is not None:
        return run.recorder
    return _installed[-1] if _installed else None


def _open_run(agent: Any, input: Any, options: dict[str, Any]) -> Run | None:  # noqa: A002
    """Start a run and give the host's run context its usage. On a fault of ours, return None."""
    recorder = _recorder()
    if recorder is None:
        return None
    try:
        http.patch()
        usage = _adopt(input, options)
        name = getattr(agent, "name", None)
        fresh = usage._owner is None and not usage.requests and usage._origin is None
        run = Run(
            recorder,
            name if isinstance(name, str) else "agent",
            host=HOST,
            usage=usage if fresh else None,
        ).start()
        run.mirror(usage)
        if usage._owner is None or usage._owner.outcome is not None:
            usage._owner = run
    except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
        recorder.fault("opening a run", error)
        return None
    return run


def _adopt(input: Any, options: dict[str, Any]) -> HostUsage:  # noqa: A002
    """Return the `HostUsage` of the run context, putting one there if there is none."""
    wrapper: Any = options.get("context")
    if isinstance(input, RunState) and input._context is not None:
        # A resumed run goes on with the context of its state, whatever is passed beside it.
        wrapper = input._context
    elif not isinstance(wrapper, RunContextWrapper):
        wrapper = options["context"] = RunContextWrapper(context=wrapper, usage=HostUsage())
    usage = wrapper.usage
    if not isinstance(usage, HostUsage):
        usage = wrapper.usage = HostUsage.carrying(usage)
    return usage


def _get_model(agent: Any, run_config: Any) -> Any:
    """Resolve the model as the SDK does, and wrap it."""
    model = _original_get_model(agent, run_config)
    recorder = _recorder()
    if recorder is None or isinstance(model, TrackedModel):
        return model
    return _wrapper(recorder, model, getattr(agent, "name", None))


def _wrapper(recorder: Recorder, model: Any, agent: str | None) -> TrackedModel:
    """Return the run's wrapper of a model, the same one at every turn.

    The SDK cleans up after each distinct model of a run, so each should be distinct once.
    """
    run = current_run()
    if run is None:
        return TrackedModel(recorder, model, agent)
    wrappers: dict[tuple[int, str | None], TrackedModel] = run.state.setdefault(HOST, {})
    wrapper = wrappers.get((id(model), agent))
    if wrapper is None:
        wrapper = wrappers[id(model), agent] = TrackedModel(recorder, model, agent)
    return wrapper


def install(recorder: Recorder) -> None:
    """Count every run of the SDK in this process.

    With several trackers, a run inside ``with tally.run(…)`` is counted by that tally, and any
    other by the one that was installed last.
    """
    global _original_get_model  # noqa: PLW0603 - the process has one SDK to change
    with _lock:
        if recorder in _installed:
            return
        if _installed:
            logger.warning(
                "tallystick: a second tally tracks openai-agents; runs outside any tally.run() "
                "are now counted by it alone"
            )
        if _original_get_model is None:
            if not hasattr(run_loop, "get_model"):
                raise HostError(
                    f"openai-agents {_version()} resolves its models in a way that this version "
                    "of Tallystick does not know; please upgrade tallystick"
                )
            _original_get_model = run_loop.get_model
            run_loop.get_model = _get_model
            agents_run.set_default_agent_runner(
                TrackedRunner(agents_run.get_default_agent_runner())
            )
        http.patch()
        _installed.append(recorder)


def uninstall(recorder: Recorder) -> None:
    """Undo `install` for this recorder; with the last one, the SDK is as it was."""
    global _original_get_model  # noqa: PLW0603 - as above
    with _lock:
        if recorder not in _installed:
            return
        _installed.remove(recorder)
        if _installed:
            return
        runner = agents_run.get_default_agent_runner()
        if isinstance(runner, TrackedRunner):
            agents_run.set_default_agent_runner(runner._inner)
        if run_loop.get_model is _get_model:
            run_loop.get_model = _original_get_model
            _original_get_model = None
        http.unpatch()


def _version() -> str:
    from importlib.metadata import version

    return version("openai-agents")


# The explicit way.


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


def tracked_model(recorder: Recorder, model: Any) -> Model:
    """Return `model` wrapped, so that each of its calls is counted."""
    return model if isinstance(model, TrackedModel) else TrackedModel(recorder, model)


def run_config(tally: Tally, config: RunConfig | None = None) -> RunConfig:
    """Return a `RunConfig` whose models are counted, with no change to the process.

    Models that are given by name or by `RunConfig.model` are counted. An `Agent.model` that is a
    `Model` goes past any `RunConfig`: give the agent ``tally.track(model)`` instead.

    Args:
        tally: what counts them, outside any ``tally.run``.
        config: the run config to start from.
    """
    recorder = tally._recorder
    base = RunConfig() if config is None else config
    model = base.model
    if isinstance(model, Model):
        model = tracked_model(recorder, model)
    return dataclasses.replace(
        base, model=model, model_provider=TrackedProvider(recorder, base.model_provider)
    )


def run_context(context: Any = None) -> RunContextWrapper[Any]:
    """Return a context for `Runner.run` that carries the current run's usage.

    Args:
        context: the user's own context object.

    Raises:
        HostError: there is no current run; call it inside ``with tally.run(…)``.
    """
    run = current_run()
    if run is None:
        raise HostError("run_context() belongs inside `with tally.run(…):`")
    usage = HostUsage()
    usage._owner = run
    run.mirror(usage)
    return RunContextWrapper(context=context, usage=usage)
