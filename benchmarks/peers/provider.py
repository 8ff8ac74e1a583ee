"""The provider of the N50 test: each call takes 50 ms, costs $0.10, and is counted when sent.

It has the shape of OpenAI's async client, and answers with a response that has the usage of one
call: 1,000 tokens of output at $100 a million. Adapters run it through the package that they are
for, each in an interpreter and a folder of its own.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

IN_TURN = "in-turn"
MODEL = "bench-model"
CALLS = 50
CALL_USD = 0.10
BUDGET_USD = 1.00
OUTPUT_TOKENS = 1000
USD_PER_MILLION = 100.0


class Provider:
    """Counts what is sent. `chat.completions.create` is OpenAI's."""

    def __init__(self) -> None:
        self.sent = 0
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    async def create(self, **_: Any) -> SimpleNamespace:
        """Send a call."""
        self.sent += 1
        await asyncio.sleep(0.05)
        usage = SimpleNamespace(
            prompt_tokens=0, completion_tokens=OUTPUT_TOKENS, total_tokens=OUTPUT_TOKENS
        )
        return SimpleNamespace(model=MODEL, usage=usage, choices=[])


def messages(number: int) -> list[dict[str, str]]:
    """Return a question; no two are the same, so that no detector of loops steps in."""
    return [{"role": "user", "content": f"question {number}"}]


async def run(call: Callable[[int], Awaitable[object]], *, refusal: type[BaseException]) -> None:
    """Make calls, as the program's argument says: ``in-turn``, or ``0:50`` for these at once.

    Args:
        call: makes one call under the package's budget, or raises `refusal`.
        refusal: how the package refuses; any other exception is a fault, and raised.
    """

    async def attempt(number: int) -> None:
        with suppress(refusal):
            await call(number)

    if sys.argv[1] == IN_TURN:
        for number in range(CALLS):
            await attempt(number)
    else:
        await asyncio.gather(*map(attempt, range(*map(int, sys.argv[1].split(":")))))


def report(package: str, provider: Provider, told: object) -> None:
    """Print what came of it.

    Args:
        package: its name at PyPI.
        provider: what counted the calls that were sent.
        told: what the package itself says was spent, in USD.
    """
    found = {"version": version(package), "sent": provider.sent, "told": float(str(told))}
    print(json.dumps(found))
