"""`estimate`: what a request can come to, and what its budgets would do with it."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as some

import tallystick
from tallystick import Budget, BudgetExceeded, BudgetUncertain
from tallystick.attribution import Attribution
from tallystick.budget.estimate import estimate
from tallystick.budget.standing import Budgets

RATES = """
[[rates]]
model = "cent"
provider = "local"
input_per_million = 0
output_per_million = 10000

[[rates]]
model = "both"
provider = "local"
input_per_million = 1
output_per_million = 2
"""


@pytest.fixture
def tally(tmp_path):
    (tmp_path / "tallystick.toml").write_text(RATES)
    with tallystick.open(
        tmp_path / "usage.db", config=tmp_path / "tallystick.toml", on_fault="raise"
    ) as opened:
        yield opened


@pytest.fixture
def budgets(tally):
    return Budgets(tally.ledger)


@pytest.fixture
def ask(tally):
    def ask(body, provider="local", **about):
        return estimate(
            body,
            ledger=tally.ledger,
            prices=tally.prices,
            at=1_795_000_000_000_000_000,
            provider=provider,
            **about,
        )

    return ask


CENT = {"model": "cent", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 10}


def test_a_request_is_estimated_without_any_budget(ask):
    found = ask({"model": "both", "input": "Hello " * 100, "max_output_tokens": 50})
    assert (found.model, found.api, found.basis) == ("both", "openai.responses", "bytes")
    assert found.input_tokens >= 600
    assert found.most.nanodollars == found.input_tokens * 1000 + 50 * 2000
    assert found.most.tokens == found.input_tokens + 50
    assert found.most.usd == Decimal(found.most.nanodollars) / 10**9
    assert 0 < found.expected.nanodollars < found.most.nanodollars
    assert (found.asks_limit, found.output_tokens, found.reasons) == (True, 50, ())
    assert (found.budgets, found.fits, found.granted_output_tokens) == ((), True, 50)
    assert "own rates" in found.rule or "both" in found.rule


@pytest.mark.parametrize(
    ("body", "provider", "api"),
    [
        ({"model": "m", "input": "x"}, None, "openai.responses"),
        ({"model": "m", "messages": [], "max_tokens": 1}, "anthropic", "anthropic.messages"),
        ({"contents": [{"parts": [{"text": "x"}]}]}, "google", "gemini.generate"),
        ({"model": "m", "messages": []}, None, "openai.chat"),
    ],
)
def test_the_api_is_known_by_the_shape_of_the_body(ask, body, provider, api):
    assert ask(body, provider).api == api


def test_a_request_without_a_limit_is_taken_at_the_one_it_would_be_given(ask, budgets):
    body = {"model": "both", "input": "x"}
    assert (ask(body).output_tokens, ask(body).asks_limit) == (16_384, False)
    budgets.set("b", Budget(usd=10, per="all", default_output_tokens=300))
    assert ask(body).output_tokens == 300


def test_each_answer_that_is_asked_for_counts(ask):
    one, three = ask(CENT), ask({**CENT, "n": 3})
    assert three.answers == 3
    assert three.most.nanodollars - one.most.nanodollars == 20 * 10_000_000


@pytest.mark.parametrize(
    ("budget", "verdict", "output_tokens", "granted"),
    [
        (Budget(usd="0.10", per="all", min_output_tokens=5), "fits", 10, 10),
        (Budget(usd="0.07", per="all", min_output_tokens=5), "clamped", 7, 7),
        (Budget(usd="0.04", per="all", min_output_tokens=5), "refused", 4, None),
        (Budget(usd=0, per="all", min_output_tokens=5), "refused", 0, None),
        (Budget(usd="0.04", per="all", on_exceeded="warn"), "warned", 4, 10),
        (Budget(tokens=5, per="all"), "refused", None, None),
        (Budget(requests=0, per="all"), "refused", None, None),
        (Budget(requests=1, per="all"), "fits", 10, 10),
        (Budget(usd="0.10"), "fits", 10, 10),
    ],
)
def test_each_budget_says_what_it_would_do(ask, budgets, budget, verdict, output_tokens, granted):
    budgets.set("b", budget)
    found = ask(CENT)
    (fit,) = found.budgets
    assert (fit.verdict, fit.output_tokens) == (verdict, output_tokens)
    assert (found.fits, found.granted_output_tokens) == (granted is not None, granted)


def test_the_cheaper_model_of_a_budget_is_named(ask, budgets):
    budgets.set("b", Budget(usd="0.01", per="all", on_exceeded="both"))
    (fit,) = ask(CENT).budgets
    assert (fit.verdict, fit.instead) == ("refused", "both")


def test_only_budgets_that_it_falls_under_are_told(ask, budgets):
    budgets.set("acme", Budget(usd=1, per="all"), customer="acme")
    budgets.set("planner", Budget(usd=1, per="all"), agent="Planner")
    assert ask(CENT).budgets == ()
    for_acme = ask(CENT, who=Attribution(customer="acme"), agent="Planner")
    assert [fit.budget for fit in for_acme.budgets] == ["acme", "planner"]


def test_what_is_unpriced_or_unbounded_says_why_and_raises_nothing(ask, budgets):
    unpriced = ask({**CENT, "model": "nobody-knows"})
    assert unpriced.most.nanodollars is None
    assert unpriced.most.tokens is not None
    assert unpriced.reasons
    search = {
        "model": "cent",
        "input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}],
    }
    unbounded = ask(search)
    assert (unbounded.input_tokens, unbounded.most.tokens) == (None, None)
    assert unbounded.reasons
    assert unbounded.fits
    budgets.set("strict", Budget(usd=1, per="all"))
    budgets.set("lenient", Budget(usd=1, per="all", allow=["unbounded", "unpriced"]))
    found = ask(search)
    assert {fit.budget: fit.verdict for fit in found.budgets} == {
        "strict": "uncertain",
        "lenient": "fits",
    }
    assert found.granted_output_tokens is None


@pytest.mark.parametrize("body", [{}, {"model": 7}, {"input": None}, {"messages": "x" * 10_000}])
def test_no_body_is_too_odd_for_an_estimate(ask, body):
    assert ask(body).most.requests == 1


def test_the_dict_of_an_estimate_is_json(ask, budgets):
    budgets.set("b", Budget(usd=1, per="day"))
    told = json.loads(json.dumps(ask(CENT).to_dict()))
    assert told["budgets"][0]["verdict"] == "fits"
    assert told["most"]["usd"] == "0.100000000"


def test_an_estimate_holds_nothing(ask, budgets, tally):
    budgets.set("b", Budget(requests=1, per="all"))
    for _ in range(3):
        assert ask(CENT).fits
    assert budgets.get("b").held.requests == 0


limits = some.fixed_dictionaries(
    {},
    optional={
        "usd": some.sampled_from(["0", "0.03", "0.05", "0.10", "0.50"]),
        "tokens": some.integers(0, 400),
        "requests": some.integers(0, 2),
    },
).filter(bool)
policies = some.fixed_dictionaries(
    {},
    optional={
        "min_output_tokens": some.integers(1, 20),
        "on_exceeded": some.sampled_from(["stop", "warn"]),
        "allow": some.lists(some.sampled_from(["unpriced", "unbounded"]), unique=True),
    },
)


@given(
    several=some.lists(some.tuples(limits, policies), min_size=1, max_size=3),
    limit=some.none() | some.integers(1, 30),
    model=some.sampled_from(["cent", "both", "unheard-of"]),
)
def test_an_estimate_foretells_what_happens(several, limit, model, tmp_path_factory):
    """The limit on the answer that a request is granted, or that it is refused."""
    folder = tmp_path_factory.mktemp("ledger")
    (folder / "tallystick.toml").write_text(RATES)
    body = {"model": model, "input": "Hello"}
    if limit is not None:
        body["max_output_tokens"] = limit
    with tallystick.open(":memory:", config=folder / "tallystick.toml", on_fault="raise") as tally:
        standing = Budgets(tally.ledger)
        for number, (amounts, policy) in enumerate(several):
            standing.set(
                f"b{number}", Budget(per="all", default_output_tokens=25, **amounts, **policy)
            )
        with tally.run("r") as run:
            found = estimate(
                body,
                ledger=tally.ledger,
                prices=tally.prices,
                at=tally.ledger._clock.now(),
                provider="local",
            )
            request = run.request(provider="local", body=body)
            try:
                request.hold()
            except (BudgetExceeded, BudgetUncertain):
                assert not found.fits
            else:
                assert found.fits
                if request.output_limit is not None:
                    assert request.output_limit == found.granted_output_tokens
                elif limit is not None:
                    assert found.granted_output_tokens == limit
                request.release()
