"""litellm's BudgetManager: "User-based rate limiting" of https://docs.litellm.ai/docs/budget_manager.

A call is made where the current cost is not above the total budget, and `update_cost` is told the
response. The price of the model is given by `litellm.register_model`.
"""

import asyncio
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it downloads one

import litellm
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

USER = "1234"


async def main() -> None:
    price = {
        "input_cost_per_token": 0.0,
        "output_cost_per_token": USD_PER_MILLION / 1e6,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    litellm.register_model({MODEL: price})
    provider = Provider()
    manager = litellm.BudgetManager(project_name="test_project")
    if not manager.is_valid_user(USER):
        manager.create_budget(total_budget=BUDGET_USD, user=USER)

    async def call(number: int) -> None:
        if manager.get_current_cost(user=USER) <= manager.get_total_budget(USER):
            await provider.create(model=MODEL, messages=messages(number))
            usage = litellm.Usage(
                prompt_tokens=0, completion_tokens=OUTPUT_TOKENS, total_tokens=OUTPUT_TOKENS
            )
            response = litellm.ModelResponse(model=MODEL, usage=usage)
            manager.update_cost(completion_obj=response, user=USER)

    await run(call, refusal=litellm.BudgetExceededError)
    report("litellm", provider, manager.get_current_cost(USER))


asyncio.run(main())
