"""Costs that providers report: kept beside the price, and billed where the user says so."""

import json
import re
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tallystick.errors import ConfigError
from tallystick.pricing import Prices
from tallystick.pricing.explanation import prices_behind
from tallystick.pricing.rates import parse
from tallystick.pricing.reported import UNITS
from tallystick.usage import RequestUsage
from tallystick.wire import read_response

AT = datetime(2026, 11, 1, tzinfo=UTC)
BILLING = b'[billing]\nprovider_cost = ["openrouter"]\n'


def prices_of(content):
    return Prices(parse(content, Path("tallystick.toml")))


@pytest.fixture(scope="module")
def prices():
    return prices_of(BILLING)


def usage(**fields):
    known = {"provider": "openrouter", "model": "openai/gpt-5.4", "started_at": AT}
    return RequestUsage(1000, 200, **{**known, **fields})


LISTED = Prices().quote(usage()).nanodollars
"""1,000 * $2.50 + 200 * $15 a million."""


def test_without_the_setting_the_list_price_is_billed_and_the_reported_one_kept():
    entry = usage(provider_cost=Decimal("0.009"))
    assert LISTED == 5_500_000
    assert Prices().quote(entry).nanodollars == LISTED
    assert entry.provider_cost == Decimal("0.009")


def test_with_it_the_reported_cost_is_the_amount_to_the_nanodollar(prices):
    entry = usage(provider_cost=Decimal("0.0051234567895"))
    quote = prices.quote(entry)
    assert quote.nanodollars == 5_123_457  # 5,123,456.7895, rounded once
    assert quote.rule.startswith("provider-reported: openrouter, in credits of 1 USD by https://")
    assert quote.reasons == ()
    assert quote.book == prices.rates.book
    (line,) = quote.lines
    assert (line.unit, line.quantity) == ("provider_cost", 1)
    assert line.quantity * line.rate == line.amount == quote.exact == Fraction("0.0051234567895")
    priced = entry.replace(**quote.fields())
    assert priced.cost_nanodollars == 5_123_457
    assert priced.provider_cost == Decimal("0.0051234567895")
    assert not priced.cost_estimated


def test_a_reported_zero_is_a_price_of_nothing_and_not_an_unknown_one(prices):
    quote = prices.quote(usage(provider_cost=Decimal(0)))
    assert (quote.nanodollars, quote.reasons) == (0, ())


def test_it_prices_what_the_book_does_not_know(prices):
    quote = prices.quote(usage(model="nobody/knows-it", provider_cost="0.25"))
    assert quote.nanodollars == 250_000_000


def test_who_reports_nothing_is_priced_by_rates_and_marked(prices):
    quote = prices.quote(usage())
    assert quote.nanodollars == LISTED
    assert quote.estimated
    assert quote.reasons[-1].startswith("openrouter reported no cost, which is the billed one")


@pytest.mark.parametrize("cost", ["-1", "NaN", "Infinity", "1e30", "a lot", ""])
def test_a_cost_that_cannot_be_is_not_billed(prices, cost):
    quote = prices.quote(usage(provider_cost=cost))
    assert quote.nanodollars == LISTED
    assert "openrouter reported a cost of" in quote.reasons[-1]


def test_other_providers_keep_their_list_price(prices):
    for provider, model in (("openai", "gpt-5.4"), ("perplexity", "sonar"), (None, "gpt-5.4")):
        entry = usage(provider=provider, model=model, provider_cost="0.5")
        plain = Prices().quote(entry)
        quote = prices.quote(entry)
        assert (quote.nanodollars, quote.reasons, quote.rule) == (
            plain.nanodollars,
            plain.reasons,
            plain.rule,
        )


def test_other_names_of_a_provider_mean_the_same():
    prices = prices_of(b'[billing]\nprovider_cost = ["xAI", "Perplexity"]\n')
    for name in ("x-ai", "xai", "grok"):
        quote = prices.quote(RequestUsage(1, 1, provider=name, model="m", provider_cost="0.5"))
        assert quote.nanodollars == 500_000_000


def test_own_rates_and_discounts_stand_where_nothing_was_reported():
    prices = prices_of(BILLING + b'[[discounts]]\nprovider = "openrouter"\npercent = 10\n')
    assert prices.quote(usage()).nanodollars == LISTED * 9 // 10
    assert prices.quote(usage(provider_cost="0.5")).nanodollars == 500_000_000


def test_the_books_behind_either_price_can_be_kept_and_read_again(prices):
    for entry in (usage(provider_cost="0.5"), usage()):
        quote = prices.quote(entry)
        kept = {name: content() for name, content in prices.contents(quote.book)}
        assert kept
        behind = prices_behind(quote.book, kept.get)
        assert behind.quote(entry).nanodollars == quote.nanodollars


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[billing]\nprovider_cost = ["deepinfra"]\n', 2, "known are openrouter, perplexity"),
        ('[billing]\nprovider_cost = "openrouter"\n', 2, "is a list of providers"),
        ("[billing]\nprovider_cost = [1]\n", 2, "is a list of providers"),
        ("[billing]\n\nprovider_costs = []\n", 3, "did you mean provider_cost?"),
        ("[[billing]]\nprovider_cost = []\n", 1, "write it as [billing]"),
        ("[biling]\nprovider_cost = []\n", 1, "did you mean billing?"),
    ],
)
def test_a_mistake_names_file_line_and_field(text, line, words):
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), Path("tallystick.toml"))
    assert str(caught.value).startswith(f"tallystick.toml, line {line}: ")
    assert words in str(caught.value)


def test_every_unit_names_its_source_and_what_that_says_of_dollars():
    assert all(unit.source.startswith("https://") for unit in UNITS.values())
    assert all(re.search(r"USD|US dollars", unit.statement) for unit in UNITS.values())


@pytest.mark.parametrize(
    ("provider", "block", "nanodollars"),
    [
        ("openrouter", {"cost": 0.0038}, 3_800_000),
        ("perplexity", {"cost": {"total_cost": 0.006, "currency": "USD"}}, 6_000_000),
        # The example of xAI's page, which calls it $0.0038.
        ("x-ai", {"cost_in_usd_ticks": 37_756_000}, 3_775_600),
    ],
)
def test_a_cost_as_its_provider_writes_it_is_billed_in_dollars(provider, block, nanodollars):
    body = {"model": "m", "choices": [], "usage": {"prompt_tokens": 10, **block}}
    reading = read_response("openai.chat", 200, {}, json.dumps(body).encode())
    entry = RequestUsage(10, 1, provider=provider, model="m", provider_cost=reading.provider_cost)
    prices = prices_of(f'[billing]\nprovider_cost = ["{provider}"]\n'.encode())
    assert prices.quote(entry).nanodollars == nanodollars


def test_a_cost_in_an_unknown_unit_is_kept_and_never_billed():
    """DeepInfra's `estimated_cost` has no currency, and is an estimate by its name."""
    entry = usage(provider="deepinfra", provider_cost="0.5")
    assert entry.provider_cost == Decimal("0.5")
    quote = prices_of(BILLING).quote(entry)
    assert quote.nanodollars is None
    assert quote.lines == ()
