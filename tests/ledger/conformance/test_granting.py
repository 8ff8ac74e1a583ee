"""What holds grant and balances come to, against a model of a few lines (I1, I3, I4)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from tallystick.ledger import Amounts, Ask, Claim, Granted, HoldRefused

limits = some.one_of(some.none(), some.integers(0, 400))
bounds = some.one_of(some.none(), some.integers(0, 120))
asks = some.builds(
    lambda dollars, each, tokens, answers, wanted, least: Ask(
        dollars, each, tokens, answers, wanted, min(wanted, least)
    ),
    bounds,
    some.integers(0, 4),
    bounds,
    some.integers(0, 3),
    some.integers(0, 60),
    some.integers(0, 60),
)
endings = some.tuples(
    some.sampled_from(["settled", "released", "in_doubt", "held"]), bounds, bounds, some.booleans()
)


@dataclass
class Model:
    """A budget, as simple as can be."""

    limits: Amounts
    hard: bool
    spent: list[int] = field(default_factory=lambda: [0, 0, 0])
    held: list[int] = field(default_factory=lambda: [0, 0, 0])
    unpriced: int = 0

    def fits(self, amounts):
        return not self.hard or all(
            limit is None or amount is None or spent + held + amount <= limit
            for limit, amount, spent, held in zip(
                self.limits, amounts, self.spent, self.held, strict=True
            )
        )

    def hold(self, amounts, sign=1):
        self.held = [
            held + sign * (more or 0) for held, more in zip(self.held, amounts, strict=True)
        ]

    def settle(self, amounts, used):
        self.hold(amounts, -1)
        charged = [
            held if known is None else known for known, held in zip(used, amounts, strict=True)
        ]
        self.spent = [spent + (more or 0) for spent, more in zip(self.spent, charged, strict=True)]
        self.unpriced += charged[0] is None

    @property
    def debt(self):
        return tuple(
            0 if limit is None else max(0, spent + held - limit)
            for limit, spent, held in zip(self.limits, self.spent, self.held, strict=True)
        )


def afforded(ask, models):
    """Return the longest answer that every budget has room for, found by trying each."""
    lengths = range(ask.output_tokens, ask.least - 1, -1)
    return next(
        (length for length in lengths if all(model.fits(ask.amounts(length)) for model in models)),
        None,
    )


@settings(
    max_examples=int(os.environ.get("TALLYSTICK_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    budgets=some.lists(
        some.tuples(some.builds(Amounts, limits, limits, limits), some.booleans()),
        min_size=1,
        max_size=3,
    ),
    requests=some.lists(some.tuples(asks, endings), min_size=1, max_size=6),
)
def test_holds_and_balances_are_those_of_a_plain_model(write, budgets, requests):
    """The longest answer that all budgets afford is granted, and no unit is lost or made."""
    run = write.run()
    models = [Model(*budget) for budget in budgets]
    claims = [
        Claim(write.budget(f"{run.id}-{place}", limits=model.limits, hard=model.hard), "all")
        for place, model in enumerate(models)
    ]
    for ask, (status, cost, tokens, later) in requests:
        entry = write.entry(run)
        result = write.do(write.asking(entry, *claims, ask=ask))
        length = afforded(ask, models)
        if length is None:
            assert isinstance(result, HoldRefused)
            continue
        assert isinstance(result, Granted)
        assert result.output_tokens == length
        amounts = ask.amounts(length)
        for model in models:
            model.hold(amounts)
        used = (cost, tokens, None)
        ending = {"cost_nanodollars": cost, "total_tokens": tokens}
        if status != "held":
            write.end(entry, status, **ending)
        if status == "in_doubt" and later:
            status = "settled"
            write.end(entry, status, **ending)
        for model in models:
            if status == "settled":
                model.settle(amounts, used)
            elif status == "released":
                model.hold(amounts, -1)
        for claim, model in zip(claims, models, strict=True):
            balance = write.balance(claim)
            assert balance.spent == tuple(model.spent)
            assert balance.held == tuple(model.held)
            assert (balance.debt, balance.unpriced) == (model.debt, model.unpriced)
