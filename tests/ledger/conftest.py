"""A ledger in a file of its own, and runs and entries to write to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.clock import Clock
from tallystick.ledger import Amounts, Ask, BudgetRow, Claim, Ledger, RunRow, open_ledger
from tallystick.usage import RequestUsage

SOURCE = Path(__file__).parents[2] / "src"


class Maker:
    """Makes runs and entries with new ids."""

    def __init__(self) -> None:
        self.clock = Clock()

    def run(self, ledger: Ledger, parent: RunRow | None = None, name: str = "trip") -> RunRow:
        """Open a run and wait for it."""
        row = self.row(parent, name)
        assert ledger.open_run(row).result(10)
        return row

    def row(self, parent: RunRow | None = None, name: str = "trip") -> RunRow:
        identity = self.clock.id("run")
        root = identity if parent is None else parent.root_id
        above = None if parent is None else parent.id
        return RunRow(identity, above, root, name, "openai-agents", self.clock.now())

    def entry(self, run: RunRow, **fields) -> RequestUsage:
        fields = {"id": self.clock.id("req"), "status": "held", "model": "gpt-5", **fields}
        return RequestUsage(run_id=run.id, **fields)

    def hold(self, ledger: Ledger, run: RunRow, **fields) -> RequestUsage:
        entry = self.entry(run, **fields)
        assert ledger.hold(entry, started_ns=self.clock.now()).result(10)
        return entry

    def settle(self, ledger: Ledger, run: RunRow, **fields) -> RequestUsage:
        """Hold and settle one request, and return the entry as it was settled."""
        entry = self.hold(ledger, run).replace(
            **{"status": "settled", "input_tokens": 100, "output_tokens": 20, **fields}
        )
        assert ledger.finish(entry).result(10)
        return entry

    def budget(self, name="team", *, per="all", run=None, **limits) -> BudgetRow:
        """Make a budget; ``nanodollars=…``, ``tokens=…`` and ``requests=…`` are its limits."""
        known = {field: limits.pop(field) for field in tuple(limits) if field in Amounts._fields}
        run_id = None if run is None else run.id
        return BudgetRow(
            self.clock.id("budget"),
            name,
            "run" if run else per,
            Amounts(**known),
            self.clock.now(),
            run_id,
            **limits,
        )

    def hold_on(self, ledger: Ledger, run: RunRow, *claims: Claim, **fields) -> RequestUsage:
        """Hold on budgets: 100 nanodollars and 44 tokens, less where they afford less."""
        entry = self.entry(run, **fields)
        ask = Ask(60, 1, 4, 1, output_tokens=40, least=1)
        version = ledger.budget_version()
        ledger.hold(
            entry, started_ns=self.clock.now(), ask=ask, claims=claims, version=version
        ).result(10)
        return entry


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "usage.db"


@pytest.fixture
def ledger(path):
    with open_ledger(path) as ledger:
        yield ledger


@pytest.fixture
def python(tmp_path):
    """Start Python on a script, in a process of its own that is killed with the test."""
    started = []

    def start(script: str, *arguments: object) -> subprocess.Popen[str]:
        file = tmp_path / f"script{len(started)}.py"
        file.write_text(PREAMBLE + script)
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(file), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


PREAMBLE = """
import os, random, signal, sys, threading, time
from tallystick.clock import Clock
from tallystick.errors import LedgerUnavailable
from tallystick.ledger import RunRow, open_ledger
from tallystick.usage import RequestUsage

clock = Clock()

def open_run(ledger):
    run = RunRow(id := clock.id("run"), None, id, "trip", None, clock.now())
    ledger.open_run(run).result()
    return run

def held(run):
    return RequestUsage(id=clock.id("req"), run_id=run.id, status="held", model="gpt-5")

def settled(entry, tokens=10):
    return entry.replace(status="settled", input_tokens=tokens, output_tokens=1)

"""
