"""How each API's bodies and streams are read: one `Family` for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tallystick.wire import anthropic, bedrock, cohere, gemini, ollama, openai, responses
from tallystick.wire.reading import Reading

__all__ = ["FAMILIES", "Family", "family_of"]


@dataclass(frozen=True, slots=True)
class Family:
    """The functions that read an API."""

    take_body: Callable[[Reading, Mapping[str, Any]], None]
    """Reads a whole body."""
    take_event: Callable[[Reading, str, Mapping[str, Any]], bool]
    """Reads one event of a stream; returns whether it is the last."""
    settle: Callable[[Reading], None]
    """Sets the counts from the raw usage, once all of it is there."""
    skip: Callable[[Reading, bytes], int | None] | None = None
    """Returns the length of the output that an undecoded event carries, if it provably carries
    nothing else that counts; else None, and it is decoded. Most events of a stream are of this
    kind, and decoding them is most of what reading a stream costs."""
    binary: bool = False
    """Whether its streams are Amazon's binary ones."""
    streams_objects: bool = False
    """Whether its streams may be plain JSON objects, one after the other."""


RESPONSES: Final = Family(
    responses.take_body, responses.take_event, responses.settle, responses.skip
)
CHAT: Final = Family(openai.take_body, openai.take_event, openai.settle, openai.skip)

FAMILIES: Final[Mapping[str, Family]] = {
    "openai.responses": RESPONSES,
    "openai.responses.compact": RESPONSES,
    "openai.chat": CHAT,
    "openai.completions": CHAT,
    "openai.embeddings": Family(openai.take_body, openai.take_event, openai.settle_embeddings),
    "anthropic.messages": Family(
        anthropic.take_body, anthropic.take_event, anthropic.settle, anthropic.skip
    ),
    "gemini.generate": Family(
        gemini.take_body, gemini.take_event, gemini.settle, streams_objects=True
    ),
    "gemini.embed": Family(gemini.take_body, gemini.take_event, gemini.settle_embeddings),
    "bedrock.converse": Family(bedrock.take_body, bedrock.take_event, bedrock.settle),
    "bedrock.converse-stream": Family(
        bedrock.take_body, bedrock.take_event, bedrock.settle, binary=True
    ),
    "bedrock.invoke": Family(bedrock.take_invoked, bedrock.take_chunk, bedrock.settle_invoke),
    "bedrock.invoke-stream": Family(
        bedrock.take_invoked, bedrock.take_chunk, bedrock.settle_invoke, binary=True
    ),
    "cohere.chat": Family(cohere.take_body, cohere.take_event, cohere.settle, streams_objects=True),
    "cohere.embed": Family(cohere.take_body, cohere.take_event, cohere.settle_embeddings),
    "ollama.chat": Family(ollama.take_body, ollama.take_event, ollama.settle, streams_objects=True),
    "ollama.generate": Family(
        ollama.take_body, ollama.take_event, ollama.settle, streams_objects=True
    ),
    "ollama.embed": Family(ollama.take_body, ollama.take_event, ollama.settle_embeddings),
}


def family_of(api: str | None) -> Family:
    """Return how an API is read; one that is not known is read like Chat Completions."""
    return FAMILIES.get(api or "", CHAT)
