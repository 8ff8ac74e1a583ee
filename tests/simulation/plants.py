"""Faults to plant, each one that a ledger of budgets could have; the simulation must find it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulation.world import SimulatedStore
from tallystick.budget import guard
from tallystick.ledger import holding, operations
from tallystick.ledger.process import Processes
from tallystick.request import Request

Plant = Callable[[Any, Path], Path]
"""Plants a fault with pytest's monkeypatch, or in a copy of the empty ledger, which it returns."""


def _trigger(template: Path, name: str, old: str, new: str) -> Path:
    changed = template.with_name(f"without-{name}.db")
    shutil.copy(template, changed)
    with sqlite3.connect(changed) as connection:
        ((sql,),) = connection.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?", (name,)
        ).fetchall()
        assert old in sql
        connection.execute(f"DROP TRIGGER {name}")
        if new != "":
            connection.execute(sql.replace(old, new))
    connection.close()
    return changed


def release_in_doubt(patch: Any, template: Path) -> Path:
    """What was sent and never answered is given back."""
    patch.setattr(Request, "doubt", lambda self, *_, **__: self.release("gave up"))
    return template


def settle_twice(patch: Any, template: Path) -> Path:
    """An entry that has ended is settled again."""
    patch.setattr(
        operations,
        "_FINISH",
        operations._FINISH.rpartition(" AND (status = 'held'")[0] + " AND ? <> ''",
    )
    for name in ("entries_settle_once", "entries_move_on", "holds_end_once"):
        template = _trigger(template, name, name, "")
    return template


def hold_on_all_but_one(patch: Any, template: Path) -> Path:
    """The budget of a surrounding run is left out."""
    claims = guard.Guard.claims

    def fewer(self: Any, draft: Any, standing: Any) -> Any:
        found = list(claims(self, draft, standing))
        return found[:-1] if len(found) > 1 else found

    patch.setattr(guard.Guard, "claims", fewer)
    return template


def window_of_the_settlement(patch: Any, template: Path) -> Path:
    """What was held in one window is settled in the newest."""
    old = 'WHERE budget_id = NEW.budget_id AND "window" = NEW."window"'
    new = (
        'WHERE budget_id = NEW.budget_id AND "window" = (SELECT "window" FROM balances '
        "WHERE budget_id = NEW.budget_id ORDER BY begins_at DESC LIMIT 1)"
    )
    return _trigger(template, "holds_end", old, new)


def window_in_utc(patch: Any, template: Path) -> Path:
    """The budget's time zone is not asked."""
    window_at = guard.window_at
    patch.setattr(guard, "window_at", lambda per, zone, now: window_at(per, "UTC", now))
    return template


def hold_after_dispatch(patch: Any, template: Path) -> Path:
    """The request leaves, and what it takes is held when it ends."""

    async def start(self: Request) -> None:
        return

    leave = Request._leave

    def late(self: Request, error: BaseException | None) -> None:
        self.hold()
        leave(self, error)

    patch.setattr(Request, "start", start)
    patch.setattr(Request, "start_sync", lambda self: None)
    patch.setattr(Request, "_leave", late)
    return template


def marks_forgotten(patch: Any, template: Path) -> Path:
    """Nobody notes that a request is about to be sent."""
    patch.setattr(Processes, "mark_sent", lambda self, entry_id: None)
    return template


def mark_taken_away_early(patch: Any, template: Path) -> Path:
    """The note is taken away before it is committed how the request ended."""
    commit = SimulatedStore.commit

    def early(self: Any, wanted: Any, **options: Any) -> Any:
        for operation in wanted:
            if type(operation).__name__ == "Finish":
                self._processes.forget_sent(operation.entry.id)
        return commit(self, wanted, **options)

    patch.setattr(SimulatedStore, "commit", early)
    return template


def released_when_killed(patch: Any, template: Path) -> Path:
    """What a killed process held is released, sent or not."""
    patch.setattr(Processes, "sent_by", lambda self, process_id: frozenset())
    return template


def kept_when_killed(patch: Any, template: Path) -> Path:
    """What a killed process never sent is not freed."""
    patch.setattr(Processes, "sent_by", lambda self, process_id: None)
    return template


def the_living_are_dead(patch: Any, template: Path) -> Path:
    """Who opens the ledger ends what others hold, who still run."""
    patch.setattr(Processes, "gone", lambda self, process_id: True)
    return template


def version_not_looked_at(patch: Any, template: Path) -> Path:
    """A budget that was set meanwhile is not held on."""
    patch.setattr(holding, "check_version", lambda execute, version: None)
    return template


def unknown_is_zero(patch: Any, template: Path) -> Path:
    """An answer that does not say what was used is settled at nothing."""
    doubt = Request.doubt

    def zero(self: Request, *arguments: Any, **options: Any) -> Any:
        if options.get("error_type") == "usage_not_reported":
            return self.settle({"usage": {"prompt_tokens": 0, "completion_tokens": 0}})
        return doubt(self, *arguments, **options)

    patch.setattr(Request, "doubt", zero)
    return template


def held_is_room(patch: Any, template: Path) -> Path:
    """What others hold counts as free, and the database does not look either."""
    affordable = holding.affordable

    def more(balance: Any, ask: Any, unit: Any) -> Any:
        from dataclasses import replace

        return affordable(replace(balance, held=balance.held._replace(**{unit: 0})), ask, unit)

    patch.setattr(holding, "affordable", more)
    changed = template.with_name("unchecked.db")
    shutil.copy(template, changed)
    with sqlite3.connect(changed) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, 'CHECK (NOT hard OR', 'CHECK (1 OR') "
            "WHERE name = 'balances'"
        )
    connection.close()
    return changed


PLANTS: dict[Plant, str] = {
    release_in_doubt: "I4",
    settle_twice: "I3: .* has ended as",
    hold_on_all_but_one: "I2",
    window_of_the_settlement: "I6",
    window_in_utc: "I5",
    hold_after_dispatch: "I2",
    marks_forgotten: "I4: .* released",
    mark_taken_away_early: "I4: .* released",
    released_when_killed: "I4: .* released",
    kept_when_killed: "I4: .* is not free",
    the_living_are_dead: "I2|I4",
    version_not_looked_at: "I2: .* falls under",
    unknown_is_zero: "I4: .* charged 0",
    held_is_room: "I1: .* debt",
}
"""Each with what the simulation says when it finds it."""
