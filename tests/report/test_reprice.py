"""Repricing appends what another book says, is finished by doing it again, and changes no entry."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tallystick
from tallystick.clock import Clock, nanoseconds
from tallystick.errors import NotFound
from tallystick.ledger import open_ledger
from tallystick.pricing import Book, Prices
from tallystick.pricing.rates import parse
from tallystick.report import (
    Period,
    Pricing,
    entries_within,
    group,
    read_keys,
    reprice,
    waterfall_of,
)


def book(rate, since=None, later=None):
    """A book with one model at a rate in USD for a million input tokens, output free."""
    rates = {"input_mtok": rate, "output_mtok": "0"}
    prices = [[None, rates]]
    if since is not None:
        prices.append([["from", since], {"input_mtok": later, "output_mtok": "0"}])
    model = {"id": "gpt-5-mini", "match": ["equals", "gpt-5-mini"], "prices": prices}
    provider = {"id": "openai", "fallback": [], "models": [model]}
    return Book({"format": 1, "providers": [provider]})


OLD, NEW = book("1"), book("3")
OWN = b'[[rates]]\nmodel = "gpt-5-mini"\ninput_per_million = "7"\noutput_per_million = "0"\n'


@pytest.fixture
def ledger(tmp_path):
    with open_ledger(tmp_path / "usage.db", clock=Clock()) as opened:
        yield opened


@pytest.fixture
def keep(ledger, run, entry):
    """Write a run whose requests are priced by some prices, and keep their books."""

    def write(prices, *entries, identity="run_a"):
        ledger.open_run(run(identity)).result()
        written = []
        for number, given in enumerate(entries or (entry(0), entry(1), entry(2))):
            known = given.replace(id=f"req_{identity}_{number}", run_id=identity, provider="openai")
            if known.status in ("settled", "in_doubt") and known.outcome != "error":
                known = known.replace(**prices.quote(known).fields())
                for name, content in prices.contents(known.price_book or ""):
                    ledger.keep_book(name, content).result()
            at = nanoseconds(known.started_at)
            ledger.hold(known.replace(status="held"), started_ns=at).result()
            if known.status != "held":
                ledger.finish(known).result()
            written.append(known)
        return written

    return write


def do(ledger, prices, book="current", period=None, **more):
    pricing = Pricing(ledger, prices, book)
    clock = Clock()
    return reprice(
        ledger, pricing, period or Period(), batch=clock.id("rep"), made_at=clock.now(), **more
    )


def test_repricing_appends_the_difference_once_and_changes_no_entry(ledger, keep):
    """I7, and a second run appends nothing."""
    keep(Prices(book=OLD))
    before = ledger.query("SELECT * FROM entries")
    total = do(ledger, Prices(book=NEW)).total
    assert (total.entries, total.adjusted, total.kept) == (3, 3, 0)
    assert total.before.nanodollars == 3 * 100 * 1_000
    assert total.after.nanodollars == 3 * 100 * 3_000
    assert total.difference == 3 * 100 * 2_000
    assert ledger.query("SELECT * FROM entries") == before
    assert do(ledger, Prices(book=NEW)).total.adjusted == 0
    assert len(ledger.adjustments()) == 3
    assert ledger.book(NEW.hash) == NEW.content
    found = ledger.verify()
    assert (found.problems, found.notes, found.adjustments) == ((), (), 3)


def test_reports_show_the_newest_price_and_say_so(ledger, keep):
    keep(Prices(book=OLD))
    do(ledger, Prices(book=NEW))
    report = group(entries_within(ledger, Period()), read_keys("model"), repriced=3)
    assert report.total.cost_nanodollars == 3 * 100 * 3_000
    assert report.to_dict()["repriced"] == ledger.repriced_between() == 3
    shown = waterfall_of(ledger, ledger.run("run_a"))
    assert shown.totals.cost_nanodollars == 3 * 100 * 3_000
    (note,) = shown.notes
    assert (note.kind, note.requests) == ("repriced", 3)
    assert "openai/gpt-5-mini" in note.text
    assert ledger.usage("run_a").cost.nanodollars == 3 * 100 * 1_000


def test_a_dry_run_writes_nothing_and_comes_to_the_same(ledger, keep):
    keep(Prices(book=OLD))
    looked = do(ledger, Prices(book=NEW), write=False)
    assert ledger.adjustments() == []
    assert ledger.book(NEW.hash) is None
    assert do(ledger, Prices(book=NEW)) == looked


def test_the_rate_is_that_of_the_time_at_which_the_request_was_sent(ledger, keep, entry):
    before, after = entry(0), entry(86_400)
    dated = book("1", after.started_at.date().isoformat(), "5")
    keep(Prices(book=book("2")), before, after)
    do(ledger, Prices(book=dated))
    costs = [made.cost_nanodollars for made in ledger.adjustments()]
    assert costs == [100 * 1_000, 100 * 5_000]


def test_the_pinned_book_is_the_one_that_the_price_names(ledger, keep):
    keep(Prices(book=OLD))
    assert do(ledger, Prices(book=NEW), "pinned").total.adjusted == 0
    do(ledger, Prices(book=NEW), "current")
    total = do(ledger, Prices(book=NEW), OLD.hash).total
    assert (total.adjusted, total.after.nanodollars) == (3, 3 * 100 * 1_000)
    assert [made.previous_nanodollars for made in ledger.adjustments()] == (
        [100 * 1_000] * 3 + [100 * 3_000] * 3
    )


def test_a_price_whose_book_is_not_kept_stays_and_is_counted(ledger, keep, monkeypatch):
    monkeypatch.setattr(Prices, "contents", lambda *_: [])
    keep(Prices(book=OLD))
    total = do(ledger, Prices(book=NEW), "pinned").total
    assert (total.entries, total.adjusted, total.kept) == (3, 0, 3)
    assert total.after == total.before
    with pytest.raises(NotFound, match="holds no price book"):
        Pricing(ledger, Prices(book=NEW), OLD.hash)


def test_own_rates_are_not_lost_where_the_configuration_is_not_at_hand(ledger, keep):
    rates = parse(OWN, Path("tallystick.toml"))
    keep(Prices(rates, OLD))
    assert ledger.book(rates.book) == OWN
    assert do(ledger, Prices(book=NEW)).total.adjusted == 0
    cheaper = parse(OWN.replace(b'"7"', b'"6"'), Path("tallystick.toml"))
    total = do(ledger, Prices(cheaper, NEW)).total
    assert (total.adjusted, total.after.nanodollars) == (3, 3 * 100 * 6_000)


def test_a_list_price_less_a_discount_keeps_both_books(ledger, keep):
    terms = b'[[discounts]]\nprovider = "openai"\npercent = "10"\n'
    keep(Prices(parse(terms, Path("tallystick.toml")), OLD))
    assert do(ledger, Prices(book=NEW), "pinned").total.adjusted == 0
    total = do(ledger, Prices(book=NEW)).total
    assert (total.adjusted, total.after.nanodollars) == (3, 3 * 100 * 2_700)
    assert ledger.verify().notes == ()


def test_an_unpriced_request_gets_its_price_when_there_is_one(ledger, keep, entry):
    keep(Prices(book=OLD), entry(0, model="gpt-9"), entry(1))
    rates = parse(OWN.replace(b"gpt-5-mini", b"gpt-9"), Path("tallystick.toml"))
    found = do(ledger, Prices(rates, OLD), "pinned")
    change = found.models["gpt-9"]
    assert (change.before.unpriced, change.after.unpriced, change.adjusted) == (1, 0, 1)
    assert found.models["gpt-5-mini"].adjusted == 0
    assert found.to_dict()["total"]["before"]["unpriced"] == 1


def test_what_has_no_price_of_a_book_is_left_alone(ledger, keep, entry):
    """Held and unsent requests have no price, and a refused one costs nothing by no book."""
    refused = entry(2, outcome="error", error_type="429", cost_nanodollars=0, input_tokens=0)
    keep(Prices(book=OLD), entry(0, status="held"), entry(1, status="released"), refused)
    total = do(ledger, Prices(book=NEW)).total
    assert (total.entries, total.adjusted) == (1, 0)


def test_estimated_counts_make_an_estimated_price(ledger, keep, entry):
    keep(Prices(book=OLD), entry(0, status="in_doubt", estimated=True))
    total = do(ledger, Prices(book=NEW)).total
    assert total.after.estimated == 1
    (made,) = ledger.adjustments()
    assert (made.status, made.cost_estimated) == ("in_doubt", True)


def test_only_the_period_is_repriced(ledger, keep, entry):
    keep(Prices(book=OLD), entry(0), entry(10), entry(20))
    moment = nanoseconds(entry(10).started_at)
    period = Period(since=moment, until=moment + 1)
    assert do(ledger, Prices(book=NEW), period=period).total.adjusted == 1
    assert [made.entry_id for made in ledger.adjustments()] == ["req_run_a_1"]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from test_reprice import NEW, do
from tallystick.ledger import open_ledger
from tallystick.pricing import Prices
from tallystick.report import repricing

repricing.PAGE = 4

def progress(read):
    if read == 8:
        os.kill(os.getpid(), signal.SIGKILL)

do(open_ledger(sys.argv[1]), Prices(book=NEW), progress=progress)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGKILL")
def test_a_repricing_that_was_killed_is_finished_by_doing_it_again(ledger, keep, entry):
    keep(Prices(book=OLD), *(entry(number) for number in range(20)))
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(ledger.path), str(Path(__file__).parent)],
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert len(ledger.adjustments()) == 8, "two pages, each whole"
    assert ledger.verify().problems == ()
    total = do(ledger, Prices(book=NEW)).total
    assert (total.entries, total.adjusted) == (20, 12)
    assert len({made.entry_id for made in ledger.adjustments()}) == 20
    costs = {found.cost_nanodollars for found in ledger.entries("run_a", adjusted=True)}
    assert costs == {100 * 3_000}


def test_the_book_of_a_request_is_kept_with_the_first_that_it_prices(tmp_path, monkeypatch):
    """A tally keeps the books and own rates that its prices name, once."""
    (tmp_path / "tallystick.toml").write_bytes(OWN.replace(b"gpt-5-mini", b"mine"))
    path = tmp_path / "kept.db"
    with tallystick.open(path, config=tmp_path / "tallystick.toml", on_fault="raise") as tally:
        with tally.run("r") as run:
            for model in ("gpt-5-mini", "mine", "gpt-5-mini"):
                with run.request(provider="openai", model=model) as request:
                    request.settle({"model": model, "usage": {"prompt_tokens": 5,
                                    "completion_tokens": 1, "total_tokens": 6}})  # fmt: skip
        tally.flush()
        named = {entry.price_book for entry in tally.ledger.entries(run.id)}
        assert len(named) == 2
        assert all(tally.ledger.book(name) for name in named)
        assert Book.of(tally.ledger.book(tally.prices.book.hash)).hash == tally.prices.book.hash
        found = tally.ledger.verify()
        assert (found.ok, found.notes, found.books) == (True, (), 2)
        assert tally.faults == 0
