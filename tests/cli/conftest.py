"""A ledger with every kind of entry in it, and consoles and processes to show it with."""

import io
import os
import subprocess
import sys

import pytest

from tallystick.attribution import Attribution
from tallystick.cli.app import run as run_command
from tallystick.cli.terminal import Terminal
from tallystick.clock import Clock, timestamp
from tallystick.ledger import RunRow, open_ledger
from tallystick.usage import RequestUsage

COMMAND = [sys.executable, "-W", "error", "-c", "from tallystick.cli import main; main()"]

START = 1_795_000_000_000_000_000

TRIAGE = "run_01a1ee5780006f1c83d5e1a94b27c0d8"
FLIGHTS = "run_01a1ee577ed0b7e2640f95c8ad137b21"
DIGEST = "run_01a1ee5a8d40d2916be03c7f5a4481ee"

NO_PRICE = "no price is known for gemma-3-270m; set one in tallystick.toml"


def request(number, at, run_id=TRIAGE, **fields):
    known = {
        "id": f"req_{number}",
        "run_id": run_id,
        "provider": "openai",
        "model": "gpt-5-mini",
        "agent": "Triage",
        "turn": 1,
        "status": "settled",
        "outcome": "completed",
        "started_at": timestamp(START + int(at * 1e9)),
        "duration": 1.5,
        "input_tokens": 1_204,
        "output_tokens": 88,
        "input_tokens_details": {"cached_tokens": 1_024, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
        "customer": "acme",
        "session": "s-42",
        "cost_nanodollars": 246_600,
        "tags": {"feature": "booking"},
    }
    return RequestUsage(**{**known, **fields})


def entries():
    local = {"provider": "local", "model": "gemma-3-270m", "cost_nanodollars": None}
    return [
        request(1, 0.2),
        request(
            2, 1.9, turn=2, outcome="error", error_type="500", duration=0.1,
            input_tokens=0, output_tokens=0, cost_nanodollars=0,
            input_tokens_details={"cached_tokens": 0}, output_tokens_details=None,
        ),
        request(3, 2.1, turn=2, duration=3.0, output_tokens=410),
        request(
            4, 2.8, run_id=FLIGHTS, agent="Flights", price_reason=NO_PRICE,
            input_tokens_details=None, **local,
        ),
        request(
            5, 5.4, turn=3, agent="Billing", status="in_doubt", outcome="cancelled",
            error_type="CancelledError", estimated=True, cost_estimated=True,
            cost_nanodollars=98_000, price_reason="the counts are an estimate",
            input_tokens_details=None, output_tokens_details=None,
        ),
        request(6, 7.0, turn=4, status="held", outcome=None, duration=None,
                input_tokens=None, output_tokens=None, cost_nanodollars=None),
    ]  # fmt: skip


def runs():
    who = Attribution(customer="acme", session="s-42")
    at = {name: START + seconds * 10**9 for name, seconds in (("flights", 2), ("digest", 200))}
    ended = START + 8 * 10**9
    triage = RunRow(
        TRIAGE, None, TRIAGE, "support-desk", "openai-agents", START, ended, "completed", who
    )
    return [
        triage,
        RunRow(FLIGHTS, TRIAGE, TRIAGE, "Flights", None, at["flights"], at["flights"] + 3 * 10**9,
               "completed", who),
        RunRow(DIGEST, None, DIGEST, "nightly-digest", None, at["digest"], None, None,
               Attribution(customer="Zoë")),
    ]  # fmt: skip


def fill(ledger):
    """Write the runs and entries; what is held stays held."""
    for run in runs():
        ledger.open_run(run).result()
    for entry in [*entries(), request(7, 200.5, run_id=DIGEST, customer=None, tags=None)]:
        at = int(float(entry.started_at.timestamp()) * 1e9)
        ledger.hold(entry.replace(status="held"), started_ns=at).result()
        if entry.status != "held":
            ledger.finish(entry).result()
    for run in runs():
        if run.ended_at is not None:
            ledger.close_run(run.id, run.ended_at, run.outcome).result()


@pytest.fixture(scope="session")
def ledger_file(tmp_path_factory):
    """The file of a ledger whose writer is still there, as in a program that runs."""
    path = tmp_path_factory.mktemp("ledger") / "usage.db"
    with open_ledger(path, clock=Clock()) as ledger:
        fill(ledger)
        yield path


@pytest.fixture
def console():
    """Make a console of a width, without colour, whose text is in `console.file`."""

    def make(width=80, encoding="utf-8"):
        class Screen(io.StringIO):
            @property
            def encoding(self):
                return encoding

        return Terminal(
            file=Screen(), width=width, color_system=None, force_terminal=True, legacy_windows=False
        )

    return make


@pytest.fixture
def environment(ledger_file, tmp_path):
    """What a process of the command is given."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "TALLYSTICK_URL": str(ledger_file),
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.fixture
def process(environment, tmp_path):
    """Run the command in a process of its own."""

    def run(*arguments, **more):
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            timeout=30,
            encoding="utf-8",
            env={**environment, **more},
            cwd=tmp_path,
            check=False,
        )

    return run


@pytest.fixture
def tallystick(environment, tmp_path, monkeypatch, capsys):
    """Run the command in this process, which is much faster; the same is returned."""

    def run(*arguments, **more):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["tallystick", *arguments])
        for name, value in {**environment, **more}.items():
            monkeypatch.setenv(name, value)
        code = run_command()
        printed = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return run


@pytest.fixture
def closed_ledger_file(tmp_path):
    """The file of such a ledger that nobody has open: what was held is in doubt."""
    path = tmp_path / "closed.db"
    with open_ledger(path, clock=Clock()) as ledger:
        fill(ledger)
    return path
