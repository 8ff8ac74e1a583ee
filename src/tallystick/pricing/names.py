"""The names that providers and models go by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

PROVIDER_NAMES = {
    "aws.bedrock": "aws",
    "bedrock": "aws",
    "amazon-bedrock": "aws",
    "amazon_bedrock": "aws",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure-openai": "azure",
    "azure_openai": "azure",
    "az.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.vertex_ai": "google",
    "gcp.gen_ai": "google",
    "gemini": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "together_ai": "together",
    "together-ai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "grok": "x-ai",
}
"""Other names of the book's providers, from OpenTelemetry and the hosts. The data's own rule (any
name that contains ``openai`` is OpenAI) is not used: a gateway called ``local-openai`` is not."""

_COMPACT_DATE = re.compile(r"-(20\d{2})(\d{2})(\d{2})(?=-|:|$)")

_RESOURCE = re.compile(
    r"(?:projects/.+/)?(?:publishers/[^/]+/)?models/([^/]+)"
    r"|arn:aws[^:]*:bedrock:[^/]+:(?:foundation-model|inference-profile)/(.+)"
)
"""Google's resource names, and the ARNs that say which model they are. An ARN of an application
inference profile does not; the user's aliases say it."""


def spellings(name: str, provider: str) -> Iterator[str]:
    """Yield the names under which to look for a provider's model, in lower case.

    The name itself; a compact date in it written out (``-20251211`` as ``-2025-12-11``); the
    model that a resource name or an ARN ends in; the name without the provider's own before it,
    as gateways write it (``openai/gpt-5``).
    """
    asked = name.strip().lower()
    candidates = [asked, _dashed(asked)]
    resource = _RESOURCE.fullmatch(asked)
    if resource is not None:
        candidates.append(resource.group(1) or resource.group(2))
    vendor, slash, rest = asked.partition("/")
    if slash and PROVIDER_NAMES.get(vendor, vendor) == provider:
        candidates += [rest, _dashed(rest)]
    yield from dict.fromkeys(candidates)


def _dashed(name: str) -> str:
    def replace(match: re.Match[str]) -> str:
        try:
            return f"-{date(*map(int, match.groups())).isoformat()}"
        except ValueError:
            return match.group(0)

    return _COMPACT_DATE.sub(replace, name)
