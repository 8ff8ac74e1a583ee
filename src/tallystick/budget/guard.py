"""`Guard`: which budgets a request falls under, and the most that it can come to.

Nothing is held here: the ledger does that, in one transaction for all budgets of a request. The
guard says what to hold, and turns a refusal into an error that a person can act on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from tallystick.attribution import Attribution
from tallystick.budget.bound import InputBound, input_bound
from tallystick.budget.limit import DEFAULT_OUTPUT_TOKENS, FLOOR_TOKENS
from tallystick.budget.window import window_at
from tallystick.clock import timestamp
from tallystick.errors import BudgetExceeded, BudgetUncertain
from tallystick.ledger import Ask, Balance, BudgetRow, Claim, HoldRefused, Unit
from tallystick.money import usd
from tallystick.wire import RequestReading

if TYPE_CHECKING:
    from tallystick.ledger import Ledger
    from tallystick.pricing import Prices

UNLIMITED_APIS = frozenset({"openai.embeddings", "gemini.embed", "cohere.embed", "ollama.embed"})
"""Those whose answers have no tokens that are billed."""

UNLIMITABLE_APIS = frozenset({"openai.responses.compact"})
"""Those whose answers are billed, and which take no limit on them."""

MOST_OUTPUT_TOKENS = 10**9
"""A limit above this is no limit; amounts have to fit into 64 bits."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A request before it is sent, as far as budgets ask."""

    provider: str | None
    model: str | None
    at: int
    """Nanoseconds."""
    who: Attribution
    agent: str | None
    runs: tuple[str, ...]
    """The ids of its run and of the runs around it, the top one last."""
    budgets: tuple[BudgetRow, ...]
    """The budgets that those runs were started with."""
    api: str = ""
    body: bytes | None = None
    """The whole body; None where nothing of it is known."""
    asked: RequestReading = RequestReading()  # noqa: RUF009 - frozen
    max_input_tokens: int | None = None
    """The most input it can have, where the caller knows that better than its body tells."""

    def is_in(self, scope: Mapping[str, str]) -> bool:
        """Whether it is attributed to all that a budget is for."""
        own = {"agent": self.agent, "model": self.model, "provider": self.provider}
        return all(
            (own[name] if name in own else self.who.get(name)) == value
            for name, value in scope.items()
        )


class Terms(NamedTuple):
    """What a request is held on: budgets in their windows, and the most that it can come to."""

    claims: tuple[Claim, ...]
    version: int
    """Of the standing budgets by which `claims` were found."""
    ask: Ask | None
    """None where there are no claims."""
    limits: bool = False
    """Whether the limit on the answer is what the hold rests on, so that it has to be sent."""

    @property
    def hard(self) -> tuple[BudgetRow, ...]:
        """The budgets that refuse what does not fit."""
        return tuple(claim.budget for claim in self.claims if claim.budget.hard)


class Bound(NamedTuple):
    """The most that a request can come to."""

    input_tokens: int | None
    nanodollars: int | None
    """For all but the answer."""
    nanodollars_per_token: int
    """For one token of the answer, of all answers that are asked for."""
    basis: str | None
    rule: str | None
    unbounded: str | None
    """Why there is no bound of its tokens."""
    unpriced: str | None
    """Why there is no bound of its cost."""


class Stop(NamedTuple):
    """That a budget has refused a request, and so stops the tree of runs that it was of."""

    balance: Balance
    version: int
    """Of the standing budgets at the time."""
    error: BudgetExceeded

    @property
    def key(self) -> tuple[str, str]:
        """The budget and its window."""
        return self.balance.budget_id, self.balance.window


class Guard:
    """Works out holds by the budgets of a ledger and the prices of a tally. Threads share it."""

    def __init__(self, ledger: Ledger, prices: Prices) -> None:
        self._ledger = ledger
        self._prices = prices
        self._lock = threading.Lock()
        self._standing: tuple[int, tuple[BudgetRow, ...]] | None = None

    def refresh(self) -> tuple[int, tuple[BudgetRow, ...]]:
        """Read the standing budgets anew, and return them after their version.

        Raises:
            LedgerError: they cannot be read.
        """
        with self._lock:
            # The version first: what changes in between makes it old, and is seen at the hold.
            version = self._ledger.budget_version()
            self._standing = (version, tuple(self._ledger.budgets()))
            return self._standing

    def in_scope(self, draft: Draft) -> tuple[Claim, ...]:
        """Return the budgets that a request falls under.

        Raises:
            LedgerError: the standing budgets were never read, and cannot be.
        """
        _, standing = self._standing or self.refresh()
        return tuple(self.claims(draft, standing))

    def is_changed(self, stop: Stop) -> bool:
        """Whether the budget that stopped a run was set, topped up or removed since.

        Raises:
            LedgerError: that cannot be read.
        """
        changes = "SELECT 1 FROM budget_changes WHERE budget_id = ? AND number > ? LIMIT 1"
        return bool(self._ledger.query(changes, stop.balance.budget_id, stop.version))

    def terms(self, draft: Draft) -> Terms:
        """Return what a request has to hold.

        Raises:
            BudgetUncertain: a hard budget needs a bound that cannot be given.
            LedgerError: the standing budgets were never read, and cannot be.
        """
        version, standing = self._standing or self.refresh()
        claims = tuple(self.claims(draft, standing))
        return self._held(draft, claims, version) if claims else Terms((), version, None)

    def claims(self, draft: Draft, standing: Iterable[BudgetRow]) -> Iterable[Claim]:
        """Yield the budgets that a request falls under: those of its runs, then standing ones."""
        for budget in draft.budgets:
            assert budget.run_id is not None  # noqa: S101 - a run's budget; for the type checker
            yield Claim(budget, budget.run_id)
        for budget in standing:
            if draft.is_in(budget.scope):
                yield claim_of(budget, draft.at, draft.runs[-1])

    def _held(self, draft: Draft, claims: tuple[Claim, ...], version: int) -> Terms:
        needed = {
            unit
            for claim in claims
            for unit in ("nanodollars", "tokens")
            if getattr(claim.budget.limits, unit) is not None
        }
        if not needed:
            return Terms(claims, version, Ask(None, 0, None, 0, _wanted(draft, claims), 0))
        bound = self.bound(draft, priced="nanodollars" in needed)
        strict = _strict(claims)
        for budget in strict:
            doubt = doubt_of(budget, bound, draft)
            if doubt is not None:
                raise doubt
        ask = ask_of(draft, claims, bound)
        clamps = draft.asked.max_output_tokens is None or ask.least < ask.output_tokens
        limitable = draft.api not in UNLIMITED_APIS | UNLIMITABLE_APIS
        limits = limitable and bool(strict) and clamps
        return Terms(claims, version, ask, limits)

    def bound(self, draft: Draft, *, priced: bool = True) -> Bound:
        """Return the most that a request can come to, before any budget is asked.

        Args:
            draft: the request.
            priced: whether its cost is wanted too.
        """
        from tallystick.pricing.ceiling import ceiling, context_window

        asked = draft.asked
        window = context_window(self._prices, draft.provider, draft.model)
        found = _input_of(draft, window)
        unbounded = None if found.tokens is not None else "; ".join(found.reasons)
        if draft.api in UNLIMITABLE_APIS:
            unbounded = "its API takes no limit on the answer"
            found = found._replace(tokens=None)
        if not priced:
            return Bound(found.tokens, None, 0, found.basis, None, unbounded, None)
        rates = ceiling(
            self._prices,
            provider=draft.provider,
            model=draft.model,
            at=timestamp(draft.at),
            input_tokens=found.tokens,
            service_tier=asked.service_tier,
            customer=draft.who.customer,
            project=draft.who.project,
            audio=found.audio,
            images=found.images,
            audio_output=asked.audio_output,
            cache_write=asked.cache_write,
            tools=found.tool_calls,
            modifiers=asked.modifiers,
        )
        if isinstance(rates, str):
            return Bound(found.tokens, None, 0, found.basis, None, unbounded, rates)
        if found.tokens is None:
            return Bound(None, None, 0, found.basis, rates.rule, unbounded, unbounded)
        if rates.reasons:
            why = "; ".join(rates.reasons)
            return Bound(found.tokens, None, 0, found.basis, rates.rule, why, why)
        return Bound(
            found.tokens,
            found.tokens * rates.input + rates.fixed,
            rates.output * asked.n,
            found.basis,
            rates.rule,
            None,
            None,
        )


# Of an input that is not seen anything may be in it.
_UNSEEN = InputBound(None, "nothing", (), audio=True, images=True, tool_calls={})


def _input_of(draft: Draft, context_window: int | None) -> InputBound:
    if draft.max_input_tokens is not None:
        return _UNSEEN._replace(tokens=draft.max_input_tokens, basis="as given")
    if draft.body is None:
        why = "nothing is known of what it sends; give its body or max_input_tokens"
        return _UNSEEN._replace(reasons=(why,))
    return input_bound(
        draft.api,
        draft.body,
        provider=draft.provider,
        model=draft.model,
        context_window=context_window,
    )


def claim_of(budget: BudgetRow, now: int, root_id: str) -> Claim:
    """Return the claim on a standing budget at a moment, of a request in a tree of runs."""
    if budget.per == "run":
        return Claim(budget, root_id)
    return Claim(budget, *window_at(budget.per, budget.zone, now))


def _strict(claims: Iterable[Claim]) -> list[BudgetRow]:
    """Return the hard budgets that limit what an answer can come to."""
    return [
        claim.budget
        for claim in claims
        if claim.budget.hard
        and (claim.budget.limits.nanodollars is not None or claim.budget.limits.tokens is not None)
    ]


def _wanted(draft: Draft, claims: Iterable[Claim]) -> int:
    """Return the limit on the answer: as it is asked for, or as the budgets would give one."""
    if draft.api in UNLIMITED_APIS:
        return 0
    if draft.asked.max_output_tokens is not None:
        return min(draft.asked.max_output_tokens, MOST_OUTPUT_TOKENS)
    given = (
        claim.budget.policy.get("default_output_tokens", DEFAULT_OUTPUT_TOKENS) for claim in claims
    )
    return min(given, default=DEFAULT_OUTPUT_TOKENS)


def ask_of(draft: Draft, claims: Iterable[Claim], bound: Bound) -> Ask:
    """Return what a request of this bound asks of the budgets that it falls under."""
    claims = tuple(claims)
    wanted = _wanted(draft, claims)
    answers = draft.api not in UNLIMITED_APIS
    floors = [budget.policy.get("min_output_tokens", FLOOR_TOKENS) for budget in _strict(claims)]
    return Ask(
        nanodollars=bound.nanodollars,
        nanodollars_per_token=bound.nanodollars_per_token if answers else 0,
        tokens=bound.input_tokens,
        tokens_per_token=draft.asked.n if answers else 0,
        output_tokens=wanted,
        # Without a hard budget nothing is clamped.
        least=min(wanted, max(floors)) if floors else wanted,
    )


def doubt_of(budget: BudgetRow, bound: Bound, draft: Draft) -> BudgetUncertain | None:
    """Return why a hard budget cannot hold a request, or None where it can.

    It has no bound or no price, and the budget does not let that pass.
    """
    allowed = budget.policy.get("allow", ())
    if bound.unbounded is not None and "unbounded" not in allowed:
        what, why, setting = "it has no bound", bound.unbounded, "unbounded"
    elif (
        budget.limits.nanodollars is not None
        and bound.nanodollars is None
        and bound.unbounded is None
        and "unpriced" not in allowed
    ):
        what, why, setting = "it has no price", bound.unpriced or "", "unpriced"
    else:
        return None
    return BudgetUncertain(
        f"a request to {draft.model or 'a model'} was not sent: {what} ({why}), and the budget "
        f'{budget.name!r} lets only what it can hold pass; allow=["{setting}"] lets it pass '
        "uncounted until it is known",
        budget=budget.name,
        setting=f'allow=["{setting}"]',
    )


def exceeded(refusal: HoldRefused, draft: Draft, usage: Any) -> BudgetExceeded:
    """Return the error of a request that did not fit."""
    balance, unit = refusal.balance, refusal.unit
    limit, spent, held, asked = (
        shown(unit, amount)
        for amount in (
            getattr(balance.limits, unit),
            getattr(balance.spent, unit),
            getattr(balance.held, unit),
            refusal.asked,
        )
    )
    until = _until(balance)
    return BudgetExceeded(
        f"budget {balance.name!r}: a request to {draft.model or 'a model'} was not sent. "
        f"It can come to {amount_text(unit, asked)}, and of {amount_text(unit, limit)}{until} "
        f"{amount_text(unit, spent)} are spent and {amount_text(unit, held)} held",
        budget=balance.name,
        usage=usage,
        unit="usd" if unit == "nanodollars" else unit,
        limit=limit,
        spent=spent,
        held=held,
        asked=asked,
    )


def stopped_before(first: BudgetExceeded, draft: Draft, usage: Any) -> BudgetExceeded:
    """Return the error of a request under a budget that has stopped its tree of runs before."""
    return BudgetExceeded(
        f"budget {first.budget!r}: a request to {draft.model or 'a model'} was not sent, because "
        f"the budget has stopped this run before: {first}",
        budget=first.budget,
        usage=usage,
        unit=first.unit,
        limit=first.limit,
        spent=first.spent,
        held=first.held,
        asked=first.asked,
    )


def _until(balance: Balance) -> str:
    if balance.ends_at is None:
        return ""
    return f" until {moment_text(timestamp(balance.ends_at))}"


def moment_text(moment: datetime) -> str:
    """Return a moment to the minute, such as ``2026-12-01T00:00Z``."""
    return moment.isoformat(timespec="minutes").replace("+00:00", "Z")


def shown(unit: Unit, amount: int) -> Decimal | int:
    """Return an amount as users have it: USD as a Decimal, the rest as whole numbers."""
    return usd(amount) if unit == "nanodollars" else amount


def amount_text(unit: Unit, amount: Decimal | int) -> str:
    """Return an amount as `shown` gives it in words, such as ``$0.50`` or ``1,200 tokens``."""
    if unit != "nanodollars":
        return f"{amount:,} {unit}"
    # All digits that say something, and at least cents.
    digits = max(2, -int(Decimal(amount).normalize().as_tuple().exponent))
    return f"${amount:,.{digits}f}"
