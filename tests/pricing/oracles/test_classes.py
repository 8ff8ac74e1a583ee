"""The comparison with oracles: what each class needs, and that it explains nothing else."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest

from pricing.oracles import litellm, model_prices
from pricing.oracles.cases import CASES
from pricing.oracles.comparison import agreement, compare, compare_all
from pricing.oracles.difference import Sides
from pricing.oracles.known import KNOWN, Known, pinned
from pricing.oracles.planting import PLANTED, planted
from tallystick.pricing import Book, Prices

AT = datetime(2026, 11, 1, 5, tzinfo=UTC)

LITELLM = {
    "gpt-5": {
        "litellm_provider": "openai",
        "input_cost_per_token": Decimal("1.25e-06"),
        "output_cost_per_token": Decimal("1e-05"),
        "cache_read_input_token_cost": Decimal("1.25e-07"),
        "search_context_cost_per_query": {"search_context_size_medium": Decimal("0.01")},
    },
    "claude-sonnet-4-5": {
        "litellm_provider": "anthropic",
        "input_cost_per_token": Decimal("3e-06"),
        "output_cost_per_token": Decimal("1.5e-05"),
        "cache_read_input_token_cost": Decimal("3e-07"),
        "cache_creation_input_token_cost": Decimal("3.75e-06"),
        "cache_creation_input_token_cost_above_1hr": Decimal("6e-06"),
        "search_context_cost_per_query": {"search_context_size_medium": Decimal("0.01")},
    },
}


@pytest.mark.parametrize("fault", [None, *PLANTED])
def test_a_wrong_rate_is_unexplained_and_the_right_one_is_not(fault):
    prices = Prices() if fault is None else planted(*fault)
    found = compare_all(Sides(prices, litellm.parse(LITELLM), AT, (), pinned(KNOWN)))
    assert len(found) == 16
    wrong = {one.row.name for one in found if one.unexplained}
    assert wrong == (set() if fault is None else {fault[1]})


def book(*models, provider="acme", fallback=()):
    """Return a book of models, each an id, its dated rates and perhaps its variants."""
    return [
        {
            "id": provider,
            "fallback": list(fallback),
            "models": [
                {
                    "id": name,
                    "match": ["starts_with", name],
                    "prices": prices,
                    "variants": [] if not rest else rest[0],
                }
                for name, prices, *rest in models
            ],
        }
    ]


RATES = {"input_mtok": "2", "output_mtok": "8"}


def row(provider="acme", *, sent="2e-06", received="8e-06", **costs):
    """Return an entry of litellm at $2 and $8 a million, but for what is given."""
    rates = {"input_cost_per_token": sent, "output_cost_per_token": received} | costs
    read = {key: Decimal(cost) if isinstance(cost, str) else cost for key, cost in rates.items()}
    return {"litellm_provider": provider, **read}


def found_of(providers, entries, *, name="m", case="plain", others=(), known=()):
    """Compare one case of the model `name`."""
    prices = Prices(book=Book({"format": 1, "providers": providers}))
    sides = Sides(prices, litellm.parse(entries), AT, others, pinned(known))
    compared = next(r for r in sides.oracle.rows if r.name == name)
    return compare(sides, compared, next(c for c in CASES if c.name == case))


def history(*dated):
    """Return a table of model-prices of acme's model m: each a start, input and output."""
    intervals = [
        {
            "start": start,
            "rates": {
                "input": Decimal(sent),
                "output": Decimal(received),
                "source": "https://acme.example/prices",
                "valid_from": start,
            },
        }
        for start, sent, received in dated
    ]
    data = {"schema": 1, "prices": {"acme": {"m": {"standard": intervals}}}}
    return model_prices.parse(data, AT)


def test_equal_rates_are_equal_and_different_ones_unexplained():
    assert found_of(book(("m", [[None, RATES]])), {"m": row()}).equal
    found = found_of(book(("m", [[None, RATES]])), {"m": row(sent="2.1e-06")})
    assert found.kind == "unexplained"
    assert found.unexplained == ("input_tokens: ours 2, theirs 2.1",)


@pytest.mark.parametrize(
    ("rates", "costs", "case", "words"),
    [
        (
            RATES | {"cache_read_mtok": "1"},
            {},
            "cached",
            "the oracle has no rate for cache_read_tokens",
        ),
        (
            RATES,
            {"cache_creation_input_token_cost": "3e-06"},
            "written",
            "the book has no rate for cache_write_tokens",
        ),
        (
            RATES,
            {"output_cost_per_reasoning_token": "9e-06"},
            "research",
            "the book has no rate for output_reasoning_tokens",
        ),
        (
            RATES | {"input_audio_mtok": "5"},
            {},
            "audio",
            "the oracle has no rate for input_audio_tokens",
        ),
        (
            RATES,
            {"sent": "0", "received": "0"},
            "plain",
            "every rate of the oracle's row is 0",
        ),
        (
            RATES | {"output_audio_mtok": "20"},
            {"received": "2e-05"},
            "plain",
            "the oracle has no rate for text output, only for output_audio_tokens",
        ),
    ],
)
def test_a_rate_that_one_side_lacks_is_missing(rates, costs, case, words):
    found = found_of(book(("m", [[None, rates]])), {"m": row(**costs)}, case=case)
    assert (found.kind, found.explanations[0].evidence) == ("missing rate", words)


def test_a_fee_that_one_side_lacks_is_a_fee_and_two_that_differ_are_not():
    sizes = {"search_context_size_low": Decimal("0.01"), "search_context_size_medium": Decimal(1)}
    entries = {"m": row(search_context_cost_per_query=sizes)}
    assert found_of(book(("m", [[None, RATES]])), entries, case="research").kind == "fee"
    for fee, kind in (("10", "fee"), ("11", "unexplained")):
        prices = RATES | {"web_searches_kcount": fee}
        found = found_of(book(("m", [[None, prices]])), entries, case="research")
        assert found.kind == kind


def test_a_tier_that_one_side_lacks_is_a_tier_where_the_base_agrees():
    tiered = RATES | {"input_mtok": ["2", [[200000, "4"]]]}
    assert found_of(book(("m", [[None, tiered]])), {"m": row()}, case="long").kind == "tier"
    wrong = {"m": row(sent="2.1e-06")}
    assert found_of(book(("m", [[None, tiered]])), wrong, case="long").kind == "unexplained"
    above = {"input_cost_per_token_above_200k_tokens": "5e-06"}
    found = found_of(book(("m", [[None, tiered]])), {"m": row(**above)}, case="long")
    assert found.kind == "unexplained"


@pytest.mark.parametrize("case", ["batch", "priority"])
def test_a_service_tier_that_one_side_lacks_is_a_tier_where_the_standard_rates_agree(case):
    when = {"processing": "batch"} if case == "batch" else {"service_tier": "priority"}
    half = {"input_mtok": "1", "output_mtok": "4"}
    providers = book(("m", [[None, RATES]], [[when, None, half]]))
    assert found_of(providers, {"m": row()}, case=case).kind == "tier"
    wrong = {"m": row(received="9e-06")}
    assert found_of(providers, wrong, case=case).kind == "unexplained"
    suffix = "batches" if case == "batch" else case
    costs = {
        f"input_cost_per_token_{suffix}": "1e-06",
        f"output_cost_per_token_{suffix}": "4.1e-06",
    }
    found = found_of(providers, {"m": row(**costs)}, case=case)
    assert found.unexplained == ("output_tokens: ours 4, theirs 4.1",)


def test_a_price_of_one_region_is_one_where_that_of_another_agrees():
    providers = book(("m", [[None, RATES]]), ("eu.m", [[None, RATES]]), provider="aws")
    regional = row("bedrock", sent="2.2e-06")
    entries = {"m": row("bedrock"), "eu.m": regional}
    assert found_of(providers, entries, name="eu.m").kind == "region"
    assert found_of(providers, {"eu.m": regional}, name="eu.m").kind == "unexplained"


def test_a_price_of_every_region_is_compared_with_ours_of_it():
    regional = RATES | {"input_mtok": "2.2"}
    providers = book(("m", [[None, regional]]), ("global.m", [[None, RATES]]), provider="aws")
    assert found_of(providers, {"m": row("bedrock")}).kind == "region"


def test_a_name_for_another_model_is_an_alias_where_that_models_price_agrees():
    providers = book(("m", [[None, RATES]]))
    dearer = row(sent="3e-06")
    found = found_of(providers, {"m": row(), "m-pro": dearer}, name="m-pro")
    assert found.kind == "alias"
    assert found.explanations[0].evidence == "taken for acme/m, of which m says as we do"
    assert found_of(providers, {"m": dearer, "m-pro": dearer}, name="m-pro").unexplained


def test_a_price_of_another_hour_or_a_later_day_is_a_matter_of_time():
    dearer = RATES | {"input_mtok": "4"}
    for constraint in (["daily", "06:00:00", "10:00:00"], ["from", "2026-11-02"]):
        providers = book(("m", [[None, RATES], [constraint, dearer]]))
        found = found_of(providers, {"m": row(sent="4e-06")})
        assert found.kind == "time"
        assert found_of(providers, {"m": row(sent="5e-06")}).unexplained


def test_an_earlier_price_of_either_side_is_stale():
    changed = [[None, RATES | {"input_mtok": "3"}], [["from", "2026-10-01"], RATES]]
    found = found_of(book(("m", changed)), {"m": row(sent="3e-06")})
    assert found.explanations[0] == ("stale", "theirs is ours until 2026-10-01", None)
    others = (history((None, 2, 8), ("2026-10-01T00:00:00Z", 3, 8)),)
    entries = {"m": row(sent="3e-06")}
    found = found_of(book(("m", [[None, RATES]])), entries, others=others)
    assert found.kind == "stale"
    assert found.explanations[0].evidence.startswith("ours is the older in the history of acme/m")


def test_a_price_that_another_table_contradicts_is_stale_and_one_that_it_confirms_is_not():
    entries = {"m": row(sent="3e-06")}
    for sent, kind in ((2, "stale"), (3, "unexplained"), (4, "unexplained")):
        others = (history((None, sent, 8)),)
        assert found_of(book(("m", [[None, RATES]])), entries, others=others).kind == kind


def test_a_converted_price_may_be_off_by_its_rounding_and_no_more():
    dbu = {"input_dbu_cost_per_token": "2.8571e-05"}
    for cost, kind in (("2.00003e-06", "rounding"), ("2.00004e-06", "unexplained")):
        entries = {"m": row(sent=cost, **dbu)}
        assert found_of(book(("m", [[None, RATES]])), entries).kind == kind
    assert found_of(book(("m", [[None, RATES]])), {"m": row(sent="2.00003e-06")}).unexplained


def test_an_exception_explains_the_two_rates_that_it_pins_and_no_others():
    known = (Known("litellm", "stale", "because", "", "m input_tokens 2 3"),)
    for cost, kind in (("3e-06", "stale"), ("3.1e-06", "unexplained")):
        entries = {"m": row(sent=cost)}
        assert found_of(book(("m", [[None, RATES]])), entries, known=known).kind == kind


def test_a_price_that_is_not_what_our_own_rates_make_is_unexplained(monkeypatch):
    """A fault of the engine cannot hide behind rates that differ for a reason."""
    prices = Prices(book=Book({"format": 1, "providers": book(("m", [[None, RATES]]))}))
    sides = Sides(prices, litellm.parse({"m": row()}), AT)
    right = sides.quote(sides.oracle.rows[0], CASES[0])
    monkeypatch.setattr(
        Prices, "quote", lambda *_, **__: right._replace(nanodollars=right.nanodollars + 1)
    )
    assert "our rates make" in compare(sides, sides.oracle.rows[0], CASES[0]).unexplained[0]


def test_no_exception_says_that_two_equal_rates_differ():
    assert all(pin.ours != pin.theirs for pin in pinned(KNOWN))
    with pytest.raises(ValueError, match="pinned twice"):
        pinned(
            (Known("litellm", "stale", "because", "", "m input_tokens 2 3\nm input_tokens 2 3"),)
        )


def test_the_counts_of_a_usage_are_all_different():
    """So that no two mistakes cancel out."""
    for case in CASES:
        assert len(set(case.leaves.values())) == len(case.leaves)
        assert case.usage().input_tokens == case.input_tokens


def test_floats_of_a_table_are_read_exactly(tmp_path):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"m": {**row(), "input_cost_per_token": 1.3e-07}}, default=float))
    (read,) = litellm.read(path).rows
    assert read.rates["input_tokens"].base == Fraction(13, 10**8)


def test_the_agreement_counts_every_price_once():
    sides = Sides(Prices(), litellm.parse(LITELLM), AT)
    head, line = agreement({"litellm": compare_all(sides)}).splitlines()
    numbers = dict(zip(head.replace("missing rate", "missing").split(), line.split(), strict=True))
    assert numbers["models"] == "2"
    counted = [int(number) for name, number in numbers.items() if name not in {"oracle", "models"}]
    assert counted[0] == 16 == sum(counted[1:])
