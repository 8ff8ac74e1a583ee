"""`explain`: the lines behind an entry's amount, and what is said where they differ from it."""

from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from tallystick.pricing import Prices, explain
from tallystick.pricing.explanation import prices_behind
from tallystick.pricing.rates import parse
from tallystick.usage import RequestUsage, Usage

AT = datetime(2026, 11, 1, tzinfo=UTC)
OWN = b'[[discounts]]\nprovider = "openai"\npercent = "12"\n'


@pytest.fixture(scope="module")
def prices():
    return Prices()


def entry(**fields):
    known = {"provider": "openai", "model": "gpt-5", "service_tier": "default", "started_at": AT}
    return RequestUsage(1000, 200, **{**known, **fields})


def test_an_entry_of_a_usage_explains_its_own_amount(prices):
    priced = entry().replace(**prices.quote(entry()).fields())
    usage = Usage(request_usage_entries=[priced])
    quote = usage.request_usage_entries[0].explain(prices)
    assert quote == explain(priced, prices)
    assert quote.nanodollars == priced.cost_nanodollars == 3_250_000
    assert quote.reasons == ()
    assert sum(line.amount for line in quote.lines) == Fraction("0.00325")
    assert [(line.unit, line.quantity) for line in quote.lines] == [
        ("input_tokens", 1000),
        ("output_tokens", 200),
    ]


def test_the_default_configuration_is_used_where_no_prices_are_given(monkeypatch, tmp_path):
    monkeypatch.setattr("tallystick.pricing.prices._default", None)
    monkeypatch.chdir(tmp_path)
    Path("tallystick.toml").write_bytes(OWN)
    assert entry().explain().nanodollars == 3_250_000 * 88 // 100


def test_another_amount_than_the_entry_has_is_never_shown_as_if_it_were_the_entrys(prices):
    old = entry(cost_nanodollars=7, price_book="0123456789abcdef", price_rule="book: openai/gpt-5")
    quote = old.explain(prices)
    assert quote.estimated
    assert quote.reasons[0] == (
        "the entry has $0.000000007 from book: openai/gpt-5 by 0123456789abcdef; "
        f"by {prices.book.hash} it is $0.003250000"
    )


def test_an_entry_without_a_price_that_has_one_by_now_says_both(prices):
    old = entry(price_reason="the price book had no such model")
    (reason,) = old.explain(prices).reasons
    assert "the entry has no price (the price book had no such model)" in reason
    assert reason.endswith("it is $0.003250000")


def test_a_refused_request_is_explained_by_its_rule_and_not_by_rates(prices):
    refused = RequestUsage(
        0, 0, model="nobody", outcome="error", error_type="429", cost_nanodollars=0,
        price_rule="a refused request is not billed",
    )  # fmt: skip
    quote = refused.explain(prices)
    assert (quote.nanodollars, quote.lines, quote.reasons) == (0, (), ())
    assert quote.rule == "a refused request is not billed"


def test_an_entry_is_explained_by_the_books_that_priced_it(prices):
    with_discount = Prices(parse(OWN, Path("tallystick.toml")), prices.book)
    priced = entry().replace(**with_discount.quote(entry()).fields())
    kept = {name: content() for name, content in with_discount.contents(priced.price_book)}
    behind = prices_behind(priced.price_book, kept.get)
    assert behind is not None
    quote = priced.explain(behind)
    assert quote.nanodollars == priced.cost_nanodollars == 2_860_000
    assert quote.reasons == ()
    assert quote.rule == priced.price_rule


def test_books_that_were_not_kept_or_are_damaged_are_not_taken_for_others(prices):
    assert prices_behind(prices.book.hash, lambda _: None) is None
    with pytest.raises(ValueError, match="no content of a price book"):
        prices_behind("0123456789abcdef", lambda _: b"{}")
