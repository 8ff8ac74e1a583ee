"""What is charged for: the units that rates are given in, and how a usage counts in them.

The names and dimensions are those of the genai-prices data, so that a rate of its books means
the same here. A unit whose dimensions contain another's is a part of it: ``cache_read_tokens``
is a part of ``input_tokens``, ``cache_audio_read_tokens`` of both ``cache_read_tokens`` and
``input_audio_tokens``.
"""

from __future__ import annotations

from typing import NamedTuple

MILLION = 1_000_000


class Unit(NamedTuple):
    """One thing that a rate can be charged for."""

    name: str
    """The count's name, such as ``cache_read_tokens``."""
    price_key: str
    """The rate's name in the genai-prices data, such as ``cache_read_mtok``."""
    per: int
    """How many of it the rates of the data are for."""
    dimensions: frozenset[tuple[str, str]]

    def is_part_of(self, whole: Unit) -> bool:
        """Whether this is counted within `whole`, and is not `whole` itself."""
        return whole.dimensions < self.dimensions

    def overlaps(self, other: Unit) -> bool:
        """Whether a token can be of both units, neither being a part of the other."""
        mine, theirs = dict(self.dimensions), dict(other.dimensions)
        return (
            not self.dimensions <= other.dimensions
            and not other.dimensions <= self.dimensions
            and all(theirs.get(name, value) == value for name, value in mine.items())
        )

    @property
    def family(self) -> str:
        """`tokens`, `tool_calls`, `requests`, or what else is metered, such as `durations`."""
        return dict(self.dimensions)["family"]

    @property
    def direction(self) -> str | None:
        """`input`, `output`, or None where it is neither."""
        return dict(self.dimensions).get("direction")


_MODALITIES = (None, "text", "audio", "image", "video")

_INPUT_TYPES: tuple[tuple[str, dict[str, str]], ...] = (
    ("cache_{}read", {"token_type": "cache_read"}),
    ("cache_{}write", {"token_type": "cache_write"}),
    ("cache_{}write_5m", {"token_type": "cache_write", "cache_ttl": "5m"}),
    ("cache_{}write_1h", {"token_type": "cache_write", "cache_ttl": "1h"}),
    ("input_{}tool", {"token_type": "tool"}),
)
_OUTPUT_TYPES: tuple[tuple[str, dict[str, str]], ...] = (
    ("output_{}reasoning", {"token_type": "reasoning"}),
    ("output_{}citation", {"token_type": "citation"}),
)

_METERED: tuple[tuple[str, str, int, dict[str, str]], ...] = (
    ("input_characters", "input_mchars", MILLION, {"family": "characters", "direction": "input"}),
    (
        "input_text_messages",
        "input_text_messages_kcount",
        1000,
        {"family": "messages", "direction": "input", "modality": "text"},
    ),
    ("audio_seconds", "audio_hours", 3600, {"family": "durations", "modality": "audio"}),
    (
        "input_audio_seconds",
        "input_audio_hours",
        3600,
        {"family": "durations", "direction": "input", "modality": "audio"},
    ),
    (
        "output_audio_seconds",
        "output_audio_hours",
        3600,
        {"family": "durations", "direction": "output", "modality": "audio"},
    ),
    ("input_pixels", "input_gpixels", 1000 * MILLION, {"family": "pixels", "direction": "input"}),
    (
        "input_document_pages",
        "input_document_kpages",
        1000,
        {"family": "document_pages", "direction": "input"},
    ),
    (
        "input_annotated_document_pages",
        "input_annotated_document_kpages",
        1000,
        {"family": "document_pages", "direction": "input", "page_type": "annotated"},
    ),
    ("rerank_searches", "rerank_searches_kcount", 1000, {"family": "rerank"}),
)

_TOOLS = {
    "web_searches": "web_search",
    "social_searches": "social_search",
    "storage_searches": "storage_search",
    "code_executions": "code_execution",
}


def _token_unit(stem: str, direction: str, modality: str | None, extra: dict[str, str]) -> Unit:
    name = stem.format("" if modality is None else f"{modality}_").rstrip("_")
    dimensions = {"family": "tokens", "direction": direction, **extra}
    if modality is not None:
        dimensions["modality"] = modality
    return Unit(f"{name}_tokens", f"{name}_mtok", MILLION, frozenset(dimensions.items()))


def _all_units() -> dict[str, Unit]:
    units: list[Unit] = []
    for direction, types in (("input", _INPUT_TYPES), ("output", _OUTPUT_TYPES)):
        for modality in _MODALITIES:
            units.append(_token_unit(f"{direction}_{{}}", direction, modality, {}))
            units.extend(_token_unit(stem, direction, modality, extra) for stem, extra in types)
    for name, price_key, per, dimensions in _METERED:
        units.append(Unit(name, price_key, per, frozenset(dimensions.items())))
    for name, tool in _TOOLS.items():
        dimensions = {"family": "tool_calls", "tool_type": tool}
        units.append(Unit(name, f"{name}_kcount", 1000, frozenset(dimensions.items())))
    units.append(Unit("requests", "requests_kcount", 1000, frozenset({("family", "requests")})))
    return {unit.name: unit for unit in units}


UNITS: dict[str, Unit] = _all_units()
"""Every unit by its name."""

TOOL_CALLS = tuple(_TOOLS)
"""The units of tools that a provider runs."""

BY_PRICE_KEY: dict[str, Unit] = {unit.price_key: unit for unit in UNITS.values()}
"""Every unit by the name of its rate in the genai-prices data."""

INPUT_UNITS = {
    "cached_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_5m_tokens": "cache_write_5m_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "text_tokens": "input_text_tokens",
    "audio_tokens": "input_audio_tokens",
    "image_tokens": "input_image_tokens",
    "video_tokens": "input_video_tokens",
    "cached_text_tokens": "cache_text_read_tokens",
    "cached_audio_tokens": "cache_audio_read_tokens",
    "cached_image_tokens": "cache_image_read_tokens",
    "cached_video_tokens": "cache_video_read_tokens",
}
"""The units of `RequestUsage.input_tokens_details`."""

OUTPUT_UNITS = {
    "reasoning_tokens": "output_reasoning_tokens",
    "text_tokens": "output_text_tokens",
    "audio_tokens": "output_audio_tokens",
    "image_tokens": "output_image_tokens",
    "video_tokens": "output_video_tokens",
}
"""The units of `RequestUsage.output_tokens_details`. Predicted tokens, accepted or not, are
charged as output, so they have no unit of their own."""

_TOOL_NAMES = {
    "web_searches": (
        "web_search",
        "web_search_call",
        "web_search_calls",
        "web_search_preview",
        "web_search_requests",
        "google_search",
        "google_search_queries",
        "grounding",
    ),
    "social_searches": ("social_search", "x_search", "x_search_call", "x_search_calls"),
    "storage_searches": (
        "storage_search",
        "file_search",
        "file_search_call",
        "file_search_calls",
        "file_search_requests",
        "collections_search",
    ),
    "code_executions": (
        "code_execution",
        "code_execution_requests",
        "code_interpreter",
        "code_interpreter_call",
        "code_interpreter_calls",
    ),
    "rerank_searches": ("rerank", "search_units"),
}

TOOL_UNITS: dict[str, str] = {
    **{
        unit.name: unit.name for unit in UNITS.values() if unit.family not in {"tokens", "requests"}
    },
    **{name: unit for unit, names in _TOOL_NAMES.items() for name in names},
}
"""The units of `RequestUsage.tool_requests`, by the names that providers give their tools. A
unit's own name is one of them, so audio seconds or document pages are counted there too."""

FREE_TOOLS = frozenset(
    {
        "function",
        "function_call",
        "custom_tool_call",
        "mcp",
        "mcp_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
        "tool_search",
        "tool_search_call",
        "web_fetch",
        "web_fetch_requests",
        "url_context",
    }
)
"""Tools that cost no more than the tokens they use."""
