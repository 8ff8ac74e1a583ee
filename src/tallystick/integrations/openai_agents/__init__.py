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
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tallystick.errors import HostError
from tallystick.integrations import http
from tallystick.recorder import Recorder, logger
from tallystick.run import current_run

try:
    import agents.run as agents_run
    from agents import Model, RunConfig, RunContextWrapper
    from agents.run_internal import run_loop
except ImportError as error:
    raise HostError(
        'tracking "openai-agents" needs the OpenAI Agents SDK, 0.22 or newer: '
        'pip install "tallystick[openai-agents]"'
    ) from error

from tallystick.integrations.openai_agents.call import HOST
from tallystick.integrations.openai_agents.model import (
    TrackedModel,
    TrackedProvider,
    is_tracked,
    patch_chat,
    tracked_model,
)
from tallystick.integrations.openai_agents.runner import TrackedRunner
from tallystick.integrations.openai_agents.usage import HostUsage

if TYPE_CHECKING:
    from tallystick.tally import Tally

__all__ = [
    "HOST",
    "HostUsage",
    "install",
    "run_config",
    "run_context",
    "tracked_model",
    "uninstall",
]

_installed: list[Recorder] = []
_undo: list[Callable[[], None]] = []
_lock = threading.Lock()


def install(recorder: Recorder) -> None:
    """Count every run of the SDK in this process.

    With several trackers, a run inside ``with tally.run(…)`` is counted by that tally, and any
    other by the one that was installed last.
    """
    with _lock:
        if recorder in _installed:
            return
        if _installed:
            logger.warning(
                "tallystick: a second tally tracks openai-agents; runs outside any tally.run() "
                "are now counted by it alone"
            )
        if not _undo:
            _change_the_sdk()
        http.patch()
        _installed.append(recorder)


def uninstall(recorder: Recorder) -> None:
    """Undo `install` for this recorder; with the last one, the SDK is as it was."""
    with _lock:
        if recorder not in _installed:
            return
        _installed.remove(recorder)
        if _installed:
            return
        while _undo:
            _undo.pop()()
        http.unpatch()


def _change_the_sdk() -> None:
    """Put the runner and `get_model` in place, and keep how to take them away."""
    if not hasattr(run_loop, "get_model"):
        raise HostError(
            f"openai-agents {_version()} resolves its models in a way that this version of "
            "Tallystick does not know; please upgrade tallystick"
        )
    original = run_loop.get_model

    def get_model(agent: Any, run_config: Any) -> Any:
        """Resolve the model as the SDK does, and wrap it."""
        model = original(agent, run_config)
        recorder = _recorder()
        if recorder is None or is_tracked(model):
            return model
        return _wrapper(recorder, model, getattr(agent, "name", None))

    runner = TrackedRunner(agents_run.get_default_agent_runner(), _recorder)
    run_loop.get_model = get_model
    agents_run.set_default_agent_runner(runner)

    def undo() -> None:
        # What somebody has put over these since stays: with nobody tracking, they do nothing.
        if run_loop.get_model is get_model:
            run_loop.get_model = original
        if agents_run.get_default_agent_runner() is runner:
            agents_run.set_default_agent_runner(runner.inner)

    _undo.extend((undo, patch_chat()))


def _recorder() -> Recorder | None:
    """Return what counts here: the current run's tally, else the latest that tracks."""
    run = current_run()
    if run is not None:
        return run.recorder
    return _installed[-1] if _installed else None


def _wrapper(recorder: Recorder, model: Any, agent: str | None) -> Any:
    """Return the run's wrapper of a model, the same one at every turn.

    The SDK cleans up after each distinct model of a run, so each should be distinct once.
    """
    run = current_run()
    if run is None:
        return TrackedModel(recorder, model, agent)
    wrappers: dict[tuple[int, str | None], Any] = run.state.setdefault(HOST, {})
    key = (id(model), agent)
    if key not in wrappers:
        wrappers[key] = TrackedModel(recorder, model, agent)
    return wrappers[key]


def _version() -> str:
    from importlib.metadata import version

    return version("openai-agents")


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
    usage.belong_to(run)
    run.mirror(usage)
    return RunContextWrapper(context=context, usage=usage)
