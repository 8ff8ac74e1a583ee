"""What is in doubt ends once, in one step, with its trail; and its holds end with it (I3, I4)."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from tallystick.errors import LedgerError
from tallystick.ledger import Amounts, Ask, BudgetRow, Claim, open_ledger
from tallystick.ledger.store import Reconcile

MONTH = "2026-11"


@pytest.fixture
def run(ledger, make):
    return make.run(ledger)


@pytest.fixture
def doubtful(ledger, make, run):
    """Put a request in doubt, with an estimate of 400 and 100 tokens."""

    def make_one(**fields):
        entry = make.hold(ledger, run).replace(
            status="in_doubt",
            outcome="error",
            error_type="ReadTimeout",
            input_tokens=400,
            output_tokens=100,
            estimated=True,
            cost_nanodollars=900,
            cost_estimated=True,
            duration=1.5,
            **fields,
        )
        raw = {"prompt_tokens": 7}
        assert ledger.finish(entry, raw_usage=raw, duration_ns=1_500_000_000).result(10)
        return ledger.entry(entry.id)

    return make_one


def settled(entry, **fields):
    known = {"input_tokens": 300, "output_tokens": 50, "cost_nanodollars": 500, **fields}
    return entry.replace(
        status="settled", total_tokens=None, estimated=False, cost_estimated=False, **known
    )


def test_settling_keeps_who_and_how_and_writes_what_was_there_before(ledger, doubtful, run):
    entry = doubtful(agent="Triage", customer="acme")
    after = settled(entry)
    assert ledger.reconcile(after, source="by hand", detail="seen on the invoice").result() is True
    found = ledger.entry(entry.id)
    assert found == after
    assert (found.outcome, found.error_type, found.duration) == ("error", "ReadTimeout", 1.5)
    assert ledger.raw_usage(entry.id) == {"prompt_tokens": 7}
    (made,) = ledger.reconciliations()
    assert (made.entry_id, made.status, made.source) == (entry.id, "settled", "by hand")
    assert made.detail == "seen on the invoice"
    assert made.previous == {
        "input_tokens": 400, "output_tokens": 100, "total_tokens": 500,
        "cost_nanodollars": 900, "estimated": 1, "cost_estimated": 1,
    }  # fmt: skip
    totals = ledger.totals(run.id)
    assert (totals.requests, totals.in_doubt, totals.estimated) == (1, 0, 0)
    assert (totals.input_tokens, totals.cost_nanodollars) == (300, 500)
    assert ledger.verify().problems == ()


def test_what_the_provider_said_since_replaces_what_was_seen_before(ledger, doubtful):
    entry = doubtful()
    done = ledger.reconcile(settled(entry), source="a", detail="b", raw_usage={"input": 300})
    assert done.result()
    assert ledger.raw_usage(entry.id) == {"input": 300}


def test_a_released_entry_is_in_no_total_and_keeps_its_trail(ledger, doubtful, run):
    entry = doubtful()
    after = entry.replace(
        status="released", input_tokens=None, output_tokens=None, total_tokens=None,
        cost_nanodollars=None, estimated=False, cost_estimated=False,
    )  # fmt: skip
    assert ledger.reconcile(after, source="by hand", detail="never sent").result()
    totals = ledger.totals(run.id)
    assert (totals.requests, totals.released, totals.cost_nanodollars) == (0, 1, 0)
    assert [made.status for made in ledger.reconciliations(entry.id)] == ["released"]
    assert ledger.verify().problems == ()


def test_it_ends_once_and_a_second_time_changes_nothing(ledger, doubtful):
    """I3."""
    entry = doubtful()
    assert ledger.reconcile(settled(entry), source="by hand", detail="first").result() is True
    other = settled(entry, input_tokens=1)
    assert ledger.reconcile(other, source="by hand", detail="second").result() is False
    assert ledger.entry(entry.id).input_tokens == 300
    assert [made.detail for made in ledger.reconciliations()] == ["first"]


def test_what_is_held_or_settled_is_not_reconciled(ledger, make, run):
    for entry in (make.hold(ledger, run), make.settle(ledger, run)):
        assert ledger.reconcile(settled(entry), source="a", detail="b").result() is False
        assert ledger.entry(entry.id).status == entry.status
    assert ledger.reconciliations() == []


def test_only_settled_and_released_are_ends(ledger, doubtful):
    entry = doubtful()
    with pytest.raises(LedgerError, match="in_doubt"):
        ledger.reconcile(entry, source="a", detail="b").result()


def test_a_commit_that_is_tried_again_is_done_once_and_knows_its_own(ledger, doubtful):
    entry = doubtful()
    mine = Reconcile(settled(entry), None, 5, "by hand", "mine")
    theirs = Reconcile(settled(entry), None, 5, "by hand", "theirs")
    commit = ledger._store.commit
    assert commit([mine]) == [True]
    assert commit([mine], again=True) == [True]
    assert commit([theirs], again=True) == [False]
    assert len(ledger.reconciliations()) == 1


def test_where_the_trail_cannot_be_written_the_entry_stays_in_doubt(ledger, doubtful):
    """Both or neither: the trail's own rules refuse it, and what else is asked goes through."""
    entry, other = doubtful(), doubtful()
    refused = Reconcile(settled(entry), None, None, "by hand", "no time")
    fine = Reconcile(settled(other), None, 5, "by hand", "fine")
    results = ledger._store.commit([refused, fine])
    assert isinstance(results[0], LedgerError)
    assert results[1] is True
    assert [one.id for one in ledger.in_doubt()] == [entry.id]
    assert [made.entry_id for made in ledger.reconciliations()] == [other.id]
    assert ledger.verify().problems == ()


def test_what_is_in_doubt_is_read_by_its_time(ledger, doubtful):
    first, second = doubtful(), doubtful()
    assert [one.id for one in ledger.in_doubt()] == [first.id, second.id]
    between = int(second.started_at.timestamp() * 1e9) + 10**9
    assert len(ledger.in_doubt(until=between)) == 2
    assert ledger.in_doubt(since=between) == []


@pytest.mark.parametrize(("end", "spent"), [("settled", (500, 350, 1)), ("released", (0, 0, 0))])
def test_holds_become_spent_by_the_actual_or_free(ledger, make, run, end, spent):
    """I4: the hold stays charged until then."""
    budget = BudgetRow("bud_1", "all", "month", Amounts(10_000, 10_000, 10), make.clock.now())
    assert ledger.set_budget(budget).result()
    entry = make.entry(run)
    assert ledger.hold(
        entry,
        started_ns=make.clock.now(),
        ask=Ask(1_000, 10, 600, 1, 100, 100),
        claims=(Claim(budget, MONTH),),
        version=ledger.budget_version(),
    ).result()
    in_doubt = entry.replace(status="in_doubt", input_tokens=400, output_tokens=9, estimated=True)
    assert ledger.finish(in_doubt, budgeted=True).result()
    (balance,) = ledger.balances("bud_1")
    assert (balance.held, balance.spent) == (Amounts(2_000, 700, 1), Amounts(0, 0, 0))
    assert ledger.held_in_doubt() == {entry.id: Amounts(2_000, 700, 1)}
    after = settled(in_doubt).replace(status=end)
    assert ledger.reconcile(after, source="by hand", detail="seen").result()
    (balance,) = ledger.balances("bud_1")
    assert (balance.held, balance.spent) == (Amounts(0, 0, 0), Amounts(*spent))
    assert ledger.held_in_doubt() == {}
    assert ledger.verify().problems == ()


def test_a_killed_process_leaves_each_entry_in_doubt_or_settled_with_its_trail(path, python):
    script = """
ledger = open_ledger(sys.argv[1])
run = open_run(ledger)
entries = [held(run) for _ in range(200)]
for entry in entries:
    ledger.hold(entry, started_ns=clock.now()).result()
    ledger.finish(entry.replace(status="in_doubt", estimated=True)).result()
print("ready", flush=True)
for entry in entries:
    ledger.reconcile(settled(entry), source="by policy", detail="killed").result()
    if entry is entries[20]:
        print("some", flush=True)
"""
    process = python(script, path)
    assert process.stdout.readline() == "ready\n"
    assert process.stdout.readline() == "some\n"
    process.kill()
    process.wait(10)
    with open_ledger(path) as ledger:
        made = {one.entry_id for one in ledger.reconciliations()}
        left = {entry.id for entry in ledger.in_doubt()}
        assert len(made) >= 20
        assert not made & left
        assert len(made | left) == 200
        for entry_id in left:
            entry = ledger.entry(entry_id)
            after = entry.replace(status="settled", input_tokens=10, output_tokens=1)
            assert ledger.reconcile(after, source="by policy", detail="again").result()
        assert ledger.in_doubt() == []
        assert ledger.verify().problems == ()


def test_verify_finds_a_trail_that_is_not_how_its_entry_ended(path, make):
    with open_ledger(path) as ledger:
        run = make.run(ledger)
        entry = make.hold(ledger, run).replace(status="in_doubt", estimated=True)
        assert ledger.finish(entry).result()
        assert ledger.reconcile(settled(entry), source="by hand", detail="seen").result()
        assert ledger.verify().problems == ()
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("DROP TRIGGER reconciliations_never_change")
        file.execute("UPDATE reconciliations SET status = 'released'")
        file.commit()
    with open_ledger(path) as ledger:
        problem = f"reconciliation 1 says that entry {entry.id} is released, and it is settled"
        assert problem in ledger.verify().problems
