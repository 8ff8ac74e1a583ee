"""Repricing: what requests cost by other rates, and the adjustments that say so.

An entry never changes. Where the price that it has by now differs from the one that is worked
out, an adjustment is appended, a page of entries in one transaction. So a repricing that was
killed half way is finished by doing it again, and a second one appends nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tallystick.errors import NotFound
from tallystick.ledger import Adjustment, Ledger
from tallystick.ledger.adjustment import books_of
from tallystick.money import Cost
from tallystick.pricing import Book, Prices
from tallystick.pricing.rates import parse
from tallystick.report.period import Period
from tallystick.usage import RequestUsage

PINNED = "pinned"
"""In place of a book's hash: for each entry the book that its own price names."""

CURRENT = "current"
"""In place of a book's hash: the book of the installed data."""

PAGE = 2_000
"""How many entries are read at a time, and adjusted in one transaction."""

_MOST_PRICES = 64
"""How many books and own rates are kept ready at a time."""


class Pricing:
    """Which prices an entry is priced by: those of a book, under the own rates that apply.

    The own rates are those of the configuration at hand. Where there is none, a price that was
    made by own rates is made again by those same rates, as the ledger keeps them: repricing from
    another folder must not take a customer's negotiated rates away.
    """

    def __init__(self, ledger: Ledger, prices: Prices, book: str = PINNED) -> None:
        """Choose a book.

        Args:
            ledger: where books are kept.
            prices: the configuration at hand, over the book of the installed data.
            book: the hash of a book, `PINNED` or `CURRENT`.

        Raises:
            NotFound: the ledger does not hold that book.
        """
        self._ledger = ledger
        self._prices = prices
        self._books: dict[str, Book | None] = {}
        self._made: dict[str | None, Prices | None] = {}
        self._pinned = book == PINNED
        self._book = prices.book
        if book not in (PINNED, CURRENT, prices.book.hash):
            found = self._kept(book)
            if found is None:
                raise NotFound(f"{ledger.url} holds no price book {book!r}")
            self._book = found

    def of(self, entry: RequestUsage) -> Prices | None:
        """Return the prices for an entry, or None where what its price names is not kept."""
        named = entry.record.get("price_book")
        if named not in self._made:
            if len(self._made) >= _MOST_PRICES:
                self._made.clear()
            self._made[named] = self._make(named)
        return self._made[named]

    def _make(self, named: str | None) -> Prices | None:
        book, rates = self._book, self._prices.rates
        for name in () if named is None else books_of(named):
            file, colon, _ = name.rpartition(":")
            if not colon:
                pinned = self._kept(name) if self._pinned else book
                if pinned is None:
                    return None
                book = pinned
            elif rates is None:
                content = self._content(name)
                if content is None:
                    return None
                rates = parse(content, Path(file))
        if book is self._prices.book and rates is self._prices.rates:
            return self._prices
        return Prices(rates, book)

    def _kept(self, name: str) -> Book | None:
        if name == self._prices.book.hash:
            return self._prices.book
        if name not in self._books:
            content = self._content(name)
            self._books[name] = None if content is None else Book.of(content)
        return self._books[name]

    def _content(self, name: str) -> bytes | None:
        try:
            return self._ledger.book(name)
        except ValueError:
            # `verify` says that it is damaged; no price is made from it.
            return None


@dataclass(slots=True)
class Change:
    """What repricing does to the requests of one model."""

    entries: int = 0
    """How many have a price, or could have one: settled or in doubt."""
    adjusted: int = 0
    """How many get another price."""
    kept: int = 0
    """How many keep their price because what it is from is not in the ledger."""
    before: Cost = field(default_factory=Cost)
    after: Cost = field(default_factory=Cost)

    @property
    def difference(self) -> int:
        """By how many nanodollars the known amount changes."""
        return self.after.nanodollars - self.before.nanodollars

    def add(self, other: Change) -> None:
        """Add what happens to other requests."""
        self.entries += other.entries
        self.adjusted += other.adjusted
        self.kept += other.kept
        self.before += other.before
        self.after += other.after

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict; amounts are whole nanodollars, and USD as text."""
        return {
            "entries": self.entries,
            "adjusted": self.adjusted,
            "kept": self.kept,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "difference_nanodollars": self.difference,
        }


@dataclass(slots=True)
class Repricing:
    """What a repricing comes to, by model."""

    models: dict[str | None, Change] = field(default_factory=dict)

    @property
    def total(self) -> Change:
        """All models together."""
        total = Change()
        for change in self.models.values():
            total.add(change)
        return total

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "models": [
                {"model": model, **change.to_dict()} for model, change in self.models.items()
            ],
            "total": self.total.to_dict(),
        }


def reprice(
    ledger: Ledger,
    pricing: Pricing,
    period: Period,
    *,
    batch: str,
    made_at: int,
    write: bool = True,
    progress: Callable[[int], object] | None = None,
) -> Repricing:
    """Price the requests of a period anew, each by the rates of the time at which it was sent.

    Requests that are held or were never sent have no price to adjust. An amount that no book
    gave, such as the nothing that a refused request costs, stays.

    Args:
        ledger: where they are.
        pricing: by what they are priced.
        period: which of them.
        batch: the name of this repricing, which its adjustments carry.
        made_at: the time that they carry, in nanoseconds.
        write: append the adjustments; if not, only say what they would come to.
        progress: called after each page with how many entries have been read.

    Raises:
        LedgerError: a page could not be written; those before it are.
    """
    found = Repricing()
    kept: set[str] = set()
    read = 0
    for page in _pages(ledger.entries_between(period.since, period.until, adjusted=True)):
        adjustments = []
        for entry in page:
            adjustment, prices = _adjustment(entry, pricing, found, batch, made_at)
            if adjustment is None or prices is None:
                continue
            adjustments.append(adjustment)
            book = adjustment.book
            if write and book is not None and book not in kept:
                kept.add(book)
                for name, content in prices.contents(book):
                    ledger.keep_book(name, content).result()
        if write and adjustments:
            ledger.adjust(adjustments).result()
        read += len(page)
        if progress is not None:
            progress(read)
    return found


def _pages(entries: Iterator[RequestUsage]) -> Iterator[list[RequestUsage]]:
    while page := list(islice(entries, PAGE)):
        yield page


def _adjustment(
    entry: RequestUsage, pricing: Pricing, found: Repricing, batch: str, made_at: int
) -> tuple[Adjustment | None, Prices | None]:
    """Price one entry and count it; return its adjustment, where it has another price now."""
    record = entry.record
    get = record.get
    status = get("status", "settled")
    if status not in ("settled", "in_doubt"):
        return None, None
    model = get("model")
    change = found.models.get(model)
    if change is None:
        change = found.models[model] = Change()
    change.entries += 1
    before = get("cost_nanodollars")
    before_estimated = before is not None and bool(get("cost_estimated"))
    change.before += _cost(before, before_estimated)
    prices = None
    if before is None or get("price_book") is not None:
        prices = pricing.of(entry)
        change.kept += prices is None
    if prices is None:
        change.after += _cost(before, before_estimated)
        return None, None
    quote = prices.quote(entry)
    amount, reasons = quote.nanodollars, quote.reasons
    estimated = amount is not None and bool(reasons or get("estimated"))
    change.after += _cost(amount, estimated)
    if amount == before and estimated == before_estimated:
        return None, None
    change.adjusted += 1
    reason = "; ".join(reasons) if reasons else None
    identity = record["id"]
    return (
        Adjustment(
            identity, status, quote.book, quote.rule, reason, amount, estimated, batch, made_at
        ),
        prices,
    )


def _cost(amount: int | None, estimated: bool) -> Cost:  # noqa: FBT001 - a pair from a price
    return Cost(unpriced=1) if amount is None else Cost(amount, 0, int(estimated))
