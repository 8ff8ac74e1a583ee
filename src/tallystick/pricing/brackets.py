"""`Brackets`: rates compiled to integers, and a short cut for the counts that most requests have.

The price of a usage is a sum of counts times rates over disjoint parts: input that is neither
cached nor audio, cached input, and so on. Written out in the counts as they are reported, which
include their parts, the same sum has one coefficient a count: cached tokens, for one, add the
difference of the cached and the plain rate. The coefficients are integers over one denominator,
so pricing is a few multiplications and one rounding, exact for any rate.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from math import lcm
from typing import Any, NamedTuple, TypeAlias

from tallystick.counts import MAX_COUNT
from tallystick.money import NANODOLLARS_PER_USD
from tallystick.pricing.rate import Rate
from tallystick.pricing.units import FREE_TOOLS, INPUT_UNITS, OUTPUT_UNITS, TOOL_UNITS, Unit

ShortCut: TypeAlias = Callable[[Mapping[str, Any]], int | None]
"""From a `RequestUsage.record` to nanodollars, or None."""


class Bracket(NamedTuple):
    """The coefficients that hold up to a threshold of input, in units of 1/denominator.

    For the counts that most requests have and no others; see `Brackets.amount`.
    """

    input: int
    output: int
    fixed: int
    """For the request itself."""
    cached: int
    written: int
    reasoning: int
    minutes: int
    """For cache writes of five minutes, beside `written`."""
    hour: int
    """For cache writes of an hour, beside `written`."""
    tools: dict[str, int]
    """By the tool's name in `tool_requests`: those whose fee is known."""


class Brackets:
    """The integers of rates, for each stretch between their thresholds of input."""

    __slots__ = ("amount", "denominator", "rates", "thresholds")

    amount: ShortCut
    """Gives the nanodollars of a usage's record, or None where it needs the whole rule: where a
    count is unknown or estimated, where counts contradict each other, where a tool's fee is not
    known, and where modalities have rates of their own."""

    def __init__(self, rates: Mapping[str, Rate], units: tuple[Unit, ...]) -> None:
        """Compile rates, whose `units` come parts before their wholes."""
        self.thresholds = tuple(
            sorted({threshold for rate in rates.values() for threshold, _ in rate.tiers})
        )
        bounds = (0, *(threshold + 1 for threshold in self.thresholds))
        amounts = [
            {name: rate.at(bound) * NANODOLLARS_PER_USD for name, rate in rates.items()}
            for bound in bounds
        ]
        self.denominator = lcm(
            *(amount.denominator for bracket in amounts for amount in bracket.values())
        )
        self.rates = tuple(
            {name: int(amount * self.denominator) for name, amount in bracket.items()}
            for bracket in amounts
        )
        """By the unit's name, for each bracket: 1/denominator nanodollars for one."""
        self.amount = _short_cut(
            tuple(_bracket(bracket, units) for bracket in self.rates),
            self.thresholds,
            self.denominator,
            _unpriced_modalities(INPUT_UNITS, rates),
            _unpriced_modalities(OUTPUT_UNITS, rates),
        )

    def total(self, quantities: Mapping[str, int], input_tokens: int) -> int:
        """Return the nanodollars of disjoint quantities, by their unit."""
        rates = self.rates[bisect_left(self.thresholds, input_tokens)]
        numerator = sum(rates[name] * number for name, number in quantities.items())
        return _rounded(numerator, self.denominator)


def _short_cut(
    brackets: tuple[Bracket, ...],
    thresholds: tuple[int, ...],
    denominator: int,
    plain_inputs: tuple[str, ...],
    plain_outputs: tuple[str, ...],
) -> ShortCut:
    """Return the function that is `Brackets.amount`; a closure finds its values the quickest."""
    lowest = brackets[0]
    first = thresholds[0] if thresholds else MAX_COUNT

    def amount(record: Mapping[str, Any]) -> int | None:
        input_tokens = record["input_tokens"]
        output_tokens = record["output_tokens"]
        if (
            input_tokens is None
            or output_tokens is None
            or record["total_tokens"] != input_tokens + output_tokens
            or "estimated" in record
        ):
            return None
        if input_tokens <= first:
            bracket = lowest
        else:
            bracket = brackets[bisect_left(thresholds, input_tokens)]
        sent, received, numerator, read, write, thought, minutes, hour, fees = bracket
        numerator += input_tokens * sent + output_tokens * received
        details = record["input_tokens_details"]
        if details:
            cached = written = named = 0
            if "cached_tokens" in details:
                cached = details["cached_tokens"]
                named = 1
            if "cache_write_tokens" in details:
                written = details["cache_write_tokens"]
                named += 1
            if cached + written > input_tokens:
                return None
            numerator += cached * read + written * write
            if len(details) > named:
                short = details.get("cache_write_5m_tokens", 0)
                long = details.get("cache_write_1h_tokens", 0)
                named += ("cache_write_5m_tokens" in details) + ("cache_write_1h_tokens" in details)
                if short + long > written or (
                    len(details) > named and not _plain_input(plain_inputs, details, input_tokens)
                ):
                    return None
                numerator += short * minutes + long * hour
        details = record["output_tokens_details"]
        if details:
            reasoning = details.get("reasoning_tokens", 0)
            if reasoning > output_tokens or (
                (len(details) > 1 or not reasoning)
                and sum(details.values()) != reasoning
                and not _plain_output(plain_outputs, details, output_tokens)
            ):
                return None
            numerator += reasoning * thought
        if "tool_requests" in record:
            added = _fees(fees, record["tool_requests"])
            if added is None:
                return None
            numerator += added
        return numerator if denominator == 1 else _rounded(numerator, denominator)

    return amount


def _plain_input(plain: tuple[str, ...], details: Mapping[str, int], input_tokens: int) -> bool:
    """Whether the input details beside those of the cache change nothing."""
    modal = sum(number for name, number in details.items() if name not in _CACHE_DETAILS)
    return modal == 0 or (
        modal <= input_tokens and modal == sum(details.get(name, 0) for name in plain)
    )


def _plain_output(plain: tuple[str, ...], details: Mapping[str, int], output_tokens: int) -> bool:
    """Whether the output details beside reasoning change nothing."""
    modal = sum(details.get(name, 0) for name in _OUTPUT_MODALITIES)
    return modal == 0 or (
        modal <= output_tokens and modal == sum(details.get(name, 0) for name in plain)
    )


def _rounded(numerator: int, denominator: int) -> int:
    """Return a fraction as a whole number, half-even."""
    quotient, rest = divmod(numerator, denominator)
    twice = rest + rest
    if twice > denominator or (twice == denominator and quotient & 1):
        quotient += 1
    return quotient


_CACHE_DETAILS = frozenset(
    {"cached_tokens", "cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"}
)
_OUTPUT_MODALITIES = tuple(name for name in OUTPUT_UNITS if name != "reasoning_tokens")


def _fees(fees: Mapping[str, int], tools: Mapping[str, Any]) -> int | None:
    """Return what tools add, or None where a fee is not known."""
    numerator = 0
    for name, number in tools.items():
        if name not in fees or type(number) is not int or number < 0:
            return None
        numerator += number * fees[name]
    return numerator


def _bracket(rates: Mapping[str, int], units: tuple[Unit, ...]) -> Bracket:
    """Write rates of disjoint parts as coefficients of the counts that are reported."""
    # `shares[unit][count]` says how often a reported count is in the unit's own disjoint part.
    shares: dict[str, dict[str, int]] = {}
    totals: dict[str, int] = {}
    for unit in units:
        share = {unit.name: 1}
        for part in units:
            if part.is_part_of(unit):
                for name, number in shares[part.name].items():
                    share[name] = share.get(name, 0) - number
        shares[unit.name] = share
        for name, number in share.items():
            totals[name] = totals.get(name, 0) + rates[unit.name] * number
    return Bracket(
        input=totals.get("input_tokens", 0),
        output=totals.get("output_tokens", 0),
        fixed=totals.get("requests", 0),
        cached=totals.get("cache_read_tokens", 0),
        written=totals.get("cache_write_tokens", 0),
        reasoning=totals.get("output_reasoning_tokens", 0),
        minutes=totals.get("cache_write_5m_tokens", 0),
        hour=totals.get("cache_write_1h_tokens", 0),
        tools={
            **dict.fromkeys(FREE_TOOLS, 0),
            **{name: totals[unit] for name, unit in TOOL_UNITS.items() if unit in totals},
        },
    )


def _unpriced_modalities(names: Mapping[str, str], rates: Mapping[str, Rate]) -> tuple[str, ...]:
    """Return the details that name a modality which has no rate of its own."""
    modalities = ("text_tokens", "audio_tokens", "image_tokens", "video_tokens")
    return tuple(name for name in modalities if names[name] not in rates)
