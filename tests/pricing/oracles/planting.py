"""Wrong rates, planted in the installed book to see that the comparison finds them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tallystick.pricing import Book, Prices, source

PLANTED = (
    ("openai", "gpt-5", "input_mtok", "1.3"),
    ("openai", "gpt-5", "cache_read_mtok", "0.12"),
    ("anthropic", "claude-sonnet-4-5", "output_mtok", "15.5"),
    ("anthropic", "claude-sonnet-4-5", "cache_write_mtok", "3.7"),
)


def planted(provider: str, name: str, key: str, rate: str) -> Prices:
    """Return prices by the installed book with one rate of one model changed."""
    data = source.read()
    models = next(p["models"] for p in data["providers"] if p["id"] == provider)
    model = next(model for model in models if model["id"] == name)
    for _, prices in model["prices"]:
        old = prices[key]
        prices[key] = rate if isinstance(old, str) else [rate, old[1]]
    return Prices(book=Book(data))


def all_dearer(factor: Decimal) -> Prices:
    """Return prices by the installed book with every rate multiplied."""

    def dearer(price: Any) -> Any:
        if isinstance(price, str):
            return format(Decimal(price) * factor, "f")
        return [dearer(price[0]), [[above, dearer(rate)] for above, rate in price[1]]]

    data = source.read()
    for provider in data["providers"]:
        for model in provider["models"]:
            for *_, prices in (*model["prices"], *model.get("variants", ())):
                prices.update({key: dearer(price) for key, price in prices.items()})
    return Prices(book=Book(data))
