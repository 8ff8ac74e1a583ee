"""The statements of each operation, for every database with an `execute` of the DB-API kind.

An operation is one statement wherever that is possible, so that the database undoes it alone
where it fails. What it means for the totals of its run is written by triggers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from tallystick.errors import LedgerError
from tallystick.ledger import holding, reconciliation
from tallystick.ledger.adjustment import Adjustment
from tallystick.ledger.balance import Amounts, Claim, Ended, Granted
from tallystick.ledger.entry import CHANGING, encode, encode_raw_usage, started_moment, storable
from tallystick.ledger.holding import Cursor, Execute
from tallystick.ledger.store import (
    Abandon,
    Adjust,
    CloseRun,
    Finish,
    Hold,
    KeepBook,
    OpenRun,
    Operation,
    Reconcile,
    RemoveBudget,
    RunRow,
    SetBudget,
    TopUp,
)

T = TypeVar("T")

_RUN_COLUMNS = (
    "id, parent_id, root_id, process_id, name, host, started_at, ended_at, outcome, "
    'customer, "user", project, session, tags'
)
_OPEN_RUN = (
    f"INSERT INTO runs ({_RUN_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608
    "ON CONFLICT (id) DO NOTHING"
)
_CLOSE_RUN = "UPDATE runs SET ended_at = ?, outcome = ? WHERE id = ? AND outcome IS NULL"

_CHANGING = tuple(f'"{name}"' for name in CHANGING)
_MARKS = ", ".join("?" * len(CHANGING))
_HOLD = (
    "INSERT INTO entries (id, run_id, process_id, status, started_at, started_text, "  # noqa: S608
    f"{', '.join(_CHANGING)}) VALUES (?, ?, ?, 'held', ?, ?, {_MARKS})"
)
_FINISH = (
    "UPDATE entries SET status = ?, finished_at = ?, duration = ?, raw_usage = ?, "  # noqa: S608
    # Nanoseconds are kept of the start, and only microseconds are in its text.
    "started_text = CASE WHEN started_at / 1000 = ? / 1000 THEN NULL ELSE ? END, "
    f"{', '.join(f'{name} = ?' for name in _CHANGING)} "
    "WHERE id = ? AND (status = 'held' OR (status = 'in_doubt' AND ? <> 'in_doubt'))"
)
_STATUS = "SELECT status, process_id FROM entries WHERE id = ?"
_RUN_OUTCOME = "SELECT outcome FROM runs WHERE id = ?"
_HELD = "SELECT id FROM entries WHERE status = 'held' AND process_id = ?"
_RELEASE = (
    "UPDATE entries SET status = 'released', finished_at = ?, outcome = 'error', "
    "error_type = 'never_sent' WHERE id = ? AND status = 'held'"
)
_ABANDON_ENTRIES = (
    "UPDATE entries SET status = 'in_doubt', finished_at = ? "
    "WHERE status = 'held' AND process_id = ?"
)
_ABANDON_RUNS = "UPDATE runs SET outcome = 'interrupted' WHERE outcome IS NULL AND process_id = ?"
_KEEP_BOOK = (
    "INSERT INTO books (hash, content, kept_at) VALUES (?, ?, ?) ON CONFLICT (hash) DO NOTHING"
)
# What the price was before is read in the same transaction and not given, so that adjustments
# make a chain whoever appends them.
_OWN_PRICE = "SELECT cost_nanodollars, cost_estimated FROM entries WHERE id = ? AND status = ?"
_ADJUSTED_PRICE = (
    "SELECT cost_nanodollars, cost_estimated FROM adjustments WHERE entry_id = ? AND status = ? "
    "ORDER BY number DESC LIMIT 1"
)
_ADJUST = (
    "INSERT INTO adjustments (entry_id, status, book, rule, reason, cost_nanodollars, "
    "cost_estimated, previous_nanodollars, batch, made_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (entry_id, status, batch) DO NOTHING"
)
_OF_THE_PRICE = Adjustment._fields.index("batch")
_END_PROCESS = "UPDATE processes SET ended_at = ? WHERE id = ? AND ended_at IS NULL"


def apply(
    execute: Execute, operation: Operation, process_id: str, *, again: bool
) -> int | Granted | Ended:
    """Do one operation for this process; return whether, or how much, it changed.

    Args:
        execute: runs one statement in the transaction that the caller has begun.
        operation: what to do.
        process_id: the row of this process.
        again: it may have been done already by this process; then that counts as done now.

    Raises:
        LedgerError: it cannot be done; it changed nothing.
    """
    match operation:
        case Hold():
            return _hold(execute, operation, process_id, again=again)
        case Finish():
            changed = _finish(execute, operation, process_id, again=again)
            if not operation.budgeted:
                return changed
            return Ended(changed, holding.warn(execute, operation.entry.id or ""))
        case Reconcile():
            return _alone(
                execute, lambda: reconciliation.reconcile(execute, operation, again=again)
            )
        case OpenRun():
            return _open_run(execute, operation.run, process_id) or again
        case CloseRun():
            return _close_run(execute, operation, process_id) or again
        case Abandon():
            return _abandon(execute, operation)
        case KeepBook():
            row = (operation.hash, operation.content, operation.kept_at)
            return execute(_KEEP_BOOK, row).rowcount == 1 or again
        case Adjust():
            return _adjust(execute, operation)
        case SetBudget():
            budget, by = operation.budget, operation.by
            return _alone(execute, lambda: holding.set_budget(execute, budget, by, again=again))
        case RemoveBudget():
            identity, now, by = operation.budget_id, operation.made_at, operation.by
            return holding.remove_budget(execute, identity, now, by) or again
        case TopUp():
            claim, amounts, now = operation.claim, operation.amounts, operation.made_at
            by = operation.by
            return _alone(
                execute, lambda: holding.top_up(execute, claim, amounts, now, by, again=again)
            )


def _open_run(execute: Execute, run: RunRow, process_id: str) -> bool:
    who = run.attribution
    tags = json.dumps(dict(who.tags), separators=(",", ":")) if who.tags else None
    row = (
        run.id,
        run.parent_id,
        run.root_id,
        process_id,
        run.name,
        run.host,
        run.started_at,
        run.ended_at,
        run.outcome,
        who.customer,
        who.user,
        who.project,
        who.session,
        tags,
    )
    return _run(execute, _OPEN_RUN, row).rowcount == 1


def _close_run(execute: Execute, operation: CloseRun, process_id: str) -> bool:
    _open_runs(execute, operation.unopened, process_id)
    values = (operation.ended_at, operation.outcome, operation.run_id)
    if execute(_CLOSE_RUN, values).rowcount == 1:
        return True
    if execute(_RUN_OUTCOME, (operation.run_id,)).fetchone() is None:
        raise LedgerError(f"the ledger holds no run {operation.run_id!r} to close")
    return False


def _open_runs(execute: Execute, runs: Iterable[RunRow], process_id: str) -> None:
    for run in runs:
        _open_run(execute, run, process_id)


def _hold(execute: Execute, operation: Hold, process_id: str, *, again: bool) -> int | Granted:
    ask, version = operation.ask, operation.version
    if ask is None:
        if version is not None:
            holding.check_version(execute, version)
        return _write_hold(execute, operation, process_id, (), again=again)
    if again:
        granted = holding.granted(execute, operation.entry.id, ask)
        if granted is not None:
            return granted

    def hold_all() -> Granted:
        granted, holds = holding.grant(execute, operation.claims, ask, version)
        _write_hold(execute, operation, process_id, holds, again=False)
        return granted

    _open_runs(execute, operation.unopened, process_id)
    return _alone(execute, hold_all)


def _write_hold(
    execute: Execute,
    operation: Hold,
    process_id: str,
    holds: Sequence[tuple[Claim, Amounts]],
    *,
    again: bool,
) -> bool:
    entry = operation.entry
    _open_runs(execute, operation.unopened, process_id)
    if again and execute(_STATUS, (entry.id,)).fetchone() == ("held", process_id):
        return True
    _insert(execute, operation, process_id, encode(entry, None))
    holding.hold(execute, entry.id or "", holds)
    return True


def _insert(
    execute: Execute, operation: Hold | Finish, process_id: str, changing: list[Any]
) -> None:
    text, known = started_moment(operation.entry)
    if isinstance(operation, Hold):
        started_at = operation.started_at
    elif known is not None:
        started_at = known
    else:
        started_at = operation.finished_at - (operation.duration_nanoseconds or 0)
    if known is not None and known // 1000 == started_at // 1000:
        text = None
    entry = operation.entry
    _run(execute, _HOLD, (entry.id, entry.run_id, process_id, started_at, text, *changing))


def _finish(execute: Execute, operation: Finish, process_id: str, *, again: bool) -> bool:
    entry = operation.entry
    text, known = started_moment(entry)
    changing = encode(entry, operation.duration_nanoseconds)
    raw_usage = encode_raw_usage(operation.raw_usage)
    values = (
        entry.status,
        operation.finished_at,
        operation.duration_nanoseconds,
        raw_usage,
        known,
        text,
        *changing,
        entry.id,
        entry.status,
    )
    if _run(execute, _FINISH, values).rowcount == 1:
        return True
    found = execute(_STATUS, (entry.id,)).fetchone()
    if found is not None:
        return again and found[0] == entry.status
    _open_runs(execute, operation.unopened, process_id)
    _insert(execute, operation, process_id, changing)
    return _run(execute, _FINISH, values).rowcount == 1


def _abandon(execute: Execute, operation: Abandon) -> bool:
    changed = 0
    for process_id in operation.process_ids:
        sent = operation.sent.get(process_id)
        if sent is not None:
            for (entry_id,) in execute(_HELD, (process_id,)).fetchall():
                if entry_id not in sent:
                    execute(_RELEASE, (operation.finished_at, entry_id))
        changed += execute(_ABANDON_ENTRIES, (operation.finished_at, process_id)).rowcount
        changed += execute(_ABANDON_RUNS, (process_id,)).rowcount
        execute(_END_PROCESS, (operation.finished_at, process_id))
    return changed > 0


def _adjust(execute: Execute, operation: Adjust) -> int:
    return _alone(execute, lambda: _append(execute, operation))


def _append(execute: Execute, operation: Adjust) -> int:
    appended = 0
    for made in operation.adjustments:
        key = (made.entry_id, made.status)
        own = execute(_OWN_PRICE, key).fetchone()
        if own is None:
            continue
        now = execute(_ADJUSTED_PRICE, key).fetchone() or own
        if _same_price(made, *now):
            continue
        values = (*made[:_OF_THE_PRICE], now[0], made.batch, made.made_at)
        appended += _run(execute, _ADJUST, values).rowcount
    return appended


def _alone(execute: Execute, action: Callable[[], T]) -> T:
    """Do several statements as one: where one fails, none of them is kept."""
    execute("SAVEPOINT operation", ())
    try:
        return action()
    except BaseException:
        execute("ROLLBACK TO operation", ())
        raise
    finally:
        execute("RELEASE operation", ())


def _same_price(made: Adjustment, amount: int | None, estimated: int | None) -> bool:
    if made.cost_nanodollars != amount:
        return False
    return amount is None or made.cost_estimated == bool(estimated)


def _run(execute: Execute, sql: str, values: Sequence[Any]) -> Cursor:
    try:
        return execute(sql, values)
    except UnicodeEncodeError:
        return execute(sql, storable(values))
