"""Refusals of a budget as the SDK's own kind of exception, and how a budget's limit is sent.

The SDK attaches `run_data` to an `AgentsException`, and lets it pass where it would wrap others.
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from agents import AgentsException, Model
from agents.retry import ModelRetryAdvice, ModelRetryNormalizedError

from tallystick import errors

_PARAMETERS = tuple(inspect.signature(Model.get_response).parameters)[1:]


class BudgetExceeded(errors.BudgetExceeded, AgentsException):
    """A request does not fit into a budget; `run_data` says what the run had done."""


class BudgetUncertain(errors.BudgetUncertain, AgentsException):
    """Whether a request fits into a budget cannot be known; with `run_data`."""


def host_error(refusal: errors.BudgetRefused) -> errors.BudgetRefused:
    """Return a refusal as the SDK's kind of exception."""
    if isinstance(refusal, AgentsException):
        return refusal
    exceeded = isinstance(refusal, errors.BudgetExceeded)
    error = BudgetExceeded(str(refusal)) if exceeded else BudgetUncertain(str(refusal))
    error.__dict__.update(refusal.__dict__)
    return error


def advice() -> ModelRetryAdvice:
    """Return the advice never to send a refused request again, whatever the retry policy says."""
    return ModelRetryAdvice(
        suggested=False,
        replay_safety="unsafe",
        reason="a budget refused it",
        normalized=ModelRetryNormalizedError(is_abort=True),
    )


def asked_of(arguments: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Return what a call of `Model.get_response` sends, in the shape of a Responses request."""
    call = {**dict(zip(_PARAMETERS, arguments, strict=False)), **options}
    schema = call.get("output_schema")
    settings = call.get("model_settings")
    asked: dict[str, Any] = {
        "instructions": call.get("system_instructions"),
        "input": call.get("input"),
        "tools": [
            *(_tool(tool) for tool in call.get("tools") or ()),
            *(
                _function(handoff.tool_name, handoff.tool_description, handoff.input_json_schema)
                for handoff in call.get("handoffs") or ()
            ),
        ],
        "max_output_tokens": getattr(settings, "max_tokens", None),
        "previous_response_id": call.get("previous_response_id"),
        "conversation": call.get("conversation_id"),
        "prompt": call.get("prompt"),
    }
    if schema is not None and not schema.is_plain_text():
        asked["text"] = {"format": {"type": "json_schema", "schema": schema.json_schema()}}
    return {name: value for name, value in asked.items() if value is not None and value != []}


def _tool(tool: Any) -> dict[str, Any]:
    parameters = getattr(tool, "params_json_schema", None)
    if parameters is None:
        # One of the provider's own tools, whose kind is enough to bound it by.
        return {"type": getattr(tool, "name", type(tool).__name__)}
    return _function(tool.name, tool.description, parameters)


def _function(name: str, description: str, parameters: Any) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": description,
        "parameters": parameters,
    }


def with_settings(
    arguments: tuple[Any, ...], options: dict[str, Any], **changes: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a model call's arguments with some of its model settings changed."""
    place = _PARAMETERS.index("model_settings")
    settings: Any = options.get("model_settings", next(iter(arguments[place : place + 1]), None))
    settings = dataclasses.replace(settings, **changes)
    if "model_settings" in options:
        return arguments, {**options, "model_settings": settings}
    return (*arguments[:place], settings, *arguments[place + 1 :]), options
