"""A process whose tasks spend one budget over HTTP until it refuses them.

    python spender.py BASE_URL LEDGER CONFIG TASKS

It prints how many requests it had answered, how many tasks were refused, and what went wrong.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter

import httpx2

import tallystick
from tallystick import BudgetExceeded, BudgetUncertain, Tally
from tallystick.integrations.http import instrument

BODY = {"model": "gpt-5-mini", "input": "Say a word.", "max_output_tokens": 24}


async def spend(tally: Tally, client: httpx2.AsyncClient, counts: Counter[str]) -> None:
    """Ask again and again, each time in a run of its own, because a refusal stops a run."""
    while True:
        try:
            async with tally.run("spender"):
                response = await client.post("/responses", json=BODY)
                response.raise_for_status()
        except BudgetExceeded:
            counts["refused"] += 1
            return
        except BudgetUncertain:
            # The file was busy for too long: nothing was sent.
            counts["uncertain"] += 1
        else:
            counts["answered"] += 1


async def main(base_url: str, ledger: str, config: str, tasks: int) -> None:
    """Spend with so many tasks at once."""
    counts: Counter[str] = Counter()
    with tallystick.open(ledger, config=config) as tally:
        limits = httpx2.Limits(max_connections=tasks)
        async with httpx2.AsyncClient(base_url=base_url, limits=limits, timeout=60) as client:
            instrument(client, None)
            print("ready", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            await asyncio.gather(*(spend(tally, client, counts) for _ in range(tasks)))
        print(counts["answered"], counts["refused"], counts["uncertain"], tally.faults)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
