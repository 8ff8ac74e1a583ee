"""The names that models and providers go by, as hosts and gateways write them."""

import pytest

from tallystick.pricing import Book, source


@pytest.fixture(scope="module")
def book():
    return Book(source.read())


SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize(
    ("provider", "name", "model"),
    [
        ("openai", " GPT-5 ", "gpt-5"),
        ("openai", "gpt-5-2025-08-07", "gpt-5"),
        ("openai", "gpt-5.2-20251211", "gpt-5.2"),
        ("openai", "openai/gpt-5", "gpt-5"),
        ("openai", "openai/gpt-5.2-20251211", "gpt-5.2"),
        ("openai", "chatgpt-4o-latest", "chatgpt-4o-latest"),
        ("openai", "ft:gpt-4o-2024-08-06:org::id", "ft:gpt-4o"),
        ("openai", "anthropic/gpt-5", None),
        ("openai", "gpt-5.2-20251399", None),
        ("anthropic", "anthropic/claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("google", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        (
            "google",
            "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-pro",
            "gemini-2.5-pro",
        ),
        ("google", "vertex_ai/gemini-2.5-pro", "gemini-2.5-pro"),
        ("aws", f"us.{SONNET}", f"regional.{SONNET}"),
        ("aws", f"global.{SONNET}", f"global.{SONNET}"),
        (
            "aws",
            f"arn:aws:bedrock:us-east-1:1:inference-profile/us.{SONNET}",
            f"regional.{SONNET}",
        ),
        ("aws", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x1y2z3", None),
        ("openrouter", "openai/gpt-5", "openai/gpt-5"),
        ("azure", "gpt-35-turbo", "gpt-3.5-turbo"),
    ],
)
def test_a_name_finds_its_model(book, provider, name, model):
    found = book.find(provider, name)
    assert (found and found.id) == model


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("openai", "openai"),
        (" OpenAI ", "openai"),
        ("azure.ai.openai", "azure"),
        ("gcp.vertex_ai", "google"),
        ("aws.bedrock", "aws"),
        ("xai", "x-ai"),
        ("openai-compatible", None),
        ("local", None),
        ("", None),
    ],
)
def test_a_providers_name_is_known_or_it_is_not(book, name, provider):
    assert book.provider(name) == provider
