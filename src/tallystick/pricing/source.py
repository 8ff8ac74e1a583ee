"""Reads the data of genai-prices into a book's own plain form.

The only module that knows genai-prices. It reads the data that is installed, never the
process-wide snapshot, which its own updater may replace while a program runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

FORMAT = 2
"""The version of the form that `read` gives; a change of it makes cached books stale."""


def installed() -> str | None:
    """Name the installed data without importing it, or None where that cannot be told.

    Another version, or another installation of it, has another name.
    """
    spec = find_spec("genai_prices")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("data.py")
    try:
        stat = path.stat()
    except OSError:
        return None
    return f"{FORMAT} {path} {stat.st_size} {stat.st_mtime_ns}"


def read(providers: Iterable[Any] | None = None) -> dict[str, Any]:
    """Return data of genai-prices in the JSON-safe form that `Book` takes.

    Args:
        providers: its providers; None for those that are installed. Importing these takes about
            200 ms, once in a process.

    Raises:
        ImportError: genai-prices is not installed.
        ValueError: its data has a form that this version does not know.
    """
    if providers is None:
        from genai_prices.data import providers as installed_providers

        providers = installed_providers
    return {"format": FORMAT, "providers": [_provider(provider) for provider in providers]}


def fetch(url: str | None = None) -> dict[str, Any]:
    """Fetch the newest data by genai-prices' own updater; the form is that of `read`.

    The only thing here that talks to a network, and it does only when it is called.

    Args:
        url: where from; None for where genai-prices publishes it.

    Raises:
        ImportError: genai-prices is not installed.
        Exception: whatever its HTTP client and its reading of the data raise.
    """
    from genai_prices import update_prices

    # `fetch` alone replaces nothing in the process, unlike `start`.
    snapshot = update_prices.UpdatePrices(url=url or update_prices.DEFAULT_UPDATE_URL).fetch()
    if snapshot is None:
        raise ValueError("the updater returned no data")
    return read(snapshot.providers)


def _provider(provider: Any) -> dict[str, Any]:
    return {
        "id": provider.id,
        "fallback": list(provider.fallback_model_providers or ()),
        "models": [_model(provider.id, model) for model in provider.models],
    }


def _model(provider: str, model: Any) -> dict[str, Any]:
    prices = model.prices
    if isinstance(prices, list):
        dated = [[_constraint(price.constraint), _prices(price.prices)] for price in prices]
    else:
        dated = [[None, _prices(prices)]]
    read: dict[str, Any] = {"id": model.id, "match": _clause(model.match), "prices": dated}
    if model.context_window is not None:
        read["context_window"] = model.context_window
    if model.price_variants:
        read["variants"] = [
            [dict(variant.when), _constraint(variant.constraint), _prices(variant.prices)]
            for variant in model.price_variants
        ]
    if provider == "groq" and model.id in {"whisper-large-v3", "whisper-large-v3-turbo"}:
        # In genai-prices this rule is code (`ModelInfo.calc_price`): Groq bills ten seconds at
        # the least.
        read["minimums"] = {"audio_seconds": 10, "input_audio_seconds": 10}
    return read


def _prices(prices: Any) -> dict[str, Any]:
    return {
        key: _price(value)
        for key, value in vars(prices).items()
        if value is not None and not key.startswith("_")
    }


def _price(price: Any) -> Any:
    if isinstance(price, Decimal):
        return format(price.normalize(), "f")
    return [_price(price.base), [[tier.start, _price(tier.price)] for tier in price.tiers]]


def _constraint(constraint: Any) -> Any:
    if constraint is None:
        return None
    if hasattr(constraint, "start_date"):
        return ["from", constraint.start_date.isoformat()]
    return ["daily", _utc(constraint.start_time), _utc(constraint.end_time)]


def _utc(time: Any) -> str:
    """Return a time of day as ``HH:MM:SS`` UTC; one without a zone is in UTC."""
    moment = datetime.combine(date(2000, 1, 1), time)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.time().isoformat("seconds")


_CLAUSES = ("starts_with", "ends_with", "contains", "regex", "equals")


def _clause(clause: Any) -> list[Any]:
    for name in _CLAUSES:
        if hasattr(clause, name):
            return [name, getattr(clause, name)]
    for name in ("or", "and"):
        if hasattr(clause, f"{name}_"):
            return [name, [_clause(part) for part in getattr(clause, f"{name}_")]]
    raise ValueError(f"genai-prices matches models by {type(clause).__name__}, which is unknown")
