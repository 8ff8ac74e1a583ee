"""Budgets as the ledger keeps them: limits, balances, and what a request asks of them.

All amounts are whole numbers: nanodollars, tokens, requests. None is no limit, or an amount that
nobody knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from tallystick.errors import LedgerError
from tallystick.money import usd

Unit = Literal["nanodollars", "tokens", "requests"]

UNITS: tuple[Unit, ...] = ("nanodollars", "tokens", "requests")

Per = Literal["run", "hour", "day", "week", "month", "all"]

PERIODS: tuple[Per, ...] = ("run", "hour", "day", "week", "month", "all")


class Amounts(NamedTuple):
    """An amount in each unit; None is no limit, or not known."""

    nanodollars: int | None = None
    tokens: int | None = None
    requests: int | None = None

    @property
    def usd(self) -> Decimal | None:
        """The amount of money in USD, exactly."""
        return None if self.nanodollars is None else usd(self.nanodollars)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe form; `usd` is a string so that no reader makes a float of it."""
        return {"usd": None if self.usd is None else f"{self.usd:f}", **self._asdict()}


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A budget as the ledger keeps it."""

    id: str
    name: str
    per: Per
    limits: Amounts
    created_at: int
    """Nanoseconds."""
    run_id: str | None = None
    """The run that it is for, with all that is inside; None for a standing budget."""
    scope: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What a request must be attributed to; all of it. Empty: every request."""
    zone: str = "UTC"
    """The time zone in which hours, days, weeks and months begin."""
    hard: bool = True
    """Whether a request that does not fit is refused; else it is only warned of."""
    warn_at: int | None = None
    """At how many percent of a limit to warn, once a window."""
    policy: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What the guard does by; the ledger keeps it and does not read it."""
    removed_at: int | None = None


class Claim(NamedTuple):
    """That a request falls under a budget, in this window of it."""

    budget: BudgetRow
    window: str
    """Which window: its beginning as text, ``all``, or the id of the run at the top."""
    begins_at: int | None = None
    ends_at: int | None = None
    """Nanoseconds; None where no time bounds it."""


class Ask(NamedTuple):
    """The most that a request can come to: a fixed part, and one for each token of its answer."""

    nanodollars: int | None
    """For all but the answer. None: not known, which every budget in scope lets pass."""
    nanodollars_per_token: int
    tokens: int | None
    """Of input. None: likewise."""
    tokens_per_token: int
    """How many tokens are billed for one of the limit: the number of answers asked for."""
    output_tokens: int
    """The limit on the answer that is wanted; 0 where an answer has none."""
    least: int
    """The lowest limit that will do. Where less is affordable, the request is refused."""
    requests: int = 1

    def amounts(self, output_tokens: int) -> Amounts:
        """Return the hold for a limit on the answer."""
        dollars, tokens = self.nanodollars, self.tokens
        return Amounts(
            None if dollars is None else dollars + output_tokens * self.nanodollars_per_token,
            None if tokens is None else tokens + output_tokens * self.tokens_per_token,
            self.requests,
        )


NOTHING = Ask(0, 0, 0, 0, output_tokens=0, least=-1, requests=0)
"""What is asked for a request that a provider has made already, inside another: it is not
refused any more, and is posted when it settles."""


@dataclass(frozen=True, slots=True)
class Balance:
    """A budget in one window: its limit, what is spent, and what is held."""

    budget_id: str
    name: str
    window: str
    begins_at: int | None
    ends_at: int | None
    hard: bool
    limits: Amounts
    """With what was topped up."""
    spent: Amounts
    held: Amounts
    """By requests that are out or in doubt."""
    debt: Amounts
    """By how much spent and held exceed the limit, because a provider billed above its bound, a
    limit was lowered, or the budget only warns."""
    unpriced: int = 0
    """Requests whose amount is not known, and in none of the others: the budget lets them pass."""

    def room(self, unit: Unit) -> int | None:
        """Return what is left of a limit, never below zero; None where there is none."""
        limit = getattr(self.limits, unit)
        if limit is None:
            return None
        left: int = limit - getattr(self.spent, unit) - getattr(self.held, unit)
        return max(left, 0)

    def used(self, unit: Unit) -> int | None:
        """Return how many percent of a limit are spent or held, rounded down; None without one."""
        limit: int | None = getattr(self.limits, unit)
        if limit is None:
            return None
        taken: int = getattr(self.spent, unit) + getattr(self.held, unit)
        return 100 if limit == 0 else taken * 100 // limit


class Granted(NamedTuple):
    """What a hold was granted: the limit on the answer, and by whom it was lowered."""

    output_tokens: int
    limited_by: str | None = None
    """The name of the budget that afforded no more; None where all that was wanted was granted."""
    exceeded: tuple[Balance, ...] = ()
    """Budgets that only warn, and that the request did not fit into."""


class Ended(NamedTuple):
    """How ending a request under budgets went."""

    changed: bool
    warnings: tuple[Balance, ...] = ()
    """Budgets of which it passed the mark to warn at, the first time in their window."""


class HoldRefused(LedgerError):  # noqa: N818 - reads as what it says
    """A request does not fit into a budget. Nothing was held, in none of the budgets."""

    def __init__(self, balance: Balance, unit: Unit, asked: int) -> None:
        super().__init__(f"budget {balance.name!r} has no room for {asked} {unit}")
        self.balance = balance
        self.unit: Unit = unit
        self.asked = asked
        """The least that the request would have needed."""


class BudgetsChanged(LedgerError):  # noqa: N818
    """Budgets were set or removed meanwhile, so that the claims of a hold may be wrong."""
