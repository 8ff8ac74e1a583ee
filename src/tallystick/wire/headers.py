"""What a response's headers say about its usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tallystick.usage import count
from tallystick.wire.block import merged
from tallystick.wire.reading import Reading, text

__all__ = ["header", "take_headers"]

# Bedrock's headers, by the names that the metrics at the end of its streams have.
BEDROCK: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
}


def header(headers: Mapping[str, Any] | None, name: str) -> str | None:
    """Return a header's value, whatever case its name is in."""
    if not headers:
        return None
    value = headers.get(name)
    if value is None:
        value = next((v for k, v in headers.items() if str(k).lower() == name), None)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) else None


def take_headers(reading: Reading, api: str, headers: Mapping[str, Any] | None) -> None:
    """Read the headers of an API that says something in them."""
    if api.startswith("gemini."):
        tier = text(header(headers, "x-gemini-service-tier"))
        if tier is not None:
            reading.service_tier = tier.lower()
    elif api.startswith("bedrock."):
        metrics: dict[str, int] = {}
        for name, metric in BEDROCK.items():
            # A header is text, so digits in it are no anomaly.
            number = count(header(headers, name))
            if number is not None:
                metrics[metric] = number
        if metrics:
            reading.raw_usage = merged(reading.raw_usage, {"invocationMetrics": metrics})
