"""`Estimate`: what a request can come to and is likely to, and whether its budgets let it pass."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from tallystick.attribution import Attribution
from tallystick.budget.guard import Bound, Draft, Guard, ask_of, doubt_of
from tallystick.clock import timestamp
from tallystick.ledger import UNITS, Amounts, Ask, Balance, BudgetRow, Claim
from tallystick.ledger.holding import affordable
from tallystick.usage import RequestUsage
from tallystick.wire import api_of, read_request

if TYPE_CHECKING:
    from tallystick.ledger import Ledger
    from tallystick.pricing import Prices

Verdict = Literal["fits", "clamped", "refused", "warned", "uncertain"]
"""What a budget does with a request: lets it pass as it is, with a lower limit on its answer, or
not at all; lets it pass although it does not fit; or refuses it because nobody knows."""

BYTES_PER_TOKEN = 4
"""What a token of English or JSON takes, for what is likely and never for a bound."""

ROUGH = frozenset({"bytes", "context window", "nothing", "as given"})
"""What a bound rests on that is no count by the model's own vocabulary."""

USUAL_OUTPUT_TOKENS = 256
"""How long an answer is taken to be where nobody knows better."""


@dataclass(frozen=True, slots=True)
class BudgetFit:
    """A budget that a request falls under, and what it does with it now."""

    budget: str
    hard: bool
    ends: datetime | None
    """When its window ends, in UTC; None where no time bounds it."""
    room: Amounts
    """What is left of its limits; None where there is none."""
    verdict: Verdict
    output_tokens: int | None
    """The limit on the answer that it affords, up to the one asked for; None where not even the
    input fits, or where nobody knows."""
    instead: str | None
    """The cheaper model that it is sent to where it is refused, if it fits then."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "budget": self.budget,
            "hard": self.hard,
            "ends": None if self.ends is None else self.ends.isoformat(),
            "room": self.room.to_dict(),
            "verdict": self.verdict,
            "output_tokens": self.output_tokens,
            "instead": self.instead,
        }


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a request can come to at most, what it is likely to, and what its budgets say."""

    provider: str | None
    model: str | None
    api: str
    input_tokens: int | None
    """The most it can be billed for; None where there is no bound."""
    basis: str | None
    """What that bound rests on: a tokenizer's vocabulary, ``bytes`` or ``context window``."""
    output_tokens: int
    """The limit on the answer: the one asked for, else the one that it would be given."""
    asks_limit: bool
    """Whether the request sets that limit itself."""
    answers: int
    """How many answers are asked for, each of which may be that long."""
    most: Amounts
    """What it can come to, which is what is held; None where that is not known."""
    rule: str | None
    """By which rates that was worked out."""
    reasons: tuple[str, ...]
    """Why there is no bound of its tokens or its cost; normally empty."""
    expected: Amounts
    """What it is likely to come to. No bound rests on this."""
    budgets: tuple[BudgetFit, ...]
    """Those that it falls under."""

    @property
    def fits(self) -> bool:
        """Whether it would be sent now, if with a lower limit on its answer."""
        return all(fit.verdict not in ("refused", "uncertain") for fit in self.budgets)

    @property
    def granted_output_tokens(self) -> int | None:
        """The limit on the answer with which it would be sent now; None where it would not be."""
        if not self.fits:
            return None
        hard = [fit.output_tokens for fit in self.budgets if fit.hard]
        return min([self.output_tokens, *(limit for limit in hard if limit is not None)])

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "provider": self.provider,
            "model": self.model,
            "api": self.api,
            "input_tokens": self.input_tokens,
            "basis": self.basis,
            "output_tokens": self.output_tokens,
            "asks_limit": self.asks_limit,
            "answers": self.answers,
            "most": self.most.to_dict(),
            "rule": self.rule,
            "reasons": list(self.reasons),
            "expected": self.expected.to_dict(),
            "budgets": [fit.to_dict() for fit in self.budgets],
            "fits": self.fits,
            "granted_output_tokens": self.granted_output_tokens,
        }


def estimate(
    request: Mapping[str, Any],
    *,
    ledger: Ledger,
    prices: Prices,
    at: int,
    provider: str | None = None,
    api: str | None = None,
    who: Attribution | None = None,
    agent: str | None = None,
    runs: Sequence[str] = (),
    run_budgets: Sequence[BudgetRow] = (),
    expected_input_tokens: int | None = None,
    expected_output_tokens: int | None = None,
) -> Estimate:
    """Return what a request can come to, and whether its budgets let it pass. Nothing is held.

    What has no bound or no price is no error here: the estimate says why.

    Args:
        request: the body as it would be sent: ``{"model": …, "input": …}``.
        ledger: whose standing budgets and balances.
        prices: by which it would be charged.
        at: when it would be sent, in nanoseconds.
        provider: who serves it; rates depend on it.
        api: the API that it is for, as `tallystick.wire` names it; None for the one that the
            body looks like.
        who: whom and what it is for, by which it falls under standing budgets.
        agent: which agent asks.
        runs: the ids of the run that it is in and of those around it, the top one last.
        run_budgets: the budgets of those runs.
        expected_input_tokens: how long its input is likely to be; None for a quarter of its
            bytes.
        expected_output_tokens: how long its answer is likely to be.

    Raises:
        LedgerError: the budgets cannot be read.
    """
    body = json.dumps(request, default=str).encode()
    named = api_of(request, provider) if api is None else api
    asked = read_request(named, body)
    guard = Guard(ledger, prices)
    draft = Draft(
        provider=provider,
        model=asked.model,
        at=at,
        who=Attribution() if who is None else who,
        agent=agent,
        # In no run yet, it would be in one that nothing was spent in.
        runs=tuple(runs) or ("",),
        budgets=tuple(run_budgets),
        api=named,
        body=body,
        asked=asked,
    )
    _, standing = guard.refresh()
    claims = tuple(guard.claims(draft, standing))
    bound = guard.bound(draft)
    ask = ask_of(draft, claims, bound)
    reasons = [why for why in (bound.unbounded, bound.unpriced) if why is not None]
    return Estimate(
        provider=provider,
        model=draft.model,
        api=named,
        input_tokens=bound.input_tokens,
        basis=bound.basis,
        output_tokens=ask.output_tokens,
        asks_limit=asked.max_output_tokens is not None,
        answers=asked.n,
        most=ask.amounts(ask.output_tokens),
        rule=bound.rule,
        reasons=tuple(dict.fromkeys(reasons)),
        expected=_expected(
            draft, prices, bound, ask, expected_input_tokens, expected_output_tokens
        ),
        budgets=tuple(_fit(ledger.balance(claim), claim, ask, bound, draft) for claim in claims),
    )


def _expected(
    draft: Draft,
    prices: Prices,
    bound: Bound,
    ask: Ask,
    input_tokens: int | None,
    output_tokens: int | None,
) -> Amounts:
    """Return what a request is likely to come to, by today's prices, without any discount."""
    if input_tokens is None:
        input_tokens = -(-draft.asked.input_bytes // BYTES_PER_TOKEN)
        if bound.input_tokens is not None:
            counted = bound.basis not in ROUGH
            input_tokens = bound.input_tokens if counted else min(bound.input_tokens, input_tokens)
    each = USUAL_OUTPUT_TOKENS if output_tokens is None else output_tokens
    answers = ask.tokens_per_token * min(each, ask.output_tokens)
    usage = RequestUsage(
        input_tokens,
        answers,
        provider=draft.provider,
        model=draft.model,
        service_tier=draft.asked.service_tier,
        modifiers=dict(draft.asked.modifiers) or None,
        customer=draft.who.customer,
        project=draft.who.project,
        started_at=timestamp(draft.at),
    )
    return Amounts(prices.quote(usage).nanodollars, input_tokens + answers, 1)


def _fit(balance: Balance, claim: Claim, ask: Ask, bound: Bound, draft: Draft) -> BudgetFit:
    """Return what a budget does with a request."""
    budget = claim.budget
    limited = budget.limits.nanodollars is not None or budget.limits.tokens is not None
    affords = min(
        [
            ask.output_tokens,
            *(fits for unit in UNITS if (fits := affordable(balance, ask, unit)) is not None),
        ]
    )
    verdict: Verdict
    if budget.hard and limited and doubt_of(budget, bound, draft) is not None:
        verdict = "uncertain"
    elif affords >= ask.output_tokens:
        verdict = "fits"
    elif not budget.hard:
        verdict = "warned"
    else:
        verdict = "clamped" if affords >= ask.least else "refused"
    policy = budget.policy.get("on_exceeded", "stop")
    return BudgetFit(
        budget=budget.name,
        hard=budget.hard,
        ends=None if claim.ends_at is None else timestamp(claim.ends_at),
        room=Amounts(*(balance.room(unit) for unit in UNITS)),
        verdict=verdict,
        output_tokens=None if verdict == "uncertain" or affords < 0 else affords,
        instead=policy if verdict == "refused" and policy not in ("stop", draft.model) else None,
    )
