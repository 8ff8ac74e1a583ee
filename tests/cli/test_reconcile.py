"""`tallystick reconcile`: what it lists, settles and refuses, and its exit codes."""

import io
import json
from pathlib import Path

import pytest

from tallystick.cli import reconciled
from tallystick.clock import Clock, timestamp
from tallystick.ledger import Amounts, RunRow, open_ledger
from tallystick.report.reconciliation import BY_HAND, of_each
from tallystick.usage import RequestUsage

DAY = 1_762_473_600
"""2025-11-07 00:00 UTC, in seconds."""

RATES = '[[rates]]\nmodel = "gpt-5-mini"\ninput_per_million = "1"\noutput_per_million = "10"\n'


def written_down(path, *requests):
    """Make a ledger of long ago with a run of these requests: their ids and statuses."""
    run = RunRow("run_a", None, "run_a", "desk", None, DAY * 10**9)
    with open_ledger(path, clock=Clock()) as ledger:
        ledger.open_run(run).result()
        for number, (name, status) in enumerate(requests):
            doubtful = status == "in_doubt"
            at = DAY + 600 + number
            entry = RequestUsage(
                id=name, run_id="run_a", provider="openai", model="gpt-5-mini", agent="Triage",
                status=status, outcome="error" if doubtful else "completed", duration=1.0,
                error_type="ReadTimeout" if doubtful else None, estimated=doubtful,
                started_at=timestamp(at * 10**9), input_tokens=100, output_tokens=10,
                input_tokens_details={"cached_tokens": 0}, cost_nanodollars=7,
            )  # fmt: skip
            ledger.hold(entry.replace(status="held"), started_ns=at * 10**9).result()
            ledger.finish(entry).result()
        ledger.close_run("run_a", (DAY + 700) * 10**9, "completed").result()
    return path


@pytest.fixture
def path(tmp_path):
    """A ledger of long ago with one request that is settled, and two in doubt."""
    (tmp_path / "tallystick.toml").write_text(RATES)
    requests = (("req_aa10", "settled"), ("req_bb20", "in_doubt"), ("req_bb21", "in_doubt"))
    return written_down(tmp_path / "old.db", *requests)


@pytest.fixture
def reconcile(tallystick, path):
    def run(*arguments):
        return tallystick("reconcile", *arguments, "--ledger", str(path))

    return run


@pytest.fixture
def usage(tmp_path):
    """Write an export of OpenAI's usage of that day."""

    def write(requests, sent, received, **fields):
        row = {
            "object": "organization.usage.completions.result", "input_tokens": sent,
            "output_tokens": received, "input_cached_tokens": 0, "model": "gpt-5-mini",
            "num_model_requests": requests, **fields,
        }  # fmt: skip
        bucket = {"object": "bucket", "start_time": DAY, "end_time": DAY + 86_400}
        page = {"object": "page", "data": [{**bucket, "results": [row]}], "has_more": False}
        (tmp_path / "usage.json").write_text(json.dumps(page))
        return "usage.json"

    return write


def entries(path):
    with open_ledger(path, read_only=True) as ledger:
        return {entry.id: entry for entry in ledger.entries("run_a")}


def sound(tallystick, path):
    verified = tallystick("verify", "--ledger", str(path))
    assert verified.returncode == 0, verified.stdout
    return True


def test_the_list_at_80_columns(ledger_file, console):
    screen = console(80)
    with open_ledger(ledger_file, read_only=True) as ledger:
        reconciled.listing(screen, ledger.in_doubt(adjusted=True), ledger.held_in_doubt())
    kept = Path(__file__).parent / "snapshots" / "reconcile-80.txt"
    assert screen.file.getvalue() == kept.read_text(encoding="utf-8")


def test_the_list_says_what_is_held(console, path):
    screen = console(120)
    with open_ledger(path, read_only=True) as ledger:
        reconciled.listing(screen, ledger.in_doubt(), {"req_bb20": Amounts(5_000_000, 9, 1)})
    text = screen.file.getvalue()
    assert "holds" in text
    assert "$0.005" in text


def test_without_more_it_lists_what_is_in_doubt_and_why(reconcile):
    lines = reconcile().stdout.splitlines()
    assert lines[1].split() == [
        "bb20", "2025-11-07", "00:10:01", "gpt-5-mini", "Triage", "\N{EN DASH}",
        "~100", "~10", "$0.000000007", "\N{EN DASH}", "ReadTimeout",
    ]  # fmt: skip
    (first, _) = json.loads(reconcile("--json").stdout)["in_doubt"]
    assert (first["id"], first["why"], first["held"]) == ("req_bb20", "ReadTimeout", None)
    assert (first["input_tokens"], first["cost_nanodollars"]) == (100, 7)


def test_by_hand_counts_settle_one_and_leave_a_trail(reconcile, path, tallystick):
    done = reconcile("bb20", "--input", "300", "--cached", "50", "--output", "40", "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("bb20")]
    assert line.split() == [
        "bb20", "gpt-5-mini", "~100", "300", "~10", "40", "$0.000000007", "$0.000700000",
        "settled", "[1]",
    ]  # fmt: skip
    assert "Reconciled 1 request." in done.stdout
    entry = entries(path)["req_bb20"]
    assert (entry.status, entry.input_tokens, entry.cost_nanodollars) == ("settled", 300, 700_000)
    (made,) = json.loads(reconcile("--trail", "--json").stdout)["trail"]
    assert (made["entry_id"], made["source"], made["status"]) == ("req_bb20", "by hand", "settled")
    assert made["detail"] == "input_tokens 300, output_tokens 40, cached_tokens 50"
    assert made["previous"]["cost_nanodollars"] == 7
    assert "by hand" in reconcile("--trail", "bb20").stdout
    assert "Nothing was reconciled" in reconcile("--trail", "zz").stderr
    assert sound(tallystick, path)
    shown = tallystick("show", "run_a", "--ledger", str(path)).stdout
    assert "of which 1 in doubt" in shown


def test_what_was_never_sent_is_released(reconcile, path, tallystick):
    assert reconcile("req_bb20", "--never-sent", "--yes").returncode == 0
    assert entries(path)["req_bb20"].status == "released"
    assert sound(tallystick, path)


def test_after_a_time_the_estimates_are_accepted_and_stay_marked(reconcile, path, tallystick):
    done = reconcile("--older-than", "7d", "--accept-estimates", "--yes")
    assert "Reconciled 2 requests." in done.stdout
    found = entries(path)["req_bb21"]
    assert (found.status, found.estimated, found.cost_nanodollars) == ("settled", True, 200_000)
    again = reconcile("--older-than", "7d", "--accept-estimates", "--yes")
    assert again.returncode == 0
    assert "Nothing of it is in doubt." in again.stdout
    assert "Nothing is in doubt" in reconcile().stderr
    assert "by policy: older than 7d" in reconcile("--trail").stdout
    assert sound(tallystick, path)


def test_what_is_younger_stays_in_doubt(reconcile, path):
    assert reconcile("--older-than", "900w", "--accept-estimates", "--yes").returncode == 0
    assert entries(path)["req_bb20"].status == "in_doubt"


def test_without_a_hold_nothing_is_charged_as_held(reconcile):
    done = reconcile("--older-than", "1d", "--charge-holds", "--yes")
    assert "stays in doubt (2): it holds no amount and no tokens of a budget" in done.stdout


def test_an_export_settles_what_is_left_over_of_its_bucket(reconcile, path, usage, tallystick):
    done = reconcile(usage(3, 501, 30), "--exclusive", "--yes", "--json")
    value = json.loads(done.stdout)
    assert (value["written"], value["left"], value["checks"]) == (2, [], [])
    settled = [one["after"] for one in value["settled"]]
    assert [one["input_tokens"] for one in settled] == [201, 200]
    assert [one["output_tokens"] for one in settled] == [10, 10]
    assert sum(entry.input_tokens for entry in entries(path).values()) == 501
    assert sound(tallystick, path)


def test_without_the_word_that_the_ledger_sees_it_all_an_export_settles_nothing(
    reconcile, path, usage
):
    done = reconcile(usage(3, 501, 30), "--yes")
    assert done.returncode == 0
    assert "stays in doubt (2): a bucket is of many requests" in done.stdout
    assert "Nothing was written." in done.stdout
    assert entries(path)["req_bb20"].status == "in_doubt"


def test_a_dry_run_shows_the_same_and_writes_nothing(reconcile, path, usage):
    done = reconcile(usage(3, 501, 30), "--exclusive", "--dry-run")
    assert "[1] usage.json: data[0]: results[0]" in done.stdout
    assert "Reconciled" not in done.stdout
    assert json.loads(
        reconcile(usage(3, 501, 30), "--exclusive", "--dry-run", "--json").stdout
    )["written"] == 0  # fmt: skip
    assert entries(path)["req_bb20"].status == "in_doubt"


def test_costs_are_printed_beside_the_ledgers(reconcile, tmp_path):
    (tmp_path / "bill.csv").write_text(
        "begins_at,ends_at,provider,model,requests,input_tokens,output_tokens,cost_usd\n"
        "2025-11-07,2025-11-08,openai,gpt-5-mini,1,100,10,0.5\n"
    )
    done = reconcile("bill.csv", "--exclusive", "--yes")
    assert "nothing is left over" in done.stdout
    assert "cost of openai gpt-5-mini, 2025-11-07 00:00 to 2025-11-08 00:00 UTC" in done.stdout
    assert "billed $0.5, in the ledger $0.000000007 (+$0.5000)" in done.stdout


def test_an_export_that_cannot_be_used_is_named_with_its_place(reconcile, usage):
    done = reconcile(usage("many", 501, 30), "--exclusive", "--yes")
    assert done.returncode == 2
    words = " ".join(done.stderr.split())
    assert "usage.json: data[0]: results[0]: num_model_requests: 'many' is no count" in words


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("bb20", "--input", "1", "--yes"), 2, "give both --input and --output"),
        (("bb20", "--input", "1", "--output", "1", "--cached", "2", "--yes"), 2, "parts of"),
        (("bb20", "--yes"), 2, "say how ENTRY ends"),
        (("bb20", "bb21", "--never-sent"), 2, "one ENTRY at a time"),
        (("bb20", "--never-sent", "--accept-estimates"), 2, "give one of"),
        (("--never-sent",), 2, "give an ENTRY"),
        (("--older-than", "7d", "--never-sent"), 2, "--older-than goes with"),
        (("--older-than", "soon", "--accept-estimates", "--yes"), 2, "'soon' is no moment"),
        (("--trail", "--never-sent"), 2, "--trail only lists"),
        (("none.json", "--exclusive", "--yes"), 2, "none.json: it cannot be read"),
        (("none.json", "bb20"), 2, "exports are given alone"),
        (("bb20", "--never-sent"), 2, "give --yes, or --dry-run"),
        (("bb2", "--never-sent", "--yes"), 2, "'bb2' is too short; give at least 6 characters"),
        (("bb20", "--input", "9" * 15, "--output", "1", "--yes"), 2, "--output: input_tokens 9999"),
        (("bb20", "--input", "9" * 16, "--output", "1", "--yes"), 2, "less than or equal to"),
        (("aa10", "--never-sent", "--yes"), 4, "aa10 is settled, and not in doubt"),
        (("cc-and-more", "--never-sent", "--yes"), 4, "holds no request in doubt 'cc-and-more'"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    reconcile, path, monkeypatch, arguments, code, words
):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    done = reconcile(*arguments)
    assert done.returncode == code
    assert words in " ".join(done.stderr.split())
    assert entries(path)["req_bb20"].status == "in_doubt"


@pytest.mark.parametrize("name", ["", "req_", "01a1e", "req_01a1e"])
def test_fewer_than_six_characters_of_an_id_name_no_request(tallystick, tmp_path, name):
    only = written_down(tmp_path / "only.db", ("req_01a1ee57", "in_doubt"))
    done = tallystick("reconcile", name, "--never-sent", "--yes", "--ledger", str(only))
    assert done.returncode == 2
    assert "give at least 6 characters of the id after req_" in " ".join(done.stderr.split())
    assert entries(only)["req_01a1ee57"].status == "in_doubt"
    done = tallystick("reconcile", "01a1ee", "--never-sent", "--yes", "--ledger", str(only))
    assert (done.returncode, entries(only)["req_01a1ee57"].status) == (0, "released")


def test_a_beginning_that_several_ids_have_names_none(tallystick, tmp_path):
    two = [("req_01a1ee57", "in_doubt"), ("req_01a1ee58", "in_doubt")]
    both = written_down(tmp_path / "both.db", *two)
    done = tallystick("reconcile", "01a1ee5", "--never-sent", "--yes", "--ledger", str(both))
    assert done.returncode == 4
    assert "2 requests in doubt begin with '01a1ee5'" in done.stderr


@pytest.mark.parametrize(("answer", "status"), [("y\n", "released"), ("n\n", "in_doubt")])
def test_it_asks_before_it_writes(reconcile, path, monkeypatch, answer, status):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Keyboard(answer))
    assert reconcile("bb20", "--never-sent").returncode == 0
    assert entries(path)["req_bb20"].status == status


def test_a_name_of_the_ledger_is_no_markup(console, path):
    from tallystick.report.reconciliation import never_sent

    screen = console(100)
    with open_ledger(path, read_only=True) as ledger:
        doubtful = [entry.replace(model="\x1b[31m") for entry in ledger.in_doubt()]
        reconciled.plan(screen, of_each(doubtful, lambda one: never_sent(one, source=BY_HAND)), 0)
    assert "\x1b[31m" not in screen.file.getvalue()
