"""The commands, each in a process of its own, as a shell or a script meets them."""

import csv
import io
import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.cli.spreadsheet import csv_text
from tallystick.ledger import open_ledger
from tallystick.report import group, read_keys
from tallystick.usage import RequestUsage

COMMAND = [sys.executable, "-c", "from tallystick.cli import main; main()"]

ANSI = re.compile(r"\x1b\[")


@pytest.mark.parametrize("command", ["runs", "show last", "report", "verify"])
def test_a_pipe_gets_plain_lines_and_nothing_on_standard_error(process, command):
    done = process(*command.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert not ANSI.search(done.stdout)
    assert done.stdout.endswith("\n")
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_a_pipe_gets_every_column_at_its_full_width(process):
    lines = process("runs", COLUMNS="40").stdout.splitlines()
    titles = " ".join(lines[0].split())
    assert titles == (
        "run name customer started (UTC) took requests in cached out cost in doubt outcome"
    )
    assert "2026-11-18 11:10:00" in lines[1]
    assert "Not shown" not in "".join(lines)


def test_colour_is_given_where_it_is_asked_for_and_not_where_it_is_refused(process):
    assert ANSI.search(process("show", "last", FORCE_COLOR="1", TERM="xterm").stdout)
    refused = process("show", "last", FORCE_COLOR="1", NO_COLOR="1", TERM="xterm").stdout
    assert "\x1b[3" not in refused


def on_a_screen(arguments, environment, columns):
    """Run the command on a terminal of so many columns; return what it printed."""
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
        close_fds=True,
    )
    os.close(follower)
    text = b""
    while True:
        try:
            piece = os.read(leader, 65_536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(leader)
    assert process.wait(30) == 0
    return text.decode().replace("\r\n", "\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals of this kind")
@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_lines_that_fit(environment, columns):
    for command in ("runs", "show 01a1ee578", "report --by model,agent"):
        text = on_a_screen(command.split(), {**environment, "TERM": "xterm-256color"}, columns)
        assert ANSI.search(text)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
        assert max(len(line) for line in plain.splitlines()) <= columns


def test_a_locale_without_unicode_gets_ascii(process):
    for command in ("runs", "show 01a1ee578"):
        done = process(*command.split(), PYTHONIOENCODING="ascii")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.isascii()
    assert "Zo\\xeb" in process("runs", PYTHONIOENCODING="ascii").stdout
    assert ">=~$0.0" in process("runs", PYTHONIOENCODING="ascii").stdout


@pytest.mark.parametrize("arguments", [["report", "--json"], ["show", "01a1ee578"], ["--help"]])
def test_a_reader_that_goes_away_is_not_told_so(ledger_file, tmp_path, arguments):
    """`tallystick … | head` says nothing on standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "TALLYSTICK_URL": str(ledger_file), "HOME": str(tmp_path)},
            timeout=30,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.stderr == b""
    assert done.returncode == (141 if arguments != ["--help"] else done.returncode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [["runs"], ["report", "--csv"], ["--help"]])
def test_a_disk_that_is_full_is_said_in_one_line(environment, arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("tallystick: cannot write the output: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix closes the stream")
def test_a_process_without_standard_output_ends_well(environment):
    closed = 'exec "$0" -c "from tallystick.cli import main; main()" runs >&-'
    done = subprocess.run(
        ["/bin/sh", "-c", closed, sys.executable],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_runs_as_json_have_whole_numbers_and_text_for_money(tallystick):
    runs = json.loads(tallystick("runs", "--json").stdout)["runs"]
    assert [run["name"] for run in runs] == ["nightly-digest", "support-desk"]
    usage = runs[1]["usage"]
    assert usage["requests"] == 5
    assert (usage["held"], usage["in_doubt"]) == (1, 1)
    assert usage["cost"] == {
        "usd": "0.000591200",
        "nanodollars": 591_200,
        "unpriced": 1,
        "estimated": 1,
        "complete": False,
    }
    assert runs[1]["customer"] == "acme"
    assert runs[1]["started_at"].endswith("+00:00")


def test_runs_are_narrowed_by_customer_limit_and_time(tallystick):
    def names(*arguments):
        return [
            run["name"]
            for run in json.loads(tallystick("runs", "--json", *arguments).stdout)["runs"]
        ]

    assert names("--customer", "acme") == ["support-desk"]
    assert names("--limit", "1") == ["nightly-digest"]
    assert names("--since", "2026-11-18T11:08") == ["nightly-digest"]
    assert names("--since", "2026-11-19") == []
    done = tallystick("runs", "--since", "2026-11-19")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No such run" in done.stderr


def test_show_as_json_has_each_request_with_its_notes(tallystick):
    shown = json.loads(tallystick("show", "01a1ee578", "--json").stdout)
    assert [child["name"] for child in shown["children"]] == ["Flights"]
    assert len(shown["requests"]) == shown["usage"]["requests"] + shown["usage"]["held"] == 6
    unpriced = [item for item in shown["requests"] if item["cost_nanodollars"] is None]
    kinds = {note["number"]: note["kind"] for note in shown["notes"]}
    assert [[kinds[number] for number in item["notes"]] for item in unpriced] == [
        ["unpriced"],
        ["held"],
    ]


def test_a_report_as_json_csv_and_table_says_the_same(tallystick, ledger_file):
    """I6: what is shown is what the ledger holds."""
    by = ("report", "--by", "model,feature")
    value = json.loads(tallystick(*by, "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(tallystick(*by, "--csv").stdout)))
    assert [row["key"] for row in value["rows"]] == [
        {"model": row["model"], "feature": row["feature"] or None} for row in rows
    ]
    connection = sqlite3.connect(f"file:{ledger_file}?mode=ro", uri=True)
    expected = connection.execute(
        "SELECT sum(cost_nanodollars), sum(input_tokens), count(*) FROM entries "
        "WHERE status IN ('settled', 'in_doubt')"
    ).fetchone()
    connection.close()
    total = value["total"]
    assert (total["cost"]["nanodollars"], total["input_tokens"], total["requests"]) == expected
    summed = tuple(
        sum(int(row[name] or 0) for row in rows)
        for name in ("cost_nanodollars", "input_tokens", "requests")
    )
    assert summed == expected
    table = tallystick(*by).stdout
    assert f"~{total['input_tokens']:,}" in table


def test_csv_is_what_rfc_4180_says_and_starts_no_formula():
    entry = RequestUsage(
        1_234_567,
        1,
        model='a "quoted", name',
        customer="=1+1",
        agent="@SUM(A1)",
        turn=3,
        project="-2",
        cost_nanodollars=10,
    )
    text = csv_text(group([entry], read_keys("model,customer,agent,turn,project,user,+tag")))
    assert text.count("\r\n") == text.count("\n") == 2
    header, row = csv.reader(io.StringIO(text, newline=""))
    assert row[:7] == ['a "quoted", name', "'=1+1", "'@SUM(A1)", "3", "'-2", "", ""]
    assert header[6] == "'+tag"
    figures = dict(zip(header, row, strict=True))
    assert figures["input_tokens"] == "1234567"
    assert figures["cached_tokens"] == ""
    assert figures["cached_unknown"] == "1"
    assert (figures["cost_usd"], figures["cost_nanodollars"]) == ("0.000000010", "10")


def test_an_amount_that_nobody_knows_is_empty_in_csv():
    text = csv_text(group([RequestUsage(1, 1)], read_keys("model")))
    figures = next(csv.DictReader(io.StringIO(text)))
    assert (figures["cost_usd"], figures["cost_unpriced"]) == ("", "1")


def test_a_long_tag_that_no_request_has_is_pointed_out_without_its_middle(tallystick):
    done = tallystick("report", "--by", "x" * 5_000)
    assert "No request has a tag 'xxx" in done.stderr
    assert len(done.stderr) < 500


def test_a_tag_that_no_request_has_is_pointed_out(tallystick):
    done = tallystick("report", "--by", "modle")
    assert done.returncode == 0
    assert "did you mean 'model'?" in done.stderr
    done = tallystick("report", "--by", "tag:model")
    assert "'model' without 'tag:' is the key of that name." in done.stderr


def test_verify_exits_with_one_and_names_what_disagrees(tallystick, ledger_file, tmp_path):
    assert tallystick("verify").returncode == 0
    broken = tmp_path / "broken.db"
    with sqlite3.connect(ledger_file) as source, sqlite3.connect(broken) as copy:
        source.backup(copy)
        copy.execute("UPDATE run_totals SET input_tokens = input_tokens + 1 WHERE requests = 1")
    copy.close()
    source.close()
    done = tallystick("verify", "--ledger", str(broken))
    assert done.returncode == 1
    assert done.stdout.count("input_tokens is kept as 1205") == 2
    found = json.loads(tallystick("verify", "--json", "--ledger", str(broken)).stdout)
    assert not found["ok"]
    assert len(found["problems"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["show", "ffffffff"], 4, "holds no run 'ffffffff'"),
        (["show", "01a1ee5"], 4, "several runs"),
        (["runs", "--ledger", "/no/such/folder/usage.db"], 3, "does not exist"),
        (["runs", "--ledger", "missing.db"], 3, "no ledger at"),
        (["--ledger", "redis://host", "report"], 3, "redis"),
        (["runs", "--since", "yesterday"], 2, "7d"),
        (["report", "--since", "1d", "--until", "2d"], 2, "before it begins"),
        (["report", "--by", "model,,agent"], 2, "lacks a name"),
        (["report", "--json", "--csv"], 2, "two formats"),
        (["runs", "--limit", "0"], 2, "--limit"),
        (["runs", "--limit", "9" * 20], 2, "--limit"),
        (["runs", "--since", "9999-12-31"], 2, "2262-04-11"),
        (["report", "--until", "0001-01-01"], 2, "1677-09-22"),
        (["report", "--by", "user", "--since", "2262-04-11T23:47:16"], 2, "2262-04-11"),
        (["show", "\udcff"], 4, "holds no run '?'"),
        (["report", "--by", "user", "--since", "9999-12-31"], 2, "2262-04-11"),
        (["reprice", "--dry-run", "--since", "9999-12-31"], 2, "2262-04-11"),
        (["budget", "explain", "--since", "9999-12-31"], 2, "2262-04-11"),
        (
            ["reconcile", "--older-than", "2999-01-01", "--accept-estimates", "--dry-run"],
            2,
            "2262-04-11",
        ),
        (["frobnicate"], 2, "frobnicate"),
        (["show"], 2, "RUN"),
    ],
)
def test_what_goes_wrong_is_said_on_standard_error_with_its_exit_code(
    tallystick, arguments, code, says
):
    done = tallystick(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    if code > 2:
        assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_ledger_is_left_as_it_was(tallystick, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("x" * 4_096)
    done = tallystick("verify", "--ledger", str(file))
    assert done.returncode == 3
    assert "no Tallystick ledger" in done.stderr
    assert file.read_text() == "x" * 4_096


def test_reading_changes_no_row_and_makes_no_ledger(tallystick, tmp_path):
    assert tallystick("runs", "--ledger", str(tmp_path / "new.db")).returncode == 3
    assert not (tmp_path / "new.db").exists()


def test_an_empty_ledger_is_no_error_but_has_no_last_run(tallystick, tmp_path):
    path = tmp_path / "empty.db"
    open_ledger(path).close()
    for command in ("runs", "report"):
        done = tallystick(command, "--ledger", str(path))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.startswith("No ")
    assert tallystick("show", "last", "--ledger", str(path)).returncode == 4
    assert json.loads(tallystick("runs", "--json", "--ledger", str(path)).stdout) == {"runs": []}


def test_the_ledger_may_be_named_before_or_after_the_command(tallystick, ledger_file):
    before = tallystick("--ledger", str(ledger_file), "runs", TALLYSTICK_URL="missing.db")
    after = tallystick("runs", "--ledger", str(ledger_file), TALLYSTICK_URL="missing.db")
    assert before.stdout == after.stdout != ""


@pytest.mark.parametrize("command", ["runs", "show", "report", "verify"])
def test_the_help_of_each_command_has_examples(tallystick, command):
    done = tallystick(command, "--help")
    assert done.returncode == 0
    assert f"\n    tallystick {command}" in done.stdout.partition("Examples:")[2]
    assert not ANSI.search(done.stdout)


def test_help_names_each_command_and_loads_nothing_heavy():
    program = (
        "import sys; sys.argv = ['tallystick', '--help']\n"
        "from tallystick.cli.app import run\n"
        "code = run()\n"
        "heavy = {'genai_prices', 'agents', 'openai', 'tiktoken', 'sqlalchemy', 'pydantic'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)), code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for command in ("runs", "show", "report", "verify", "demo"):
        assert f"\n  {command} " in done.stdout
    assert done.stdout.endswith("LOADED [] 0\n")


def test_the_version_is_that_of_the_package(tallystick):
    import tallystick as package

    assert tallystick("--version").stdout == f"tallystick {package.__version__}\n"


def test_no_arguments_print_the_help(tallystick):
    done = tallystick()
    assert "Begin with:" in done.stdout + done.stderr
