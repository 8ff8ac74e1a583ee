"""Totals are what a `Usage` of the same requests shows, and keep unknown apart from zero."""

from hypothesis import given
from hypothesis import strategies as st

from tallystick.report import Totals
from tallystick.usage import RequestUsage, Usage

counts = st.none() | st.integers(0, 10**6)


@st.composite
def requests(draw):
    return RequestUsage(
        draw(counts),
        draw(counts),
        input_tokens_details={"cached_tokens": draw(counts), "cache_write_tokens": draw(counts)},
        output_tokens_details={"reasoning_tokens": draw(counts)},
        status=draw(st.sampled_from(["settled", "in_doubt", "held", "released"])),
        estimated=draw(st.booleans()),
        cost_nanodollars=draw(counts),
        cost_estimated=draw(st.booleans()),
    )


@given(st.lists(requests(), max_size=12), st.integers(0, 12))
def test_totals_equal_the_usage_of_the_requests_that_ended(entries, split):
    """I6, for reports: however requests are split into groups, the groups add up to the usage."""
    first, second, usage = Totals(), Totals(), Usage()
    for entry in entries[:split]:
        first.count(entry)
    for entry in entries[split:]:
        second.count(entry)
    for entry in entries:
        if entry.status in ("settled", "in_doubt"):
            usage.append(entry)
    first.add(second)
    assert first.requests == usage.requests
    assert first.cost == usage.cost
    assert (first.in_doubt, first.estimated) == (usage.in_doubt, usage.estimated)
    assert first.counts == {
        "input_tokens": usage.input_tokens,
        "cached_tokens": usage.input_tokens_details.cached_tokens,
        "cache_write_tokens": usage.input_tokens_details.cache_write_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.output_tokens_details.reasoning_tokens,
        "total_tokens": usage.total_tokens,
    }
    unknown = {name: number for name, number in first.unknown.items() if number}
    unknown.pop("total_tokens", None)
    assert unknown == usage.unknown
    assert first.held == sum(entry.status == "held" for entry in entries)
    assert first.released == sum(entry.status == "released" for entry in entries)


def test_a_count_that_nobody_reported_is_none_and_one_of_zero_is_zero():
    totals = Totals()
    assert totals.known("cached_tokens") == 0
    totals.count(RequestUsage(1, 1))
    assert totals.known("cached_tokens") is None
    totals.count(RequestUsage(1, 1, input_tokens_details={"cached_tokens": 0}))
    assert totals.known("cached_tokens") == 0
    assert totals.to_dict()["unknown"]["cached_tokens"] == 1


def test_amounts_are_text_and_whole_nanodollars():
    totals = Totals()
    totals.count(RequestUsage(1, 1, cost_nanodollars=10))
    cost = totals.to_dict()["cost"]
    assert (cost["usd"], cost["nanodollars"]) == ("0.000000010", 10)
