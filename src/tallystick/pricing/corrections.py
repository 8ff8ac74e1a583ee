"""Known faults of the genai-prices data, put right here, each with its source.

A correction is listed only where the provider's own page says otherwise than the data does; it
comes before the book and after everything that the user says.
"""

from __future__ import annotations

from typing import NamedTuple


class FreeModel(NamedTuple):
    """A model without rates in the data that costs nothing, and the page that says so."""

    provider: str
    model: str
    """The id in the data."""
    source: str


FREE_MODELS = (
    FreeModel("google", "gemma-3", "https://ai.google.dev/gemini-api/docs/pricing"),
    FreeModel("google", "gemma-3n", "https://ai.google.dev/gemini-api/docs/pricing"),
    FreeModel("google", "gemma-4-26b-a4b-it", "https://ai.google.dev/gemini-api/docs/pricing"),
    FreeModel("google", "gemma-4-31b-it", "https://ai.google.dev/gemini-api/docs/pricing"),
    FreeModel("openai", "moderation", "https://platform.openai.com/docs/pricing"),
)
"""In the data, a model that is free and one whose price nobody entered look the same: neither has
a rate. Both come out at nothing there. Here a model without rates is unpriced, but for these and
those whose id ends in ``:free``."""


def is_free(provider: str, model: str) -> bool:
    """Whether a model that has no rates in the data is known to cost nothing."""
    return model.endswith(":free") or any(
        free.provider == provider and free.model == model for free in FREE_MODELS
    )
