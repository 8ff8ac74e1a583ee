"""One request to a model: held before it leaves, then settled, released or in doubt.

A `Request` ends exactly once. How it ends decides what is charged:

settled
    The provider said what was used, or refused the request and bills nothing.
released
    It was provably never sent.
in doubt
    It was sent and the provider never said what was used. Its counts are an estimate, marked as
    one, until they are reconciled.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tallystick.budget.guard import Draft, Stop, Terms, exceeded, stopped_before
from tallystick.clock import timestamp
from tallystick.errors import BudgetRefused, BudgetUncertain, LedgerUnavailable
from tallystick.judgement import BYTES_PER_TOKEN, is_of_a_model, judge, tokens_in
from tallystick.ledger import (
    NOTHING,
    Balance,
    BudgetRow,
    BudgetsChanged,
    Claim,
    Ended,
    Granted,
    HoldRefused,
)
from tallystick.usage import Outcome, RequestUsage, Status
from tallystick.wire import Reading, RequestReading, read_object
from tallystick.wire.rewrite import with_model

if TYPE_CHECKING:
    from tallystick.run import Run

MAX_ATTEMPTS = 10
"""How often a hold is worked out anew because budgets were changed meanwhile."""


class Request:
    """One billable attempt at a model. Made by `Run.request`, or by an integration.

    As a context manager it is held on entry; leaving it without `settle` puts it in doubt, or
    releases it where the exception shows that nothing was sent.
    """

    def __init__(
        self,
        run: Run,
        *,
        provider: str | None = None,
        model: str | None = None,
        agent: str | None = None,
        turn: int | None = None,
        body: bytes | None = None,
        api: str = "",
        asked: RequestReading | None = None,
        max_input_tokens: int | None = None,
    ) -> None:
        self.run = run
        self.provider = provider
        self.model = model
        self.agent = agent
        self.turn = turn
        self.asked = RequestReading() if asked is None else asked
        self.api = api
        self.body = body
        """What is about to be sent; let go of when it has been."""
        self.body_tokens = max_input_tokens if body is None else tokens_in(body)
        self.max_input_tokens = max_input_tokens
        self.limited_by: str | None = None
        """The budget that set a limit on the answer, in place of the one asked for."""
        self.output_limit: int | None = None
        """That limit, which then has to be sent."""
        self.replaced_model: str | None = None
        """The model asked for, where a budget sends the request to a cheaper one instead."""
        self.entry: RequestUsage | None = None
        """What the request came to, once it has ended; None before, and if it was released."""
        self.ended = False
        self.refusal: BudgetRefused | None = None
        """Why a budget did not let it leave, where one did not."""
        self._recorder = run.recorder
        self._attribution = run.attribution_now()
        clock = self._recorder.clock
        self.id = clock.id("req")
        self._started = clock.now()
        self._started_at = timestamp(self._started).isoformat()
        self._started_monotonic = clock.monotonic()
        self.fixed_model = False
        """Whether it is sent in a way in which no budget can change its model."""
        self.taken = False
        """Whether it is an attempt that HTTP has seen leave."""
        self._announced = False
        self._token: Token[Request | None] | None = None
        self._claims: tuple[Claim, ...] = ()
        """The budgets that it holds on."""
        self._lock = threading.Lock()

    # Holding.

    def hold(self) -> None:
        """Commit the row that says that this request is about to be sent, and hold its budgets.

        Raises:
            BudgetRefused: a budget does not let it leave. Nothing is held, and it has ended.
        """
        try:
            for future in self._holding():
                wait([future])
        except BudgetRefused as refusal:
            self.refusal, self.ended = refusal, True
            self.run.emit_sync("on_budget_exceeded", refusal)
            raise
        except BaseException as error:
            # Interrupted before anything was sent.
            self.release(type(error).__name__)
            raise
        self.run.tell_warnings_sync()

    async def hold_async(self) -> None:
        """`hold`, without blocking the event loop."""
        try:
            for future in self._holding():
                # The row is written whether or not somebody waits for it: the future of a
                # ledger cannot be cancelled.
                if not future.done():
                    waiting = asyncio.wrap_future(future)
                    # Looked at also where the caller goes away meanwhile; asyncio complains of
                    # exceptions that nobody looks at.
                    waiting.add_done_callback(lambda done: done.cancelled() or done.exception())
                    await asyncio.wait([waiting])
            await self.run.tell_warnings()
        except BudgetRefused as refusal:
            self.refusal, self.ended = refusal, True
            await self.run.emit("on_budget_exceeded", refusal)
            raise
        except BaseException as error:
            # The caller went away before anything was sent.
            self.release(type(error).__name__)
            raise

    def _holding(self) -> Iterator[Future[Any]]:
        """Hold, yielding what has to be waited for; both ways of waiting drive this.

        A fault of ours lets the request go on, unless a hard budget depends on it.
        """
        recorder = self._recorder
        if recorder.ledger is None or recorder.guard is None:
            self._unkept(self.run.own_budgets(), "there is no ledger")
            return
        for _ in range(MAX_ATTEMPTS):
            hard: Sequence[BudgetRow] = self.run.own_budgets()
            try:
                draft = self._draft()
                terms = recorder.guard.terms(draft)
                hard = terms.hard
                stopped = self.run.stopped_by(terms.claims)
                if stopped is not None:
                    if recorder.guard.refresh()[0] != terms.version:
                        continue
                    if not recorder.guard.is_changed(stopped):
                        raise stopped_before(stopped.error, draft, self.run.snapshot())
                    self.run.go_on(stopped)
                # The row has the estimate already, in case nobody is left to end the request.
                entry = recorder.price(self._entry("held", self._expected()))
                future = recorder.ledger.hold(
                    entry,
                    started_ns=self._started,
                    ask=terms.ask,
                    claims=terms.claims,
                    version=terms.version,
                )
                yield future
                granted = future.result()
            except BudgetRefused:
                raise
            except BudgetsChanged:
                recorder.guard.refresh()
            except HoldRefused as refused:
                if not self._degrade(refused, terms):
                    error = exceeded(refused, draft, self.run.snapshot())
                    self.run.stop(Stop(refused.balance, terms.version, error))
                    budget = self._budget_of(refused, terms)
                    recorder.tell(refused.balance, budget, "budget.exceeded")
                    raise error from None
            except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
                self._unkept(hard, str(error))
                recorder.fault("holding a request", error)
                # A commit that failed may have been kept all the same, by a disk that is full.
                recorder.ledger.mark_sent(self.id)
                return
            else:
                self._take(granted, terms)
                return
        self._unkept(hard, "budgets are being changed all the time")
        recorder.fault("holding a request", LedgerUnavailable("budgets change all the time"))

    def _draft(self) -> Draft:
        return Draft(
            provider=self.provider,
            model=self.model,
            at=self._started,
            who=self._attribution,
            agent=self.agent,
            runs=self.run.lineage(),
            budgets=self.run.own_budgets(),
            api=self.api,
            body=self.body,
            asked=self.asked,
            max_input_tokens=self.max_input_tokens,
        )

    def _take(self, granted: Any, terms: Terms) -> None:
        """Go by what was granted: the request may leave."""
        if isinstance(granted, Granted):
            if terms.limits and granted.output_tokens != self.asked.max_output_tokens:
                self.output_limit = granted.output_tokens
                self.limited_by = granted.limited_by or terms.hard[0].name
            self._claims = terms.claims
            for balance in granted.exceeded:
                self._warn(balance)
        ledger = self._recorder.ledger
        if ledger is not None:
            ledger.mark_sent(self.id)

    def _inside(self, other: Reading) -> Request:
        """Return the request that another model answered inside this one, at a price of its own."""
        other.note(f"inside: {self.id}")
        inside = Request(
            self.run, provider=self.provider, model=other.model, agent=self.agent, turn=self.turn
        )
        # In the windows of this request, so at its moment too.
        inside._started, inside._started_at = self._started, self._started_at
        if self._claims:
            inside.hold_late(self._claims)
        return inside

    def hold_late(self, claims: tuple[Claim, ...] | None = None) -> None:
        """Write the row of a request that was sent before anybody could hold it.

        Nothing is set aside and nothing refused. What it cost is posted to its budgets when it
        settles, as debt where they have no room.

        Args:
            claims: the budgets that it falls under; None to find them.
        """
        recorder = self._recorder
        if recorder.ledger is None or recorder.guard is None:
            return
        try:
            self._claims = recorder.guard.in_scope(self._draft()) if claims is None else claims
            ask = NOTHING if self._claims else None
            entry = recorder.price(self._entry("held", self._expected()))
            held = recorder.ledger.hold(
                entry, started_ns=self._started, ask=ask, claims=self._claims
            )
            recorder.watch("holding a request", held)
            recorder.ledger.mark_sent(self.id)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            recorder.fault("holding a request", error)

    @staticmethod
    def _budget_of(refused: HoldRefused, terms: Terms) -> BudgetRow:
        wanted = refused.balance.budget_id
        return next(claim.budget for claim in terms.claims if claim.budget.id == wanted)

    def _degrade(self, refused: HoldRefused, terms: Terms) -> bool:
        """Ask for the cheaper model that the budget names instead, where that can be sent."""
        name = self._budget_of(refused, terms).policy.get("on_exceeded", "stop")
        if name in {"stop", "warn", self.model} or self.replaced_model is not None:
            return False
        if self.fixed_model:
            return False
        changed = None if self.body is None else with_model(self.api, self.body, name)
        if changed is None:
            return False
        self.replaced_model, self.model, self.body = self.model, name, changed
        return True

    def _unkept(self, budgets: Sequence[BudgetRow], why: str) -> None:
        """Refuse what a hard budget needs the ledger for.

        Raises:
            BudgetUncertain: there is such a budget, and it does not let that pass.
        """
        for budget in budgets:
            if budget.hard and "unkept" not in budget.policy.get("allow", ()):
                raise BudgetUncertain(
                    f"a request to {self.model or 'a model'} was not sent: it could not be held "
                    f'on the budget {budget.name!r} ({why}); allow=["unkept"] lets it pass',
                    budget=budget.name,
                    usage=self.run.snapshot(),
                    setting='allow=["unkept"]',
                )

    def _expected(self) -> dict[str, Any]:
        """Return the counts that an answer of which nothing is known may come to."""
        guess = self._recorder.typical_output(self.model)
        limit = self.asked.max_output_tokens if self.output_limit is None else self.output_limit
        if limit is not None:
            guess = min(guess, limit)
        return {"input_tokens": self.body_tokens, "output_tokens": guess, "estimated": True}

    def take_over(self, about: Mapping[str, Any]) -> bool:
        """Be the attempt that HTTP sees leave, whose request was held before it was known.

        A hold on budgets was worked out by what was known then. It is given back, and the
        attempt has to be held by what it really is.

        Args:
            about: what the attempt is: keywords of the constructor.

        Returns:
            Whether it is held.
        """
        held = not self._claims
        if not held:
            self._give_back()
        self.provider = about["provider"]
        self.model = about["model"] or self.model
        self.api, self.asked, self.body = about["api"], about["asked"], about["body"]
        self.body_tokens = tokens_in(about["body"])
        self.max_input_tokens = None
        return held

    def _give_back(self) -> None:
        """Release the row that is held, and be a request of another id that is not held yet."""
        self._keep(self._entry("released", {"error_type": "held_anew"}, 0), None, 0)
        self.id = self._recorder.clock.id("req")
        self._claims = ()
        self.output_limit = self.limited_by = self.replaced_model = None

    # Ending.

    def settle(self, response: Any = None) -> RequestUsage | None:
        """End the request with what the provider's response says was used.

        Args:
            response: an SDK's response object, its dict, a usage, or a `wire.Reading`. If it
                does not say what was used, the request is in doubt with an estimate.

        Returns:
            The entry, or None where the request had ended already; then nothing changes.
        """
        try:
            reading = response if isinstance(response, Reading) else read_object(response)
        except Exception as error:  # noqa: BLE001 - a response that cannot be read is counted
            self._recorder.fault("reading a response", error)
            return self.doubt(error_type="unreadable_response")
        if not reading.has_usage:
            return self.doubt(
                reading,
                outcome=reading.outcome or "completed",
                error_type=reading.error_type or "usage_not_reported",
            )
        # Before this one ends, so that a kill in between leaves their rows.
        inside = [] if self.ended else [self._inside(other) for other in reading.others]
        entry = self._end("settled", {**reading.fields(), "raw_usage": reading.raw_usage})
        for request, other in zip(inside, reading.others, strict=False):
            if entry is None:
                request.release()
            else:
                request.settle(other)
        return entry

    def reject(self, error_type: str) -> RequestUsage | None:
        """End the request as refused by the provider, which bills nothing for it."""
        return self._end(
            "settled",
            {
                "input_tokens": 0,
                "output_tokens": 0,
                "total_tokens": 0,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
                "outcome": "error",
                "error_type": error_type,
                "cost_nanodollars": 0,
                "price_rule": "a refused request is not billed",
            },
        )

    def release(self, error_type: str | None = None) -> None:
        """End the request as never sent. It keeps its row, and is no request in any total."""
        self._end("released", {"outcome": "error", "error_type": error_type})

    def doubt(
        self,
        reading: Reading | None = None,
        *,
        outcome: Outcome = "error",
        error_type: str | None = None,
    ) -> RequestUsage | None:
        """End the request as sent, with what it used not known: an estimate stands for it.

        Args:
            reading: what was seen of the response before it broke off, if anything.
            outcome: how the request ended.
            error_type: why its usage is not known.
        """
        fields = self._expected()
        if reading is not None:
            said = {**reading.fields(), "raw_usage": reading.raw_usage}
            said.pop("total_tokens", None)
            if reading.text_bytes or reading.output_events:
                by_size = -(-reading.text_bytes // BYTES_PER_TOKEN)
                fields["output_tokens"] = max(reading.output_events, by_size)
            said["output_tokens"] = max(fields["output_tokens"], reading.output_tokens or 0)
            fields.update(said)
        fields.update(outcome=outcome, error_type=error_type)
        return self._end("in_doubt", fields)

    def fail(self, error: BaseException, reading: Reading | None = None) -> RequestUsage | None:
        """End the request as its exception tells: refused, never sent, or in doubt."""
        verdict, error_type = judge(error)
        if verdict == "rejected":
            return self.reject(error_type)
        if verdict == "unsent" and reading is None:
            self.release(error_type)
            return None
        outcome: Outcome = "cancelled" if verdict == "cancelled" else "error"
        return self.doubt(reading, outcome=outcome, error_type=error_type)

    def _end(self, status: Status, fields: Mapping[str, Any]) -> RequestUsage | None:
        with self._lock:
            if self.ended:
                return None
            self.ended = True
        recorder = self._recorder
        duration = max(recorder.clock.monotonic() - self._started_monotonic, 0)
        try:
            entry = self._entry(status, fields, duration)
        except Exception as error:  # noqa: BLE001 - count it whatever the response held
            recorder.fault("reading a response", error)
            entry = self._entry("in_doubt", {"error_type": "unreadable_response"}, duration)
        if status != "released":
            if "cost_nanodollars" not in fields:
                entry = recorder.price(entry)
            if status == "settled":
                recorder.learn(entry)
            self.run.count(entry)
            self.entry = entry
        raw_usage = fields.get("raw_usage")
        self._keep(entry, raw_usage, duration)
        return self.entry

    def _keep(
        self, entry: RequestUsage, raw_usage: Mapping[str, Any] | None, duration: int
    ) -> None:
        ledger = self._recorder.ledger
        if ledger is None:
            self._recorder.not_kept()
            return
        try:
            # Where the hold could not be kept, the ledger writes the whole row now.
            future = ledger.finish(
                entry, raw_usage=raw_usage, duration_ns=duration, budgeted=bool(self._claims)
            )
            self._recorder.watch("keeping a request", future)
            if self._claims:
                future.add_done_callback(self._ended_under_budgets)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            self._recorder.fault("keeping a request", error)

    def _ended_under_budgets(self, done: Future[Any]) -> None:
        if done.exception() is None and isinstance(done.result(), Ended):
            for balance in done.result().warnings:
                self._warn(balance)

    def _warn(self, balance: Balance) -> None:
        budgets = (claim.budget for claim in self._claims)
        self.run.warn(balance, next(row for row in budgets if row.id == balance.budget_id))

    def _entry(
        self, status: Status, fields: Mapping[str, Any] | None = None, duration: int | None = None
    ) -> RequestUsage:
        who = self._attribution
        record: dict[str, Any] = {
            "id": self.id,
            "run_id": self.run.id,
            "status": status,
            "provider": self.provider,
            "model": self.model,
            "requested_model": self.replaced_model or self.model,
            "output_limit": self.output_limit,
            "limited_by": self.limited_by,
            "agent": self.agent,
            "turn": self.turn,
            "customer": who.customer,
            "user": who.user,
            "project": who.project,
            "session": who.session,
            "tags": who.tags or None,
            "started_at": self._started_at,
            "duration": None if duration is None else duration / 1e9,
        }
        if fields:
            record.update(fields)
            record.pop("raw_usage", None)
        response_id = record.get("response_id")
        if response_id is not None and self.run.has_seen(response_id):
            record["anomalies"] = [
                *record.get("anomalies", ()),
                f"response_id: {response_id} again",
            ]
        return RequestUsage.from_known(record)

    # As a context manager, for a loop of the user's own.

    async def start(self) -> None:
        """Tell the hooks, which may refuse, and hold the request."""
        try:
            await self.run.emit("on_llm_start", self)
        except BaseException:
            # Nothing was held and nothing is sent.
            self.ended = True
            raise
        await self.hold_async()

    def start_sync(self) -> None:
        """`start` from plain code."""
        try:
            self.run.emit_sync("on_llm_start", self)
        except BaseException:
            self.ended = True
            raise
        self.hold()

    async def announce(self) -> None:
        """Tell the hooks what the request came to, once."""
        if self.entry is not None and not self._announced:
            self._announced = True
            await self.run.emit("on_llm_end", self.entry)

    def announce_sync(self) -> None:
        """`announce` from plain code."""
        if self.entry is not None and not self._announced:
            self._announced = True
            self.run.emit_sync("on_llm_end", self.entry)

    def __enter__(self) -> Self:
        self.start_sync()
        self._token = _open.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)
        self.announce_sync()

    async def __aenter__(self) -> Self:
        await self.start()
        self._token = _open.set(self)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)
        await self.announce()

    def _leave(self, error: BaseException | None) -> None:
        if self._token is not None:
            # Left in another context than it was entered in, that one never had it.
            with suppress(ValueError):
                _open.reset(self._token)
            self._token = None
        if self.ended:
            return
        if error is None:
            self.doubt(outcome="completed", error_type="not_settled")
        elif is_of_a_model(error):
            self.fail(error)
        else:
            verdict, error_type = judge(error)
            outcome: Outcome = "cancelled" if verdict == "cancelled" else "error"
            self.doubt(outcome=outcome, error_type=error_type)


_open: ContextVar[Request | None] = ContextVar("tallystick_request", default=None)


def open_request() -> Request | None:
    """Return the request whose block the calling code is in.

    A client that is tracked sends it, and what it sends must not be counted a second time.
    """
    return _open.get()
