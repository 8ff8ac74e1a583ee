"""One disagreement about a price: what of it differs, and the rules that say why.

Each rule looks at the numbers of both sides, and says which fact it found there. What no rule
explains may be among the exceptions, which pin both rates. What is not there either is
unexplained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from pricing.oracles.cases import Case
from pricing.oracles.known import Known, Pin
from pricing.oracles.table import FEES, Rates, Row, Steps, Table, charged_as, rate_of, wholes
from tallystick.pricing import Prices, Quote


class Explanation(NamedTuple):
    """Why the two rates of a leaf differ."""

    kind: str
    evidence: str
    pin: Pin | None = None
    """The exception that it is, where it is one."""


@dataclass(frozen=True)
class Sides:
    """What is compared."""

    prices: Prices
    """Tallystick's."""
    oracle: Table
    at: datetime
    """When the requests are sent."""
    others: tuple[Table, ...] = ()
    """Other tables, which may tell who is right."""
    known: Mapping[Pin, Known] = field(default_factory=dict)
    """The exceptions."""

    def quote(self, row: Row, case: Case, at: datetime | None = None) -> Quote:
        """Price a case by Tallystick, by its public way."""
        return self.prices.quote(
            case.usage(),
            provider=row.provider,
            model=row.model,
            at=at or self.at,
            service_tier=None if case.tier == "batch" else case.tier,
            batch=case.tier == "batch",
        )


def our_rates(quote: Quote) -> Rates:
    """Return the rates of a quote in the shape of an oracle's."""
    return {unit: Steps(*rate) for unit, rate in quote.tariff.rates.items()}


class Difference:
    """One disagreement, taken apart into leaves."""

    def __init__(self, sides: Sides, row: Row, case: Case, quote: Quote) -> None:
        self.sides = sides
        self.row = row
        self.case = case
        self.quote = quote
        self.input_tokens = case.input_tokens
        self.our_rates = our_rates(quote)
        found = re.search(r"book: ([^/]+)/([^,]+)", quote.rule)
        self.resolved = (found[1], found[2]) if found else (row.provider, row.model)
        """Which model of the book was taken for it."""

    def ours(self, leaf: str, quote: Quote | None = None) -> Fraction | None:
        """Return our rate of a leaf in this request, or that of another quote."""
        rates = self.our_rates if quote is None else our_rates(quote)
        return rate_of(rates, leaf, self.input_tokens)

    def theirs(self, leaf: str, row: Row | None = None) -> Fraction | None:
        """Return their rate of a leaf in this request, or that of another row."""
        rates = (row or self.row).for_tier(self.case.tier)
        return rate_of(rates, leaf, self.input_tokens)

    def leaves(self) -> list[str]:
        """Return the leaves whose rates differ."""
        return [leaf for leaf in self.case.leaves if self.ours(leaf) != self.theirs(leaf)]

    def described(self, leaf: str) -> str:
        """Return both rates of a leaf in words, those of tokens in USD a million."""
        return f"{leaf}: ours {_shown(leaf, self.ours(leaf))}, theirs " + _shown(
            leaf, self.theirs(leaf)
        )

    def explain(self, leaf: str) -> Explanation | None:
        """Return why a leaf's rates differ, or None where nothing says so.

        A tier that one side lacks explains a difference only where the rates without it agree;
        where they do not, it is their difference that is to be explained.
        """
        for name, rule in (("missing rate", self.missing), ("fee", self.fee)):
            evidence = rule(leaf)
            if evidence is not None:
                return Explanation(name, evidence)
        for simpler, evidence in (self.without_service_tier(leaf), self.without_threshold(leaf)):
            if simpler is not None:
                if simpler.ours(leaf) == simpler.theirs(leaf):
                    return Explanation("tier", evidence)
                return simpler.explain(leaf)
        for name, rule in (
            ("rounding", self.rounding),
            ("region", self.region),
            ("alias", self.alias),
            ("time", self.time),
            ("stale", self.stale),
        ):
            evidence = rule(leaf)
            if evidence is not None:
                return Explanation("fee" if leaf in FEES else name, evidence)
        return self.known(leaf)

    def missing(self, leaf: str) -> str | None:
        """One side has no rate of this leaf, and charges it as what it is a part of."""
        if leaf in FEES:
            return None
        if not any(steps.base or steps.above for steps in self.row.rates.values()):
            return "every rate of the oracle's row is 0"
        ours, theirs = charged_as(self.our_rates, leaf), charged_as(self.row.rates, leaf)
        for unit in (leaf, *wholes(leaf)):
            # The first that only one side has a rate for.
            if unit in (ours, theirs):
                if ours == theirs:
                    break
                return f"{'the oracle' if unit == ours else 'the book'} has no rate for {leaf}"
        return self.other_modality(leaf)

    def other_modality(self, leaf: str) -> str | None:
        """One side has a rate for output of another modality only, and charges all output so."""
        if charged_as(self.our_rates, leaf) != "output_tokens":
            return None
        for unit in ("output_audio_tokens", "output_image_tokens"):
            ours, theirs = self.our_rates.get(unit), self.row.rates.get(unit)
            if theirs is None and ours is not None and ours.base == self.theirs(leaf):
                return f"the oracle has no rate for text output, only for {unit}"
            if ours is None and theirs is not None and theirs.base == self.ours(leaf):
                return f"the book has no rate for text output, only for {unit}"
        return None

    def fee(self, leaf: str) -> str | None:
        """One side has no fee, or ours is the oracle's of another amount of searching."""
        if leaf not in FEES:
            return None
        if leaf not in self.our_rates or leaf not in self.row.rates:
            lacking = "the book" if leaf not in self.our_rates else "the oracle"
            return f"{lacking} has no fee for {leaf}"
        if self.ours(leaf) in self.row.fee_choices:
            return f"the oracle's fee for {leaf} depends on how much is searched; ours is one of it"
        return None

    def without_service_tier(self, leaf: str) -> tuple[Difference | None, str]:
        """Return the same request in no service tier, where only one side has rates of it."""
        tier = self.case.tier
        if tier is None:
            return None, ""
        ours = not any("no rate is known for" in reason for reason in self.quote.reasons)
        theirs = leaf in self.row.tiers.get(tier, {})
        if ours and theirs:
            return None, ""
        case = self.case._replace(tier=None)
        simpler = Difference(self.sides, self.row, case, self.sides.quote(self.row, case))
        return simpler, f"{'the oracle' if ours else 'the book'} has no rate for {leaf} in {tier}"

    def without_threshold(self, leaf: str) -> tuple[Difference | None, str]:
        """Return the same request with little input, where different thresholds are passed."""
        passed = [
            max((above for above, _ in rates[unit].above if above < self.input_tokens), default=0)
            for rates in (self.our_rates, self.row.for_tier(self.case.tier))
            if (unit := charged_as(rates, leaf)) is not None
        ]
        if len(set(passed)) < 2:
            return None, ""
        simpler = Difference(self.sides, self.row, self.case, self.quote)
        simpler.input_tokens = 0
        ours, theirs = passed
        return (
            simpler,
            f"{leaf} costs more above {ours or 'no'} tokens here, {theirs or 'no'} there",
        )

    def rounding(self, leaf: str) -> str | None:
        """Theirs is converted, and ours is within what that rounds off."""
        ours, theirs = self.ours(leaf), self.theirs(leaf)
        if ours is None or theirs is None or abs(ours - theirs) > self.row.rounding:
            return None
        return "theirs is converted from another unit, and off by its rounding"

    def region(self, leaf: str) -> str | None:
        """The oracle's row of another region says as we do, or we say so for another region."""
        for row in self.sides.oracle.elsewhere(self.row):
            if self.theirs(leaf, row) == self.ours(leaf):
                return f"{row.name} says as we do"
        if self.row.provider == "aws" and self.row.unregional == self.row.name:
            anywhere = self.row._replace(model=f"global.{self.row.model}")
            quote = self.sides.quote(anywhere, self.case)
            if self.ours(leaf, quote) == self.theirs(leaf):
                return f"theirs is ours of {anywhere.model}"
        return None

    def alias(self, leaf: str) -> str | None:
        """The name is more than one thing, for one of which a table says as we do."""
        for row in self.sides.oracle.served(self.row.provider, self.row.model):
            if row is not self.row and self.theirs(leaf, row) == self.ours(leaf):
                return f"the oracle has it twice, and {row.name} says as we do"
        if self.resolved == (self.row.provider, self.row.model.lower()):
            return None
        for row in self.rows_of(self.resolved):
            if row is not self.row and self.theirs(leaf, row) == self.ours(leaf):
                return f"taken for {'/'.join(self.resolved)}, of which {row.name} says as we do"
        return None

    def time(self, leaf: str) -> str | None:
        """Their rate is ours at another hour of the day, or from a later day on."""
        at, theirs = self.sides.at, self.theirs(leaf)
        for hour in range(24):
            then = at.replace(hour=hour)
            if self.ours(leaf, self.quote_at(then)) == theirs:
                return f"theirs is ours at {then:%H:%M} UTC"
        quote = self.quote
        while quote.until is not None:
            quote = self.quote_at(quote.until)
            if self.ours(leaf, quote) == theirs:
                return f"theirs is ours from {quote.since:%Y-%m-%d} on"
        return None

    def stale(self, leaf: str) -> str | None:
        """A history says that one of the rates is an earlier one, or another row says as we do."""
        ours, theirs = self.ours(leaf), self.theirs(leaf)
        quote = self.quote
        while quote.since is not None:
            before = quote.since
            quote = self.quote_at(before - timedelta(microseconds=1))
            if self.ours(leaf, quote) == theirs:
                return f"theirs is ours until {before:%Y-%m-%d}"
        for row in self.rows_of((self.row.provider, self.row.model)):
            if row is not self.row and self.theirs(leaf, row) == ours:
                return f"{row.name} says as we do ({row.source})"
            past = [rate_of(earlier, leaf, self.input_tokens) for earlier in row.earlier]
            held = [self.theirs(leaf, row), *past]
            if ours in held and theirs in held:
                older = OURS if held.index(ours) > held.index(theirs) else THEIRS
                return f"{older} in the history of {row.name} ({row.source})"
        return None

    def rows_of(self, model: tuple[str, str]) -> Iterator[Row]:
        """Yield the rows of all oracles for a (provider, model)."""
        for table in (self.sides.oracle, *self.sides.others):
            yield from table.served(*model)

    def known(self, leaf: str) -> Explanation | None:
        """Look for exactly these two rates among the exceptions."""
        unit = charged_as(self.our_rates, leaf) or leaf
        pin = Pin(self.sides.oracle.name, self.row.name, unit, self.ours(leaf), self.theirs(leaf))
        exception = self.sides.known.get(pin)
        if exception is None:
            return None
        return Explanation(exception.kind, f"{exception.why} ({exception.source})", pin)

    def quote_at(self, moment: datetime) -> Quote:
        """Price the same at another moment."""
        return self.sides.quote(self.row, self.case, moment)


OURS, THEIRS = "ours is the older", "theirs is the older"


def _shown(leaf: str, rate: Fraction | None) -> str:
    if rate is None:
        return "none"
    return f"{float(rate * (1 if leaf in FEES else 10**6)):.6g}"
