"""Prices against genai-prices: one request, and what must be loaded before the first."""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime

import genai_prices

from benchmarks.pairs import Row, row, timed
from tallystick import RequestUsage
from tallystick.pricing import Prices

AT = datetime(2026, 11, 1, tzinfo=UTC)


def _quoting(model: str, sent: int) -> Row:
    """Price one request of a model; the amounts are compared before anything is measured."""
    usage = RequestUsage(
        sent,
        500,
        sent + 500,
        {"cached_tokens": 2000, "cache_write_tokens": 0},
        {"reasoning_tokens": 100},
        provider="openai",
        model=model,
        started_at=AT,
        service_tier="default",
    )
    theirs = genai_prices.Usage(
        input_tokens=sent, output_tokens=500, cache_read_tokens=2000, output_reasoning_tokens=100
    )
    prices = Prices()

    def peer() -> genai_prices.types.PriceCalculation:
        return genai_prices.calc_price(
            theirs, model, provider_id="openai", genai_request_timestamp=AT
        )

    amount = prices.quote(usage).nanodollars
    if amount != round(peer().total_price * 10**9):
        raise AssertionError(f"{model}: {amount} nanodollars against {peer().total_price} USD")
    return row(
        f"price a request of {model}",
        lambda: min(timed(lambda: prices.quote(usage), 5000) for _ in range(5)),
        lambda: min(timed(peer, 150) for _ in range(5)),
        goal=50,
        faster=True,
    )


def plain() -> Row:
    """A model with one rate for each kind of token."""
    return _quoting("gpt-5", 12_000)


def tiered() -> Row:
    """A request above a threshold of input, where all of its rates are others."""
    return _quoting("gpt-5.4", 300_000)


_LOADING = """
import time
import tallystick
tallystick.Tally
started = time.perf_counter()
{}
print(time.perf_counter() - started)
"""


def loading() -> Row:
    """What a program waits for before its first price, in a new interpreter each time.

    Both begin in a program that has imported Tallystick's façade, so that neither is charged for
    what of the standard library they share. The book is cached already, as it is in every
    process but the first; genai-prices is only imported, which does not yet read its data.
    """
    with tempfile.TemporaryDirectory() as cache:

        def seconds(program: str) -> float:
            told = subprocess.run(  # noqa: S603 - our own interpreter
                [sys.executable, "-c", _LOADING.format(program)],
                check=True,
                capture_output=True,
                text=True,
                env={"TALLYSTICK_CACHE": cache},
            )
            return float(told.stdout)

        return row(
            "load the book, against genai-prices",
            lambda: min(
                seconds("from tallystick.pricing import Prices; Prices().book") for _ in range(3)
            ),
            lambda: min(seconds("import genai_prices") for _ in range(3)),
            goal=0.2,
            faster=False,
        )


ROWS = {"price plain": plain, "price tiered": tiered, "price load": loading}
