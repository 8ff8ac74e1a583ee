"""What reports read from a real ledger."""

import pytest

from tallystick.clock import Clock, nanoseconds
from tallystick.errors import NotFound
from tallystick.ledger import open_ledger
from tallystick.report import (
    Period,
    entries_within,
    find_run,
    group,
    latest_runs,
    read_keys,
    shortest_ids,
    top_run_names,
    waterfall_of,
)


@pytest.fixture
def ledger():
    with open_ledger(":memory:", clock=Clock()) as opened:
        yield opened


@pytest.fixture
def keep(ledger):
    """Write a run with its requests."""

    def write(run, *entries):
        ledger.open_run(run).result()
        for number, entry in enumerate(entries):
            entry = entry.replace(id=f"req_{run.id}_{number}", run_id=run.id)
            held = entry.replace(status="held")
            ledger.hold(held, started_ns=nanoseconds(entry.started_at)).result()
            if entry.status != "held":
                ledger.finish(entry).result()
        if run.ended_at is not None:
            ledger.close_run(run.id, run.ended_at, run.outcome).result()

    return write


def test_a_report_of_the_ledger_equals_the_sum_of_its_runs(ledger, keep, run, entry):
    keep(run("run_a", 0), entry(0), entry(1, model="gpt-5", cost_nanodollars=7))
    keep(run("run_b", 1, parent="run_a", name="child"), entry(2))
    keep(run("run_c", 50, name="other"), entry(50), entry(51, status="held"))
    report = group(entries_within(ledger, Period()), read_keys("run"), top_run_names(ledger))
    assert [(row.key, row.totals.requests) for row in report.rows] == [
        (("support-desk",), 3),
        (("other",), 1),
    ]
    kept = [ledger.totals(identity) for identity in ("run_a", "run_c")]
    assert report.total.cost_nanodollars == sum(totals.cost_nanodollars for totals in kept)
    assert report.total.counts["input_tokens"] == sum(totals.input_tokens for totals in kept)
    assert report.total.held == 1


def test_a_request_is_in_the_period_in_which_it_was_sent_whenever_its_run_began(
    ledger, keep, run, entry
):
    first = run("run_a", 0, took=5)
    keep(first, entry(0), entry(4), entry(100))
    since = Period(since=first.started_at + 4_000_000_000)
    assert len(list(entries_within(ledger, since))) == 2
    until = Period(until=first.started_at + 4_000_000_000)
    assert len(list(entries_within(ledger, until))) == 1


def test_the_latest_runs_are_those_at_the_top_with_all_inside_them(ledger, keep, run, entry):
    keep(run("run_0001", 0, customer="acme"), entry(0))
    keep(run("run_0002", 1, parent="run_0001"), entry(1))
    keep(run("run_0003", 2, customer="globex"), entry(2))
    keep(run("run_0004", 3, customer="acme"))
    found = latest_runs(ledger, Period(), limit=9)
    assert [(item.run.id, item.totals.requests) for item in found] == [
        ("run_0004", 0),
        ("run_0003", 1),
        ("run_0001", 2),
    ]
    assert [item.run.id for item in latest_runs(ledger, Period(), limit=1, customer="acme")] == [
        "run_0004"
    ]
    late = Period(since=found[1].run.started_at)
    assert [item.run.id for item in latest_runs(ledger, late, limit=9)] == ["run_0004", "run_0003"]
    assert latest_runs(ledger, Period(), limit=9, customer="nobody") == []


def test_short_ids_are_the_shortest_that_tell_the_runs_apart_and_find_them(ledger, keep, run):
    ids = ["run_0123456789a0", "run_0123456789b0", "run_0123456789b1"]
    assert shortest_ids(ids[:1]) == {ids[0]: "01234567"}
    assert shortest_ids(ids[:2])[ids[1]] == "0123456789b"
    for number, identity in enumerate(ids):
        keep(run(identity, number))
    for item in latest_runs(ledger, Period(), limit=9):
        assert find_run(ledger, item.short_id) == item.run


def test_a_run_is_found_by_last_and_not_found_where_there_is_none(ledger, keep, run):
    with pytest.raises(NotFound, match="no run"):
        find_run(ledger, "last")
    keep(run("run_a", 0))
    keep(run("run_b", 1, parent="run_a"))
    assert find_run(ledger, "last").id == "run_a"
    with pytest.raises(NotFound):
        find_run(ledger, "zzz")


def test_the_waterfall_of_the_ledger_has_the_runs_inside(ledger, keep, run, entry):
    keep(run("run_a", 0), entry(0))
    keep(run("run_b", 1, parent="run_a", name="flights"), entry(1))
    value = waterfall_of(ledger, find_run(ledger, "last"))
    assert [line.run.name for line in value.runs] == ["flights"]
    assert value.totals.requests == 2
