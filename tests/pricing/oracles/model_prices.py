"""Reads the table of model-prices, `snapshot.json`: the history of models.dev, corrected."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from pricing.oracles.table import Rates, Row, Steps, Table
from tallystick.pricing.names import PROVIDER_NAMES

_KEYS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cache_read": "cache_read_tokens",
    "cache_write": "cache_write_tokens",
}

_MILLION = 1_000_000


def read(path: Path, at: datetime) -> Table:
    """Read the table as it is at a moment.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no JSON, or of another version.
    """
    return parse(json.loads(path.read_text("utf-8"), parse_float=Decimal), at)


def parse(data: Mapping[str, Any], at: datetime) -> Table:
    """Return the table of a snapshot whose floats were read as Decimal.

    Raises:
        ValueError: the snapshot is of another version.
    """
    if data["schema"] != 1:
        raise ValueError(f"a snapshot of model-prices of schema {data['schema']}; 1 is known")
    return Table("model-prices", _rows(data["prices"], at))


def _rows(prices: Mapping[str, Any], at: datetime) -> Iterator[Row]:
    for provider, models in prices.items():
        for model, timelines in models.items():
            passed = _until(timelines["standard"], at)
            if not passed or passed[0]["rates"] is None:
                continue
            now, *before = [entry["rates"] for entry in passed if entry["rates"] is not None]
            batch = _until(timelines.get("batch", ()), at)
            tiers = {"batch": _rates(batch[0]["rates"])} if batch and batch[0]["rates"] else {}
            yield Row(
                f"{provider}/{model}",
                PROVIDER_NAMES.get(provider, provider),
                model,
                _rates(now),
                tiers,
                earlier=tuple(_rates(rates) for rates in before),
                source=f"{now['source']}, {now['valid_from']}",
            )


def _until(intervals: Any, at: datetime) -> list[Any]:
    """Return the intervals that have begun, the one that holds first."""
    starts = [datetime.fromisoformat(interval["start"]) for interval in intervals[1:]]
    return list(reversed(intervals[: bisect_right(starts, at) + 1]))


def _rates(entry: Mapping[str, Any]) -> Rates:
    """Return rates as the package applies them; an hour's cache write is a multiple of input."""
    tiers = sorted(entry.get("tiers", ()), key=lambda tier: tier["above"])
    rates = {}
    for key, unit in _KEYS.items():
        if entry.get(key) is not None:
            above = [(tier["above"], _exact(tier[key])) for tier in tiers if key in tier]
            rates[unit] = Steps(_exact(entry[key]), tuple(above))
    multiple = entry.get("cache_write_1h_multiple")
    if multiple is not None:
        factor = Fraction(multiple)
        sent = rates["input_tokens"]
        rates["cache_write_1h_tokens"] = Steps(
            sent.base * factor,
            tuple((threshold, rate * factor) for threshold, rate in sent.above),
        )
    return rates


def _exact(per_million: Any) -> Fraction:
    return Fraction(per_million) / _MILLION
