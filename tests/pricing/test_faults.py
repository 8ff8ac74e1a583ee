"""The known faults of genai-prices, each met on purpose.

Every test first shows the fault in genai-prices itself, so that the test of a fault that is put
right there fails and can be taken out.
"""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices import Usage, calc_price

from tallystick.pricing import Prices
from tallystick.usage import RequestUsage

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices():
    return Prices()


def theirs(provider, model, *, at=AT, context=None, **counts):
    return calc_price(
        Usage(**counts),
        model,
        provider_id=provider,
        genai_request_timestamp=at,
        price_context=context,
    ).total_price


def test_a_tier_that_is_not_known_is_silently_standard(prices):
    standard = theirs("openai", "gpt-5", input_tokens=1000)
    unknown = theirs("openai", "gpt-5", input_tokens=1000, context={"service_tier": "scale"})
    assert unknown == standard
    ours = prices.quote(
        RequestUsage(1000, 0, provider="openai", model="gpt-5", service_tier="scale"), at=AT
    )
    assert ours.estimated


def test_a_tier_before_its_start_is_silently_standard(prices):
    before = datetime(2026, 10, 1, tzinfo=UTC)
    flex = {"service_tier": "flex"}
    assert theirs("openai", "gpt-5", input_tokens=1000, at=before, context=flex) == theirs(
        "openai", "gpt-5", input_tokens=1000, at=before
    )
    ours = prices.quote(
        RequestUsage(1000, 0, provider="openai", model="gpt-5", service_tier="flex"), at=before
    )
    assert ours.estimated
    assert "before 2026-10-12" in ours.reasons[0]


def test_a_tier_of_a_resold_model_is_silently_standard(prices):
    priority = {"service_tier": "priority"}
    assert theirs("azure", "gpt-5", input_tokens=1000, context=priority) == theirs(
        "azure", "gpt-5", input_tokens=1000
    )
    ours = prices.quote(
        RequestUsage(1000, 0, provider="azure", model="gpt-5", service_tier="priority"), at=AT
    )
    assert ours.estimated


def test_a_tier_in_other_letters_is_silently_standard(prices):
    assert theirs("openai", "gpt-5", input_tokens=1000, context={"service_tier": "Flex"}) == theirs(
        "openai", "gpt-5", input_tokens=1000
    )
    ours = prices.quote(
        RequestUsage(1000, 0, provider="openai", model="gpt-5", service_tier="Flex"), at=AT
    )
    assert ours.rule.endswith("service_tier flex")


def test_audio_and_cached_tokens_without_their_overlap_raise(prices):
    counts = {"input_tokens": 1000, "input_audio_tokens": 300, "cache_read_tokens": 200}
    with pytest.raises(ValueError, match="cache_audio_read_tokens"):
        theirs("google", "gemini-2.5-flash", **counts)
    details = {"audio_tokens": 300, "cached_tokens": 200}
    ours = prices.quote(
        RequestUsage(1000, 0, None, details, provider="google", model="gemini-2.5-flash"), at=AT
    )
    dearest = theirs("google", "gemini-2.5-flash", **counts, cache_audio_read_tokens=0)
    cheapest = theirs("google", "gemini-2.5-flash", **counts, cache_audio_read_tokens=200)
    assert ours.cost.usd == max(dearest, cheapest)
    assert ours.estimated
    assert "cache_audio_read_tokens" in ours.reasons[0]


@pytest.mark.parametrize(
    "counts",
    [
        {"input_tokens": 100, "cache_read_tokens": 200},
        {"input_tokens": 100, "cache_write_tokens": 200},
    ],
)
def test_counts_that_contradict_each_other_raise(prices, counts):
    with pytest.raises(ValueError, match="cannot exceed"):
        theirs("anthropic", "claude-opus-4-6", **counts)
    names = {"cache_read_tokens": "cached_tokens"}
    details = {names.get(name, name): number for name, number in counts.items()}
    sent = details.pop("input_tokens")
    ours = prices.quote(
        RequestUsage(sent, 0, None, details, provider="anthropic", model="claude-opus-4-6"), at=AT
    )
    assert ours.nanodollars is not None
    assert ours.estimated


def test_a_model_without_rates_costs_nothing(prices):
    assert theirs("cerebras", "qwen-3-coder-480b", input_tokens=10**6, output_tokens=10**6) == 0
    ours = prices.quote(
        RequestUsage(10**6, 10**6, provider="cerebras", model="qwen-3-coder-480b"), at=AT
    )
    assert ours.nanodollars is None
    assert "without any rate" in ours.reasons[0]


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("google", "gemma-3-27b-it"),
        ("openai", "omni-moderation-latest"),
        ("openrouter", "arliai/qwq-32b-arliai-rpr-v1:free"),
        ("openrouter", "nobody/new-model:free"),
    ],
)
def test_a_model_that_is_known_to_be_free_costs_nothing(prices, provider, model):
    ours = prices.quote(RequestUsage(1000, 10, provider=provider, model=model), at=AT)
    assert ours.nanodollars == 0
    assert "free of charge by https://" in ours.rule
    assert ours.book == prices.book.hash
    assert not ours.estimated


@pytest.mark.parametrize("batch", [False, True])
def test_inference_in_the_united_states_costs_a_tenth_more(prices, batch):
    """It is on tokens and not on searches, and on top of the batch rate."""
    counts = {"input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 100}
    geo = {"inference_geo": "us", **({"processing": "batch"} if batch else {})}
    plain = {"processing": "batch"} if batch else None
    listed = theirs("anthropic", "claude-opus-4-6", context=plain, **counts)
    assert theirs("anthropic", "claude-opus-4-6", context=geo, **counts) == listed
    usage = RequestUsage(
        1000,
        100,
        None,
        {"cached_tokens": 200},
        provider="anthropic",
        model="claude-opus-4-6",
        modifiers={"inference_geo": "us"},
        tool_requests={"web_search": 2},
    )
    ours = prices.quote(usage, at=AT, batch=batch)
    assert ours.cost.usd == listed * 11 / 10 + 2 * 10 / Decimal(1000)
    assert "inference_geo us" in ours.rule
    assert not ours.estimated
    world = prices.quote(usage.replace(modifiers={"inference_geo": "global"}), at=AT, batch=batch)
    assert world.cost.usd == listed + 2 * 10 / Decimal(1000)
    resold = prices.quote(usage, provider="azure", at=AT)
    assert resold.estimated


def test_tokens_without_a_rate_cost_nothing(prices):
    assert theirs("openai", "text-embedding-3-small", output_tokens=10**6, input_tokens=0) == 0
    ours = prices.quote(
        RequestUsage(0, 10**6, provider="openai", model="text-embedding-3-small"), at=AT
    )
    assert ours.nanodollars is None


def test_what_is_metered_and_not_reported_costs_nothing(prices):
    assert theirs("groq", "whisper-large-v3", input_tokens=10**6) == 0
    asked = RequestUsage(10**6, 0, provider="groq", model="whisper-large-v3")
    assert prices.quote(asked, at=AT).nanodollars is None
    reported = asked.replace(tool_requests={"audio_seconds": 3})
    assert prices.quote(reported, at=AT).cost.usd == round(
        theirs("groq", "whisper-large-v3", audio_seconds=3), 9
    )


def test_a_fee_without_a_rate_costs_nothing(prices):
    assert theirs("openai", "gpt-5", code_executions=5) == 0
    ours = prices.quote(
        RequestUsage(
            10, 1, provider="openai", model="gpt-5", tool_requests={"code_interpreter": 5}
        ),
        at=AT,
    )
    assert ours.estimated
    assert "code_executions (5)" in ours.reasons[0]


def test_a_provider_that_sounds_like_another_has_its_prices(prices):
    """Any provider whose name has "openai" in it is OpenAI to genai-prices."""
    assert theirs("my-local-openai-proxy", "gpt-5", input_tokens=1000) > 0
    ours = prices.quote(
        RequestUsage(1000, 0, provider="my-local-openai-proxy", model="gpt-5"), at=AT
    )
    assert ours.nanodollars is None


def test_a_model_without_a_provider_has_its_makers_price(prices):
    assert calc_price(Usage(input_tokens=1000), "gpt-5").total_price > 0
    assert prices.quote(RequestUsage(1000, 0, model="gpt-5"), at=AT).nanodollars is None
