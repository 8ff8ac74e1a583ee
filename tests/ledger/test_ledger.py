"""What is written to a ledger, and what is read from it."""

from __future__ import annotations

import dataclasses
import sqlite3
from types import MappingProxyType

import pytest

from tallystick.attribution import Attribution
from tallystick.errors import LedgerError, LedgerUnavailable, NotFound
from tallystick.ledger import RunTotals, open_ledger


def test_a_run_comes_back_as_it_was_written(ledger, make):
    who = Attribution("acme", "u1", None, "s-42", MappingProxyType({"team": "red"}))
    run = dataclasses.replace(make.row(name="Reise ✈"), attribution=who)
    assert ledger.open_run(run).result()
    assert ledger.run(run.id) == run
    assert ledger.runs() == [run]


def test_a_run_ends_once_and_keeps_how_it_first_ended(ledger, make):
    run = make.run(ledger)
    assert ledger.close_run(run.id, run.started_at + 5, "completed").result() is True
    assert ledger.close_run(run.id, run.started_at + 9, "failed").result() is False
    closed = ledger.run(run.id)
    assert (closed.ended_at, closed.outcome) == (run.started_at + 5, "completed")


def test_closing_a_run_that_was_never_opened_is_refused(ledger):
    with pytest.raises(LedgerError, match="no run 'run_x'"):
        ledger.close_run("run_x", 5, "completed").result()


def test_an_entry_is_in_the_ledger_as_held_before_its_request_leaves(ledger, make):
    """I2: the hold is committed when its future is done, as another connection can see."""
    run = make.run(ledger)
    entry = make.hold(ledger, run)
    other = sqlite3.connect(ledger.path)
    assert other.execute("SELECT id, status FROM entries").fetchall() == [(entry.id, "held")]
    other.close()


def test_a_second_settlement_changes_nothing(ledger, make):
    """I3: each hold ends exactly once, and the totals stay those of the first end."""
    run = make.run(ledger)
    entry = make.settle(ledger, run)
    assert ledger.finish(entry.replace(input_tokens=7)).result() is False
    assert ledger.finish(entry.replace(status="released")).result() is False
    assert ledger.finish(entry.replace(status="in_doubt")).result() is False
    assert ledger.entry(entry.id) == entry.replace(started_at=ledger.entry(entry.id).started_at)
    assert ledger.totals(run.id).input_tokens == 100


def test_an_id_is_held_only_once(ledger, make):
    run = make.run(ledger)
    entry = make.hold(ledger, run)
    with pytest.raises(LedgerError, match="UNIQUE"):
        ledger.hold(entry, started_ns=1).result()
    assert len(ledger.entries(run.id)) == 1


@pytest.mark.parametrize("status", ["settled", "released"])
def test_an_entry_in_doubt_can_be_settled_or_released_once(ledger, make, status):
    run = make.run(ledger)
    entry = make.hold(ledger, run).replace(
        status="in_doubt", input_tokens=50, estimated=True, cost_nanodollars=900
    )
    assert ledger.finish(entry).result() is True
    assert ledger.finish(entry).result() is False
    doubt = ledger.totals(run.id)
    assert (doubt.requests, doubt.in_doubt, doubt.estimated) == (1, 1, 1)
    assert (doubt.input_tokens, doubt.cost_nanodollars) == (50, 900)
    found = make.entry(run, id=entry.id, status=status)
    if status == "settled":
        found = found.replace(input_tokens=80, output_tokens=8, cost_nanodollars=1000)
    assert ledger.finish(found).result() is True
    assert ledger.finish(found).result() is False
    after = ledger.totals(run.id)
    if status == "settled":
        assert after == RunTotals(
            requests=1, input_tokens=80, output_tokens=8, total_tokens=88, cost_nanodollars=1000
        )
    else:
        assert after == RunTotals(released=1)
    assert ledger.verify().ok


def test_an_entry_whose_hold_was_lost_is_kept_when_it_ends(ledger, make):
    run = make.run(ledger)
    entry = make.entry(run, status="settled", input_tokens=5, output_tokens=1)
    assert ledger.finish(entry, duration_ns=1_000_000).result() is True
    assert ledger.finish(entry).result() is False
    assert ledger.totals(run.id).requests == 1
    assert ledger.verify().ok


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE entries SET input_tokens = 1", "settled or released never changes"),
        ("UPDATE entries SET status = 'held'", "only by ending"),
        ("DELETE FROM entries", "never deleted"),
        ("DELETE FROM runs", "never deleted"),
        (("INSERT INTO entries (id, run_id, process_id, status, started_at) "
         "SELECT 'x', run_id, process_id, 'settled', 1 FROM entries"), "begins as held"),
        (("INSERT INTO entries (id, run_id, process_id, status, started_at, input_tokens) "
         "SELECT 'x', run_id, process_id, 'held', 1, -1 FROM entries"), "CHECK"),
        (("INSERT INTO entries (id, run_id, process_id, status, started_at, input_tokens) "
         "SELECT 'x', run_id, process_id, 'held', 1, 'many' FROM entries"), "CHECK"),
        ("UPDATE run_totals SET requests = -1", "CHECK"),
    ],
)  # fmt: skip
def test_the_file_itself_refuses_what_must_not_happen(ledger, make, change, words):
    """I7: a settled entry never changes, whichever program opens the file."""
    make.settle(ledger, make.run(ledger))
    other = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match=words):
        other.execute(change)
    other.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE entries SET id = 'x', status = 'settled', finished_at = 1", "never change"),
        ("UPDATE entries SET started_at = 1, status = 'settled', finished_at = 1", "never change"),
        ("UPDATE entries SET model = 'x'", "only by ending"),
        ("UPDATE entries SET status = 'paid'", "CHECK"),
        ("UPDATE entries SET status = 'settled'", "CHECK"),
    ],
)
def test_a_held_entry_can_only_end_and_keeps_its_identity(ledger, make, change, words):
    make.hold(ledger, make.run(ledger))
    other = sqlite3.connect(ledger.path)
    with pytest.raises(sqlite3.IntegrityError, match=words):
        other.execute(change)
    other.close()


def test_totals_of_a_run_are_what_its_usage_says(ledger, make):
    """I6: the totals beside the entries, the entries and the Usage are the same sums."""
    run = make.run(ledger)
    make.settle(ledger, run, input_tokens_details={"cached_tokens": 60, "cache_write_tokens": 3})
    make.settle(ledger, run, cost_nanodollars=5, output_tokens_details={"reasoning_tokens": 7})
    make.settle(ledger, run, cost_nanodollars=7, cost_estimated=True)
    make.settle(ledger, run, input_tokens=None, output_tokens=None, error_type="500")
    doubt = make.hold(ledger, run).replace(status="in_doubt", input_tokens=9, estimated=True)
    assert ledger.finish(doubt).result()
    assert ledger.finish(make.hold(ledger, run).replace(status="released")).result()
    make.hold(ledger, run)
    usage, totals = ledger.usage(run.id), ledger.totals(run.id)
    assert totals == RunTotals(
        requests=usage.requests,
        held=1,
        released=1,
        in_doubt=usage.in_doubt,
        estimated=usage.estimated,
        input_tokens=usage.input_tokens,
        cached_tokens=usage.input_tokens_details.cached_tokens,
        cache_write_tokens=usage.input_tokens_details.cache_write_tokens,
        output_tokens=usage.output_tokens,
        reasoning_tokens=usage.output_tokens_details.reasoning_tokens,
        total_tokens=usage.total_tokens,
        cost_nanodollars=usage.cost.nanodollars,
        cost_unpriced=usage.cost.unpriced,
        cost_estimated=usage.cost.estimated,
    )
    assert (totals.requests, totals.input_tokens, totals.cost_nanodollars) == (5, 309, 12)
    assert ledger.verify().ok


def test_a_childs_requests_count_once_in_the_child_and_once_in_each_ancestor(ledger, make):
    """I8, over three generations."""
    top = make.run(ledger)
    child = make.run(ledger, top, "child")
    sibling = make.run(ledger, top, "sibling")
    grandchild = make.run(ledger, child, "grandchild")
    for run, tokens in ((top, 1), (child, 10), (sibling, 100), (grandchild, 1000)):
        make.settle(ledger, run, input_tokens=tokens)
    for run, tokens, requests in ((top, 1111, 4), (child, 1010, 2), (grandchild, 1000, 1)):
        totals = ledger.totals(run.id)
        assert (totals.input_tokens, totals.requests) == (tokens, requests)
        assert ledger.usage(run.id).input_tokens == tokens
        assert len(ledger.entries(run.id)) == requests
    assert ledger.totals(top.id, children=False).input_tokens == 1
    assert [entry.input_tokens for entry in ledger.entries(child.id, children=False)] == [10]
    assert ledger.descendants(top.id) == [child, sibling, grandchild]
    assert ledger.runs(top=True) == [top]


def test_entries_come_in_the_order_in_which_their_requests_were_sent(ledger, make):
    run = make.run(ledger)
    late, early = make.entry(run), make.entry(run)
    ledger.hold(late, started_ns=2_000_000_000).result()
    ledger.hold(early, started_ns=1_000_000_000).result()
    assert [entry.id for entry in ledger.entries(run.id)] == [early.id, late.id]


def test_a_run_is_found_by_the_beginning_of_its_id(ledger, make):
    one = dataclasses.replace(make.row(), id="run_aab1", root_id="run_aab1")
    two = dataclasses.replace(make.row(), id="run_aac2", root_id="run_aac2")
    for run in (one, two):
        ledger.open_run(run).result()
    assert ledger.run("run_aab") == one
    assert ledger.run("aac") == two
    with pytest.raises(NotFound, match="several runs: run_aab1, run_aac2"):
        ledger.run("aa")
    for nothing in ("run_b", "", "%", "run_aab1x"):
        with pytest.raises(NotFound):
            ledger.run(nothing)


def test_runs_are_listed_newest_first_and_by_name_and_time(ledger, make):
    runs = [
        dataclasses.replace(make.row(name=name), started_at=started)
        for started, name in ((10, "a"), (20, "b"), (30, "a"))
    ]
    for run in runs:
        ledger.open_run(run).result()
    first, second, third = runs
    assert ledger.runs() == [third, second, first]
    assert ledger.runs(limit=2) == [third, second]
    assert ledger.runs(since=20) == [third, second]
    assert ledger.runs(name="a") == [third, first]


@pytest.mark.parametrize("read", ["entries", "usage", "totals", "descendants"])
def test_reading_a_run_that_is_not_there_says_so(ledger, read):
    with pytest.raises(NotFound, match="run_x"):
        getattr(ledger, read)("run_x")


def test_what_may_not_be_written_fails_by_its_future_only(ledger, make):
    run = make.run(ledger)
    for future in (
        ledger.hold(make.entry(run).replace(id=None), started_ns=1),
        ledger.hold(make.entry(make.row()), started_ns=1),
        ledger.finish(make.entry(run)),
        ledger.hold(make.entry(run, turn=2**70), started_ns=1),
        ledger.hold(make.entry(run, model=object()), started_ns=1),
        ledger.open_run(make.row(make.row())),
    ):
        assert isinstance(future.exception(), LedgerError)
        assert not isinstance(future.exception(), LedgerUnavailable)
    assert ledger.entries(run.id) == []
    assert ledger.verify().ok


def test_a_ledger_in_memory_does_the_same(make):
    with open_ledger(":memory:") as ledger:
        run = make.run(ledger)
        entry = make.settle(ledger, run)
        assert ledger.entries(run.id)[0].input_tokens == entry.input_tokens
        assert ledger.verify().ok
        assert ledger.path is None


def test_a_closed_ledger_refuses_by_future_and_closes_again(ledger, make):
    run = make.run(ledger)
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.hold(make.entry(run), started_ns=1).result(5)
    with pytest.raises(LedgerUnavailable, match="closed"):
        ledger.runs()
    ledger.flush()


def test_closing_puts_in_doubt_what_nobody_will_finish(path, make):
    """I4: what was dispatched keeps its hold; and its run is told from one that completed."""
    with open_ledger(path) as ledger:
        run = make.run(ledger)
        entry = make.hold(ledger, run)
    with open_ledger(path) as ledger:
        assert ledger.entry(entry.id).status == "in_doubt"
        assert ledger.run(run.id).outcome == "interrupted"
        assert ledger.verify().ok
