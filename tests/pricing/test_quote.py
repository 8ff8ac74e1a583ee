"""Quotes: amounts, lines, tiers, times, and what is said where something is uncertain."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest

from tallystick.money import Cost
from tallystick.pricing import Book, Prices, quote, source
from tallystick.pricing import prices as prices_module
from tallystick.usage import RequestUsage

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices():
    return Prices()


def usage(sent=1000, received=500, **fields):
    details = {"provider": "openai", "model": "gpt-5", "started_at": AT, **fields}
    return RequestUsage(sent, received, **details)


def test_a_request_is_priced_by_its_disjoint_parts(prices):
    """gpt-5: $1.25 a million in, $0.125 cached, $10 out, reasoning being output."""
    priced = prices.quote(
        usage(
            input_tokens_details={"cached_tokens": 200},
            output_tokens_details={"reasoning_tokens": 100},
            service_tier="default",
        )
    )
    assert priced.nanodollars == 800 * 1250 + 200 * 125 + 500 * 10_000
    assert priced.cost == Cost(6_025_000)
    assert not priced.estimated
    assert priced.reasons == ()
    assert priced.rule == "book: openai/gpt-5"
    assert priced.book == prices.book.hash
    assert [(line.unit, line.quantity, line.rate * line.per) for line in priced.lines] == [
        ("input_tokens", 800, Decimal("1.25")),
        ("cache_read_tokens", 200, Decimal("0.125")),
        ("output_tokens", 500, 10),
    ]
    assert sum(line.amount for line in priced.lines) == Fraction("0.006025") == priced.exact


def test_the_fields_are_those_of_a_request_usage(prices):
    request = usage()
    priced = request.replace(**prices.quote(request).fields())
    assert priced.cost == Cost(6_250_000)
    assert priced.price_book == prices.book.hash
    assert priced.price_rule == "book: openai/gpt-5"
    assert priced.price_reason is None
    unpriced = request.replace(**prices.quote(request, model="nobody").fields())
    assert unpriced.cost == Cost(unpriced=1)
    assert "nobody" in unpriced.price_reason


def test_a_price_is_rounded_once_half_even():
    """At $0.0005 a million, every odd number of tokens is a tie."""
    book = Book(
        {
            "providers": [
                {
                    "id": "test",
                    "fallback": [],
                    "models": [
                        {
                            "id": "halves",
                            "match": ["equals", "halves"],
                            "prices": [[None, {"input_mtok": "0.0005", "output_mtok": "0"}]],
                        }
                    ],
                }
            ]
        }
    )
    halves = Prices(book=book)
    for tokens, amount in ((1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (7, 4)):
        request = RequestUsage(tokens, 0, provider="test", model="halves")
        assert halves.quote(request).nanodollars == amount


def test_what_a_request_says_can_be_overruled(prices):
    request = usage(provider=None, model=None)
    assert prices.quote(request).reasons == ("the model is unknown",)
    assert prices.quote(request, provider="openai", model="gpt-5").nanodollars == 6_250_000
    batch = prices.quote(request, provider="openai", model="gpt-5", batch=True)
    assert batch.nanodollars == 3_125_000
    assert batch.rule.endswith("processing batch")


@pytest.mark.parametrize("tier", [None, "default", "standard", "auto", "Default", "on_demand"])
def test_standard_tiers_are_priced_plainly(prices, tier):
    assert prices.quote(usage(), service_tier=tier).reasons == ()


def test_a_tier_of_the_book_has_its_own_rate(prices):
    priced = prices.quote(usage(service_tier="flex"))
    assert priced.nanodollars == 3_125_000
    assert priced.rule == "book: openai/gpt-5, service_tier flex"
    assert not priced.estimated


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"service_tier": "flex", "started_at": datetime(2026, 10, 11, tzinfo=UTC)}, "2026-10-12"),
        ({"service_tier": "scale"}, "service tier 'scale'"),
        ({"modifiers": {"inference_geo": "us"}}, "inference geo 'us'"),
        ({"service_tier": "priority", "provider": "azure"}, "'priority' of openai/gpt-5"),
    ],
)
def test_a_tier_that_the_book_does_not_know_is_estimated_and_marked(prices, fields, words):
    priced = prices.quote(usage(**fields))
    assert priced.nanodollars == 6_250_000
    assert priced.estimated
    assert priced.cost == Cost(6_250_000, estimated=1)
    assert words in priced.reasons[0]
    assert "standard rate" in priced.reasons[0]


def test_of_several_rates_for_a_modifier_the_first_that_holds_is_charged(prices):
    """Routed through the EU, from 2026-11-03 on, another rate comes before the older one."""
    fields = {
        "provider": "openrouter",
        "model": "mistralai/mistral-large-4-0",
        "modifiers": {"route": "mistral/eu"},
    }
    before = prices.quote(usage(1000, 0, **fields), at=datetime(2026, 11, 2, tzinfo=UTC))
    after = prices.quote(usage(1000, 0, **fields), at=datetime(2026, 11, 3, tzinfo=UTC))
    assert (before.nanodollars, after.nanodollars) == (748_000, 770_000)
    assert after.rule.endswith("route mistral/eu")


def test_anthropic_says_batch_in_its_service_tier(prices):
    fields = {"provider": "anthropic", "model": "claude-opus-4-6"}
    priced = prices.quote(usage(service_tier="batch", **fields))
    assert priced.rule == "book: anthropic/claude-opus-4-6, from 2026-03-13, processing batch"
    assert priced.nanodollars == 1000 * 2500 + 500 * 12_500
    assert not priced.estimated


def test_a_tier_by_input_is_charged_for_the_whole_request(prices):
    """claude-opus-4-6 before 2026-03-13: twice the rate above 200,000 tokens, cached included."""
    fields = {
        "provider": "anthropic",
        "model": "claude-opus-4-6",
        "started_at": datetime(2026, 3, 1, tzinfo=UTC),
    }
    at_threshold = prices.quote(
        usage(200_000, 10, input_tokens_details={"cached_tokens": 199_999}, **fields)
    )
    assert at_threshold.nanodollars == 1 * 5000 + 199_999 * 500 + 10 * 25_000
    above = prices.quote(
        usage(200_001, 10, input_tokens_details={"cached_tokens": 199_999}, **fields)
    )
    assert above.nanodollars == 2 * 10_000 + 199_999 * 1000 + 10 * 37_500


def test_cache_writes_of_an_hour_have_their_own_rate(prices):
    details = {
        "cached_tokens": 100,
        "cache_write_tokens": 300,
        "cache_write_5m_tokens": 200,
        "cache_write_1h_tokens": 100,
    }
    priced = prices.quote(
        usage(1000, 0, input_tokens_details=details, provider="anthropic", model="claude-opus-4-6")
    )
    assert {line.unit: line.quantity for line in priced.lines} == {
        "input_tokens": 600,
        "cache_read_tokens": 100,
        "cache_write_tokens": 200,
        "cache_write_1h_tokens": 100,
    }
    assert priced.nanodollars == 600 * 5000 + 100 * 500 + 200 * 6250 + 100 * 10_000


def test_tool_and_request_fees_are_lines_of_their_own(prices):
    searching = prices.quote(usage(tool_requests={"web_search": 3, "mcp": 5}))
    assert searching.nanodollars == 6_250_000 + 3 * 10_000_000
    assert not searching.estimated
    sonar = prices.quote(usage(provider="perplexity", model="sonar-pro"))
    assert [line.unit for line in sonar.lines][-1] == "requests"
    assert sonar.nanodollars == 1000 * 3000 + 500 * 15_000 + 14_000_000


def test_a_fee_that_is_not_known_is_said_and_not_hidden(prices):
    priced = prices.quote(usage(tool_requests={"code_interpreter": 1, "image_generation": 2}))
    assert priced.nanodollars == 6_250_000
    assert priced.estimated
    assert "image_generation (2)" in priced.reasons[0]
    assert "code_executions (1)" in priced.reasons[1]


def test_the_rate_is_that_of_the_moment(prices):
    fields = {"provider": "anthropic", "model": "claude-opus-4-6"}
    long = 300_000
    before = datetime(2026, 3, 12, 23, 59, 59, 999999, tzinfo=UTC)
    assert prices.quote(usage(long, 0, **fields), at=before).nanodollars == long * 10_000
    start = before + timedelta(microseconds=1)
    assert prices.quote(usage(long, 0, **fields), at=start).nanodollars == long * 5000
    naive = start.replace(tzinfo=None)
    assert prices.quote(usage(long, 0, **fields), at=naive).nanodollars == long * 5000
    elsewhere = start.astimezone(timezone(timedelta(hours=-9)))
    assert prices.quote(usage(long, 0, **fields), at=elsewhere).nanodollars == long * 5000


@pytest.mark.parametrize(
    ("text", "dear"),
    [
        ("2026-03-12T23:59:59+00:00", True),
        ("2026-03-12T23:59:59.999999+00:00", True),
        ("2026-03-13T00:00:00+00:00", False),
        ("2026-03-13T00:00:00.000001+00:00", False),
        ("2026-03-13 00:00:00+00:00", False),
        ("2026-03-13T00:00:00", False),
        ("2026-03-13T00:59:00+01:00", True),
        ("2026-03-12T23:59:00-01:00", False),
        ("20260313T000000Z", False),
        ("soon", False),
    ],
)
def test_the_moment_of_a_request_is_read_in_any_form(prices, text, dear):
    fields = {"provider": "anthropic", "model": "claude-opus-4-6", "started_at": text}
    rate = 10_000 if dear else 5000
    assert prices.quote(usage(300_000, 0, **fields)).nanodollars == 300_000 * rate


def test_hours_of_the_day_have_their_own_rates(prices):
    fields = {"provider": "deepseek", "model": "deepseek-flash"}
    cheap = prices.quote(usage(**fields), at=datetime(2026, 11, 1, 5, tzinfo=UTC))
    dear = prices.quote(usage(**fields), at=datetime(2026, 11, 1, 6, tzinfo=UTC))
    assert dear.nanodollars == 2 * cheap.nanodollars
    assert dear.rule.endswith("06:00 to 10:00 UTC")
    in_tokyo = datetime(2026, 11, 1, 15, tzinfo=timezone(timedelta(hours=9)))
    assert prices.quote(usage(**fields), at=in_tokyo).nanodollars == dear.nanodollars


def test_without_a_time_the_present_counts():
    class Earlier:
        def now(self):
            return 1_772_000_000 * 10**9  # 2026-02-25

    request = RequestUsage(300_000, 0, provider="anthropic", model="claude-opus-4-6")
    assert Prices(clock=Earlier()).quote(request).nanodollars == 300_000 * 10_000
    assert Prices().quote(request).nanodollars == 300_000 * 5000


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "gpt-nobody"}, ("no model 'gpt-nobody' of openai", "[[rates]]", "[aliases]")),
        ({"provider": "local"}, ("no provider 'local'", "[[rates]]")),
        ({"provider": "local-openai"}, ("no provider 'local-openai'",)),
        ({"provider": None}, ("the provider of 'gpt-5' is unknown", "[aliases]")),
        ({"model": None}, ("the model is unknown",)),
        ({"provider": "cerebras", "model": "qwen-3-coder-480b"}, ("without any rate",)),
        ({"provider": "groq", "model": "whisper-large-v3"}, ("audio_seconds", "not reported")),
        ({"model": "text-embedding-3-small"}, ("no rate for output_tokens",)),
    ],
)
def test_what_has_no_price_says_why_and_what_to_do(prices, fields, words):
    priced = prices.quote(usage(**fields))
    assert priced.nanodollars is None
    assert priced.cost == Cost(unpriced=1)
    assert not priced.estimated
    assert priced.lines == ()
    assert priced.exact is None
    assert all(word in priced.reasons[0] for word in words), priced.reasons


@pytest.mark.parametrize(
    ("sent", "received", "word"), [(None, 5, "input"), (5, None, "output"), (None, None, "input")]
)
def test_unknown_counts_have_no_price(prices, sent, received, word):
    priced = prices.quote(usage(sent, received))
    assert priced.nanodollars is None
    assert priced.reasons == (f"the provider did not say how many {word} tokens were used",)


def test_estimated_counts_make_an_estimated_price(prices):
    priced = prices.quote(usage(estimated=True))
    assert priced.nanodollars == 6_250_000
    assert priced.reasons == ("the counts are an estimate",)


@pytest.mark.parametrize(
    ("request_usage", "amount", "words"),
    [
        (
            usage(100, 0, input_tokens_details={"cached_tokens": 300}),
            100 * 1250 + 300 * 125,
            "cache_read_tokens is 300, more than input_tokens of 100",
        ),
        (
            usage(0, 100, output_tokens_details={"reasoning_tokens": 300}),
            400 * 10_000,
            "output_reasoning_tokens is 300, more than output_tokens of 100",
        ),
        (
            usage(100, 0, input_tokens_details={"audio_tokens": 300}),
            400 * 1250,
            "input_audio_tokens is 300, more than input_tokens of 100",
        ),
        (
            usage(100, 0, input_tokens_details={"cached_tokens": 60, "cache_write_tokens": 60}),
            160 * 1250 + 60 * 125,
            "are 120, more than input_tokens of 100",
        ),
        (usage(1000, 500, total_tokens=1200), 6_250_000, "more than the total of 1200"),
        (usage(1000, 500, total_tokens=1600), 7_250_000, "the 100 are priced as output"),
    ],
)
def test_counts_that_contradict_each_other_are_priced_at_the_dearer_side(
    prices, request_usage, amount, words
):
    priced = prices.quote(request_usage)
    assert priced.nanodollars == amount
    assert priced.estimated
    assert words in priced.reasons[0]


def test_cache_writes_below_the_sum_of_their_parts_are_raised_to_it(prices):
    details = {"cache_write_tokens": 10, "cache_write_5m_tokens": 30, "cache_write_1h_tokens": 70}
    priced = prices.quote(
        usage(1000, 0, input_tokens_details=details, provider="anthropic", model="claude-opus-4-6")
    )
    assert priced.nanodollars == 900 * 5000 + 30 * 6250 + 70 * 10_000
    assert priced.estimated


def test_a_book_that_cannot_be_read_leaves_requests_unpriced(monkeypatch):
    def broken():
        raise ValueError("its data is of another form")

    monkeypatch.setattr(prices_module, "_installed_book", broken)
    broken_prices = Prices()
    broken_prices.warm()
    priced = broken_prices.quote(usage())
    assert priced.nanodollars is None
    assert "its data is of another form" in priced.reasons[0]


def test_a_book_with_a_unit_that_is_not_known_leaves_that_model_unpriced():
    data = source.read()
    openai = next(provider for provider in data["providers"] if provider["id"] == "openai")
    model = next(model for model in openai["models"] if model["id"] == "gpt-5")
    model["prices"] = [[None, {"input_mtok": "1", "output_mtok": "1", "smell_mtok": "1"}]]
    prices = Prices(book=Book(data))
    priced = prices.quote(usage())
    assert priced.nanodollars is None
    assert "smell_mtok" in priced.reasons[0]
    assert prices.quote(usage(model="gpt-4o")).nanodollars == 1000 * 2500 + 500 * 10_000


def test_the_same_content_has_the_same_hash_and_another_content_another():
    data = source.read()
    assert Book(data).hash == Book(source.read()).hash
    reordered = {"providers": data["providers"], "format": source.FORMAT}
    assert Book(reordered).hash == Book(data).hash
    data["providers"][0]["models"][0]["prices"][0][1]["input_mtok"] = "8.01"
    assert Book(data).hash != Book(source.read()).hash


def test_threads_that_ask_at_once_get_the_same_prices():
    prices = Prices()
    found = []
    barrier = threading.Barrier(8)

    def ask():
        barrier.wait()
        found.extend(prices.quote(usage(number, 1)).nanodollars for number in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted([number * 1250 + 10_000 for number in range(200)] * 8)


def test_the_plans_that_are_kept_are_bounded(monkeypatch):
    monkeypatch.setattr(prices_module, "MAX_PLANS", 10)
    prices = Prices()
    for number in range(50):
        prices.quote(usage(model=f"gpt-5-custom-{number}"))
    assert len(prices._plans) <= 10


def test_nothing_of_genai_prices_is_imported_until_a_price_is_asked_for(tmp_path):
    code = (
        "import sys\n"
        "from tallystick.pricing import Prices\n"
        "Prices.load()\n"
        "assert not any(name.split('.')[0] in ('genai_prices', 'pydantic') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_the_module_level_quote_uses_the_default_configuration(tmp_path, monkeypatch):
    config = tmp_path / "own.toml"
    config.write_text('[[rates]]\nmodel = "gpt-5"\nrequest = 1\n')
    monkeypatch.setenv("TALLYSTICK_CONFIG", str(config))
    monkeypatch.setattr(prices_module, "_default", None)
    assert quote(usage()).nanodollars == 1_000_000_000
