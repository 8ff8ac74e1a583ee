"""`Run`, the context of one agent run, and the attribution of what happens inside it."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from contextvars import ContextVar, Token
from dataclasses import replace
from types import TracebackType
from typing import Any, Literal, Self

from tallystick.attribution import Attribution
from tallystick.budget.guard import Stop
from tallystick.budget.limit import Budget
from tallystick.clock import timestamp
from tallystick.errors import ConfigError
from tallystick.ledger import Balance, BudgetRow, Claim, RunRow
from tallystick.recorder import Recorder
from tallystick.request import Request
from tallystick.usage import RequestUsage, Usage
from tallystick.wire import api_of, read_request

_run: ContextVar[Run | None] = ContextVar("tallystick_run", default=None)
_attribution: ContextVar[Attribution] = ContextVar(
    "tallystick_attribution",
    default=Attribution(),  # noqa: B039 - frozen
)

RunOutcome = Literal["completed", "failed", "cancelled"]

PATIENCE_SECONDS = 1.0
"""How long the end of a run waits for the ledger to have written it."""

Event = Literal[
    "on_run_start",
    "on_llm_start",
    "on_llm_end",
    "on_budget_warning",
    "on_budget_exceeded",
    "on_run_end",
]


def current_run() -> Run | None:
    """Return the run that the calling code is inside, or None."""
    return _run.get()


def attribution_here() -> Attribution:
    """Return the attribution of the calling context."""
    return _attribution.get()


@contextmanager
def attribute(**values: Any) -> Iterator[Attribution]:
    """Attribute all that happens inside to `customer`, `user`, `project`, `session` or tags.

    It holds across `await`, and in threads started with a copied context. Inner attributions
    are laid over outer ones; None takes one away. What cannot be used is left out with a
    warning in the log, and never raises.
    """
    attribution = _attribution.get().with_values(values)
    token = _attribution.set(attribution)
    try:
        yield attribution
    finally:
        _reset(_attribution, token)


class Run:
    """One agent run: its usage, live, and the context that requests are counted in.

    Enter it as a plain or an async context manager. Runs nest: a run that starts inside another
    is its child, and what it uses counts once in each ancestor. Leaving or closing a run twice
    does nothing the second time; a request that ends after its run is counted all the same.
    """

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        *,
        attribution: dict[str, Any] | None = None,
        hooks: object | None = None,
        host: str | None = None,
        usage: Usage | None = None,
        budgets: Sequence[Budget] = (),
    ) -> None:
        self.recorder = recorder
        self.id = recorder.clock.id("run")
        self.name = name
        self.host = host
        self.usage = Usage() if usage is None else usage
        """What the run has used so far, its children's included."""
        self.parent: Run | None = None
        self.outcome: RunOutcome | None = None
        """How it ended; None while it goes on."""
        self.attribution = Attribution()
        self.state: dict[str, Any] = {}
        """What an integration keeps for the length of the run, under its name."""
        self._values = attribution or {}
        self._hooks = hooks
        self._started = False
        self._tokens: tuple[Token[Run | None], Token[Attribution]] | None = None
        self._lock = threading.RLock()
        self._response_ids: set[str] = set()
        self._mirrors: list[Usage] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._budgets = tuple(self._budget_row(budget) for budget in budgets)
        self._stopped: dict[tuple[str, str], Stop] = {}
        self._warnings: deque[tuple[Run, Balance]] = deque()

    def _budget_row(self, budget: Budget) -> BudgetRow:
        if budget.per != "run":
            raise ConfigError(
                f"per={budget.per!r}: a run's own budget is for the run; "
                "tally.budgets.set() has windows of time"
            )
        clock = self.recorder.clock
        name = budget.name or self.name
        return budget.row(clock.id("budget"), clock.now(), name=name, run_id=self.id)

    def __repr__(self) -> str:
        return f"<Run {self.name!r} {self.id} {self.outcome or 'open'} {self.usage!r}>"

    # The life of a run.

    def start(self) -> Self:
        """Start the run inside the caller's context. `with` does this."""
        if self._started:
            return self
        self._started = True
        self.recorder.warm()
        self.parent = _run.get()
        if self.parent is not None:
            # One lock for a tree, so that a request is counted in a run and its ancestors at once.
            self._lock = self.parent._lock
        self.attribution = _attribution.get().with_values(self._values)
        self._started_at = self.recorder.clock.now()
        ledger = self.recorder.ledger
        if ledger is not None:
            try:
                self.recorder.watch("keeping a run", ledger.open_run(self._row()))
            except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
                self.recorder.fault("keeping a run", error)
        return self

    def enter(self) -> None:
        """Make this the run of the calling context, until `leave`."""
        self._tokens = (_run.set(self), _attribution.set(self.attribution))

    def leave(self) -> None:
        """Give the calling context its former run back."""
        if self._tokens is not None:
            run, attribution = self._tokens
            self._tokens = None
            _reset(_run, run)
            _reset(_attribution, attribution)

    def close(self, outcome: RunOutcome = "completed") -> Future[Any] | None:
        """End the run; the second time, nothing. The future is done when the ledger has it all."""
        with self._lock:
            if self.outcome is not None or not self._started:
                return None
            self.outcome = outcome
        recorder = self.recorder
        if recorder.ledger is None:
            return None
        try:
            future = recorder.ledger.close_run(self.id, recorder.clock.now(), outcome)
            return recorder.watch("keeping a run", future)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            recorder.fault("keeping a run", error)
            return None

    def _row(self) -> RunRow:
        root = self
        while root.parent is not None:
            root = root.parent
        return RunRow(
            id=self.id,
            parent_id=None if self.parent is None else self.parent.id,
            root_id=root.id,
            name=self.name,
            host=self.host,
            started_at=self._started_at,
            ended_at=None,
            outcome=None,
            attribution=self.attribution,
        )

    def __enter__(self) -> Self:
        self.start()
        self.enter()
        self.emit_sync("on_run_start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
        kept = self.close(outcome_of(error))
        if kept is not None:
            _wait(kept)
            self.tell_warnings_sync()
            self.emit_sync("on_run_end")

    async def __aenter__(self) -> Self:
        self.start()
        self.enter()
        await self.emit("on_run_start")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.leave()
        await self.finish(outcome_of(error))

    async def finish(self, outcome: RunOutcome) -> None:
        """`close`, wait for the ledger, and tell the hooks."""
        kept = self.close(outcome)
        if kept is not None:
            if self.parent is None and outcome != "cancelled":
                # Nobody should wait for a slow disk longer than it is worth: it will be written.
                waiting = asyncio.wrap_future(kept)
                done, _ = await asyncio.wait([waiting], timeout=PATIENCE_SECONDS)
                if done and not waiting.cancelled():
                    waiting.exception()
            await self.tell_warnings()
            await self.emit("on_run_end")

    @property
    def started_at(self) -> Any:
        """When the run started, as an aware UTC datetime."""
        return timestamp(self._started_at)

    # Counting.

    def request(
        self,
        *,
        model: str | None = None,
        provider: str | None = None,
        agent: str | None = None,
        turn: int | None = None,
        max_input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Request:
        """Return a request for a loop of one's own.

        ::

            with run.request(model="gpt-5-mini", provider="openai") as request:
                response = client.responses.create(...)
                request.settle(response)

        Args:
            model: the model asked for; the response's own name for it is kept where it has one.
            provider: who serves it, by genai-prices' name for the provider.
            agent: which agent asks.
            turn: the loop's turn, from 1.
            max_input_tokens: the most tokens that it can send; a budget needs this or `body`.
            max_output_tokens: the limit on the answer, if the request sets one.
            body: what will be sent, as the keywords of the client's method, by which a budget
                bounds its cost.

        Under a budget, `request.output_limit` is the limit to send where it is not None.
        """
        sent = None if body is None else json.dumps(body, default=str).encode()
        api = "" if body is None else api_of(body, provider)
        asked = read_request(api, sent or b"")
        if max_output_tokens is not None:
            asked = replace(asked, max_output_tokens=max_output_tokens)
        return Request(
            self,
            provider=provider,
            model=model or asked.model,
            agent=agent,
            turn=turn,
            body=sent,
            api=api,
            asked=asked,
            max_input_tokens=max_input_tokens,
        )

    def count(self, entry: RequestUsage) -> None:
        """Count an ended request here and in every ancestor, once in each."""
        with self._lock:
            if entry.response_id is not None:
                self._response_ids.add(entry.response_id)
            run: Run | None = self
            while run is not None:
                run.usage.append(entry)
                for mirror in run._mirrors:
                    mirror.append(entry)
                run = run.parent

    def mirror(self, usage: Usage) -> None:
        """Count what this run uses in another `Usage` too, such as one that a host carries on."""
        with self._lock:
            if usage is not self.usage:
                self._mirrors.append(usage)

    def usages(self) -> list[Usage]:
        """Return the run's usage, and those that count what it uses too."""
        return [self.usage, *self._mirrors]

    def has_counted(self, entry_id: str) -> bool:
        """Whether the request of this id is in the run's usage already."""
        return self.usage.has(entry_id)

    def has_seen(self, response_id: str) -> bool:
        """Whether a request of this run had that response already."""
        return response_id in self._response_ids

    def attribution_now(self) -> Attribution:
        """Return the attribution of the calling context if it is inside this run, else the run's.

        A request made in a thread without a copied context still belongs to the run's customer.
        """
        run = _run.get()
        while run is not None:
            if run is self:
                return _attribution.get()
            run = run.parent
        return self.attribution

    def snapshot(self) -> Usage:
        """Return the usage so far, taken between two requests and never in the middle of one."""
        with self._lock:
            return self.usage.snapshot()

    # Budgets.

    def own_budgets(self) -> tuple[BudgetRow, ...]:
        """Return the budgets that this run and the runs around it were started with."""
        if self.parent is None:
            return self._budgets
        return (*self._budgets, *self.parent.own_budgets())

    def lineage(self) -> tuple[str, ...]:
        """Return the ids of this run and of the runs around it, the top one last."""
        return (self.id,) if self.parent is None else (self.id, *self.parent.lineage())

    @property
    def root(self) -> Run:
        """The run at the top of the tree: this one where it has no parent."""
        return self if self.parent is None else self.parent.root

    def stop(self, stop: Stop) -> None:
        """Refuse all that falls under this budget from here on, in the whole tree of runs.

        A host may turn the error into a text for the model and go on, and what is left of the
        budget would trickle away. When the budget is changed, it is looked at anew.
        """
        with self._lock:
            self.root._stopped.setdefault(stop.key, stop)

    def go_on(self, stop: Stop) -> None:
        """Undo `stop`."""
        with self._lock:
            self.root._stopped.pop(stop.key, None)

    def stopped_by(self, claims: Sequence[Claim]) -> Stop | None:
        """Return what has stopped this tree of runs under one of these budgets, or None."""
        stopped = self.root._stopped
        if not stopped:
            return None
        keys = ((claim.budget.id, claim.window) for claim in claims)
        return next((stopped[key] for key in keys if key in stopped), None)

    def warn(self, balance: Balance, budget: BudgetRow) -> None:
        """Say that a budget is nearly or wholly used: the log and webhook now, the hooks soon.

        The thread that commits calls this, which must not run a user's hook.
        """
        self.recorder.warn(balance, budget)
        # At the top, because this run may be over before its last request is committed.
        self.root._warnings.append((self, balance))

    async def tell_warnings(self) -> None:
        """Tell the hooks of the warnings that have come up."""
        warnings = self.root._warnings
        while warnings:
            run, balance = warnings.popleft()
            await run.emit("on_budget_warning", balance)

    def tell_warnings_sync(self) -> None:
        """`tell_warnings` from plain code."""
        warnings = self.root._warnings
        while warnings:
            run, balance = warnings.popleft()
            run.emit_sync("on_budget_warning", balance)

    # Telling the user's hooks.

    def _listeners(self, event: Event) -> Iterator[Any]:
        run: Run | None = self
        while run is not None:
            listener = getattr(run._hooks, event, None)
            if listener is not None:
                yield listener
            run = run.parent

    async def emit(self, event: Event, *arguments: Any) -> None:
        """Tell the hooks of this run and of its ancestors.

        An error of `on_llm_start` reaches the caller, and the request is not sent; the error of
        any other hook is logged and counted as a fault.
        """
        for listener in self._listeners(event):
            try:
                result = listener(self, *arguments)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                if event == "on_llm_start":
                    raise
                self.recorder.fault(f"calling {event}", error)

    def emit_sync(self, event: Event, *arguments: Any) -> None:
        """`emit` from plain code. An async hook runs to its end, or as a task of a running loop."""
        for listener in self._listeners(event):
            try:
                result = listener(self, *arguments)
                if inspect.isawaitable(result):
                    self._run_awaitable(result)
            except Exception as error:
                if event == "on_llm_start":
                    raise
                self.recorder.fault(f"calling {event}", error)

    def _run_awaitable(self, awaitable: Any) -> None:
        async def hook() -> None:
            await awaitable

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # A loop of its own, beside the one that the thread may keep for other things.
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(hook())
            finally:
                loop.close()
        else:
            task = loop.create_task(hook())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)


def outcome_of(error: BaseException | None) -> RunOutcome:
    """Return how a run ended from the exception that left it."""
    if error is None:
        return "completed"
    if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt):
        return "cancelled"
    return "failed"


def _reset(variable: ContextVar[Any], token: Token[Any]) -> None:
    try:
        variable.reset(token)
    except ValueError:
        # The block is left in another context than it was entered in, as an async generator
        # that is closed by another task does. That context never had the value.
        return


def _wait(future: Future[Any]) -> None:
    # A failure is counted by the callback that watches the future.
    wait([future], timeout=PATIENCE_SECONDS)
