"""`tallystick reprice`: what it prints, what it writes, and its exit codes."""

import io
import json

import pytest

from tallystick.cli import reprice as command
from tallystick.ledger import open_ledger
from tallystick.pricing import Prices
from tallystick.report import Period


@pytest.fixture
def ledger_url(closed_ledger_file):
    """The fixture's prices name no book, as if a caller had given them; two requests have none."""
    return closed_ledger_file


@pytest.fixture
def rates(tmp_path):
    """Own rates for the fixture's unpriced model."""
    (tmp_path / "tallystick.toml").write_text(
        '[[rates]]\nmodel = "gemma-3-270m"\ninput_per_million = "1"\noutput_per_million = "0"\n'
    )


def adjustments(path):
    with open_ledger(path, read_only=True) as ledger:
        return ledger.adjustments()


def test_a_dry_run_prints_what_would_change_and_writes_nothing(tallystick, ledger_url, rates):
    done = tallystick("reprice", "--dry-run", "--ledger", str(ledger_url))
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("gemma-3-270m")]
    assert line.split() == ["gemma-3-270m", "1", "1", "?", "$0.001204", "+$0.001204", "1", "0"]
    assert "1 adjustment to append." in done.stdout
    assert adjustments(ledger_url) == []


def test_it_appends_and_the_second_time_nothing(tallystick, ledger_url, rates):
    done = tallystick("reprice", "--yes", "--ledger", str(ledger_url))
    assert done.returncode == 0
    assert "Appended 1 adjustment." in done.stdout
    again = tallystick("reprice", "--yes", "--ledger", str(ledger_url))
    assert "Appended no adjustment." in again.stdout
    (made,) = adjustments(ledger_url)
    assert (made.entry_id, made.cost_nanodollars) == ("req_4", 1_204_000)


def test_reports_and_runs_show_the_new_price_and_say_so(tallystick, ledger_url, rates):
    named = ("--ledger", str(ledger_url))
    before = json.loads(tallystick("report", "--json", *named).stdout)
    assert before["repriced"] == 0
    tallystick("reprice", "--yes", *named)
    after = json.loads(tallystick("report", "--json", *named).stdout)
    assert after["repriced"] == 1
    costs = [report["total"]["cost"] for report in (before, after)]
    assert costs[1]["nanodollars"] - costs[0]["nanodollars"] == 1_204_000
    assert [cost["unpriced"] for cost in costs] == [2, 1]
    assert "1 request was repriced." in tallystick("report", *named).stdout
    shown = tallystick("show", "01a1ee578", *named).stdout
    assert "$0.001204" in shown
    assert "repriced: the price was made on" in shown
    verified = tallystick("verify", *named)
    assert verified.returncode == 0, verified.stdout
    assert "1 adjustment." in verified.stdout


def test_json_says_what_was_written(tallystick, ledger_url, rates):
    done = tallystick("reprice", "--yes", "--json", "--ledger", str(ledger_url))
    value = json.loads(done.stdout)
    assert value["written"] is True
    assert value["total"]["adjusted"] == 1
    assert value["total"]["difference_nanodollars"] == 1_204_000
    assert {row["model"] for row in value["models"]} == {"gpt-5-mini", "gemma-3-270m"}


def test_only_the_period_asked_for_is_repriced(tallystick, ledger_url, rates):
    done = tallystick("reprice", "--yes", "--since", "2027-01-01", "--ledger", str(ledger_url))
    assert done.returncode == 0
    assert "No requests in that period." in done.stderr


def test_nothing_is_written_where_nobody_can_be_asked(process, ledger_url, rates):
    done = process("reprice", "--ledger", str(ledger_url))
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert adjustments(ledger_url) == []


@pytest.mark.parametrize(("answer", "number"), [("y\n", 1), ("n\n", 0)])
def test_it_asks_before_it_writes(tallystick, ledger_url, rates, monkeypatch, answer, number):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Keyboard(answer))
    done = tallystick("reprice", "--ledger", str(ledger_url))
    assert done.returncode == 0
    assert "1 adjustment to append." in done.stdout
    assert len(adjustments(ledger_url)) == number


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--book", "0123456789abcdef", "--yes"), 4),
        (("--since", "never", "--yes"), 2),
        (("--ledger", "/nowhere/at/all.db", "--yes"), 3),
        (("--ledger", "/nowhere/at/all.db", "--dry-run"), 3),
    ],
)
def test_the_exit_code_says_what_was_wrong(tallystick, ledger_url, arguments, code):
    named = () if "--ledger" in arguments else ("--ledger", str(ledger_url))
    done = tallystick("reprice", *arguments, *named)
    assert done.returncode == code
    assert done.stderr


def test_a_screen_shows_how_far_it_is(ledger_url, console, monkeypatch):
    screen = console()
    monkeypatch.setattr(command, "open_console", lambda **_: screen)
    with open_ledger(ledger_url) as ledger:
        command._reprice(ledger, Prices(), "current", Period(), write=False)
    assert "looking" in screen.file.getvalue()
    assert "7/7" in screen.file.getvalue()
