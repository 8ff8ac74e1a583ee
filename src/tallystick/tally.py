"""`Tally`, the façade that users hold."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from tallystick.budget.estimate import Estimate, estimate
from tallystick.budget.limit import Budget
from tallystick.budget.standing import Budgets
from tallystick.clock import Clock
from tallystick.errors import ConfigError, LedgerError, LedgerUnavailable
from tallystick.ledger import Ledger, open_ledger
from tallystick.pricing import Prices
from tallystick.recorder import OnFault, Recorder
from tallystick.run import Run, attribution_here, current_run
from tallystick.usage import Usage

logger = logging.getLogger("tallystick")

T = TypeVar("T")


def open(  # noqa: A001 - `tallystick.open()` says what it does, as `gzip.open` does
    url: str | Path | None = None,
    *,
    config: str | Path | None = None,
    durability: Literal["normal", "full"] = "normal",
    on_fault: OnFault | None = None,
    clock: Clock | None = None,
) -> Tally:
    """Open a ledger and return the tally that counts into it.

    Args:
        url: ``sqlite:///usage.db``, a path, or ``:memory:``. Without one, ``$TALLYSTICK_URL``,
            else a file in the user's data directory.
        config: a ``tallystick.toml`` with rates of one's own. Without one,
            ``$TALLYSTICK_CONFIG``, else ``tallystick.toml`` in the working directory if there.
        durability: ``normal`` survives a killed process; ``full`` a power cut too, more slowly.
        on_fault: what a fault of Tallystick's own does. ``continue`` (the default, or
            ``$TALLYSTICK_ON_FAULT``) logs and counts it in `Tally.faults`, and the user's run
            goes on, also where the ledger cannot be opened at all. ``raise`` raises it.
        clock: for tests, what tells time and makes ids.

    Raises:
        LedgerError: with ``on_fault="raise"``, the ledger cannot be opened.
        ConfigError: with ``on_fault="raise"``, the configuration cannot be used.
    """
    if on_fault is None:
        on_fault = "raise" if os.environ.get("TALLYSTICK_ON_FAULT") == "raise" else "continue"
    clock = clock or Clock()
    problems: list[Exception] = []
    try:
        prices = Prices.load(config)
    except ConfigError as error:
        problems.append(error)
        prices = Prices()
    ledger: Ledger | None = None
    try:
        ledger = open_ledger(
            None if url is None else os.fspath(url), durability=durability, clock=clock
        )
    except LedgerError as error:
        problems.append(error)
    if problems and on_fault == "raise":
        raise problems[0]
    recorder = Recorder(ledger, prices, clock, on_fault)
    for problem in problems:
        recorder.fault("opening", problem)
    return Tally(recorder, problems)


class Tally:
    """Counts runs into a ledger. Made by `tallystick.open`; also a context manager.

    Leaving the block, `close`, or the end of the program commits what is queued.
    """

    def __init__(self, recorder: Recorder, problems: list[Exception] | None = None) -> None:
        self._recorder = recorder
        self._problems = problems or []

    @property
    def faults(self) -> int:
        """How many things Tallystick could not do or keep. The log names each kind once."""
        return self._recorder.faults

    @property
    def ledger(self) -> Ledger:
        """The ledger, to read from.

        Raises:
            LedgerError: it could not be opened; the message says why.
        """
        if self._recorder.ledger is not None:
            return self._recorder.ledger
        for problem in self._problems:
            if isinstance(problem, LedgerError):
                raise problem
        raise LedgerUnavailable("this tally has no ledger")

    @property
    def prices(self) -> Prices:
        """The prices that requests are charged by."""
        return self._recorder.prices

    def run(
        self,
        name: str = "run",
        *,
        customer: str | None = None,
        user: str | None = None,
        project: str | None = None,
        session: str | None = None,
        budget: Budget | Sequence[Budget] | None = None,
        hooks: object | None = None,
        **tags: Any,
    ) -> Run:
        """Return a run to enter with ``with`` or ``async with``.

        Args:
            name: what the run is called in reports.
            customer: whom it is for; so `user`, `project` and `session`. What is not given is
                inherited from the surrounding run or `attribute`.
            budget: what all requests inside may cost, use or number, children included. A
                request that does not fit is never sent, and raises `BudgetExceeded`.
            hooks: an object that has any of `on_run_start(run)`, `on_llm_start(run, request)`,
                `on_llm_end(run, entry)`, `on_budget_warning(run, balance)`,
                `on_budget_exceeded(run, error)` and `on_run_end(run)`, plain or async. An error
                of `on_llm_start` stops the request before it is sent.
            tags: any other attribution.

        Raises:
            ConfigError: a budget is for a window of time, and not for a run.
        """
        known = {"customer": customer, "user": user, "project": project, "session": session}
        values = {key: value for key, value in known.items() if value is not None}
        return Run(
            self._recorder,
            str(name),
            attribution={**values, **tags},
            hooks=hooks,
            budgets=(budget,) if isinstance(budget, Budget) else tuple(budget or ()),
        )

    @property
    def budgets(self) -> Budgets:
        """The standing budgets, by customer or any other attribution: set, list, remove, top up.

        Raises:
            LedgerError: the ledger could not be opened.
        """
        return Budgets(self.ledger, self._recorder.clock)

    def estimate(
        self,
        request: Mapping[str, Any],
        *,
        provider: str | None = None,
        api: str | None = None,
        agent: str | None = None,
    ) -> Estimate:
        """Return the most that a request can come to, and whether its budgets let it pass now.

        Nothing is held and nothing is sent. It is asked for the calling context: the run that it
        is in, with its budgets and its attribution.

        Args:
            request: the body as it would be sent: ``{"model": "gpt-5", "input": "…"}``.
            provider: who would serve it; rates depend on it.
            api: the API that it is for, such as ``openai.chat``; None for what it looks like.
            agent: which agent would ask.

        Raises:
            LedgerError: the budgets cannot be read.
        """
        model = request.get("model")
        run = current_run()
        return estimate(
            request,
            ledger=self.ledger,
            prices=self.prices,
            at=self._recorder.clock.now(),
            provider=provider,
            api=api,
            who=attribution_here() if run is None else run.attribution_now(),
            agent=agent,
            runs=() if run is None else run.lineage(),
            run_budgets=() if run is None else run.own_budgets(),
            expected_output_tokens=self._recorder.known_output(
                model if isinstance(model, str) else None
            ),
        )

    def track(self, target: T) -> T:
        """Count every request of a host or a client from here on.

        Args:
            target: ``"openai-agents"`` for every run of the OpenAI Agents SDK in this process;
                or an Agents SDK `Model`, or a client of the `openai` package, to count just it.

        Returns:
            The target itself for a name or a client; for a `Model`, one to use in its place.

        Raises:
            HostError: the host is not known, not installed, or too old to be tracked.
        """
        from tallystick.integrations import track

        return track(self._recorder, target)

    def untrack(self, target: Any) -> None:
        """Undo `track`. What was never tracked is left as it is."""
        from tallystick.integrations import untrack

        untrack(self._recorder, target)

    def usage(self, run: str | Run) -> Usage:
        """Return what a run used, its children included, as the ledger has it.

        Args:
            run: the run, its id, or the unique beginning of its id.

        Raises:
            NotFound: the ledger has no such run.
        """
        self.flush()
        return self.ledger.usage(run.id if isinstance(run, Run) else run)

    def flush(self) -> None:
        """Wait until the ledger has committed all that was recorded."""
        if self._recorder.ledger is not None:
            self._recorder.ledger.flush()

    def close(self) -> None:
        """Commit what is queued and close the ledger. The second time, nothing."""
        if self._recorder.ledger is not None:
            self._recorder.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
