"""`explain`: the quote behind an entry, worked out again from what the entry says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tallystick.money import Cost
from tallystick.pricing.book import Book
from tallystick.pricing.prices import Prices, default_prices
from tallystick.pricing.quote import Quote
from tallystick.pricing.tariff import Tariff
from tallystick.usage import RequestUsage


def explain(entry: RequestUsage, prices: Prices | None = None) -> Quote:
    """Return the quote of an entry, with its line items.

    An entry keeps its amount, its rule and the name of its book. Its lines are worked out anew by
    the prices given; where these come to another amount than the entry has, because rates or
    their data have changed since, the first of the quote's reasons says so.

    Args:
        entry: a request that has ended, or a usage that was never priced.
        prices: what to price by; None for the default configuration.

    Raises:
        ConfigError: the default configuration cannot be used.
    """
    if entry.outcome == "error" and entry.status == "settled" and entry.cost_nanodollars == 0:
        # Refused, and not by the book but by that rule: no rate stands behind the amount.
        rule = entry.price_rule or "a refused request is not billed"
        return Quote(0, (), Tariff({}, rule=rule, book=None), entry.record)
    quote = (default_prices() if prices is None else prices).quote(entry)
    priced = entry.cost_nanodollars is not None or entry.price_reason is not None
    if not priced or quote.nanodollars == entry.cost_nanodollars:
        return quote
    said = "no price" if entry.cost_nanodollars is None else _amount(entry.cost_nanodollars)
    by = " by ".join(part for part in (entry.price_rule, entry.price_book) if part)
    why = f" ({entry.price_reason})" if entry.price_reason else ""
    now = "none" if quote.nanodollars is None else _amount(quote.nanodollars)
    reason = (
        f"the entry has {said}{why}{f' from {by}' if by else ''}; "
        f"by {quote.book or 'these prices'} it is {now}"
    )
    return quote._replace(reasons=(reason, *quote.reasons))


def prices_behind(price_book: str, content: Callable[[str], bytes | None]) -> Prices | None:
    """Return the prices that an entry was priced by, from the books that were kept.

    Args:
        price_book: the entry's: the name of a book, of own rates, or both with a plus between.
        content: gives the content of what has a name, or None where it was not kept.

    Raises:
        ConfigError: the own rates that were kept are none that this version can read.
        ValueError: what was kept is damaged.
    """
    from tallystick.pricing.rates import parse

    rates = book = None
    for name in price_book.split("+", 1):
        kept = content(name)
        if kept is None:
            return None
        if ":" in name:
            rates = parse(kept, Path(name.rpartition(":")[0]))
        else:
            book = Book.of(kept)
    return Prices(rates, book)


def _amount(nanodollars: int) -> str:
    return f"${Cost(nanodollars).usd:f}"
