"""Nanodollars and `Cost`.

An amount is an integer of nanodollars (10⁻⁹ USD). Nothing here is ever a float: a sum of a
million requests is exact, and equal on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

NANODOLLARS_PER_USD = 1_000_000_000

_NANO = Decimal(1).scaleb(-9)


def usd(nanodollars: int) -> Decimal:
    """Return an amount of nanodollars in USD, exactly."""
    return nanodollars * _NANO


def nanodollars(amount: Decimal | int | str) -> int:
    """Return an amount in USD as whole nanodollars, rounded half-even.

    Raises:
        TypeError: `amount` is a float, which cannot name most amounts exactly.
        ValueError: `amount` is no finite number.
    """
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | str):
        raise TypeError(f"an amount of money is a Decimal, int or str, not {amount!r}")
    try:
        value = Decimal(amount)
        return int((value * NANODOLLARS_PER_USD).to_integral_value(rounding="ROUND_HALF_EVEN"))
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"not an amount in USD: {amount!r}") from error


@dataclass(frozen=True, slots=True)
class Cost:
    """What requests cost, as far as it is known.

    A known amount, the number of requests that could not be priced and the number whose price
    rests on an estimate. A cost with unpriced requests is a lower bound, and says so wherever
    it is shown.
    """

    nanodollars: int = 0
    """The known amount, in nanodollars."""
    unpriced: int = 0
    """How many requests have no price, or no counts to price."""
    estimated: int = 0
    """How many priced requests rest on estimated counts or an estimated rate."""

    @property
    def usd(self) -> Decimal:
        """The known amount in USD, exact to the nanodollar."""
        return usd(self.nanodollars)

    @property
    def complete(self) -> bool:
        """Whether every request is in the amount."""
        return self.unpriced == 0

    def __add__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            self.nanodollars + other.nanodollars,
            self.unpriced + other.unpriced,
            self.estimated + other.estimated,
        )

    def __sub__(self, other: Cost) -> Cost:
        if not isinstance(other, Cost):
            return NotImplemented
        return Cost(
            self.nanodollars - other.nanodollars,
            self.unpriced - other.unpriced,
            self.estimated - other.estimated,
        )

    def __str__(self) -> str:
        # A tiny amount is shown whole, because $0.000000 would look like nothing.
        digits = 9 if 0 < abs(self.nanodollars) < 1000 else 6
        amount = f"${self.usd:,.{digits}f}"
        if self.estimated:
            amount = f"~{amount}"
        return f"{amount} + {self.unpriced} unpriced" if self.unpriced else amount

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe form; `usd` is a string so that no reader makes a float of it."""
        return {
            "usd": f"{self.usd:f}",
            "nanodollars": self.nanodollars,
            "unpriced": self.unpriced,
            "estimated": self.estimated,
            "complete": self.complete,
        }
