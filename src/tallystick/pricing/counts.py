"""What there is to charge for in a usage: its counts by unit, made consistent.

Providers contradict themselves. Where the parts of a count are more than the whole, the whole is
taken to be what lies beside them, which is how providers that count exclusively report it, and
the dearest of the readings: a price that is wrong for a provider's mistake is never too small.
Tokens that only the total knows of are taken for output, as reasoning that a provider counts apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tallystick.pricing.units import FREE_TOOLS, INPUT_UNITS, OUTPUT_UNITS, TOOL_UNITS


class Counts(NamedTuple):
    """The counts of one request by unit, wholes including their parts."""

    units: dict[str, int]
    """Counts by the name of their unit; what the provider did not say is absent."""
    reasons: tuple[str, ...]
    """What was contradictory, and how it was read."""
    unknown_tools: tuple[str, ...]
    """Tools that have no unit, each as ``image_generation_call (2)``."""


_CACHE = ("cache_read_tokens", "cache_write_tokens")
_WRITES = ("cache_write_5m_tokens", "cache_write_1h_tokens")
_MODALITIES = ("text", "audio", "image", "video")


def measure(record: Mapping[str, Any]) -> Counts | None:
    """Return the counts of a `RequestUsage.record`, or None where input or output is unknown."""
    if record["input_tokens"] is None or record["output_tokens"] is None:
        return None
    units: dict[str, int] = {"requests": 1}
    reasons: list[str] = []
    for name, number in record["input_tokens_details"].items():
        if name in INPUT_UNITS:
            units[INPUT_UNITS[name]] = number
    for name, number in record["output_tokens_details"].items():
        if name in OUTPUT_UNITS:
            units[OUTPUT_UNITS[name]] = number
    units["input_tokens"] = record["input_tokens"]
    units["output_tokens"] = record["output_tokens"]
    _raise_to_parts(units, "cache_write_tokens", _WRITES, reasons)
    cached_parts = tuple(f"cache_{modality}_read_tokens" for modality in _MODALITIES)
    _raise_to_parts(units, "cache_read_tokens", cached_parts, reasons)
    for modality in _MODALITIES:
        part = f"cache_{modality}_read_tokens"
        _raise_to_parts(units, f"input_{modality}_tokens", (part,), reasons)
    _put_beside(units, "input_tokens", _CACHE, reasons)
    inputs = tuple(f"input_{modality}_tokens" for modality in _MODALITIES)
    _put_beside(units, "input_tokens", inputs, reasons)
    _put_beside(units, "output_tokens", ("output_reasoning_tokens",), reasons)
    outputs = tuple(f"output_{modality}_tokens" for modality in _MODALITIES)
    _put_beside(units, "output_tokens", outputs, reasons)
    _compare_total(record, units, reasons)
    unknown = _count_tools(record, units)
    return Counts(units, tuple(reasons), unknown)


def _compare_total(record: Mapping[str, Any], units: dict[str, int], reasons: list[str]) -> None:
    """Hold the counts against the provider's own total; tokens that it alone knows are output."""
    total = record["total_tokens"]
    if total is None:
        return
    said = record["input_tokens"] + record["output_tokens"]
    surplus = total - units["input_tokens"] - units["output_tokens"]
    if total < said:
        reasons.append(
            f"input and output tokens are {said}, more than the total of {total}; priced as {said}"
        )
    elif surplus > 0:
        units["output_tokens"] += surplus
        reasons.append(
            f"the total of {total} tokens is {surplus} more than input and output; "
            f"the {surplus} are priced as output"
        )


def _raise_to_parts(
    units: dict[str, int], whole: str, parts: tuple[str, ...], reasons: list[str]
) -> None:
    """Make a detail at least the sum of its own parts."""
    total = sum(units[part] for part in parts if part in units)
    known = units.get(whole)
    if total and (known is None or total > known):
        units[whole] = total
        if known is not None:
            names = " and ".join(part for part in parts if part in units)
            reasons.append(f"{names} are {total}, more than {whole} of {known}; priced as {total}")


def _put_beside(
    units: dict[str, int], whole: str, parts: tuple[str, ...], reasons: list[str]
) -> None:
    """Where the parts are more than the whole, count the whole beside them."""
    total = sum(units[part] for part in parts if part in units)
    known = units[whole]
    if total > known:
        units[whole] = known + total
        names = " and ".join(part for part in parts if units.get(part))
        verb = "is" if " and " not in names else "are"
        reasons.append(
            f"{names} {verb} {total}, more than {whole} of {known}; "
            f"priced as if counted beside it, {known + total} in all"
        )


def _count_tools(record: Mapping[str, Any], units: dict[str, int]) -> tuple[str, ...]:
    """Add the tool requests to `units`; return those that have no unit."""
    unknown: list[str] = []
    for name, number in (record.get("tool_requests") or {}).items():
        if not isinstance(number, int) or number <= 0 or name in FREE_TOOLS:
            continue
        unit = TOOL_UNITS.get(name)
        if unit is None:
            unknown.append(f"{name} ({number})")
        else:
            units[unit] = units.get(unit, 0) + number
    if "input_audio_seconds" in units or "output_audio_seconds" in units:
        total = units.get("input_audio_seconds", 0) + units.get("output_audio_seconds", 0)
        units["audio_seconds"] = max(units.get("audio_seconds", 0), total)
    if "input_annotated_document_pages" in units:
        # An annotated page is a page.
        pages = units["input_annotated_document_pages"]
        units["input_document_pages"] = max(units.get("input_document_pages", 0), pages)
    return tuple(unknown)
