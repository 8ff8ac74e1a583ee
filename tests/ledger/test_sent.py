"""The marks of what a process is about to send, as another finds them in its file."""

from __future__ import annotations

import os

import pytest

from tallystick.ledger import sent
from tallystick.ledger.sent import SentMarks, read_marks

pytestmark = pytest.mark.skipif(sent._boot() is None, reason="nothing names the boot here")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "proc_1"


@pytest.fixture
def marks(path):
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    made = SentMarks(descriptor)
    yield made
    made.close()
    os.close(descriptor)


def test_as_many_marks_are_read_back_as_were_made_and_not_taken_away(path, marks):
    """The file grows twice on the way."""
    names = [f"req_{number}" for number in range(900)]
    for name in names:
        marks.add(name)
    for name in names[::2]:
        marks.discard(name)
    assert read_marks(path) == frozenset(names[1::2])


def test_what_was_marked_before_the_machine_started_anew_says_nothing(path, marks, monkeypatch):
    marks.add("req_1")
    monkeypatch.setattr(sent, "_boot", lambda: b"another boot")
    assert read_marks(path) is None


def test_once_a_mark_was_not_made_the_file_says_nothing(path, marks, monkeypatch):
    """Else the request that has none would be taken for one that never left."""

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(sent, "_allot", full)
    for number in range(300):
        marks.add(f"req_{number}")
    assert read_marks(path) is None
