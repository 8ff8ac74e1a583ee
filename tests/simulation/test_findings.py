"""What the simulation found, or the making of it: each in the smallest form that shows it."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import tallystick
from tallystick import Budget
from tallystick.clock import Clock
from tallystick.errors import LedgerUnavailable
from tallystick.ledger import Ledger
from tallystick.ledger.location import locate
from tallystick.ledger.sqlite_store import SqliteStore
from tallystick.ledger.store import Hold, OpenRun
from tallystick.pricing import Prices
from tallystick.recorder import Recorder

OPEN_AND_CLOSE = """
import sys
from tallystick.ledger import open_ledger
with open_ledger(sys.argv[1]) as ledger:
    print(*sorted(run.name for run in ledger.runs()))
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "usage.db"


class Broken(SqliteStore):
    """A store that fails once: before it writes, or after."""

    before: type | None = None
    after: type | None = None

    def commit(self, operations, **options):
        if self.before is not None and any(isinstance(each, self.before) for each in operations):
            self.before = None
            raise LedgerUnavailable("the disk is full")
        results = super().commit(operations, **options)
        if self.after is not None and any(isinstance(each, self.after) for each in operations):
            self.after = None
            raise LedgerUnavailable("the disk failed, and who knows what it kept")
        return results


def broken(path):
    clock = Clock()
    store = Broken(locate(str(path)), clock=clock)
    ledger = Ledger(store, clock=clock)
    return store, tallystick.Tally(Recorder(ledger, Prices(), clock))


def test_a_second_tally_does_not_cost_the_first_what_it_commits_later(path):
    """I2: a file's locks are the process's, and whoever closes it in this process loses them."""
    command = [sys.executable, "-c", OPEN_AND_CLOSE, str(path)]
    with tallystick.open(path) as first, tallystick.open(path):
        with first.run("before"):
            pass
        # The process that closes a file as the last one removes its log.
        assert subprocess.check_output(command, text=True) == "before\n"
        with first.run("later"):
            pass
        first.flush()
        assert subprocess.check_output(command, text=True) == "before later\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="blocks are counted as on Linux")
def test_the_marks_of_what_is_sent_have_their_room_on_the_disk_beforehand(path):
    """Where the disk is full, a mark in a file with holes kills the process with SIGBUS."""
    with tallystick.open(path) as tally:
        with tally.run("run"):
            pass
        (marks,) = path.with_name("usage.db-processes").iterdir()
        found = marks.stat()
        assert found.st_blocks * 512 >= found.st_size > 0


async def test_a_task_cancelled_in_a_warning_hook_frees_what_was_never_sent(path):
    """I4 lets release what was provably never sent."""
    warned = asyncio.Event()

    class Hooks:
        async def on_budget_warning(self, run, balance):
            if not warned.is_set():
                warned.set()
                await asyncio.sleep(60)

    async def work(tally):
        budget = Budget(requests=0, on_exceeded="warn")
        async with tally.run("run", budget=budget, hooks=Hooks()) as run:
            async with run.request(model="m", max_input_tokens=1, max_output_tokens=1):
                pytest.fail("it was cancelled before")

    with tallystick.open(path) as tally:
        working = asyncio.ensure_future(work(tally))
        await asyncio.wait_for(warned.wait(), 10)
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
        tally.flush()
        assert tally.ledger.query("SELECT status FROM entries") == [("released",)]


def test_what_may_have_been_held_although_the_disk_failed_is_marked_as_sent(path):
    """I4: else the next process takes the row for one that never left, and releases it."""
    store, tally = broken(path)
    with tally.run("run") as run:
        store.after = Hold
        request = run.request(model="m")
        request.hold()
        store._processes._marks._map.flush()
        assert request.id in store.sent_by(store.process_id)
        request.settle({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    tally.close()


def test_a_run_inside_one_that_could_not_be_written_loses_no_request(path):
    """I2: when there is room again, both runs are written with the first request."""
    store, tally = broken(path)
    store.before = OpenRun
    with tally.run("outer"), tally.run("inner") as run:
        with run.request(model="m") as request:
            request.settle({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
    tally.flush()
    assert tally.ledger.query("SELECT status FROM entries") == [("settled",)]
    assert len(tally.ledger.runs()) == 2
    tally.close()


def test_a_limit_changed_after_a_run_has_ended_is_no_problem_to_verify(path):
    """I6: the balance of an ended run keeps the limit that it had."""
    clock = Clock()
    with tallystick.open(path) as tally:
        for requests in (5, 3):
            budget = Budget(requests=requests, warn_at=None)
            row = budget.row(clock.id("budget"), clock.now(), name="house")
            assert tally.ledger.set_budget(row).result()
            with tally.run("run") as run, run.request(model="m") as request:
                request.settle({"usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        tally.flush()
        assert tally.ledger.verify().problems == ()
