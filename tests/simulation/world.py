"""The world of a simulated schedule: time, a provider with a ledger of its own, and processes.

Everything that could differ between two runs is decided by one seeded `random.Random`. The code
under test is the real one, from `Run` to SQLite; what is simulated is time, the provider, the
writer's thread, and what a kill leaves of a process.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallystick import Tally
from tallystick.clock import Clock, nanoseconds
from tallystick.errors import LedgerError, LedgerUnavailable
from tallystick.ledger import ledger as ledger_module
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.location import locate
from tallystick.ledger.sqlite_store import SqliteStore
from tallystick.ledger.store import Busy, Finish, Hold, Operation, Reconcile, Result
from tallystick.pricing import Prices
from tallystick.recorder import Recorder

SECOND = 1_000_000_000
START = nanoseconds(datetime(2026, 3, 27, 20, tzinfo=UTC))
"""A Friday evening before Europe puts its clocks forward, and days before a new month."""

RATES = """
[[rates]]
model = "small"
input_per_million = 1
output_per_million = 4

[[rates]]
model = "large"
input_per_million = 10
output_per_million = 30
"""
NANODOLLARS = {"small": (1_000, 4_000), "large": (10_000, 30_000), "unpriced": (0, 0)}
"""The same rates in nanodollars a token, which the simulated provider bills by."""

POINTS = (
    "kill before commit",
    "kill after commit",
    "kill before mark",
    "kill after mark",
    "kill before forget",
    "full disk",
    "commit of unknown outcome",
    "busy",
    "interrupt before commit",
    "interrupt after commit",
)
"""What can happen to a store, the next time that it comes there."""


class Violation(AssertionError):  # noqa: N818 - reads as what it says
    """An invariant does not hold. The message begins with its number."""


class Killed(BaseException):
    """The process is dead; nothing that it would still do happens."""


class Interrupted(BaseException):
    """Somebody interrupted the process in the midst of a call, as Ctrl-C does."""


class SimulatedClock(Clock):
    """Time that stands still unless the schedule moves it, and ids from the seed."""

    def __init__(self, chance: random.Random) -> None:
        self.wall = START
        self.steady = 0
        self._chance = chance
        self._issued = 0

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> int:
        return self.steady

    def id(self, prefix: str) -> str:
        self._issued += 1
        return f"{prefix}_{self._issued:012x}{self._chance.getrandbits(80):020x}"


@dataclass(slots=True)
class Served:
    """What the provider did for one request, whether or not anybody was told."""

    model: str
    input_tokens: int
    output_tokens: int = 0
    free: bool = False
    """It was answered with an error, which is not billed."""

    @property
    def tokens(self) -> int:
        return 0 if self.free else self.input_tokens + self.output_tokens

    @property
    def nanodollars(self) -> int:
        sent, received = NANODOLLARS[self.model]
        return 0 if self.free else self.input_tokens * sent + self.output_tokens * received

    @property
    def response(self) -> dict[str, Any]:
        return {
            "object": "chat.completion",
            "model": self.model,
            "usage": {
                "prompt_tokens": self.input_tokens,
                "completion_tokens": self.output_tokens,
            },
        }


@dataclass(slots=True)
class Truth:
    """What the simulation knows beside the ledger, and compares it with."""

    served: dict[str, Served] = field(default_factory=dict)
    lied: set[str] = field(default_factory=set)
    """Requests that the provider billed above their bound."""
    marked: set[str] = field(default_factory=set)
    inside: dict[str, Served] = field(default_factory=dict)
    """What another model did inside a request, to be charged beside it."""
    unkept: set[str] = field(default_factory=set)
    """Requests whose hold the ledger said that it could not write."""
    wrong: list[str] = field(default_factory=list)
    """What was seen to be wrong where nothing can be raised."""
    ended: dict[str, str] = field(default_factory=dict)
    """The status by which each entry has ended, as the ledger said."""
    settled_at: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    loosened: set[str] = field(default_factory=set)
    """Budgets whose limit was lowered, or that were billed above a bound: those may owe."""
    faulty: set[str] = field(default_factory=set)
    """Processes to whose store something happened."""
    killed: set[str] = field(default_factory=set)
    created: dict[str, int] = field(default_factory=dict)
    claimed: dict[str, Any] = field(default_factory=dict)
    """The budgets that a request fell under when it was held."""
    runs: list[Any] = field(default_factory=list)


class SimulatedStore(SqliteStore):
    """The real store, on a disk and in a process that can fail at any step."""

    def __init__(self, world: World) -> None:
        self.truth, self.trace = world.truth, world.trace
        self.fault: str | None = None
        self.dead = False
        # Nothing here has to survive a power cut.
        super().__init__(locate(str(world.path)), durability="off", clock=world.clock)  # type: ignore[arg-type]

    @property
    def swift(self) -> bool:
        return True

    def integrity(self) -> list[str]:
        # Planted faults change triggers; whether the schema is ours is tested elsewhere.
        return [finding for finding in super().integrity() if not finding.startswith("schema")]

    def commit(
        self, operations: Sequence[Operation], *, again: bool = False, patient: bool = True
    ) -> list[Result]:
        self._reach("kill before commit")
        if self._strikes("busy") and not patient:
            raise Busy("another process is writing")
        if self._strikes("full disk"):
            self._note_unkept(operations)
            raise LedgerUnavailable("the disk is full")
        if self._strikes("interrupt before commit"):
            raise Interrupted
        results = super().commit(operations, again=again, patient=patient)
        for operation, result in zip(operations, results, strict=True):
            self._note(operation, result, again=again)
        self._reach("kill after commit")
        if self._strikes("commit of unknown outcome"):
            self._note_unkept(operations)
            raise LedgerUnavailable("the disk failed, and who knows what it kept")
        if self._strikes("interrupt after commit"):
            raise Interrupted
        return results

    def mark_sent(self, entry_id: str) -> None:
        self._reach("kill before mark")
        super().mark_sent(entry_id)
        self.truth.marked.add(entry_id)
        self._reach("kill after mark")

    def forget_sent(self, entry_id: str) -> None:
        self._reach("kill before forget")
        super().forget_sent(entry_id)

    def _strikes(self, fault: str) -> bool:
        if self.fault != fault:
            return False
        self.trace.append(f"    {fault}")
        self.truth.faulty.add(self.process_id)
        self.fault = None
        return True

    def _reach(self, fault: str) -> None:
        if self._strikes(fault):
            self.die()
        if self.dead:
            raise Killed

    def _note_unkept(self, operations: Sequence[Operation]) -> None:
        for operation in operations:
            if isinstance(operation, Hold):
                self.truth.unkept.add(operation.entry.id or "")

    def _note(self, operation: Operation, result: Result, *, again: bool) -> None:
        if not isinstance(operation, Finish | Reconcile) or isinstance(result, LedgerError):
            return
        entry, truth = operation.entry, self.truth
        if not getattr(result, "changed", result) or again:
            return
        before = truth.ended.get(entry.id or "")
        if before not in {None, "in_doubt"}:
            # Raised here, it would be taken for a fault of the store.
            truth.wrong.append(f"I3: {entry.id} was {before} and has ended as {entry.status} too")
        truth.ended[entry.id or ""] = entry.status or ""
        if entry.status == "settled":
            kept = (entry.record.get("cost_nanodollars"), entry.total_tokens)
            truth.settled_at[entry.id or ""] = kept

    def die(self) -> None:
        """Be killed: the system closes what was open, and that is all that happens."""
        if self.dead:
            return
        self.dead = True
        self.truth.killed.add(self.process_id)
        self._disconnect()
        processes = self._processes
        if processes is not None and processes._descriptor is not None:
            processes._unmap()
            os.close(processes._descriptor)
            processes._descriptor = None


class Process:
    """A process with a tally on the shared file; its tasks run on a loop, or as threads do."""

    def __init__(self, world: World, name: str, *, looping: bool) -> None:
        self.name = name
        self.world = world
        self.looping = looping
        self.alive = True
        world.looping = looping
        self.store = SimulatedStore(world)
        self.ledger = Ledger(self.store, clock=world.clock)
        ledger_module._open_ledgers.discard(self.ledger)
        self._writer = self.ledger._writer
        # The schedule decides when the writer's thread gets its turn.
        self._writer._wake = lambda: None  # type: ignore[method-assign]
        self._writer._watching = looping
        self.ledger.recover()
        recorder = Recorder(self.ledger, world.prices, world.clock)
        recorder._warmed = True
        recorder._keep_books = lambda price_book: None  # type: ignore[method-assign]
        self.tally = Tally(recorder)

    def write(self) -> None:
        """Give the writer's thread its turn."""
        self.world.looping = False
        with self._writer._committing:
            self._writer._commit_queued()

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._writer._queue

    def close(self) -> None:
        """End in order."""
        self.world.looping = False
        self.alive = False
        self.store.fault = None
        self.ledger.close()

    def die(self) -> None:
        """Be killed."""
        self.alive = False
        self.store.die()


class World:
    """One ledger file, its processes, the provider, and an eye on the file that is ours."""

    def __init__(self, seed: int, folder: Path, template: Path, prices: Prices) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = SimulatedClock(random.Random(seed + 1))
        self.prices = prices
        self.truth = Truth()
        self.trace: list[str] = []
        self.looping = False
        self.path = folder / "usage.db"
        for stale in (*folder.glob("usage.db*"),):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
        shutil.copy(template, self.path)
        self.processes: list[Process] = []
        self._number = 0
        self.eye = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, isolation_level=None)

    def start(self, *, looping: bool) -> Process:
        """Start a process, which recovers what dead ones left."""
        self._number += 1
        process = Process(self, f"P{self._number}", looping=looping)
        self.processes.append(process)
        self.log(f"{process.name} starts {'with a loop' if looping else 'with threads'}")
        return process

    @property
    def living(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    def log(self, text: str) -> None:
        self.trace.append(text)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what is committed, past the code under test."""
        return self.eye.execute(sql, values).fetchall()

    def close(self) -> None:
        for process in self.living:
            process.die()
        self.eye.close()


def billed(world: World) -> dict[tuple[str, str], Counter[str]]:
    """Return what the provider billed under each budget in each window."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for entry_id, budget_id, window in world.rows(
        'SELECT entry_id, budget_id, "window" FROM holds'
    ):
        served = world.truth.served.get(entry_id)
        if served is not None:
            sums = found.setdefault((budget_id, window), Counter())
            sums.update(nanodollars=served.nanodollars, tokens=served.tokens)
            sums["requests"] += 1
    return found
