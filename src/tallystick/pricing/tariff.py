"""`Tariff`: the rates of one model at one moment, and what a usage costs by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from datetime import datetime
from fractions import Fraction
from typing import Any

from tallystick.pricing.brackets import Brackets
from tallystick.pricing.counts import Counts, measure
from tallystick.pricing.quote import Line
from tallystick.pricing.rate import Rate, ordered
from tallystick.pricing.units import TOOL_CALLS, UNITS


class Tariff:
    """The rates of one model at one moment, or the reason why there are none. Immutable."""

    __slots__ = (
        "_integers",
        "_parts",
        "book",
        "brackets",
        "metered",
        "minimums",
        "rates",
        "reasons",
        "rule",
        "since",
        "units",
        "unpriced",
        "until",
    )

    def __init__(
        self,
        rates: Mapping[str, Rate],
        *,
        rule: str,
        book: str | None,
        reasons: Iterable[str] = (),
        unpriced: str | None = None,
        minimums: Mapping[str, int] | None = None,
    ) -> None:
        """Compile rates.

        Args:
            rates: by the name of their unit.
            rule: which rule this is.
            book: the content hash or name of the data that the rates are from.
            reasons: why every price by these rates is an estimate.
            unpriced: why there is no price; `rates` is then empty.
            minimums: the least count that is charged for a unit, where anything is.

        Raises:
            RateError: a unit is unknown, or two rates overlap and none is given for both.
        """
        self.rule = rule
        self.since: datetime | None = None
        self.until: datetime | None = None
        self.book = book
        self.reasons = tuple(reasons)
        self.unpriced = unpriced
        self.minimums = dict(minimums or {})
        self.rates = dict(rates)
        self.units = ordered(self.rates)
        self.metered = tuple(
            unit.name
            for unit in self.units
            if unit.family not in {"tokens", "tool_calls", "requests"}
        )
        self._parts = {
            unit.name: tuple(part.name for part in self.units if part.is_part_of(unit))
            for unit in self.units
        }
        self._integers = Brackets(self.rates, self.units)
        plain = not self.metered and "input_tokens" in rates and "output_tokens" in rates
        self.brackets = self._integers if plain else None
        """The short cut to an amount, where these rates have one; see `Brackets.amount`."""

    @classmethod
    def none(cls, reason: str, *, rule: str = "none", book: str | None = None) -> Tariff:
        """Return the tariff of a model that has no price."""
        return cls({}, rule=rule, book=book, unpriced=reason)

    def within(self, since: datetime | None, until: datetime | None) -> Tariff:
        """Return this tariff as one that holds from `since` to before `until`; None is no end."""
        if since is None and until is None:
            return self
        dated = copy(self)
        dated.since, dated.until = since, until
        return dated

    def same(self, other: Tariff) -> bool:
        """Whether every price by it would be the same, and explained the same."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in ("rates", "rule", "book", "reasons", "unpriced", "minimums")
        )

    def price(self, record: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
        """Return the nanodollars for a usage's record, and the reasons where it is not plain.

        Plain counts, which most are, take a short cut of a microsecond; the rest of this is the
        whole rule, and gives the same amounts.
        """
        if self.brackets is not None:
            amount = self.brackets.amount(record)
            if amount is not None:
                return amount, self.reasons
        return self.price_in_full(record)

    def price_in_full(self, record: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
        """Return what `price` does, without the short cut."""
        if self.unpriced is not None:
            return None, (self.unpriced,)
        counts = measure(record)
        if counts is None:
            missing = "input" if record["input_tokens"] is None else "output"
            return None, (f"the provider did not say how many {missing} tokens were used",)
        without = self._without_rate(counts)
        if without is not None:
            return None, (without,)
        reasons = [*self.reasons, *counts.reasons]
        quantities = self._quantities(counts, reasons)
        if record.get("estimated"):
            reasons.append("the counts are an estimate")
        reasons.extend(
            f"no fee is known for {tool}; it is not in the amount" for tool in counts.unknown_tools
        )
        reasons.extend(
            f"no fee is known for {name} ({counts.units[name]}) of this model; "
            "it is not in the amount"
            for name in TOOL_CALLS
            if counts.units.get(name) and name not in self.rates
        )
        reasons.extend(
            f"{name} are charged too, and were not reported; they are not in the amount"
            for name in self.metered
            if name not in counts.units
        )
        amount = self._integers.total(quantities, counts.units["input_tokens"])
        return amount, tuple(reasons)

    def lines(self, record: Mapping[str, Any]) -> tuple[Line, ...]:
        """Return the items of a price, those of no quantity left out."""
        counts = measure(record)
        if counts is None:
            return ()
        quantities = self._quantities(counts, [])
        input_tokens = counts.units["input_tokens"]
        lines = []
        for unit in UNITS.values():
            number = quantities.get(unit.name)
            if number:
                rate = self.rates[unit.name].at(input_tokens)
                above = self.rates[unit.name].threshold(input_tokens)
                lines.append(Line(unit.name, number, rate, unit.per, rate * number, above))
        return tuple(lines)

    def _without_rate(self, counts: Counts) -> str | None:
        """Say which counts have no rate at all, so that no amount would be whole."""
        if any(name in counts.units for name in self.metered):
            # Charged by the second or the page: its tokens cost nothing more.
            return None
        if "requests" in self.rates and not self.rates.keys() & {"input_tokens", "output_tokens"}:
            # Charged by the request.
            return None
        for name in ("input_tokens", "output_tokens"):
            if counts.units[name] and name not in self.rates:
                if self.metered:
                    return (
                        f"it is charged by {' and '.join(self.metered)}, which were not reported; "
                        "give them in tool_requests"
                    )
                return f"{self.rule} has no rate for {name}; add [[rates]] to tallystick.toml"
        if self.metered and "input_tokens" not in self.rates:
            return (
                f"it is charged by {' and '.join(self.metered)}, which were not reported; "
                "give them in tool_requests"
            )
        return None

    def _quantities(self, counts: Counts, reasons: list[str]) -> dict[str, int]:
        """Return how much of each priced unit is left beside its priced parts: never negative."""
        values = {unit.name: counts.units.get(unit.name, 0) for unit in self.units}
        for name, least in self.minimums.items():
            if values.get(name):
                values[name] = max(values[name], least)
        self._overlap(counts, values, reasons)
        left: dict[str, int] = {}
        for name, parts in self._parts.items():
            left[name] = max(values[name] - sum([left[part] for part in parts]), 0)
        return left

    def _overlap(self, counts: Counts, values: dict[str, int], reasons: list[str]) -> None:
        """Estimate how much of each modality was cached, where the provider did not say.

        Cached tokens that cannot be text are spread over the modalities, and the rest too where
        that is dearer: the dearest way in which the counts can be true.
        """
        cached = values.get("cache_read_tokens", 0)
        if not cached:
            return
        unknown: list[tuple[Fraction, str, str]] = []
        input_tokens = counts.units["input_tokens"]
        modal = 0
        for unit in self.units:
            modality = dict(unit.dimensions).get("modality")
            if modality is None or unit.direction != "input":
                continue
            whole = f"input_{modality}_tokens"
            if unit.name == whole:
                modal += values[whole]
            if unit.name != f"cache_{modality}_read_tokens":
                continue
            if unit.name in counts.units:
                cached -= values[unit.name]
                modal -= values[unit.name]
            elif values[whole]:
                gain = (
                    self.rates[unit.name].at(input_tokens)
                    + self.rates["input_tokens"].at(input_tokens)
                    - self.rates[whole].at(input_tokens)
                    - self.rates["cache_read_tokens"].at(input_tokens)
                )
                unknown.append((gain, unit.name, whole))
        if not unknown or cached <= 0:
            return
        known = counts.units["cache_read_tokens"] - cached
        plain = input_tokens - known - modal - values.get("cache_write_tokens", 0)
        forced = max(cached - max(plain, 0), 0)
        unknown.sort(reverse=True)
        certain = forced >= cached and len(unknown) == 1
        for gain, name, whole in unknown:
            share = min(values[whole], cached) if gain > 0 else min(values[whole], forced)
            values[name] = share
            cached -= share
            forced = max(forced - share, 0)
        if not certain:
            names = " and ".join(name for _, name, _ in unknown)
            reasons.append(f"the provider did not say {names}; priced as the dearest it can be")
