"""`verify` finds what was changed behind the ledger's back, and nothing where all is well."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from tallystick.ledger import open_ledger
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
