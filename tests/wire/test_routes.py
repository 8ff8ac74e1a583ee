"""Which API a URL belongs to, and whose rates apply."""

import re

import pytest

from tallystick.wire import identify, model_of, provider_of
from tallystick.wire.families import FAMILIES
from tallystick.wire.routes import HOSTS, PATHS


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://api.openai.com/v1/responses", "openai.responses"),
        ("https://api.openai.com/v1/responses/", "openai.responses"),
        ("https://api.openai.com/v1/responses?stream=1", "openai.responses"),
        ("/v1/responses/compact", "openai.responses.compact"),
        ("https://x.openai.azure.com/openai/deployments/d/chat/completions?a=1", "openai.chat"),
        ("chat/completions", "openai.chat"),
        ("/chat/completions", "openai.chat"),
        ("/v1/completions", "openai.completions"),
        ("/v1/embeddings", "openai.embeddings"),
        ("https://gateway.example/anthropic/v1/messages", "anthropic.messages"),
        (
            (
                "https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/l/publishers/"
                "anthropic/models/claude-sonnet-4@20250514:streamRawPredict"
            ),
            "anthropic.messages",
        ),
        ("/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", "gemini.generate"),
        ("/v1beta/models/text-embedding-004:batchEmbedContents", "gemini.embed"),
        ("/model/arn%3Aaws%3Abedrock%3A%2Fx/converse", "bedrock.converse"),
        ("/model/us.anthropic.claude/converse-stream", "bedrock.converse-stream"),
        ("/model/m/invoke", "bedrock.invoke"),
        ("/model/m/invoke-with-response-stream", "bedrock.invoke-stream"),
        ("https://api.cohere.com/v2/chat", "cohere.chat"),
        ("http://127.0.0.1:11434/api/chat", "ollama.chat"),
        ("http://127.0.0.1:11434/api/embed", "ollama.embed"),
        # Nothing that a model answers.
        ("https://api.openai.com/v1/models", None),
        ("https://api.openai.com/v1/files", None),
        ("https://api.openai.com/v1/conversations", None),
        ("https://api.openai.com/v1/responses/resp_1/cancel", None),
        ("https://api.openai.com/v1/responses/resp_1/input_items", None),
        ("https://api.openai.com/v1/responses/input_tokens", None),
        ("https://api.anthropic.com/v1/messages/count_tokens", None),
        ("https://api.anthropic.com/v1/messages/batches", None),
        ("/v1beta/models/gemini-2.5-flash:countTokens", None),
        ("http://[half", None),
        ("", None),
    ],
)
def test_a_url_names_its_api(url, api):
    assert identify(url) == api


def test_only_what_is_posted_asks_a_model():
    assert identify("/v1/responses", method="GET") is None
    assert identify("/v1/responses", method="post") == "openai.responses"


def test_every_api_has_a_family_that_reads_it():
    assert {api for _, api in PATHS} == set(FAMILIES)


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1/responses", "openai"),
        ("https://eu.api.openai.com/v1/responses", "openai"),
        ("https://mine.openai.azure.com/openai/v1/responses", "azure"),
        ("https://API.Anthropic.com:443/v1/messages", "anthropic"),
        ("https://us-central1-aiplatform.googleapis.com/v1", "google"),
        ("https://bedrock-runtime.eu-west-1.amazonaws.com/model/m/converse", "aws"),
        ("https://bedrock-runtime-fips.us-east-1.amazonaws.com/model/m/converse", "aws"),
        ("https://bedrock-mantle.us-east-1.api.aws/v1/responses", "aws"),
        ("https://router.huggingface.co/together/v1/chat/completions", "huggingface_together"),
        ("https://router.huggingface.co/v1/chat/completions", None),
        ("http://localhost:8000/v1/chat/completions", None),
        ("https://api.openai.com.evil.example/v1/responses", None),
        ("https://notapi.x.ai.example/v1", None),
        ("https://myapi.x.ai/v1", None),
        ("/v1/responses", None),
    ],
)
def test_a_host_names_its_provider(url, provider):
    assert provider_of(url) == provider


# Hosts that the providers document and genai-prices has no pattern for.
UNPATTERNED = {"api.together.ai"}


def test_the_table_of_hosts_agrees_with_genai_prices():
    """Each host fits the pattern of its provider there, and each provider there has a host."""
    from genai_prices.data import providers

    patterns = {provider.id: provider.api_pattern for provider in providers}
    for suffix, prefix, provider in HOSTS:
        url = f"https://{suffix}{prefix}"
        if provider == "cloudflare":
            url += "1234/ai/v1/chat/completions"
        elif provider in ("databricks", "modal"):
            url = f"https://mine.{suffix}/serving-endpoints"
        assert provider_of(url) == provider
        if suffix not in UNPATTERNED:
            assert re.match(patterns[provider], url), url
    named = {provider for _, _, provider in HOSTS} | {"aws"}
    # Cursor serves no model API; "openai-decisions" is OpenAI's own host.
    assert set(patterns) - named == {"cursor", "openai-decisions"}
    assert re.match(patterns["aws"], "https://bedrock-runtime.us-east-1.amazonaws.com/")


@pytest.mark.parametrize(
    ("url", "model"),
    [
        ("/model/us.amazon.nova-micro-v1%3A0/converse", "us.amazon.nova-micro-v1:0"),
        ("/model/arn%3Aaws%3Ap%2Fx/invoke-with-response-stream", "arn:aws:p/x"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash"),
        ("/publishers/anthropic/models/claude-4@20250514:rawPredict", "claude-4@20250514"),
        ("/openai/deployments/gpt-4o-mine/chat/completions?api-version=1", "gpt-4o-mine"),
        ("/v1/responses", None),
    ],
)
def test_a_url_may_name_the_model(url, model):
    assert model_of(url) == model
