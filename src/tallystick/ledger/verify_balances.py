"""Whether the limits and windows of balances follow from how their budgets were set.

No clock is asked: which limits a balance can have follows from the order of the changes, and from
whether its window had ended by the moment that each of them names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallystick.ledger.balance import UNITS, Amounts
from tallystick.ledger.store import Query


class _Setting(NamedTuple):
    """What a budget was set to."""

    made_at: int
    limits: Amounts
    hard: bool
    per: str
    scope: Any


class _TopUp(NamedTuple):
    made_at: int
    window: str
    amounts: Amounts


class _Budget(NamedTuple):
    """A budget as its row is, and each change to it, in their order."""

    id: str
    standing: bool
    zone: str
    now: _Setting
    settings: list[_Setting]
    top_ups: list[_TopUp]


class _Balance(NamedTuple):
    budget_id: str
    window: str
    begins_at: int | None
    ends_at: int | None
    hard: bool
    run_ended: bool
    limits: Amounts
    extra: tuple[int, ...]


_BUDGETS = (
    "SELECT id, run_id IS NULL, zone, created_at, hard, per, scope, "
    "limit_nanodollars, limit_tokens, limit_requests FROM budgets"
)
_CHANGES = (
    "SELECT budget_id, number, change, made_at, detail FROM budget_changes "
    "WHERE change IN ('set', 'top up') ORDER BY number"
)
_BALANCES = (
    'SELECT budget_id, "window", begins_at, ends_at, hard, EXISTS '
    '(SELECT 1 FROM runs WHERE id = "window" AND ended_at IS NOT NULL), '
    "limit_nanodollars, limit_tokens, limit_requests, "
    "extra_nanodollars, extra_tokens, extra_requests FROM balances"
)

_SECOND = 10**9
_NOMINAL = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
}
_NEAR = timedelta(hours=3)
"""Around a moment at which clocks are put, a window begins and ends as the guard works out."""


def balance_problems(query: Query) -> Iterator[str]:
    """Say which limits and windows do not follow from how budgets were set and topped up."""
    budgets: dict[str, _Budget] = {}
    for budget_id, standing, zone, created_at, hard, per, scope, *limits in query(_BUDGETS):
        try:
            now = _Setting(created_at, Amounts(*limits), bool(hard), per, json.loads(scope))
        except ValueError:
            yield f"the scope of {budget_id} cannot be read"
            continue
        budgets[budget_id] = _Budget(budget_id, bool(standing), zone, now, [], [])
    for budget_id, number, change, made_at, text in query(_CHANGES):
        if budget_id not in budgets:
            continue  # what it refers to is not there, and that is told already
        budget = budgets[budget_id]
        try:
            detail = json.loads(text)
            if change == "set":
                how = (detail["hard"], detail["per"], detail["scope"])
                budget.settings.append(_Setting(made_at, _amounts(detail["limits"]), *how))
            else:
                added = _amounts(detail["amounts"])
                budget.top_ups.append(_TopUp(made_at, detail["window"], added))
        except (ValueError, TypeError, KeyError):
            yield f"the change {number} of {budget_id} cannot be read"
    for budget in budgets.values():
        yield from _setting_problems(budget)
    for row in query(_BALANCES):
        budget_id, window, begins_at, ends_at, hard, run_ended, *amounts = row
        balance = _Balance(
            budget_id,
            window,
            begins_at,
            ends_at,
            bool(hard),
            bool(run_ended),
            Amounts(*amounts[:3]),
            tuple(amounts[3:]),
        )
        found = budgets.get(balance.budget_id)
        if found is None:
            continue
        for words in (
            *_limit_problems(found, balance),
            *_extra_problems(found, balance),
            *_window_problems(found, balance),
        ):
            yield f"{balance.budget_id} in {balance.window} {words}"


def _amounts(numbers: list[Any]) -> Amounts:
    if not all(number is None or isinstance(number, int) for number in numbers):
        raise ValueError(f"an amount is a whole number, or none: {numbers}")
    return Amounts(*numbers)


def _setting_problems(budget: _Budget) -> Iterator[str]:
    """Compare a standing budget with the newest row that says how it was set."""
    if not budget.standing:
        return  # that of a run is never set again, and has no such rows
    if not budget.settings:
        yield f"{budget.id} has no change that says how it was set"
        return
    newest = budget.settings[-1]
    if budget.now.hard != newest.hard:
        yield f"{budget.id} is {_kind(budget.now.hard)}, and was set to be {_kind(newest.hard)}"
    for name, is_now, was_set in (
        ("per", budget.now.per, newest.per),
        ("scope", budget.now.scope, newest.scope),
    ):
        if is_now != was_set:
            yield f"{budget.id} has the {name} {is_now}, and was set to {was_set}"
    for unit, limit, limit_set in zip(UNITS, budget.now.limits, newest.limits, strict=True):
        if limit != limit_set:
            now, then = _or_none(limit), _or_none(limit_set)
            yield f"{budget.id} has a limit of {now} {unit}, and was set to {then}"


def _possible(budget: _Budget, balance: _Balance) -> list[_Setting]:
    """Return the settings that a balance can have; the newest that reached it comes first.

    Setting a budget reaches the balances whose window has not ended by then; one that is opened
    later has what was set last. So it is the newest setting from before the end of the window,
    or any that came after it.
    """
    if not budget.standing or not budget.settings:
        return [budget.now]
    if balance.run_ended:
        # When a run ended by its own clock says little of what was committed before it.
        return budget.settings
    end = balance.ends_at
    reached = [
        place
        for place, setting in enumerate(budget.settings)
        if end is None or setting.made_at < end
    ]
    return budget.settings[reached[-1] if reached else 0 :]


def _limit_problems(budget: _Budget, balance: _Balance) -> Iterator[str]:
    possible = _possible(budget, balance)
    if all(balance.hard != setting.hard for setting in possible):
        yield f"is {_kind(balance.hard)}, and by its budget it is {_kind(possible[0].hard)}"
    for place, unit in enumerate(UNITS):
        limits = [
            None if limit is None else limit + balance.extra[place]
            for limit in (setting.limits[place] for setting in possible)
        ]
        if balance.limits[place] not in limits:
            yield (
                f"has a limit of {_or_none(balance.limits[place])} {unit}, "
                f"and by its budget it is {_or_none(limits[0])}"
            )


def _extra_problems(budget: _Budget, balance: _Balance) -> Iterator[str]:
    # A top-up that comes when the window has just ended is written down and adds nothing.
    reached = [
        top_up.amounts
        for top_up in budget.top_ups
        if top_up.window == balance.window
        and (balance.ends_at is None or top_up.made_at < balance.ends_at)
    ]
    for place, unit in enumerate(UNITS):
        added = sum(amount for amounts in reached if (amount := amounts[place]) is not None)
        if balance.extra[place] != added:
            yield f"has {balance.extra[place]} {unit} extra, and was topped up with {added}"


def _window_problems(budget: _Budget, balance: _Balance) -> Iterator[str]:
    """Compare when a window begins and ends with its name, and with the clocks of its zone."""
    begins_at, ends_at = balance.begins_at, balance.ends_at
    if budget.now.per not in _NOMINAL:
        unbounded = budget.now.per == "run" or balance.window == "all"
        if unbounded and (begins_at, ends_at) != (None, None):
            yield f"is bounded by time ({begins_at} to {ends_at}), and its budget is not"
        return
    try:
        named = datetime.fromisoformat(balance.window)
    except ValueError:
        return
    # The ledger keeps windows of any name; of one that is no moment nothing follows.
    if named.tzinfo is None:
        return
    if begins_at is None or ends_at is None:
        yield f"is not bounded by time ({begins_at} to {ends_at}), and its budget is"
    # The name has minutes.
    elif begins_at // (60 * _SECOND) != int(named.timestamp()) // 60:
        yield f"begins at {begins_at}, which is not what its name says"
    elif not _is_end(budget, begins_at, ends_at):
        yield f"ends at {ends_at}, which is not the end of its {budget.now.per}"


def _is_end(budget: _Budget, begins_at: int, ends_at: int) -> bool:
    """Whether a window that begins at a moment can end at another."""
    try:
        zone: tzinfo = ZoneInfo(budget.zone)
        begins, ends = (
            datetime.fromtimestamp(moment // _SECOND, zone) for moment in (begins_at, ends_at)
        )
        if not (_is_steady(begins) and _is_steady(ends)):
            return begins_at < ends_at <= begins_at + _seconds(_NOMINAL[budget.now.per] + _NEAR)
    except (ZoneInfoNotFoundError, ValueError, OverflowError, OSError):
        # Without the data of the zone nobody can tell; a moment that is no date is no end.
        return begins_at < ends_at <= begins_at + _seconds(_NOMINAL[budget.now.per] + _NEAR)
    if budget.now.per == "hour":
        return ends_at - begins_at == _seconds(_NOMINAL["hour"])
    following = begins.replace(tzinfo=None) + _NOMINAL[budget.now.per]
    if budget.now.per == "month":
        following = following.replace(day=1)
    return ends_at == int(following.replace(tzinfo=zone).timestamp()) * _SECOND


def _is_steady(moment: datetime) -> bool:
    """Whether the clocks are not put near a moment."""
    # Arithmetic with a time zone is that of its clocks, so it is done where there is none.
    around = (moment.timestamp() + sign * _NEAR.total_seconds() for sign in (-1, 1))
    before, after = (datetime.fromtimestamp(at, moment.tzinfo).utcoffset() for at in around)
    return before == after


def _seconds(length: timedelta) -> int:
    return length // timedelta(seconds=1) * _SECOND


def _kind(hard: bool) -> str:  # noqa: FBT001 - the word for it
    return "hard" if hard else "one that only warns"


def _or_none(limit: Any) -> str:
    return "none" if limit is None else str(limit)
