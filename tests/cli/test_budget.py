"""`tallystick budget`: what it prints, what it writes, and its exit codes."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

import tallystick as library
from tallystick import Budget
from tallystick.budget.standing import Budgets
from tallystick.cli.terminal import UNICODE

RATES = '[[rates]]\nmodel = "cent"\ninput_per_million = 0\noutput_per_million = 10000\n'


@pytest.fixture
def url(tmp_path):
    """A ledger with budgets on it: one request settled, one in doubt, one refused."""
    (tmp_path / "tallystick.toml").write_text(RATES)
    path = tmp_path / "budgets.db"
    with library.open(path, config=tmp_path / "tallystick.toml", on_fault="raise") as tally:
        standing = Budgets(tally.ledger)
        standing.set(
            "acme",
            Budget(usd=1, per="month", zone="Europe/Berlin", webhook="https://example.org/h"),
            customer="acme",
        )
        standing.set("nightly", Budget(tokens=500, requests=4, per="all", on_exceeded="warn"))
        standing.set("each", Budget(usd="0.5", on_exceeded="gpt-5-nano", warn_at=None))
        with tally.run("r", customer="acme") as run:
            for settled in (True, False):
                with run.request(
                    model="cent", provider="local", max_input_tokens=5, max_output_tokens=20
                ) as request:
                    if settled:
                        request.settle({"usage": {"prompt_tokens": 5, "completion_tokens": 10}})
    return str(path)


@pytest.fixture
def budget(tallystick, url):
    return lambda *arguments: tallystick("budget", *arguments, "--ledger", url)


def test_set_makes_a_ledger_and_prints_the_budget(tallystick, tmp_path):
    url = str(tmp_path / "new.db")
    done = tallystick(
        "budget", "set", "acme", "--usd", "100", "--per", "month", "--customer", "acme",
        "--zone", "Europe/Berlin", "--ledger", url,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "customer acme · each month · Europe/Berlin" in done.stdout
    assert "$0 spent, $0 held, $100.00 left of $100.00" in done.stdout


def test_every_option_of_set_is_kept(budget):
    done = budget(
        "set", "b", "--usd", "0.5", "--tokens", "9", "--requests", "3", "--per", "week",
        "--zone", "Asia/Kolkata", "--on-exceeded", "gpt-5-nano", "--warn-at", "50",
        "--min-output", "7", "--default-output", "70", "--allow", "unpriced", "--allow", "unkept",
        "--webhook", "https://example.org/h", "--customer", "c", "--user", "u", "--project", "p",
        "--session", "s", "--agent", "a", "--model", "m", "--provider", "v", "--tag", "team=x",
        "--tag", "name=y", "--json",
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["scope"] == {
        "agent": "a", "customer": "c", "model": "m", "name": "y", "project": "p", "provider": "v",
        "session": "s", "team": "x", "user": "u",
    }  # fmt: skip
    limits = told["limits"]
    assert (limits["usd"], limits["tokens"], limits["requests"]) == ("0.500000000", 9, 3)
    assert {
        key: told[key]
        for key in (
            "per", "zone", "on_exceeded", "warn_at", "min_output_tokens", "default_output_tokens",
            "allow", "webhook",
        )
    } == {
        "per": "week", "zone": "Asia/Kolkata", "on_exceeded": "gpt-5-nano", "warn_at": 50,
        "min_output_tokens": 7, "default_output_tokens": 70, "allow": ["unkept", "unpriced"],
        "webhook": "https://example.org/h",
    }  # fmt: skip


def test_a_budget_that_begins_anew_is_said_to(budget):
    kept = budget("set", "acme", "--usd", "2", "--per", "month", "--zone", "Europe/Berlin",
                  "--customer", "acme")  # fmt: skip
    assert "$0.1000 spent" in kept.stdout
    assert kept.stderr == ""
    anew = budget("set", "acme", "--usd", "2", "--per", "day", "--customer", "acme")
    assert "$0 spent" in anew.stdout
    assert "begins anew" in anew.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--per", "day"], "needs a limit"),
        (["--usd", "1"], "--per"),
        (["--usd", "lots", "--per", "day"], "give a Decimal"),
        (["--usd", "1", "--per", "fortnight"], "month"),
        (["--usd", "1", "--per", "day", "--zone", "Nowhere"], "no time zone"),
        (["--usd", "1", "--per", "day", "--allow", "all"], "unbounded"),
        (["--usd", "1", "--per", "day", "--tag", "team"], "KEY=VALUE"),
        (["--usd", "1", "--per", "day", "--tag", "customer=x"], "--customer"),
        (["--usd", "1", "--per", "day", "--tag", "run_id=x"], "choose another name"),
        (["--usd", "1", "--per", "day", "--tag", "k=1", "--tag", "k=2"], "given twice"),
        (["--usd", "0.00000000001", "--per", "day"], "multiple of"),
        (["--usd", "1", "--per", "day", "--webhook", "http://[::1"], "no http or https URL"),
        (["--tokens", "9" * 20, "--per", "day"], "whole number from 0"),
    ],
)
def test_what_cannot_be_set_ends_with_2_and_makes_no_ledger(tallystick, tmp_path, arguments, said):
    path = tmp_path / "none.db"
    done = tallystick("budget", "set", "b", *arguments, "--ledger", str(path))
    assert done.returncode == 2
    assert said in done.stderr
    assert not path.exists()


def test_list_has_a_line_for_each_limit(budget):
    done = budget("list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert cells[0] == ["budget", "for", "per", "limit", "spent", "held", "left", "used",
                        "until (UTC)"]  # fmt: skip
    assert [row[:-1] for row in cells[1:]] == [
        ["acme", "customer acme", "month", "$1.0000", "$0.1000", "$0.2000", "$0.7000", "30 %"],
        ["each", "all requests", "run", "$0.5000", *[UNICODE.absent] * 4],
        ["nightly", "all requests", "all", "500", "15", "25", "460", "8 %"],
        ["4", "1", "1", "2"],
    ]


def test_show_has_the_bar_the_policy_what_holds_it_and_its_changes(budget):
    done = budget("show", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    assert "━━━╍╍╍╍╍──" in done.stdout
    assert "30 %  $0.1000 spent, $0.2000 held, $0.7000 left of $1.00" in done.stdout
    assert "What does not fit is refused, and never sent." in done.stdout
    assert "by a webhook when 80 % are spent" in done.stdout
    (held,) = [line for line in done.stdout.splitlines() if line.startswith("req_")]
    assert held.endswith("$0.2000      25  in doubt")
    assert "set to $1.00 by" in done.stdout


def test_show_says_what_each_policy_does(budget):
    assert "sent to gpt-5-nano" in budget("show", "each").stdout
    assert "$0.50 for each; 0 runs are open" in budget("show", "each").stdout
    assert "sent all the same" in budget("show", "nightly").stdout


def test_a_top_up_is_shown_and_kept_in_the_history(budget):
    done = budget("top-up", "acme", "--usd", "20")
    assert "of $21.00" in done.stdout
    assert "topped up by $20.00" in budget("show", "acme").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["acme"], "say what to add"),
        (["acme", "--tokens", "5"], "no limit of tokens"),
        (["each", "--usd", "5"], "per run"),
    ],
)
def test_a_top_up_that_means_nothing_ends_with_2(budget, arguments, said):
    done = budget("top-up", *arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())


def test_a_removed_budget_is_gone(budget):
    assert budget("remove", "acme").stdout == "Removed the budget acme.\n"
    assert "acme" not in budget("list").stdout
    assert budget("remove", "acme").returncode == 4


@pytest.mark.parametrize("command", ["show", "remove", "top-up", "explain"])
def test_an_unknown_budget_ends_with_4_and_names_near_ones(budget, command):
    done = budget(command, "amce", *(["--usd", "1"] if command == "top-up" else []))
    assert done.returncode == 4
    assert "did you mean 'acme'?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["list", "show acme", "remove acme", "top-up acme --usd 1"])
def test_without_a_ledger_none_is_made(tallystick, tmp_path, command):
    path = tmp_path / "none.db"
    done = tallystick("budget", *command.split(), "--ledger", str(path))
    assert done.returncode == 3
    assert not path.exists()


def test_explain_compares_holds_with_what_requests_came_to(budget):
    done = budget("explain", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    assert "What does not fit is refused" in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("cent")]
    assert line.split() == ["cent", "2", "1", "0", "1", "0", "0", "2.0x", "2.0x", "1.7x", "1.7x"]
    assert "No request has held" in budget("explain", "--model", "other").stderr


def test_explain_says_what_budgets_would_do_with_a_request(budget, tmp_path):
    body = tmp_path / "body.json"
    body.write_text(json.dumps({"model": "cent", "input": "Hello", "max_output_tokens": 90}))
    asked = ("explain", "--request", str(body), "--provider", "local", "--customer", "acme")
    text = budget(*asked).stdout
    assert "answer    at most 90 tokens, as it asks" in text
    assert "hold      $0.9000" in text
    assert "acme: refused; it affords an answer of 70 tokens ($0.70 left)" in text
    assert "each: refused; it affords an answer of 50 tokens; sent to gpt-5-nano" in text
    assert "nightly: sent all the same, and warned of (460 tokens, 2 requests left)" in text
    told = json.loads(budget(*asked, "--json").stdout)
    assert list(told) == ["budget", "policy", "request", "models"]
    assert told["request"]["fits"] is False


def test_a_name_that_nobody_could_type_ends_with_2_and_a_ledger_that_is_none_with_3(
    budget, tallystick, tmp_path
):
    limit = ("--usd", "1", "--per", "day")
    assert budget("set", " ", *limit).returncode == 2
    (tmp_path / "text.db").write_text("no ledger " * 100)
    done = tallystick("budget", "set", "b", *limit, "--ledger", str(tmp_path / "text.db"))
    assert done.returncode == 3


@pytest.mark.parametrize("name", ["\udcff", "a\0b", "a\nb", "x" * 5_000])
def test_a_name_that_cannot_be_read_ends_with_2_and_makes_no_ledger(tallystick, tmp_path, name):
    path = tmp_path / "none.db"
    done = tallystick("budget", "set", name, "--usd", "1", "--per", "day", "--ledger", str(path))
    assert done.returncode == 2
    assert "is no name of a budget" in " ".join(done.stderr.split())
    assert len(done.stderr) < 500
    assert not path.exists()


def test_a_long_name_of_a_budget_that_is_there_is_suggested_without_its_middle(budget, url):
    long = "x" * 5_000
    with library.open(url) as tally:
        row = Budget(usd=1, per="all").row("budget_long", 1, name="short")
        tally.ledger.set_budget(dataclasses.replace(row, name=long)).result()
    done = budget("show", long + "y")
    assert done.returncode == 4
    assert "did you mean 'xxx" in done.stderr
    assert len(done.stderr) < 1_000


@pytest.mark.parametrize("text", ["", "[]", "{", None])
def test_a_body_that_is_none_ends_with_2(budget, tmp_path, text):
    body = tmp_path / "body.json"
    if text is not None:
        body.write_text(text)
    assert budget("explain", "--request", str(body)).returncode == 2


@pytest.mark.parametrize(
    "command",
    ["list", "show acme", "show each", "explain acme", "top-up acme --usd 1", "remove acme"],
)
def test_json_is_json_without_a_float_of_money(budget, command):
    told = json.loads(budget(*command.split(), "--json").stdout)

    def moneys(value):
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("usd", "nanodollars") and not isinstance(inner, dict):
                    yield inner
                yield from moneys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from moneys(inner)

    assert not any(isinstance(amount, float) for amount in moneys(told))
    assert told


def test_names_cannot_command_the_terminal(budget, url):
    """Not even one that another program wrote."""
    with library.open(url) as tally:
        row = Budget(requests=1, per="all").row(
            "budget_evil", 1, name="evil", scope={"customer": "a\nb"}
        )
        tally.ledger.set_budget(dataclasses.replace(row, name="evil\x1b[31m")).result()
    for command in ("list", "show evil\x1b[31m"):
        text = budget(*command.split()).stdout
        assert "\x1b" not in text
        assert "a\\nb" in text


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_tables_fit_the_screen(url, console, columns):
    from tallystick.cli import budgets as render
    from tallystick.ledger import open_ledger

    screen = console(columns)
    with open_ledger(url, read_only=True) as ledger:
        standing = Budgets(ledger)
        render.budgets(screen, standing.list())
        status = standing.get("acme")
        render.show(screen, status, standing.history("acme"), ledger.open_holds(status.row.id))
        render.holds_by_model(screen, ledger.holds_by_model())
    assert max(map(len, screen.file.getvalue().splitlines())) <= columns


PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("row", "command"),
    [
        (r"\| `budget list` \| `(\{[^}]*\})", "list"),
        (r"\| `budget set`, `budget top-up` \| (.*)", "top-up acme --usd 1"),
        (r"\| `budget show` \| the same and (.*)", "show acme"),
        (r"\| `budget remove` \| (.*)", "remove acme"),
        (r"\| `budget explain` \| `(\{.*)", "explain acme"),
    ],
)
def test_the_documented_keys_are_those_of_the_json(budget, row, command):
    (documented,) = re.findall(row, PAGE)
    keys = re.findall(r'"(\w+)"', documented)
    printed = list(json.loads(budget(*command.split(), "--json").stdout))
    if command.startswith("show"):
        printed = printed[-len(keys) :]
    assert keys == printed


def test_every_command_and_option_is_documented(tallystick):
    help_text = tallystick("budget", "--help").stdout
    commands = re.findall(r"^  ([a-z][\w-]*)  ", help_text, re.MULTILINE)
    assert commands == ["set", "list", "show", "remove", "top-up", "explain"]
    for command in commands:
        assert f"| `budget {command}" in PAGE
    of_set = tallystick("budget", "set", "--help").stdout
    for option in re.findall(r"^  (--[\w-]+)", of_set, re.MULTILINE):
        if option not in ("--json", "--ledger"):
            assert option in PAGE, option
