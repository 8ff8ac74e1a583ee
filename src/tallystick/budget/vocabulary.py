"""How many tokens a text is: by the vocabulary of a model where it is known, else by its bytes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache, lru_cache
from typing import Final

__all__ = ["OPENAI", "byte_length", "token_length", "vocabularies"]

OPENAI: Final = ("o200k_base", "cl100k_base")

# By how a model's name begins. Only models whose vocabulary was published: the next model of a
# maker may have another.
VOCABULARIES: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"(chatgpt-4o|gpt-4o|gpt-4\.[15]|gpt-5|o[134](-|$)|gpt-oss)", "o200k_base"),
        (r"gpt-4(-|$)|gpt-3\.?5|text-embedding-(ada-002|3-)|(davinci|babbage)-002", "cl100k_base"),
        (r"(deepseek-r1-distill-)?(meta-)?llama-?3", "llama3"),
        (r"qwen-?(2(\.5)?|3)(?![.\d])", "qwen3"),
        (r"deepseek-(v3|r1)(?!.*distill)", "deepseek_v3"),
        (r"kimi-k2", "kimi_k2"),
        (r"(zai-)?glm-4", "glm4"),
        (r"mistral-(large|medium|small|nemo)|pixtral|ministral", "mistral_v3"),
    )
)

SURROGATES: Final = re.compile("[\ud800-\udfff]")


def vocabularies(provider: str | None, model: str) -> tuple[str, ...]:
    """Return the vocabularies that a model may have, the likeliest first; none if unknown.

    Args:
        provider: who serves it.
        model: its name in lower case, without whose it is.
    """
    name = next((name for pattern, name in VOCABULARIES if pattern.match(model)), None)
    if name is None or (name == "mistral_v3" and provider not in ("mistral", "aws")):
        # Elsewhere Mistral's models get the long system prompt of their public template.
        return ()
    # The name of an Azure deployment is its owner's choice.
    return tuple(dict.fromkeys((name, *OPENAI))) if provider == "azure" else (name,)


def token_length(vocabulary: str, texts: Iterable[str]) -> int | None:
    """Return the tokens of all `texts`, or None where no tokenizer is installed."""
    encode = _encoder(vocabulary)
    if encode is None:
        return None
    return sum(len(encode(_whole(text))) * times for text, times in Counter(texts).items())


@cache
def _encoder(vocabulary: str) -> Callable[[str], list[int]] | None:
    try:
        from splintr import Tokenizer
    except ImportError:
        return None  # the extra `tokenizers` is not installed
    return Tokenizer.from_pretrained(vocabulary).encode_ordinary


def byte_length(text: str) -> int:
    """Return the most tokens that any tokenizer which we know makes of `text`.

    That is its UTF-8 bytes, or those of its characters after NFKC where they are more: some
    tokenizers normalise first, and one character becomes up to 33 bytes. Of NFC, which others
    use, no character becomes more.
    """
    if text.isascii():
        return len(text)
    return sum(_widest(each) * times for each, times in Counter(_whole(text)).items())


@lru_cache(maxsize=1 << 16)
def _widest(character: str) -> int:
    return max(len(form.encode()) for form in (character, unicodedata.normalize("NFKC", character)))


def _whole(text: str) -> str:
    """Return `text` with lone surrogates replaced, which have no UTF-8 form."""
    return text if text.isascii() else SURROGATES.sub("\ufffd", text)
