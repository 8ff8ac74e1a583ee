"""The statements by which requests hold on budgets, and by which budgets change.

All budgets of a request are looked at before any is written to, in the order of their ids, so
that a hold is on all or on none, and two holds never wait for each other the wrong way round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Protocol

from tallystick.ledger.balance import (
    UNITS,
    Amounts,
    Ask,
    Balance,
    BudgetRow,
    BudgetsChanged,
    Claim,
    Granted,
    HoldRefused,
    Unit,
)


class Cursor(Protocol):
    """What `execute` returns."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement changed itself."""

    def fetchone(self) -> Any:
        """Return the first row, or None."""

    def fetchall(self) -> list[Any]:
        """Return the rows."""


Execute = Callable[[str, Sequence[Any]], Cursor]

_AMOUNTS = ", ".join(
    f"balances.{kind}_{unit}" for kind in ("limit", "spent", "held", "debt") for unit in UNITS
)
BALANCE_COLUMNS = f'budget_id, "window", begins_at, ends_at, balances.hard, {_AMOUNTS}, unpriced'
"""What `balance_of` reads, from `balances` alone."""

_VERSION = "SELECT max(number) FROM budget_changes"
# How many of some balances are there and have room; NULL is no limit, or not known.
_FITTING = (
    'SELECT count(*) FROM balances WHERE (budget_id, "window") IN (VALUES {}) '
    "AND ifnull(spent_nanodollars + held_nanodollars + ? <= limit_nanodollars, 1) "
    "AND ifnull(spent_tokens + held_tokens + ? <= limit_tokens, 1) "
    "AND ifnull(spent_requests + held_requests + ? <= limit_requests, 1)"
)
_BALANCE = f'SELECT {BALANCE_COLUMNS} FROM balances WHERE budget_id = ? AND "window" = ?'  # noqa: S608
_OPEN_BUDGET = (
    "INSERT INTO budgets (id, name, run_id, scope, per, zone, limit_nanodollars, limit_tokens, "
    "limit_requests, hard, warn_at, policy, created_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
)
_OPEN_BALANCE = (
    'INSERT INTO balances (budget_id, "window", begins_at, ends_at, hard, limit_nanodollars, '
    "limit_tokens, limit_requests) SELECT id, ?, ?, ?, hard, limit_nanodollars, limit_tokens, "
    "limit_requests FROM budgets WHERE id = ?"
)
_HOLD = (
    'INSERT INTO holds (entry_id, budget_id, "window", nanodollars, tokens, requests, status) '
    "VALUES {}"
)
_HELD = "SELECT nanodollars, tokens FROM holds WHERE entry_id = ? AND status = 'held' LIMIT 1"
# Most requests pass no mark, which is quicker to see than to write nothing.
_PASSED = (
    'SELECT budget_id, "window" FROM holds CROSS JOIN balances USING (budget_id, "window") '
    "CROSS JOIN budgets ON budgets.id = budget_id WHERE entry_id = ? AND warned = 0 "
    "AND (balances.spent_nanodollars * 100 >= balances.limit_nanodollars * warn_at "
    "OR balances.spent_tokens * 100 >= balances.limit_tokens * warn_at "
    "OR balances.spent_requests * 100 >= balances.limit_requests * warn_at)"
)
_WARN = 'UPDATE balances SET warned = 1 WHERE budget_id = ? AND "window" = ?'
_CHANGED = "INSERT INTO budget_changes (budget_id, made_at, change, detail) VALUES (?, ?, ?, ?)"
_MADE = "SELECT 1 FROM budget_changes WHERE budget_id = ? AND made_at = ? AND change = ?"
_STANDING = (
    "SELECT id, scope, per, zone FROM budgets "
    "WHERE name = ? AND run_id IS NULL AND removed_at IS NULL"
)
_LIMITS = "SELECT hard, limit_nanodollars, limit_tokens, limit_requests FROM budgets WHERE id = ?"
_REMOVE = "UPDATE budgets SET removed_at = ? WHERE id = ? AND removed_at IS NULL"
_SET = (
    "UPDATE budgets SET limit_nanodollars = ?, limit_tokens = ?, limit_requests = ?, hard = ?, "
    "warn_at = ?, policy = ? WHERE id = ?"
)
_SUMS = ", ".join(f"{kind}_{unit}" for kind in ("extra", "spent", "held") for unit in UNITS)
# Windows that have ended, and runs, keep the limit that they had.
_OPEN_BALANCES = (
    f'SELECT "window", {_SUMS} FROM balances '  # noqa: S608
    "WHERE budget_id = ? AND (ends_at IS NULL OR ends_at > ?) AND NOT EXISTS "
    '(SELECT 1 FROM runs WHERE id = "window" AND ended_at IS NOT NULL)'
)
_LIMIT = (
    "UPDATE balances SET hard = ?, warned = 0, limit_nanodollars = ?, limit_tokens = ?, "
    "limit_requests = ?, extra_nanodollars = ?, extra_tokens = ?, extra_requests = ?, "
    "debt_nanodollars = ?, debt_tokens = ?, debt_requests = ? "
    'WHERE budget_id = ? AND "window" = ?'
)


_NOTHING = Amounts(0, 0, 0)


def check_version(execute: Execute, version: int) -> None:
    """See that the standing budgets are those of this version.

    Raises:
        BudgetsChanged: they are not.
    """
    (newest,) = execute(_VERSION, ()).fetchone()
    if (0 if newest is None else newest) != version:
        raise BudgetsChanged("budgets were set or removed meanwhile")


def granted(execute: Execute, entry_id: str | None, ask: Ask) -> Granted | None:
    """Return what an entry was granted already, or None where it holds nothing."""
    row = execute(_HELD, (entry_id,)).fetchone()
    if row is None:
        return None
    dollars, tokens = row
    if tokens is not None and ask.tokens is not None and ask.tokens_per_token:
        return Granted((tokens - ask.tokens) // ask.tokens_per_token)
    if dollars is not None and ask.nanodollars is not None and ask.nanodollars_per_token:
        return Granted((dollars - ask.nanodollars) // ask.nanodollars_per_token)
    return Granted(ask.output_tokens)


def grant(
    execute: Execute, claims: Sequence[Claim], ask: Ask, version: int | None
) -> tuple[Granted, list[tuple[Claim, Amounts]]]:
    """Decide what a request gets, and make the balances that are not there yet.

    Returns:
        What is granted, and what to hold on each budget.

    Raises:
        HoldRefused: the least that it needs does not fit.
        BudgetsChanged: standing budgets are not as they were when the claims were made.
    """
    if version is not None:
        check_version(execute, version)
    ordered = sorted(claims, key=lambda claim: claim.budget.id)
    wanted = ask.amounts(ask.output_tokens)
    if _all_fit(execute, ordered, wanted):
        return Granted(ask.output_tokens), [(claim, wanted) for claim in ordered]
    granted = ask.output_tokens
    tightest: tuple[Balance, Unit] | None = None
    soft: list[Balance] = []
    for claim in ordered:
        balance = _balance(execute, claim)
        if not balance.hard:
            soft.append(balance)
            continue
        for unit in UNITS:
            fits = affordable(balance, ask, unit)
            if fits is not None and fits < granted:
                granted, tightest = fits, (balance, unit)
    if tightest is not None and granted < ask.least:
        balance, unit = tightest
        raise HoldRefused(balance, unit, getattr(ask.amounts(ask.least), unit))
    amounts = ask.amounts(granted)
    exceeded = tuple(balance for balance in soft if not _fits(balance, amounts))
    limited_by = None if tightest is None else tightest[0].name
    return Granted(granted, limited_by, exceeded), [(claim, amounts) for claim in ordered]


@lru_cache(maxsize=64)
def _rows(statement: str, row: str, number: int) -> str:
    return statement.format(", ".join([row] * number))


def _all_fit(execute: Execute, claims: Sequence[Claim], amounts: Amounts) -> bool:
    """Whether all balances are there and have room, as nearly always."""
    if not claims:
        return True
    values = [value for claim in claims for value in (claim.budget.id, claim.window)]
    statement = _rows(_FITTING, "(?, ?)", len(claims))
    (fitting,) = execute(statement, (*values, *amounts)).fetchone()
    return bool(fitting == len(claims))


def _balance(execute: Execute, claim: Claim) -> Balance:
    row = execute(_BALANCE, (claim.budget.id, claim.window)).fetchone()
    if row is None:
        if claim.budget.run_id is not None:
            open_budget(execute, claim.budget)
        window = (claim.window, claim.begins_at, claim.ends_at, claim.budget.id)
        execute(_OPEN_BALANCE, window)
        row = execute(_BALANCE, (claim.budget.id, claim.window)).fetchone()
    return balance_of(row, claim.budget.name)


def balance_of(row: Sequence[Any], name: str) -> Balance:
    """Return the balance that a row of `BALANCE_COLUMNS` holds."""
    budget_id, window, begins_at, ends_at, hard, *amounts, unpriced = row
    limits, spent, held, debt = (Amounts(*amounts[at : at + 3]) for at in (0, 3, 6, 9))
    return Balance(
        budget_id,
        name,
        window,
        begins_at,
        ends_at,
        bool(hard),
        limits,
        spent,
        held,
        debt,
        unpriced,
    )


def affordable(balance: Balance, ask: Ask, unit: Unit) -> int | None:
    """Return how long an answer the budget affords; below 0: not even none; None: no limit."""
    limit = getattr(balance.limits, unit)
    fixed = getattr(ask.amounts(0), unit)
    if limit is None or fixed is None:
        return None
    room: int = limit - getattr(balance.spent, unit) - getattr(balance.held, unit) - fixed
    each = {"nanodollars": ask.nanodollars_per_token, "tokens": ask.tokens_per_token}.get(unit, 0)
    if room < 0:
        return -1
    return room // each if each else None


def _fits(balance: Balance, amounts: Amounts) -> bool:
    return all(
        amount is None or room is None or amount <= room
        for amount, room in ((getattr(amounts, unit), balance.room(unit)) for unit in UNITS)
    )


def hold(execute: Execute, entry_id: str, holds: Sequence[tuple[Claim, Amounts]]) -> None:
    """Write the holds of an entry that is written; triggers take them from the balances."""
    if holds:
        values: list[Any] = []
        for claim, amounts in holds:
            values += (entry_id, claim.budget.id, claim.window, *amounts)
        execute(_rows(_HOLD, "(?, ?, ?, ?, ?, ?, 'held')", len(holds)), values)


def warn(execute: Execute, entry_id: str) -> tuple[Balance, ...]:
    """Return the budgets of an entry that have passed their mark and were not warned of yet.

    They count as warned of from here on.
    """
    passed = execute(_PASSED, (entry_id,)).fetchall()
    for key in passed:
        execute(_WARN, key)
    return tuple(_named_balance(execute, budget_id, window) for budget_id, window in passed)


def _named_balance(execute: Execute, budget_id: str, window: str) -> Balance:
    row = execute(_BALANCE, (budget_id, window)).fetchone()
    (name,) = execute("SELECT name FROM budgets WHERE id = ?", (budget_id,)).fetchone()
    return balance_of(row, name)


def open_budget(execute: Execute, budget: BudgetRow) -> bool:
    """Write a budget. Of one that is there already nothing changes."""
    row = (
        budget.id,
        budget.name,
        budget.run_id,
        json.dumps(dict(budget.scope), separators=(",", ":"), sort_keys=True),
        budget.per,
        budget.zone,
        *budget.limits,
        int(budget.hard),
        budget.warn_at,
        json.dumps(dict(budget.policy), separators=(",", ":"), sort_keys=True),
        budget.created_at,
    )
    return execute(_OPEN_BUDGET, row).rowcount == 1


def set_budget(
    execute: Execute, budget: BudgetRow, by: str | None = None, *, again: bool = False
) -> bool:
    """Set a standing budget by its name.

    Where one of the name has the same scope and windows, it gets the new limits and keeps what
    is spent and held; else the new one begins anew and the other is removed. With `again`
    nothing changes where this was done before.
    """
    detail = {
        "limits": list(budget.limits),
        "hard": budget.hard,
        "per": budget.per,
        "scope": dict(budget.scope),
    }
    found = execute(_STANDING, (budget.name,)).fetchone()
    if again and found is not None and _is_made(execute, found[0], budget.created_at, "set"):
        return True
    named = json.dumps(dict(budget.scope), separators=(",", ":"), sort_keys=True)
    if found is not None and found[1:] == (named, budget.per, budget.zone):
        budget_id = found[0]
        policy = json.dumps(dict(budget.policy), separators=(",", ":"), sort_keys=True)
        execute(_SET, (*budget.limits, int(budget.hard), budget.warn_at, policy, budget_id))
        _limit(execute, replace(budget, id=budget_id), budget.created_at)
    else:
        if found is not None:
            remove_budget(execute, found[0], budget.created_at, by)
        budget_id = budget.id
        open_budget(execute, budget)
    _changed(execute, budget_id, budget.created_at, "set", detail, by)
    return True


def remove_budget(execute: Execute, budget_id: str, now: int, by: str | None = None) -> bool:
    """End a standing budget. What it holds stays on its balances until it ends."""
    if execute(_REMOVE, (now, budget_id)).rowcount == 0:
        return False
    _changed(execute, budget_id, now, "remove", {}, by)
    return True


def top_up(
    execute: Execute,
    claim: Claim,
    amounts: Amounts,
    now: int,
    by: str | None = None,
    *,
    again: bool = False,
) -> bool:
    """Add to the limit of a budget in one window; with `again` not where this was done before."""
    if again and _is_made(execute, claim.budget.id, now, "top up"):
        return True
    _balance(execute, claim)
    # The budget may have been set since it was read.
    hard, *limits = execute(_LIMITS, (claim.budget.id,)).fetchone()
    budget = replace(claim.budget, hard=bool(hard), limits=Amounts(*limits))
    _limit(execute, budget, now, added=amounts, window=claim.window)
    detail = {"window": claim.window, "amounts": list(amounts)}
    _changed(execute, claim.budget.id, now, "top up", detail, by)
    return True


def _limit(
    execute: Execute,
    budget: BudgetRow,
    now: int,
    added: Amounts = _NOTHING,
    window: str | None = None,
) -> None:
    """Give the balances of a budget its limits, with what is topped up; all, or of one window."""
    for name, *sums in execute(_OPEN_BALANCES, (budget.id, now)).fetchall():
        if window is not None and name != window:
            continue
        extra = [kept + (more or 0) for kept, more in zip(sums[:3], added, strict=True)]
        limits = [
            None if limit is None else limit + more
            for limit, more in zip(budget.limits, extra, strict=True)
        ]
        debts = [
            0 if limit is None else max(0, spent + held - limit)
            for limit, spent, held in zip(limits, sums[3:6], sums[6:], strict=True)
        ]
        execute(_LIMIT, (int(budget.hard), *limits, *extra, *debts, budget.id, name))


def _is_made(execute: Execute, budget_id: str, now: int, change: str) -> bool:
    return execute(_MADE, (budget_id, now, change)).fetchone() is not None


def _changed(
    execute: Execute,
    budget_id: str,
    now: int,
    change: str,
    detail: dict[str, Any],
    by: str | None,
) -> None:
    if by is not None:
        detail["by"] = by
    text = json.dumps(detail, separators=(",", ":"), sort_keys=True)
    execute(_CHANGED, (budget_id, now, change, text))
