"""pydantic-ai-harness' SpendLimits: the example of its README, with `price` as in "Pricing".

One agent with `SpendLimits(budgets=[Budget(usd=…, window="total")])`.
https://pydantic.dev/docs/ai/harness/spend/
"""

import asyncio
from decimal import Decimal

from provider import BUDGET_USD, CALL_USD, MODEL, OUTPUT_TOKENS, Provider, messages, report, run
from pydantic_ai import Agent, ModelResponse, TextPart
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage
from pydantic_ai_harness import SpendLimits
from pydantic_ai_harness.spend import Budget, SpendLimitExceeded


async def main() -> None:
    provider = Provider()

    async def answer(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        await provider.create(model=MODEL)
        return ModelResponse([TextPart("answer")], usage=RequestUsage(output_tokens=OUTPUT_TOKENS))

    limits = SpendLimits(
        budgets=[Budget(usd=Decimal(str(BUDGET_USD)), window="total")],
        price=lambda _: Decimal(str(CALL_USD)),
    )
    agent = Agent(FunctionModel(answer), capabilities=[limits])

    async def call(number: int) -> None:
        await agent.run(messages(number)[0]["content"])

    await run(call, refusal=SpendLimitExceeded)
    (status,) = await limits.status()
    report("pydantic-ai-harness", provider, status.spent.usd)


asyncio.run(main())
