"""Ceilings: never below what a request can be billed, and no higher than what is left open."""

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.pricing import Book, Prices, Rates
from tallystick.pricing.ceiling import Ceiling, ceiling, context_window
from tallystick.pricing.rate import Rate
from tallystick.pricing.rate_card import Discount, OwnRate, Terms
from tallystick.usage import RequestUsage

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
MILLION = 1_000_000


def model(name, prices, **data):
    if isinstance(prices, dict):
        prices = [[None, prices]]
    return {"id": name, "match": ["equals", name], "prices": prices, **data}


PLAIN = {"input_mtok": "1", "output_mtok": "4"}

BOOK = Book(
    {
        "providers": [
            {
                "id": "test",
                "fallback": [],
                "models": [
                    model("plain", PLAIN, context_window=8000),
                    model(
                        "tiers",
                        {
                            "input_mtok": ["1", [[1000, "2"], [9000, "5"]]],
                            "output_mtok": ["4", [[1000, "6"]]],
                        },
                    ),
                    model(
                        "cache",
                        {
                            **PLAIN,
                            "cache_read_mtok": "0.1",
                            "cache_write_mtok": "1.25",
                            "cache_write_1h_mtok": "2",
                            "web_searches_kcount": "10",
                            "requests_kcount": "0.0005",
                        },
                    ),
                    model(
                        "media",
                        {
                            **PLAIN,
                            "input_image_mtok": "2",
                            "input_video_mtok": "3",
                            "input_audio_mtok": "4",
                            "output_reasoning_mtok": "5",
                        },
                    ),
                    model("speaking", {**PLAIN, "output_audio_mtok": "64"}),
                    model(
                        "served",
                        PLAIN,
                        variants=[
                            [{"service_tier": "priority"}, None, {"input_mtok": "2"}],
                            [{"service_tier": "flex"}, None, {"output_mtok": "2"}],
                            [{"processing": "batch"}, None, {"input_mtok": "0.5"}],
                            [{"speed": "fast"}, None, {"output_mtok": "24"}],
                            [{"speed": "slow"}, None, {"output_mtok": "1"}],
                        ],
                    ),
                    model(
                        "daily",
                        [
                            [None, {"input_mtok": "3", "output_mtok": "3"}],
                            [["daily", "00:30:00", "16:30:00"], PLAIN],
                            [["daily", "20:00:00", "20:05:00"], {**PLAIN, "output_mtok": "9"}],
                        ],
                    ),
                    model(
                        "dated",
                        [[None, PLAIN], [["from", "2026-11-02"], {**PLAIN, "output_mtok": "5"}]],
                    ),
                    model("heard", {"audio_hours": "0.36"}),
                    model("embedding", {"input_mtok": "0.0125"}, context_window=512),
                    model("unlisted", {}),
                ],
            },
            {"id": "anthropic", "fallback": [], "models": [model("claude", PLAIN)]},
            {"id": "openrouter", "fallback": [], "models": [model("resold", PLAIN)]},
        ]
    }
)


@pytest.fixture(scope="module")
def prices():
    return Prices(book=BOOK)


def most(prices, name, provider="test", at=AT, **fields):
    found = ceiling(prices, provider=provider, model=name, at=at, **fields)
    assert isinstance(found, Ceiling), found
    return found


def own(name="*", **terms):
    """Own rates with the base rates of units in USD a million, and a tier as (above, rates)."""
    tier, units = terms.pop("tier", None), terms.pop("units")
    rates = {
        unit: Rate(
            Fraction(rate) / MILLION,
            ((tier[0], Fraction(tier[1][unit]) / MILLION),) if tier and unit in tier[1] else (),
        )
        for unit, rate in units.items()
    }
    return OwnRate(Terms(f"{name} (test, line 1)", name, **terms), rates)


def test_a_plain_model_has_its_own_rates_for_a_ceiling(prices):
    found = most(prices, "plain")
    assert found == Ceiling(1000, 4000, 0, (), "book: test/plain", BOOK.hash)


@pytest.mark.parametrize(
    ("bound", "rates"),
    [
        (0, (1000, 4000)),
        (1000, (1000, 4000)),
        (1001, (2000, 6000)),
        (9000, (2000, 6000)),
        (9001, (5000, 6000)),
        (None, (5000, 6000)),
    ],
)
def test_tiers_above_the_bound_of_the_input_cannot_be_reached(prices, bound, rates):
    assert most(prices, "tiers", input_tokens=bound)[:2] == rates


def test_a_tier_that_is_cheaper_does_not_lower_the_ceiling_of_a_bound_above_it():
    rates = own(units={"input_tokens": 4, "output_tokens": 8}, tier=(100, {"input_tokens": 1}))
    prices = Prices(Rates("test", (rates,)), BOOK)
    assert most(prices, "plain", input_tokens=500)[:2] == (4000, 8000)


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({}, 2000),
        ({"cache_write": "1h"}, 2000),
        ({"cache_write": "5m"}, 1250),
        ({"cache_write": "none"}, 1000),
    ],
)
def test_input_may_be_written_to_a_cache_for_as_long_as_the_request_says(prices, fields, rate):
    assert most(prices, "cache", **fields).input == rate


@pytest.mark.parametrize(
    ("audio", "images", "rate"),
    [(True, True, 4000), (True, False, 4000), (False, True, 3000), (False, False, 1000)],
)
def test_input_is_of_the_dearest_medium_that_it_may_hold(prices, audio, images, rate):
    """Video needs one of the two."""
    assert most(prices, "media", audio=audio, images=images)[:2] == (rate, 5000)


def test_output_is_audio_only_where_that_is_asked_for(prices):
    assert most(prices, "speaking").output == 4000
    assert most(prices, "speaking", audio_output=True).output == 64_000


@pytest.mark.parametrize(
    ("tier", "rates"),
    [
        (None, (2000, 4000)),
        ("auto", (2000, 4000)),
        (" Auto", (2000, 4000)),
        ("default", (1000, 4000)),
        ("standard_only", (1000, 4000)),
        ("priority", (2000, 4000)),
        ("flex", (1000, 4000)),
    ],
)
def test_what_a_tier_may_be_served_as_is_taken_at_its_dearest(prices, tier, rates):
    found = most(prices, "served", service_tier=tier)
    assert found[:2] == rates
    assert found.reasons == ()


def test_a_batch_is_served_as_a_batch(prices):
    assert most(prices, "served", batch=True)[:2] == (500, 4000)


def test_a_tier_that_the_book_does_not_know_is_a_reason(prices):
    found = most(prices, "served", service_tier="scale")
    assert found[:2] == (1000, 4000)
    assert "'scale'" in found.reasons[0]
    assert most(prices, "plain").reasons == ()


def test_a_modifier_may_be_served_or_left_out(prices):
    assert most(prices, "served", modifiers={"speed": "fast"}).output == 24_000
    assert most(prices, "served", modifiers={"speed": "slow"}).output == 4000


def test_the_settings_of_an_account_may_say_where_anthropic_serves(prices):
    """The workspace's default of `inference_geo` holds where a request does not say."""
    assert most(prices, "claude", "anthropic")[:2] == (1100, 4400)
    modifiers = {"inference_geo": "global"}
    assert most(prices, "claude", "anthropic", modifiers=modifiers)[:2] == (1000, 4000)


@pytest.mark.parametrize(
    ("at", "rates"),
    [
        ("12:00", (1000, 4000)),
        ("18:00", (3000, 3000)),
        ("16:21", (3000, 4000)),
        ("16:39", (3000, 4000)),
        ("16:41", (3000, 3000)),
        ("00:21", (3000, 4000)),
        ("20:12", (3000, 9000)),
        ("19:52", (3000, 9000)),
        ("20:16", (3000, 3000)),
    ],
)
def test_every_rate_within_ten_minutes_may_be_the_one(prices, at, rates):
    """One of the windows is shorter than the margin, and is found all the same."""
    moment = datetime.fromisoformat(f"2026-11-01T{at}+00:00")
    assert most(prices, "daily", at=moment)[:2] == rates
    elsewhere = moment.astimezone(datetime.fromisoformat("2026-01-01T00:00+05:30").tzinfo)
    assert most(prices, "daily", at=elsewhere)[:2] == rates
    assert most(prices, "daily", at=moment.replace(tzinfo=None))[:2] == rates


def test_a_rate_that_begins_soon_may_be_the_one_already(prices):
    midnight = datetime(2026, 11, 2, tzinfo=UTC)
    assert most(prices, "dated", at=midnight - timedelta(minutes=11)).output == 4000
    assert most(prices, "dated", at=midnight - timedelta(minutes=9)).output == 5000
    assert most(prices, "dated", at=midnight + timedelta(hours=1)).output == 5000


def test_the_request_and_its_capped_tools_are_fixed(prices):
    """$0.0000005 for the request, and three searches at a cent each."""
    assert most(prices, "cache").fixed == 500
    tools = {"web_search": 2, "web_search_call": 1, "mcp": None, "code_execution": 0}
    found = most(prices, "cache", tools=tools)
    assert found.fixed == 500 + 3 * 10_000_000
    assert found.reasons == ()


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ({"web_search": None}, "no cap"),
        ({"code_execution": 1}, "no fee"),
        ({"new": None}, "no fee"),
    ],
)
def test_a_tool_without_a_cap_or_a_fee_is_a_reason(prices, tools, words):
    found = most(prices, "cache", tools=tools)
    assert found.fixed == 500
    assert words in found.reasons[0]
    assert next(iter(tools)) in found.reasons[0]


@pytest.mark.parametrize(
    ("provider", "name", "words"),
    [
        ("test", "nobody", "no model 'nobody'"),
        ("nowhere", "plain", "no provider 'nowhere'"),
        (None, "plain", "the provider of 'plain' is unknown"),
        ("test", None, "the model is unknown"),
        ("test", "unlisted", "without any rate"),
        ("test", "heard", "charged by audio_seconds"),
    ],
)
def test_what_has_no_price_says_why(prices, provider, name, words):
    found = ceiling(prices, provider=provider, model=name, at=AT)
    assert isinstance(found, str)
    assert words in found


def test_own_rates_aliases_and_discounts_are_those_of_a_quote():
    rates = Rates(
        "test.toml:1",
        (
            own(units={"input_tokens": 7, "output_tokens": 9}, customer="acme"),
            own("plain", units={"input_tokens": 3, "output_tokens": 3}, service_tier="Turbo"),
        ),
        (Discount(Terms("less", provider="test"), Fraction(10)),),
        {"mine": "test/plain"},
    )
    prices = Prices(rates, BOOK)
    assert most(prices, "plain", customer="acme")[:2] == (7000, 9000)
    assert most(prices, "plain", customer="other", service_tier="default")[:2] == (900, 3600)
    assert most(prices, "mine", None, service_tier="default")[:2] == (900, 3600)
    # Where the tier is open, it may be the one that only the own rates know.
    assert most(prices, "plain")[:2] == (3000, 3600)
    assert context_window(prices, None, "mine") == 8000


def test_own_rates_without_one_for_output_are_a_reason():
    rates = Rates("test", (own(units={"input_tokens": 1}),))
    assert "output_per_million" in most(Prices(rates, BOOK), "plain").reasons[0]
    assert most(Prices(book=BOOK), "embedding")[:4] == (13, 0, 0, ())


def test_a_reported_cost_that_will_be_billed_is_a_reason():
    prices = Prices(Rates("test", provider_cost=frozenset({"openrouter"})), BOOK)
    found = most(prices, "resold", "OpenRouter")
    assert found[:2] == (1000, 4000)
    assert "openrouter will report" in found.reasons[0]
    assert most(prices, "plain").reasons == ()


def test_the_context_window_is_that_of_the_model_that_a_name_stands_for(prices):
    assert context_window(prices, "test", "PLAIN") == 8000
    assert context_window(prices, "test", "tiers") is None
    assert context_window(prices, "test", "nobody") is None
    assert context_window(prices, None, "plain") is None
    assert context_window(prices, "test", None) is None
    assert context_window(Prices(), "azure", "gpt-4o") == 128_000


# The property, for the installed book and for own rates of any shape.

INSTALLED = Prices()
MODELS = sorted((provider, found.id) for provider, found in INSTALLED.book.models())
TELLING = [  # Tiers, cache writes, media, fees, variants, hours.
    ("openai", "gpt-5.4"),
    ("openai", "gpt-4o-audio-preview"),
    ("openai", "gpt-image-1"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-v4-pro"),
    ("perplexity", "sonar-deep-research"),
    ("x-ai", "grok-4"),
]
COUNTS = st.sampled_from([0, 1, 50, 128_001, 200_001, 272_001])
SENT = ("plain", "cached", "written", "5m", "1h", "audio", "image", "video")
RECEIVED = ("text", "reasoning", "image_output", "audio_output")
CACHED_MEDIA = ("cached_audio_tokens", "cached_image_tokens", "cached_video_tokens")
MOMENTS = st.sampled_from(["2026-11-22T00:55", "2026-10-13T23:55", "2026-11-22T12:00"])
SERVED = {
    None: (None, "default", "priority", "fast", "flex"),
    "auto": ("default", "priority", "flex"),
    "default": ("default",),
    "flex": ("flex", "default"),
    "priority": ("priority", "default", None),
}


@st.composite
def requests(draw):
    """What a request asks for, and a usage that it may come to within its bounds."""
    asked = {
        "service_tier": draw(st.sampled_from(list(SERVED))),
        "batch": draw(st.sampled_from([False, False, True])),
        "audio": draw(st.booleans()),
        "images": draw(st.booleans()),
        "audio_output": draw(st.booleans()),
        "cache_write": draw(st.sampled_from([None, "none", "5m", "1h"])),
        "tools": draw(st.dictionaries(st.sampled_from(["web_search", "x_search"]), COUNTS)),
    }
    # One part alone leaves no slack: nothing else makes up for a rate that is too low.
    alone = draw(st.one_of(st.none(), st.sampled_from([*SENT, *RECEIVED])))
    impossible = set() if asked["audio"] else {"audio"}
    impossible |= set() if asked["images"] else {"image"}
    impossible |= set() if asked["audio"] or asked["images"] else {"video"}
    impossible |= set() if asked["audio_output"] else {"audio_output"}
    impossible |= {"none": {"written", "5m", "1h"}, "5m": {"1h"}}.get(asked["cache_write"], set())
    part = {
        name: 0 if name in impossible or alone not in {None, name} else draw(COUNTS)
        for name in (*SENT, *RECEIVED)
    }
    details = {
        "cached_tokens": part["cached"],
        "cache_write_tokens": part["written"] + part["5m"] + part["1h"],
        "cache_write_5m_tokens": part["5m"],
        "cache_write_1h_tokens": part["1h"],
    }
    for name in ("audio", "image", "video"):
        of_it = draw(st.integers(0, min(part[name], 100)))
        details[f"{name}_tokens"] = part[name]
        details[f"cached_{name}_tokens"] = of_it
        details["cached_tokens"] += of_it
    sent = sum(part[name] for name in SENT)
    received = {"reasoning_tokens": part["reasoning"], "image_tokens": part["image_output"]}
    received["audio_tokens"] = part["audio_output"]
    output = sum(part[name] for name in RECEIVED)
    if draw(st.booleans()):
        details = {name: number for name, number in details.items() if name not in CACHED_MEDIA}
    tier = None if asked["batch"] else draw(st.sampled_from(SERVED[asked["service_tier"]]))
    calls = {name: draw(st.integers(0, number)) for name, number in asked["tools"].items()}
    geo = draw(st.sampled_from([{}, {"inference_geo": "us"}, {"inference_geo": "global"}]))
    at = datetime.fromisoformat(draw(MOMENTS)).replace(tzinfo=UTC)
    late = draw(st.integers(-600, 600)) * timedelta(seconds=1)
    usage = RequestUsage(
        sent, output, sent + output, details, received, tool_requests=calls, modifiers=geo
    )
    asked |= {"at": at, "input_tokens": draw(st.sampled_from([sent, sent, sent + 1, None]))}
    served = {"at": at + late, "service_tier": tier, "batch": asked["batch"]}
    return asked, usage, served


def holds(prices, provider, name, request):
    """Whether the quote of a usage is within the ceiling of its request."""
    asked, usage, served = request
    found = ceiling(prices, provider=provider, model=name, **asked)
    quote = prices.quote(usage, provider=provider, model=name, **served)
    if isinstance(found, str):
        return quote.nanodollars is None or bool(quote.tariff.metered)
    if quote.nanodollars is None:
        return found.output == 0
    bound = usage.input_tokens * found.input + usage.output_tokens * found.output + found.fixed
    return quote.nanodollars <= bound


@settings(max_examples=600, deadline=None)
@given(st.one_of(st.sampled_from(TELLING), st.sampled_from(MODELS)), requests())
def test_no_request_is_billed_above_its_ceiling(named, request):
    assert holds(INSTALLED, *named, request)


AMOUNTS = st.integers(0, 5000).map(lambda number: Fraction(number, 7 * 10**7))
TIERS = st.sampled_from([(), (), (10,), (50,), (10, 200_000)])
OPTIONAL = (
    ("cache_read_tokens",),
    ("cache_write_tokens",),
    ("cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    ("output_reasoning_tokens",),
    ("output_audio_tokens",),
    ("input_audio_tokens", "cache_read_tokens", "cache_audio_read_tokens"),
    ("input_image_tokens",),
    ("requests",),
    ("web_searches",),
)


@st.composite
def own_rates(draw):
    rates = []
    for tier in draw(st.sets(st.sampled_from([None, "flex", "priority", "batch"]), min_size=1)):
        units = {"input_tokens", "output_tokens"}
        for group in draw(st.sets(st.sampled_from(OPTIONAL))):
            units |= set(group)
        if {"output_reasoning_tokens", "output_audio_tokens"} <= units:
            units.add("output_audio_reasoning_tokens")
        for name in ("audio", "image"):
            if f"input_{name}_tokens" in units and "cache_read_tokens" in units:
                units.add(f"cache_{name}_read_tokens")
            if f"input_{name}_tokens" in units:
                # Own rates cannot say what media written to a cache cost.
                units = {unit for unit in units if "cache_write" not in unit}
        steps = {
            unit: Rate(draw(AMOUNTS), tuple((above, draw(AMOUNTS)) for above in draw(TIERS)))
            for unit in sorted(units)
        }
        rates.append(OwnRate(Terms("own", service_tier=tier), steps))
    discount = Discount(Terms("less"), draw(st.integers(1, 99).map(Fraction)))
    return Rates("own", tuple(rates), draw(st.sampled_from([(), (discount,)])))


@settings(max_examples=200, deadline=None)
@given(own_rates(), st.sampled_from(["plain", "cache", "tiers"]), requests())
def test_no_request_is_billed_above_the_ceiling_of_own_rates(rates, name, request):
    assert holds(Prices(rates, BOOK), "test", name, request)


@pytest.mark.parametrize(("provider", "name"), TELLING)
def test_the_ceiling_is_reached_where_all_is_known(provider, name):
    """With one tier, text alone and nothing written, the dearest is what plain input costs."""
    settled = {"service_tier": "default", "modifiers": {"inference_geo": "global"}}
    text = {"audio": False, "images": False, "cache_write": "none"}
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    found = ceiling(INSTALLED, provider=provider, model=name, at=at, **settled, **text)
    sent = RequestUsage(10 * MILLION, 0, modifiers=settled["modifiers"])
    quote = INSTALLED.quote(sent, provider=provider, model=name, at=at, service_tier="default")
    assert not isinstance(found, str)
    assert found.input == ceil(Fraction(quote.nanodollars - found.fixed, 10 * MILLION))
