"""A user's own rates, discounts and aliases."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from tallystick.errors import ConfigError
from tallystick.pricing import Prices
from tallystick.pricing.rates import load, parse
from tallystick.usage import RequestUsage

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "tallystick.toml"
        path.write_text(text)
        return path

    return write


def usage(sent=1000, received=500, **fields):
    return RequestUsage(sent, received, **{"provider": "openai", "model": "gpt-5", **fields})


def amount(path, request=None, **options):
    return Prices.load(path).quote(request or usage(), **{"at": AT, **options}).nanodollars


def test_a_local_model_has_the_users_rate(write):
    path = write(
        """
        [[rates]]
        model = "gemma3-270m*"
        provider = "local"
        input_per_million = "0.02"
        cached_input_per_million = 0.005
        cache_write_per_million = "0.03"
        output_per_million = 1
        reasoning_per_million = "2"
        request = "0.0001"
        """
    )
    request = usage(
        provider="local",
        model="Gemma3-270M-Q4",
        input_tokens_details={"cached_tokens": 200, "cache_write_tokens": 100},
        output_tokens_details={"reasoning_tokens": 100},
    )
    quote = Prices.load(path).quote(request, at=AT)
    assert quote.nanodollars == 700 * 20 + 200 * 5 + 100 * 30 + 400 * 1000 + 100 * 2000 + 100_000
    assert quote.rule == "own rate: gemma3-270m* (tallystick.toml, line 2)"
    assert quote.book.startswith("tallystick.toml:")
    assert not quote.estimated
    assert sum(line.amount for line in quote.lines) == Fraction(quote.nanodollars, 10**9)


def test_a_toml_float_is_read_exactly(write):
    path = write('[[rates]]\nmodel = "*"\ninput_per_million = 0.1\noutput_per_million = 0.3\n')
    assert load(path).rates[0].rates["input_tokens"].base == Fraction(1, 10**7)


def test_own_rates_need_no_book_and_no_provider(write, monkeypatch):
    monkeypatch.setattr("tallystick.pricing.prices._installed_book", pytest.fail)
    path = write('[[rates]]\nmodel = "*"\ninput_per_million = 1\noutput_per_million = 2\n')
    assert amount(path, usage(provider=None)) == 1000 * 1000 + 500 * 2000


def test_dates_decide_and_the_book_holds_outside_them(write):
    path = write(
        """
        [[rates]]
        model = "gpt-5"
        input_per_million = 1
        output_per_million = 1
        from = 2026-03-01
        until = 2026-06-01

        [[rates]]
        model = "gpt-5"
        input_per_million = 2
        output_per_million = 2
        from = 2026-06-01
        until = 2026-07-01T12:00:00+02:00
        """
    )
    for moment, expected in (
        (datetime(2026, 2, 28, 23, 59, tzinfo=UTC), 6_250_000),
        (datetime(2026, 3, 1, tzinfo=UTC), 1_500_000),
        (datetime(2026, 5, 31, 23, 59, tzinfo=UTC), 1_500_000),
        (datetime(2026, 6, 1, tzinfo=UTC), 3_000_000),
        (datetime(2026, 7, 1, 9, 59, tzinfo=UTC), 3_000_000),
        (datetime(2026, 7, 1, 10, tzinfo=UTC), 6_250_000),
    ):
        assert amount(path, at=moment) == expected, moment


def test_own_dates_and_the_books_hours_hold_together(write):
    """deepseek-flash is dearer from 06:00 to 10:00; the own rate ends in the middle of that."""
    path = write(
        """
        [[rates]]
        model = "deepseek-flash"
        request = 1
        from = 2026-10-01
        until = 2026-10-02T08:00:00Z
        """
    )
    request = usage(provider="deepseek", model="deepseek-flash")
    dear = 1000 * 300 + 500 * 1200
    expected = {7: 10**9, 8: dear, 9: dear, 10: dear // 2, 11: dear // 2, 24: dear // 2, 26: dear}
    for hour, price in expected.items():
        moment = datetime(2026, 10, 2, tzinfo=UTC) + timedelta(hours=hour)
        assert amount(path, request, at=moment) == price, moment
    assert amount(path, request, at=datetime(2026, 9, 30, 9, tzinfo=UTC)) == dear


def test_the_narrowest_rate_wins(write):
    path = write(
        """
        [[rates]]
        model = "*"
        request = 1
        [[rates]]
        model = "gpt-*"
        request = 2
        [[rates]]
        model = "gpt-5"
        request = 3
        [[rates]]
        model = "gpt-5"
        provider = "openai"
        request = 4
        [[rates]]
        model = "*"
        project = "lab"
        request = 5
        [[rates]]
        model = "*"
        customer = "acme*"
        request = 6
        """
    )
    cases = [
        ({"model": "other"}, 1),
        ({"model": "gpt-4o"}, 2),
        ({"provider": "azure"}, 3),
        ({}, 4),
        ({"project": "lab"}, 5),
        ({"project": "lab", "customer": "acme-eu"}, 6),
        ({"customer": "other"}, 4),
    ]
    prices = Prices.load(path)
    for fields, dollars in cases:
        assert prices.quote(usage(**fields), at=AT).nanodollars == dollars * 10**9, fields


def test_an_own_rate_for_a_tier_is_used_for_that_tier_alone(write):
    path = write(
        """
        [[rates]]
        model = "gpt-5"
        request = 1
        [[rates]]
        model = "gpt-5"
        service_tier = "batch"
        request = "0.5"
        """
    )
    prices = Prices.load(path)
    assert prices.quote(usage(), at=AT).nanodollars == 10**9
    assert prices.quote(usage(), at=AT, batch=True).nanodollars == 5 * 10**8
    assert not prices.quote(usage(), at=AT, batch=True).estimated
    flex = prices.quote(usage(service_tier="flex"), at=AT)
    assert flex.nanodollars == 10**9
    assert flex.estimated


def test_tiers_of_an_own_rate_hold_for_the_whole_request(write):
    path = write(
        """
        [[rates]]
        model = "long"
        input_per_million = 1
        output_per_million = 10

        [[rates.tiers]]
        above = 1000
        input_per_million = 2

        [[rates.tiers]]
        above = 5000
        input_per_million = 3
        output_per_million = 20
        """
    )
    for sent, rate, received in ((1000, 1, 10), (1001, 2, 10), (5000, 2, 10), (5001, 3, 20)):
        request = usage(sent, 1, model="long")
        assert amount(path, request) == (sent * rate + received) * 1000


def test_a_rate_by_the_request_is_all_that_a_request_costs(write):
    path = write('[[rates]]\nmodel = "gpt-5"\nrequest = 1\nweb_search = "0.5"\n')
    assert amount(path, usage(tool_requests={"web_search": 2})) == 2 * 10**9


def test_a_discount_is_taken_off_the_list_price_fees_included(write):
    path = write(
        """
        [[discounts]]
        name = "framework agreement"
        provider = "openai"
        percent = "12.5"
        from = 2026-10-01
        """
    )
    prices = Prices.load(path)
    quote = prices.quote(usage(tool_requests={"web_search": 2}), at=AT)
    assert quote.nanodollars == (6_250_000 + 20_000_000) * 7 // 8
    assert quote.rule == (
        "book: openai/gpt-5, less 12.5 % by framework agreement (tallystick.toml, line 2)"
    )
    assert quote.book == f"{prices.book.hash}+{prices.rates.book}"
    assert sum(line.amount for line in quote.lines) == Fraction(quote.nanodollars, 10**9)
    before = prices.quote(usage(), at=datetime(2026, 9, 30, tzinfo=UTC))
    assert before.nanodollars == 6_250_000
    assert before.book == prices.book.hash


def test_a_discount_does_not_touch_own_rates_and_discounts_do_not_add_up(write):
    path = write(
        """
        [[discounts]]
        percent = 50
        [[discounts]]
        model = "gpt-5"
        percent = 10
        [[rates]]
        model = "gpt-4o"
        request = 1
        """
    )
    assert amount(path) == 6_250_000 * 9 // 10
    assert amount(path, usage(model="gpt-4o")) == 10**9
    assert amount(path, usage(model="gpt-4o-mini")) == (1000 * 150 + 500 * 600) // 2


def test_an_alias_names_a_model_of_the_book(write):
    path = write(
        """
        [aliases]
        "our-deployment" = "azure/gpt-5"
        "arn:aws:bedrock:*:profile/claude-*" = "aws/claude-sonnet-4-5"
        "arn:aws:bedrock:*:profile/claude-big" = "aws/claude-opus-4-6"
        "house-model" = "gpt-5"
        "broken" = "nowhere/gpt-5"
        """
    )
    prices = Prices.load(path)
    quote = prices.quote(usage(provider="azure", model="Our-Deployment"), at=AT)
    assert quote.nanodollars == 6_250_000
    assert quote.rule == (
        "alias Our-Deployment -> azure/gpt-5; book: openai/gpt-5, resold by azure"
    )
    arn = "arn:aws:bedrock:us-east-1:1:profile/claude-"
    assert "sonnet" in prices.quote(usage(provider="aws", model=f"{arn}x"), at=AT).rule
    assert "opus" in prices.quote(usage(provider="aws", model=f"{arn}big"), at=AT).rule
    assert prices.quote(usage(model="house-model"), at=AT).nanodollars == 6_250_000
    broken = prices.quote(usage(model="broken"), at=AT)
    assert broken.nanodollars is None
    assert "'nowhere'" in broken.reasons[0]
    assert broken.rule.startswith("alias broken -> nowhere/gpt-5")


def test_own_rates_come_before_aliases_and_hold_for_what_an_alias_names(write):
    path = write(
        """
        [[rates]]
        model = "ours"
        request = 1
        [[rates]]
        model = "gpt-5"
        provider = "azure"
        request = 2
        [aliases]
        ours = "openai/gpt-5"
        theirs = "azure/gpt-5"
        """
    )
    assert amount(path, usage(model="ours")) == 10**9
    assert amount(path, usage(model="theirs")) == 2 * 10**9


def test_tokens_that_an_own_rate_does_not_price_leave_a_request_unpriced(write):
    path = write('[[rates]]\nmodel = "embed"\ninput_per_million = 1\n')
    assert amount(path, usage(10, 0, model="embed")) == 10_000
    assert amount(path, usage(10, 1, model="embed")) is None


def test_the_configuration_is_found(tmp_path, monkeypatch):
    monkeypatch.delenv("TALLYSTICK_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Prices.load().rates is None
    (tmp_path / "tallystick.toml").write_text('[[rates]]\nmodel = "*"\nrequest = 1\n')
    assert amount(None) == 10**9
    named = tmp_path / "named.toml"
    named.write_text('[[rates]]\nmodel = "*"\nrequest = 2\n')
    monkeypatch.setenv("TALLYSTICK_CONFIG", str(named))
    assert amount(None) == 2 * 10**9
    given = tmp_path / "given.toml"
    given.write_text('[[rates]]\nmodel = "*"\nrequest = 3\n')
    assert amount(given) == 3 * 10**9
    monkeypatch.setenv("TALLYSTICK_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(ConfigError, match=r"missing\.toml.*TALLYSTICK_CONFIG"):
        Prices.load()


def test_other_tables_are_left_to_other_readers(write):
    rates = load(write('[budgets]\ndaily = 5\n[[rates]]\nmodel = "*"\nrequest = 1\n'))
    assert len(rates.rates) == 1


KEPT = """# sk-comment
secret = "sk-root"

[[rates]]  # sk-trailing
model = "it's \\"quoted\\" \\u007f é*"
input_per_million = 0.02
output_per_million = "0.04"
from = 2026-01-01T00:00:00.5+01:00
until = 2027-01-01
customer = "acme"  # sk-inline

[[rates.tiers]]
above = 200000
input_per_million = 1e-7

[accounts]
key = "sk-table"

[[discounts]]
provider = "openai"
percent = 12

[[rates]]
model = "*"
request = "0.0001"

[billing]
# sk-in-a-table
provider_cost = ["openrouter"]

[aliases]
"my deployment" = "azure/gpt-5"
"""


def test_what_ledgers_keep_of_the_file_is_its_prices_and_nothing_else(write):
    kept = load(write(KEPT)).content
    assert b"sk-" not in kept
    assert b"accounts" not in kept
    assert b"acme" in kept


def test_what_is_kept_gives_the_same_rates_by_the_same_names(write):
    for text in (KEPT, ""):
        rates = load(write(text))
        assert parse(rates.content, Path("tallystick.toml")) == rates


def test_tables_within_one_line_are_kept_line_by_line(write):
    rates = load(write('rates = [{model = "a", request = 1}, {model = "b", request = "2"}]\n'))
    again = parse(rates.content, Path("tallystick.toml"))
    assert (again.book, again.content) == (rates.book, rates.content)
    assert [rate.rates for rate in again.rates] == [rate.rates for rate in rates.rates]


def test_the_name_of_own_rates_changes_with_their_prices_and_lines_alone(write):
    book = load(write(KEPT)).book
    assert load(write(KEPT.replace("sk-", "other-").replace(" = ", "   =  "))).book == book
    added = KEPT.replace('key = "sk-table"', 'key = "sk-table"\nother = 1')
    assert load(write(added)).book != book, "rules name lines, and these have others now"
    assert load(write(KEPT.replace('"0.0001"', '"0.0002"'))).book != book
