"""What must hold in every schedule: the invariants of the design, by their numbers."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from simulation.world import NANODOLLARS, Violation, World, billed
from tallystick.clock import timestamp
from tallystick.ledger import UNITS
from tallystick.ledger.ledger import Ledger

_BALANCES = ", ".join(
    f"{kind}_{unit}" for kind in ("limit", "spent", "held", "debt") for unit in UNITS
)


def check_balances(world: World) -> None:
    """I1: of every hard budget no more is spent and held than its limit, unless it may owe."""
    if world.truth.wrong:
        raise Violation(world.truth.wrong[0])
    for budget, window, hard, *amounts in world.rows(
        f'SELECT budget_id, "window", hard, {_BALANCES} FROM balances'  # noqa: S608
    ):
        if not hard:
            continue
        for unit, limit, spent, held, debt in zip(
            UNITS, amounts[:3], amounts[3:6], amounts[6:9], amounts[9:], strict=True
        ):
            if limit is None:
                continue
            where = f"{budget} in {window}: {spent} spent and {held} held of {limit} {unit}"
            if spent + held > limit + debt:
                raise Violation(f"I1: {where}, and only {debt} of debt")
            if debt and budget not in world.truth.loosened:
                raise Violation(f"I1: {where}, and no reason for {debt} of debt")


def label(per: str, zone: str, moment: int) -> Any:
    """Return what tells a window from the ones beside it, by the clocks of the zone."""
    local = timestamp(moment).astimezone(UTC if zone == "UTC" else ZoneInfo(zone))
    match per:
        case "hour":
            return local.date(), local.hour, local.utcoffset()
        case "day":
            return local.date()
        case "week":
            return local.isocalendar()[:2]
    return local.year, local.month


Claimed = tuple[str, str, str, str, bool, tuple[str, ...]]
"""A budget's id, its window or "", the kind of window, the zone, whether it is hard, and the
units that it limits hard."""


def note_claims(world: World, run: Any, model: str) -> list[Claimed]:
    """Return the budgets that a request falls under, found without the guard."""
    found: list[Claimed] = []
    root = run
    while root is not None:
        for budget in root._budgets:
            units = _limited(budget.hard, *budget.limits)
            found.append((budget.id, budget.run_id, "run", "UTC", budget.hard, units))
        last, root = root, root.parent
    customer = run.attribution.customer
    for budget_id, name, scope, per, zone, hard, *limits in world.rows(
        "SELECT id, name, scope, per, zone, hard, limit_nanodollars, limit_tokens, limit_requests "
        "FROM budgets WHERE run_id IS NULL AND removed_at IS NULL"
    ):
        units = _limited(bool(hard), *limits)
        wanted = {
            "house": "{}",
            "customer": f'{{"customer":"{customer}"}}',
            "model": '{"model":"large"}',
        }
        if scope == wanted[name] and (name != "model" or model == "large"):
            window = last.id if per == "run" else ""
            found.append((budget_id, window, per, zone, bool(hard), units))
    return found


def _limited(hard: bool, *limits: int | None) -> tuple[str, ...]:
    return tuple(u for u, limit in zip(UNITS, limits, strict=True) if hard and limit is not None)


def check_held(world: World, request: Any, run: Any, bound: int) -> None:
    """I2: a request that may leave holds what it can come to on every budget in scope."""
    holds = {
        budget: (window, *amounts)
        for budget, window, *amounts in world.rows(
            'SELECT budget_id, "window", nanodollars, tokens, requests FROM holds '
            "WHERE entry_id = ? AND status = 'held'",
            request.id,
        )
    }
    status = world.rows("SELECT status FROM entries WHERE id = ?", request.id)
    if request.id in world.truth.unkept:
        return
    if status != [("held",)]:
        raise Violation(f"I2: {request.id} may leave, and its row is {status}")
    if request.id in world.truth.claimed:
        return  # What was held does not change; what budgets there are may have, meanwhile.
    claimed = world.truth.claimed[request.id] = note_claims(world, run, request.model)
    sent, received = NANODOLLARS[request.model]
    answer = (
        request.output_limit
        if request.output_limit is not None
        else request.asked.max_output_tokens
    )
    if {claim[0] for claim in claimed} != holds.keys():
        raise Violation(f"I2: {request.id} falls under {claimed}, and holds on {sorted(holds)}")
    created = world.truth.created[request.id]
    for budget, named, per, zone, _, units in claimed:
        window, dollars, tokens, requests = holds[budget]
        if named and window != named:
            raise Violation(f"I5: {request.id} holds on {window} of {budget}, not {named}")
        if per not in {"run", "all"}:
            _check_window(world, budget, window, per, zone, created)
        if requests != 1:
            raise Violation(f"I2: {request.id} holds {requests} requests on {budget}")
        if "nanodollars" not in units and "tokens" not in units:
            continue
        if answer is None:
            raise Violation(f"I2: {request.id} may leave without a limit on its answer")
        for unit, amount, least in (
            ("nanodollars", dollars, bound * sent + answer * received),
            ("tokens", tokens, bound + answer),
        ):
            if amount is None and unit == "nanodollars" and request.model == "unpriced":
                continue  # which the budget lets pass; else it would have refused
            if unit in units and (amount is None or amount < least):
                raise Violation(f"I2: {request.id} holds {amount} {unit} on {budget}, not {least}")


def _check_window(
    world: World, budget: str, window: str, per: str, zone: str, created: int
) -> None:
    ((begins, ends),) = world.rows(
        'SELECT begins_at, ends_at FROM balances WHERE budget_id = ? AND "window" = ?',
        budget,
        window,
    )
    mine = label(per, zone, created)
    inside = (begins, ends - 1_000, created)
    outside = (begins - 1_000, ends)
    if not begins <= created < ends or any(label(per, zone, at) != mine for at in inside):
        raise Violation(f"I5: {window} of {budget} is not the {per} of {_shown(created)} in {zone}")
    if any(label(per, zone, at) == mine for at in outside):
        raise Violation(f"I5: {window} of {budget} is not the whole {per} in {zone}")


def _shown(moment: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment // 1000)).isoformat()


def check_end(world: World, ledger: Ledger) -> None:
    """Look at all that is left when every process has ended and the next has opened the ledger."""
    truth = world.truth
    found = ledger.verify()
    if found.problems:
        raise Violation(f"I6: verify: {found.problems}")
    _check_balances_are_their_holds(world)
    entries = {row[0]: row[1:] for row in world.rows("SELECT id, status, error_type FROM entries")}
    _check_charged(world, entries)
    for entry_id, (status, why) in entries.items():
        if status == "held":
            raise Violation(f"I4: {entry_id} is still held, and nobody is left to end it")
        if why == "never_sent" and entry_id in truth.served:
            raise Violation(f"I4: {entry_id} was sent, and was released as never sent")
    for entry_id, status in truth.ended.items():
        if status in {"settled", "released"} and entries[entry_id][0] != status:
            raise Violation(f"I7: {entry_id} had {status}, and is {entries[entry_id][0]}")
    for entry_id, kept in truth.settled_at.items():
        rows = world.rows(
            "SELECT cost_nanodollars, total_tokens FROM entries WHERE id = ?", entry_id
        )
        if rows != [kept]:
            raise Violation(f"I7: {entry_id} settled as {kept}, and is {rows} now")
    _check_inside(world, entries)
    _check_never_dispatched(world, entries)
    _check_usage(world, ledger, entries)
    _check_spending(world)


def _check_balances_are_their_holds(world: World) -> None:
    """I3, I6: what is spent and held is the sum of the holds, and those are their entries'."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for budget, window, status, *amounts, cost, tokens, entry_id, entry_status in world.rows(
        'SELECT budget_id, "window", holds.status, nanodollars, tokens, requests, '
        "spent_nanodollars, spent_tokens, spent_requests, entries.cost_nanodollars, "
        "entries.total_tokens, entries.id, entries.status "
        "FROM holds JOIN entries ON entries.id = entry_id"
    ):
        held, spent = amounts[:3], amounts[3:]
        mine = sums.setdefault((budget, window), Counter())
        ended = {"settled": "settled", "released": "released"}.get(entry_status, "held")
        if status != ended:
            raise Violation(f"I3: {entry_id} is {entry_status}, and its hold {status}")
        if status == "held":
            mine.update({f"held {unit}": n or 0 for unit, n in zip(UNITS, held, strict=True)})
        if status == "settled":
            if spent[:2] != [cost, tokens]:
                raise Violation(f"I6: {entry_id} cost {cost}, {tokens}, and was charged {spent}")
            mine.update({f"spent {unit}": n or 0 for unit, n in zip(UNITS, spent, strict=True)})
    for budget, window, *amounts in world.rows(
        f'SELECT budget_id, "window", {_BALANCES} FROM balances'  # noqa: S608
    ):
        mine = sums.get((budget, window), Counter())
        for kind, part in (("spent", amounts[3:6]), ("held", amounts[6:9])):
            for unit, kept in zip(UNITS, part, strict=True):
                if kept != mine[f"{kind} {unit}"]:
                    raise Violation(
                        f"I6: {budget} in {window} has {kept} {unit} {kind}, "
                        f"and its holds come to {mine[f'{kind} {unit}']}"
                    )


def _check_charged(world: World, entries: dict[str, Any]) -> None:
    """I4: no request is charged less than the provider billed, up to the bound it was held by."""
    truth = world.truth
    for entry_id, served in truth.served.items():
        if entry_id in truth.unkept:
            continue
        if entry_id not in entries:
            raise Violation(f"I2: {entry_id} was served, and has no row")
        status = entries[entry_id][0]
        limited = {claim[0]: claim[5] for claim in truth.claimed[entry_id]}
        for budget, window, *amounts in world.rows(
            'SELECT budget_id, "window", status, nanodollars, tokens, '
            "spent_nanodollars, spent_tokens FROM holds WHERE entry_id = ?",
            entry_id,
        ):
            hold, dollars, tokens, spent_dollars, spent_tokens = amounts
            if hold == "settled":
                charged = (spent_dollars, spent_tokens)
            elif hold == "held":
                charged = (dollars, tokens)
            else:
                charged = (0, 0)
            for unit, amount, least in zip(
                UNITS, charged, (served.nanodollars, served.tokens), strict=False
            ):
                if amount is None or amount >= least:
                    continue
                if hold == "held" and (entry_id in truth.lied or unit not in limited[budget]):
                    continue  # beyond the bound, and nobody was told; or nothing limited it
                raise Violation(
                    f"I4: {entry_id} is {status} and was billed {least} {unit}, "
                    f"and {budget} in {window} was charged {amount}"
                )


def _check_inside(world: World, entries: dict[str, Any]) -> None:
    """I6: what another model did inside a request is charged to the request's budgets.

    It is written after the request, so that what happens to the store in between can lose it.
    """
    truth = world.truth
    for outer, inside in truth.inside.items():
        ((process,),) = world.rows("SELECT process_id FROM entries WHERE id = ?", outer)
        if truth.ended.get(outer) != "settled" or process in truth.faulty | truth.killed:
            continue
        rows = world.rows(
            "SELECT id FROM entries WHERE rest LIKE ? AND status = 'settled'", f"%inside: {outer}%"
        )
        for unit, billed_for in (("nanodollars", inside.nanodollars), ("tokens", inside.tokens)):
            charged = [
                world.rows(
                    f"SELECT budget_id, spent_{unit} FROM holds "  # noqa: S608
                    "WHERE entry_id = ? ORDER BY budget_id",
                    inner,
                )
                for (inner,) in rows
            ]
            budgets = world.rows(
                "SELECT budget_id FROM holds WHERE entry_id = ? ORDER BY budget_id", outer
            )
            if charged != [[(budget, billed_for) for (budget,) in budgets]]:
                raise Violation(f"I6: inside {outer} {billed_for} {unit} were billed: {charged}")


def _check_never_dispatched(world: World, entries: dict[str, Any]) -> None:
    """What a killed process held and had not marked as sent is free again."""
    truth = world.truth
    for entry_id, process in world.rows(
        "SELECT id, process_id FROM entries WHERE status = 'in_doubt'"
    ):
        sent = entry_id in truth.marked or entry_id in truth.served
        if process in truth.killed and not sent and truth.ended.get(entry_id) != "in_doubt":
            raise Violation(f"I4: {entry_id} was never sent by a killed process, and is not free")


def _check_usage(world: World, ledger: Ledger, entries: dict[str, Any]) -> None:
    """I6, I8: what a run showed is what the ledger keeps of it, each request once."""
    for run in world.truth.runs:
        seen = Counter(entry.id for entry in run.usage.request_usage_entries)
        if seen and max(seen.values()) > 1:
            raise Violation(f"I8: {run.id} counts {seen.most_common(1)} more than once")
        for entry in run.usage.request_usage_entries:
            row = entries.get(entry.id or "")
            if row is None or row[0] != entry.status or entry.status != "settled":
                continue
            kept = ledger.entry(entry.id or "")
            if (kept.cost.nanodollars, kept.total_tokens, kept.run_id) != (
                entry.cost.nanodollars,
                entry.total_tokens,
                entry.run_id,
            ):
                raise Violation(f"I6: {entry.id} was shown as {entry!r}, and is kept as {kept!r}")
        parent = run.parent
        if parent is not None:
            missing = seen.keys() - {entry.id for entry in parent.usage.request_usage_entries}
            if missing:
                raise Violation(f"I8: {missing} count in {run.id}, and not in its parent")
        summed = sum(entry.cost.nanodollars for entry in run.usage.request_usage_entries)
        if summed != run.usage.cost.nanodollars:
            raise Violation(f"I6: {run.id} shows {run.usage.cost}, and its entries {summed}")


def _check_spending(world: World) -> None:
    """I1, by the provider's own ledger: what was billed is within the limit of its window."""
    limits = {
        (budget, window): dict(zip(UNITS, amounts, strict=True))
        for budget, window, *amounts in world.rows(
            'SELECT budget_id, "window", limit_nanodollars, limit_tokens, limit_requests '
            "FROM balances WHERE hard"
        )
    }
    for (budget, window), sums in billed(world).items():
        for unit in UNITS:
            limit = limits.get((budget, window), {}).get(unit)
            if limit is not None and sums[unit] > limit and budget not in world.truth.loosened:
                raise Violation(
                    f"I1: the provider billed {sums[unit]} {unit} under {budget} in {window}, "
                    f"of {limit}"
                )
