"""How long callers wait for a hold and for a settlement, with many tasks and processes at once.

    make bench ARGS=latency

Every task holds, settles, and begins again at once, so what is measured is the wait in a queue
that is never empty, on three budgets that all of them share. A hold is waited for until it is
committed. For a settlement nobody waits: `settle` is what the call takes of its caller, and
`settled` is how long it took from there until it was committed. Checkpoints of the log happen
meanwhile, as they do in use; they may not keep a request waiting.
"""

import asyncio
import multiprocessing
import tempfile
import time
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.holding import Ours
from benchmarks.pairs import duration
from benchmarks.workload import Pair, pairs
from tallystick.ledger import open_ledger

PROCESSES = (1, 4, 16)
TASKS = (1, 8, 64)
SECONDS = 3.0
MOST = 24_000
"""Requests that are made before the start, more than are written in that time."""

KINDS = ("hold", "settle", "settled")
Times = dict[str, list[float]]


def latency() -> tuple[Table, bool]:
    """Measure every combination; it has no peer and no goal."""
    table = Table(title="Waiting for the ledger, three shared budgets, NORMAL")
    for column in ("processes", "tasks each", "pairs/s", "of", "p50", "p99", "p99.9", "max"):
        table.add_column(column, justify="left" if column == "of" else "right")
    for processes in PROCESSES:
        for tasks in TASKS:
            times = _measure(processes, tasks)
            rate = f"{len(times['hold']) / SECONDS:,.0f}"
            for kind in KINDS:
                first = (str(processes), str(tasks), rate) if kind == "hold" else ("", "", "")
                table.add_row(*first, kind, *_percentiles(times[kind]))
        table.add_section()
    return table, True


def _percentiles(times: list[float]) -> tuple[str, ...]:
    ordered = sorted(times)
    places = (len(ordered) * permille // 1000 for permille in (500, 990, 999))
    return tuple(duration(ordered[place]) for place in (*places, len(ordered) - 1))


def _measure(processes: int, tasks: int) -> Times:
    """Return the seconds that each took, of all processes on one ledger."""
    spawning = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "usage.db"
        with open_ledger(path) as ledger:
            Ours(ledger).prepare()
        ready = spawning.Barrier(processes)
        ends = []
        for number in range(processes):
            receiving, sending = spawning.Pipe(duplex=False)
            worker = spawning.Process(
                target=_work,
                args=(path, f"req_{number}", MOST // processes + 4000, tasks, ready, sending),
            )
            worker.start()
            sending.close()
            ends.append((worker, receiving))
        all_times: Times = {kind: [] for kind in KINDS}
        for worker, receiving in ends:
            for kind in KINDS:
                all_times[kind] += receiving.recv()
            worker.join()
    return all_times


def _work(
    path: Path, prefix: str, length: int, tasks: int, ready: Any, sending: Connection
) -> None:
    requests = pairs(count(), length, prefix)
    with open_ledger(path) as ledger:
        ours = Ours(ledger)
        ours.look()
        ready.wait()
        times = asyncio.run(_run(ours, requests, tasks))
    for kind in KINDS:
        sending.send(times[kind])


async def _run(ours: Ours, requests: list[Pair], tasks: int) -> Times:
    times: Times = {kind: [] for kind in KINDS}
    clock = time.perf_counter
    settling: set[Future[Any]] = set()

    def committed(began: float, done: Future[Any]) -> None:
        done.result()
        times["settled"].append(clock() - began)
        settling.discard(done)

    left = iter(requests)
    end = clock() + SECONDS

    async def task() -> None:
        for pair in left:
            began = clock()
            if began > end:
                return
            held = ours.hold(pair)
            if not held.done():
                await asyncio.wrap_future(held)
            held.result()
            times["hold"].append(clock() - began)
            # The request itself: everybody else gets a turn.
            await asyncio.sleep(0)
            began = clock()
            settled = ours.settle(pair)
            times["settle"].append(clock() - began)
            settling.add(settled)
            settled.add_done_callback(partial(committed, began))

    await asyncio.gather(*(task() for _ in range(tasks)))
    await asyncio.to_thread(wait, list(settling))
    if len(times["hold"]) == len(requests):
        raise RuntimeError(f"{len(requests)} requests were too few for {SECONDS} seconds")
    return times


TABLES = {"latency": latency}
