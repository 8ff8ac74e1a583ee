"""The most input tokens that a request can be billed for, from its body, before it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from tallystick.budget.contents import Contents, whole_number
from tallystick.budget.vocabulary import OPENAI, byte_length, token_length, vocabularies

__all__ = ["InputBound", "input_bound"]


class InputBound(NamedTuple):
    """What a request can be billed for at most, as far as its body tells."""

    tokens: int | None
    """At most so many input tokens, cached and cache-written included; None: no bound is known."""
    basis: str
    """What it rests on: the name of a vocabulary, "bytes", or "context window"."""
    reasons: tuple[str, ...]
    """What the body alone does not bound, each naming the field."""
    audio: bool
    """Whether there is audio or video in it."""
    images: bool
    """Whether there are images, pages or video in it."""
    tool_calls: Mapping[str, int | None]
    """The provider's own tools that may run, with the most calls of each; None: no cap is known."""


class _Overhead(NamedTuple):
    """Tokens that a provider adds to the texts of a request, at most."""

    request: int
    item: int
    """For each message, part, call or result."""
    text: int
    """For each text: where it meets its neighbours, it may take other tokens than alone."""
    tools: int
    """Once, where tools are offered."""
    tool: int
    schema: int
    """Once, where the answer is to fit a schema."""

    line: int = 0
    """For each line of JSON: Llama's public template writes tools over lines, with indents."""

    def of(self, contents: Contents) -> int:
        """Return the tokens for what a body holds."""
        tokens = self.request + self.item * contents.items + self.text * len(contents.texts)
        tokens += self.line * contents.lines
        if contents.tools:
            tokens += self.tools + self.tool * contents.tools
        return tokens + self.schema * bool(contents.schemas)


# Measured on 771 recorded requests, with what was billed; then rounded up.
OVERHEADS: Final[Mapping[str, _Overhead]] = {
    # A message takes 3 tokens and its role, an answer 3 more. Tools take less than their JSON.
    "gpt-4": _Overhead(request=5, item=4, text=1, tools=24, tool=8, schema=32),
    # In March 2025 tools took 154 tokens more than their JSON on Responses, later no more than
    # elsewhere.
    "gpt-4o": _Overhead(request=5, item=4, text=1, tools=200, tool=8, schema=32),
    # With GPT-5-mini tools took 40 tokens more than their JSON.
    "gpt-5": _Overhead(request=5, item=4, text=1, tools=64, tool=8, schema=32),
    # Mistral's own service adds nothing but its marks.
    "mistral": _Overhead(request=16, item=6, text=1, tools=32, tool=8, schema=64),
    # Llama 3 begins with two dates (25 tokens), gpt-oss with a system message (70). The prompts
    # for tools in the public templates of Qwen, Llama, GLM and DeepSeek are 60 to 190.
    "open": _Overhead(request=100, item=8, text=1, tools=250, tool=16, schema=100, line=1),
    # The prompts for tools are documented at 159 to 530 (platform.claude.com/docs/en/agents-and-
    # tools/tool-use/overview), the one for a schema was billed at 570.
    "anthropic": _Overhead(request=64, item=8, text=1, tools=640, tool=16, schema=800, line=2),
    "gemini": _Overhead(request=32, item=4, text=1, tools=100, tool=16, schema=100),
    # Amazon Nova was billed 800 for tools.
    "other": _Overhead(request=100, item=8, text=1, tools=1000, tool=16, schema=800, line=2),
    # Grok 4 was billed 680 for three words.
    "unseen": _Overhead(request=1000, item=8, text=1, tools=1000, tool=16, schema=800, line=2),
}

OPENAI_HOSTS: Final = frozenset({"openai", "azure"})
OWN: Final = tuple((name,) for name in OPENAI)
# Models that were measured, and who adds no prompt of their own to a model that was not.
MEASURED: Final = re.compile("claude|gemini|nova|deepseek|gpt")
PLAIN_HOSTS: Final = OPENAI_HOSTS | {"anthropic", "aws", "cohere", "deepseek", "google", "mistral"}
OWNER: Final = re.compile(r"^(ft:|((us|eu|apac|global|jp|au|ca)\.)?[a-z]+\.(?=[a-z]))")
LOOPS: Final = 10
"""How often Anthropic asks the model, at most, before it pauses a turn (`pause_turn`)."""

MOST_TOKENIZED: Final = 2 * 1024 * 1024
"""Bytes. A longer body is bounded by its bytes: tokenizing would hold up the caller."""

LONGEST: Final = 33 - len(r"\ufdfa")
"""U+FDFA becomes 33 bytes with NFKC, and is six when escaped."""


def input_bound(
    api: str,
    body: bytes,
    *,
    provider: str | None,
    model: str | None,
    context_window: int | None = None,
) -> InputBound:
    """Return the most input tokens that a request can be billed for. It never raises.

    Args:
        api: the request's API, as `tallystick.wire.identify` names it.
        body: the whole body, not compressed.
        provider: who serves it, as `tallystick.wire.provider_of` names it.
        model: the model that is asked for, where the body does not name it.
        context_window: the most tokens that the model reads at once.
    """
    doubled: list[str] = []

    def paired(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            doubled.append("the body: a name comes twice, and the provider may read either")
        return found

    try:
        asked = json.loads(body, object_pairs_hook=paired)
        if not isinstance(asked, dict):
            return _of_bytes(body, ())
        named = asked.get("model") if model is None else model
        # Of several models that may answer, none is known.
        name = _bare(named) if isinstance(named, str) and "models" not in asked else ""
        family = _family(name)
        # An Azure deployment of whatever name may be the model whose images are the dearest.
        unnamed = provider == "azure" and not family
        vision = ("openai", "gpt-4o-mini") if unnamed else (family, name)
        contents = Contents(name, vision, family == "openai" and provider in OPENAI_HOSTS)
        contents.request(asked)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return _of_bytes(body, ())
    except (ValueError, RecursionError):
        return _of_bytes(body, ("the body: it is nested too deep, or has a number too long",))
    contents.reasons += doubled[:1]
    tokens, basis = _tokens(api, provider, contents, len(body))
    if contents.calls:
        # Elsewhere the field means other things, or nothing.
        capped = provider in OPENAI_HOSTS and api.startswith("openai.responses")
        most = whole_number(asked.get("max_tool_calls")) if capped else None
        window = _over_calls(contents, most, context_window)
    elif contents.reasons:
        window = context_window
    elif context_window is None or tokens <= context_window:
        return _found(tokens, basis, contents)
    else:
        window = context_window  # a longer one is refused, and not billed
    return _found(window, "context window", contents)


def _found(tokens: int | None, basis: str, contents: Contents) -> InputBound:
    reasons = tuple(contents.reasons)
    return InputBound(tokens, basis, reasons, contents.audio, contents.images, contents.calls)


def _of_bytes(body: bytes, reasons: tuple[str, ...]) -> InputBound:
    """Bound a body that cannot be read, each of its escapes by the longest form of a character."""
    text = body.decode(errors="replace")
    tokens = OVERHEADS["unseen"].request + byte_length(text) + LONGEST * text.count("\\u")
    return InputBound(
        None if reasons else tokens, "bytes", reasons, audio=False, images=False, tool_calls={}
    )


def _over_calls(contents: Contents, most: int | None, window: int | None) -> int | None:
    """Return the bound of a request in which the provider's own tools may run.

    The model is asked again after each call, with all that went before, and each time is billed.
    """
    if most is not None and "compaction" not in contents.calls:
        contents.calls = dict.fromkeys(contents.calls, most)  # a cap on all of them together
        turns = most + 1
    else:
        caps = [cap for cap in contents.calls.values() if cap is not None]
        if len(caps) < len(contents.calls):
            return None
        # Anthropic answers a call beyond its cap with an error, and asks the model again.
        turns = max(sum(caps) + 1, LOOPS)
    return None if window is None else window * turns


def _tokens(api: str, provider: str | None, contents: Contents, size: int) -> tuple[int, str]:
    """Return the most tokens of the contents, and what that rests on."""
    names = vocabularies(provider, contents.model) if size <= MOST_TOKENIZED else ()
    counts = [token_length(name, contents.texts) for name in names]
    known = [count for count in counts if count is not None]
    if known and len(known) == len(names):
        basis, texts = names[0], max(known)
    else:
        basis, texts = "bytes", sum(map(byte_length, contents.texts))
    overhead = OVERHEADS[_layout(api, provider, contents.model, basis)]
    return texts + contents.beside + overhead.of(contents), basis


def _layout(api: str, provider: str | None, model: str, basis: str) -> str:
    """Return under which name the overheads of a request stand."""
    family = _family(model)
    if basis == "bytes":
        if family in OVERHEADS:
            return family
        measured = provider in PLAIN_HOSTS or MEASURED.search(model) or "embed" in api
        return "other" if measured else "unseen"
    if provider == "mistral":
        return "mistral"
    if family != "openai" or model.startswith("o1"):
        return "open"  # o1-mini took two tokens more a message
    if not re.match("gpt-[34]", model):
        return "gpt-5"
    responses = api.startswith("openai.responses")
    return "gpt-4o" if responses and re.match("gpt-4o(?!-mini)", model) else "gpt-4"


def _bare(model: str) -> str:
    """Return a model's name in lower case, without whose it is, where, and how it was tuned."""
    return OWNER.sub("", model.lower().rpartition("/")[2])


def _family(model: str) -> str:
    """Return whose rules apply to images: "openai", "anthropic", "gemini", or "" for others."""
    if vocabularies(None, model) in OWN and not model.startswith("gpt-oss"):
        return "openai"
    return "anthropic" if "claude" in model else "gemini" if "gemini" in model else ""
