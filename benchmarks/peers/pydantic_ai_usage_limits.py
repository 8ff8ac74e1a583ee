"""Pydantic AI's UsageLimits: agents that share one `usage`, as in "Agent delegation".

`usage=` and `usage_limits=UsageLimits(request_limit=10)` in each run: ten calls are the budget.
https://ai.pydantic.dev/multi-agent-applications/#agent-delegation
"""

import asyncio

from provider import BUDGET_USD, CALL_USD, MODEL, OUTPUT_TOKENS, Provider, messages, report, run
from pydantic_ai import Agent, ModelResponse, RunUsage, TextPart, UsageLimitExceeded, UsageLimits
from pydantic_ai.messages import ModelMessage
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import RequestUsage


async def main() -> None:
    provider = Provider()

    async def answer(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        await provider.create(model=MODEL)
        return ModelResponse([TextPart("answer")], usage=RequestUsage(output_tokens=OUTPUT_TOKENS))

    agent = Agent(FunctionModel(answer))
    usage = RunUsage()
    limits = UsageLimits(request_limit=round(BUDGET_USD / CALL_USD))

    async def call(number: int) -> None:
        await agent.run(messages(number)[0]["content"], usage=usage, usage_limits=limits)

    await run(call, refusal=UsageLimitExceeded)
    report("pydantic-ai-slim", provider, usage.requests * CALL_USD)


asyncio.run(main())
