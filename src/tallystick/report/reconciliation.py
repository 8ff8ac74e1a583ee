"""Reconciling: what requests in doubt come to, by whom or what, and the trail that says so.

Everything here but `settle` is worked out without writing. What comes out is a `Plan`: for each
entry in doubt the entry that it becomes, or why it stays in doubt. A plan is carried out entry by
entry, each in one step of the ledger, so that one that was killed half way is finished by making
a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tallystick.clock import timestamp
from tallystick.counts import MAX_COUNT
from tallystick.ledger import Amounts, Ledger, Reconciliation
from tallystick.money import Cost, usd
from tallystick.pricing import Prices
from tallystick.usage import RequestUsage

BY_HAND = "by hand"
"""The source of what a person says of one request."""

BY_POLICY = "by policy"
"""The source of what is settled because it has been in doubt for long."""

MOST_NANODOLLARS = 10**15
"""The most that a ledger believes of one request: a million USD."""

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_tokens_details",
    "output_tokens_details",
    "estimated",
)
_PRICE = ("cost_nanodollars", "cost_estimated", "price_book", "price_rule", "price_reason")


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an entry in doubt becomes, and by whom or what."""

    before: RequestUsage
    after: RequestUsage
    """Its status is settled or released."""
    source: str
    detail: str
    raw_usage: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            **described(self.before),
            "status": self.after.status,
            "before": figures(self.before),
            "after": figures(self.after),
            "source": self.source,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class Left:
    """An entry that stays in doubt, and why."""

    entry: RequestUsage
    reason: str


@dataclass(frozen=True, slots=True)
class Check:
    """What a provider billed for a span of time, beside what the ledger has there."""

    provider: str
    model: str | None
    begins_at: int
    ends_at: int
    billed_nanodollars: int
    ledger: Cost

    @property
    def difference(self) -> int:
        """By how many nanodollars more the provider billed."""
        return self.billed_nanodollars - self.ledger.nanodollars

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "provider": self.provider,
            "model": self.model,
            "begins_at": timestamp(self.begins_at).isoformat(),
            "ends_at": timestamp(self.ends_at).isoformat(),
            "billed_nanodollars": self.billed_nanodollars,
            "billed_usd": str(usd(self.billed_nanodollars)),
            "ledger": self.ledger.to_dict(),
        }


@dataclass(slots=True)
class Plan:
    """What becomes of entries in doubt."""

    settlements: list[Settlement] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def add(self, ended: Settlement | Left) -> None:
        """Add what becomes of one entry."""
        if isinstance(ended, Settlement):
            self.settlements.append(ended)
        else:
            self.left.append(ended)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "settled": [settlement.to_dict() for settlement in self.settlements],
            "left": [{**described(left.entry), "reason": left.reason} for left in self.left],
            "checks": [check.to_dict() for check in self.checks],
        }


def by_counts(
    entry: RequestUsage,
    counts: Mapping[str, int],
    prices: Prices,
    *,
    source: str,
    detail: str,
    estimated: bool = False,
    raw_usage: Mapping[str, Any] | None = None,
) -> Settlement | Left:
    """Settle an entry at counts; it is left where they are more than a ledger believes.

    Args:
        entry: it is in doubt.
        counts: `input_tokens`, `output_tokens`, and the parts of input that are known.
        prices: what they are priced by, at the time at which the request was sent.
        source: who or what says so.
        detail: what they went by.
        estimated: whether the counts still are an estimate.
        raw_usage: what the provider said of this request alone.
    """
    details = {
        name: value
        for name, value in counts.items()
        if name not in ("input_tokens", "output_tokens")
    }
    short, long = details.get("cache_write_5m_tokens"), details.get("cache_write_1h_tokens")
    if short is not None and long is not None:
        details["cache_write_tokens"] = short + long
    used = {
        "input_tokens": counts["input_tokens"],
        "output_tokens": counts["output_tokens"],
        "input_tokens_details": details,
        "estimated": estimated or None,
    }
    after = _priced(_become(entry, "settled", used), prices)
    return _believed(Settlement(entry, after, source, detail, raw_usage))


def not_billed(entry: RequestUsage, *, source: str, detail: str) -> Settlement:
    """Settle an entry at nothing: it was sent, and the provider did not bill it."""
    fields = {
        "input_tokens": 0,
        "output_tokens": 0,
        "total_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
        "cost_nanodollars": 0,
        "price_rule": "the provider billed nothing for it",
    }
    return Settlement(entry, _become(entry, "settled", fields), source, detail)


def never_sent(entry: RequestUsage, *, source: str = BY_HAND) -> Settlement:
    """Release an entry: somebody says that it was never sent."""
    return Settlement(entry, _become(entry, "released", {}), source, "it was never sent")


def as_estimated(entry: RequestUsage, prices: Prices, *, source: str) -> Settlement | Left:
    """Settle an entry at the estimate that it has, which stays marked as one."""
    if entry.input_tokens is None or entry.output_tokens is None:
        return Left(entry, "it has no estimate")
    fields = {name: entry.record.get(name) for name in _COUNTS}
    after = _priced(_become(entry, "settled", {**fields, "estimated": True}), prices)
    detail = f"the estimate of {tokens_text(entry)} is accepted"
    return _believed(Settlement(entry, after, source, detail))


def as_held(entry: RequestUsage, held: Amounts | None, *, source: str) -> Settlement | Left:
    """Settle an entry at what it holds: the most that it can have come to.

    How many of the tokens were input is not known of a hold, so only their total is said.
    """
    if held is None or held.nanodollars is None or held.tokens is None:
        return Left(entry, "it holds no amount and no tokens of a budget")
    fields = {
        "total_tokens": held.tokens,
        "estimated": True,
        "cost_nanodollars": held.nanodollars,
        "cost_estimated": True,
        "price_rule": "charged as held: the most that it can cost",
    }
    detail = f"charged as held: {held.tokens} tokens, {usd(held.nanodollars)} USD"
    return _believed(Settlement(entry, _become(entry, "settled", fields), source, detail))


def of_each(
    entries: Sequence[RequestUsage], end: Callable[[RequestUsage], Settlement | Left]
) -> Plan:
    """Return the plan in which each entry ends in the same way."""
    plan = Plan()
    for entry in entries:
        plan.add(end(entry))
    return plan


def settle(
    ledger: Ledger,
    prices: Prices,
    settlements: Sequence[Settlement],
    progress: Callable[[int], object] | None = None,
) -> int:
    """Carry out settlements, each in one step; return how many entries were still in doubt.

    Args:
        ledger: where they are.
        prices: what they were priced by, whose books the ledger keeps.
        settlements: what to do.
        progress: called after each with how many are done.

    Raises:
        LedgerError: one could not be written; those before it are.
    """
    kept: set[str | None] = {None}
    done = 0
    for number, one in enumerate(settlements, 1):
        book = one.after.price_book
        if book is not None and book not in kept:
            kept.add(book)
            for name, content in prices.contents(book):
                ledger.keep_book(name, content).result()
        done += ledger.reconcile(
            one.after, source=one.source, detail=one.detail, raw_usage=one.raw_usage
        ).result()
        if progress is not None:
            progress(number)
    return done


def described(entry: RequestUsage) -> dict[str, Any]:
    """Return which request an entry is, as a JSON-safe dict."""
    names = ("id", "run_id", "started_at", "provider", "model", "agent", "customer")
    return {
        **{name: entry.record.get(name) for name in names},
        "outcome": entry.outcome,
        "error_type": entry.error_type,
    }


def figures(entry: RequestUsage) -> dict[str, Any]:
    """Return the counts and the cost of an entry as a JSON-safe dict; None is not known."""
    return {
        "input_tokens": entry.input_tokens,
        "cached_tokens": entry.input_tokens_details.cached_tokens,
        "output_tokens": entry.output_tokens,
        "total_tokens": entry.total_tokens,
        "estimated": entry.estimated,
        "cost_nanodollars": entry.cost_nanodollars,
        "cost_usd": None if entry.cost_nanodollars is None else str(usd(entry.cost_nanodollars)),
        "cost_estimated": entry.cost_estimated,
        "price_rule": entry.price_rule,
        "price_reason": entry.price_reason,
    }


def trail_dict(made: Reconciliation) -> dict[str, Any]:
    """Return a JSON-safe dict of how a request in doubt came to its end."""
    return {
        **made._asdict(),
        "made_at": timestamp(made.made_at).isoformat(),
        "previous": dict(made.previous),
    }


def tokens_text(entry: RequestUsage) -> str:
    """Return the tokens of an entry in words."""
    return f"{entry.input_tokens} tokens in and {entry.output_tokens} out"


def _believed(one: Settlement) -> Settlement | Left:
    """Return a settlement, or why not where the ledger would refuse it as absurd."""
    cost = one.after.cost_nanodollars
    if cost is not None and cost > MOST_NANODOLLARS:
        most = f"{usd(MOST_NANODOLLARS):,.0f}"
        why = f"it comes to {usd(cost):,.2f} USD, and one request to {most} USD at most"
        return Left(one.before, f"{one.detail}: {why}")
    for count in (one.after.input_tokens, one.after.output_tokens):
        if count is not None and count > MAX_COUNT:
            return Left(one.before, f"{one.detail}: {count} is no count of one request")
    return one


def _become(entry: RequestUsage, status: str, fields: Mapping[str, Any]) -> RequestUsage:
    """Return an entry with another status, and other counts and price than it had in doubt."""
    record: dict[str, Any] = {
        name: value
        for name, value in entry.record.items()
        if name not in _COUNTS and name not in _PRICE
    }
    return RequestUsage.from_known({**record, **fields, "status": status})


def _priced(entry: RequestUsage, prices: Prices) -> RequestUsage:
    return entry.with_known(prices.quote(entry).fields())
