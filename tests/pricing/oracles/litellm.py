"""Reads the table of litellm, `model_prices_and_context_window_backup.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from pricing.oracles.table import Row, Steps, Table
from tallystick.pricing.names import PROVIDER_NAMES

PROVIDERS = {
    **PROVIDER_NAMES,
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "bigmodel": "zhipuai",
    "cohere_chat": "cohere",
    "fireworks_ai": "fireworks",
    "fireworks_ai-embedding-models": "fireworks",
    "github_copilot": "github-copilot",
    "text-completion-openai": "openai",
    "voyage": "voyageai",
}
"""Tallystick's names of litellm's providers."""

DBU_ROUNDING = Fraction(7, 100) * Fraction(1, 2 * 10**9)
"""litellm has the rates of Databricks in DBU, to nine decimals, and makes USD of them at $0.07."""

_KEYS = {
    "input_cost_per_token": "input_tokens",
    "output_cost_per_token": "output_tokens",
    "cache_read_input_token_cost": "cache_read_tokens",
    "cache_creation_input_token_cost": "cache_write_tokens",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_tokens",
    "input_cost_per_audio_token": "input_audio_tokens",
    "output_cost_per_audio_token": "output_audio_tokens",
    "output_cost_per_reasoning_token": "output_reasoning_tokens",
    "input_cost_per_request": "requests",
}

_KEY = re.compile(
    rf"({'|'.join(sorted(_KEYS, key=len, reverse=True))})"
    r"(?:_above_(\d+)k_tokens)?(?:_(batches|flex|priority))?"
)


def read(path: Path) -> Table:
    """Read the table.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON.
    """
    return parse(json.loads(path.read_text("utf-8"), parse_float=Decimal))


def parse(data: Mapping[str, Any]) -> Table:
    """Return the table of litellm's JSON, whose floats were read as Decimal."""
    return Table("litellm", _rows(data))


def _rows(data: Mapping[str, Any]) -> Iterator[Row]:
    for name, entry in data.items():
        if entry.get("input_cost_per_token") is None or "litellm_provider" not in entry:
            # Charged by the image, the second or the page.
            continue
        provider = entry["litellm_provider"]
        rates, tiers = _rates(entry)
        fees = {
            size: Fraction(fee)
            for size, fee in (entry.get("search_context_cost_per_query") or {}).items()
        }
        if fees:
            medium = fees.get("search_context_size_medium", next(iter(fees.values())))
            rates["web_searches"] = Steps(medium)
        elif "input_cost_per_query" in entry:
            rates["web_searches"] = Steps(Fraction(entry["input_cost_per_query"]))
        yield Row(
            name,
            "google" if provider.startswith("vertex_ai") else PROVIDERS.get(provider, provider),
            _served_name(name, provider),
            rates,
            tiers,
            frozenset(fees.values()),
            source=entry.get("source") or "",
            rounding=DBU_ROUNDING if "input_dbu_cost_per_token" in entry else Fraction(0),
        )


def _rates(entry: Mapping[str, Any]) -> tuple[dict[str, Steps], dict[str, dict[str, Steps]]]:
    """Return the standard rates of a row, and those of each service tier."""
    found: dict[str, dict[str, dict[int, Fraction]]] = {}
    for key, value in entry.items():
        match = _KEY.fullmatch(key)
        if match is None or value is None:
            continue
        unit, above, tier = _KEYS[match[1]], int(match[2] or 0) * 1000, match[3] or ""
        found.setdefault(tier, {}).setdefault(unit, {})[above] = Fraction(value)
    read = {
        "batch" if tier == "batches" else tier: {
            unit: Steps(steps[0], tuple(sorted(step for step in steps.items() if step[0])))
            for unit, steps in units.items()
            if 0 in steps
        }
        for tier, units in found.items()
    }
    return read.pop(""), read


def _served_name(name: str, provider: str) -> str:
    family = provider.partition("-")[0]
    prefixes = {provider, family, family.removesuffix("_converse"), "azure", "bedrock"}
    vendor, slash, rest = name.partition("/")
    return rest if slash and vendor in prefixes else name
