"""A tally with the demo's own rates, that raises every fault of its own."""

from pathlib import Path

import pytest

import tallystick
import tallystick.demo

RATES = Path(tallystick.demo.__file__).with_name("rates.toml")


@pytest.fixture
def tally(tmp_path):
    with tallystick.open(tmp_path / "usage.db", config=RATES, on_fault="raise") as opened:
        opened.track("openai-agents")
        yield opened
        opened.untrack("openai-agents")
        assert opened.faults == 0
        assert opened.ledger.verify().ok
