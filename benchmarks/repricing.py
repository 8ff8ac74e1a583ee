"""Repricing a ledger against reading and writing all of it, in the same run.

``TALLYSTICK_ENTRIES`` says how many entries; every one of them gets another price, which is the
most that repricing can have to do.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

from benchmarks.pairs import Row, row
from tallystick import RequestUsage
from tallystick.clock import Clock, timestamp
from tallystick.ledger import Ledger, RunRow, open_ledger
from tallystick.ledger.store import Finish, Hold, OpenRun
from tallystick.pricing import Book, Prices
from tallystick.report import Period, Pricing, reprice

ENTRIES = int(os.environ.get("TALLYSTICK_ENTRIES", "20000"))

PAGE = 2_000
_START = 1_795_000_000_000_000_000


def _book(rate: int) -> Book:
    rates = {"input_mtok": str(rate), "output_mtok": "10", "cache_read_mtok": "0.1"}
    model = {"id": "gpt-5", "match": ["equals", "gpt-5"], "prices": [[None, rates]]}
    provider = {"id": "openai", "fallback": [], "models": [model]}
    return Book({"format": 1, "providers": [provider]})


def _entry(number: int) -> RequestUsage:
    return RequestUsage(
        1200 + number % 997,
        300,
        None,
        {"cached_tokens": 1024, "cache_write_tokens": 0},
        {"reasoning_tokens": 64},
        id=f"req_{number:032x}",
        run_id="run_0",
        provider="openai",
        model="gpt-5",
        agent="Planner",
        turn=1,
        status="settled",
        outcome="completed",
        started_at=timestamp(_START + number * 1_000_000),
        duration=1.5,
    )


def _write(ledger: Ledger, entries: Iterator[RequestUsage]) -> None:
    """Write entries as the ledger does, but a page in one transaction and without waiting."""
    store = ledger._store
    run = RunRow("run_0", None, "run_0", "bench", None, _START)
    store.commit([OpenRun(run)])
    while page := list(islice(entries, PAGE)):
        operations: list[Hold | Finish] = []
        for entry in page:
            operations += (Hold(entry, _START), Finish(entry, None, 1_500_000_000, _START))
        store.commit(operations)


@contextmanager
def _ledger() -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder, open_ledger(Path(folder) / "usage.db") as ledger:
        yield ledger


def repricing() -> Row:
    """Reprice every entry, against reading every entry and writing it to another ledger."""
    with _ledger() as ledger:
        prices = Prices(book=_book(1))
        priced = (_entry(number) for number in range(ENTRIES))
        _write(ledger, (entry.with_known(prices.quote(entry).fields()) for entry in priced))
        rates = count(2)

        def ours() -> float:
            # Another rate each time, so that every entry changes; and chains grow.
            other = Prices(book=_book(next(rates)))
            clock = Clock()
            started = time.perf_counter()
            batch = clock.id("rep")
            found = reprice(
                ledger,
                Pricing(ledger, other, "current"),
                Period(),
                batch=batch,
                made_at=clock.now(),
            )
            ledger.flush()
            taken = time.perf_counter() - started
            if found.total.adjusted != ENTRIES:
                raise RuntimeError(f"{found.total.adjusted} of {ENTRIES} entries were repriced")
            return taken

        def peer() -> float:
            with _ledger() as other:
                started = time.perf_counter()
                _write(other, ledger.entries_between())
                return time.perf_counter() - started

        return row(
            f"reprice {ENTRIES:,} entries, against reading and writing them",
            ours,
            peer,
            goal=2,
            faster=False,
            pairs=3,
        )


ROWS = {"reprice": repricing}
