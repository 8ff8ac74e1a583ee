"""Fixtures that tests in several folders share."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

RECORDED = Path(__file__).parents[1] / ".." / "shared" / "corpus" / "recorded.jsonl.gz"


@pytest.fixture(scope="session")
def corpus():
    """Recorded responses of real providers, as a list of dicts."""
    path = Path(os.environ.get("TALLYSTICK_CORPUS", RECORDED))
    if not path.exists():
        pytest.skip(f"no recorded responses at {path}; TALLYSTICK_CORPUS names another place")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
