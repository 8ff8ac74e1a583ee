"""Known faults of the genai-prices data, put right here, each with its source.

A correction is listed only where the provider's own page says what the data does not. It comes
before the book and after everything that the user says, and the rule of a quote names its source.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple


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


_GEMINI = "https://ai.google.dev/gemini-api/docs/pricing"
_OPENROUTER = "https://openrouter.ai/docs/guides/routing/model-variants/free"

FREE = (
    Free("google", "gemma-3", _GEMINI),
    Free("google", "gemma-3n", _GEMINI),
    Free("google", "gemma-4-26b-a4b-it", _GEMINI),
    Free("google", "gemma-4-31b-it", _GEMINI),
    Free("openai", "moderation", "https://platform.openai.com/docs/pricing"),
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
    Multiplier(
        "anthropic",
        "inference_geo",
        "us",
        Fraction(11, 10),
        "https://platform.claude.com/docs/en/manage-claude/data-residency",
    ),
)
"""Searches and other fees are not multiplied."""


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
