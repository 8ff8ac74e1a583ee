"""Figures as people read them."""

import pytest

from tallystick.cli import format as written
from tallystick.cli.terminal import ASCII, UNICODE
from tallystick.money import Cost
from tallystick.report import Totals
from tallystick.usage import RequestUsage


@pytest.mark.parametrize(
    ("nanodollars", "text"),
    [
        (0, "$0"),
        (1, "$0.000000001"),
        (45_000, "$0.000045"),
        (1_234_567, "$0.0012"),
        (12_345_678, "$0.0123"),
        (1_500_000_000, "$1.5000"),
        (1_234_567_891_000_000, "$1,234,567.89"),
        (-45_000, "-$0.000045"),
    ],
)
def test_an_amount_has_the_decimals_it_needs(nanodollars, text):
    assert written.money(nanodollars) == text


def test_no_amount_is_shown_as_nought():
    for exponent in range(16):
        assert written.money(10**exponent).strip("$0.,")


def test_a_column_has_the_decimals_of_its_smallest_amount():
    assert written.decimals([None, 0]) == 2
    assert written.decimals([0, 5_000_000_000, 45_000, None]) == 6


@pytest.mark.parametrize(
    ("cost", "requests", "cell", "text"),
    [
        (Cost(12_300_000), 2, "$0.0123", "$0.0123"),
        (Cost(12_300_000, unpriced=2), 3, "≥$0.0123", "$0.0123 + 2 unpriced"),
        (Cost(12_300_000, estimated=1), 3, "~$0.0123", "~$0.0123"),
        (Cost(12_300_000, 1, 1), 3, "≥~$0.0123", "~$0.0123 + 1 unpriced"),
        (Cost(unpriced=2), 2, "?", "unknown: 2 requests unpriced"),
        (Cost(unpriced=1), 2, "?", "$0 + 1 unpriced"),
        (Cost(), 2, "$0", "$0"),
        (Cost(), 0, "\N{EN DASH}", "$0"),
    ],
)
def test_a_cost_that_is_not_whole_never_looks_whole(cost, requests, cell, text):
    assert written.cost_cell(cost, requests) == cell
    assert written.cost_text(cost, requests) == text


def total_of(*entries):
    totals = Totals()
    for entry in entries:
        totals.count(entry)
    return totals


def test_a_count_that_is_not_whole_never_looks_whole():
    known = RequestUsage(1_200, 3, input_tokens_details={"cached_tokens": 1_000})
    unsaid = RequestUsage(None, 3)
    guessed = RequestUsage(50, 3, status="in_doubt", estimated=True)
    cell = written.count_cell
    assert cell(total_of(known), "cached_tokens") == "1,000"
    assert cell(total_of(known, unsaid), "cached_tokens") == "≥1,000"
    assert cell(total_of(known, unsaid), "cached_tokens", ASCII) == ">=1,000"
    assert cell(total_of(unsaid), "cached_tokens") == "?"
    assert cell(total_of(known, guessed), "input_tokens") == "~1,250"
    assert cell(total_of(known, guessed), "cached_tokens") == "≥1,000"
    assert cell(total_of(unsaid, guessed), "input_tokens") == "≥~50"
    assert cell(Totals(), "input_tokens") == UNICODE.absent


def test_at_least_nothing_is_unknown():
    none = RequestUsage(0, 0, input_tokens_details={"cached_tokens": 0})
    assert written.count_cell(total_of(none, RequestUsage(1, 1)), "cached_tokens") == "?"


def test_requests_that_are_not_in_the_figures_are_named():
    settled, held = RequestUsage(1, 1), RequestUsage(status="held")
    doubtful = RequestUsage(1, 1, status="in_doubt", estimated=True)
    released = RequestUsage(status="released")
    totals = total_of(settled, settled, doubtful, held, released)
    assert written.requests_cell(totals) == "3 + 1 held"
    assert written.requests_cell(total_of(released)) == "1 not sent"
    assert written.requests_cell(Totals()) == "0"
    assert written.requests_text(totals) == (
        "3, of which 1 in doubt; beside them 1 not finished and in no figure here and 1 never sent"
    )


def test_tokens_in_words_leave_out_details_that_are_nought():
    one = RequestUsage(
        1_200,
        90,
        input_tokens_details={"cached_tokens": 800, "cache_write_tokens": 0},
        output_tokens_details={"reasoning_tokens": 0},
    )
    assert written.tokens_text(total_of(one)) == "1,200 in (800 cached), 90 out"
    assert written.tokens_text(total_of(RequestUsage(5, None))).startswith("5 in (? cached")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "?"),
        (0, "0ms"),
        (0.0004, "0ms"),
        (0.85, "850ms"),
        (0.9996, "1.0s"),
        (12.34, "12.3s"),
        (59.96, "1m00s"),
        (245, "4m05s"),
        (3_599.7, "1h00m"),
        (11_520, "3h12m"),
        (86_390, "1d00h"),
        (187_200, "2d04h"),
    ],
)
def test_a_duration_has_the_unit_it_needs(seconds, text):
    assert written.duration(seconds) == text


def test_a_moment_is_shorter_where_there_is_less_room():
    moment = 1_795_000_000_123_456_789
    assert written.moment(moment) == "2026-11-18 11:06:40"
    assert written.moment(moment, 18) == "2026-11-18 11:06"
    assert written.moment(moment, 13) == "11-18 11:06"
