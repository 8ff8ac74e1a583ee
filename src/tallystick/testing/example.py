"""The answer to a request for which nothing is scripted: made from the request, always the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tallystick.testing.reply import Json, Reply, ToolCall
from tallystick.testing.request import Request

__all__ = ["answer", "instance"]

_DEPTH = 12
"""How deep a value made from a schema may nest, so that a schema of itself comes to an end."""


def answer(request: Request) -> Reply:
    """Return the default answer to `request`.

    It is a call of the tool where one is required, JSON that fits where a schema is given, and
    else a text that repeats what was said last.
    """
    call = _required_call(request)
    if call is not None:
        return Reply(call)
    schema = request.output_schema
    if schema is not None:
        return Reply(Json(instance(schema)))
    said = request.messages[-1].text if request.messages else ""
    if request.api == "responses.compact":
        return Reply(f"A conversation of {len(request.messages)} items, which ended: {said[:200]}")
    return Reply(f"You said: {said[:400]} This is the testing provider, answering as asked.")


def _required_call(request: Request) -> ToolCall | None:
    choice = request.body.get("tool_choice")
    wanted: str | None = None
    if isinstance(choice, Mapping):
        function = choice.get("function") if request.api == "chat" else choice
        name = function.get("name") if isinstance(function, Mapping) else None
        wanted = name if isinstance(name, str) else None
    for name, parameters in request.tool_parameters:
        if name == wanted or choice == "required":
            value = instance(parameters)
            return ToolCall(name, value if isinstance(value, dict) else {})
    return None


def instance(schema: Mapping[str, Any]) -> Any:
    """Return the simplest value that fits a JSON schema of the kind used for structured output."""
    return _instance(schema, schema, _DEPTH)


def _instance(schema: Any, root: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(schema, Mapping) or depth == 0:
        return None
    if isinstance(schema.get("$ref"), str):
        return _instance(_resolved(schema["$ref"], root), root, depth - 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _instance(schema[key][0], root, depth - 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else None
    match kind:
        case "object":
            properties = schema.get("properties") or {}
            required = schema.get("required", list(properties))
            return {name: _instance(properties.get(name), root, depth - 1) for name in required}
        case "array":
            item = schema.get("items")
            return [_instance(item, root, depth - 1) for _ in range(schema.get("minItems", 0))]
        case "string":
            return "text".ljust(schema.get("minLength", 0), "-")[: schema.get("maxLength", 1 << 20)]
        case "integer" | "number":
            return schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        case "boolean":
            return False
        case _:
            return None


def _resolved(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            found = found.get(step) if isinstance(found, Mapping) else None
    return found
