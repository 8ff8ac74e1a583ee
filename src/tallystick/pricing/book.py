"""`Book`: dated rates of many models, immutable, named by the hash of its content."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from tallystick.pricing.names import PROVIDER_NAMES, spellings
from tallystick.pricing.rate import Rate, RateError
from tallystick.pricing.units import BY_PRICE_KEY


class Dated(NamedTuple):
    """The rates of a model at one moment."""

    rates: dict[str, Rate]
    since: str | None
    """The date from which they hold, or None where the book knows no earlier ones."""
    window: str | None
    """The hours of the day in which they hold, such as ``00:30 to 16:30 UTC``."""
    matched: frozenset[str]
    """Which of the request's modifiers have rates of their own."""
    later: dict[str, str]
    """Modifiers that get rates of their own only later, with the date."""


class Listed(NamedTuple):
    """Rates as a book lists them: for which requests, and when they hold."""

    when: dict[str, str]
    """Which modifiers they are for, such as ``{"service_tier": "flex"}``; empty for standard."""
    since: str | None
    window: str | None
    rates: dict[str, Rate]


class Model:
    """One model of the book."""

    __slots__ = ("data", "id", "own", "provider")

    def __init__(self, data: Mapping[str, Any], provider: str, *, own: bool) -> None:
        """Wrap the data of a model.

        Args:
            data: as `source.read` gives it.
            provider: the provider that the model was found at.
            own: whether it is the asked provider's own; else it is the maker's price for it.
        """
        self.data = data
        self.id: str = data["id"]
        self.provider = provider
        self.own = own

    @property
    def context_window(self) -> int | None:
        """The most tokens of input that it takes, or None where the data does not say."""
        window: int | None = self.data.get("context_window")
        return window

    @property
    def minimums(self) -> dict[str, int]:
        """The least count that is charged, by unit."""
        minimums: dict[str, int] = self.data.get("minimums", {})
        return minimums

    def history(self) -> Iterator[Listed]:
        """Yield all rates that the book lists for this model, the standard ones first.

        Those of a tier are whole: what the book does not say of it is as in the standard rates.

        Raises:
            RateError: the data prices by a unit that is not known here.
        """
        for constraint, prices in self.data["prices"]:
            yield Listed({}, *_span(constraint), self._rates(prices))
        for when, constraint, _ in self.data.get("variants", ()):
            moment = _LAST if constraint is None else _midnight(constraint[1])
            yield Listed(dict(when), *_span(constraint), self.at(moment, when).rates)

    def _rates(self, prices: Mapping[str, Any]) -> dict[str, Rate]:
        rates = {}
        for key, price in prices.items():
            unit = BY_PRICE_KEY.get(key)
            if unit is None:
                raise RateError(f"the book prices {self.id} by {key}, which is not known")
            rates[unit.name] = _rate(price, unit.per)
        return rates

    def boundaries(self, modifiers: Mapping[str, str]) -> Iterator[datetime]:
        """Yield the moments at which the rates of a request with such modifiers may change."""
        for constraint in self._constraints(modifiers):
            if constraint[0] == "from":
                yield _midnight(constraint[1])

    def hours(self, modifiers: Mapping[str, str]) -> Iterator[time]:
        """Yield the UTC times of day at which its rates may change."""
        for constraint in self._constraints(modifiers):
            if constraint[0] == "daily":
                yield time.fromisoformat(constraint[1])
                yield time.fromisoformat(constraint[2])

    def _constraints(self, modifiers: Mapping[str, str]) -> Iterator[list[str]]:
        for constraint, _ in self.data["prices"]:
            if constraint is not None:
                yield constraint
        for _, constraint, _ in self._variants(modifiers):
            if constraint is not None:
                yield constraint

    def _variants(self, modifiers: Mapping[str, str]) -> Iterator[Any]:
        """Yield what the data has for requests with such modifiers.

        Rates for service tiers are the maker's own; who resells the model may charge others.
        """
        if self.own and modifiers:
            for variant in self.data.get("variants", ()):
                if all(modifiers.get(name) == value for name, value in variant[0].items()):
                    yield variant

    def at(self, moment: datetime, modifiers: Mapping[str, str]) -> Dated:
        """Return the rates at a moment, for a request with such modifiers.

        Args:
            moment: an aware datetime.
            modifiers: what else prices depend on, such as ``{"service_tier": "flex"}``.

        Raises:
            RateError: the data prices by a unit that is not known here.
        """
        dated = self.data["prices"]
        constraint, prices = dated[0]
        # The last one that is active wins; where none is, the first one does.
        for candidate, candidate_prices in reversed(dated):
            if _active(candidate, moment):
                constraint, prices = candidate, candidate_prices
                break
        since, window = _span(constraint)
        overrides: dict[str, Any] = {}
        matched: set[str] = set()
        later: dict[str, str] = {}
        for when, variant_constraint, variant_prices in self._variants(modifiers):
            if not _active(variant_constraint, moment):
                if variant_constraint[0] == "from":
                    later.update(dict.fromkeys(when, variant_constraint[1]))
                continue
            matched.update(when)
            for key, price in variant_prices.items():
                overrides.setdefault(key, price)
        rates = self._rates({**prices, **overrides})
        return Dated(rates, since, window, frozenset(matched), later)


class Book:
    """Dated rates of many models. Immutable; the same content has the same `hash` everywhere."""

    __slots__ = ("_providers", "data", "hash")

    def __init__(self, data: Mapping[str, Any], content_hash: str | None = None) -> None:
        """Open a book.

        Args:
            data: as `source.read` gives it.
            content_hash: its hash, where it is known already.
        """
        self.data = data
        self.hash = content_hash if content_hash is not None else digest(canonical(data))
        """The name by which ledgers know it."""
        self._providers: dict[str, Any] = {
            provider["id"]: provider for provider in data["providers"]
        }

    @classmethod
    def of(cls, content: bytes) -> Book:
        """Open a book from its content, as `content` gives it.

        Raises:
            ValueError: it is no content of a book.
        """
        data = json.loads(content)
        if not isinstance(data, dict) or not isinstance(data.get("providers"), list):
            raise ValueError("this is no content of a price book")  # noqa: TRY004
        return cls(data, digest(content))

    @property
    def content(self) -> bytes:
        """All that it says, in the one way in which it is written down; its hash is the book's."""
        return canonical(self.data)

    def provider(self, name: str) -> str | None:
        """Return the book's id of a provider, or None where it has no such provider."""
        lowered = name.strip().lower()
        if lowered in self._providers:
            return lowered
        known = PROVIDER_NAMES.get(lowered)
        return known if known in self._providers else None

    @property
    def provider_names(self) -> tuple[str, ...]:
        """The ids of its providers."""
        return tuple(self._providers)

    def providers_of(self, name: str) -> list[str]:
        """Return the providers that list rates of their own for a model of this name.

        For suggestions only: which of them served a request, its name does not say.
        """
        return [
            provider
            for provider in self._providers
            if (found := self.find(provider, name)) is not None
            and found.own
            and any(prices for _, prices in found.data["prices"])
        ]

    def find(self, provider: str, name: str) -> Model | None:
        """Return the model that a provider's name stands for, by the matching rules of the data.

        Where the provider resells others' models, theirs are looked through after its own.
        Other spellings of the name are tried in turn; see `names.spellings`.
        """
        data = self._providers[provider]
        for asked in spellings(name, provider):
            for model in data["models"]:
                if _matches(model["match"], asked):
                    return Model(model, provider, own=True)
            for other in data["fallback"]:
                for model in self._providers.get(other, _NO_MODELS)["models"]:
                    if _matches(model["match"], asked):
                        return Model(model, other, own=False)
        return None

    def models(self) -> Iterator[tuple[str, Model]]:
        """Yield every (provider, model) of the book."""
        for provider in self.data["providers"]:
            for model in provider["models"]:
                yield provider["id"], Model(model, provider["id"], own=True)


_NO_MODELS: dict[str, Any] = {"models": ()}


def canonical(data: Mapping[str, Any]) -> bytes:
    """Return the one way in which a book's content is written down."""
    return json.dumps(data, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()


def digest(content: bytes) -> str:
    """Return the short hash by which ledgers name a book: 64 bits are enough to tell books."""
    return hashlib.sha256(content).hexdigest()[:16]


def _matches(clause: list[Any], name: str) -> bool:
    """Whether a clause of the data matches a name, which is in lower case."""
    kind, value = clause
    match kind:
        case "equals":
            return bool(name == value.lower())
        case "starts_with":
            return name.startswith(value.lower())
        case "contains":
            return value.lower() in name
        case "or":
            return any(_matches(part, name) for part in value)
        case "and":
            return all(_matches(part, name) for part in value)
        case "ends_with":
            return name.endswith(value.lower())
        case "regex":
            return re.search(value, name) is not None
    return False


def _active(constraint: list[str] | None, moment: datetime) -> bool:
    if constraint is None:
        return True
    if constraint[0] == "from":
        return moment >= _midnight(constraint[1])
    start, end = time.fromisoformat(constraint[1]), time.fromisoformat(constraint[2])
    hour = moment.astimezone(UTC).time()
    return start <= hour < end if start <= end else hour >= start or hour < end


def _span(constraint: list[str] | None) -> tuple[str | None, str | None]:
    """Return the date from which a constraint holds, and the hours of the day in which it does."""
    if constraint is None:
        return None, None
    if constraint[0] == "from":
        return constraint[1], None
    return None, f"{constraint[1][:5]} to {constraint[2][:5]} UTC"


_LAST = datetime.max.replace(tzinfo=UTC)


def _midnight(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def _rate(price: Any, per: int) -> Rate:
    if isinstance(price, str):
        return Rate(Fraction(Decimal(price)) / per)
    base, tiers = price
    return Rate(
        Fraction(Decimal(base)) / per,
        tuple((threshold, Fraction(Decimal(rate)) / per) for threshold, rate in tiers),
    )
