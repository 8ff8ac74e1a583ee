"""`Prices`: what a request costs by one configuration."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.clock import Clock, timestamp
from tallystick.errors import ConfigError
from tallystick.pricing.quote import Quote

if TYPE_CHECKING:
    from tallystick.pricing.book import Book
    from tallystick.pricing.rate_card import Rates
    from tallystick.pricing.resolution import Plan
    from tallystick.pricing.tariff import Tariff
    from tallystick.usage import RequestUsage

# What works out rates is imported when the first price is asked for, so that opening a tally
# costs little.

CONFIG_VARIABLE = "TALLYSTICK_CONFIG"
CONFIG_NAME = "tallystick.toml"

MAX_PLANS = 4096
"""How many subjects' timelines are kept. Past it they are worked out anew."""


class Prices:
    """The prices of one configuration: own rates laid over a book. Immutable; threads share it."""

    __slots__ = ("_book", "_by_rates", "_clock", "_lock", "_particular", "_plans", "rates")

    def __init__(
        self,
        rates: Rates | None = None,
        book: Book | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        """Lay rates over a book.

        Args:
            rates: the user's own rates; None for none.
            book: the book; None for the installed data, which is read at the first quote.
            clock: what time it is where a request does not say when it was sent.
        """
        self.rates = rates
        self._book = book
        self._clock = clock if clock is not None else Clock()
        self._lock = threading.Lock()
        self._plans: dict[Any, Plan] = {}
        # Where what providers report is billed, these are the prices beside it.
        self._by_rates: Prices | None = None
        if rates is not None and rates.provider_cost:
            without = replace(rates, provider_cost=frozenset())
            self._by_rates = Prices(without, book, clock=self._clock)
        # Whether a price depends on more than the provider, the model and the tier.
        self._particular = rates is not None and (rates.by_customer or bool(rates.provider_cost))

    @classmethod
    def load(cls, config: Path | str | None = None, *, clock: Clock | None = None) -> Prices:
        """Read the configuration. Cheap: the book is read at the first quote, or by `warm`.

        Args:
            config: a ``tallystick.toml``; None for ``$TALLYSTICK_CONFIG``, else the one in the
                working directory where there is one.
            clock: what time it is where a request does not say when it was sent.

        Raises:
            ConfigError: the file cannot be used; the message names file, line and field.
        """
        if config is None:
            config = os.environ.get(CONFIG_VARIABLE) or None
            if config is not None and not Path(config).is_file():
                raise ConfigError(f"{config}: there is no such file; ${CONFIG_VARIABLE} names it")
        if config is None and Path(CONFIG_NAME).is_file():
            config = CONFIG_NAME
        if config is None:
            return cls(clock=clock)
        from tallystick.pricing.rates import load

        return cls(load(config), clock=clock)

    @property
    def book(self) -> Book:
        """The book under the user's own rates.

        The first use reads it, in some 30 ms, or 300 ms where no process has done so before.

        Raises:
            ImportError: genai-prices is not installed.
        """
        if self._book is None:
            with self._lock:
                if self._book is None:
                    self._book = _installed_book()
        return self._book

    def contents(self, price_book: str) -> list[tuple[str, Callable[[], bytes]]]:
        """Return the books that a price of these prices names, each with what gives its content.

        Args:
            price_book: as `Quote.book` gives it: a book, own rates, or both.
        """
        found: list[tuple[str, Callable[[], bytes]]] = []
        rates, book = self.rates, self._book
        if book is not None and price_book.partition("+")[0] == book.hash:
            found.append((book.hash, lambda: book.content))
        if rates is not None and rates.book is not None and rates.content is not None:
            content = rates.content
            if price_book == rates.book or price_book.endswith(f"+{rates.book}"):
                found.append((rates.book, lambda: content))
        return found

    def warm(self) -> None:
        """Read the book now, so that the first quote does not wait; call it in any thread.

        Never raises: what is wrong with the book is said by the quotes.
        """
        try:
            _ = self.book
        except Exception:  # noqa: BLE001 - the data is third-party; quotes say what is wrong
            return

    def quote(
        self,
        usage: RequestUsage,
        *,
        provider: str | None = None,
        model: str | None = None,
        at: datetime | None = None,
        service_tier: str | None = None,
        batch: bool = False,
        customer: str | None = None,
        project: str | None = None,
    ) -> Quote:
        """Price one request. Never raises: what cannot be priced says why.

        Args:
            usage: its counts, inclusive. All that follows is taken from it where not given.
            provider: who served it, as the book names providers. Where nobody says, only own
                rates and aliases apply. A model's name says little about its price: gateways,
                clouds and local servers serve the same name for something else or nothing, and
                a host that the book does not know is most likely one of those.
            model: the model as served.
            at: when it was sent; one without a zone is in UTC. Where nobody says, now.
            service_tier: the tier that served it.
            batch: whether it was part of a batch, which responses do not say.
            customer: for whom, where own rates depend on it.
            project: for which project, likewise.
        """
        record = usage.record
        get = record.get
        key: tuple[Any, ...] = (
            provider or get("provider"),
            model or get("model"),
            service_tier or get("service_tier"),
        )
        modifiers = get("modifiers")
        if batch or modifiers or self._particular:
            if self._by_rates is not None:
                quote = self._by_rates.quote(
                    usage,
                    provider=provider,
                    model=model,
                    at=at,
                    service_tier=service_tier,
                    batch=batch,
                    customer=customer,
                    project=project,
                )
                self._book = self._by_rates._book
                return self._as_reported(quote, provider or get("provider"))
            key += (batch, tuple(modifiers.items()) if modifiers else ())
            if self._particular:
                key += (customer or get("customer"), project or get("project"))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plan(key, *key)
        quick = plan.quick
        if quick is not None:
            price, reasons, tariff = quick
            amount = price(record)
            if amount is not None:
                return _new(Quote, (amount, reasons, tariff, record))
        else:
            tariff = plan.only or self._at(plan, at, get("started_at"))
            if tariff.brackets is not None:
                amount = tariff.brackets.amount(record)
                if amount is not None:
                    return _new(Quote, (amount, tariff.reasons, tariff, record))
        return Quote(*tariff.price_in_full(record), tariff, record)

    def _as_reported(self, quote: Quote, provider: str | None) -> Quote:
        from tallystick.pricing.reported import as_reported

        rates = self.rates
        if rates is None:
            return quote
        return as_reported(quote, provider, rates.provider_cost, rates.book or "the configuration")

    def _at(self, plan: Plan, at: datetime | None, started_at: str | None) -> Tariff:
        if at is not None:
            return plan.at(at.replace(tzinfo=UTC) if at.tzinfo is None else at)
        if started_at is not None:
            # Text that is no time is as good as none; a price must not break a user's run.
            try:
                return plan.at_text(started_at)
            except ValueError:
                pass
        return plan.at(timestamp(self._clock.now()))

    def _plan(
        self,
        key: tuple[Any, ...],
        provider: str | None,
        model: str | None,
        service_tier: str | None,
        batch: bool = False,  # noqa: FBT001, FBT002 - the parts of a key, in its order
        modifiers: tuple[tuple[str, str], ...] = (),
        customer: str | None = None,
        project: str | None = None,
    ) -> Plan:
        """Work out the tariffs of a subject over time, and keep them under its key."""
        from tallystick.pricing.rate_card import Rates, Subject
        from tallystick.pricing.resolution import Plan, context_of, resolve
        from tallystick.pricing.tariff import Tariff

        if model is None:
            plan = Plan((), (), (Tariff.none("the model is unknown"),))
        else:
            try:
                context = context_of(service_tier, dict(modifiers), batch=batch)
                tier = "batch" if "processing" in context else context.get("service_tier")
                subject = Subject(provider, model, customer, project, tier)
                plan = resolve(subject, context, self.rates or Rates(), lambda: self.book)
            except Exception as error:  # noqa: BLE001 - a price must not break a user's run
                reason = f"the rates of {model!r} cannot be worked out: {error!r}"
                plan = Plan((), (), (Tariff.none(reason),))
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[key] = plan
        return plan


# Past the generated `Quote.__new__`, whose only work is to take keywords.
_new = tuple.__new__

_installed: Book | None = None
_installed_lock = threading.Lock()


def _installed_book() -> Book:
    """Return the book of the installed data, read once in a process."""
    from tallystick.pricing.cache import installed_book

    global _installed  # noqa: PLW0603 - one book for all prices of the process
    with _installed_lock:
        if _installed is None:
            _installed = installed_book()
        return _installed


_default: Prices | None = None


def default_prices() -> Prices:
    """Return the prices of the default configuration, which is read at the first call.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    global _default  # noqa: PLW0603 - the default configuration is one for the process
    if _default is None:
        _default = Prices.load()
    return _default


def quote(usage: RequestUsage, **options: Any) -> Quote:
    """Price one request by the default configuration, which is read at the first call.

    Args:
        usage: its counts.
        options: the keywords of `Prices.quote`.

    Raises:
        ConfigError: the configuration cannot be used.
    """
    return default_prices().quote(usage, **options)
