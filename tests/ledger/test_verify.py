"""`verify` finds what was changed behind the ledger's back, and nothing where all is well."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tallystick.budget.window import window_at
from tallystick.clock import Clock, nanoseconds
from tallystick.ledger import Adjustment, Amounts, BudgetRow, Claim, open_ledger
from tallystick.ledger.rollup import SUM_COLUMNS
from tallystick.ledger.store import TOTAL_COLUMNS


@pytest.fixture
def written(path, make):
    """A closed ledger with a run, a child of it, and entries of every status."""
    with open_ledger(path) as ledger:
        top = make.run(ledger)
        child = make.run(ledger, top)
        make.settle(
            ledger,
            top,
            cost_nanodollars=500,
            input_tokens_details={"cached_tokens": 10, "cache_write_tokens": 1},
            output_tokens_details={"reasoning_tokens": 2},
        )
        make.settle(ledger, child, estimated=True, cost_nanodollars=1, cost_estimated=True)
        make.settle(ledger, child)
        assert ledger.finish(make.hold(ledger, child).replace(status="released")).result()
        assert ledger.finish(make.hold(ledger, child).replace(status="in_doubt")).result()
        ledger.close_run(child.id, child.started_at + 1, "completed").result()
        found = ledger.verify()
        assert found.ok
        assert (found.runs, found.entries, found.notes) == (2, 5, ())
        assert found.counts == 2 * len(TOTAL_COLUMNS)
    return path


def tamper(path, *statements):
    """Change the file as no honest program would: without its triggers and checks."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        triggers = other.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        triggers = triggers.fetchall()
        other.execute("PRAGMA foreign_keys = OFF")
        other.execute("PRAGMA ignore_check_constraints = ON")
        for name, _ in triggers:
            other.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            changed = other.execute(statement).rowcount
            assert changed != 0, statement
        for _, sql in triggers:
            other.execute(sql)


def problems(path):
    with open_ledger(path, read_only=True) as ledger:
        found = ledger.verify()
        assert found.ok is not bool(found.problems)
        return "\n".join(found.problems)


@pytest.mark.parametrize("column", TOTAL_COLUMNS)
def test_every_total_that_was_altered_is_named(written, column):
    tamper(
        written,
        f"UPDATE run_totals SET {column} = {column} + 1 "  # noqa: S608 - our own columns
        "WHERE run_id = (SELECT id FROM runs WHERE parent_id IS NULL)",
    )
    found = problems(written).splitlines()
    assert len(found) == 1
    assert f": {column} is kept as" in found[0]
    assert found[0].startswith("run run_")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE entries SET input_tokens = input_tokens + 1 WHERE cost_nanodollars = 500",
         "input_tokens is kept as 100, and its entries come to 101"),
        ("UPDATE entries SET status = 'paid' WHERE cost_nanodollars = 500", "the status paid"),
        ("UPDATE entries SET status = 'held' WHERE cost_nanodollars = 500", "held and yet"),
        ("UPDATE entries SET finished_at = NULL WHERE cost_nanodollars = 500",
         "settled without a time"),
        ("UPDATE entries SET input_tokens = -5 WHERE cost_nanodollars = 500", "has -5 for input"),
        ("UPDATE entries SET reasoning_tokens = 'x' WHERE cost_nanodollars = 500",
         "has 'x' for reasoning_tokens"),
        (("UPDATE entries SET input_tokens = NULL, output_tokens = NULL, total_tokens = NULL "
         "WHERE cost_nanodollars = 500"), "without any count"),
        ("DELETE FROM entries WHERE status = 'released'", "released is kept as 1"),
        ("DELETE FROM entries WHERE status = 'in_doubt'", "in_doubt is kept as 1"),
        ("DELETE FROM run_totals WHERE run_id = (SELECT id FROM runs WHERE parent_id IS NULL)",
         "has no totals"),
        ("DELETE FROM runs WHERE parent_id IS NOT NULL", "is not there"),
        ("UPDATE entries SET process_id = 'proc_x'", "refers to a row of processes"),
        ("UPDATE runs SET root_id = id WHERE parent_id IS NOT NULL", "tree of its parent"),
        ("UPDATE runs SET parent_id = id WHERE parent_id IS NOT NULL", "in a circle"),
        ("UPDATE runs SET outcome = NULL WHERE ended_at IS NOT NULL", "without an outcome"),
        ("DROP INDEX entries_by_run", "the index entries_by_run is missing"),
        ("CREATE TRIGGER theirs AFTER INSERT ON runs BEGIN SELECT 1; END", "theirs is not ours"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(written, change, words):
    tamper(written, change)
    assert words in problems(written)


def test_a_trigger_that_is_missing_or_changed_is_found(written):
    with contextlib.closing(sqlite3.connect(written)) as other:
        other.execute("DROP TRIGGER entries_settle_once")
        other.execute("DROP TRIGGER entries_stay")
        other.execute("CREATE TRIGGER entries_stay AFTER DELETE ON entries BEGIN SELECT 1; END")
    found = problems(written)
    assert "the trigger entries_settle_once is missing" in found
    assert "the trigger entries_stay was changed" in found


def test_details_that_exceed_their_total_are_noted_and_no_fault(ledger, make):
    """A provider may say so; the ledger keeps what it said."""
    run = make.run(ledger)
    make.settle(ledger, run, input_tokens_details={"cached_tokens": 200})
    make.settle(ledger, run, output_tokens_details={"reasoning_tokens": 21})
    found = ledger.verify()
    assert found.ok
    assert len(found.notes) == 2


def test_a_long_list_of_problems_is_cut(ledger, make, path):
    run = make.run(ledger)
    futures = [
        ledger.finish(make.entry(run, status="settled", input_tokens=1)) for _ in range(1_100)
    ]
    assert all(future.result() for future in futures)
    ledger.close()
    tamper(path, "UPDATE entries SET finished_at = NULL")
    assert problems(path).splitlines()[-1] == "and 100 more"


@pytest.fixture
def budgeted(path, make):
    """A closed ledger with budgets, and a request that ended in each way on all of them."""
    with open_ledger(path) as ledger:
        top = make.run(ledger)
        child = make.run(ledger, top)
        own = make.budget("own", run=top, nanodollars=1_100)
        team = make.budget("team", nanodollars=2_000, tokens=500, requests=9)
        daily = make.budget("daily", per="day", nanodollars=300, hard=False)
        for budget in (team, daily):
            ledger.set_budget(budget).result()
        claims = (
            Claim(own, top.id),
            Claim(team, "all"),
            Claim(daily, "today", top.started_at, top.started_at + 10**15),
        )
        ledger.top_up(claims[1], Amounts(500, None, 1)).result()
        for run, fields in (
            (top, {"status": "settled", "total_tokens": 4, "cost_nanodollars": 900}),
            (child, {"status": "settled", "outcome": "completed"}),
            (child, {"status": "released"}),
            (child, {"status": "in_doubt"}),
        ):
            entry = make.hold_on(ledger, run, *claims)
            assert ledger.finish(entry.replace(**fields), budgeted=True).result().changed
        found = ledger.verify()
        assert (found.problems, found.notes, found.balances) == ((), (), 3)
        (balance,) = ledger.balances(team.id)
        # What settled without an amount is charged what was held of it.
        assert balance.spent == (1_000, 4 + 44, 2)
        assert balance.held == (100, 44, 1)
    return path


WHERE = {
    "SETTLED": "entry_id IN (SELECT id FROM entries WHERE cost_nanodollars = 900)",
    "OWN": "budget_id IN (SELECT id FROM budgets WHERE run_id IS NOT NULL)",
    "TEAM": "budget_id IN (SELECT id FROM budgets WHERE name = 'team')",
    "DAILY": "budget_id IN (SELECT id FROM budgets WHERE name = 'daily')",
}


@pytest.mark.parametrize(
    "column",
    [
        f"{kind}_{unit}"
        for kind in ("held", "spent")
        for unit in ("nanodollars", "tokens", "requests")
    ],
)
def test_every_sum_of_a_balance_that_was_altered_is_named(budgeted, column):
    """I6: balances are what the holds of their entries come to."""
    change = f"UPDATE balances SET {column} = {column} + 1 WHERE {WHERE['TEAM']}"  # noqa: S608
    tamper(budgeted, change)
    assert f"in all: {column} is kept as" in problems(budgeted)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # I1
        ("UPDATE balances SET limit_nanodollars = 900 WHERE {OWN}", "above its limit of 900"),
        ("UPDATE balances SET debt_nanodollars = 7 WHERE {OWN}", "has a debt of 7 nanodollars"),
        ("UPDATE balances SET debt_nanodollars = 0 WHERE {DAILY}", "and is 800 above its limit"),
        ("UPDATE balances SET limit_tokens = 501 WHERE {TEAM}", "limit of 501 tokens, and by its"),
        ("UPDATE balances SET extra_requests = 0 WHERE {TEAM}", "limit of 10 requests, and by it"),
        ("UPDATE balances SET unpriced = 3 WHERE {OWN}", "unpriced is kept as 3"),
        ("UPDATE balances SET hard = 0 WHERE {TEAM}", "only warns, and by its budget it is hard"),
        ("UPDATE balances SET hard = 0 WHERE {OWN}", "only warns, and by its budget it is hard"),
        ("UPDATE budgets SET hard = 0 WHERE name = 'team'", "only warns, and was set to be hard"),
        ("UPDATE budgets SET limit_tokens = 7 WHERE name = 'team'", "7 tokens, and was set to 500"),
        ("UPDATE budgets SET scope = '{{\"user\":\"u\"}}' WHERE name = 'team'", "was set to {}"),
        ("UPDATE budgets SET scope = '?' WHERE name = 'team'", "the scope of budget_"),
        ("UPDATE budget_changes SET detail = '[]'", "cannot be read"),
        ("DELETE FROM budget_changes WHERE change = 'set'", "no change that says how it was set"),
        ("DELETE FROM budget_changes WHERE change = 'top up'", "1 requests extra, and was"),
        (("UPDATE balances SET extra_tokens = 5, limit_tokens = limit_tokens + 5 WHERE {OWN} "
          "OR {TEAM}"), "has 5 tokens extra, and was topped up with 0"),
        ("UPDATE balances SET begins_at = 1, ends_at = 2 WHERE {TEAM}", "is bounded by time"),
        # I2
        ("DELETE FROM holds WHERE {OWN} AND {SETTLED}", "was sent without a hold on budget_"),
        ("DELETE FROM holds WHERE {OWN} AND status = 'held'", "was sent without a hold on"),
        # I3 and I4
        ("UPDATE holds SET status = 'held' WHERE {SETTLED}", "is held, and its entry is settled"),
        ("UPDATE holds SET status = 'released' WHERE status = 'held'", "and its entry is in_doubt"),
        ("UPDATE holds SET status = 'settled' WHERE status = 'held'", "and its entry is in_doubt"),
        ("UPDATE holds SET status = 'held' WHERE status = 'released'", "its entry is released"),
        ("UPDATE holds SET spent_nanodollars = 899 WHERE {SETTLED}",
         "spent 899 nanodollars, and by its entry it is 900"),
        ("UPDATE holds SET spent_tokens = NULL WHERE {SETTLED}", "spent unknown tokens"),
        ("UPDATE holds SET spent_requests = 1 WHERE status = 'held'",
         "spent 1 requests, and by its entry it is 0"),
        ("UPDATE entries SET cost_nanodollars = 901 WHERE cost_nanodollars = 900",
         "spent 900 nanodollars, and by its entry it is 901"),
        # I5
        ("UPDATE balances SET ends_at = begins_at + 1 WHERE {DAILY}",
         "is of the window today, in which its request was not sent"),
        # I8
        ("UPDATE holds SET \"window\" = 'run_x' WHERE {OWN}", "is of the run run_x"),
        (("UPDATE budgets SET run_id = (SELECT id FROM runs WHERE parent_id IS NOT NULL) "
          "WHERE name = 'own'"), "in which its request was not sent"),
        ("DELETE FROM balances WHERE {OWN}", "that is not there"),
    ],
)  # fmt: skip
def test_a_planted_fault_of_a_budget_is_found(budgeted, change, words):
    tamper(budgeted, change.format(**WHERE))
    assert words in problems(budgeted)


ENDED, OPEN = "2026-03-27T00:00+01:00", "2026-03-29T00:00+01:00"


@pytest.fixture
def windowed(path, make):
    """A closed ledger with a budget per day in Berlin: a window that has ended, and one of today.

    Today the clocks go forward. The limit was changed meanwhile, and today it was topped up.
    """
    clock = Manual("2026-03-27T12:00+00:00")
    make.clock = clock
    with open_ledger(path, clock=clock) as ledger:
        run = make.run(ledger)
        daily = make.budget("daily", per="day", zone="Europe/Berlin", tokens=500)
        ledger.set_budget(daily).result()
        for now, window, hours in (
            ("2026-03-27T12:00Z", ENDED, 24),
            ("2026-03-29T12:00Z", OPEN, 23),
        ):
            clock.at = moment(now)
            begins = moment(window)
            claim = Claim(daily, window, begins, begins + hours * 3600 * 10**9)
            make.hold_on(ledger, run, claim)
            ledger.set_budget(dataclasses.replace(daily, limits=Amounts(None, 600, None))).result()
        ledger.set_budget(dataclasses.replace(daily, limits=Amounts(None, 700, None),
                                              created_at=clock.at)).result()  # fmt: skip
        ledger.top_up(claim, Amounts(None, 50, None)).result()
        assert [balance.limits.tokens for balance in ledger.balances(daily.id)] == [750, 600]
        assert ledger.verify().problems == ()
    return path


class Manual(Clock):
    """A clock that stands where it was put."""

    def __init__(self, at: str) -> None:
        self.at = moment(at)

    def now(self) -> int:
        return self.at


def moment(text: str) -> int:
    return nanoseconds(datetime.fromisoformat(text))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("limit_tokens = 999 WHERE \"window\" = '{OPEN}'", "by its budget it is 750"),
        ("limit_tokens = 999 WHERE \"window\" = '{ENDED}'", "by its budget it is 600"),
        ("limit_tokens = NULL WHERE \"window\" = '{OPEN}'", "none tokens, and by its budget it is"),
        ("begins_at = begins_at - 3600000000000", "begins at 1774562400000000000, which is not"),
        ("ends_at = ends_at + 3600000000000 WHERE \"window\" = '{ENDED}'", "not the end of its d"),
        ("ends_at = ends_at + 86400000000000 WHERE \"window\" = '{OPEN}'", "not the end of its d"),
        ("begins_at = NULL, ends_at = NULL", "is not bounded by time (None to None)"),
        ("limit_tokens = 800, extra_tokens = 100 WHERE \"window\" = '{OPEN}'",
         "has 100 tokens extra, and was topped up with 50"),
    ],
)  # fmt: skip
def test_a_planted_fault_of_a_window_is_found(windowed, change, words):
    tamper(windowed, f"UPDATE balances SET {change.format(ENDED=ENDED, OPEN=OPEN)}")  # noqa: S608
    assert words in problems(windowed)


@given(
    some.sampled_from(["hour", "day", "week", "month"]),
    some.sampled_from(
        ["UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Asia/Kolkata",
         "Pacific/Chatham", "America/Santiago", "Africa/Cairo"]
    ),
    some.integers(moment("2020-01-01T00:00Z"), moment("2036-01-01T00:00Z")),
)  # fmt: skip
def test_every_window_of_the_guard_agrees_with_its_name(per, zone, now):
    """Also where the clocks are put at midnight, by half an hour, or over the end of a month."""
    window = window_at(per, zone, now)
    with open_ledger(":memory:") as ledger:
        budget = BudgetRow("budget_1", "b", per, Amounts(None, None, 1), 0, zone=zone)
        ledger.set_budget(budget).result()
        # A top-up of nothing opens the window.
        ledger.top_up(Claim(budget, *window), Amounts()).result()
        found = ledger.verify()
    assert found.balances == 1
    assert found.problems == ()


def test_what_a_budget_let_pass_without_a_hold_is_a_note(path, make):
    """And what another model used inside a request was never asked for by itself."""
    with open_ledger(path) as ledger:
        run = make.run(ledger)
        soft = make.budget("soft", run=run, nanodollars=500, hard=False)
        lenient = make.budget("lenient", run=run, nanodollars=500, policy={"allow": ["unkept"]})
        strict = make.budget("strict", run=run, nanodollars=500)
        claims = [Claim(budget, run.id) for budget in (soft, lenient, strict)]
        make.hold_on(ledger, run, *claims)
        make.hold_on(ledger, run, claims[2])
        make.settle(ledger, run, anomalies=("inside: req_1",))
        found = ledger.verify()
        assert found.problems == ()
        assert len(found.notes) == 2
        assert all("which let it pass" in note for note in found.notes)
        make.settle(ledger, run)
        (problem,) = ledger.verify().problems
        assert f"was sent without a hold on {strict.id}" in problem


@pytest.mark.parametrize("column", [*SUM_COLUMNS, "first_number"])
def test_every_sum_of_a_rollup_that_was_altered_is_named(written, column):
    """I6: rollups are what their entries come to."""
    tamper(written, f"UPDATE rollups SET {column} = {column} + 1")  # noqa: S608 - our own columns
    found = problems(written).splitlines()
    assert len(found) == 1
    assert found[0].startswith("the rollup of hour ")
    assert (f": {column} is kept as" in found[0]) is (column in SUM_COLUMNS)
    assert "model 'gpt-5'" in found[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM rollups", "has entries and no row"),
        ("UPDATE rollups SET hour = hour + 1", "requests is kept as 4, and its entries come to 0"),
        ("UPDATE rollups SET last_number = 4", "from number 1 to 5, and is said to have them"),
        ("UPDATE subjects SET model = 'gpt-6'", "model 'gpt-6': requests is kept as 4"),
        ("DELETE FROM subjects", "that is not there"),
        ("UPDATE entries SET customer = 'acme' WHERE cost_nanodollars = 500", "customer 'acme'"),
        (("INSERT INTO adjustments (entry_id, status, cost_nanodollars, cost_estimated, "
          "previous_nanodollars, batch, made_at) SELECT id, status, 600, 0, 500, 'x', 1 "
          "FROM entries WHERE cost_nanodollars = 500"),
         "cost_nanodollars is kept as 501, and its entries come to 601"),
    ],
)  # fmt: skip
def test_a_planted_fault_of_a_rollup_is_found(written, change, words):
    tamper(written, change)
    assert words in problems(written)


def test_a_ledger_from_before_rollups_has_them_when_it_is_migrated(written):
    """The rollups that a migration makes are those that the triggers would have made."""
    listing = (
        "SELECT * FROM rollups JOIN subjects ON subjects.id = subject_id "
        "WHERE requests + released > 0 ORDER BY hour, model"
    )
    with open_ledger(written) as ledger:
        (entry,) = ledger.query("SELECT id FROM entries WHERE cost_nanodollars = 500")[0]
        made = Adjustment(entry, "settled", None, None, None, None, False, "one", 5)
        assert ledger.adjust([made]).result() == 1
        listing = (
            "SELECT * FROM rollups JOIN subjects ON subjects.id = subject_id "
            "WHERE requests + released > 0 ORDER BY hour, model"
        )
    with contextlib.closing(sqlite3.connect(written, isolation_level=None)) as older:
        before = older.execute(listing).fetchall()
        for kind, name in older.execute(
            "SELECT type, name FROM sqlite_master WHERE sql LIKE '%rollups%' "
            "OR sql LIKE '%subjects%' ORDER BY type = 'table', type = 'index', name = 'subjects'"
        ).fetchall():
            older.execute(f"DROP {kind} IF EXISTS {name}")
        older.execute("DELETE FROM migrations WHERE number = 5")
        older.execute("PRAGMA user_version = 4")
    with open_ledger(written) as ledger:
        assert ledger.query(listing) == before
        assert ledger.verify().problems == ()
