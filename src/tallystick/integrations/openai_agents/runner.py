"""`TrackedRunner`: a run of Tallystick's around each run of the SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents import RunContextWrapper
from agents.run import AgentRunner
from agents.run_state import RunState

from tallystick.integrations import http
from tallystick.integrations.openai_agents.call import HOST
from tallystick.integrations.openai_agents.usage import HostUsage
from tallystick.recorder import Recorder
from tallystick.run import Run, RunOutcome, outcome_of


class TrackedRunner(AgentRunner):
    """The default runner, with a `Run` around each run. The latest tracker's, outside any run."""

    def __init__(self, inner: AgentRunner, recorder: Callable[[], Recorder | None]) -> None:
        self.inner = inner
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def run(self, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
        """Run the agent inside a run of its own."""
        run = _open_run(self._recorder(), starting_agent, input, options)
        if run is None:
            return await self.inner.run(starting_agent, input, **options)
        run.enter()
        outcome: RunOutcome = "completed"
        try:
            await run.emit("on_run_start")
            return await self.inner.run(starting_agent, input, **options)
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            run.leave()
            await run.finish(outcome)

    def run_sync(self, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
        """Run the agent inside a run of its own."""
        run = _open_run(self._recorder(), starting_agent, input, options)
        if run is None:
            return self.inner.run_sync(starting_agent, input, **options)
        with run:
            return self.inner.run_sync(starting_agent, input, **options)

    def run_streamed(self, starting_agent: Any, input: Any, **options: Any) -> Any:  # noqa: A002
        """Start the agent inside a run of its own, which ends when its loop does."""
        run = _open_run(self._recorder(), starting_agent, input, options)
        if run is None:
            return self.inner.run_streamed(starting_agent, input, **options)
        run.enter()
        try:
            run.emit_sync("on_run_start")
            result = self.inner.run_streamed(starting_agent, input, **options)
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


def _open_run(
    recorder: Recorder | None,
    agent: Any,
    input: Any,  # noqa: A002 - the SDK's name
    options: dict[str, Any],
) -> Run | None:
    """Start a run and give the host's run context its usage. On a fault of ours, return None."""
    if recorder is None:
        return None
    try:
        http.patch()
        usage = _adopt(input, options)
        name = getattr(agent, "name", None)
        run = Run(
            recorder,
            name if isinstance(name, str) else "agent",
            host=HOST,
            usage=usage if usage.is_fresh else None,
        ).start()
        run.mirror(usage)
        usage.belong_to(run)
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
