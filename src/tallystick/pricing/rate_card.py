"""`Rates`: a user's own rates, discounts and aliases, and which of them apply to a request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import NamedTuple

from tallystick.pricing.rate import Rate


class Subject(NamedTuple):
    """What a price is asked for."""

    provider: str | None
    model: str
    customer: str | None = None
    project: str | None = None
    service_tier: str | None = None
    """The tier that served it where that is not the standard one; ``batch`` for a batch."""


@dataclass(frozen=True, slots=True)
class Terms:
    """For whom and when something holds. None holds for all; the names are globs."""

    name: str
    """How quotes name it, such as ``gemma3* (tallystick.toml, line 4)``."""
    model: str = "*"
    provider: str | None = None
    customer: str | None = None
    project: str | None = None
    service_tier: str | None = None
    since: datetime | None = None
    """The first moment at which it holds."""
    until: datetime | None = None
    """The first moment at which it holds no more."""

    def covers(self, subject: Subject) -> bool:
        """Whether it holds for this subject at any time."""
        return (
            _covers(self.model, subject.model)
            and _covers(self.provider, subject.provider)
            and _covers(self.customer, subject.customer)
            and _covers(self.project, subject.project)
            and (self.service_tier is None or self.service_tier.lower() == subject.service_tier)
        )

    def active(self, moment: datetime) -> bool:
        """Whether it holds at this moment."""
        return (self.since is None or moment >= self.since) and (
            self.until is None or moment < self.until
        )

    @property
    def rank(self) -> tuple[int, ...]:
        """How narrow it is; where several hold, the narrowest wins, then the first in the file."""
        return (
            self.customer is not None,
            self.project is not None,
            self.service_tier is not None,
            "*" not in self.model and "?" not in self.model and "[" not in self.model,
            sum(letter not in "*?[]" for letter in self.model),
            self.provider is not None,
        )

    @property
    def key(self) -> tuple[str | None, ...]:
        """What two terms must not share while their dates overlap."""
        names = (self.model, self.provider, self.customer, self.project, self.service_tier)
        return tuple(name and name.lower() for name in names)

    def overlaps(self, other: Terms) -> bool:
        """Whether there is a moment at which both hold."""
        return (self.since is None or other.until is None or self.since < other.until) and (
            other.since is None or self.until is None or other.since < self.until
        )


@dataclass(frozen=True, slots=True)
class OwnRate:
    """A user's own rates for some models."""

    terms: Terms
    rates: Mapping[str, Rate]


@dataclass(frozen=True, slots=True)
class Discount:
    """A part taken off the list price, which is the book's."""

    terms: Terms
    percent: Fraction

    @property
    def factor(self) -> Fraction:
        """What is left of the list price."""
        return 1 - self.percent / 100


@dataclass(frozen=True, slots=True)
class Rates:
    """Everything that a configuration file says about prices. Empty where there is none."""

    book: str | None = None
    """The name by which ledgers know it: the file's name and the hash of `content`."""
    rates: tuple[OwnRate, ...] = ()
    discounts: tuple[Discount, ...] = ()
    aliases: Mapping[str, str] = field(default_factory=dict)
    """From a model's name, or a glob of names, to ``provider/model`` or ``model``."""
    content: bytes | None = None
    """What the file says about prices, which ledgers keep; None where there is none."""
    provider_cost: frozenset[str] = frozenset()
    """The providers of which the cost that they report is the billed one."""

    def rate(self, subject: Subject, moment: datetime) -> OwnRate | None:
        """Return the user's own rates for a subject at a moment."""
        held = [
            rate for rate in self.rates if rate.terms.covers(subject) and rate.terms.active(moment)
        ]
        return max(held, key=lambda rate: rate.terms.rank, default=None)

    def discount(self, subject: Subject, moment: datetime) -> Discount | None:
        """Return the discount for a subject at a moment; discounts do not add up."""
        held = [
            discount
            for discount in self.discounts
            if discount.terms.covers(subject) and discount.terms.active(moment)
        ]
        return max(held, key=lambda discount: discount.terms.rank, default=None)

    def alias(self, model: str) -> str | None:
        """Return what a model's name stands for: by the whole name, else by the longest glob."""
        lowered = model.strip().lower()
        globs = []
        for name, target in self.aliases.items():
            if name.lower() == lowered:
                return target
            if fnmatchcase(lowered, name.lower()):
                globs.append((len(name), target))
        return max(globs, default=(0, None))[1]

    def boundaries(self, subject: Subject) -> Iterator[datetime]:
        """Yield the moments at which what holds for a subject may change."""
        for terms in self._terms():
            if terms.covers(subject):
                yield from (moment for moment in (terms.since, terms.until) if moment is not None)

    @property
    def by_customer(self) -> bool:
        """Whether any of it depends on the customer or the project."""
        return any(
            terms.customer is not None or terms.project is not None for terms in self._terms()
        )

    def _terms(self) -> Iterator[Terms]:
        yield from (rate.terms for rate in self.rates)
        yield from (discount.terms for discount in self.discounts)


def _covers(pattern: str | None, name: str | None) -> bool:
    if pattern is None:
        return True
    return name is not None and fnmatchcase(name.strip().lower(), pattern.lower())
