"""What people read, as they read it."""

import textwrap
from pathlib import Path

import pytest

from tallystick.cli import render
from tallystick.clock import Clock
from tallystick.ledger import Verification, open_ledger
from tallystick.report import (
    Period,
    entries_within,
    find_run,
    group,
    latest_runs,
    read_keys,
    waterfall_of,
)

SNAPSHOTS = Path(__file__).parent / "snapshots"


@pytest.fixture(scope="module")
def ledger(ledger_file):
    with open_ledger(ledger_file, clock=Clock(), read_only=True) as opened:
        yield opened


@pytest.fixture
def printed(ledger, console):
    """Print something at a width; return the lines."""

    def run(what, width, encoding="utf-8"):
        screen = console(width, encoding)
        what(screen)
        return screen.file.getvalue()

    return run


def as_kept(text, name):
    """Compare with the output that was read and found good; a change of it is read again."""
    assert text == (SNAPSHOTS / f"{name}.txt").read_text(encoding="utf-8")


def same(text, expected):
    assert text == textwrap.dedent(expected).lstrip("\n")


def test_a_run_at_120_columns(ledger, printed):
    value = waterfall_of(ledger, find_run(ledger, "01a1ee578"))
    as_kept(
        printed(lambda screen: render.show(screen, value), 120),
        "run-120",
    )


def test_a_run_at_80_columns(ledger, printed):
    value = waterfall_of(ledger, find_run(ledger, "01a1ee578"))
    as_kept(
        printed(lambda screen: render.show(screen, value), 80),
        "run-80",
    )


def test_a_run_where_the_encoding_has_no_more_than_ascii(ledger, printed):
    value = waterfall_of(ledger, find_run(ledger, "01a1ee578"))
    text = printed(lambda screen: render.show(screen, value), 120, "ascii")
    assert text.isascii()
    assert "0s ---" in text
    assert "=====" in text


def test_the_runs_at_120_columns(ledger, printed):
    found = latest_runs(ledger, Period(), limit=20)
    as_kept(
        printed(lambda screen: render.runs(screen, found), 120),
        "runs-120",
    )


def test_the_runs_at_80_columns(ledger, printed):
    found = latest_runs(ledger, Period(), limit=20)
    as_kept(
        printed(lambda screen: render.runs(screen, found), 80),
        "runs-80",
    )


def test_a_report_at_120_columns(ledger, printed):
    value = group(entries_within(ledger, Period()), read_keys("model,agent,customer"))
    as_kept(
        printed(lambda screen: render.report(screen, value), 120),
        "report-120",
    )


def test_a_report_at_80_columns(ledger, printed):
    value = group(entries_within(ledger, Period()), read_keys("model,agent,customer"))
    as_kept(
        printed(lambda screen: render.report(screen, value), 80),
        "report-80",
    )


@pytest.mark.parametrize("width", [60, 70, 80, 90, 100, 120, 200])
def test_no_line_is_wider_than_the_screen(ledger, printed, width):
    value = waterfall_of(ledger, find_run(ledger, "01a1ee578"))
    report = group(entries_within(ledger, Period()), read_keys("model,agent"))
    for what in (
        lambda screen: render.requests(screen, value),
        lambda screen: render.report(screen, report),
        lambda screen: render.runs(screen, latest_runs(ledger, Period(), limit=20)),
    ):
        assert max(len(line) for line in printed(what, width).splitlines()) <= width


def test_a_name_in_the_ledger_is_no_markup(console, ledger):
    from dataclasses import replace

    run = replace(find_run(ledger, "last"), name="[bold]x[/bold] \x1b[31m")
    screen = console(80)
    render.run_heading(screen, run)
    assert screen.file.getvalue().startswith("[bold]x[/bold] \\x1b[31m  open")


def test_a_ledger_that_agrees_and_one_that_does_not(printed):
    sound = Verification(runs=2, entries=1_200, counts=28)
    same(
        printed(lambda screen: render.verification(screen, sound, "sqlite:///usage.db"), 80),
        """
        The ledger agrees with itself: 2 runs, 1,200 entries, 28 totals.
        sqlite:///usage.db
        """,
    )
    odd = Verification(2, 3, 28, ("run run_a: requests is kept as 3",), ("entry req_b: odd",))
    same(
        printed(lambda screen: render.verification(screen, odd, "sqlite:///usage.db"), 80),
        """
        problem  run run_a: requests is kept as 3
        note     entry req_b: odd
        The ledger disagrees: 1 problem in 2 runs, 3 entries, 28 totals.
        sqlite:///usage.db
        """,
    )
