"""`Budgets`: those that stand until they are removed, for whatever they are a limit on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tallystick.attribution import clean
from tallystick.budget.guard import claim_of
from tallystick.budget.limit import MOST, Budget
from tallystick.budget.window import zone_named
from tallystick.clock import Clock, timestamp
from tallystick.errors import ConfigError, NotFound
from tallystick.ledger import UNITS, Amounts, Balance, BudgetChange, BudgetRow, Unit

if TYPE_CHECKING:
    from tallystick.ledger import Ledger

OWN = ("agent", "model", "provider")
"""What a request knows of itself, beside its attribution."""


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A standing budget, and what has become of it in its current window.

    Amounts have ``.usd`` (a Decimal), ``.tokens`` and ``.requests``. What is held, left and owed
    is None in a unit of which there is no limit. A budget per run has no current window, but one
    for each run; then all amounts but the limits are None.
    """

    name: str
    budget: Budget
    """Its limits and what it does, as it was set."""
    scope: Mapping[str, str]
    """What requests must be attributed to for it to count them; empty for all requests."""
    begins: datetime | None
    """When the window began, in the budget's time zone; None where no time bounds it."""
    ends: datetime | None
    """The first moment after the window."""
    limits: Amounts
    """With what was topped up in this window."""
    spent: Amounts
    held: Amounts
    """By requests that are out, or whose outcome is not known."""
    room: Amounts
    """What is left of the limits, never below zero."""
    debt: Amounts
    """By how much spent and held exceed the limits."""
    unpriced: int
    """How many requests have an amount that nobody knows, and are in none of the above."""
    open_windows: int | None
    """Of a budget per run, how many runs that are not over it counts; None for any other."""
    row: BudgetRow
    """As the ledger keeps it."""

    def used_percent(self, unit: Unit) -> int | None:
        """Return how many percent of a limit are spent or held, rounded down; None without one."""
        limit, spent, held = (
            getattr(amounts, unit) for amounts in (self.limits, self.spent, self.held)
        )
        if limit is None or spent is None:
            return None
        used: int = spent + held
        return 100 if limit == 0 else used * 100 // limit

    @property
    def used(self) -> int | None:
        """How many percent of the tightest limit are spent or held; None of a budget per run."""
        percents = (self.used_percent(unit) for unit in UNITS)
        return max((percent for percent in percents if percent is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict: USD as text and whole nanodollars, moments as ISO 8601."""
        budget = self.budget
        return {
            "name": self.name,
            "scope": dict(self.scope),
            "per": budget.per,
            "zone": budget.zone,
            "begins": _text(self.begins),
            "ends": _text(self.ends),
            "limits": self.limits.to_dict(),
            "spent": self.spent.to_dict(),
            "held": self.held.to_dict(),
            "room": self.room.to_dict(),
            "debt": self.debt.to_dict(),
            "used_percent": self.used,
            "unpriced": self.unpriced,
            "open_windows": self.open_windows,
            "on_exceeded": budget.on_exceeded,
            "warn_at": budget.warn_at,
            "min_output_tokens": budget.min_output_tokens,
            "default_output_tokens": budget.default_output_tokens,
            "allow": list(budget.allow),
            "webhook": budget.webhook,
        }


@dataclass(frozen=True, slots=True)
class BudgetHistory:
    """What has become of a budget: its windows, and its changes."""

    windows: tuple[BudgetStatus, ...]
    """Those in which a request was held, and the current one; the newest first."""
    changes: tuple[BudgetChange, ...]
    """When it was set, topped up and removed, and by whom; the oldest first."""


class Budgets:
    """The standing budgets of a ledger; every process that uses it holds by them.

    A change is committed when its method returns, and the next request of any process is held
    by it.
    """

    def __init__(self, ledger: Ledger, clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._clock = Clock() if clock is None else clock

    def set(
        self,
        name: str,
        budget: Budget,
        /,
        *,
        customer: str | None = None,
        user: str | None = None,
        project: str | None = None,
        session: str | None = None,
        agent: str | None = None,
        model: str | None = None,
        provider: str | None = None,
        **tags: str | int | None,
    ) -> BudgetStatus:
        """Set a budget, or give the one of this name other limits.

        Where it has the same scope, `per` and zone as before it keeps what is spent and held,
        and what was topped up; else it begins anew.

        Args:
            name: what it is called.
            budget: its limits, window and policy; ``Budget(usd=100, per="month")``.
            customer: only requests for this customer; so the other keywords, all of which have
                to agree. Without any, all requests.
            user: likewise.
            project: likewise.
            session: likewise.
            agent: only requests of this agent.
            model: only requests that ask for this model, by exactly this name.
            provider: only requests to this provider.
            tags: only requests with these tags.

        Raises:
            ConfigError: the name or a value cannot be used.
            LedgerError: it could not be written.
        """
        if not isinstance(name, str) or not name.strip() or name != name.strip():
            raise ConfigError(f"{name!r} is no name of a budget; give a text without spaces around")
        if budget.name not in (None, name):
            raise ConfigError(f"the budget is called {name!r} and name={budget.name!r}; give one")
        scope = scope_of(
            customer=customer,
            user=user,
            project=project,
            session=session,
            agent=agent,
            model=model,
            provider=provider,
            **tags,
        )
        row = budget.row(
            self._clock.id("budget"),
            self._clock.now(),
            name=name,
            scope=dict(sorted(scope.items())),
        )
        self._ledger.set_budget(row, by=_who()).result()
        return self.get(name)

    def list(self) -> list[BudgetStatus]:
        """Return all standing budgets, by name, each with its current window."""
        return [self._status(row) for row in self._ledger.budgets()]

    def get(self, name: str) -> BudgetStatus:
        """Return a budget with its current window.

        Raises:
            NotFound: there is none of that name.
        """
        return self._status(self._row(name))

    def history(self, name: str) -> BudgetHistory:
        """Return the windows and the changes of a budget.

        Raises:
            NotFound: there is none of that name.
        """
        row = self._row(name)
        found = [_of_window(row, balance) for balance in self._ledger.balances(row.id)]
        if row.per != "run":
            current = self._status(row)
            if all(window.begins != current.begins for window in found):
                found.insert(0, current)
        return BudgetHistory(tuple(found), tuple(self._ledger.budget_changes(row.id)))

    def remove(self, name: str) -> None:
        """Remove a budget. What it counted stays in the ledger, and its name is free again.

        Raises:
            NotFound: there is none of that name.
            LedgerError: it could not be written.
        """
        self._ledger.remove_budget(self._row(name).id, by=_who()).result()

    def top_up(
        self,
        name: str,
        *,
        usd: Decimal | int | str | None = None,
        tokens: int | None = None,
        requests: int | None = None,
    ) -> BudgetStatus:
        """Add to the limits of a budget in its current window; the next begins without.

        Raises:
            NotFound: there is none of that name.
            ConfigError: it is per run, has no limit of that unit, or an amount cannot be used.
            LedgerError: it could not be written.
        """
        row = self._row(name)
        if row.per == "run":
            raise ConfigError(
                f"budget {name!r} is per run, and has no window to top up; set another limit"
            )
        added = _added(usd, tokens, requests)
        status = self._status(row)
        for unit, amount, limit in zip(UNITS, added, status.limits, strict=True):
            shown = "usd" if unit == "nanodollars" else unit
            if amount is not None and limit is None:
                raise ConfigError(f"budget {name!r} has no limit of {shown} to top up")
            if amount is not None and limit is not None and limit + amount > MOST:
                raise ConfigError(f"{shown}: with it the limit would be too large to keep")
        self._ledger.top_up(claim_of(row, self._clock.now(), ""), added, by=_who()).result()
        return self.get(name)

    def _row(self, name: str) -> BudgetRow:
        rows = {row.name: row for row in self._ledger.budgets()}
        if name in rows:
            return rows[name]
        import difflib

        near = difflib.get_close_matches(str(name), rows, 3, 0.5) or sorted(rows)[:5]
        hint = f"did you mean {', '.join(map(repr, near))}?" if near else "none is set"
        raise NotFound(f"{self._ledger.url} holds no budget {name!r}; {hint}")

    def _status(self, row: BudgetRow) -> BudgetStatus:
        if row.per == "run":
            return _of_runs(row, self._ledger.open_windows(row.id))
        return _of_window(row, self._ledger.balance(claim_of(row, self._clock.now(), "")))


def scope_of(**values: str | int | None) -> dict[str, str]:
    """Return what a budget is for, each value as attributions keep it; None is left out.

    Raises:
        ConfigError: a name or a value cannot be used.
    """
    scope: dict[str, str] = {}
    for name, value in values.items():
        try:
            # Of what a request knows of itself, only a budget can be for a value of it.
            text = clean(f"the {name}" if name in OWN else name, value)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        if text == "":
            raise ConfigError(f"{name}='': a budget is for a value, or leave it out")
        if text is not None:
            scope[name] = text
    return scope


def _added(usd: Decimal | int | str | None, tokens: int | None, requests: int | None) -> Amounts:
    if usd is None and tokens is None and requests is None:
        raise ConfigError("say what to add: usd, tokens or requests")
    # Its checks are those of a limit.
    limits = Budget(usd=usd, tokens=tokens, requests=requests).limits
    if not any(limits):
        raise ConfigError("what is added has to be more than nothing")
    return limits


def _of_window(row: BudgetRow, balance: Balance) -> BudgetStatus:
    budget = Budget.of(row)
    return BudgetStatus(
        name=row.name,
        budget=budget,
        scope=row.scope,
        begins=_moment(balance.begins_at, row.zone),
        ends=_moment(balance.ends_at, row.zone),
        limits=balance.limits,
        spent=balance.spent,
        held=_limited(balance.held, balance.limits),
        room=Amounts(*(balance.room(unit) for unit in UNITS)),
        debt=_limited(balance.debt, balance.limits),
        unpriced=balance.unpriced,
        open_windows=None,
        row=row,
    )


def _of_runs(row: BudgetRow, open_windows: int) -> BudgetStatus:
    return BudgetStatus(
        name=row.name,
        budget=Budget.of(row),
        scope=row.scope,
        begins=None,
        ends=None,
        limits=row.limits,
        spent=Amounts(),
        held=Amounts(),
        room=Amounts(),
        debt=Amounts(),
        unpriced=0,
        open_windows=open_windows,
        row=row,
    )


def _limited(amounts: Amounts, limits: Amounts) -> Amounts:
    """Return amounts in the units that are limited; the guard works out no others."""
    return Amounts(
        *(None if limit is None else amount for amount, limit in zip(amounts, limits, strict=True))
    )


def _moment(nanoseconds: int | None, zone: str) -> datetime | None:
    return None if nanoseconds is None else timestamp(nanoseconds).astimezone(zone_named(zone))


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _who() -> str | None:
    """Return the name of the user that this process runs as, where the system has one."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None
