"""What the body of a request holds, as far as the tokens of its input depend on it.

Everything in it is gathered, unless it is known that no model reads it: texts as they are, tools
and whatever else is not known as JSON, images and the like by their own rules.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tallystick.budget.media import audio_tokens, image_tokens, kind_of, pdf_tokens
from tallystick.budget.vocabulary import byte_length

__all__ = ["Contents", "whole_number"]

DOCUMENT: Final = 8
"""A document of text takes the marks of so many items: 20 tokens were seen."""

ANTHROPIC_TOOL: Final = 2_000
"""Tokens of the prompt for a tool that Anthropic defines and the client runs."""

# Fields of a request that no model reads, beside numbers and flags.
UNREAD: Final = frozenset(
    {
        "model", "user", "metadata", "service_tier", "stream_options", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "include", "stop",
        "logit_bias", "keep_alive", "encoding_format", "truncation", "truncate", "reasoning_effort",
        "anthropic_version", "anthropic_beta", "modalities",
    }
)  # fmt: skip

# Fields of a request that hold messages and texts.
CONTENT: Final = frozenset(
    {
        "messages", "input", "instructions", "system", "systemInstruction", "system_instruction",
        "contents", "prompt", "suffix", "message", "preamble", "chat_history", "documents", "texts",
        "inputText", "images", "inputs",
    }
)  # fmt: skip

# Fields of a message or a part whose value is one of a few words, and those: the layout has tokens
# for them.
WORDED: Final = frozenset({"role", "type", "status", "detail"})
WORDS: Final = frozenset(
    {
        "assistant", "auto", "base64", "completed", "developer", "document", "ephemeral", "file",
        "function", "function_call", "function_call_output", "high", "image", "image_url",
        "input_audio", "input_file", "input_image", "input_text", "low", "message", "model",
        "output_text", "reasoning", "redacted_thinking", "success", "summary_text", "system",
        "text", "thinking", "tool", "tool_result", "tool_use", "user",
    }
)  # fmt: skip

# Fields of a message or a part that hold text, parts or further items; their names are not read.
HOLDERS: Final = frozenset(
    {
        "audio", "call_id", "content", "data", "document", "file", "filename", "function",
        "functionCall", "functionResponse", "function_call", "guardContent", "id", "image",
        "images", "message", "name", "output", "parts", "reasoning", "reasoningContent",
        "reasoningText", "reasoning_content", "refusal", "summary", "text", "thinking", "title",
        "toolResult", "toolUse", "toolUseId", "tool_call_id", "tool_calls", "tool_use_id", "video",
    }
)  # fmt: skip

# What only the provider can read: reasoning and compactions. In 156 recorded answers each token
# took three bytes or more of it; one a token is what is counted.
SEALED: Final = frozenset({"encrypted_content", "signature", "thoughtSignature", "redactedContent"})

# Ids, which OpenAI's own models are not shown.
IDS: Final = frozenset({"id", "call_id", "tool_call_id"})

MEDIA: Final = frozenset(
    {
        "image_url", "document_url", "video_url", "audio_url", "file_url", "file_data", "fileData",
        "inlineData", "inline_data", "input_audio", "source",
    }
)  # fmt: skip
MEDIUM: Final = frozenset(
    {
        "bytes", "citations", "data", "detail", "fileUri", "file_id", "file_uri", "format",
        "media_type", "mimeType", "mime_type", "type", "url",
    }
)  # fmt: skip

# What stands for something that the provider has and the body has not: in an item, in a request.
REFERENCES: Final = frozenset({"file_id", "file_uri", "fileUri", "s3Location", "s3_location"})
STORED: Final = {
    "previous_response_id": "an earlier response",
    "conversation": "a stored conversation",
    "conversation_id": "a stored conversation",
    "cachedContent": "a stored cache",
    "cached_content": "a stored cache",
    "promptVariables": "a stored prompt",
    "preset": "a stored preset",
    "agent_id": "a stored agent",
    "container": "a container with what is in it",
}
KEPT: Final = frozenset(
    {
        "item_reference", "web_search_call", "file_search_call", "code_interpreter_call",
        "image_generation_call", "computer_call",
    }
)  # fmt: skip

# Fields of a request that let the provider run tools; the names of those tools in the ledger.
HOSTED: Final = {
    "web_search_options": "web_search",
    "search_parameters": "live_search",
    "search_settings": "web_search",
    "connectors": "web_search",
    "plugins": "plugins",
    "mcp_servers": "mcp",
    "data_sources": "data_sources",
}
SEARCHES: Final = re.compile(r"compound|sonar|search-(preview|api)|deep-research|:online\b")
OWN_TOOLS: Final = frozenset({"function", "custom", "namespace"})
ANTHROPIC_TOOLS: Final = re.compile(r"(bash|text_editor|computer|memory)_\d+$")
# Run by the client, with a prompt that is not published.
OPENAI_TOOLS: Final = frozenset({"local_shell", "apply_patch", "computer", "computer_use_preview"})
# Of a tool without a type: what the client's own have. Any other field is a tool of Google's.
OWN_FIELDS: Final = frozenset({"name", "function", "toolSpec", "cachePoint"})
DECLARATIONS: Final = frozenset({"functionDeclarations", "function_declarations"})
GOOGLE_SEARCH: Final = re.compile("^(google|enterprise_web)_search.*")
CAPITAL: Final = re.compile("(?=[A-Z])")
DATED: Final = re.compile(r"_\d{8}$")
VERSION: Final = re.compile(r"(?:_preview|_bm25|_regex|[_-]\d+)+$")
LONGEST_NAME: Final = 128
"""Of a tool's kind; a longer one has no version to take away."""

SCHEMAS: Final = frozenset(
    {"response_format", "text", "format", "output_config", "outputConfig", "generationConfig"}
)

URLSAFE: Final = str.maketrans("-_", "+/")
DATA_URL: Final = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),")


@dataclass(slots=True)
class Contents:
    """What a body holds, as far as its tokens depend on it."""

    model: str
    vision: tuple[str, str]
    """Whose rules apply to images, and which model's."""
    silent_ids: bool
    """Whether ids are not shown to the model."""
    texts: list[str] = field(default_factory=list)
    items: int = 0
    """Messages, parts, calls and results, and each text in them."""
    lines: int = 0
    """The most lines that the JSON in it takes where a template spreads it over lines."""
    tools: int = 0
    schemas: int = 0
    beside: int = 0
    """Tokens of what is no text."""
    reasons: list[str] = field(default_factory=list)
    audio: bool = False
    images: bool = False
    calls: dict[str, int | None] = field(default_factory=dict)

    def request(self, body: Mapping[str, Any]) -> None:
        """Gather a whole body."""
        for name, value in body.items():
            if name in STORED and value:
                self.reasons.append(f"{name}: {STORED[name]}")
            elif name in HOSTED and value not in (None, []):
                self._hosted(HOSTED[name], None, name)
            if name in UNREAD or value is None or isinstance(value, int | float):
                continue
            if name == "prompt" and isinstance(value, Mapping):
                self.reasons.append("prompt: a stored prompt")
            if name in ("tools", "functions", "toolConfig"):
                self._tools(value, name)
            elif name in CONTENT:
                self._content(value, name)
            else:
                self._json({name: value})
                if name == "extra_body" and "cached_content" in self.texts[-1]:
                    self.reasons.append("extra_body: a stored cache")
                self.schemas += name in SCHEMAS and "schema" in self.texts[-1].lower()
        edits = body.get("context_management")
        if edits and "compact" in json.dumps(edits):
            self._hosted("compaction", None, "context_management")
        models = f"{self.model} {body.get('model')} {body.get('models')}".lower()
        if "@preset" in models or ":prompt/" in models:
            self.reasons.append("model: a stored prompt")
        if SEARCHES.search(models):
            self._hosted("web_search", None, "model")

    def _content(self, value: Any, path: str) -> None:
        if isinstance(value, str):
            self.items += "." not in path  # a message of its own
            self.texts.append(value)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                here = f"{path}[{number}]"
                if path.endswith("images") and isinstance(item, str):  # Ollama's
                    self._data("image/", item, here)
                else:
                    self._content(item, here)
        elif isinstance(value, Mapping):
            self.items += 1
            kind = str(value.get("type"))
            if kind in KEPT or (kind == "reasoning" and self._is_kept(value)):
                self.reasons.append(f"{path}: what the provider keeps of it")
            for name, inner in value.items():
                self._field(value, str(name), inner, path)
        elif value is not None:
            self.texts.append(str(value))

    def _is_kept(self, item: Mapping[str, Any]) -> bool:
        """Whether the text of a reasoning item may be with the provider alone.

        What GPT-5 encrypts holds its reasoning, at 5 bytes and more a token. From o3-mini 440
        characters came for 1,600 tokens, and from DeepSeek 38 for 100: names of what is kept.
        """
        if item.get("content"):
            return False
        return "id" in item if not item.get("encrypted_content") else "gpt-5" not in self.model

    def _field(self, item: Mapping[str, Any], name: str, value: Any, path: str) -> None:
        here = f"{path}.{name}"
        if value is None or isinstance(value, bool):
            return
        if name in WORDED and isinstance(value, str) and value in WORDS:
            return
        if name in REFERENCES or (name == "audio" and isinstance(value, Mapping) and "id" in value):
            self._elsewhere(here)
        elif name in MEDIA and not (name == "source" and isinstance(value, str)):
            self._medium(item, name, value, here)
        elif name in SEALED and isinstance(value, str):
            self.beside += byte_length(value) * 3 // 4 + 1  # as long as what base64 stands for
        elif name in IDS and self.silent_ids and isinstance(value, str) and len(value) <= 80:
            return
        elif name == "arguments" and isinstance(value, str):
            self._arguments(value)
        elif name in HOLDERS:
            self._content(value, here)
        elif name == "tools":
            self._tools(value, here)
        else:
            self._json({name: value})

    def _json(self, value: Any) -> None:
        """Gather what reaches the model as JSON, its text escaped or not, or in a shorter form."""
        plain = json.dumps(value, ensure_ascii=False)
        self.lines += plain.count(",") + 2 * (plain.count("{") + plain.count("["))
        # DEL is ASCII, and escaped all the same.
        whole = plain.isascii() and "\x7f" not in plain
        self._longest(plain, plain if whole else json.dumps(value))

    def _arguments(self, written: str) -> None:
        """Gather the arguments of a call, which some templates read and write anew."""
        self.items += 2  # the marks of a call, beside those of its item
        try:
            value = json.loads(written)
        except (ValueError, RecursionError):
            self.texts.append(written)
            return
        # With spaces, each of which may be a token.
        self.beside += written.count(",") + written.count(":")
        self._longest(written, json.dumps(value, ensure_ascii=False), json.dumps(value))

    def _longest(self, *forms: str) -> None:
        """Gather one text that reaches the model in one of several forms.

        Escapes take more tokens than the characters that they stand for; only NFKC can make those
        longer.
        """
        longest = max(forms, key=lambda form: len(form.encode(errors="replace")))
        self.texts.append(longest)
        self.beside += max(map(byte_length, forms)) - byte_length(longest)

    def _medium(self, item: Mapping[str, Any], name: str, value: Any, path: str) -> None:
        form = str(item.get("format", ""))
        if isinstance(value, Mapping):
            encoded = value.get("data", value.get("bytes"))
            rest = {each: inner for each, inner in value.items() if each not in MEDIUM}
            if rest:
                self._json(rest)
            if name in ("inlineData", "inline_data"):
                self._data(str(value.get("mimeType", value.get("mime_type"))), encoded, path)
            elif name == "input_audio":
                self._data(f"audio/{value.get('format')}", encoded, path)
            elif name == "source" and value.get("type") in ("text", "content"):
                self._content(value, path)
            elif name == "source" and value.get("type", "base64") == "base64":
                family = path.split(".")[-2]  # Bedrock's: the kind is the name of the field
                self._data(str(value.get("media_type", f"{family}/{form}")), encoded, path)
            else:
                self._linked(value.get("url"), path)
        else:
            self._linked(value, path, raw=name == "file_data")

    def _linked(self, url: Any, path: str, *, raw: bool = False) -> None:
        match = DATA_URL.match(url) if isinstance(url, str) else None
        if match is not None and ";base64" not in match.group(2):
            self.texts.append(url)
        elif match is not None:
            self._data(match.group(1), url[match.end() :], path)
        elif raw and isinstance(url, str):
            self._data("", url, path)
        else:
            self._elsewhere(path)

    def _elsewhere(self, path: str) -> None:
        self.audio = self.images = True
        self.reasons.append(f"{path}: a file that is not in the body")

    def _data(self, mime: str, encoded: Any, path: str) -> None:
        """Gather what is in base64."""
        try:
            data = b64decode(encoded.translate(URLSAFE) + "==")
        except (AttributeError, ValueError):
            self.audio = self.images = True
            self.reasons.append(f"{path}: data that cannot be read")
            return
        kind = kind_of(mime, data)
        tokens: int | None = None
        if kind == "text":
            self.items += DOCUMENT
            self._content(data.decode(errors="replace"), path)
            return
        if kind == "image":
            tokens = image_tokens(*self.vision, data)
        elif kind == "pdf":
            tokens = pdf_tokens(self.vision[1], data)
        elif kind == "audio":
            tokens = audio_tokens(data)
        self.audio |= kind in ("audio", "other")
        self.images |= kind != "audio"
        if tokens is None:
            self.reasons.append(f"{path}: {mime or 'data'}, whose size in tokens is not known")
        else:
            self.items += 1
            self.beside += tokens

    def _tools(self, value: Any, path: str) -> None:
        if isinstance(value, Mapping) and ("tools" in value or path == "toolConfig"):
            for name, inner in value.items():
                if name == "tools":
                    self._tools(inner, f"{path}.tools")
                else:
                    self._json({name: inner})
            return
        for number, tool in enumerate(value if isinstance(value, list) else [value]):
            self.tools += 1
            self._json(tool)
            if isinstance(tool, Mapping):
                self._tool(tool, f"{path}[{number}]")

    def _tool(self, tool: Mapping[str, Any], path: str) -> None:
        kind = tool.get("type")
        system = tool.get("systemTool")
        if isinstance(system, Mapping):
            self._hosted(str(system.get("name")), None, path)
        elif not isinstance(kind, str):
            for name, inner in tool.items():
                if name in DECLARATIONS:
                    self.tools += len(inner) if isinstance(inner, list) else 0
                elif not OWN_FIELDS & tool.keys():
                    snake = CAPITAL.sub("_", name).lower()
                    self._hosted(GOOGLE_SEARCH.sub("web_search", snake), None, path)
        elif ANTHROPIC_TOOLS.match(kind):
            self.beside += ANTHROPIC_TOOL
        elif kind in OPENAI_TOOLS:
            self.reasons.append(f"{path}: {kind}, whose prompt is not published")
        elif kind == "namespace":
            inner = tool.get("tools")
            self.tools += len(inner) if isinstance(inner, list) else 0
        elif kind not in OWN_TOOLS and tool.get("execution") != "client":
            name = kind.rpartition(":")[2]
            name = VERSION.sub("", name) if len(name) <= LONGEST_NAME else name
            dated = DATED.search(kind) is not None  # Anthropic's, which alone knows the cap
            self._hosted(name, whole_number(tool.get("max_uses")) if dated else None, path)

    def _hosted(self, tool: str, most: int | None, path: str) -> None:
        before = self.calls.get(tool, 0)
        self.calls[tool] = None if before is None or most is None else before + most
        self.reasons.append(f"{path}: {tool}, which the provider runs")


def whole_number(value: Any) -> int | None:
    """Return a cap that a request states, or None where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
