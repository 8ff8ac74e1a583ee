"""What a request asks for, as far as its cost depends on it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from tallystick.usage import count
from tallystick.wire.reading import RequestReading, text
from tallystick.wire.routes import API

__all__ = ["api_of", "read_request"]

# Where each API keeps its output limit: a top-level name, or one in a nested object.
LIMITS: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "openai.responses": (("max_output_tokens",),),
    "openai.chat": (("max_completion_tokens",), ("max_tokens",)),
    "openai.completions": (("max_tokens",),),
    "anthropic.messages": (("max_tokens",),),
    "gemini.generate": (
        ("generationConfig", "maxOutputTokens"),
        ("generation_config", "max_output_tokens"),
    ),
    "bedrock.converse": (("inferenceConfig", "maxTokens"),),
    "bedrock.converse-stream": (("inferenceConfig", "maxTokens"),),
    "cohere.chat": (("max_tokens",),),
    "ollama.chat": (("options", "num_predict"),),
    "ollama.generate": (("options", "num_predict"),),
}
# Of the bodies that Bedrock passes on, each maker's is another.
INVOKED: Final = (
    ("max_tokens",),
    ("max_tokens_to_sample",),
    ("max_completion_tokens",),
    ("max_gen_len",),
    ("inferenceConfig", "max_new_tokens"),
    ("textGenerationConfig", "maxTokenCount"),
)
MODIFIERS: Final = ("speed", "inference_geo")
_HOUR: Final = re.compile(rb'"ttl"\s*:\s*"1h"')
NESTED: Final = (
    ("generationConfig", "maxOutputTokens"),
    ("generation_config", "max_output_tokens"),
    ("inferenceConfig", "maxTokens"),
    ("inferenceConfig", "max_new_tokens"),
    ("textGenerationConfig", "maxTokenCount"),
    ("options", "num_predict"),
)


def api_of(body: Mapping[str, Any], provider: str | None = None) -> API:
    """Return the API that a body is most likely meant for, where no URL says so."""
    if "contents" in body:
        return "gemini.generate"
    if "input" in body:
        return "openai.embeddings" if "encoding_format" in body else "openai.responses"
    if provider == "anthropic":
        return "anthropic.messages"
    return "openai.chat"


def read_request(api: str | None, body: bytes) -> RequestReading:
    """Read a request's body. It never raises: what cannot be read is left at its default.

    Args:
        api: the request's API, as `identify` names it.
        body: the whole body, as it is sent.
    """
    try:
        asked: Any = json.loads(body) if body else None
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, Mapping):
        return RequestReading(input_bytes=len(body), stream=_streams(api, {}))
    options = asked.get("stream_options")
    return RequestReading(
        model=text(asked.get("model")),
        stream=_streams(api, asked),
        asks_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
        max_output_tokens=_limit(api, asked),
        input_bytes=len(body),
        n=_choices(asked),
        service_tier=text(asked.get("service_tier")),
        modifiers={
            name: value for name in MODIFIERS if (value := text(asked.get(name))) is not None
        },
        cache_write=_cache_write(body) if api == "anthropic.messages" else None,
        audio_output=isinstance(asked.get("audio"), Mapping) or "audio" in _modalities(asked),
    )


def _cache_write(body: bytes) -> Literal["none", "5m", "1h"]:
    # Looked for in the text: a false find only makes the bound higher.
    if b'"cache_control"' not in body:
        return "none"
    return "1h" if _HOUR.search(body) else "5m"


def _modalities(asked: Mapping[str, Any]) -> str:
    config = asked.get("generationConfig")
    nested = config.get("responseModalities") if isinstance(config, Mapping) else None
    return str([asked.get("modalities"), nested]).lower()


def _streams(api: str | None, asked: Mapping[str, Any]) -> bool:
    if api in ("bedrock.converse-stream", "bedrock.invoke-stream"):
        return True
    stream = asked.get("stream")
    # Ollama streams unless it is told not to.
    return stream is True or (stream is None and api in ("ollama.chat", "ollama.generate"))


def _limit(api: str | None, asked: Mapping[str, Any]) -> int | None:
    """Return the limit on the answer; of several, the highest, as nobody knows which counts."""
    limits = (
        count(_at(asked, path))
        for path in LIMITS.get(api or "", INVOKED if (api or "").startswith("bedrock") else ())
    )
    return max((limit for limit in limits if limit is not None), default=None)


def _at(asked: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = asked
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _choices(asked: Mapping[str, Any]) -> int:
    config = asked.get("generationConfig")
    nested = config.get("candidateCount") if isinstance(config, Mapping) else None
    # "best_of" of Completions makes more choices than it returns, and they are all billed.
    asks = (count(asked.get("n")), count(asked.get("best_of")), count(nested))
    return max((number for number in asks if number), default=1)
