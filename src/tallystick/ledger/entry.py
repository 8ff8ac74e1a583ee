"""A `RequestUsage` as the columns of its row, and back.

What reports select, group and sum by has a column. What else the record says (rarer details,
tools, modifiers, anomalies) is one JSON object in `rest`, so that a field that `RequestUsage`
gains is kept from the day it is there. A count that the provider did not give is NULL.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from tallystick.clock import nanoseconds, timestamp
from tallystick.errors import LedgerError
from tallystick.usage import Record, RequestUsage

_TEXTS = (
    "provider",
    "model",
    "requested_model",
    "agent",
    "response_id",
    "outcome",
    "error_type",
    "service_tier",
    "customer",
    "user",
    "project",
    "session",
    "price_book",
    "price_rule",
    "price_reason",
    "provider_cost",
    "provider_cost_currency",
)
_NUMBERS = ("turn", "cost_nanodollars")
_FLAGS = ("cost_estimated", "estimated")
_COUNTS = ("input_tokens", "output_tokens", "total_tokens")
_DETAILS = (
    ("cached_tokens", "input_tokens_details", "cached_tokens"),
    ("cache_write_tokens", "input_tokens_details", "cache_write_tokens"),
    ("input_audio_tokens", "input_tokens_details", "audio_tokens"),
    ("reasoning_tokens", "output_tokens_details", "reasoning_tokens"),
    ("output_audio_tokens", "output_tokens_details", "audio_tokens"),
)
"""Column, the record's details object, and the name of the count in it."""

_PLAIN = (*_TEXTS, *_NUMBERS, *_FLAGS, *_COUNTS)
"""What is called in the row as it is called in the record."""

CHANGING = (*_PLAIN, *(column for column, _, _ in _DETAILS), "tags", "rest")
"""The columns that finishing an entry writes anew."""

COUNT_COLUMNS = (*_COUNTS, *(column for column, _, _ in _DETAILS), "cost_nanodollars")
"""The columns that hold a count or NULL."""

READING = ("id", "run_id", "status", "started_at", "started_text", "duration", *CHANGING)
"""The columns that `decode` reads."""

_ELSEWHERE = frozenset(
    {*_PLAIN, "id", "run_id", "status", "started_at", "duration", "tags"}
    | {details for _, details, _ in _DETAILS}
)
_OF_DETAILS = {
    details: frozenset(name for _, owner, name in _DETAILS if owner == details)
    for details in ("input_tokens_details", "output_tokens_details")
}
_EMPTY = Record()
_MAX_TEXT = 128
_MAX_ITEMS = 64
_MAX_DEPTH = 6
_MAX_RAW_USAGE = 16_384
_LONG_TEXT = re.compile(rf'"(?:[^"\\]|\\.){{{_MAX_TEXT + 1},}}"')
_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_strictly = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def encode(entry: RequestUsage, duration_nanoseconds: int | None) -> list[Any]:
    """Return the values of the columns `CHANGING`."""
    record = entry.record
    get = record.get
    row = [get(name) for name in _PLAIN]
    row += [record[details].get(name) for _, details, name in _DETAILS]
    tags = get("tags")
    row.append(None if tags is None else _json(tags))
    rest: dict[str, Any] = {name: record[name] for name in record.keys() - _ELSEWHERE}
    for details, names in _OF_DETAILS.items():
        rare = record[details].keys() - names
        if rare:
            rest[details] = {name: record[details][name] for name in rare}
    seconds = get("duration")
    if seconds is not None and (
        duration_nanoseconds is None or seconds != duration_nanoseconds / 1e9
    ):
        rest["duration"] = seconds
    row.append(_json(rest) if rest else None)
    return row


def storable(row: Sequence[Any]) -> list[Any]:
    """Return a row without lone surrogates: an odd model name must not cost the entry."""
    return [
        value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for value in row
    ]


def decode(row: Sequence[Any]) -> RequestUsage:
    """Return the entry that a row of the columns `READING` holds.

    It equals the one that was written, field for field, and always has its `status` and
    `started_at`.
    """
    values = dict(zip(READING, row, strict=True))
    rest = values["rest"]
    record: dict[str, Any] = {} if rest is None else json.loads(rest)
    for name, value in record.items():
        if isinstance(value, dict):
            record[name] = Record(value)
    for name in ("id", "run_id", "status", *_TEXTS, *_NUMBERS):
        if values[name] is not None:
            record[name] = values[name]
    for name in _FLAGS:
        if values[name] is not None:
            record[name] = bool(values[name])
    for name in _COUNTS:
        record[name] = values[name]
    for details in _OF_DETAILS:
        counts = dict(record.get(details, _EMPTY))
        counts.update(
            (name, values[column])
            for column, owner, name in _DETAILS
            if owner == details and values[column] is not None
        )
        record[details] = Record(counts)
    if values["tags"] is not None:
        record["tags"] = Record(json.loads(values["tags"]))
    text = values["started_text"]
    record["started_at"] = timestamp(values["started_at"]).isoformat() if text is None else text
    if values["duration"] is not None and "duration" not in record:
        record["duration"] = values["duration"] / 1e9
    # The constructor would read the counts again, and find a total where the provider gave a
    # wrong one; the record is known to be clean.
    return RequestUsage._of(Record(record))


def started_moment(entry: RequestUsage) -> tuple[str | None, int | None]:
    """Return the record's own text for when it was sent, and the nanoseconds that it names.

    The nanoseconds are None where the text names no moment, or names it in another way than
    `timestamp` would: only then does the row have to keep the text.
    """
    return _moment(entry.record.get("started_at"))


# A request is written when it is held and when it ends, mostly soon after.
@lru_cache(maxsize=1024)
def _moment(text: str | None) -> tuple[str | None, int | None]:
    if text is None:
        return None, None
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return str(text), None
    if moment.tzinfo is not UTC or moment.isoformat() != text:
        return text, None
    return text, nanoseconds(moment)


def encode_raw_usage(raw: Mapping[str, Any] | None) -> str | None:
    """Return a provider's usage block as JSON, or None where there is none.

    A usage block is numbers and short names. Anything longer or deeper is replaced by a note
    of what was left out, so that whatever a server puts there, no text of a prompt or an
    answer gets into the ledger.
    """
    if raw is None:
        return None
    try:
        text = _encode_strictly(raw)
    except (TypeError, ValueError, RecursionError):
        text = None
    if text is None or len(text) > _MAX_RAW_USAGE or _has_long_text(text):
        text = _encode(_bounded(raw, 0))
    if len(text) > _MAX_RAW_USAGE:
        return _encode({"left_out": f"{len(text)} characters"})
    return text


def _has_long_text(text: str) -> bool:
    # Between two quotation marks there is at most what a text holds, so that most blocks need no
    # closer look.
    if "\\" not in text and max(map(len, text.split('"'))) <= _MAX_TEXT:
        return False
    return _LONG_TEXT.search(text) is not None


def _bounded(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"<{len(value)} characters left out>"
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            return {
                str(key)[:_MAX_TEXT]: _bounded(item, depth + 1)
                for key, item in list(value.items())[:_MAX_ITEMS]
            }
        if isinstance(value, list | tuple):
            return [_bounded(item, depth + 1) for item in value[:_MAX_ITEMS]]
    return f"<{type(value).__name__} left out>"


def _json(value: Any) -> str:
    try:
        return _encode(value)
    except (TypeError, ValueError) as error:
        raise LedgerError(f"the entry holds what cannot be written as JSON: {error}") from error
