"""Tallystick's prices held against the tables of litellm and model-prices.

Neither is a dependency. Their data is read from files that two environment variables name, and
these tests are skipped without; those of the comparison itself, in `test_classes.py`, always run.
"""

import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from pricing.oracles import litellm, model_prices
from pricing.oracles.cases import CASES
from pricing.oracles.comparison import agreement, cases_of, compare, compare_all, shared
from pricing.oracles.difference import Sides, our_rates
from pricing.oracles.known import KNOWN, pinned
from pricing.oracles.planting import PLANTED, all_dearer, planted
from tallystick.pricing import Prices

AT = datetime(2026, 11, 1, 5, tzinfo=UTC)
"""A Sunday outside the hours in which anybody asks for more."""

FILES = {
    "TALLYSTICK_LITELLM_PRICES": (
        "pip download --no-deps litellm==1.109.1; "
        "unzip litellm-*.whl litellm/model_prices_and_context_window_backup.json"
    ),
    "TALLYSTICK_MODEL_PRICES": (
        "pip download --no-deps model-prices==0.0.5; "
        "unzip model_prices-*.whl model_prices/snapshot.json"
    ),
}


def file_of(variable):
    name = os.environ.get(variable)
    if name is None:
        pytest.skip(f"${variable} names no file; to get it: {FILES[variable]}")
    return Path(name)


@pytest.fixture(scope="module")
def tables():
    """Both oracles, which are also held against each other."""
    return (
        litellm.read(file_of("TALLYSTICK_LITELLM_PRICES")),
        model_prices.read(file_of("TALLYSTICK_MODEL_PRICES"), AT),
    )


def sides_of(tables, prices):
    known = pinned(KNOWN)
    return [
        Sides(prices, table, AT, tuple(other for other in tables if other is not table), known)
        for table in tables
    ]


def test_every_disagreement_with_the_oracles_is_explained(tables):
    """Over every shared model and eight usages; prints the agreement, with ``pytest -s``."""
    results = {s.oracle.name: compare_all(s) for s in sides_of(tables, Prices())}
    table = agreement(results)
    print(f"\n{table}")
    every = [one for compared in results.values() for one in compared]
    unexplained = [str(one) for one in every if not one.equal and one.unexplained]
    assert not unexplained, "\n".join((table, *unexplained[:40]))
    used = {explanation.pin for one in every for explanation in one.explanations}
    idle = [pin for pin in pinned(KNOWN) if pin not in used]
    assert not idle, f"exceptions that explain nothing any more: {idle}"


def test_thresholds_that_both_sides_have_are_the_same(tables):
    """But for one token: xAI asks for more from 200,000 on, and the oracles above it."""
    compared = 0
    for sides in sides_of(tables, Prices()):
        for row in shared(sides):
            rates = our_rates(sides.quote(row, CASES[0]))
            for unit in rates.keys() & row.rates.keys():
                ours, theirs = rates[unit].above, row.rates[unit].above
                if ours and theirs:
                    assert len(ours) == len(theirs), (row.name, unit)
                    steps = zip(ours, theirs, strict=True)
                    assert all(abs(mine[0] - yours[0]) <= 1 for mine, yours in steps), row.name
                    compared += 1
    assert compared > 100


@pytest.mark.parametrize("fault", PLANTED)
def test_a_wrong_rate_is_unexplained_by_either_table(tables, fault):
    for sides in sides_of(tables, planted(*fault)):
        (row,) = sides.oracle.served(*fault[:2])
        assert any(compare(sides, row, case).unexplained for case in CASES), sides.oracle.name


def test_no_class_explains_just_anything(tables):
    """With every rate 3.7 % too high next to nothing is equal or explained."""
    for sides in sides_of(tables, all_dearer(Decimal("1.037"))):
        compared = [compare(sides, row, cases_of(row)[0]) for row in shared(sides)]
        priced = [one for one in compared if one.ours and one.theirs]
        assert sum(bool(one.unexplained) for one in priced) > 0.99 * len(priced) > 290
