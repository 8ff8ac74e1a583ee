"""Every price equals that of genai-prices to the nanodollar, but for its faults, which are named.

By default a seeded sample of the models is compared; ``TALLYSTICK_ALL_SCHEDULES=1`` compares all.
"""

import os
import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from genai_prices.data import providers
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
    Usage,
)
from genai_prices.units import UnitRegistry

from tallystick.money import nanodollars
from tallystick.pricing import Book, Prices, source
from tallystick.pricing.corrections import FREE
from tallystick.usage import RequestUsage

EVERYTHING = os.environ.get("TALLYSTICK_ALL_SCHEDULES") == "1"
SAMPLE = 1 if EVERYTHING else 12
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
UNITS = UnitRegistry(unit_data)

TOOLS = {
    "web_searches": "web_search",
    "storage_searches": "file_search",
    "social_searches": "x_search",
    "code_executions": "code_interpreter",
    "rerank_searches": "search_units",
}
METERED = (
    "input_characters",
    "input_text_messages",
    "audio_seconds",
    "input_audio_seconds",
    "input_document_pages",
    "input_annotated_document_pages",
)


@dataclass
class Case:
    """The same usage, as Tallystick and as genai-prices take it."""

    usage: RequestUsage
    counts: dict

    @property
    def oracle(self):
        return Usage(**self.counts)


def case(rng, priced, *, size, metered):
    """Make a consistent usage: disjoint parts first, so that no part can exceed its whole."""

    def number():
        return rng.randrange(size) if rng.random() < 0.7 else 0

    text = {"plain": number(), "cached": number(), "w5": number(), "w1h": number(), "w": number()}
    modal = {
        name: (number(), number()) if f"input_{name}_tokens" in priced else (0, 0)
        for name in ("audio", "image", "video")
    }
    cached = text["cached"] + sum(part[1] for part in modal.values())
    written = text["w5"] + text["w1h"] + text["w"]
    sent = text["plain"] + cached + written + sum(part[0] for part in modal.values())
    received = {"text": number(), "reasoning": number()}
    for name in ("audio", "image", "video"):
        received[name] = number() if f"output_{name}_tokens" in priced else 0
    output = sum(received.values())
    counts = {
        "input_tokens": sent,
        "output_tokens": output,
        "cache_read_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_5m_tokens": text["w5"],
        "cache_write_1h_tokens": text["w1h"],
        "output_reasoning_tokens": received["reasoning"],
    }
    sent_details = {
        "cached_tokens": cached,
        "cache_write_tokens": written,
        "cache_write_5m_tokens": text["w5"],
        "cache_write_1h_tokens": text["w1h"],
    }
    received_details = {"reasoning_tokens": received["reasoning"]}
    for name, (plain, read) in modal.items():
        counts[f"input_{name}_tokens"] = sent_details[f"{name}_tokens"] = plain + read
        counts[f"cache_{name}_read_tokens"] = sent_details[f"cached_{name}_tokens"] = read
        counts[f"output_{name}_tokens"] = received_details[f"{name}_tokens"] = received[name]
    tools = {}
    for unit, tool in TOOLS.items():
        if rng.random() < 0.3:
            counts[unit] = tools[tool] = rng.randrange(1, 5)
    if metered:
        pages = rng.randrange(1, 50)
        counts["input_characters"] = tools["input_characters"] = rng.randrange(10_000)
        counts["input_text_messages"] = tools["input_text_messages"] = rng.randrange(50)
        for unit in ("audio_seconds", "input_audio_seconds"):
            counts[unit] = tools[unit] = pages * 7
        counts["input_document_pages"] = tools["input_document_pages"] = pages
        annotated = rng.randrange(pages)
        if annotated:
            counts["input_annotated_document_pages"] = annotated
            tools["input_annotated_document_pages"] = annotated
    usage = RequestUsage(sent, output, sent + output, sent_details, received_details)
    return Case(usage.replace(tool_requests=tools) if tools else usage, counts)


def plain_case(rng, size, thresholds):
    sent, output = rng.randrange(1, size), rng.randrange(size)
    if thresholds:
        # On the threshold and one above it: the place where a comparison can be off by one.
        sent = rng.choice(thresholds) + rng.randrange(2)
    cached, reasoning = rng.randrange(sent), rng.randrange(output + 1)
    return Case(
        RequestUsage(
            sent, output, sent + output, {"cached_tokens": cached}, {"reasoning_tokens": reasoning}
        ),
        {
            "input_tokens": sent,
            "output_tokens": output,
            "cache_read_tokens": cached,
            "output_reasoning_tokens": reasoning,
        },
    )


def moments(model):
    """Both sides of every start date and hour of the model, and now."""
    found = {NOW}
    conditions = model.prices if isinstance(model.prices, list) else []
    for condition in (*conditions, *(model.price_variants or ())):
        constraint = condition.constraint
        if isinstance(constraint, StartDateConstraint):
            midnight = datetime.combine(constraint.start_date, datetime.min.time(), UTC)
            found |= {midnight - timedelta(microseconds=1), midnight}
        if isinstance(constraint, TimeOfDateConstraint):
            for hour in (constraint.start_time, constraint.end_time):
                at = datetime.combine(NOW.date(), hour)
                found |= {at - timedelta(microseconds=1), at}
    return sorted(found)


def contexts(model):
    found = [{}]
    for variant in model.price_variants or ():
        if variant.when not in found:
            found.append(variant.when)
    if len(found) > 2:
        found.append({"service_tier": "flex", "processing": "batch"})
    return found


def fault(price: ModelPrice, provider, model, counts) -> str | None:
    """Name the fault by which genai-prices gives an amount where there is none to give."""
    priced = {
        UNITS.unit_for_price_key(key).usage_key
        for key, value in vars(price).items()
        if value is not None
    }
    if not priced:
        free = any(known.covers(provider.id, model.id) for known in FREE)
        return None if free else "no rate, and priced at nothing"
    metered = priced & set(METERED)
    if metered and not metered & counts.keys():
        if "input_tokens" not in priced:
            return "metered, not reported, and priced at nothing"
        return None
    if metered & counts.keys():
        return None
    for unit in ("input_tokens", "output_tokens"):
        if counts[unit] and unit not in priced:
            return "tokens without a rate priced at nothing"
    return None


def exact_book():
    """Return a book in which each model is found by its own id and by no other name."""
    data = source.read()
    for provider in data["providers"]:
        provider["fallback"] = []
        for number, model in enumerate(provider["models"]):
            model["match"] = ["equals", f"{number}:{model['id']}"]
    return Book(data)


def test_every_price_equals_that_of_genai_prices(capsys):
    prices = Prices(book=exact_book())
    rng = random.Random(20261122)
    compared, faults = 0, Counter()
    for provider in providers:
        for number, model in enumerate(provider.models):
            single = model.price_variants is None and isinstance(model.prices, ModelPrice)
            if rng.randrange(SAMPLE * (3 if single and not EVERYTHING else 1)):
                continue
            for moment in moments(model):
                for context in contexts(model):
                    price = model.get_prices(moment, context)
                    priced = {UNITS.unit_for_price_key(key).usage_key for key in vars(price)}
                    tiers = [
                        tier.start
                        for value in vars(price).values()
                        if isinstance(value, TieredPrices)
                        for tier in value.tiers
                    ]
                    for case_number in range(10):
                        if case_number % 2:
                            size = 10 ** (2 + case_number // 2)
                            example = plain_case(rng, size, tiers if case_number > 4 else ())
                        else:
                            example = case(
                                rng,
                                priced,
                                size=10 ** (2 + case_number // 2),
                                metered=case_number in (2, 6, 8),
                            )
                        modifiers = {
                            key: value
                            for key, value in context.items()
                            if key not in ("service_tier", "processing")
                        }
                        usage = example.usage
                        if modifiers:
                            usage = usage.replace(modifiers=modifiers)
                        quote = prices.quote(
                            usage,
                            provider=provider.id,
                            model=f"{number}:{model.id}",
                            at=moment,
                            service_tier=context.get("service_tier"),
                            batch=context.get("processing") == "batch",
                        )
                        theirs = model.calc_price(
                            example.oracle,
                            provider,
                            genai_request_timestamp=moment,
                            price_context=context,
                        ).total_price
                        named = fault(price, provider, model, example.counts)
                        where = (provider.id, model.id, moment, context, usage, quote)
                        if named is not None:
                            faults[named] += 1
                            assert quote.nanodollars is None, where
                            assert quote.reasons, where
                            continue
                        compared += 1
                        assert quote.nanodollars == nanodollars(theirs), (*where, theirs)
                        assert quote.exact is not None
                        assert abs(quote.exact - Fraction(theirs)) < Fraction(1, 10**20)
                        assert round(quote.exact * 10**9) == quote.nanodollars
    if EVERYTHING:
        with capsys.disabled():
            print(f"\n{compared} prices compared; faults: {dict(faults)}")
    assert compared > 1000


def test_every_model_is_found_by_the_name_that_genai_prices_finds_it_by():
    book = Book(source.read())
    for provider in providers:
        names = {model.id for model in provider.models}
        names |= {f"{model.id}-20261101" for model in provider.models[::5]}
        names |= {"gpt-5", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", "nobody"}
        for name in names:
            theirs = provider.find_model(name, all_providers=providers)
            ours = book.find(provider.id, name)
            assert (theirs and theirs.id) == (ours and ours.id), (provider.id, name)


def test_the_units_are_those_of_genai_prices():
    from tallystick.pricing.units import UNITS as OURS

    assert {
        unit.name: (unit.price_key, unit.per, dict(unit.dimensions)) for unit in OURS.values()
    } == {
        name: (unit.get("price_key", name), unit["per"], unit["dimensions"])
        for name, unit in unit_data.items()
    }
