"""The requests that holding and settling is measured with: each on three budgets."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tallystick import RequestUsage
from tallystick.clock import timestamp
from tallystick.ledger import Amounts, Ask

START = 1_795_000_000_000_000_000
RUN = "run_0"
BUDGETS = ("customer", "project", "everything")
LIMITS = Amounts(10**17, 10**15, 10**12)
ASK = Ask(3_000_000, 10_000, 1_200, 1, 500, 256)
RAW_USAGE = {
    "input_tokens": 1200,
    "input_tokens_details": {"cached_tokens": 1024},
    "output_tokens": 300,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 1500,
}
DURATION = 1_500_000_000


@dataclass(frozen=True)
class Pair:
    """One request, as it is held and as it is settled."""

    held: RequestUsage
    settled: RequestUsage
    started_at: int


def pairs(numbers: Iterator[int], length: int, prefix: str = "req") -> list[Pair]:
    """Return requests to write; making them is no part of what is measured."""
    return [pair(f"{prefix}_{number:032x}", number) for number in islice(numbers, length)]


def pair(identity: str, number: int) -> Pair:
    """Return one request by its id and number."""
    started_at = START + number * 1000
    fields: dict[str, Any] = {
        "id": identity,
        "run_id": RUN,
        "provider": "openai",
        "model": "gpt-5-2025-08-07",
        "agent": "Planner",
        "turn": 1,
        "customer": "acme",
        "project": "trips",
        "session": "s-42",
        "started_at": timestamp(started_at),
        "price_book": "a" * 64,
        "price_rule": "openai/gpt-5",
    }
    held = RequestUsage(
        1200, 500, None, status="held", estimated=True, cost_nanodollars=8_000_000, **fields
    )
    settled = RequestUsage(
        1200,
        300,
        1500,
        {"cached_tokens": 1024, "cache_write_tokens": 0},
        {"reasoning_tokens": 64},
        status="settled",
        outcome="completed",
        response_id=f"resp_{number:032x}",
        service_tier="default",
        duration=DURATION / 1e9,
        cost_nanodollars=4_500_000,
        **fields,
    )
    return Pair(held, settled, started_at)
