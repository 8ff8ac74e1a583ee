"""`Budget`: what can be a limit, and what it says where a value cannot be used."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tallystick import Budget, ConfigError
from tallystick.budget.limit import ALLOWANCES, MOST
from tallystick.ledger import PERIODS, Amounts


@pytest.mark.parametrize("usd", ["0.50", Decimal("0.50"), Decimal("0.5000000000")])
def test_usd_is_exact_to_the_nanodollar(usd):
    assert Budget(usd=usd).limits == Amounts(500_000_000, None, None)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "needs a limit"),
        ({"usd": 0.5}, "give a Decimal"),
        ({"usd": "half"}, "give a Decimal"),
        ({"usd": "NaN"}, "give a Decimal"),
        ({"usd": "Infinity"}, "give a Decimal"),
        ({"usd": True}, "give a Decimal"),
        ({"usd": -1}, "from 0 to"),
        ({"usd": 10**12}, "from 0 to 1,000,000,000 USD"),
        ({"tokens": -1}, "tokens=-1"),
        ({"tokens": 1.5}, "whole number"),
        ({"tokens": True}, "whole number"),
        ({"requests": MOST + 1}, "requests"),
        ({"usd": 1, "per": "year"}, "run, hour, day, week, month, all"),
        ({"usd": 1, "zone": "Europe/Atlantis"}, "Europe/Atlantis"),
        ({"usd": 1, "zone": None}, "IANA"),
        ({"usd": 1, "zone": "../../etc/passwd"}, "no time zone"),
        ({"usd": 1, "on_exceeded": ""}, "on_exceeded"),
        ({"usd": 1, "warn_at": 0}, "warn_at"),
        ({"usd": 1, "warn_at": 101}, "warn_at"),
        ({"usd": 1, "min_output_tokens": 0}, "min_output_tokens"),
        ({"usd": 1, "default_output_tokens": 0}, "default_output_tokens"),
        ({"usd": 1, "allow": "unpriced"}, r"such as \['unpriced'\]"),
        ({"usd": 1, "allow": ["everything"]}, "unpriced, unbounded, unkept"),
        ({"usd": 1, "webhook": "file:///etc/passwd"}, "http"),
        ({"usd": 1, "webhook": 7}, "http"),
        ({"usd": 1, "webhook": "http://[::1"}, "no http or https URL"),
        ({"usd": 1, "webhook": "https:///hook"}, "no http or https URL"),
        ({"usd": "0.00000000001"}, "a multiple of 10⁻⁹ USD"),
        ({"usd": Decimal("0.5000000004")}, "a multiple of 10⁻⁹ USD"),
        ({"usd": 1, "min_output_tokens": 500, "default_output_tokens": 100}, "a floor of"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_can(wrong, said):
    with pytest.raises(ConfigError, match=said):
        Budget(**wrong)


@pytest.mark.parametrize("name", ["a\nb", "a\0b", "\x1b[31m", "\udcff", "a\u2028b", "x" * 257])
def test_a_standing_budget_is_called_something_that_can_be_read_on_one_line(name):
    with pytest.raises(ConfigError, match="is no name of a budget") as refused:
        Budget(usd=1).row("budget_1", 1, name=name)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 150


def test_the_budget_of_a_run_is_called_like_the_run_as_far_as_that_can_be_read():
    """A name never stops a run."""
    row = Budget(usd=1).row("budget_1", 1, name="a\nb\udcff" + "x" * 300, run_id="run_1")
    assert row.name == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}" + "x" * 252


def test_a_default_answer_shorter_than_the_usual_floor_needs_no_other_floor():
    assert Budget(usd=1, default_output_tokens=100).default_output_tokens == 100


def test_nothing_is_a_limit():
    assert Budget(usd=0, tokens=0, requests=0).limits == Amounts(0, 0, 0)


@given(
    some.builds(
        Budget,
        usd=some.none() | some.integers(0, 10**9) | some.decimals(0, 10**6, places=9),
        tokens=some.none() | some.integers(0, MOST),
        requests=some.integers(0, MOST),
        per=some.sampled_from(PERIODS),
        zone=some.sampled_from(["UTC", "Asia/Kolkata"]),
        name=some.just("b"),
        on_exceeded=some.sampled_from(["stop", "warn", "gpt-5-nano"]),
        warn_at=some.none() | some.integers(1, 100),
        min_output_tokens=some.integers(1, 500),
        default_output_tokens=some.integers(500, 10**6),
        allow=some.lists(some.sampled_from(ALLOWANCES), unique=True).map(sorted).map(tuple),
        webhook=some.sampled_from([None, "https://example.org/hook"]),
    )
)
def test_a_budget_comes_back_from_its_row_as_it_was(budget):
    row = budget.row("budget_1", 1, name="b")
    assert Budget.of(row) == budget
    assert row.hard == (budget.on_exceeded != "warn")
