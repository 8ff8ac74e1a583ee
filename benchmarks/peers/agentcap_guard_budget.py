"""agentcap-guard: its README's "wrap a whole run (for frameworks / custom loops …)".

`cap.check` before each call and `cap.record_usage` after it: its wrapped client knows no async
one. Prices are in a pricing.toml named by AGENTCAP_PRICING.
https://github.com/wangkevin2100-cell/agentcap#readme
"""

import asyncio
import os
from pathlib import Path

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

Path("pricing.toml").write_text(
    f'[models.default]\ninput = 10.0\noutput = 30.0\n[models."{MODEL}"]\n'
    f"input = 0.0\noutput = {USD_PER_MILLION}\n"
)
os.environ["AGENTCAP_PRICING"] = "pricing.toml"
os.environ["AGENTCAP_HOME"] = "agentcap"

import agentcap  # noqa: E402 - it reads the variables above


async def main() -> None:
    provider = Provider()
    with agentcap.budget(BUDGET_USD) as cap:

        async def call(number: int) -> None:
            asked = messages(number)
            cap.check(
                model=MODEL,
                messages=asked,
                max_output_tokens=OUTPUT_TOKENS,
                step_signature={"model": MODEL, "messages": asked},
            )
            response = await provider.create(model=MODEL, messages=asked)
            cap.record_usage(MODEL, response.usage.prompt_tokens, response.usage.completion_tokens)

        await run(call, refusal=agentcap.BudgetExceeded)
        report("agentcap-guard", provider, cap.spent_usd)


asyncio.run(main())
