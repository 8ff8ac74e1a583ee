"""Foreign objects as plain values: what SDKs return, without importing any SDK."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

__all__ = ["plain"]

MAX_DEPTH = 12


def plain(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return an object's fields as a mapping, and the objects inside it likewise.

    Pydantic's models, Google's and Amazon's types, dataclasses and plain objects are understood.
    What is none of these is returned as it is.
    """
    if value is None or isinstance(value, str | int | float | Mapping) or depth == 0:
        return value
    if isinstance(value, list | tuple):
        return [plain(item, depth - 1) for item in value]
    if isinstance(value, type):
        return value
    for name in ("model_dump", "to_dict"):
        dumped = _called(value, name)
        if isinstance(dumped, Mapping):
            return dumped
    if is_dataclass(value):
        return {
            field.name: plain(getattr(value, field.name, None), depth - 1)
            for field in fields(value)
        }
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict) and attributes:
        return {
            name: plain(item, depth - 1)
            for name, item in attributes.items()
            if not name.startswith("_")
        }
    return value


def _called(value: Any, name: str) -> Any:
    method = getattr(value, name, None)
    if not callable(method):
        return None
    try:
        # Pydantic warns of fields that do not fit their types; a provider's novelty is no fault
        # of the user's.
        return method(warnings=False) if name == "model_dump" else method()
    except TypeError:
        pass
    except Exception:  # noqa: BLE001 - a foreign object's method may raise anything
        return None
    try:
        return method()
    except Exception:  # noqa: BLE001 - the same
        return None
