"""`Recorder`: what requests are recorded with, and the count of what could not be kept."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Literal

from tallystick.budget.guard import Guard
from tallystick.budget.warning import Event, notify, worded
from tallystick.clock import Clock
from tallystick.ledger import UNITS
from tallystick.usage import RequestUsage

if TYPE_CHECKING:
    from tallystick.ledger import Balance, BudgetRow, Ledger
    from tallystick.pricing import Prices

logger = logging.getLogger("tallystick")

OnFault = Literal["continue", "raise"]

DEFAULT_OUTPUT_TOKENS = 256
"""The estimate of an answer of which nothing is known: no limit, no earlier answer of the model."""


class Recorder:
    """What requests are recorded with, and the count of what could not be kept."""

    def __init__(
        self,
        ledger: Ledger | None,
        prices: Prices,
        clock: Clock,
        on_fault: OnFault = "continue",
    ) -> None:
        self.ledger = ledger
        self.prices = prices
        self.guard = None if ledger is None else Guard(ledger, prices)
        self.clock = clock
        self.on_fault = on_fault
        self.faults = 0
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._typical_output: dict[str, int] = {}
        self._warmed = False
        self._kept: set[str | None] = {None}

    def warm(self) -> None:
        """Load the prices beside the first run, so that its first request need not wait for them.

        Loading takes a moment, in which an event loop would stand still.
        """
        if not self._warmed:
            self._warmed = True
            threading.Thread(target=self.prices.warm, name="tallystick-prices").start()

    def fault(self, doing: str, error: BaseException) -> None:
        """Count a fault of our own, log it the first time, and let the user's run go on."""
        with self._lock:
            self.faults += 1
            kind = f"{doing}: {type(error).__name__}"
            first = kind not in self._seen
            self._seen.add(kind)
        if first:
            logger.error(
                "tallystick: fault while %s: %s (the run goes on; tally.faults counts these)",
                doing,
                error,
                exc_info=error,
            )
        if self.on_fault == "raise":
            raise error

    def not_kept(self) -> None:
        """Count what a ledger that could not be opened does not keep; the log has said why."""
        with self._lock:
            self.faults += 1

    def warn(self, balance: Balance, budget: BudgetRow) -> None:
        """Log that a budget is nearly or wholly used, and tell its webhook; once for each."""
        full = any(balance.room(unit) == 0 for unit in UNITS)
        with self._lock:
            key = f"budget {budget.id} {balance.window} {full}"
            if key in self._seen:
                return
            self._seen.add(key)
        logger.warning("tallystick: budget %s", worded(balance))
        self.tell(balance, budget, "budget.warning")

    def tell(self, balance: Balance, budget: BudgetRow, event: Event) -> None:
        """Tell the webhook of a budget, if it has one, beside the run."""
        url = budget.policy.get("webhook")
        if url is not None:
            scope, now = budget.scope, self.clock.now()
            notify(balance, url, event=event, at=now, scope=scope, failed=self._not_told)

    def _not_told(self, *_: object) -> None:
        # It has been logged, and a thread of its own has nobody to raise to.
        with self._lock:
            self.faults += 1

    def watch(self, doing: str, future: Future[Any]) -> Future[Any]:
        """Count it as a fault if `future` fails, whenever that is."""

        def done(finished: Future[Any]) -> None:
            error = finished.exception()
            if error is not None:
                try:
                    self.fault(doing, error)
                except Exception:  # noqa: BLE001 - a callback has nobody to raise to; it is counted
                    return

        future.add_done_callback(done)
        return future

    def price(self, entry: RequestUsage) -> RequestUsage:
        """Return the entry with its price, or with the reason why it has none."""
        try:
            price = self.prices.quote(entry).fields()
            if "provider_cost" in entry.record:
                price["provider_cost_currency"] = _currency_of(entry.provider)
            if price["price_book"] not in self._kept:
                self._keep_books(price["price_book"])
            return entry.with_known(price)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a price, count the request
            self.fault("pricing a request", error)
            return entry.with_known({"price_reason": f"the price engine failed: {error}"})

    def _keep_books(self, price_book: str) -> None:
        """Have the ledger keep the books that a price names, once for each in this process."""
        self._kept.add(price_book)
        if self.ledger is None:
            return
        for name, content in self.prices.contents(price_book):
            if name == price_book or name not in self._kept:
                self._kept.add(name)
                self.watch("keeping a price book", self.ledger.keep_book(name, content))

    def learn(self, entry: RequestUsage) -> None:
        """Remember how long this model's answers are, for the estimates of later ones."""
        if entry.output_tokens and entry.model is not None:
            before = self._typical_output.get(entry.model, entry.output_tokens)
            self._typical_output[entry.model] = (3 * before + entry.output_tokens) // 4

    def known_output(self, model: str | None) -> int | None:
        """Return how many tokens an answer of this model usually has; None where none was seen."""
        return None if model is None else self._typical_output.get(model)

    def typical_output(self, model: str | None) -> int:
        """Return how many tokens an answer of this model usually has."""
        if model is None:
            return DEFAULT_OUTPUT_TOKENS
        return self._typical_output.get(model, DEFAULT_OUTPUT_TOKENS)


def _currency_of(provider: str | None) -> str | None:
    # Imported late, as everything that works out prices is.
    from tallystick.pricing.reported import currency_of

    return currency_of(provider)
