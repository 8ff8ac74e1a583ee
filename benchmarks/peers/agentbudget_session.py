"""agentbudget: its README's "Manual Mode", "Async Support" and "Finalization Reserve".

Prices by `register_model`, `would_exceed` before each call, and `session.wrap_async` around it.
https://github.com/AgentBudget/agentbudget#readme
"""

import asyncio

import agentbudget
from agentbudget import AgentBudget, BudgetExhausted
from provider import BUDGET_USD, CALL_USD, MODEL, USD_PER_MILLION, Provider, messages, report, run


async def main() -> None:
    agentbudget.register_model(MODEL, 0.0, USD_PER_MILLION)
    provider = Provider()
    # Its detector of loops counts calls by their model; 50 calls of one model are no loop here.
    budget = AgentBudget(max_spend=f"${BUDGET_USD:.2f}", max_repeated_calls=1000)
    async with budget.async_session() as session:

        async def call(number: int) -> None:
            if not session.would_exceed(CALL_USD):
                await session.wrap_async(provider.create(model=MODEL, messages=messages(number)))

        await run(call, refusal=BudgetExhausted)
        report("agentbudget", provider, session.spent)


asyncio.run(main())
