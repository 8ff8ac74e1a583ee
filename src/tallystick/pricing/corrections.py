"""Known faults of the genai-prices data, put right here, each with its source.

A correction is listed only where the provider's own page says what the data does not. It comes
before the book and after everything that the user says, and the rule of a quote names its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from tallystick.pricing.book import Model


class Free(NamedTuple):
    """A model that costs nothing, and the page that says so."""

    provider: str
    model: str
    """The id in the data, or the name asked for where the data has none."""
    source: str

    def covers(self, provider: str, model: str) -> bool:
        """Whether it is about this model; a name that begins with ``:`` is an ending."""
        if self.provider != provider:
            return False
        return model.endswith(self.model) if self.model.startswith(":") else model == self.model


# "Free of charge" is the only tier of Gemma here: the paid one is "Not available".
_GEMINI = "https://ai.google.dev/gemini-api/docs/pricing"
# "Moderation models are free models designed to detect harmful content."
_MODERATION = "https://developers.openai.com/api/docs/models/omni-moderation-latest"
# "Free variants provide access to models without cost."
_OPENROUTER = "https://openrouter.ai/docs/guides/routing/model-variants/free"

FREE = (
    Free("google", "gemma-3", _GEMINI),
    Free("google", "gemma-3n", _GEMINI),
    Free("google", "gemma-4-26b-a4b-it", _GEMINI),
    Free("google", "gemma-4-31b-it", _GEMINI),
    Free("openai", "moderation", _MODERATION),
    Free("openrouter", ":free", _OPENROUTER),
    Free("azure", ":free", _OPENROUTER),
    Free("mistral", ":free", _OPENROUTER),
)
"""In the data, a model that is free and one whose price nobody entered look the same: neither has
a rate, and both come out at nothing there. Here a model without rates is unpriced, but for these.
The data lists some of OpenRouter's free variants under their makers."""


class Multiplier(NamedTuple):
    """What a modifier in the response does to the rates of all tokens, on top of all else."""

    provider: str
    modifier: str
    value: str
    factor: Fraction
    source: str


MULTIPLIERS = (
    # "A 1.1x multiplier on all token pricing categories, including input tokens, output tokens,
    # cache writes, and cache reads."
    Multiplier(
        "anthropic",
        "inference_geo",
        "us",
        Fraction(11, 10),
        "https://platform.claude.com/docs/en/about-claude/pricing",
    ),
)
"""Searches and other fees are not multiplied."""


class Listed(NamedTuple):
    """Rates that a provider lists and the data lacks; what else the data has of the model stays."""

    provider: str
    model: str
    """The name asked for, or what comes before the first colon that ends it."""
    prices: Mapping[str, str]
    """USD a million tokens, by the book's own keys."""
    source: str

    def covers(self, provider: str, model: str) -> bool:
        """Whether it is about a model of this name."""
        return self.provider == provider and (
            model == self.model or model.startswith(f"{self.model}:")
        )


def _fine_tuned(base: str, sent: str | None, cached: str, received: str | None) -> Listed:
    prices = {"input_mtok": sent, "cache_read_mtok": cached, "output_mtok": received}
    return Listed(
        "openai",
        f"ft:{base}",
        {key: price for key, price in prices.items() if price is not None},
        "https://developers.openai.com/api/docs/pricing",
    )


_AUDIO = {"input_audio_mtok": "40", "output_audio_mtok": "80"}
_AUDIO_PAGE = "https://developers.openai.com/api/docs/models/gpt-4o-audio-preview"

LISTED = (
    # The table "Fine-tuning" of that page: input, cached input, output. Of the last two the data
    # has all but the cached input.
    _fine_tuned("o4-mini-2025-04-16", "4", "1", "16"),
    _fine_tuned("gpt-4.1-2025-04-14", "3", "0.75", "12"),
    _fine_tuned("gpt-4.1-mini-2025-04-14", "0.8", "0.2", "3.2"),
    _fine_tuned("gpt-4.1-nano-2025-04-14", "0.2", "0.05", "0.8"),
    _fine_tuned("gpt-4o-2024-08-06", None, "1.875", None),
    _fine_tuned("gpt-4o-mini-2024-07-18", None, "0.15", None),
    # "Audio tokens: input $40, output $80", which the data prices as text.
    Listed("openai", "gpt-4o-audio-preview", _AUDIO, _AUDIO_PAGE),
    Listed("openai", "gpt-4o-audio-preview-2025-06-03", _AUDIO, _AUDIO_PAGE),
)
"""Who shares data with OpenAI pays half for a fine-tuned o4-mini; no response says so."""


def corrected(model: Model | None, provider: str, name: str) -> tuple[Model | None, str | None]:
    """Return a model with what the data lacks of it, and the source of that where there is any.

    Args:
        model: as the book has it, or None where it has none.
        provider: the book's id of who was asked.
        name: the model as asked for, in lower case.
    """
    for listed in LISTED:
        if listed.covers(provider, name):
            dated = [] if model is None else [pair for pair in model.data["prices"] if pair[1]]
            if model is None or not dated:
                data = {"id": listed.model, "prices": [[None, dict(listed.prices)]]}
            else:
                merged = [[when, {**prices, **listed.prices}] for when, prices in dated]
                data = {**model.data, "prices": merged}
            return Model(data, provider, own=True), listed.source
    return model, None


def free_of_charge(provider: str, model: str) -> str | None:
    """Return the source that says that a model without rates costs nothing, or None."""
    for free in FREE:
        if free.covers(provider, model):
            return free.source
    return None


def multipliers(provider: str, context: Mapping[str, str]) -> list[Multiplier]:
    """Return the multipliers of a request with such modifiers."""
    return [
        multiplier
        for multiplier in MULTIPLIERS
        if multiplier.provider == provider and context.get(multiplier.modifier) == multiplier.value
    ]
