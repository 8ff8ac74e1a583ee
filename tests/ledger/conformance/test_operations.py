"""What each operation does to a store, in which order, how often, and with what else."""

from __future__ import annotations

import hashlib
import threading

import pytest

from tallystick.errors import LedgerError
from tallystick.ledger import Adjustment, Amounts, BudgetRow, Claim, Ended, Granted
from tallystick.ledger.adjustment import packed
from tallystick.ledger.store import (
    Abandon,
    Adjust,
    CloseRun,
    Hold,
    KeepBook,
    OpenRun,
    Reconcile,
    RemoveBudget,
    SetBudget,
    TopUp,
)

MOST = Amounts(100, 44, 1)
"""What `ASK` comes to where nothing limits it."""

BOOK = hashlib.sha256(b"x").hexdigest()[:16]

COUNTS = {"input_tokens": 70, "output_tokens": 9, "cost_nanodollars": 500}


def adjustment(entry, amount, batch="one"):
    return Adjustment(entry.id, "settled", None, "rule", None, amount, False, batch, 5)


def test_a_run_is_opened_once_and_ends_once(write):
    run = write.row()
    assert write.do(OpenRun(run)) is True
    assert write.do(OpenRun(run)) is False
    assert write.do(CloseRun(run.id, 7, "completed")) is True
    assert write.do(CloseRun(run.id, 8, "failed")) is False
    assert write.store.query("SELECT ended_at, outcome FROM runs") == [(7, "completed")]
    assert isinstance(write.do(CloseRun("run_x", 8, "failed")), LedgerError)


@pytest.mark.parametrize("status", ["settled", "released", "in_doubt"])
def test_an_entry_is_held_and_ends_once(write, status):
    """I3, and the totals of its run are those of its end."""
    run = write.run()
    entry = write.entry(run)
    assert write.do(Hold(entry, 5)) is True
    assert isinstance(write.do(Hold(entry, 6)), LedgerError)
    assert write.end(entry, status, **COUNTS) is True
    assert write.end(entry, status, **COUNTS) is False
    assert write.status(entry) == status
    requests = int(status != "released")
    totals = "SELECT requests, input_tokens, cost_nanodollars FROM run_totals"
    rollups = totals.replace("run_totals", "rollups")
    expected = [(requests, 70 * requests, 500 * requests)]
    assert write.store.query(totals) == write.store.query(rollups) == expected


def test_runs_that_were_not_written_are_written_with_the_first_request(write):
    top = write.row()
    child = write.row(top)
    assert write.do(Hold(write.entry(child), 5, (top, child))) is True
    other = write.row()
    late = write.ending(write.entry(other))
    assert isinstance(write.do(late), LedgerError)
    assert write.do(CloseRun(other.id, 9, "completed", (other,))) is True
    assert len(write.store.query("SELECT id FROM runs")) == 3


def test_an_operation_that_cannot_be_done_fails_alone(write):
    run = write.run()
    first, second = write.entry(run), write.entry(run)
    results = write.store.commit(
        [
            Hold(first, 5),
            Hold(first, 5),
            Hold(write.entry(write.row()), 5),
            write.ending(first, **COUNTS),
            Hold(second, 5),
        ]
    )
    assert [isinstance(result, LedgerError) for result in results] == [0, 1, 1, 0, 0]
    assert write.status(first) == "settled"
    assert write.status(second) == "held"


def test_a_fault_in_the_midst_of_a_transaction_leaves_nothing_of_it(write):
    run = write.run()
    before = write.content()
    with pytest.raises(AttributeError):
        write.store.commit([Hold(write.entry(run), 5), Hold(None, 5)])
    assert write.content() == before
    assert write.hold(run).status == "held"


def test_what_dead_processes_left_is_in_doubt_or_released_with_its_holds(write, claimed):
    """I4: only what was provably never sent is released."""
    claim = claimed(1_000)
    run = write.run()
    sent, unsent = write.hold(run, claim), write.hold(run, claim)
    process = write.store.process_id
    assert write.do(Abandon((process,), 9, {process: frozenset({sent.id})})) is True
    assert (write.status(sent), write.status(unsent)) == ("in_doubt", "released")
    assert write.store.query("SELECT outcome FROM runs") == [("interrupted",)]
    assert write.balance(claim).held == MOST
    assert write.do(Abandon((process,), 10)) is False


def test_a_book_is_kept_once(write):
    assert write.do(KeepBook(BOOK, packed(b"x"), 5)) is True
    assert write.do(KeepBook(BOOK, packed(b"y"), 6)) is False
    rows = write.store.query("SELECT content, kept_at FROM books")
    assert [(bytes(content), at) for content, at in rows] == [(packed(b"x"), 5)]


def test_adjustments_are_appended_all_or_none(write):
    run = write.run()
    one, other = write.hold(run), write.hold(run)
    for entry in (one, other):
        write.end(entry, **COUNTS)
    failed = write.do(Adjust((adjustment(one, 7), adjustment(other, -1))))
    assert isinstance(failed, LedgerError)
    assert write.do(Adjust((adjustment(one, 7), adjustment(other, 500)))) == 1
    assert write.store.query("SELECT sum(cost_nanodollars) FROM rollups") == [(507,)]
    assert write.do(Adjust((adjustment(one, 9),))) == 0, "the same batch"


def test_an_entry_in_doubt_is_reconciled_with_its_trail_and_its_holds(write, claimed):
    claim = claimed(1_000)
    entry = write.hold(write.run(), claim)
    settled = entry.replace(status="settled", **COUNTS)
    operation = Reconcile(settled, None, 9, "by hand", "the invoice")
    assert write.do(operation) is False
    write.end(entry, "in_doubt")
    assert write.balance(claim).held == MOST
    assert write.do(operation) is True
    assert write.do(operation) is False
    assert (write.balance(claim).spent, write.balance(claim).held) == ((500, 79, 1), (0, 0, 0))
    assert len(write.store.query("SELECT * FROM reconciliations")) == 1


def done_twice(write, name):
    """Return an operation of each kind, ready to be done."""
    run = write.run()
    claim = Claim(write.budget("kept", limits=Amounts(1_000, None, None)), "all")
    settled = write.hold(run, claim)
    doubtful = write.hold(run)
    write.end(settled, **COUNTS)
    write.end(doubtful, "in_doubt")
    held = write.hold(run, claim)
    now = write.clock.now()
    moved = BudgetRow("budget_new", "kept", "day", Amounts(5, None, None), now)
    limited = BudgetRow("budget_same", "kept", "all", Amounts(700, None, None), now)
    return {
        "open run": lambda: OpenRun(write.row()),
        "close run": lambda: CloseRun(run.id, 7, "completed"),
        "hold": lambda: Hold(write.entry(run), 5),
        "hold on budgets": lambda: write.asking(write.entry(run), claim),
        "settle": lambda: write.ending(held, **COUNTS),
        "settle on budgets": lambda: write.ending(held, budgeted=True, **COUNTS),
        "release": lambda: write.ending(held, "released"),
        "doubt": lambda: write.ending(held, "in_doubt"),
        "abandon": lambda: Abandon((write.store.process_id,), 9),
        "keep a book": lambda: KeepBook(BOOK, packed(b"x"), 5),
        "adjust": lambda: Adjust((adjustment(settled, 7),)),
        "reconcile": lambda: Reconcile(doubtful.replace(status="released"), None, 9, "me", ""),
        "set a budget": lambda: SetBudget(limited),
        "move a budget": lambda: SetBudget(moved),
        "remove a budget": lambda: RemoveBudget(claim.budget.id, now),
        "top up": lambda: TopUp(claim, Amounts(50, None, None), now),
    }[name]()


@pytest.mark.parametrize(
    "name",
    [
        "open run", "close run", "hold", "hold on budgets", "settle", "settle on budgets",
        "release", "doubt", "abandon", "keep a book", "adjust", "reconcile", "set a budget",
        "move a budget", "remove a budget", "top up",
    ],
)  # fmt: skip
def test_what_was_done_already_is_not_done_again(write, name):
    """A commit of which nobody knows whether it was made is made again, and counts once."""
    operation = done_twice(write, name)
    first = write.do(operation)
    assert first is not False
    assert not isinstance(first, LedgerError)
    after = write.content()
    second = write.do(operation, again=True)
    assert write.content() == after
    if isinstance(first, Granted):
        assert second.output_tokens == first.output_tokens
    elif isinstance(first, Ended):
        assert second.changed
    elif name not in ("adjust", "abandon"):
        assert second is True


def test_two_stores_of_one_ledger_see_each_others_rows(write, another):
    run = write.run()
    entry = write.hold(run)
    (ended,) = another.commit([write.ending(entry, **COUNTS)])
    assert ended is True
    assert write.end(entry, **COUNTS) is False
    assert another.query("SELECT requests FROM run_totals") == [(1,)]


def test_two_stores_that_write_at_once_never_hold_more_than_the_limit(write, another, claimed):
    """I1, whichever process asks first."""
    claim = claimed(2_550)
    run = write.run()
    granted, refused = [], []

    def ask(store):
        for _ in range(25):
            (result,) = store.commit([write.asking(write.entry(run), claim)])
            (granted if isinstance(result, Granted) else refused).append(result)

    threads = [threading.Thread(target=ask, args=(store,)) for store in (write.store, another)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Twenty-five whole ones; what is left of the limit is under the least of another.
    assert (len(granted), len(refused)) == (25, 25)
    assert write.balance(claim).held.nanodollars == 2_500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE entries SET input_tokens = 1", "settled or released never changes"),
        ("DELETE FROM entries", "never deleted"),
        ("UPDATE runs SET name = 'x'", "that has ended never changes"),
        ("DELETE FROM runs", "never deleted"),
        ("UPDATE adjustments SET cost_nanodollars = 1", "never changes"),
        ("DELETE FROM adjustments", "never deleted"),
        ("UPDATE books SET kept_at = 1", "never changes"),
        ("DELETE FROM books", "never deleted"),
        ("UPDATE holds SET spent_nanodollars = 1", "only by ending, and once"),
        ("UPDATE holds SET nanodollars = 1", "never changes|only by ending"),
        ("DELETE FROM holds", "never deleted"),
        ("DELETE FROM balances", "never deleted"),
        ("UPDATE balances SET held_nanodollars = 2000", "CHECK"),
        ("UPDATE balances SET held_tokens = 2000", "CHECK"),
        ("UPDATE balances SET held_requests = 2000", "CHECK"),
        ("UPDATE balances SET spent_tokens = -1", "CHECK"),
        ("DELETE FROM budgets", "never deleted"),
        ("UPDATE budget_changes SET made_at = 1", "never changes"),
        ("DELETE FROM budget_changes", "never deleted"),
        ("DELETE FROM rollups", "never deleted"),
        ("UPDATE rollups SET requests = -1", "CHECK"),
        ("UPDATE subjects SET model = 'x'", "never changes"),
        ("DELETE FROM subjects", "never deleted"),
        ("INSERT INTO subjects (model) VALUES ('gpt-5')", "UNIQUE"),
    ],
)
def test_the_database_itself_refuses_what_must_not_happen(write, database, claimed, change, words):
    """I7, whichever program opens it."""
    run = write.run()
    entry = write.hold(run, claimed(1_000, 1_000, 1_000))
    write.end(entry, **COUNTS)
    write.do(Adjust((adjustment(entry, 7),)))
    write.do(KeepBook(BOOK, packed(b"x"), 5))
    write.do(CloseRun(run.id, 7, "completed"))
    before = write.content()
    with pytest.raises(Exception, match=words):
        database.execute(change)
    assert write.content() == before
