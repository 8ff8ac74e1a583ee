"""Books are kept, prices made later are appended, and entries stay as they are (I7)."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading

import pytest

from tallystick.errors import LedgerError
from tallystick.ledger import Adjustment, open_ledger
from tallystick.ledger.adjustment import books_of, packed

CONTENT = b'{"providers":[]}'
BOOK = hashlib.sha256(CONTENT).hexdigest()[:16]


def adjustment(entry, amount, *, batch="one", status="settled", **fields):
    known = {"book": BOOK, "rule": "book: test", "reason": None, "made_at": 5, **fields}
    return Adjustment(
        entry.id, status, cost_nanodollars=amount, cost_estimated=False, batch=batch, **known
    )


@pytest.fixture
def entry(ledger, make):
    return make.settle(ledger, make.run(ledger), cost_nanodollars=500, price_book=BOOK)


def test_an_adjustment_gives_an_entry_another_price_and_changes_nothing_in_it(ledger, entry):
    """I7: the entry, its usage and its totals are as they were written."""
    usage, totals = ledger.usage(entry.run_id), ledger.totals(entry.run_id)
    before = ledger.query("SELECT * FROM entries")
    assert ledger.adjust([adjustment(entry, 700)]).result() == 1
    assert ledger.query("SELECT * FROM entries") == before
    assert ledger.entry(entry.id).cost_nanodollars == 500
    assert ledger.usage(entry.run_id) == usage
    assert ledger.totals(entry.run_id) == totals
    (adjusted,) = ledger.entries(entry.run_id, adjusted=True)
    assert (adjusted.cost_nanodollars, adjusted.price_rule) == (700, "book: test")
    plain = {"cost_nanodollars": 500, "price_rule": None, "cost_estimated": False}
    plain["price_book"] = BOOK
    assert adjusted.replace(**plain).to_dict() == ledger.entry(entry.id).replace(**plain).to_dict()
    assert list(ledger.entries_between(adjusted=True)) == [adjusted]
    assert ledger.repriced_between() == 1
    assert ledger.verify().problems == ()


def test_adjustments_make_a_chain_and_the_newest_counts(ledger, entry):
    for number, amount in enumerate((700, None, 900)):
        reason = "no rate" if amount is None else None
        made = adjustment(entry, amount, batch=str(number), reason=reason)
        assert ledger.adjust([made]).result() == 1
        (now,) = ledger.entries(entry.run_id, adjusted=True)
        assert now.cost_nanodollars == amount
    found = ledger.adjustments(entry.id)
    assert [made.previous_nanodollars for made in found] == [500, 700, None]
    assert [made.number for made in found] == [1, 2, 3]
    assert found == ledger.adjustments(run_id=entry.run_id) == ledger.adjustments(since=5)
    assert ledger.adjustments(since=6) == ledger.adjustments("req_other") == []
    found = ledger.verify()
    assert (found.ok, found.adjustments) == (True, 3)


def test_what_changes_nothing_is_not_appended(ledger, entry):
    assert ledger.adjust([adjustment(entry, 500)]).result() == 0
    assert ledger.adjust([adjustment(entry, 600)]).result() == 1
    assert ledger.adjust([adjustment(entry, 600, batch="two")]).result() == 0
    assert ledger.adjust([adjustment(entry, 800)]).result() == 0, "the same batch"
    assert len(ledger.adjustments()) == 1


def test_only_an_entry_that_is_settled_or_in_doubt_is_adjusted(ledger, make):
    run = make.run(ledger)
    held = make.hold(ledger, run)
    released = make.hold(ledger, run)
    assert ledger.finish(released.replace(status="released")).result()
    doubtful = make.hold(ledger, run)
    assert ledger.finish(doubtful.replace(status="in_doubt", cost_nanodollars=3)).result()
    made = [adjustment(entry, 9) for entry in (held, released, doubtful)]
    assert ledger.adjust(made).result() == 0
    assert ledger.adjust([adjustment(doubtful, 9, status="in_doubt")]).result() == 1
    with (
        contextlib.closing(sqlite3.connect(ledger.path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="settled or in doubt"),
    ):
        other.execute(
            "INSERT INTO adjustments (entry_id, status, cost_estimated, batch, made_at) "
            "VALUES (?, 'settled', 0, 'x', 1)",
            (held.id,),
        )


def test_an_adjustment_made_in_doubt_counts_no_more_once_the_entry_has_settled(ledger, make):
    run = make.run(ledger)
    entry = make.hold(ledger, run)
    assert ledger.finish(entry.replace(status="in_doubt", cost_nanodollars=3)).result()
    assert ledger.adjust([adjustment(entry, 9, status="in_doubt")]).result() == 1
    assert ledger.finish(entry.replace(status="settled", outcome="completed", input_tokens=1,
                                       cost_nanodollars=4)).result()  # fmt: skip
    assert [found.cost_nanodollars for found in ledger.entries(run.id, adjusted=True)] == [4]
    assert ledger.repriced_between() == 0
    assert ledger.adjust([adjustment(entry, 10)]).result() == 1
    assert ledger.verify().problems == ()


def test_adjustments_are_appended_all_or_none(ledger, entry, make):
    other = make.settle(ledger, make.run(ledger), cost_nanodollars=1)
    future = ledger.adjust([adjustment(other, 2), adjustment(entry, -1)])
    with pytest.raises(LedgerError, match="Adjust was refused"):
        future.result()
    assert ledger.adjustments() == []


@pytest.mark.parametrize("table", ["adjustments", "books"])
@pytest.mark.parametrize("change", ["UPDATE {} SET rowid = rowid + 1", "DELETE FROM {}"])
def test_adjustments_and_books_are_never_changed_or_deleted(ledger, entry, table, change):
    assert ledger.adjust([adjustment(entry, 7)]).result() == 1
    assert ledger.keep_book(BOOK, lambda: CONTENT).result()
    with (
        contextlib.closing(sqlite3.connect(ledger.path)) as other,
        pytest.raises(sqlite3.IntegrityError, match="never"),
    ):
        other.execute(change.format(table))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE adjustments SET previous_nanodollars = 501 WHERE number = 1", "was 501 before"),
        ("UPDATE adjustments SET previous_nanodollars = 1 WHERE number = 2", "was 1 before"),
        ("DELETE FROM adjustments WHERE number = 1", "adjustment 2 says that the price was 700"),
        ("UPDATE adjustments SET entry_id = 'req_x' WHERE number = 2", "of the entry req_x"),
        ("UPDATE entries SET status = 'in_doubt'", "neither settled nor in doubt as it says"),
        ("UPDATE adjustments SET cost_nanodollars = -4 WHERE number = 2", "has -4 for an amount"),
        ("UPDATE entries SET cost_nanodollars = 501", "was 500 before"),
        ("UPDATE books SET content = x'00'", "is damaged"),
        ("UPDATE books SET hash = '0123456789abcdef'", "another content than its name says"),
    ],
)
def test_verify_finds_what_was_changed_behind_its_back(path, make, change, words):
    with open_ledger(path) as ledger:
        entry = make.settle(ledger, make.run(ledger), cost_nanodollars=500, price_book=BOOK)
        ledger.keep_book(BOOK, lambda: CONTENT).result()
        for batch, amount in (("one", 700), ("two", 800)):
            ledger.adjust([adjustment(entry, amount, batch=batch)]).result()
        found = ledger.verify()
        assert (found.problems, found.notes, found.books) == ((), (), 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        listing = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        triggers = other.execute(listing).fetchall()
        for name, _ in triggers:
            other.execute(f"DROP TRIGGER {name}")
        assert other.execute(change).rowcount
        for _, sql in triggers:
            other.execute(sql)
    with open_ledger(path, read_only=True) as ledger:
        assert words in "\n".join(ledger.verify().problems)


def test_a_book_is_kept_once_and_read_back_as_it_was(ledger):
    assert ledger.book(BOOK) is None
    assert ledger.keep_book(BOOK, lambda: CONTENT).result() is True
    assert ledger.keep_book(BOOK, lambda: b"another").result() is False
    assert ledger.book(BOOK) == CONTENT


def test_closing_waits_for_a_book_that_is_being_kept(path):
    begun = threading.Event()

    def content():
        begun.wait(5)
        return CONTENT

    with open_ledger(path) as ledger:
        future = ledger.keep_book(BOOK, content)
        begun.set()
    assert future.result(0) is True
    with pytest.raises(LedgerError, match="is closed"):
        ledger.keep_book(BOOK, content).result()
    with open_ledger(path, read_only=True) as ledger:
        assert ledger.book(BOOK) == CONTENT


def test_a_book_that_cannot_be_read_fails_its_future_only(ledger):
    def content():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        ledger.keep_book(BOOK, content).result()
    assert ledger.verify().ok


def test_a_book_that_is_named_and_not_kept_is_a_note(ledger, entry, make):
    """Entries from before books were kept are no fault of the ledger."""
    both = f"{'a' * 16}+my+rates.toml:{'b' * 16}"
    make.settle(ledger, make.run(ledger), price_book=both, cost_nanodollars=1)
    found = ledger.verify()
    assert found.ok
    assert len(found.notes) == 3
    assert any(f"book {BOOK}: 1 prices name it" in note for note in found.notes)
    assert books_of(both) == ("a" * 16, f"my+rates.toml:{'b' * 16}")


def test_a_ledger_from_before_adjustments_is_migrated_when_it_is_written_to(path, monkeypatch):
    """What migration 1 made has the tables of migration 2 afterwards, and its entries."""
    from tallystick.ledger import schema, sqlite

    monkeypatch.setattr(sqlite, "MIGRATIONS", schema.MIGRATIONS[:1])
    monkeypatch.setattr(sqlite, "VERSION", 1)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        sqlite._migrate(old, 0, 1)
    monkeypatch.undo()
    with open_ledger(path) as ledger:
        assert ledger.query("PRAGMA user_version") == [(schema.VERSION,)]
        assert ledger.verify().problems == ()
        assert ledger.adjustments() == []


def test_what_is_packed_is_much_smaller():
    content = CONTENT * 1000
    assert len(packed(content)) < len(content) / 10
