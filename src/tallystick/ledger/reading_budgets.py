"""What can be read of budgets: limits, balances, holds, and how holds compared with actuals."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

from tallystick.clock import FIRST, checked
from tallystick.ledger.balance import Amounts, Balance, BudgetRow, Claim
from tallystick.ledger.hindsight import (
    HOLDS,
    BudgetChange,
    ModelHolds,
    OpenHold,
    change_of,
    compared,
)
from tallystick.ledger.holding import BALANCE_COLUMNS, balance_of
from tallystick.ledger.store import Store

_BUDGET_COLUMNS = (
    "id, name, run_id, scope, per, zone, limit_nanodollars, limit_tokens, limit_requests, hard, "
    "warn_at, policy, created_at, removed_at"
)


class BudgetReading:
    """The part of a `Ledger` that reads budgets."""

    _store: Store

    def budget_version(self) -> int:
        """Return the version of the standing budgets: it grows with each change to one."""
        ((newest,),) = self._store.query("SELECT max(number) FROM budget_changes")
        return 0 if newest is None else int(newest)

    def budgets(self, *, removed: bool = False) -> list[BudgetRow]:
        """Return the standing budgets, by name; with `removed` those that have ended too."""
        ended = "" if removed else "AND removed_at IS NULL "
        rows = self._store.query(
            f"SELECT {_BUDGET_COLUMNS} FROM budgets WHERE run_id IS NULL {ended}"  # noqa: S608
            "ORDER BY name, created_at"
        )
        return [_budget(row) for row in rows]

    def run_budgets(self, run_id: str) -> list[BudgetRow]:
        """Return the budgets that a run was started with, and under which it asked a model."""
        rows = self._store.query(
            f"SELECT {_BUDGET_COLUMNS} FROM budgets WHERE run_id = ? ORDER BY created_at",  # noqa: S608
            (run_id,),
        )
        return [_budget(row) for row in rows]

    def balances(self, budget_id: str, window: str | None = None) -> list[Balance]:
        """Return the balances of a budget, the newest window first.

        Args:
            budget_id: the budget's id.
            window: only this one.
        """
        rows = self._store.query(
            f"SELECT name, {BALANCE_COLUMNS} FROM balances "  # noqa: S608
            "JOIN budgets ON budgets.id = budget_id "
            'WHERE budget_id = ? AND ifnull(?, "window") = "window" '
            'ORDER BY begins_at DESC, "window" DESC',
            (budget_id, window),
        )
        return [balance_of(row[1:], row[0]) for row in rows]

    def balance(self, claim: Claim) -> Balance:
        """Return a budget in a window of it, also one in which nothing was held yet."""
        found = self.balances(claim.budget.id, claim.window)
        nothing = Amounts(0, 0, 0)
        return (
            found[0]
            if found
            else Balance(
                budget_id=claim.budget.id,
                name=claim.budget.name,
                window=claim.window,
                begins_at=claim.begins_at,
                ends_at=claim.ends_at,
                hard=claim.budget.hard,
                limits=claim.budget.limits,
                spent=nothing,
                held=nothing,
                debt=nothing,
            )
        )

    def budget_changes(self, budget_id: str) -> list[BudgetChange]:
        """Return when a budget was set, topped up and removed, the oldest first."""
        rows = self._store.query(
            "SELECT made_at, change, detail FROM budget_changes WHERE budget_id = ? "
            "ORDER BY number",
            (budget_id,),
        )
        return [change_of(at, change, json.loads(detail)) for at, change, detail in rows]

    def open_windows(self, budget_id: str) -> int:
        """Return of how many runs that are not over a budget per run has a balance."""
        ((number,),) = self._store.query(
            'SELECT count(*) FROM balances JOIN runs ON runs.id = "window" '
            "WHERE budget_id = ? AND ended_at IS NULL",
            (budget_id,),
        )
        return int(number)

    def open_holds(self, budget_id: str) -> list[OpenHold]:
        """Return the requests that hold on a budget now, in any window, the oldest first."""
        rows = self._store.query(
            "SELECT entries.id, run_id, entries.status, model, started_at, nanodollars, tokens, "
            "requests FROM holds JOIN entries ON entries.id = entry_id "
            "WHERE budget_id = ? AND holds.status = 'held' ORDER BY started_at, number",
            (budget_id,),
        )
        return [
            OpenHold(entry_id, run_id, status, model, started_at, Amounts(*amounts))
            for entry_id, run_id, status, model, started_at, *amounts in rows
        ]

    def holds_by_model(self, since: int | None = None) -> list[ModelHolds]:
        """Return how holds compared with what their requests came to, the most used model first.

        Args:
            since: only of requests sent at this nanosecond or later.
        """
        return compared(self._store.query(HOLDS, (FIRST if since is None else checked(since),)))


def _budget(row: tuple[Any, ...]) -> BudgetRow:
    return BudgetRow(
        id=row[0],
        name=row[1],
        run_id=row[2],
        scope=MappingProxyType(json.loads(row[3])),
        per=row[4],
        zone=row[5],
        limits=Amounts(*row[6:9]),
        hard=bool(row[9]),
        warn_at=row[10],
        policy=MappingProxyType(json.loads(row[11])),
        created_at=row[12],
        removed_at=row[13],
    )
