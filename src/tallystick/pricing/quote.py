"""`Quote`: what one request costs, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from tallystick.money import Cost

if TYPE_CHECKING:
    from datetime import datetime
    from fractions import Fraction

    from tallystick.pricing.tariff import Tariff


class Line(NamedTuple):
    """One item of a quote: `quantity` times `rate` is `amount`, all exact."""

    unit: str
    """What is charged for, such as ``cache_read_tokens``. A unit that has parts of its own on
    the same quote (``input_tokens``) counts what is left beside them."""
    quantity: int
    rate: Fraction
    """USD for one."""
    per: int
    """How many a rate is usually quoted for: `rate` times `per` is the published figure."""
    amount: Fraction
    """USD."""
    above: int | None = None
    """The threshold of input that the request exceeds, where the rate is one for such."""


class Quote(NamedTuple):
    """The price of one request: an amount or None, the rule behind it, and what is uncertain.

    Immutable. `lines` are worked out when they are asked for, so that a quote costs little where
    only the amount is wanted; their exact sum is the amount before its one rounding, half-even,
    to whole nanodollars.
    """

    nanodollars: int | None
    """The amount, or None where the request has no price; `reasons` then say why."""
    reasons: tuple[str, ...]
    """Why there is no price, or why it is an estimate; empty where it is neither."""
    tariff: Tariff
    """The rates that were applied."""
    record: Mapping[str, Any]
    """The `RequestUsage.record` that was priced."""

    @property
    def cost(self) -> Cost:
        """The price as a `Cost`: an amount, or one unpriced request."""
        if self.nanodollars is None:
            return Cost(unpriced=1)
        return Cost(self.nanodollars, estimated=int(self.estimated))

    @property
    def estimated(self) -> bool:
        """Whether the amount rests on an estimated count or rate."""
        return self.nanodollars is not None and bool(self.reasons)

    @property
    def rule(self) -> str:
        """Which rule priced it, such as ``book: openai/gpt-5.4, from 2026-03-05``."""
        return self.tariff.rule

    @property
    def book(self) -> str | None:
        """The content hash of the data behind the rate; None where nothing was found."""
        return self.tariff.book

    @property
    def since(self) -> datetime | None:
        """The first moment at which these rates hold, or None where no earlier ones are known."""
        return self.tariff.since

    @property
    def until(self) -> datetime | None:
        """The first moment at which they hold no more, or None where no end is known."""
        return self.tariff.until

    @property
    def lines(self) -> tuple[Line, ...]:
        """The items that add up to the amount; empty where there is none."""
        return () if self.nanodollars is None else self.tariff.lines(self.record)

    @property
    def exact(self) -> Fraction | None:
        """The amount in USD before rounding: the sum of `lines`."""
        if self.nanodollars is None:
            return None
        from fractions import Fraction

        return sum((line.amount for line in self.lines), Fraction(0))

    def fields(self) -> dict[str, Any]:
        """Return the price as keywords of `RequestUsage`, for `usage.replace(**fields)`."""
        reasons = self.reasons
        return {
            "cost_nanodollars": self.nanodollars,
            "cost_estimated": self.nanodollars is not None and bool(reasons),
            "price_book": self.tariff.book,
            "price_rule": self.tariff.rule,
            "price_reason": "; ".join(reasons) if reasons else None,
        }

    def __repr__(self) -> str:
        return f"Quote({self.cost}, rule={self.rule!r}, reasons={self.reasons!r})"
