"""The tokens of a text: the provider counts with the vocabulary that OpenAI's models use.

The vocabulary is `o200k_base` (GPT-4o and later). OpenAI's own `tiktoken` fetches it from the
network at first use, which a test on an isolated machine cannot do, so it comes from `splintr-rs`,
which has it compiled in, ships wheels for Linux (glibc and musl), macOS and Windows, is typed, and
gave the same token ids as `tiktoken` for every text we compared. It is installed by
``pip install 'tallystick[testing]'``.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

try:
    from splintr import AnyTokenizer, Tokenizer
except ImportError as error:  # pragma: no cover - the extra is installed wherever tests run
    raise ImportError(
        "tallystick.testing counts with a real tokenizer; "
        "install it with: pip install 'tallystick[testing]'"
    ) from error

__all__ = ["Piece", "count_tokens", "encode", "pieces"]


class Piece(NamedTuple):
    """A stretch of generated text that can be sent on its own, and the tokens it took."""

    text: str
    tokens: int


@cache
def _tokenizer() -> AnyTokenizer:
    return Tokenizer.from_pretrained("o200k_base")


def encode(text: str) -> list[int]:
    """Return the token ids of `text`. Names of special tokens in it are ordinary text."""
    # A lone surrogate can reach us through a JSON escape and has no UTF-8 form of its own.
    return _tokenizer().encode_ordinary(text.encode("utf-8", "replace").decode("utf-8"))


def count_tokens(text: str) -> int:
    """Return how many tokens `text` is, in the vocabulary that the provider bills by."""
    return len(encode(text))


def pieces(tokens: Sequence[int]) -> tuple[Piece, ...]:
    """Return the texts of `tokens`, one piece a token.

    A token may be part of a character; such tokens come together as one piece. Bytes that make
    no whole character at the end (the answer was cut there) are counted and show no text.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="strict")
    token_bytes = _tokenizer().decode_token_bytes
    found: list[Piece] = []
    waiting = 0
    for token in tokens:
        waiting += 1
        text = decoder.decode(token_bytes(token))
        if text:
            found.append(Piece(text, waiting))
            waiting = 0
    if waiting:
        found.append(Piece("", waiting))
    return tuple(found)
