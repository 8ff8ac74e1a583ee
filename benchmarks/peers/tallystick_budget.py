"""Tallystick: a loop of one's own, as in the README, under a budget of $1.00.

Alone the budget is the run's. Of several processes that share a ledger, each makes a part of the
calls, and the budget is a standing one, so that it is the same in all of them.
"""

import asyncio
import sys
from pathlib import Path

from provider import BUDGET_USD, CALLS, IN_TURN, MODEL, OUTPUT_TOKENS, Provider, messages, report
from provider import run as run_all

import tallystick
from tallystick import Budget, BudgetExceeded, Clock

CONFIG = Path(__file__).with_name("tallystick.toml")


async def main() -> None:
    provider = Provider()
    limit = f"{BUDGET_USD:.2f}"
    with tallystick.open("usage.db", config=CONFIG, on_fault="raise") as tally:
        own: tuple[Budget, ...] = (Budget(usd=limit),)
        if sys.argv[1] not in (IN_TURN, f"0:{CALLS}"):
            clock = Clock()
            standing = Budget(usd=limit, per="all", name="n50")
            tally.ledger.set_budget(
                standing.row(clock.id("budget"), clock.now(), name="n50")
            ).result()
            own = ()
        async with tally.run("n50", budget=own) as run:

            async def call(number: int) -> None:
                body = {
                    "model": MODEL,
                    "messages": messages(number),
                    "max_tokens": OUTPUT_TOKENS,
                }
                async with run.request(provider="openai", body=body) as request:
                    request.settle(await provider.create(**body))

            await run_all(call, refusal=BudgetExceeded)
        report("tallystick", provider, run.usage.cost.usd)


asyncio.run(main())
