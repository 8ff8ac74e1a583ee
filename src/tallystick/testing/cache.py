"""Prompt caching as OpenAI describes it: a prefix that was seen before is read from the cache.

A prompt of at least `threshold` tokens is remembered in blocks of 128; a later prompt for the same
model that begins with the same blocks has as many tokens cached, if they reach the threshold.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import NamedTuple

from tallystick.testing.prompt import Prompt

__all__ = ["BLOCK_TOKENS", "CacheUse", "PromptCache"]

BLOCK_TOKENS = 128


class CacheUse(NamedTuple):
    """Of a prompt's tokens, how many were read from the cache and how many newly written."""

    cached_tokens: int
    written_tokens: int


class PromptCache:
    """The prefixes seen so far, the least recently used of them forgotten beyond `limit` blocks.

    `threshold` is the least number of tokens that is cached; None caches nothing.
    """

    def __init__(self, threshold: int | None = 1024, limit: int = 200_000) -> None:
        if threshold is not None and threshold < 1:
            raise ValueError(f"the cache threshold is a number of tokens from 1, not {threshold}")
        self._threshold = threshold
        self._limit = limit
        self._seen: OrderedDict[int, None] = OrderedDict()
        self._lock = Lock()

    def use(self, model: str, prompt: Prompt) -> CacheUse:
        """Look a prompt up and remember it, as one step."""
        if self._threshold is None or len(prompt) < max(self._threshold, BLOCK_TOKENS):
            return CacheUse(0, 0)
        blocks = _blocks(model, prompt)
        with self._lock:
            known = 0
            for block in blocks:
                if block not in self._seen:
                    break
                known += 1
            for block in blocks:
                self._seen[block] = None
                self._seen.move_to_end(block)
            while len(self._seen) > self._limit:
                self._seen.popitem(last=False)
        cached = known * BLOCK_TOKENS
        if cached < self._threshold:
            cached = 0
        return CacheUse(cached, (len(blocks) - known) * BLOCK_TOKENS)


def _blocks(model: str, prompt: Prompt) -> list[int]:
    """Return a value for each whole block that stands for the prompt up to the end of it."""
    prefix = hash(model)
    values = []
    for end in range(BLOCK_TOKENS, len(prompt) + 1, BLOCK_TOKENS):
        prefix = hash((prefix, prompt[end - BLOCK_TOKENS : end].tobytes()))
        values.append(prefix)
    return values
