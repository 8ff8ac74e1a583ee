"""The same request with another limit on its answer, or for another model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from tallystick.usage import count

__all__ = ["with_model", "with_output_limit"]

# Where each API keeps its limit: a field, or a field in a block. Chat Completions has two.
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai.responses": ("max_output_tokens",),
    "openai.completions": ("max_tokens",),
    "anthropic.messages": ("max_tokens",),
    "gemini.generate": ("generationConfig", "maxOutputTokens"),
    "bedrock.converse": ("inferenceConfig", "maxTokens"),
    "bedrock.converse-stream": ("inferenceConfig", "maxTokens"),
    "cohere.chat": ("max_tokens",),
    "ollama.chat": ("options", "num_predict"),
    "ollama.generate": ("options", "num_predict"),
}

# Models that may think refuse the older field at OpenAI.
COMPLETIONS: Final = frozenset({"openai", "azure"})

LEAST_THINKING: Final = 1024
"""Anthropic's least budget for thinking, in tokens. It has to be smaller than the limit."""


def with_output_limit(
    api: str, body: bytes, limit: int, *, model: str | None, provider: str | None
) -> bytes | None:
    """Return the body with its answer limited to `limit` tokens, everything else unchanged.

    Args:
        api: the request's API, as `tallystick.wire.identify` names it.
        body: the whole body.
        limit: the most output tokens, at least 1.
        model: the model that is asked for; decides nothing today.
        provider: who serves it; of OpenAI and Azure, Chat Completions has a name of its own for
            the limit.

    Returns:
        None where the API has no such limit, the body is no JSON object, or thinking that is asked
        for does not fit.
    """
    del model
    asked = _object(body)
    paths = () if asked is None else _paths(api, asked, provider)
    if asked is None or not paths:
        return None
    for *blocks, last in paths:
        block = asked
        for name in blocks:
            inner = block.get(name)
            if inner is None:
                inner = block[name] = {}
            if not isinstance(inner, dict):
                return None
            block = inner
        block[last] = limit
    return _written(asked) if _fits(asked, limit) else None


def with_model(api: str, body: bytes, model: str) -> bytes | None:
    """Return the body with another model, everything else unchanged.

    Returns:
        None where the URL names the model instead, or the body is no JSON object.
    """
    asked = None if api.startswith(("gemini.", "bedrock.")) else _object(body)
    if asked is None:
        return None
    asked["model"] = model
    return _written(asked)


def _paths(api: str, asked: Mapping[str, Any], provider: str | None) -> tuple[tuple[str, ...], ...]:
    """Return where the limit stands, or is to stand. Of two in a body, a host may read either."""
    if api == "openai.chat":
        names = ("max_completion_tokens", "max_tokens")
        usual = names[0] if provider in COMPLETIONS else names[1]
        return tuple((name,) for name in names if asked.get(name) is not None) or ((usual,),)
    if api in ("bedrock.invoke", "bedrock.invoke-stream"):
        # The body is the model's own; only Anthropic's says whose it is.
        return (("max_tokens",),) if "anthropic_version" in asked else ()
    if api == "gemini.generate" and "generation_config" in asked:
        return (("generation_config", "max_output_tokens"),)
    return (FIELDS[api],) if api in FIELDS else ()


def _fits(asked: Mapping[str, Any], limit: int) -> bool:
    """Lower what a Claude may think to less than the limit; return whether that was possible."""
    for holder in (asked, asked.get("additionalModelRequestFields")):
        if not isinstance(holder, Mapping):
            continue
        for name in ("thinking", "reasoning_config"):
            thinking = holder.get(name)
            if not isinstance(thinking, dict):
                continue
            budget = count(thinking.get("budget_tokens"))
            if budget is not None and budget >= limit:
                if limit <= LEAST_THINKING:
                    return False
                thinking["budget_tokens"] = limit - 1
    return True


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return asked if isinstance(asked, dict) else None


def _written(asked: Mapping[str, Any]) -> bytes | None:
    """Return the JSON as httpx writes it, or None for a number that it would refuse."""
    try:
        text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can hold
        return json.dumps(asked, separators=(",", ":")).encode()
    except ValueError:
        return None
