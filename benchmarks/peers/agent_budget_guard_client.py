"""agent-budget-guard-py: its README's "Wrapped client", with "Refuse a call before paying for it".

`guard_openai(client, max_usd=…, preflight=True)` around an async client, with the price of the
model as "Models it doesn't know" says. https://github.com/yaoyuxiang-gnn/agent-guard#readme
"""

import asyncio

from agentguard import BudgetExceeded, Guard
from agentguard.adapters.openai import guard_openai
from provider import (
    BUDGET_USD,
    MODEL,
    OUTPUT_TOKENS,
    USD_PER_MILLION,
    Provider,
    messages,
    report,
    run,
)


async def main() -> None:
    provider = Provider()
    guard = Guard(max_usd=BUDGET_USD, pricing={MODEL: (0.0, USD_PER_MILLION)}, use_config=False)
    client = guard_openai(provider, guard, preflight=True)

    async def call(number: int) -> None:
        await client.chat.completions.create(
            model=MODEL, messages=messages(number), max_tokens=OUTPUT_TOKENS
        )

    await run(call, refusal=BudgetExceeded)
    report("agent-budget-guard-py", provider, guard.spent_usd)


asyncio.run(main())
