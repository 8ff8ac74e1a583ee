"""What a request costs: rates by model, provider and time, and the quotes they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.pricing.prices import Prices, quote
from tallystick.pricing.quote import Line, Quote

if TYPE_CHECKING:
    from tallystick.pricing.book import Book
    from tallystick.pricing.explanation import explain
    from tallystick.pricing.rate_card import Rates

__all__ = ["Book", "Line", "Prices", "Quote", "Rates", "explain", "quote"]


def __getattr__(name: str) -> Any:
    # Imported when it is used: opening a tally needs none of them.
    if name == "Book":
        from tallystick.pricing.book import Book

        return Book
    if name == "explain":
        from tallystick.pricing.explanation import explain

        return explain
    if name == "Rates":
        from tallystick.pricing.rate_card import Rates

        return Rates
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
