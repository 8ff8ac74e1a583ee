"""Whom and what a request is for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

_logger = logging.getLogger("tallystick")

_NO_TAGS: Mapping[str, str] = MappingProxyType({})

NAMES = ("customer", "user", "project", "session")
"""The attributions that have columns of their own; anything else is a tag."""

RESERVED = frozenset(
    {"agent", "model", "provider", "turn", "id", "run", "run_id", "status", "cost", "requests"}
)
"""What a request knows of itself. A tag of such a name would answer for it in reports."""

MAX_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whom and what requests are for: `customer`, `user`, `project`, `session` and free tags.

    None means that nobody said. Values are text of at most 256 characters.
    """

    customer: str | None = None
    user: str | None = None
    project: str | None = None
    session: str | None = None
    tags: Mapping[str, str] = field(default_factory=lambda: _NO_TAGS)

    def with_values(self, values: Mapping[str, Any]) -> Attribution:
        """Return this attribution with `values` laid over it.

        None takes a value away. A name that is not a field is a tag. What cannot be used (a
        reserved name, a value that is no text, number or None) is left out with a warning in
        the log: an attribution never stops the run that it describes.
        """
        if not values:
            return self
        fields: dict[str, str | None] = {name: getattr(self, name) for name in NAMES}
        tags = dict(self.tags)
        for name, value in values.items():
            if name == "tags" and isinstance(value, Mapping):
                nested = {str(key): item for key, item in value.items()}
                tags.update(self.with_values(nested).tags)
                continue
            try:
                text = clean(name, value)
            except ValueError as error:
                _logger.warning("tallystick: attribution left out: %s", error)
                continue
            if name in fields:
                fields[name] = text
            elif text is None:
                tags.pop(name, None)
            else:
                tags[name] = text
        return Attribution(**fields, tags=MappingProxyType(tags) if tags else _NO_TAGS)

    def get(self, name: str) -> str | None:
        """Return the value of a field or a tag, or None."""
        if name in NAMES:
            value: str | None = getattr(self, name)
            return value
        return self.tags.get(name)

    def __bool__(self) -> bool:
        return self != _NOBODY


def clean(name: str, value: Any) -> str | None:
    """Return an attribution's value as text, shortened to 256 characters.

    Raises:
        ValueError: the name is reserved or empty, or the value is no text, whole number or None.
    """
    if not name or name in RESERVED:
        raise ValueError(f"{name!r} is what a request knows of itself; choose another name")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{name}={value!r} is no text or whole number")  # noqa: TRY004
    # NUL ends a text for some readers of the ledger, and lone surrogates cannot be stored.
    text = str(value).replace("\0", "").encode("utf-8", "replace").decode()
    return text[:MAX_LENGTH]


_NOBODY = Attribution()
