"""Which rates apply to a subject, over time.

In order: the user's own rates, the user's aliases, cited corrections, the book at the request's
time; else the request is unpriced, with a reason that says what to do about it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta
from fractions import Fraction
from typing import Any

from tallystick.pricing.book import Book, Dated, Model
from tallystick.pricing.brackets import ShortCut
from tallystick.pricing.corrections import corrected, free_of_charge, multipliers
from tallystick.pricing.rate import Rate, RateError
from tallystick.pricing.rate_card import Rates, Subject
from tallystick.pricing.tariff import Tariff
from tallystick.pricing.units import UNITS

STANDARD = frozenset(
    {"", "default", "standard", "standard_only", "auto", "on_demand", "global", "not_available"}
)
"""Served tiers and other modifiers that mean the standard rate."""

_OWN_RATES = 'add [[rates]] with model = "{}" to tallystick.toml'


class Plan:
    """The tariffs of one subject over time. Immutable."""

    __slots__ = ("_texts", "hours", "only", "quick", "starts", "tariffs")

    def __init__(
        self, starts: tuple[datetime, ...], hours: tuple[time, ...], tariffs: tuple[Tariff, ...]
    ) -> None:
        """Line tariffs up: one for each stretch between `starts` and, in it, between `hours`."""
        self.starts = starts
        self._texts = tuple(start.isoformat() for start in starts)
        self.hours = hours
        bounds = (None, *starts, None)
        self.tariffs = tuple(
            tariff.within(*bounds[stretch : stretch + 2])
            for index, tariff in enumerate(tariffs)
            for stretch in (index // (len(hours) + 1),)
        )
        self.only = self.tariffs[0] if len(tariffs) == 1 else None
        """The one that always holds, where there is one."""
        self.quick: tuple[ShortCut, tuple[str, ...], Tariff] | None = None
        """Of that one its short cut, its reasons and itself, where it has a short cut."""
        if self.only is not None and self.only.brackets is not None:
            self.quick = (self.only.brackets.amount, self.only.reasons, self.only)

    def at_text(self, text: str) -> Tariff:
        """Return the tariff that holds at a moment in the form that `datetime.isoformat` gives.

        In UTC such texts sort as their moments do, so there is no need to read them.

        Raises:
            ValueError: the text is no moment.
        """
        if text.endswith("+00:00") and text[10:11] == "T" and not self.hours:
            return self.tariffs[bisect_right(self._texts, text)]
        moment = datetime.fromisoformat(text)
        return self.at(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))

    def at(self, moment: datetime) -> Tariff:
        """Return the tariff that holds at a moment."""
        stretch = bisect_right(self.starts, moment)
        if not self.hours:
            return self.tariffs[stretch]
        hour = bisect_right(self.hours, moment.astimezone(UTC).time())
        return self.tariffs[stretch * (len(self.hours) + 1) + hour]

    def between(self, since: datetime, until: datetime) -> list[Tariff]:
        """Return the tariffs that hold at some time from one moment to another of the next day."""
        days = sorted({moment.astimezone(UTC).date() for moment in (since, until)})
        turns = (datetime.combine(day, hour, UTC) for day in days for hour in self.hours)
        moments = [moment for moment in (*self.starts, *turns) if since < moment <= until]
        return list(dict.fromkeys(self.at(moment) for moment in (since, *moments)))


def resolve(
    subject: Subject, context: Mapping[str, str], rates: Rates, book: Callable[[], Book]
) -> Plan:
    """Return the tariffs of a subject over all time.

    Args:
        subject: what a price is asked for.
        context: what its rates depend on beside, as `context_of` gives it.
        rates: the user's own.
        book: gives the book; called only where no own rate holds, so that own rates need none.
    """
    return _Resolution(subject, context, rates, book).plan()


def listed_model(subject: Subject, rates: Rates, book: Callable[[], Book]) -> Model | None:
    """Return the book's model that a subject stands for, the user's aliases minded, or None."""
    found = _Resolution(subject, {}, rates, book).find()
    return found if isinstance(found, Model) else None


def context_of(
    service_tier: str | None, modifiers: Mapping[str, str], *, batch: bool
) -> dict[str, str]:
    """Return what makes a request's rates other than the standard ones, in the book's words."""
    context = {name: value for name, value in modifiers.items() if not _standard(value)}
    if service_tier is not None and not _standard(service_tier):
        context["service_tier"] = service_tier.strip().lower()
    if context.get("service_tier") == "batch":
        # Anthropic calls it a service tier, and says so in the response.
        del context["service_tier"]
        batch = True
    if batch:
        context["processing"] = "batch"
    return context


class _Resolution:
    """The resolution of one subject: what stays the same while moments are tried."""

    def __init__(
        self, subject: Subject, context: Mapping[str, str], rates: Rates, book: Callable[[], Book]
    ) -> None:
        self.subject = subject
        self.context = context
        self.rates = rates
        self.book = book
        self.target = subject
        """What the subject stands for: itself, or what the user's alias says."""
        self.prefix = ""
        alias = rates.alias(subject.model)
        if alias is not None:
            provider, slash, model = alias.partition("/")
            if slash:
                self.target = subject._replace(provider=provider, model=model)
            else:
                self.target = subject._replace(model=alias)
            self.prefix = f"alias {subject.model} -> {alias}; "
        self.found: Model | Tariff | None = None
        self.source: str | None = None
        """Where what the book lacks of it is from."""

    def plan(self) -> Plan:
        subjects = (self.subject, self.target)
        starts = {moment for subject in subjects for moment in self.rates.boundaries(subject)}
        tariffs = [self.tariff(start) for start in (_FIRST, *sorted(starts))]
        hours: tuple[time, ...] = ()
        if isinstance(self.found, Model):
            starts.update(self.found.boundaries(self.context))
            hours = tuple(sorted(set(self.found.hours(self.context))))
            tariffs = [
                self.tariff(_within(start, hour, hours))
                for start in (_FIRST, *sorted(starts))
                for hour in (time(), *hours)
            ]
        if not hours:
            return _merged(tuple(sorted(starts)), tariffs)
        return Plan(tuple(sorted(starts)), hours, tuple(tariffs))

    def tariff(self, moment: datetime) -> Tariff:
        """Return the tariff at a moment: the resolution order, in one place."""
        for subject, prefix in ((self.subject, ""), (self.target, self.prefix)):
            own = self.rates.rate(subject, moment)
            if own is not None:
                tiered = own.terms.service_tier is not None
                return Tariff(
                    own.rates,
                    rule=f"{prefix}own rate: {own.terms.name}",
                    book=self.rates.book,
                    reasons=[
                        _unmatched(name, value, "this own rate")
                        for name, value in self.context.items()
                        if not (tiered and name in {"service_tier", "processing"})
                    ],
                )
        if self.found is None:
            self.found = self.find()
        if isinstance(self.found, Tariff):
            return self.found
        try:
            return self.listed(self.found, self.found.at(moment, self.context), moment)
        except RateError as error:
            named = f"{self.found.provider}/{self.found.id}"
            return self.none(f"the book's rates for {named} cannot be used: {error}")

    def find(self) -> Model | Tariff:
        """Return the model in the book, or a tariff that says why there is none."""
        subject = self.target
        own_rates = _OWN_RATES.format(subject.model)
        try:
            if subject.provider is None:
                return self.none(
                    f"the provider of {subject.model!r} is unknown; give it, or {own_rates}, or "
                    f'under [aliases] "{subject.model}" = "provider/model"'
                )
            book = self.book()
            known = book.provider(subject.provider)
            if known is None:
                return self.none(
                    f"the price book has no provider {subject.provider!r}; {own_rates}, or under "
                    f'[aliases] "{subject.model}" = "provider/model"'
                )
            asked = subject.model.strip().lower()
            model, self.source = corrected(book.find(known, asked), known, asked)
        except Exception as error:  # noqa: BLE001 - third-party data must not break a user's run
            return self.none(f"the price book cannot be read: {error!r}")
        if model is None:
            source = free_of_charge(known, asked)
            if source is not None:
                return self.free(f"{self.prefix}correction: {subject.model} of {known}", source)
            return self.none(
                f"the price book has no model {subject.model!r} of {known}; {own_rates}, or under "
                f'[aliases] "{subject.model}" = "provider/model"'
            )
        return model

    def listed(self, model: Model, dated: Dated, moment: datetime) -> Tariff:
        """Return the book's tariff, corrected, less the user's discount."""
        book = self.book().hash
        named = f"{model.provider}/{model.id}"
        rule = f"{self.prefix}book: {named}"
        if not model.own:
            rule += f", resold by {self.target.provider}"
        if dated.since is not None:
            rule += f", from {dated.since}"
        if dated.window is not None:
            rule += f", {dated.window}"
        if self.source is not None:
            rule += f", corrected by {self.source}"
        rates = dated.rates
        if not rates:
            # The data takes a fine-tuned model for whatever its user's own part of the name says.
            tuned = self.target.model.strip().lower().startswith("ft:")
            source = None if tuned else free_of_charge(model.provider, model.id)
            if source is not None:
                return self.free(rule, source)
            own_rates = _OWN_RATES.format(self.target.model)
            return self.none(
                f"the price book lists {named} without any rate; {own_rates}", rule, book
            )
        matched = set(dated.matched)
        for multiplier in multipliers(model.provider, self.context) if model.own else ():
            matched.add(multiplier.modifier)
            rates = {
                name: rate.times(multiplier.factor) if UNITS[name].family == "tokens" else rate
                for name, rate in rates.items()
            }
        rule += "".join(f", {name} {self.context[name]}" for name in sorted(matched))
        reasons = [
            _unmatched(name, value, named, dated.later.get(name))
            for name, value in self.context.items()
            if name not in matched
        ]
        discount = self.rates.discount(self.target, moment)
        if discount is not None:
            rates = {name: rate.times(discount.factor) for name, rate in rates.items()}
            rule += f", less {float(discount.percent):g} % by {discount.terms.name}"
            book = f"{book}+{self.rates.book}"
        return Tariff(rates, rule=rule, book=book, reasons=reasons, minimums=model.minimums)

    def free(self, rule: str, source: str) -> Tariff:
        """Return the tariff of what is known to cost nothing."""
        rates = {name: Rate(Fraction(0)) for name in ("input_tokens", "output_tokens")}
        rule = f"{rule}, free of charge by {source}"
        return Tariff(rates, rule=rule, book=self.book().hash)

    def none(self, reason: str, rule: str | None = None, book: str | None = None) -> Tariff:
        """Return the tariff of what has no price."""
        return Tariff.none(reason, rule=rule or f"{self.prefix}none", book=book)


def _within(start: datetime, hour: time, hours: tuple[time, ...]) -> datetime:
    """Return a moment from `start` on that lies in the stretch of the day that `hour` begins."""
    at = start.time()
    begun = max((other for other in (time(), *hours) if other <= at), default=time())
    if begun == hour:
        return start
    moment = datetime.combine(start.date(), hour, UTC)
    return moment if moment >= start else moment + timedelta(days=1)


_FIRST = datetime.min.replace(tzinfo=UTC)


def _merged(starts: tuple[datetime, ...], tariffs: list[Tariff]) -> Plan:
    """Return a plan without the starts at which nothing changes."""
    kept_starts: list[datetime] = []
    kept = [tariffs[0]]
    for start, tariff in zip(starts, tariffs[1:], strict=True):
        if not tariff.same(kept[-1]):
            kept_starts.append(start)
            kept.append(tariff)
    return Plan(tuple(kept_starts), (), tuple(kept))


def _standard(value: Any) -> bool:
    return value is None or str(value).strip().lower() in STANDARD


def _unmatched(name: str, value: str, where: str, later: str | None = None) -> str:
    what = "batch" if name == "processing" else f"{name.replace('_', ' ')} {value!r}"
    since = f" before {later}" if later is not None else ""
    return f"no rate is known for {what} of {where}{since}; priced at the standard rate"
