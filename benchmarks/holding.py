"""Hold and settle: a request held on three budgets, and charged to them, in two transactions.

Ours is `Ledger.hold` and `Ledger.finish`, both waited for until they are committed. The peer is
`benchmarks.bare`: the same rows in the same two transactions, without a rule. Both run in WAL
mode with the same `synchronous`; the peer's checkpoints are SQLite's own. After each measurement
the sums on both sides are compared.
"""

import asyncio
import gc
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bare import Bare, bare
from benchmarks.pairs import Row, duration, row
from benchmarks.workload import ASK, BUDGETS, DURATION, LIMITS, RAW_USAGE, RUN, START, Pair, pairs
from tallystick.ledger import BudgetRow, Claim, Ledger, RunRow, open_ledger
from tallystick.ledger.sqlite import Durability

PAIRS = 2000
PAIRS_FULL = 320
TASKS = 32

SUMS = (
    "SELECT sum(spent_nanodollars), sum(spent_tokens), sum(spent_requests), sum(held_requests), "
    "(SELECT count(*) FROM holds WHERE status = 'settled'), "
    "(SELECT sum(total_tokens) FROM run_totals), (SELECT sum(cost_nanodollars) FROM rollups) "
    "FROM balances"
)


class Ours:
    """A ledger with three budgets and a run."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.claims = tuple(
            Claim(BudgetRow(f"budget_{name}", name, "all", LIMITS, START, warn_at=80), "all")
            for name in BUDGETS
        )
        self.version = 0

    def prepare(self) -> None:
        """Set the budgets and open the run, where nobody has yet."""
        for claim in self.claims:
            self.ledger.set_budget(claim.budget).result()
        self.ledger.open_run(RunRow(RUN, None, RUN, "bench", None, START)).result()
        self.look()

    def look(self) -> None:
        """Read the version of the budgets, by which holds are made."""
        self.version = self.ledger.budget_version()

    def hold(self, pair: Pair) -> Future[Any]:
        """Hold a request; done when that is committed."""
        return self.ledger.hold(
            pair.held,
            started_ns=pair.started_at,
            ask=ASK,
            claims=self.claims,
            version=self.version,
        )

    def settle(self, pair: Pair) -> Future[Any]:
        """Note it as sent and settle it; done when that is committed."""
        self.ledger.mark_sent(pair.settled.id or "")
        return self.ledger.finish(
            pair.settled, raw_usage=RAW_USAGE, duration_ns=DURATION, budgeted=True
        )

    def one_by_one(self, work: Sequence[Pair]) -> None:
        """Hold and settle each in turn."""
        for pair in work:
            self.hold(pair).result()
            self.settle(pair).result()

    async def together(self, work: Sequence[Pair], tasks: int) -> None:
        """Hold and settle with so many tasks at once; each waits for both of its commits."""
        left = iter(work)

        async def task() -> None:
            for pair in left:
                await asyncio.wrap_future(self.hold(pair))
                await asyncio.wrap_future(self.settle(pair))

        await asyncio.gather(*(task() for _ in range(tasks)))


@contextmanager
def _sides(durability: Durability) -> Iterator[tuple[Ours, Bare]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ours.db"
        with open_ledger(path, durability=durability) as ledger:
            ours = Ours(ledger)
            ours.prepare()
            with bare(Path(folder) / "bare.db", path, durability) as connection:
                yield ours, Bare(connection)
                _compare(ledger, connection)


def _compare(ledger: Ledger, connection: sqlite3.Connection) -> None:
    ledger.flush()
    found, expected = ledger.query(SUMS), connection.execute(SUMS).fetchall()
    if found != expected:
        raise AssertionError(f"the ledger has {found}, and the bare database {expected}")


def _measure(
    name: str,
    durability: Durability,
    length: int,
    work: Callable[[Ours, Sequence[Pair]], object],
    *,
    goal: float,
    rounds: int,
    before: Callable[[], object] = gc.collect,
) -> Row:
    numbers, others = count(), count()
    with _sides(durability) as (ours, peer):

        def mine() -> float:
            requests = pairs(numbers, length)
            before()
            started = time.perf_counter()
            work(ours, requests)
            return (time.perf_counter() - started) / length

        def theirs() -> float:
            rows = [peer.rows(request) for request in pairs(others, length)]
            before()
            started = time.perf_counter()
            peer.one_by_one(rows)
            return (time.perf_counter() - started) / length

        return row(name, mine, theirs, goal=goal, faster=True, pairs=rounds)


def normal() -> Row:
    """One caller, WAL with NORMAL: nobody waits for a disk."""
    return _measure(
        "hold + settle on 3 budgets, NORMAL",
        "normal",
        PAIRS,
        lambda ours, requests: ours.one_by_one(requests),
        goal=0.7,
        rounds=9,
    )


def full() -> Row:
    """32 tasks whose commits are shared, against one commit after the other.

    What sharing is worth depends on the disk, so the row says how long a sync of it takes: where
    that is less than the rest of a commit, there is little to share.
    """
    syncs: list[float] = []
    found = _measure(
        f"hold + settle on 3 budgets, FULL, {TASKS} tasks",
        "full",
        PAIRS_FULL,
        lambda ours, requests: asyncio.run(ours.together(requests, TASKS)),
        goal=5,
        rounds=7,
        before=lambda: syncs.append(_sync()),
    )
    return replace(found, name=f"{found.name}; a sync takes {duration(median(syncs))}")


def _sync() -> float:
    """Return how many seconds it takes until 4 KiB are on the disk, in the median."""
    times = []
    with tempfile.TemporaryFile() as file:
        for number in range(20):
            os.pwrite(file.fileno(), bytes(4096), number * 4096)
            started = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - started)
    return median(times)


ROWS = {"hold": normal, "hold full": full}
