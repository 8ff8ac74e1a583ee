"""Several processes on one ledger, whole and killed, against the provider's own ledger."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

import tallystick
from comparing import assert_equal, kept
from tallystick.testing import Provider, Slow, ToolCall

WORKER = Path(__file__).with_name("worker.py")


def start(provider, path, first, number):
    return subprocess.Popen(
        [sys.executable, str(WORKER), provider.base_url, str(path), str(first), str(number)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answer(request):
    """Call a tool first, then answer."""
    return "Done." if request.tool_outputs else ToolCall("look")


@pytest.mark.slow
def test_eight_processes_of_fifty_runs_lose_nothing(tmp_path):
    """Every request that the provider served is in the ledger, once, with what it billed."""
    path = tmp_path / "usage.db"
    with Provider() as provider:
        provider.script(answer, repeat=True)
        workers = [start(provider, path, 50 * number, 50) for number in range(8)]
        for worker in workers:
            output, errors = worker.communicate(timeout=120)
            assert (worker.returncode, errors) == (0, "")
            assert output.split() == ["ready", "100", "0"]
        assert len(provider.served) == 800
        with tallystick.open(path, on_fault="raise") as tally:
            assert_equal(tally, provider)
            ours = Counter(entry.tags["case"] for entry in kept(tally))
            assert ours == Counter(r.headers["x-tallystick-case"] for r in provider.served)
            assert tally.ledger.verify().ok


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_process_killed_at_any_moment_leaves_no_served_request_without_a_row(tmp_path, seed):
    """Intent is committed before action (I2, I4): what was served is settled or in doubt."""
    chance = random.Random(seed)
    path = tmp_path / "usage.db"
    with Provider(slow=Slow(before=0.01)) as provider:
        provider.script(answer, repeat=True)
        workers = [start(provider, path, 1000 * number, 100) for number in range(2)]
        for worker in workers:
            wanted = len(provider.served) + chance.randint(1, 60)
            deadline = time.monotonic() + 60
            while len(provider.served) < wanted and time.monotonic() < deadline:
                time.sleep(chance.uniform(0.001, 0.01))
            worker.kill()
        for worker in workers:
            worker.communicate(timeout=30)
        assert provider.wait()
        with tallystick.open(path, on_fault="raise") as tally:
            entries = kept(tally)
            ours = Counter(entry.tags["case"] for entry in entries)
            served = Counter(r.headers["x-tallystick-case"] for r in provider.served)
            assert served
            assert served - ours == Counter()
            # Opening the ledger has put in doubt what the dead had left held.
            assert {entry.status for entry in entries} <= {"settled", "in_doubt", "released"}
            assert tally.ledger.verify().ok
            told = {entry.response_id: entry for entry in entries if entry.status == "settled"}
            for record in provider.served:
                entry = told.get(record.response_id)
                if entry is not None:
                    assert entry.total_tokens == record.total_tokens
