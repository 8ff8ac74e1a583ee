"""Opening a ledger: where it is, what may be there already, and who may read it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import sys
import time
from pathlib import Path

import pytest

from tallystick.errors import ConfigError, LedgerTooNew, LedgerUnavailable, NotALedger
from tallystick.ledger import open_ledger
from tallystick.ledger.location import locate
from tallystick.ledger.schema import APPLICATION_ID, MIGRATIONS, VERSION


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def test_urls_are_read_as_sqlalchemy_reads_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert locate("sqlite:///a/b.db").path == tmp_path / "a" / "b.db"
    assert locate("sqlite:////a/b.db").path == Path("/a/b.db")
    assert locate("b c%20?.db").path == tmp_path / "b c%20?.db"
    assert locate(Path("/x/y.db")).path == Path("/x/y.db")
    assert locate(":memory:").path is None
    assert locate("sqlite://").path is None
    assert locate(locate("b.db").url).path == tmp_path / "b.db"


def test_a_relative_ledger_stays_where_it_was_opened(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    with open_ledger("sqlite:///odd name%20?#.db") as ledger:
        monkeypatch.chdir("/")
        make.settle(ledger, make.run(ledger))
        assert ledger.path == tmp_path / "odd name%20?#.db"
        assert ledger.path.exists()
        assert ledger.verify().ok


@pytest.mark.parametrize("url", ["mysql://root:secret@host/db", "sqlite://relative", "sqlite:///"])
def test_a_url_of_another_kind_is_refused_without_repeating_a_password(url):
    with pytest.raises(ConfigError) as refusal:
        open_ledger(url)
    assert "secret" not in str(refusal.value)


def test_postgresql_says_that_it_is_not_there_yet():
    with pytest.raises(LedgerUnavailable, match="not there yet") as refusal:
        open_ledger("postgresql://me:secret@host/db")
    assert "secret" not in str(refusal.value)


def test_without_a_url_the_environment_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TALLYSTICK_URL", f"sqlite:///{tmp_path}/env.db")
    with open_ledger() as ledger:
        assert ledger.path == tmp_path / "env.db"


@pytest.mark.skipif(sys.platform != "linux", reason="the folder's place is told by XDG there")
def test_without_any_word_it_is_in_the_users_data_folder_that_only_they_can_read(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("TALLYSTICK_URL", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    with open_ledger() as ledger:
        assert ledger.path == tmp_path / "data" / "tallystick" / "usage.db"
        assert mode(ledger.path.parent) == 0o700


@pytest.mark.skipif(os.name == "nt", reason="modes are of POSIX")
def test_all_files_can_be_read_by_their_owner_only(path, make):
    old = os.umask(0)
    try:
        with open_ledger(path) as ledger:
            make.settle(ledger, make.run(ledger))
            files = {file.name: mode(file) for file in path.parent.iterdir()}
            locks = [mode(file) for file in path.with_name("usage.db-processes").iterdir()]
    finally:
        os.umask(old)
    assert files == {
        "usage.db": 0o600,
        "usage.db-wal": 0o600,
        "usage.db-shm": 0o600,
        "usage.db-processes": 0o700,
    }
    assert locks == [0o600]


def test_nothing_but_the_ledger_is_left_when_it_is_closed(path, make):
    with open_ledger(path) as ledger:
        make.settle(ledger, make.run(ledger))
    assert [file.name for file in path.parent.iterdir()] == ["usage.db"]


def test_an_empty_file_becomes_a_ledger(path):
    path.touch(0o644)
    with open_ledger(path) as ledger:
        assert ledger.verify().ok
    assert mode(path) == 0o600


def test_a_file_that_is_no_database_is_refused_and_untouched(path):
    path.write_bytes(bytes(range(256)) * 40)
    before = contents(path.parent)
    for read_only in (False, True):
        with pytest.raises(NotALedger, match=r"usage\.db"):
            open_ledger(path, read_only=read_only)
    assert contents(path.parent) == before


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("application", [0, 77])
def test_another_applications_database_is_refused_and_untouched(path, journal, application):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(f"PRAGMA journal_mode = {journal}")
    other.execute(f"PRAGMA application_id = {application}")
    other.execute("CREATE TABLE theirs (x)")
    if journal == "DELETE":
        other.close()
    before = contents(path.parent)
    with pytest.raises(NotALedger, match="another application"):
        open_ledger(path)
    assert contents(path.parent) == before
    other.close()


def test_a_short_or_cut_file_is_refused(path):
    path.write_bytes(b"SQLite format 3\0short")
    with pytest.raises(NotALedger):
        open_ledger(path)


def test_a_damaged_ledger_says_so(path, make):
    with open_ledger(path) as ledger:
        make.settle(ledger, make.run(ledger))
    data = bytearray(path.read_bytes())
    data[100:] = b"\x55" * (len(data) - 100)
    path.write_bytes(data)
    with pytest.raises(LedgerUnavailable, match="damaged"), open_ledger(path) as ledger:
        ledger.runs()


def test_a_ledger_of_a_newer_version_is_refused_and_untouched(path):
    open_ledger(path).close()
    other = sqlite3.connect(path)
    other.execute(f"PRAGMA user_version = {VERSION + 1}")
    other.close()
    before = contents(path.parent)
    for read_only in (False, True):
        with pytest.raises(LedgerTooNew, match="upgrade Tallystick"):
            open_ledger(path, read_only=read_only)
    assert contents(path.parent) == before


@pytest.mark.parametrize(
    ("place", "words"),
    [("", "is a folder"), ("missing/usage.db", "does not exist"), ("file/usage.db", "exist")],
)
def test_a_place_that_cannot_be_is_said_in_words(tmp_path, place, words):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match=words):
        open_ledger(tmp_path / place)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is a folder that root cannot write")
def test_a_folder_that_cannot_be_written_is_said_in_words():
    with pytest.raises(LedgerUnavailable, match="cannot be"):
        open_ledger("/proc/usage.db")


def test_a_read_only_file_is_said_in_words(path, monkeypatch):
    open_ledger(path).close()
    # Permission bits do not stop root, so the system's answer is given here.
    may = os.access
    monkeypatch.setattr(os, "access", lambda at, how: at != path and may(at, how))
    with pytest.raises(LedgerUnavailable, match="file is read-only"):
        open_ledger(path)


def test_a_ledger_opened_to_be_read_is_read_while_another_writes(ledger, make):
    run = make.run(ledger)
    entry = make.settle(ledger, run)
    with open_ledger(ledger.path, read_only=True) as reader:
        assert reader.usage(run.id) == ledger.usage(run.id)
        assert reader.verify().ok
        with pytest.raises(LedgerUnavailable, match="read only"):
            reader.hold(make.entry(run), started_ns=1).result(5)
        make.settle(ledger, run)
        assert reader.totals(run.id).requests == 2
        assert reader.entry(entry.id).input_tokens == 100


def test_opening_to_read_makes_nothing(path):
    with pytest.raises(LedgerUnavailable, match="no ledger at"):
        open_ledger(path, read_only=True)
    assert not path.exists()
    path.touch()
    with pytest.raises(NotALedger, match="empty"):
        open_ledger(path, read_only=True)


def test_a_ledger_that_was_moved_away_is_missed_and_found_again(ledger, make, path):
    run = make.run(ledger)
    time.sleep(0.06)
    away = path.with_name("away.db")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).rename(away.with_name(away.name + suffix))
    with pytest.raises(LedgerUnavailable, match="moved or deleted"):
        ledger.hold(make.entry(run), started_ns=1).result(5)
    for suffix in ("", "-wal", "-shm"):
        moved = away.with_name(away.name + suffix)
        if moved.exists():
            moved.rename(path.with_name(path.name + suffix))
    make.settle(ledger, run)
    assert ledger.verify().ok


@pytest.mark.parametrize(("durability", "level"), [("normal", 1), ("full", 2)])
def test_durability_is_as_asked(path, durability, level):
    with open_ledger(path, durability=durability) as ledger:
        writing = ledger._store._writing
        assert writing.execute("PRAGMA synchronous").fetchone() == (level,)
        assert writing.execute("PRAGMA journal_mode").fetchone() == ("wal",)


RELEASED = {
    1: "d4e3cb2f47531031",
    2: "a0678a97cbd7110f",
    3: "d0516c347ac64f5c",
    4: "90103bc3ec3e30cd",
    5: "a388320ccf06e551",
}
"""The hash of each migration that was released. Never change one: append a migration."""


def test_migrations_are_numbered_and_never_change():
    assert [migration.number for migration in MIGRATIONS] == list(range(1, VERSION + 1))
    hashes = {
        migration.number: hashlib.sha256("\0".join(migration.statements).encode()).hexdigest()[:16]
        for migration in MIGRATIONS
    }
    assert hashes == RELEASED


def test_a_new_ledger_carries_its_marks_in_the_file_itself(path):
    """The header is read without SQLite, so it must not be in the log only."""
    with open_ledger(path):
        header = path.read_bytes()[:100]
        assert int.from_bytes(header[68:72], "big") == APPLICATION_ID
        assert int.from_bytes(header[60:64], "big") == VERSION


def test_a_header_that_is_ahead_of_its_file_is_no_damage(path, make):
    """So it is for a moment while another process moves the log into the file."""
    with open_ledger(path) as ledger:
        run = make.run(ledger)
        for _ in range(100):
            make.settle(ledger, run)
        with path.open("r+b") as file:
            file.seek(28)
            pages = int.from_bytes(file.read(4), "big")
            file.seek(28)
            file.write((pages + 50).to_bytes(4, "big"))
        with open_ledger(path) as other:
            assert len(other.runs()) == 1
