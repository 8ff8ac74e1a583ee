"""Which API a URL belongs to, and which provider serves it."""

from __future__ import annotations

import re
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

__all__ = ["API", "identify", "model_of", "provider_of"]

API = Literal[
    "openai.responses",
    "openai.responses.compact",
    "openai.chat",
    "openai.completions",
    "openai.embeddings",
    "anthropic.messages",
    "gemini.generate",
    "gemini.embed",
    "bedrock.converse",
    "bedrock.converse-stream",
    "bedrock.invoke",
    "bedrock.invoke-stream",
    "cohere.chat",
    "cohere.embed",
    "ollama.chat",
    "ollama.generate",
    "ollama.embed",
]
"""The families of model requests, by what their bodies look like, whoever serves them."""

# Tried in order, on the end of the path. Hosts put what they like before it.
PATHS: Final[tuple[tuple[str, API], ...]] = (
    (r"/responses/compact$", "openai.responses.compact"),
    (r"/responses$", "openai.responses"),
    (r"/chat/completions$", "openai.chat"),
    (r"/completions$", "openai.completions"),
    (r"/api/embed(dings)?$", "ollama.embed"),
    (r"/embeddings$", "openai.embeddings"),
    (r"/v1/messages$", "anthropic.messages"),
    (r"/publishers/anthropic/models/[^/]+:(streamR|r)awPredict$", "anthropic.messages"),
    (r"/[^/]+:(streamG|g)enerateContent$", "gemini.generate"),
    (r"/[^/]+:(embedContent|batchEmbedContents)$", "gemini.embed"),
    (r"/model/.+/converse$", "bedrock.converse"),
    (r"/model/.+/converse-stream$", "bedrock.converse-stream"),
    (r"/model/.+/invoke$", "bedrock.invoke"),
    (r"/model/.+/invoke-with-response-stream$", "bedrock.invoke-stream"),
    (r"/v[12]/chat$", "cohere.chat"),
    (r"/v[12]/embed$", "cohere.embed"),
    (r"/api/chat$", "ollama.chat"),
    (r"/api/generate$", "ollama.generate"),
)
COMPILED: Final = tuple((re.compile(pattern), api) for pattern, api in PATHS)

# The end of a host's name, what its path begins with ("" for any), and the provider's name in
# genai-prices. Of several, the first that fits.
HOSTS: Final[tuple[tuple[str, str, str], ...]] = (
    ("api.openai.com", "", "openai"),
    ("openai.azure.com", "", "azure"),
    ("azure-api.net", "", "azure"),
    ("cognitiveservices.azure.com", "", "azure"),
    ("services.ai.azure.com", "", "azure"),
    ("api.anthropic.com", "", "anthropic"),
    ("googleapis.com", "", "google"),
    ("api.cohere.com", "", "cohere"),
    ("api.cohere.ai", "", "cohere"),
    ("api.groq.com", "", "groq"),
    ("api.mistral.ai", "", "mistral"),
    ("api.deepseek.com", "", "deepseek"),
    ("openrouter.ai", "", "openrouter"),
    ("api.x.ai", "", "x-ai"),
    ("api.perplexity.ai", "", "perplexity"),
    ("api.cerebras.ai", "", "cerebras"),
    ("api.fireworks.ai", "", "fireworks"),
    ("api.together.xyz", "", "together"),
    ("api.together.ai", "", "together"),
    ("api.moonshot.ai", "", "moonshotai"),
    ("api.moonshot.cn", "", "moonshotai"),
    ("api.z.ai", "", "zai"),
    ("open.bigmodel.cn", "", "zhipuai"),
    ("api.minimax.io", "", "minimax"),
    ("api.minimaxi.com", "", "minimax"),
    ("api.minimax.com", "", "minimax"),
    ("api.novita.ai", "", "novita"),
    ("api.avian.io", "", "avian"),
    ("api.arcee.ai", "", "arcee"),
    ("inference.baseten.co", "", "baseten"),
    ("api.cloudflare.com", "/client/v4/accounts/", "cloudflare"),
    ("cloud.databricks.com", "", "databricks"),
    ("azuredatabricks.net", "", "databricks"),
    ("gcp.databricks.com", "", "databricks"),
    ("api.doubleword.ai", "", "doubleword"),
    ("api.githubcopilot.com", "", "github-copilot"),
    ("api.meta.ai", "", "meta"),
    ("modal.run", "", "modal"),
    ("modal.direct", "", "modal"),
    ("oai.endpoints.kepler.ai.cloud.ovh.net", "", "ovhcloud"),
    ("api.quicksilverpro.io", "", "quicksilverpro"),
    ("api.typesafe.ai", "", "typesafe"),
    ("api.voyageai.com", "", "voyageai"),
    ("api.elevenlabs.io", "", "elevenlabs"),
    ("router.huggingface.co", "/cerebras", "huggingface_cerebras"),
    ("router.huggingface.co", "/fireworks-ai", "huggingface_fireworks-ai"),
    ("router.huggingface.co", "/groq", "huggingface_groq"),
    ("router.huggingface.co", "/hyperbolic", "huggingface_hyperbolic"),
    ("router.huggingface.co", "/nebius", "huggingface_nebius"),
    ("router.huggingface.co", "/novita", "huggingface_novita"),
    ("router.huggingface.co", "/nscale", "huggingface_nscale"),
    ("router.huggingface.co", "/ovhcloud", "huggingface_ovhcloud"),
    ("router.huggingface.co", "/publicai", "huggingface_publicai"),
    ("router.huggingface.co", "/sambanova", "huggingface_sambanova"),
    ("router.huggingface.co", "/together", "huggingface_together"),
)

BEDROCK: Final = re.compile(
    r"(^|\.)bedrock(-runtime|-mantle)(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$"
)


def identify(url_or_path: str, *, host: str | None = None, method: str = "POST") -> API | None:
    """Return the API that a request belongs to, or None where it is no request to a model.

    Args:
        url_or_path: the URL, or its path alone.
        host: the host, where `url_or_path` does not name it.
        method: the HTTP method; models are asked with POST only.

    Returns:
        None for lists of models, files, conversations, token counting and whatever else costs
        nothing.
    """
    if method.upper() != "POST":
        return None
    host, path = _parts(url_or_path, host)
    for pattern, api in COMPILED:
        if pattern.search(path):
            return api
    return None


def provider_of(url: str, api: str | None = None) -> str | None:
    """Return the provider at a URL, by its name in genai-prices, or None for an unknown host.

    Args:
        url: the URL of the request.
        api: the request's API. It decides nothing today: whose rates apply is the host's.
    """
    del api
    host, path = _parts(url, None)
    for suffix, prefix, provider in HOSTS:
        if (host == suffix or host.endswith("." + suffix)) and path.startswith(prefix):
            return provider
    return "aws" if BEDROCK.search(host) else None


# Where a path names the model: Bedrock, Gemini and Vertex, an Azure deployment.
MODELS: Final = (
    re.compile(r"/model/(.+)/(?:converse|invoke)(?:-stream|-with-response-stream)?$"),
    re.compile(r"/models/([^/:]+(?:@[^/:]+)?):[A-Za-z]+$"),
    re.compile(r"/deployments/([^/]+)/"),
)


def model_of(url: str) -> str | None:
    """Return the model that a URL names, where the body need not: Bedrock, Gemini, Azure."""
    _, path = _parts(url, None)
    for pattern in MODELS:
        match = pattern.search(path)
        if match is not None:
            return match.group(1)
    return None


def _parts(url_or_path: str, host: str | None) -> tuple[str, str]:
    try:
        url = urlsplit(url_or_path)
        name = url.hostname or host or ""
    except ValueError:
        # Not a URL, such as one with half an IPv6 address.
        return host or "", ""
    return name.lower().rstrip("."), "/" + unquote(url.path).strip("/")
