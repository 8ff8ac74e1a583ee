"""One schedule: tasks of several processes that ask, and all that can befall them, from a seed.

A task goes from turn to turn and stops before each step of the protocol. At every turn the
schedule lets one of them go on, or does something else: kills a process, fills the disk, turns
the clock, changes a budget, cancels a task, reconciles what is in doubt. After each step the
invariants of the ledger are looked at, past the code under test.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulation.actor import CUSTOMERS, Actor
from simulation.checks import check_balances, check_end
from simulation.world import POINTS, SECOND, Interrupted, Killed, Process, World
from tallystick import Budget
from tallystick.budget.guard import claim_of
from tallystick.ledger import Amounts, BudgetRow
from tallystick.ledger import writer as writer_module
from tallystick.pricing import Prices

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Auckland")
PERIODS = ("hour", "day", "week", "month", "all", "run")
JUMPS = (1, 60, 1800, 3600, 7200, 86_400, 86_400 * 8, -1, -600, -3600, -86_400)
STEPS = 150


class Schedule:
    """A world, its tasks, and what happens to them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.actors: list[Actor] = []
        self._standing: list[BudgetRow] = []
        self._numbers = 0

    def on(self, process: Process) -> None:
        """Let what follows happen in this process."""
        self.world.looping = process.looping

    # Budgets.

    def _limits(self, scale: int = 1) -> dict[str, Any]:
        chance = self.chance
        limits: dict[str, Any] = {}
        if chance.random() < 0.7:
            cents = chance.choice((1, 3, 5, 20)) * scale
            limits["usd"] = f"{cents // 100}.{cents % 100:02}"
        if chance.random() < 0.3:
            limits["tokens"] = chance.choice((0, 900, 5_000, 40_000)) * scale
        if chance.random() < 0.3 or not limits:
            limits["requests"] = chance.choice((0, 1, 3, 10)) * scale
        limits["min_output_tokens"] = chance.choice((1, 16, 256))
        limits["default_output_tokens"] = chance.choice((50, 500))
        if chance.random() < 0.15:
            limits["on_exceeded"] = "warn"
        limits["allow"] = [what for what in ("unkept", "unpriced") if chance.random() < 0.1]
        return limits

    def some_budgets(self) -> list[Budget]:
        count = self.chance.choice((0, 1, 1, 2))
        return [Budget(**self._limits()) for _ in range(count)]

    def set_budget(self, process: Process) -> None:
        chance, clock = self.chance, self.world.clock
        name = chance.choice(("house", "customer", "model"))
        scope = {"house": {}, "customer": {"customer": chance.choice(CUSTOMERS)}}.get(
            name, {"model": "large"}
        )
        budget = Budget(
            per=chance.choice(PERIODS),  # type: ignore[arg-type]
            zone=chance.choice(ZONES),
            **self._limits(scale=3),
        )
        same = [row for row in self._current() if row.name == name]
        # Where it is the same but for the limit, it may owe when that is lower.
        self.world.truth.loosened.update(row.id for row in same)
        if same and chance.random() < 0.7:
            kept = same[0]
            scope = dict(kept.scope)
            budget = Budget(per=kept.per, zone=kept.zone, **self._limits(scale=3))
        row = budget.row(clock.id("budget"), clock.now(), name=name, scope=scope)
        self.world.log(f"{process.name} sets {name}: {budget}")
        self._administer(process, lambda: process.ledger.set_budget(row))

    def _current(self) -> list[BudgetRow]:
        return self.world.living[0].ledger.budgets() if self.world.living else []

    def change_budget(self, process: Process) -> None:
        """Add to a limit, or end a budget."""
        current = self._current()
        if not current:
            self.set_budget(process)
            return
        row = self.chance.choice(current)
        if self.chance.random() < 0.3:
            self.world.log(f"{process.name} removes {row.name}")
            self._administer(process, lambda: process.ledger.remove_budget(row.id))
        elif row.per != "run":
            claim = claim_of(row, self.world.clock.now(), "")
            more = Amounts(*(None if limit is None else 1_000 for limit in row.limits))
            self.world.log(f"{process.name} tops {row.name} up")
            self._administer(process, lambda: process.ledger.top_up(claim, more))

    def _administer(self, process: Process, action: Callable[[], Any]) -> None:
        self.world.looping = False
        try:
            future = action()
            if future.done():
                future.exception()
        except (Killed, Interrupted):
            self._bury(process)

    def loosen(self, entry_id: str) -> None:
        """Note that the budgets of an entry may come to owe."""
        rows = self.world.rows("SELECT budget_id FROM holds WHERE entry_id = ?", entry_id)
        self.world.truth.loosened.update(budget for (budget,) in rows)

    def reconcile(self, process: Process, entry_id: str) -> None:
        """Say what the provider billed for an entry in doubt, now and then twice."""
        truth = self.world.truth
        served = truth.served.get(entry_id)
        rows = self.world.rows("SELECT status FROM entries WHERE id = ?", entry_id)
        if served is None or rows != [("in_doubt",)]:
            return
        entry = process.ledger.entry(entry_id).replace(
            status="settled",
            model=served.model,
            input_tokens=0 if served.free else served.input_tokens,
            output_tokens=0 if served.free else served.output_tokens,
            total_tokens=served.tokens,
            cost_nanodollars=None if served.model == "unpriced" else served.nanodollars,
        )
        self.world.log(f"{process.name} reconciles {entry_id[4:16].lstrip('0')}")
        for _ in range(self.chance.randint(1, 2)):
            if self.chance.random() < 0.5:
                process.ledger.finish(entry)
            else:
                process.ledger.reconcile(entry, source="the provider", detail="its ledger")

    # What happens.

    async def step(self) -> None:
        """Let one thing happen."""
        what = self.chance.choices(list(EVENTS), list(EVENTS.values()))[0]
        world, chance = self.world, self.chance
        world.clock.steady += SECOND // 100
        if not world.living:
            self.enlist(world.start(looping=chance.random() < 0.6))
            return
        process = chance.choice(world.living)
        match what:
            case "go":
                await self._go()
            case "write":
                await self._guarded(process, process.write)
            case "jump":
                world.clock.wall += chance.choice(JUMPS) * SECOND
                world.log(f"the clock says {world.clock.wall // SECOND}")
            case "set" | "change":
                # What is held goes first, so that it is known under which budgets it was.
                await self._guarded(process, process.write)
                await self._quiet()
                if process.alive and process.idle:
                    (self.set_budget if what == "set" else self.change_budget)(process)
            case "fault":
                process.store.fault = chance.choice(POINTS)
            case "kill":
                world.log(f"{process.name} is killed")
                self._bury(process)
            case "close":
                await self._quit(process)
            case "start" if len(world.living) < 3:
                self.enlist(world.start(looping=chance.random() < 0.6))
            case "cancel":
                self._cancel()
            case "reconcile":
                await self._guarded(process, lambda: self._reconcile_one(process))
        await self._quiet()

    async def _guarded(self, process: Process, action: Callable[[], None]) -> None:
        try:
            action()
        except (Killed, Interrupted):
            if process.store.dead:
                self._bury(process)

    def _reconcile_one(self, process: Process) -> None:
        doubtful = self.world.rows("SELECT id FROM entries WHERE status = 'in_doubt' ORDER BY id")
        if doubtful:
            self.on(process)
            self.reconcile(process, self.chance.choice(doubtful)[0])

    async def _go(self) -> None:
        ready = [actor for actor in self.actors if actor.parked]
        if not ready:
            return
        actor = self.chance.choice(ready)
        self.on(actor.process)
        assert actor.gate is not None
        actor.gate.set_result(None)
        await self._quiet()

    def _cancel(self) -> None:
        going = [actor for actor in self.actors if not actor.task.done()]
        if going:
            actor = self.chance.choice(going)
            self.on(actor.process)
            self.world.log(f"{actor.name} is cancelled")
            actor.task.cancel()

    async def _quit(self, process: Process) -> None:
        self.world.log(f"{process.name} closes")
        self.actors, going = self._without(process)
        for actor in going:
            self.on(process)
            actor.task.cancel()
        await self._quiet()
        if process.alive:
            process.close()

    def enlist(self, process: Process) -> None:
        """Give a process its tasks."""
        for _ in range(self.chance.randint(1, 3)):
            self._numbers += 1
            self.actors.append(Actor(self, process, self._numbers))

    def _bury(self, process: Process) -> None:
        process.die()
        self.actors, going = self._without(process)
        for actor in going:
            actor.task.cancel()

    def _without(self, process: Process) -> tuple[list[Actor], list[Actor]]:
        others = [actor for actor in self.actors if actor.process is not process]
        going = [actor for actor in self.actors if actor.process is process]
        return others, going

    async def _quiet(self) -> None:
        """Return when nothing is left that happens by itself."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        while ready:  # noqa: ASYNC110 - there is no event for that nothing is left
            await asyncio.sleep(0)
        for actor in list(self.actors):
            if actor.task.done():
                self.actors.remove(actor)
                self._look_at(actor)
        died = [process for process in self.world.living if process.store.dead]
        for process in died:
            self.world.log(f"{process.name} has died")
            self._bury(process)
        if died:
            await self._quiet()

    def _look_at(self, actor: Actor) -> None:
        if actor.task.cancelled():
            return
        error = actor.task.exception()
        if error is not None and not isinstance(error, Killed | Interrupted):
            raise error

    async def play(self) -> None:
        """Play the schedule from its beginning to its end, and look at what is left."""
        world, chance = self.world, self.chance
        admin = world.start(looping=False)
        for _ in range(chance.randint(0, 3)):
            self.set_budget(admin)
        self.enlist(admin)
        for _ in range(chance.randint(0, 1)):
            self.enlist(world.start(looping=chance.random() < 0.7))
        await self._quiet()
        for _ in range(STEPS):
            await self.step()
            check_balances(world)
            if not self.actors and chance.random() < 0.3:
                break
        for process in world.living:
            if chance.random() < 0.5:
                world.log(f"{process.name} is killed at the end")
                self._bury(process)
            else:
                await self._quit(process)
        await self._quiet()
        last = world.start(looping=False)
        check_balances(world)
        check_end(world, last.ledger)
        last.close()


EVENTS = {
    "go": 70,
    "write": 6,
    "jump": 5,
    "set": 2,
    "change": 3,
    "fault": 5,
    "kill": 1.2,
    "close": 0.5,
    "start": 1.5,
    "cancel": 1.5,
    "reconcile": 3,
}


def play(seed: int, folder: Path, template: Path, prices: Prices) -> World:
    """Play the schedule of a seed.

    Raises:
        Violation: an invariant does not hold; its notes are the seed and what had happened.
    """
    world = World(seed, folder, template, prices)
    logging.getLogger("tallystick").disabled = True
    before, monotonic = writer_module._on_event_loop, writer_module.monotonic
    writer_module._on_event_loop = lambda: world.looping
    writer_module.monotonic = lambda: world.clock.steady / SECOND
    loop = asyncio.new_event_loop()
    loop.time = lambda: world.clock.steady / SECOND  # type: ignore[method-assign]
    try:
        loop.run_until_complete(Schedule(world).play())
    except BaseException as error:
        error.add_note("\n".join([*world.trace, f"replay it with: --seed {seed}"]))
        raise
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        world.close()
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        writer_module._on_event_loop, writer_module.monotonic = before, monotonic
        logging.getLogger("tallystick").disabled = False
    return world
