"""The compiled integers give the same amounts as the rule that they are compiled from."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.pricing.counts import measure
from tallystick.pricing.rate import Rate, RateError
from tallystick.pricing.tariff import Tariff
from tallystick.pricing.units import INPUT_UNITS, OUTPUT_UNITS
from tallystick.usage import INPUT_DETAILS, OUTPUT_DETAILS, RequestUsage

# Decimal, per hour, and a denominator that terminates in no base.
AMOUNTS = st.builds(
    Fraction, st.integers(0, 5000), st.sampled_from([10**6, 10**9, 3600 * 1000, 7 * 10**6])
)
TIERS = st.sampled_from([(), (), (10,), (50,), (10, 200)])


@st.composite
def rates(draw):
    return Rate(draw(AMOUNTS), tuple((threshold, draw(AMOUNTS)) for threshold in draw(TIERS)))


PLAIN = ("input_tokens", "output_tokens")
OPTIONAL = (
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_reasoning_tokens",
    "output_audio_tokens",
    "requests",
    "web_searches",
)


@st.composite
def tariffs(draw):
    units = [*PLAIN, *draw(st.sets(st.sampled_from(OPTIONAL)))]
    if "cache_write_1h_tokens" in units and "cache_write_tokens" not in units:
        units.append("cache_write_tokens")
    if "output_reasoning_tokens" in units and "output_audio_tokens" in units:
        units.append("output_audio_reasoning_tokens")
    if draw(st.booleans()):
        units.append("input_audio_tokens")
        for cache in ("read", "write", "write_1h"):
            if f"cache_{cache}_tokens" in units:
                units.append(f"cache_audio_{cache}_tokens")
    return Tariff({unit: draw(rates()) for unit in units}, rule="test", book=None)


NUMBERS = st.one_of(st.integers(0, 60), st.sampled_from([0, 0, 10, 11, 200, 201, 10**15]))


@st.composite
def usages(draw):
    tools = st.dictionaries(st.sampled_from(["web_search", "mcp", "unheard_of"]), NUMBERS)
    return RequestUsage(
        draw(NUMBERS),
        draw(NUMBERS),
        draw(st.one_of(st.none(), NUMBERS)),
        draw(st.dictionaries(st.sampled_from(INPUT_DETAILS), NUMBERS)),
        draw(st.dictionaries(st.sampled_from(OUTPUT_DETAILS), NUMBERS)),
        tool_requests=draw(st.one_of(st.none(), tools)),
        estimated=draw(st.sampled_from([False, False, True])),
    )


@settings(max_examples=200, deadline=None)
@given(tariff=tariffs(), usage=usages())
def test_the_short_cut_gives_what_the_whole_rule_gives(tariff, usage):
    assert tariff.price(usage.record) == tariff.price_in_full(usage.record)


@settings(max_examples=100, deadline=None)
@given(tariff=tariffs(), usage=usages())
def test_lines_add_up_to_the_amount_and_are_never_negative(tariff, usage):
    """Whatever the provider says, the price is the sum of its lines and no line is below zero."""
    amount, _ = tariff.price(usage.record)
    lines = tariff.lines(usage.record)
    assert amount == round(sum(line.amount for line in lines) * 10**9)
    assert all(line.quantity > 0 and line.rate >= 0 for line in lines)
    assert all(line.amount == line.quantity * line.rate for line in lines)


@settings(max_examples=200, deadline=None)
@given(usage=usages())
def test_measured_counts_are_consistent_and_never_below_what_was_said(usage):
    counts = measure(usage.record).units
    get = counts.get
    assert get("cache_read_tokens", 0) + get("cache_write_tokens", 0) <= counts["input_tokens"]
    assert counts["input_tokens"] >= usage.input_tokens
    assert counts["output_tokens"] >= usage.output_tokens
    for details, names in (
        (usage.record["input_tokens_details"], INPUT_UNITS),
        (usage.record["output_tokens_details"], OUTPUT_UNITS),
    ):
        for name, number in details.items():
            if name in names:
                assert counts[names[name]] >= number


@settings(max_examples=100, deadline=None)
@given(
    tariff=tariffs(),
    sent=st.integers(0, 60),
    received=st.integers(0, 60),
    cached=st.integers(0, 200),
    reasoning=st.integers(0, 200),
)
def test_a_contradiction_never_makes_a_request_cheaper(tariff, sent, received, cached, reasoning):
    """Parts beyond their whole are counted beside it, which costs at least what it costs alone."""
    details = {"cached_tokens": cached}, {"reasoning_tokens": reasoning}
    amount, reasons = tariff.price(RequestUsage(sent, received, None, *details).record)
    beside = RequestUsage(
        sent + cached if cached > sent else sent,
        received + reasoning if reasoning > received else received,
        None,
        *details,
    )
    expected, consistent = tariff.price(beside.record)
    assert not consistent
    assert amount == expected
    assert bool(reasons) == (cached > sent or reasoning > received)
    if not any(rate.tiers for rate in tariff.rates.values()):
        believed = (
            details[0] if cached <= sent else None,
            details[1] if reasoning <= received else None,
        )
        alone, _ = tariff.price(RequestUsage(sent, received, None, *believed).record)
        assert amount >= alone


@pytest.mark.parametrize(
    ("units", "words"),
    [
        (["input_tokens", "smell_tokens"], "no such unit: smell_tokens"),
        (["cache_read_tokens"], "input_tokens, which holds it, has none"),
        (
            ["input_tokens", "input_audio_tokens", "cache_read_tokens"],
            "cache_audio_read_tokens, which is both, has none",
        ),
    ],
)
def test_rates_that_cannot_stand_together_are_refused(units, words):
    with pytest.raises(RateError, match=words):
        Tariff(dict.fromkeys(units, Rate(Fraction(1))), rule="test", book=None)


def test_a_rate_that_does_not_terminate_is_exact():
    """$1 an hour of audio is 277,777.7… nanodollars a second: 3,600 seconds cost the dollar."""
    tariff = Tariff({"audio_seconds": Rate(Fraction(1, 3600))}, rule="test", book=None)
    for seconds, amount in ((3600, 10**9), (1, 277_778), (9, 2_500_000)):
        usage = RequestUsage(0, 0, tool_requests={"audio_seconds": seconds})
        assert tariff.price(usage.record) == (amount, ())
