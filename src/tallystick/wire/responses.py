"""OpenAI's Responses API, and its compaction."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from tallystick.usage import Outcome
from tallystick.wire import openai
from tallystick.wire.block import merged, utf8_length
from tallystick.wire.openai import identity, take_error
from tallystick.wire.reading import Reading, text

__all__ = ["settle", "skip", "take_body", "take_event"]

OUTCOMES: Final[Mapping[str, Outcome]] = {
    "completed": "completed",
    "complete": "completed",
    "incomplete": "incomplete",
    "failed": "failed",
    "cancelled": "cancelled",
}

# The items that are work of the provider's own tools. Calls of the user's functions, computers
# and shells are output like any other.
TOOLS: Final = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "image_generation_call": "image_generation",
    "mcp_call": "mcp",
}

# A delta that holds only text without escapes, and keys that nothing is counted by. The whole
# event must match, so nothing that counts can hide in one that does.
PLAIN: Final = re.compile(
    rb'\{"type": ?"response\.[a-z_.]+\.delta"'
    rb'(?:, ?"(?:sequence_number|output_index|content_index|summary_index)": ?\d++'
    rb'|, ?"(?:item_id|obfuscation)": ?"[^"\\]*+"|, ?"logprobs": ?\[\])*+'
    rb', ?"delta": ?"([^"\\]*+)"'
    rb'(?:, ?"(?:sequence_number|output_index|content_index|summary_index)": ?\d++'
    rb'|, ?"(?:item_id|obfuscation)": ?"[^"\\]*+"|, ?"logprobs": ?\[\])*+\}'
)

FINAL_EVENTS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)


def take_body(reading: Reading, body: Mapping[str, Any]) -> None:
    """Read a whole response, or the one that an event carries."""
    identity(reading, body)
    status = text(body.get("status"))
    reading.outcome = OUTCOMES.get(status or "", reading.outcome)
    if status is None and body.get("object") == "response.compaction":
        reading.outcome = "completed"
    details = body.get("incomplete_details")
    if reading.outcome == "incomplete" and isinstance(details, Mapping):
        reading.error_type = text(details.get("reason")) or reading.error_type
    take_error(reading, body)
    reading.raw_usage = merged(reading.raw_usage, body.get("usage"))
    charged = body.get("tool_usage")
    if isinstance(charged, Mapping) and isinstance(body.get("usage"), Mapping):
        reading.raw_usage = merged(reading.raw_usage, {"tool_usage": charged})
    output = body.get("output")
    if isinstance(output, list) and output:
        # The whole output says more than the events before it did.
        reading.text_bytes = max(reading.text_bytes, sum(map(_item_length, output)))
        tools: dict[str, int] = {}
        for item in output:
            tool = _tool(item)
            if tool is not None:
                tools[tool] = tools.get(tool, 0) + 1
        for tool, times in tools.items():
            reading.ran(tool, times)


def take_event(reading: Reading, event: str, body: Mapping[str, Any]) -> bool:
    """Read one event of a stream; return whether it is the last."""
    kind = text(body.get("type")) or event
    if kind.endswith(".delta"):
        length = utf8_length(body.get("delta"))
        reading.text_bytes += length
        reading.output_events += bool(length)
        return False
    response = body.get("response")
    if isinstance(response, Mapping):
        take_body(reading, response)
    elif kind == "response.output_item.done":
        tool = _tool(body.get("item"))
        if tool is not None:
            reading.ran(tool, reading.tool_requests.get(tool, 0) + 1)
    elif kind == "error":
        take_error(reading, body if body.get("error") else {"error": body})
        return True
    return kind in FINAL_EVENTS


def skip(_reading: Reading, data: bytes) -> int | None:
    """Return the length of the text in an event that has nothing else, or None."""
    match = PLAIN.fullmatch(data)
    return None if match is None else match.end(1) - match.start(1)


def settle(reading: Reading) -> None:
    """Set the counts of a reading from its raw usage, with what its tools used."""
    openai.settle(reading)
    tools = (reading.raw_usage or {}).get("tool_usage")
    if not isinstance(tools, Mapping):
        return
    searches = reading.count(tools.get("web_search"), "num_requests")
    if searches is not None and searches > 0:
        # What OpenAI says that it charges is better than a count of items.
        reading.tool_requests["web_search"] = searches
    images = Reading(raw_usage=merged(None, tools.get("image_gen")))
    openai.settle(images)
    if images.total_tokens:
        # Tokens of an image model, which the response does not name.
        reading.others.append(images)
        reading.note(f"{images.total_tokens} tokens of an image model beside")


def _tool(item: Any) -> str | None:
    if not isinstance(item, Mapping):
        return None
    tool = TOOLS.get(text(item.get("type")) or "")
    if tool == "web_search":
        # Only searching is charged; opening a found page and looking in it are not.
        action = item.get("action")
        kind = action.get("type") if isinstance(action, Mapping) else None
        if kind in ("open_page", "find_in_page"):
            return "web_fetch"
    return tool


def _item_length(item: Any) -> int:
    if not isinstance(item, Mapping):
        return 0
    length = utf8_length(item.get("arguments")) + utf8_length(item.get("input"))
    length += utf8_length(item.get("code"))
    if item.get("type") in ("function_call", "custom_tool_call"):
        length += utf8_length(item.get("name"))
    for parts in (item.get("content"), item.get("summary")):
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, Mapping):
                    length += utf8_length(part.get("text")) + utf8_length(part.get("refusal"))
    return length
