"""How the public interface is typed. The type checker reads this file; nothing runs it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_type

import tallystick
from tallystick import (
    Budget,
    BudgetExceeded,
    BudgetUncertain,
    Cost,
    RequestUsage,
    Run,
    Tally,
    Usage,
)
from tallystick.budget.estimate import Estimate
from tallystick.budget.standing import BudgetStatus
from tallystick.pricing import Prices, Quote, quote


def opened() -> None:
    """A tally, a run and what they give."""
    tally = tallystick.open(":memory:", on_fault="raise")
    assert_type(tally, Tally)
    assert_type(tally.faults, int)
    assert_type(tally.track("openai-agents"), str)
    with tally.run("r", customer="acme", team="red") as run:
        assert_type(run, Run)
        assert_type(run.usage, Usage)
        with run.request(model="gpt-5", provider="openai") as request:
            assert_type(request.settle({"usage": {}}), RequestUsage | None)
    assert_type(tally.usage(run), Usage)
    with tallystick.attribute(customer="acme", team=3):
        assert_type(tallystick.current_run(), Run | None)


async def opened_async(tally: Tally) -> None:
    """The same in async code."""
    async with tally.run("r") as run, run.request(model="gpt-5") as request:
        request.settle(None)


def read(usage: Usage, entry: RequestUsage) -> None:
    """What a usage and an entry say."""
    assert_type(usage.input_tokens, int)
    assert_type(usage.input_tokens_details.cached_tokens, int | None)
    assert_type(usage.request_usage_entries, list[RequestUsage])
    assert_type(usage.cost, Cost)
    assert_type(usage.cost.usd, Decimal)
    assert_type(usage.cost.complete, bool)
    assert_type(usage.by("agent"), dict[Any, Usage])
    assert_type(usage - usage.snapshot(), Usage)
    assert_type(usage.unknown, dict[str, int])
    assert_type(entry.input_tokens, int | None)
    assert_type(entry.agent, str | None)
    assert_type(entry.started_at, datetime | None)
    assert_type(entry.tags, Mapping[str, str])
    assert_type(quote(entry), Quote)
    assert_type(entry.explain(), Quote)
    assert_type(entry.explain(Prices.load("tallystick.toml")), Quote)


def budgeted(tally: Tally) -> None:
    """Budgets, and what they refuse."""
    with tally.run("r", budget=Budget(usd="0.50", tokens=1000)) as run:
        try:
            with run.request(model="gpt-5", body={"input": "x"}) as request:
                assert_type(request.output_limit, int | None)
        except BudgetExceeded as refusal:
            assert_type(refusal.budget, str | None)
            assert_type(refusal.unit, str)
        except BudgetUncertain as refusal:
            assert_type(refusal.setting, str)
    assert_type(tally.budgets.set("acme", Budget(requests=1, per="day"), team="x"), BudgetStatus)
    assert_type(tally.budgets.list(), list[BudgetStatus])
    assert_type(tally.budgets.get("acme").room.usd, Decimal | None)
    assert_type(tally.estimate({"model": "gpt-5", "input": "x"}, provider="openai"), Estimate)
