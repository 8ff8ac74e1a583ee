"""Costs that providers report with their responses, where the user says that those are billed."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, NamedTuple

from tallystick.money import nanodollars
from tallystick.pricing.names import PROVIDER_NAMES
from tallystick.pricing.quote import Line, Quote
from tallystick.pricing.tariff import Tariff


class Unit(NamedTuple):
    """What a provider reports its cost in, and the page that says so. All are worth 1 USD each."""

    name: str
    currency: str
    """As entries have it: an ISO 4217 code, or ``credits``."""
    source: str
    statement: str
    """What that page says of it, in its own words."""


UNITS: dict[str, Unit] = {
    "openrouter": Unit(
        "credits of 1 USD",
        "credits",
        "https://openrouter.ai/docs/faq",
        "a credit system where the base currency is US dollars",
    ),
    "perplexity": Unit(
        "USD",
        "USD",
        "https://docs.perplexity.ai/api-reference/async-sonar-api-request-get",
        "Total cost for the request in USD",
    ),
    "x-ai": Unit(
        "USD",
        "USD",
        "https://docs.x.ai/developers/cost-tracking",
        "1 USD = 10,000,000,000 ticks",
    ),
}
"""The providers that report a cost in a unit that is known; xAI's ticks are USD once they are read.

With a key of one's own, OpenRouter's cost here is its fee and what the model's provider charges.
A number from anyone else could be any currency, and is never taken for money."""

MAX_REPORTED = 1_000_000
"""USD. No request costs more; a report that says so is not believed."""


def provider_named(name: str) -> str:
    """Return a provider's name as entries have it."""
    lowered = name.strip().lower()
    return PROVIDER_NAMES.get(lowered, lowered)


def currency_of(provider: str | None) -> str | None:
    """Return what a provider reports its cost in; None where that is not known."""
    unit = None if provider is None else UNITS.get(provider_named(provider))
    return None if unit is None else unit.currency


class ReportedCost(Tariff):
    """The tariff of one request whose provider said what it costs: that amount, and one line."""

    __slots__ = ("amount",)

    def __init__(self, amount: Fraction, *, rule: str, book: str | None) -> None:
        """Take an amount in USD for one request."""
        super().__init__({}, rule=rule, book=book)
        self.amount = amount

    def lines(self, record: Mapping[str, Any]) -> tuple[Line, ...]:  # noqa: ARG002 - Tariff's own
        """Return the one item there is."""
        return (Line("provider_cost", 1, self.amount, 1, self.amount),)


def as_reported(quote: Quote, provider: str | None, billed: frozenset[str], book: str) -> Quote:
    """Return the quote of a request by its reported cost, where the provider is one of `billed`.

    Args:
        quote: the request by its list price or own rates. It stands where no cost was reported,
            or none that can be believed, and then says so.
        provider: who served the request.
        billed: the providers whose reported cost is the billed one, by `provider_named`.
        book: the name of the configuration that says so.
    """
    if provider is None:
        return quote
    name = provider_named(provider)
    if name not in billed:
        return quote
    record = quote.record
    text = record.get("provider_cost")
    if text is None:
        reason = f"{name} reported no cost, which is the billed one by {book}; priced by rates"
        return _in_doubt(quote, reason)
    try:
        amount = Decimal(text)
        believed = amount.is_finite() and 0 <= amount <= MAX_REPORTED
    except (InvalidOperation, TypeError, ValueError):
        believed = False
    if not believed:
        return _in_doubt(quote, f"{name} reported a cost of {text!r:.40}; priced by rates")
    rule = f"provider-reported: {name}, in {UNITS[name].name} by {UNITS[name].source}"
    tariff = ReportedCost(Fraction(amount), rule=rule, book=book)
    return Quote(nanodollars(amount), (), tariff, record)


def _in_doubt(quote: Quote, reason: str) -> Quote:
    return quote._replace(reasons=(*quote.reasons, reason))
