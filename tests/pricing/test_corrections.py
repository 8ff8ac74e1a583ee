"""Rates that providers list and the data lacks, each by its page."""

from datetime import UTC, datetime

import pytest

from tallystick.pricing import Prices
from tallystick.pricing.corrections import FREE, LISTED, MULTIPLIERS
from tallystick.usage import RequestUsage

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def prices():
    return Prices()


def quote(prices, model, details=None, received=None, **options):
    usage = RequestUsage(
        1000, 100, None, details or {}, received or {}, provider="openai", model=model
    )
    return prices.quote(usage, at=AT, **options)


@pytest.mark.parametrize(
    ("model", "nanodollars"),
    [
        ("ft:o4-mini-2025-04-16:acme::id", 800 * 4000 + 200 * 1000 + 100 * 16_000),
        ("ft:gpt-4.1-2025-04-14:acme:name:id", 800 * 3000 + 200 * 750 + 100 * 12_000),
        ("ft:gpt-4.1-mini-2025-04-14:acme::id", 800 * 800 + 200 * 200 + 100 * 3200),
        ("FT:gpt-4.1-nano-2025-04-14:acme::id", 800 * 200 + 200 * 50 + 100 * 800),
        ("ft:gpt-4o-2024-08-06:acme::id", 800 * 3750 + 200 * 1875 + 100 * 15_000),
        ("ft:gpt-4o-mini-2024-07-18:acme::id", 800 * 300 + 200 * 150 + 100 * 1200),
    ],
)
def test_a_fine_tuned_model_has_the_rates_of_its_own_table(prices, model, nanodollars):
    ours = quote(prices, model, {"cached_tokens": 200})
    assert ours.nanodollars == nanodollars
    assert "corrected by https://developers.openai.com/api/docs/pricing" in ours.rule
    assert not ours.estimated


def test_what_the_data_has_of_a_fine_tuned_model_stays(prices):
    batch = quote(prices, "ft:gpt-4o-mini-2024-07-18:acme::id", batch=True)
    assert batch.nanodollars == 1000 * 150 + 100 * 600
    assert not batch.estimated
    assert quote(prices, "ft:gpt-4.1-2025-04-14:acme::id", batch=True).estimated


def test_audio_of_the_audio_preview_is_no_text(prices):
    for model in ("gpt-4o-audio-preview", "gpt-4o-audio-preview-2025-06-03"):
        ours = quote(prices, model, {"audio_tokens": 400}, {"audio_tokens": 60})
        assert ours.nanodollars == 600 * 2500 + 400 * 40_000 + 40 * 10_000 + 60 * 80_000
    other = quote(prices, "gpt-4o-audio-preview-2024-10-01", {"audio_tokens": 400})
    assert "corrected" not in other.rule


@pytest.mark.parametrize("base", ["gpt-4.1-2025-04-14", "babbage-002"])
def test_a_fine_tuned_model_is_not_free_for_what_its_user_called_it(prices, base):
    assert quote(prices, f"ft:{base}:acme:moderation:id").nanodollars != 0
    assert quote(prices, "omni-moderation-latest").nanodollars == 0


def test_every_correction_names_its_source():
    assert all(row.source.startswith("https://") for row in (*FREE, *MULTIPLIERS, *LISTED))
