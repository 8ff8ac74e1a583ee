"""Requests and runs as values, made with as few words as a test needs."""

import pytest

from tallystick.attribution import Attribution
from tallystick.clock import timestamp
from tallystick.ledger import RunRow
from tallystick.usage import RequestUsage

START = 1_795_000_000_000_000_000


@pytest.fixture
def entry():
    """Make a request that started so many seconds after the start."""

    def make(at=0.0, *, run_id="run_a", **fields):
        known = {
            "run_id": run_id,
            "model": "gpt-5-mini",
            "agent": "Triage",
            "status": "settled",
            "outcome": "completed",
            "started_at": timestamp(START + int(at * 1e9)),
            "duration": 1.0,
            "input_tokens": 100,
            "output_tokens": 10,
            "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
            "cost_nanodollars": 45_000,
        }
        return RequestUsage(**{**known, **fields})

    return make


@pytest.fixture
def run():
    """Make a run that started so many seconds after the start and took so long."""

    def make(identity="run_a", at=0.0, took=10.0, *, parent=None, name="support-desk", **who):
        started = START + int(at * 1e9)
        return RunRow(
            id=identity,
            parent_id=parent,
            root_id=identity if parent is None else parent,
            name=name,
            host="openai-agents",
            started_at=started,
            ended_at=None if took is None else started + int(took * 1e9),
            outcome=None if took is None else "completed",
            attribution=Attribution(**who),
        )

    return make
