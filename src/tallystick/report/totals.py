"""`Totals`: what requests come to, without keeping the requests."""

from __future__ import annotations

from typing import Any

from tallystick.ledger import Rollup
from tallystick.money import Cost
from tallystick.usage import RequestUsage

COUNTS = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
)
"""The counts of a `Totals`. Cached and cache-written tokens are part of `input_tokens`, and
reasoning tokens of `output_tokens`."""


class Totals:
    """Sums over requests: what is known, and of how many requests each count is not known.

    A request counts once it has ended. Requests that are held are out and not in any sum;
    released ones were never sent. Both are counted apart.
    """

    __slots__ = (
        "cost_estimated",
        "cost_nanodollars",
        "cost_unpriced",
        "counts",
        "estimated",
        "held",
        "in_doubt",
        "released",
        "requests",
        "unknown",
    )

    def __init__(self) -> None:
        self.requests = 0
        """Requests that are settled or in doubt."""
        self.held = 0
        """Requests that have not ended, or whose process ended before they did."""
        self.released = 0
        """Requests that were never sent."""
        self.in_doubt = 0
        """How many of `requests` never said what they used."""
        self.estimated = 0
        """How many of `requests` have estimated counts."""
        self.cost_nanodollars = 0
        self.cost_unpriced = 0
        self.cost_estimated = 0
        self.counts = dict.fromkeys(COUNTS, 0)
        """The sums of the counts that are known."""
        self.unknown = dict.fromkeys(COUNTS, 0)
        """For how many of `requests` each count is not known, and so not in its sum."""

    @classmethod
    def of(cls, rollup: Rollup) -> Totals:
        """Return the totals that a rollup holds."""
        totals = cls()
        for name in ("requests", "held", "released", "in_doubt", "estimated"):
            setattr(totals, name, getattr(rollup, name))
        for name in ("cost_nanodollars", "cost_unpriced", "cost_estimated"):
            setattr(totals, name, getattr(rollup, name))
        for name in COUNTS:
            totals.counts[name] = getattr(rollup, name)
            totals.unknown[name] = getattr(rollup, name.replace("_tokens", "_unknown"))
        return totals

    def count(self, entry: RequestUsage) -> None:
        """Add one request."""
        record = entry.record
        status = record.get("status", "settled")
        if status == "held":
            self.held += 1
            return
        if status == "released":
            self.released += 1
            return
        self.requests += 1
        self.in_doubt += status == "in_doubt"
        self.estimated += bool(record.get("estimated"))
        amount = record.get("cost_nanodollars")
        if amount is None:
            self.cost_unpriced += 1
        else:
            self.cost_nanodollars += amount
            self.cost_estimated += bool(record.get("cost_estimated"))
        received = record["input_tokens_details"]
        sums, unknown = self.counts, self.unknown
        for name, value in (
            ("input_tokens", record["input_tokens"]),
            ("cached_tokens", received.get("cached_tokens")),
            ("cache_write_tokens", received.get("cache_write_tokens")),
            ("output_tokens", record["output_tokens"]),
            ("reasoning_tokens", record["output_tokens_details"].get("reasoning_tokens")),
            ("total_tokens", record["total_tokens"]),
        ):
            if value is None:
                unknown[name] += 1
            else:
                sums[name] += value

    def add(self, other: Totals) -> None:
        """Add the totals of other requests."""
        self.requests += other.requests
        self.held += other.held
        self.released += other.released
        self.in_doubt += other.in_doubt
        self.estimated += other.estimated
        self.cost_nanodollars += other.cost_nanodollars
        self.cost_unpriced += other.cost_unpriced
        self.cost_estimated += other.cost_estimated
        for name in COUNTS:
            self.counts[name] += other.counts[name]
            self.unknown[name] += other.unknown[name]

    @property
    def cost(self) -> Cost:
        """The known amount, and how many requests are not in it."""
        return Cost(self.cost_nanodollars, self.cost_unpriced, self.cost_estimated)

    def known(self, name: str) -> int | None:
        """Return the sum of a count, or None where not one request said it."""
        if self.requests and self.unknown[name] == self.requests:
            return None
        return self.counts[name]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict. A count that no request reported is None.

        `unknown` names the counts that some requests did not report, each with how many.
        Amounts are whole nanodollars, and USD as text so that no reader makes a float of it.
        """
        return {
            "requests": self.requests,
            "held": self.held,
            "released": self.released,
            "in_doubt": self.in_doubt,
            "estimated": self.estimated,
            **{name: self.known(name) for name in COUNTS},
            "unknown": {name: number for name, number in self.unknown.items() if number},
            "cost": {**self.cost.to_dict(), "usd": f"{self.cost.usd:f}"},
        }
