"""Group commit: many callers, one transaction, and nothing lost when something goes wrong."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sqlite3
import threading
import time

import pytest

from tallystick.clock import Clock
from tallystick.errors import LedgerError, LedgerUnavailable
from tallystick.ledger import open_ledger, sqlite, sqlite_store, writer
from tallystick.ledger.ledger import Ledger
from tallystick.ledger.location import Location
from tallystick.ledger.sqlite_store import SqliteStore
from tallystick.ledger.store import CloseRun, Finish, Hold, OpenRun
from tallystick.ledger.writer import Writer, _Item


class Halting(SqliteStore):
    """A store that waits before it commits for as long as `go` is not set.

    It is not swift, so that event loops leave it to the thread, unless a test says otherwise.
    """

    swift = False

    def __init__(self, path) -> None:
        self.go = threading.Event()
        self.go.set()
        self.batches: list[int] = []
        self.threads: set[str] = set()
        super().__init__(Location(path))

    def commit(self, operations, *, again=False, patient=True):
        assert self.go.wait(10)
        self.batches.append(len(operations))
        self.threads.add(threading.current_thread().name)
        return super().commit(operations, again=again, patient=patient)


@pytest.fixture
def halting(path):
    store = Halting(path)
    with Ledger(store, clock=Clock()) as ledger:
        yield ledger, store


@pytest.fixture
def locked(ledger):
    """Another program that holds the ledger's lock for as long as the context lasts."""
    other = sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


async def test_what_tasks_ask_for_together_is_one_transaction(halting, make):
    ledger, store = halting
    run = make.row()
    store.go.clear()
    futures = [ledger.open_run(run)]
    futures += [ledger.hold(make.entry(run), started_ns=1) for _ in range(100)]
    store.go.set()
    await asyncio.gather(*map(asyncio.wrap_future, futures))
    assert sum(store.batches) == 101
    assert len(store.batches) <= 2
    assert store.threads == {"tallystick-ledger-writer"}


def test_a_lone_caller_without_a_loop_commits_in_its_own_thread(halting, make):
    ledger, store = halting
    make.settle(ledger, make.run(ledger))
    assert store.threads == {threading.current_thread().name}
    assert store.batches == [1, 1, 1]


async def test_the_event_loop_runs_on_while_the_disk_does_not(ledger, make, locked):
    run = make.row()
    ticks = 0
    opened = ledger.open_run(run)
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        await asyncio.sleep(0.005)
        ticks += 1
    assert not opened.done()
    assert ticks > 15
    locked.execute("ROLLBACK")
    assert await asyncio.wrap_future(opened)


async def test_one_operation_that_is_refused_fails_alone(halting, make):
    ledger, store = halting
    run = make.run(ledger)
    double = make.hold(ledger, run)
    store.go.clear()
    good = [ledger.hold(make.entry(run), started_ns=1) for _ in range(3)]
    bad = [
        ledger.hold(double, started_ns=1),
        ledger.hold(make.entry(make.row()), started_ns=1),
        ledger.hold(make.entry(run, turn=2**70), started_ns=1),
        ledger.close_run("run_x", 1, "completed"),
    ]
    good += [ledger.hold(make.entry(run), started_ns=1) for _ in range(3)]
    store.go.set()
    results = await asyncio.gather(*map(asyncio.wrap_future, good + bad), return_exceptions=True)
    assert results[:6] == [True] * 6
    assert all(isinstance(error, LedgerError) for error in results[6:])
    assert len(ledger.entries(run.id)) == 7
    assert max(store.batches) == 10 or len(store.batches) <= 4


async def test_a_cancelled_task_does_not_take_its_row_with_it(halting, make):
    ledger, store = halting
    run = make.run(ledger)
    entry = make.entry(run)
    store.go.clear()

    async def ask():
        await asyncio.wrap_future(ledger.hold(entry, started_ns=1))

    task = asyncio.create_task(ask())
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.go.set()
    ledger.flush(5)
    assert ledger.entry(entry.id).status == "held"


def test_a_loop_that_is_closed_does_not_stop_the_writer(halting, make, caplog):
    ledger, store = halting
    run = make.run(ledger)
    store.go.clear()

    async def leave():
        asyncio.wrap_future(ledger.hold(make.entry(run), started_ns=1))

    caplog.set_level(logging.CRITICAL, "concurrent.futures")
    asyncio.run(leave())
    store.go.set()
    ledger.flush(5)
    make.settle(ledger, run)
    assert len(ledger.entries(run.id)) == 2


def test_many_threads_lose_nothing(ledger, make):
    run = make.run(ledger)

    def work():
        for _ in range(25):
            make.settle(ledger, run)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    totals = ledger.totals(run.id)
    assert (totals.requests, totals.input_tokens, totals.held) == (200, 20_000, 0)
    assert ledger.verify().ok


async def test_threads_and_tasks_together_lose_nothing(ledger, make):
    run = make.run(ledger)

    async def task():
        for _ in range(20):
            entry = make.entry(run)
            await asyncio.wrap_future(ledger.hold(entry, started_ns=1))
            ended = entry.replace(status="settled", input_tokens=100)
            assert await asyncio.wrap_future(ledger.finish(ended))

    def work():
        for _ in range(20):
            make.settle(ledger, run)

    await asyncio.gather(*(task() for _ in range(8)), *(asyncio.to_thread(work) for _ in range(4)))
    assert ledger.totals(run.id).input_tokens == 12 * 20 * 100
    assert ledger.verify().ok


def test_a_ledger_that_stays_locked_fails_in_words_and_works_again(
    ledger, make, locked, monkeypatch
):
    monkeypatch.setattr(sqlite_store, "BUSY_SECONDS", 0.1)
    run = make.row()
    with pytest.raises(LedgerUnavailable, match=r"usage\.db is locked by another process"):
        ledger.open_run(run).result(5)
    locked.execute("ROLLBACK")
    make.settle(ledger, run)
    assert ledger.run(run.id) == run


def test_a_ledger_that_stays_locked_holds_up_the_first_and_not_every_request(
    ledger, make, locked, monkeypatch
):
    waited = []

    def begin(connection, *, patient, seconds):
        waited.append(seconds)
        sqlite.begin(connection, patient=patient, seconds=0.01)

    run = make.row()
    monkeypatch.setattr(sqlite_store, "begin", begin)
    for _ in range(3):
        with pytest.raises(LedgerUnavailable):
            ledger.open_run(run).result()
    locked.execute("ROLLBACK")
    ledger.open_run(run).result()
    ledger.open_run(run).result()
    patient, brief = sqlite_store.BUSY_SECONDS, sqlite_store.BRIEF_SECONDS
    assert waited == [patient, brief, brief, brief, patient]


def test_a_short_lock_is_waited_for(ledger, make, locked):
    threading.Timer(0.1, lambda: locked.execute("ROLLBACK")).start()
    run = make.run(ledger)
    assert ledger.run(run.id) == run


def test_a_full_disk_fails_in_words_and_what_comes_after_is_kept(ledger, make):
    """The run that could not be written is written with its first request that can be."""
    first = make.run(ledger)
    held = make.hold(ledger, first)
    connection = ledger._store._writing
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    failed = []
    for _ in range(100):
        future = ledger.hold(make.entry(first, tags={"filler": "x" * 200}), started_ns=1)
        if isinstance(future.exception(), LedgerUnavailable):
            failed.append(str(future.exception()))
    assert failed
    assert "the disk is full; make room" in failed[0]
    while True:
        run = make.row(first)
        if isinstance(ledger.open_run(run).exception(), LedgerUnavailable):
            break
    entry = make.entry(run)
    assert isinstance(ledger.hold(entry, started_ns=1).exception(), LedgerUnavailable)
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.finish(entry.replace(status="settled", input_tokens=5)).result()
    assert ledger.finish(held.replace(status="settled", input_tokens=5)).result()
    assert ledger.run(run.id) == run
    assert ledger.close_run(run.id, 5, "completed").result()
    assert ledger.verify().ok
    assert ledger._unopened == {}


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="limits are of POSIX")
def test_a_disk_that_takes_no_more_bytes_loses_nothing_that_was_committed(path, python):
    process = python(
        """
import resource
ledger = open_ledger(sys.argv[1])
run = open_run(ledger)
size = os.path.getsize(sys.argv[1] + "-wal") + 60_000
resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
kept, words = 0, ""
for _ in range(200):
    try:
        entry = held(run)
        ledger.hold(entry, started_ns=1).result()
        ledger.finish(settled(entry)).result()
        kept += 1
    except LedgerUnavailable as error:
        words = str(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.hold(entry := held(run), started_ns=1).result()
ledger.finish(settled(entry)).result()
totals = ledger.totals(run.id)
assert totals.requests == kept + 1, (totals, kept)
assert ledger.verify().ok, ledger.verify()
print(kept, words)
""",
        path,
    )
    output, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    kept, words = output.split(" ", 1)
    assert 0 < int(kept) < 200
    assert "usage.db cannot" in words
    assert "make room" in words


def test_a_full_queue_makes_threads_wait(path, make):
    store = Halting(path)
    queue = Writer(store, capacity=4)
    store.go.clear()
    futures: list = []
    threads = [
        threading.Thread(target=lambda: futures.append(queue.submit(OpenRun(make.row()))))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    assert len(queue._queue) <= 4
    assert len(futures) < 12
    store.go.set()
    for thread in threads:
        thread.join(5)
    assert [future.result(5) for future in futures] == [True] * 12
    queue.close()
    store.close()


async def test_a_full_queue_does_not_make_a_loop_wait(path, make):
    store = Halting(path)
    queue = Writer(store, capacity=4)
    store.go.clear()
    futures = [queue.submit(OpenRun(make.row())) for _ in range(6)]
    refused = [future for future in futures if future.done()]
    assert len(refused) == 2
    with pytest.raises(LedgerUnavailable, match="4 operations wait"):
        refused[0].result()
    store.go.set()
    queue.flush(5)
    assert sum(future.exception() is None for future in futures) == 4
    queue.close()
    store.close()


@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_in_the_midst_of_a_commit_loses_and_doubles_nothing(
    ledger, make, monkeypatch, after
):
    """Control-C reaches the thread that commits before or after the transaction ends."""
    run = make.run(ledger)
    done = make.hold(ledger, run).replace(status="settled", input_tokens=5)
    commit = ledger._store.commit
    interrupts = iter([True])

    def interrupted(operations, *, again=False, patient=True):
        if next(interrupts, False):
            if after:
                commit(operations, again=again, patient=patient)
            raise KeyboardInterrupt
        return commit(operations, again=again, patient=patient)

    monkeypatch.setattr(ledger._store, "commit", interrupted)
    for operation in (
        Hold(make.entry(run), 1),
        Finish(done, None, None, 1),
        CloseRun(run.id, 7, "completed"),
    ):
        item = _Item(operation)
        ledger._writer._queue.append(item)
        with pytest.raises(KeyboardInterrupt):
            ledger.open_run(make.row(run))
        ledger.flush(5)
        # Another thread that waits for its own part of that transaction learns that it is done.
        assert item.future.result(5) is True
        interrupts = iter([True])
    interrupts = iter([])
    assert len(ledger.runs()) == 4
    totals = ledger.totals(run.id)
    assert (totals.requests, totals.held, totals.input_tokens) == (1, 1, 5)
    assert ledger.run(run.id).outcome == "completed"
    assert ledger.verify().ok


def test_a_fault_of_the_store_fails_its_callers_and_not_the_writer(
    ledger, make, monkeypatch, caplog
):
    run = make.run(ledger)
    commit = ledger._store.commit

    def faulty(operations, *, again=False, patient=True):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(ledger._store, "commit", faulty)
    with pytest.raises(LedgerError, match="a fault of ours"):
        ledger.hold(make.entry(run), started_ns=1).result(5)
    assert "writer failed" in caplog.text
    monkeypatch.setattr(ledger._store, "commit", commit)
    make.settle(ledger, run)


def test_flush_says_when_it_takes_too_long(halting, make):
    ledger, store = halting
    run = make.run(ledger)

    async def ask():
        return ledger.hold(make.entry(run), started_ns=1)

    store.go.clear()
    future = asyncio.run(ask())
    with pytest.raises(LedgerUnavailable, match="still wait"):
        ledger.flush(0.05)
    store.go.set()
    ledger.flush(5)
    assert future.done()


def test_closing_while_others_write_loses_nothing_that_was_promised(path, make):
    """Each future ends: its row is in the ledger, or it says that the ledger is closed."""
    ledger = open_ledger(path)
    run = make.run(ledger)
    kept: list[str] = []
    refusals: list[str] = []
    stop = threading.Event()

    def work():
        while not stop.is_set():
            entry = make.entry(run)
            refusal = ledger.hold(entry, started_ns=1).exception(10)
            if refusal is not None:
                refusals.append(str(refusal))
                return
            kept.append(entry.id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    ledger.close()
    stop.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    with open_ledger(path) as again:
        assert {entry.id for entry in again.entries(run.id)} == set(kept)
        assert again.verify().ok
    assert kept
    assert all("closed" in words for words in refusals)


def test_the_log_goes_into_the_file_when_nothing_else_happens(ledger, make, monkeypatch, tmp_path):
    monkeypatch.setattr(writer, "TIDY_AFTER", 20)
    run = make.run(ledger)
    for _ in range(30):
        make.settle(ledger, run)
    copy = tmp_path / "copy.db"
    until = time.monotonic() + 5
    found = 0
    while found < 30 and time.monotonic() < until:
        time.sleep(0.02)
        # Without its log, the copy has only what was moved into the file.
        shutil.copy(ledger.path, copy)
        other = sqlite3.connect(copy)
        (found,) = other.execute("SELECT count(*) FROM entries").fetchone()
        other.close()
    assert found == 30


def test_the_log_does_not_grow_for_ever_under_load(ledger, make, monkeypatch):
    monkeypatch.setattr(writer, "TIDY_AFTER", 50)
    monkeypatch.setattr(writer, "TIDY_AT_LATEST", 100)
    run = make.run(ledger)
    log = ledger.path.with_name("usage.db-wal")
    sizes = []
    for _ in range(15):
        for _ in range(60):
            make.settle(ledger, run)
        sizes.append(log.stat().st_size)
    assert max(sizes) < sizes[0] * 8
    assert ledger.verify().ok


def ask(ledger, step):
    name, entry = step
    return ledger.hold(entry, started_ns=1) if name == "hold" else ledger.finish(entry)


async def all_at_once(ledger, steps):
    futures = [asyncio.wrap_future(ask(ledger, step)) for step in steps]
    return await asyncio.gather(*futures)


def test_batches_of_any_mixture_come_to_the_same_totals(path, make):
    """The same operations, one at a time or all at once, leave the same ledger."""
    rng = random.Random(7)
    sums = {}
    for at_once in (False, True):
        with open_ledger(path.with_name(f"{at_once}.db")) as ledger:
            rng.seed(7)
            run = make.run(ledger)
            steps = []
            for _ in range(60):
                entry = make.entry(run)
                steps.append(("hold", entry))
                for _ in range(rng.randrange(3)):
                    status = rng.choice(["settled", "released", "in_doubt"])
                    ended = entry.replace(status=status, input_tokens=rng.randrange(99))
                    steps.append(("finish", ended))

            if at_once:
                results = asyncio.run(all_at_once(ledger, steps))
            else:
                results = [ask(ledger, step).result() for step in steps]
            sums[at_once] = (results, ledger.totals(run.id))
            assert ledger.verify().ok
    assert sums[False] == sums[True]


async def test_a_loop_commits_by_itself_while_commits_are_quick(halting, make):
    ledger, store = halting
    store.swift = True
    run = make.row()
    ledger.open_run(run)
    await asyncio.wrap_future(ledger.hold(make.entry(run), started_ns=1))
    assert threading.current_thread().name in store.threads


async def test_a_loop_is_spared_for_a_while_after_a_commit_that_took_long(halting, make):
    ledger, store = halting
    store.swift = True
    run = make.row()
    commit = store.commit

    def slow(*arguments, **options):
        time.sleep(0.005)
        return commit(*arguments, **options)

    store.commit = slow
    ledger.open_run(run)
    await asyncio.wrap_future(ledger.hold(make.entry(run), started_ns=1))
    store.threads.clear()
    await asyncio.wrap_future(ledger.hold(make.entry(run), started_ns=1))
    assert store.threads == {"tallystick-ledger-writer"}


async def test_a_loop_does_not_wait_for_another_process(ledger, make, locked):
    """Where another writes, the thread waits for it, and the loop goes on."""
    run = make.row()
    ledger.open_run(run)
    began = time.monotonic()
    held = ledger.hold(make.entry(run), started_ns=1)
    assert time.monotonic() - began < 0.5
    assert not held.done()
    locked.execute("ROLLBACK")
    await asyncio.wrap_future(held)


async def test_what_lingers_is_written_soon_by_itself(ledger, make):
    """An ending that nobody waits for is committed with the next row, or within moments."""
    run = make.row()
    ledger.open_run(run)
    for _ in range(3):
        entry = make.entry(run)
        await asyncio.wrap_future(ledger.hold(entry, started_ns=1))
        ended = ledger.finish(entry.replace(status="settled", outcome="completed"))
    for _ in range(100):
        if ended.done():
            break
        await asyncio.sleep(0.01)
    assert ended.result() is True


def test_an_interrupt_between_the_beginning_of_a_transaction_and_its_work_is_undone(
    ledger, make, monkeypatch
):
    """The file would stay locked for everybody, and no later commit could begin."""
    run = make.run(ledger)

    def begin(connection, **options):
        sqlite.begin(connection, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(sqlite_store, "begin", begin)
    with pytest.raises(KeyboardInterrupt):
        ledger.open_run(make.row())
    monkeypatch.undo()
    make.settle(ledger, run)
    with open_ledger(ledger.path) as other:
        make.settle(other, make.run(other))
