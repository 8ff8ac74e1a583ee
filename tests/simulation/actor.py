"""A task of a simulated process: it asks in runs, stops before every step, and meets many fates."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from simulation.checks import check_held
from simulation.world import Process, Served
from tallystick.errors import BudgetRefused
from tallystick.wire import Reading, read_object

if TYPE_CHECKING:
    from simulation.schedule import Schedule

CUSTOMERS = ("acme", "globex")
MODELS = ("small", "small", "small", "large", "large", "unpriced")


class ConnectError(Exception):
    """What HTTP clients raise when no connection was made."""


class Actor:
    """A task of a process, which goes on when the schedule says so."""

    def __init__(self, schedule: Schedule, process: Process, number: int) -> None:
        self.schedule = schedule
        self.process = process
        self.name = f"{process.name}.t{number}"
        self.gate: asyncio.Future[None] | None = None
        self.task = asyncio.ensure_future(self._work())
        # What ends a task is looked at where it matters; of a dead process it does not.
        self.task.add_done_callback(lambda task: task.cancelled() or task.exception())

    @property
    def parked(self) -> bool:
        return self.gate is not None and not self.gate.done()

    async def turn(self, what: str) -> None:
        """Wait until the schedule lets this task do what comes next."""
        self.schedule.world.log(f"  {self.name} will {what}")
        self.gate = asyncio.get_running_loop().create_future()
        await self.gate

    async def _work(self) -> None:
        chance = self.schedule.chance
        await self.turn("begin")
        for _ in range(chance.randint(1, 2)):
            with contextlib.suppress(BudgetRefused):
                await self._run()

    async def _run(self) -> None:
        chance, world = self.schedule.chance, self.schedule.world
        options: dict[str, Any] = {"customer": chance.choice((*CUSTOMERS, None))}
        run = self.process.tally.run("run", budget=self.schedule.some_budgets(), **options)
        async with self._entered(run):
            world.truth.runs.append(run)
            for _ in range(chance.randint(1, 3)):
                if chance.random() < 0.3:
                    child = self.process.tally.run("child", budget=self.schedule.some_budgets())
                    with contextlib.suppress(BudgetRefused):
                        async with self._entered(child):
                            world.truth.runs.append(child)
                            await self._request(child)
                else:
                    await self._request(run)

    @contextlib.asynccontextmanager
    async def _entered(self, thing: Any) -> Any:
        """Enter as code on a loop does, or as plain code does."""
        if self.process.looping:
            async with thing as entered:
                yield entered
        else:
            with thing as entered:
                yield entered

    async def _request(self, run: Any) -> None:
        chance, world = self.schedule.chance, self.schedule.world
        model = chance.choice(MODELS)
        bound = chance.choice((10, 200, 2_000))
        wanted = chance.choice((None, 20, 300, 1_000))
        request = run.request(model=model, max_input_tokens=bound, max_output_tokens=wanted)
        world.truth.created[request.id] = world.clock.wall
        name = request.id[4:16].lstrip("0")
        await self.turn(f"hold {name}")
        fate = chance.choices(list(FATES), [weight for weight, _ in FATES.values()])[0]
        try:
            async with self._entered(request):
                world.log(f"    {name} is granted {request.output_limit}, and will be {fate}")
                check_held(world, request, run, bound)
                await self.turn(f"send {name}")
                await FATES[fate][1](self, request, bound, wanted)
        except BudgetRefused as refusal:
            world.log(f"    {name} is refused: {str(refusal)[:100]}")
            raise
        except (ConnectionError, ConnectError):
            pass
        if fate == "late" and chance.random() < 0.7:
            await self.turn(f"reconcile {name}")
            self.schedule.reconcile(self.process, request.id)

    async def _served(
        self, request: Any, bound: int, wanted: int | None, *, lie: bool = False
    ) -> Served:
        """Send it: from here on the provider bills, whatever happens to this task."""
        chance, world = self.schedule.chance, self.schedule.world
        served = Served(request.model, chance.randint(1, bound))
        check_held(world, request, request.run, bound)
        world.truth.served[request.id] = served
        if request.id in world.truth.unkept:
            # Its budgets let it pass unheld, and without their limit on the answer.
            self.schedule.loosen(request.id)
        limit = request.output_limit if request.output_limit is not None else wanted
        if limit is None:
            limit = 3_000
        whole = chance.choice((limit, chance.randint(0, limit)))
        if lie:
            world.truth.lied.add(request.id)
            served.input_tokens += bound * chance.randint(1, 3)
            whole = limit * 2 + 1
            self.schedule.loosen(request.id)
        try:
            for part in range(2):
                await self.turn(f"read of {request.id[4:16].lstrip('0')}")
                served.output_tokens = max(served.output_tokens, whole * (part + 1) // 2)
        except BaseException:
            # It goes on for a while when nobody listens any more.
            served.output_tokens = chance.randint(served.output_tokens, whole)
            raise
        return served

    async def settled(self, request: Any, bound: int, wanted: int | None) -> None:
        served = await self._served(request, bound, wanted)
        request.settle(served.response)

    async def settled_twice(self, request: Any, bound: int, wanted: int | None) -> None:
        served = await self._served(request, bound, wanted)
        entry = request.settle(served.response)
        await self.turn("settle again")
        twice = {**served.response, "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        for again in (served.response, twice):
            assert request.settle(again) is None
        request.doubt()
        await self.turn("finish it again past the request")
        if entry is not None and self.schedule.world.truth.ended.get(request.id) == "settled":
            others = self.schedule.chance.choice(self.schedule.world.living)
            self.schedule.on(others)
            for status in ("settled", "in_doubt", "released"):
                changed = entry.replace(status=status, output_tokens=7, total_tokens=8)
                others.ledger.finish(changed)
            self.schedule.on(self.process)

    async def same_response(self, request: Any, bound: int, wanted: int | None) -> None:
        served = await self._served(request, bound, wanted)
        request.settle({**served.response, "id": "chatcmpl-1"})

    async def refused(self, request: Any, bound: int, wanted: int | None) -> None:
        served = await self._served(request, bound, wanted)
        served.free = True
        request.reject("429")

    async def unsent(self, request: Any, bound: int, wanted: int | None) -> None:
        raise ConnectError

    async def broken(self, request: Any, bound: int, wanted: int | None) -> None:
        await self._served(request, bound, wanted)
        raise ConnectionError("the stream broke off")

    async def silent(self, request: Any, bound: int, wanted: int | None) -> None:
        served = await self._served(request, bound, wanted)
        said = self.schedule.chance.choice((None, {}, {**served.response, "usage": None}))
        request.settle(said)

    async def forgotten(self, request: Any, bound: int, wanted: int | None) -> None:
        await self._served(request, bound, wanted)

    async def late(self, request: Any, bound: int, wanted: int | None) -> None:
        await self._served(request, bound, wanted)
        request.doubt(error_type="504")

    async def lied_about(self, request: Any, bound: int, wanted: int | None) -> None:
        served = await self._served(request, bound, wanted, lie=True)
        request.settle(served.response)

    async def with_another_inside(self, request: Any, bound: int, wanted: int | None) -> None:
        """Another model worked inside the request, beyond what was held for it."""
        served = await self._served(request, bound, wanted)
        self.schedule.loosen(request.id)
        reading = read_object(served.response)
        inside = Served("large", 30, 20)
        reading.others.append(
            Reading(model="large", input_tokens=30, output_tokens=20, total_tokens=50)
        )
        self.schedule.world.truth.inside[request.id] = inside
        request.settle(reading)


Fate = Callable[[Actor, Any, int, int | None], Awaitable[None]]

FATES: dict[str, tuple[int, Fate]] = {
    "settled": (40, Actor.settled),
    "settled twice": (8, Actor.settled_twice),
    "answered with the same response": (4, Actor.same_response),
    "refused by the provider": (5, Actor.refused),
    "unsent": (6, Actor.unsent),
    "broken": (8, Actor.broken),
    "silent": (6, Actor.silent),
    "forgotten": (3, Actor.forgotten),
    "late": (8, Actor.late),
    "lied about": (3, Actor.lied_about),
    "answered with another model inside": (3, Actor.with_another_inside),
}
