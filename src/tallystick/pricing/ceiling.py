"""`ceiling`: the highest rates that a request which has not been sent yet can be billed at.

What the request or its account's settings leave open is taken at its dearest: the tier that
serves it, the part of its input that is cached or written to a cache, the modality of a token, the
time of day. Each token has one such part, so that tokens times the dearest rate of a token bound
the sum, as long as the input is no more than its own bound.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from tallystick.clock import timestamp
from tallystick.money import NANODOLLARS_PER_USD
from tallystick.pricing.corrections import MULTIPLIERS
from tallystick.pricing.rate import Rate
from tallystick.pricing.rate_card import Rates, Subject
from tallystick.pricing.reported import provider_named
from tallystick.pricing.resolution import STANDARD, Plan, listed_model
from tallystick.pricing.units import FREE_TOOLS, INPUT_UNITS, OUTPUT_UNITS, TOOL_UNITS, UNITS

if TYPE_CHECKING:
    from tallystick.pricing.prices import Prices
    from tallystick.pricing.tariff import Tariff

T = TypeVar("T")

CacheWrite: TypeAlias = Literal["none", "5m", "1h"]

MARGIN = timedelta(minutes=10)
"""How far from the given time a request may be sent: it waits for a slot, a retry, a clock."""

OPEN_TIERS = frozenset({"", "auto"})
"""Asked tiers that leave the choice to the provider or to the account's settings."""

CHOSEN_TIERS = ("priority", "fast", "flex")
"""What may be chosen then. OpenAI's project settings can make ``auto`` any of these; see
https://platform.openai.com/docs/api-reference/responses/create under ``service_tier``."""

NOTHING = Fraction(0)

MAX_KEPT = 1024
"""How many kinds of requests, and how many models' windows, are kept worked out."""


class Ceiling(NamedTuple):
    """The most that a request can be billed: `input` and `output` for each token, and `fixed`."""

    input: int
    """Nanodollars for one token of input at most, rounded up."""
    output: int
    """Nanodollars for one token of output at most, rounded up."""
    fixed: int
    """Nanodollars for the request itself and its known server tool calls, rounded up."""
    reasons: tuple[str, ...]
    """Why this is no certain ceiling, such as a tool whose fee is not known; normally empty."""
    rule: str
    """`Tariff.rule` of the dearest tariff."""
    book: str | None
    """The content hash of the data behind that tariff."""


def ceiling(
    prices: Prices,
    *,
    provider: str | None,
    model: str | None,
    at: datetime | None = None,
    input_tokens: int | None = None,
    service_tier: str | None = None,
    batch: bool = False,
    customer: str | None = None,
    project: str | None = None,
    audio: bool = True,
    images: bool = True,
    audio_output: bool = False,
    cache_write: CacheWrite | None = None,
    tools: Mapping[str, int | None] = {},
    modifiers: Mapping[str, str] = {},
) -> Ceiling | str:
    """Return the highest rates that a request can be billed at, or why there are none.

    Rates are resolved as `Prices.quote` does it. A reason in place of a ceiling is for a person
    to act on: the request has no price, or is charged by what it does not say (seconds, pages).

    Args:
        prices: what the request will be priced by.
        provider: who will serve it, as for `Prices.quote`.
        model: the model that is asked for.
        at: when it is sent, give or take `MARGIN`; one without a zone is in UTC. None is now.
        input_tokens: the most input it can have; rates above a threshold that this does not
            exceed are out of reach. None where there is no bound.
        service_tier: as the request asks. None and ``auto`` are any tier that the provider or
            the account's settings may choose; what is asked by name may be served as standard.
        batch: whether it is part of a batch, which is served as no other tier.
        customer: for whom, where own rates depend on it.
        project: for which project, likewise.
        audio: whether its input may hold audio. Video is possible where either this or `images`
            is, being both.
        images: whether its input may hold images.
        audio_output: whether its output may hold audio. Other media are always possible, as
            models that make them do so unasked.
        cache_write: the longest life of what it asks to be kept in a cache; ``none`` where
            nothing is written. None where that is not known.
        tools: the most calls of each tool that the provider runs; None for no cap. A call without
            a cap or a known fee is not in the ceiling, and is a reason.
        modifiers: as the request asks (``speed``, ``inference_geo``). It may be served as if it
            had not; and the account's settings may say what it does not, such as Anthropic's
            `inference_geo`, unless it asks for ``global``.
    """
    key: tuple[Any, ...] = (
        *(prices, provider, model, service_tier, batch, audio, images, audio_output, cache_write),
        tuple(tools.items()),
        tuple(modifiers.items()),
    )
    if prices._particular:
        key += (customer, project)
    kind = _kinds.get(key)
    if kind is None:
        plans = _plans(prices, provider, model, service_tier, batch, customer, project, modifiers)
        reach = _Reach(
            _reachable_inputs(audio=audio, images=images, cache_write=cache_write),
            frozenset({"output_tokens", *OUTPUT_UNITS.values()})
            - (frozenset() if audio_output else {"output_audio_tokens"}),
            dict(tools),
            prices.rates.book if prices.rates is not None else None,
            _reported(prices, provider),
        )
        kind = _Kind(plans, reach)
        _keep(_kinds, key, kind)
    return kind.ceiling(prices, at, input_tokens)


def context_window(prices: Prices, provider: str | None, model: str | None) -> int | None:
    """Return the most tokens of input that a model takes, or None where the book does not say.

    The model is looked up by the names and aliases that `Prices.quote` minds; own rates say
    nothing about it.
    """
    if model is None:
        return None
    key = (prices, provider, model)
    window = _windows.get(key, _NOT_LOOKED_UP)
    if window == _NOT_LOOKED_UP:
        subject = Subject(provider, model)
        found = listed_model(subject, prices.rates or Rates(), lambda: prices.book)
        window = None if found is None else found.context_window
        _keep(_windows, key, window)
    return window


class _Reach(NamedTuple):
    """What a kind of request can be charged for."""

    inputs: frozenset[str]
    """The units that a token of its input can be of."""
    outputs: frozenset[str]
    tools: Mapping[str, int | None]
    own_book: str | None
    """The name of the user's own rates."""
    reasons: tuple[str, ...]
    """Why no rate is a certain ceiling for it."""


class _Kind:
    """Requests that differ in nothing but their time and the bound of their input."""

    __slots__ = ("_found", "_hours", "_plans", "_reach", "_starts")

    def __init__(self, plans: list[tuple[Plan, bool]], reach: _Reach) -> None:
        """Take the plans that may apply, each with whether it is the one that was asked for."""
        self._plans = plans
        self._reach = reach
        self._starts = sorted({start for plan, _ in plans for start in plan.starts})
        self._hours = sorted({hour for plan, _ in plans for hour in plan.hours})
        # By where in the calendar and in the day the earliest and the latest sending fall.
        self._found: dict[tuple[int, ...], _Steps | str] = {}

    def ceiling(
        self, prices: Prices, at: datetime | None, input_tokens: int | None
    ) -> Ceiling | str:
        if at is None:
            at = timestamp(prices._clock.now())
        elif at.tzinfo is None:
            at = at.replace(tzinfo=UTC)
        since, until = at - MARGIN, at + MARGIN
        place: tuple[int, ...] = (
            bisect_right(self._starts, since),
            bisect_right(self._starts, until),
        )
        if self._hours:
            place += (self._hour(since), self._hour(until))
        steps = self._found.get(place)
        if steps is None:
            steps = self._found[place] = self._steps(since, until)
        if isinstance(steps, str):
            return steps
        if input_tokens is None:
            return steps.ceilings[-1]
        return steps.ceilings[bisect_left(steps.thresholds, input_tokens)]

    def _hour(self, moment: datetime) -> int:
        return bisect_right(self._hours, moment.astimezone(UTC).time())

    def _steps(self, since: datetime, until: datetime) -> _Steps | str:
        """Work out the ceilings of a time, the dearest of all tariffs that may hold in it."""
        asked: dict[Tariff, bool] = {}
        for plan, is_asked in self._plans:
            asked.update(dict.fromkeys(plan.between(since, until), is_asked))
        reasons = [*self._reach.reasons]
        tariffs: list[Tariff] = []
        for tariff, is_asked in asked.items():
            without = _without_ceiling(tariff)
            if without is not None:
                reasons.append(without)
                continue
            tariffs.append(tariff)
            if is_asked:
                reasons.extend(tariff.reasons)
            reasons.extend(_doubts(tariff, self._reach))
        if not tariffs:
            return next(filter(None, map(_without_ceiling, asked)))
        return _steps(tariffs, self._reach, tuple(dict.fromkeys(reasons)))


class _Steps(NamedTuple):
    """Ceilings by the bound of the input: one up to each threshold, and one without a bound."""

    thresholds: tuple[int, ...]
    ceilings: tuple[Ceiling, ...]


_kinds: dict[tuple[Any, ...], _Kind] = {}
_windows: dict[tuple[Any, ...], int | None] = {}
_NOT_LOOKED_UP = -1


def _keep(kept: dict[tuple[Any, ...], T], key: tuple[Any, ...], value: T) -> None:
    # The keys hold their `Prices`, so that another one is never taken for it.
    if len(kept) >= MAX_KEPT:
        kept.clear()
    kept[key] = value


def _plans(
    prices: Prices,
    provider: str | None,
    model: str | None,
    service_tier: str | None,
    batch: bool,  # noqa: FBT001 - the parts of a key, in its order
    customer: str | None,
    project: str | None,
    modifiers: Mapping[str, str],
) -> list[tuple[Plan, bool]]:
    """Return the plans of all that may serve a request; those that it asks for come first."""
    served = [dict(modifiers)]
    served += [
        {**modifiers, multiplier.modifier: multiplier.value}
        for multiplier in MULTIPLIERS
        if multiplier.modifier not in modifiers
    ]
    if modifiers:
        served.append({})
    plans = {}
    for tier in _tiers(prices.rates, service_tier, batch=batch):
        for index, given in enumerate(served):
            modified = tuple(given.items())
            key = (provider, model, tier, batch, modified, customer, project)
            plan = prices._plans.get(key) or prices._plan(key, *key)
            plans[plan] = tier == service_tier and index == 0
    return list(plans.items())


def _tiers(rates: Rates | None, asked: str | None, *, batch: bool) -> list[str | None]:
    """Return the tiers that may serve a request, the asked one first."""
    name = None if asked is None else asked.strip().lower()
    if name is not None and name not in OPEN_TIERS:
        return [asked] if name in STANDARD else [asked, None]
    if batch:
        return [asked]
    own = [] if rates is None else [rate.terms.service_tier for rate in rates.rates]
    named = (tier.lower() for tier in own if tier is not None and tier.lower() != "batch")
    return list(dict.fromkeys([asked, *CHOSEN_TIERS, *named]))


def _reachable_inputs(
    *, audio: bool, images: bool, cache_write: CacheWrite | None
) -> frozenset[str]:
    media = {"text": True, "audio": audio, "image": images, "video": audio or images}
    lives = {"5m": cache_write != "none", "1h": cache_write in {None, "1h"}}
    found = {"input_tokens"}
    for name in INPUT_UNITS.values():
        dimensions = dict(UNITS[name].dimensions)
        written = dimensions.get("token_type") != "cache_write" or cache_write != "none"
        modality, life = dimensions.get("modality"), dimensions.get("cache_ttl")
        if written and media.get(modality or "text") and (life is None or lives[life]):
            found.add(name)
    return frozenset(found)


def _reported(prices: Prices, provider: str | None) -> tuple[str, ...]:
    """Say so where what the provider will report is billed, which no rate bounds."""
    if provider is None or prices.rates is None:
        return ()
    name = provider_named(provider)
    if name not in prices.rates.provider_cost:
        return ()
    return (f"the cost that {name} will report is billed, and may be more than its rates say",)


def _without_ceiling(tariff: Tariff) -> str | None:
    """Return why a tariff bounds nothing, or None where it does."""
    if tariff.unpriced is not None:
        return tariff.unpriced
    if tariff.metered:
        metered = " and ".join(tariff.metered)
        return f"{tariff.rule} is charged by {metered}, which are not known before it is sent"
    if "input_tokens" not in tariff.rates and not _by_request(tariff):
        return f"{tariff.rule} has no rate for input_tokens; add [[rates]] to tallystick.toml"
    return None


def _by_request(tariff: Tariff) -> bool:
    """Whether the request is charged, and its tokens are not."""
    rates = tariff.rates
    return "requests" in rates and not rates.keys() & {"input_tokens", "output_tokens"}


def _doubts(tariff: Tariff, reach: _Reach) -> Iterable[str]:
    """Yield what a request may be charged beside the ceiling of a tariff."""
    own = reach.own_book is not None and tariff.book == reach.own_book
    if own and "output_tokens" not in tariff.rates and not _by_request(tariff):
        # The book leaves it out where there is no output, as for embeddings.
        yield (
            f"{tariff.rule} has no rate for output_tokens; add output_per_million, "
            'which is "0" where there is no output'
        )
    for name, most in reach.tools.items():
        if name in FREE_TOOLS or (most is not None and most <= 0):
            continue
        fee = tariff.rates.get(TOOL_UNITS.get(name, ""))
        if fee is None:
            yield f"no fee is known for {name} of this model; its calls are not in the ceiling"
        elif most is None and fee != Rate(NOTHING):
            yield f"there is no cap on the calls of {name}, so they are not in the ceiling"


def _steps(tariffs: list[Tariff], reach: _Reach, reasons: tuple[str, ...]) -> _Steps:
    """Return the ceilings of tariffs of which any may apply, the asked ones first."""
    thresholds = sorted(
        {above for tariff in tariffs for rate in tariff.rates.values() for above, _ in rate.tiers}
    )
    most_input = most_output = most_fixed = 0
    dearest, highest = tariffs[0], (-1, -1)
    ceilings = []
    # A bound allows for less input too, so each step is at least the one below it.
    for input_tokens in (0, *(above + 1 for above in thresholds)):
        for tariff in tariffs:
            sent, received, fixed = _amounts(tariff, reach, input_tokens)
            most_input, most_output = max(most_input, sent), max(most_output, received)
            most_fixed = max(most_fixed, fixed)
            if (sent + received, fixed) > highest:
                dearest, highest = tariff, (sent + received, fixed)
        ceilings.append(
            Ceiling(most_input, most_output, most_fixed, reasons, dearest.rule, dearest.book)
        )
    return _Steps(tuple(thresholds), tuple(ceilings))


def _amounts(tariff: Tariff, reach: _Reach, input_tokens: int) -> tuple[int, int, int]:
    """Return the most for a token of input and of output, and for the rest, in nanodollars."""
    rates = {name: rate.at(input_tokens) for name, rate in tariff.rates.items()}
    fixed = rates.get("requests", NOTHING)
    for name, calls in reach.tools.items():
        if name not in FREE_TOOLS and calls is not None and calls > 0:
            fixed += rates.get(TOOL_UNITS.get(name, ""), NOTHING) * calls
    return (
        _whole(max((rates[name] for name in reach.inputs & rates.keys()), default=NOTHING)),
        _whole(max((rates[name] for name in reach.outputs & rates.keys()), default=NOTHING)),
        _whole(fixed),
    )


def _whole(amount: Fraction) -> int:
    """Return USD in nanodollars, rounded up."""
    return ceil(amount * NANODOLLARS_PER_USD)
