"""Counts: what can be one, the named parts of a token count, and records that cannot be changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Self

MAX_COUNT = 10**15
"""The largest count that is believed. It leaves room to add nine thousand of them in 64 bits."""

INPUT_DETAILS = (
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "text_tokens",
    "audio_tokens",
    "image_tokens",
    "video_tokens",
    "cached_text_tokens",
    "cached_audio_tokens",
    "cached_image_tokens",
    "cached_video_tokens",
)
"""The parts of `input_tokens` that have names; each is included in it."""

OUTPUT_DETAILS = (
    "reasoning_tokens",
    "text_tokens",
    "audio_tokens",
    "image_tokens",
    "video_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
)
"""The parts of `output_tokens` that have names; each is included in it."""


def count(value: Any) -> int | None:
    """Return a provider's or caller's number as a count, or None where it cannot be one.

    A whole number from 0 to 10¹⁵ is a count, also when written as text or as a float.
    Everything else (None, a negative or absurd number, a bool, other text) is unknown.
    """
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if 0 <= value <= MAX_COUNT and value.is_integer() else None
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_COUNT)):
            return count(int(text))
        return None
    if isinstance(value, int):
        return count(int(value))
    return None


def shown(value: Any) -> str:
    """Return a short form of a value that cannot be what it should be, for an anomaly.

    Of containers and long text only the kind is shown: a reading holds no text content.
    """
    if isinstance(value, bool | float) or value is None:
        return repr(value)
    if isinstance(value, int):
        # The decimal form of an absurd number costs time, and past some size raises.
        return str(value) if -(10**20) < value < 10**20 else "an absurd number"
    if isinstance(value, str) and len(value) <= 24:
        return repr(value)
    return f"({type(value).__name__})"


class Record(dict[str, Any]):
    """A JSON-safe dict that cannot be changed, so that it can be shared without being copied."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a record cannot be changed; dict(record) is a copy that can")

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (Record, (dict(self),))

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: _thawed(value) for key, value in self.items()}


def _thawed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _thawed(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value


def read_counts(
    details: Any, names: Sequence[str], anomalies: list[str] | None = None
) -> dict[str, int]:
    """Return the known counts of a details object: a mapping, one of openai's types, or None."""
    if details is None:
        return {}
    if isinstance(details, TokensDetails):
        return details._counts.copy()
    if isinstance(details, list | tuple):
        # The Agents SDK serialises details as a list of one.
        return read_counts(details[0], names, anomalies) if details else {}
    values = details if isinstance(details, Mapping) else _attributes(details, names)
    counts: dict[str, int] = {}
    for name in names:
        value = values.get(name)
        if value is None:
            continue
        known = count(value)
        if known is not None:
            counts[name] = known
        elif anomalies is not None:
            anomalies.append(f"{name}: {shown(value)}")
    return counts


def _attributes(details: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the attributes of an object as a mapping.

    Asking a pydantic object for an attribute that it lacks is slow, and most are lacking, so its
    fields are read where it keeps them.
    """
    fields = getattr(details, "__pydantic_fields_set__", None)
    if fields is None:
        return {name: getattr(details, name, None) for name in names}
    extra = details.__pydantic_extra__
    return {**details.__dict__, **extra} if extra else vars(details)


class TokensDetails:
    """The named parts of a token count: attributes that are counts, or None where unknown."""

    __slots__ = ("_counts",)
    _names: tuple[str, ...] = ()
    _counts: dict[str, int]

    def __init__(self, **counts: Any) -> None:
        unknown = counts.keys() - set(self._names)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        object.__setattr__(self, "_counts", read_counts(counts, self._names))

    @classmethod
    def _of(cls, counts: dict[str, int]) -> Self:
        self = object.__new__(cls)
        object.__setattr__(self, "_counts", counts)
        return self

    def __getattr__(self, name: str) -> int | None:
        if name in type(self)._names:
            return self._counts.get(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def model_dump(self, **_: object) -> dict[str, int]:
        """Return the known counts by name, as openai's own details objects do."""
        return self._counts.copy()

    def __eq__(self, other: object) -> bool:
        names = self._names
        if isinstance(other, TokensDetails):
            return type(self) is type(other) and same_counts(self._counts, other._counts)
        if isinstance(other, Mapping) or hasattr(other, names[0]):
            return same_counts(self._counts, read_counts(other, names))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self)._of, (self._counts.copy(),))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in self._counts.items())
        return f"{type(self).__name__}({shown})"


def same_counts(left: Mapping[str, int], right: Mapping[str, int]) -> bool:
    """Compare known counts. A sum in which nothing was reported equals one of zero."""
    return all(left.get(name, 0) == right.get(name, 0) for name in left.keys() | right.keys())


class InputTokensDetails(TokensDetails):
    """The named parts of `input_tokens`, each included in it; see `INPUT_DETAILS`.

    `cached_tokens` were read from a cache; `cache_write_tokens` were written to one, of which
    `cache_write_5m_tokens` and `cache_write_1h_tokens` for so long; text, audio, image and video
    tokens are the modalities, `cached_…` their cached parts.
    """

    __slots__ = ()
    _names = INPUT_DETAILS


class OutputTokensDetails(TokensDetails):
    """The named parts of `output_tokens`, each included in it; see `OUTPUT_DETAILS`."""

    __slots__ = ()
    _names = OUTPUT_DETAILS
