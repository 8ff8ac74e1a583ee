"""`Rate`: what a unit costs, and which rates can stand together."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from tallystick.errors import TallystickError
from tallystick.pricing.units import UNITS, Unit


class RateError(TallystickError):
    """Rates that cannot price anything: they overlap, or name a unit that does not exist."""


class Rate(NamedTuple):
    """What a unit costs: a base rate, and rates for requests with more input than a threshold."""

    base: Fraction
    """USD for one."""
    tiers: tuple[tuple[int, Fraction], ...] = ()
    """(threshold, USD for one), thresholds ascending. The rate of the highest threshold that
    the request's whole input exceeds is charged for the whole request."""

    def at(self, input_tokens: int) -> Fraction:
        """Return the rate for a request with so much input."""
        rate = self.base
        for threshold, dearer in self.tiers:
            if input_tokens > threshold:
                rate = dearer
        return rate

    def threshold(self, input_tokens: int) -> int | None:
        """Return the threshold that a request with so much input exceeds, or None for none."""
        return max((above for above, _ in self.tiers if input_tokens > above), default=None)

    def times(self, factor: Fraction) -> Rate:
        """Return this rate with all its tiers multiplied."""
        tiers = tuple((threshold, rate * factor) for threshold, rate in self.tiers)
        return Rate(self.base * factor, tiers)


def ordered(rates: Mapping[str, Rate]) -> tuple[Unit, ...]:
    """Return the units of rates, parts before their wholes.

    Raises:
        RateError: a unit is unknown, is priced without the whole it belongs to, or overlaps
            another without a rate for what is both.
    """
    unknown = rates.keys() - UNITS.keys()
    if unknown:
        raise RateError(f"no such unit: {', '.join(sorted(unknown))}")
    units = sorted(
        (UNITS[name] for name in rates), key=lambda unit: (-len(unit.dimensions), unit.name)
    )
    every = {unit.dimensions: unit.name for unit in UNITS.values()}
    for unit in units:
        for whole in UNITS.values():
            if unit.is_part_of(whole) and whole.name not in rates:
                raise RateError(
                    f"{unit.name} has a rate, and {whole.name}, which holds it, has none"
                )
        for other in units:
            if unit.overlaps(other):
                both = every.get(unit.dimensions | other.dimensions)
                if both not in rates:
                    raise RateError(
                        f"{unit.name} and {other.name} have rates, and {both}, "
                        "which is both, has none"
                    )
    return tuple(units)
