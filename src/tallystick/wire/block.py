"""A provider's usage block: cleaned for keeping, and merged over a stream's events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

from tallystick.usage import count

__all__ = ["argument_length", "clean", "merged", "utf8_length"]

MAX_DEPTH = 6
MAX_ITEMS = 64
MAX_TEXT = 80
"""Usage blocks name tiers and places; longer text is content, which is not kept."""


def clean(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a JSON-safe copy of a usage block, bounded in size, without long text.

    Numbers are kept as they came where JSON can carry them, so that the block can be read again;
    what it cannot carry (NaN, numbers past any size) becomes its name.
    """
    if isinstance(value, str):
        # Of an enumeration that is text, only the text.
        return str.__str__(value) if len(value) <= MAX_TEXT else "(text left out)"
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(10**30) < value < 10**30 else "(an absurd number)"
    if isinstance(value, float):
        return value if isfinite(value) else repr(value)
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        return {
            str(key)[:MAX_TEXT]: clean(item, depth - 1)
            for key, item in list(value.items())[:MAX_ITEMS]
        }
    if isinstance(value, list | tuple):
        return [clean(item, depth - 1) for item in value[:MAX_ITEMS]]
    return f"({type(value).__name__})"


def merged(known: dict[str, Any] | None, block: Any) -> dict[str, Any] | None:
    """Return `known` with what a later usage block adds: of each field the largest value.

    Streams repeat their usage, cumulatively or in parts; a field that a later block leaves out,
    or gives as null, stays what it was.
    """
    if not isinstance(block, Mapping):
        return known
    addition: dict[str, Any] = clean(block)
    return addition if known is None else _merge(known, addition)


def _merge(known: dict[str, Any], addition: dict[str, Any]) -> dict[str, Any]:
    result = known.copy()
    for name, later in addition.items():
        earlier = result.get(name)
        if isinstance(earlier, dict) and isinstance(later, dict):
            result[name] = _merge(earlier, later)
        elif earlier is None or _supersedes(later, earlier):
            result[name] = later
    return result


def _supersedes(later: Any, earlier: Any) -> bool:
    if later is None:
        return False
    if isinstance(earlier, int | float) and not isinstance(earlier, bool):
        if isinstance(later, int | float) and not isinstance(later, bool):
            return later > earlier
        # What is no number does not displace one.
        return count(earlier) is None and count(later) is not None
    if isinstance(earlier, dict | list):
        # An empty list or another kind of value says less than what was there.
        return isinstance(later, type(earlier)) and bool(later)
    return True


def utf8_length(value: Any) -> int:
    """Return the UTF-8 length of a text in bytes, 0 for what is no text."""
    if not isinstance(value, str):
        return 0
    # JSON may hold lone surrogates, which strict UTF-8 has no bytes for.
    return len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass"))


def argument_length(value: Any) -> int:
    """Return about how long a tool's arguments were as text, where they come decoded."""
    if not value or isinstance(value, str):
        return utf8_length(value)
    try:
        return len(json.dumps(value, ensure_ascii=False, default=lambda _: None))
    except (ValueError, TypeError, RecursionError):
        # Numbers past any size, keys that are no text, circles: nothing that was on a wire.
        return 0
