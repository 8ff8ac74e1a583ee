"""Real processes on one budget, whole and killed, against the provider's own ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import tallystick
from tallystick import Budget
from tallystick.ledger import open_ledger
from tallystick.testing import Provider, Slow

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and kills are of POSIX"),
]

HERE = Path(__file__).parent
RATES = """
[[rates]]
model = "gpt-5-mini"
input_per_million = 1
output_per_million = 4

[[rates]]
model = "own-model"
input_per_million = 1
output_per_million = 4
"""


def cost(served):
    """What the provider billed for a request, in nanodollars."""
    return (served.input_tokens or 0) * 1_000 + (served.output_tokens or 0) * 4_000


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tallystick.toml"
    path.write_text(RATES)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "usage.db"


def set_budget(path, **limits):
    budget = Budget(per="all", warn_at=None, **limits)
    clock = tallystick.clock.Clock()
    with open_ledger(path) as ledger:
        row = budget.row(clock.id("budget"), clock.now(), name="house")
        assert ledger.set_budget(row).result()
        return row.id


def test_processes_never_spend_more_than_one_budget_and_nearly_all_of_it(
    tmp_path, path, config, request, capsys
):
    """I1: 16 processes of 64 tasks (--full; else 4 of 16) until every task is refused."""
    processes, tasks = (16, 64) if request.config.getoption("full", False) else (4, 16)
    # Some three requests for each task; a hold is a small part of it.
    limit = max(processes * tasks * 3 * 80_000, 30_000_000)
    budget = set_budget(path, usd=f"{limit / 10**9:.9f}", min_output_tokens=16)
    began = time.monotonic()
    with Provider() as provider:
        workers = [
            subprocess.Popen(
                [
                    *(sys.executable, "-W", "error", str(HERE / "spender.py")),
                    *(provider.base_url, str(path), str(config), str(tasks)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for _ in range(processes)
        ]
        try:
            for worker in workers:
                assert worker.stdout.readline() == "ready\n", worker.communicate()
            for worker in workers:
                worker.stdin.write("\n")
                worker.stdin.flush()
            counts = Counter()
            for worker in workers:
                output, errors = worker.communicate(timeout=300)
                assert (worker.returncode, errors) == (0, "")
                names = ("answered", "refused", "uncertain", "faults")
                counts.update(dict(zip(names, map(int, output.split()), strict=True)))
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
        assert provider.wait()
        billed = sum(cost(served) for served in provider.served)
        answered = provider.totals().requests
    with capsys.disabled():
        print(
            f" {processes} x {tasks}: {answered} answered, {counts['uncertain']} uncertain, "
            f"{counts['faults']} faults, {billed / limit:.2%} of the budget billed, "
            f"{time.monotonic() - began:.0f} s"
        )
    assert billed <= limit
    assert billed >= 0.98 * limit
    assert counts["answered"] == answered
    assert counts["refused"] == processes * tasks
    with open_ledger(path) as ledger:
        (balance,) = ledger.balances(budget)
        assert (balance.spent.nanodollars, balance.held.nanodollars) == (billed, 0)
        assert balance.debt.nanodollars == 0
        assert ledger.verify().problems == ()


def test_killed_processes_are_never_charged_less_than_was_served(
    tmp_path, path, config, request, capsys
):
    """I3, I4: 50 kills at any moment, or 1,000 with --full; what was never sent is free again."""
    kills = 1_000 if request.config.getoption("full", False) else 50
    budget = set_budget(path, usd=1_000)
    notes = tmp_path / "notes.txt"
    began = time.monotonic()
    with Provider(slow=Slow(before=0.002, between=0.0005)) as provider:
        arguments = (provider.base_url, path, config, kills, 7, notes)
        killer = subprocess.run(
            [sys.executable, str(HERE / "killed.py"), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=540,
            check=False,
        )
        assert (killer.returncode, killer.stdout) == (0, f"killed {kills}\n"), killer.stderr
        assert provider.wait(30)
        served = {record.headers["x-tallystick-case"]: record for record in provider.served}
        assert len(served) == len(provider.served)
    with open_ledger(path) as ledger:
        assert ledger.verify().problems == ()
        (balance,) = ledger.balances(budget)
        rows = ledger.query(
            "SELECT entries.id, tags ->> '$.case', entries.status, holds.status, nanodollars, "
            "spent_nanodollars, entries.total_tokens, error_type FROM entries "
            "JOIN holds ON holds.entry_id = entries.id"
        )
    charged, charged_for = 0, {}
    for entry_id, case, status, hold, held, spent, tokens, why in rows:
        assert status != "held"
        charge = {"settled": spent, "held": held, "released": 0}[hold]
        charged += charge
        assert case not in charged_for
        charged_for[case] = charge
        record = served.get(case)
        if why == "never_sent":
            assert record is None, entry_id
        if record is not None:
            assert charge >= cost(record), (entry_id, status, record)
            assert status != "settled" or tokens == record.total_tokens
    assert served.keys() <= charged_for.keys()
    assert balance.spent.nanodollars + balance.held.nanodollars == charged
    statuses = {row[0]: (row[2], row[7]) for row in rows}
    killed_at = Counter()
    for line in notes.read_text().splitlines():
        point, entry_id = line.split()
        killed_at[point] += 1
        if point == "held":
            assert statuses[entry_id] == ("released", "never_sent")
        if point in {"marked", "answered"}:
            assert statuses[entry_id][0] == "in_doubt"
        if point == "settled":
            assert statuses[entry_id][0] == "settled"
    assert killed_at["held"] > 0
    billed = sum(map(cost, served.values()))
    assert charged >= billed
    with capsys.disabled():
        ends = Counter(row[2] for row in rows)
        print(
            f" {kills} kills ({dict(killed_at)}): {len(served)} served, {dict(ends)}, "
            f"charged {charged / billed:.3f} of billed, {time.monotonic() - began:.0f} s"
        )
