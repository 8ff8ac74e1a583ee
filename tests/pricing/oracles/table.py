"""The common shape of an oracle's table: exact rates by unit, and the price of a usage by them.

Nothing here uses the price engine. A usage is given as disjoint leaves, so that there is nothing
to take apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

WHOLE = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "input_audio_tokens": "input_tokens",
    "output_audio_tokens": "output_tokens",
    "output_reasoning_tokens": "output_tokens",
}
"""What a leaf is charged as by a table that has no rate of its own for it."""

FEES = ("web_searches", "requests")


_REGION = re.compile(
    r"bedrock(?:_mantle)?/[a-z-]+-\d/"
    r"|(?<![^/])(?:us-gov|us|eu|apac|au|jp|ca|global)[./]"
    r"|(?<=azure/)global-standard/"
)
"""What makes a name one of a region: ``eu.anthropic.…``, ``azure/eu/…``."""


class Steps(NamedTuple):
    """What one of a unit costs in USD, and from which thresholds of input on it costs other."""

    base: Fraction
    above: tuple[tuple[int, Fraction], ...] = ()

    def at(self, input_tokens: int) -> Fraction:
        """Return the rate of the highest threshold that the input exceeds."""
        passed = [step for step in self.above if step[0] < input_tokens]
        return max(passed)[1] if passed else self.base


Rates = Mapping[str, Steps]


class Row(NamedTuple):
    """One model of an oracle."""

    name: str
    """The row's own name."""
    provider: str
    """Who serves it, as Tallystick names providers."""
    model: str
    """The name that a request to this provider would have."""
    rates: Rates
    tiers: Mapping[str, Rates] = {}
    """What a service tier changes, by its name; batch is one."""
    fee_choices: frozenset[Fraction] = frozenset()
    """All fees of a web search, where they depend on how much is searched."""
    earlier: tuple[Rates, ...] = ()
    """Where the oracle has a history: what held before, newest first."""
    source: str = ""
    rounding: Fraction = Fraction(0)
    """How far, in USD for one, a rate can be off because it was converted from another unit."""

    @property
    def unregional(self) -> str:
        """The name without the region that Bedrock's and Azure's names may have."""
        if self.provider not in {"aws", "azure"}:
            return self.name
        return _REGION.sub("", self.name, count=1)

    @property
    def has_output(self) -> bool:
        """Whether there is any; output at no price beside input at one is that of embeddings."""
        output = self.rates.get("output_tokens")
        free = output is None or not (output.base or output.above)
        return not free or not self.rates["input_tokens"].base

    def for_tier(self, tier: str | None) -> Rates:
        """Return the rates in a service tier."""
        return {**self.rates, **self.tiers.get(tier or "", {})}


class Table:
    """The rows of an oracle."""

    def __init__(self, name: str, rows: Iterator[Row] | list[Row]) -> None:
        self.name = name
        self.rows = list(rows)
        self._everywhere: dict[str, list[Row]] = {}
        self._served: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            self._everywhere.setdefault(row.unregional, []).append(row)
            self._served.setdefault((row.provider, row.model.lower()), []).append(row)

    def elsewhere(self, row: Row) -> list[Row]:
        """Return the rows of the same model in other regions, and in none."""
        return [other for other in self._everywhere[row.unregional] if other is not row]

    def served(self, provider: str, model: str) -> list[Row]:
        """Return the rows of a provider's model."""
        return self._served.get((provider, model.lower()), [])


def wholes(leaf: str) -> Iterator[str]:
    """Yield what a leaf is a part of, from the nearest outwards."""
    unit = WHOLE.get(leaf)
    while unit is not None:
        yield unit
        unit = WHOLE.get(unit)


def charged_as(rates: Rates, leaf: str) -> str | None:
    """Return the unit whose rate a leaf is charged by, or None where there is none."""
    return next((unit for unit in (leaf, *wholes(leaf)) if unit in rates), None)


def rate_of(rates: Rates, leaf: str, input_tokens: int) -> Fraction | None:
    """Return what one of a leaf costs in a request with so much input; a fee not known is 0."""
    unit = charged_as(rates, leaf)
    if unit is None:
        return Fraction(0) if leaf in FEES else None
    return rates[unit].at(input_tokens)


def price(rates: Rates, leaves: Mapping[str, int], input_tokens: int) -> int | None:
    """Return the nanodollars of a usage, rounded half-even once, or None for one of no rate."""
    total = Fraction(0)
    for leaf, number in leaves.items():
        rate = rate_of(rates, leaf, input_tokens)
        if rate is None:
            return None
        total += rate * number
    return round(total * 10**9)
