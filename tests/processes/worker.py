"""A process that runs agents against a provider and counts them in a shared ledger.

    python worker.py BASE_URL LEDGER FIRST NUMBER

Each run has a number of its own, from FIRST on. It is sent to the provider in a header and kept
in the ledger as a tag, so that the two can be compared request for request.
"""

import asyncio
import sys

import agents
from agents import Agent, ModelSettings, Runner, function_tool
from openai import AsyncOpenAI

import tallystick


@function_tool
def look() -> str:
    """Look something up."""
    return "found"


async def one(tally, client, number):
    """Run one agent, plain or streamed, on one API or the other."""
    kind = agents.OpenAIResponsesModel if number % 2 else agents.OpenAIChatCompletionsModel
    settings = ModelSettings(extra_headers={"x-tallystick-case": str(number)})
    agent = Agent("A", model=kind("gpt-5", client), tools=[look], model_settings=settings)
    with tally.run("case", case=str(number)) as run:
        if number % 3:
            await Runner.run(agent, f"case {number}")
        else:
            result = Runner.run_streamed(agent, f"case {number}")
            async for _ in result.stream_events():
                pass
    return run.usage.requests


async def main(base_url, ledger, first, number):
    """Run them all at once."""
    agents.set_tracing_disabled(disabled=True)
    with tallystick.open(ledger) as tally:
        tally.track("openai-agents")
        async with AsyncOpenAI(base_url=base_url, api_key="test", max_retries=0) as client:
            print("ready", flush=True)
            cases = range(first, first + number)
            counts = await asyncio.gather(*(one(tally, client, case) for case in cases))
        print(sum(counts), tally.faults, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
