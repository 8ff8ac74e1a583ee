"""The bound on a request's input: against what was billed, against tokenizers, and its words."""

import base64
import json
import os
import random
import statistics
import time
import unicodedata
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.budget import bound as bound_module
from tallystick.budget import vocabulary
from tallystick.budget.bound import input_bound
from tallystick.budget.vocabulary import byte_length, token_length
from tallystick.wire import model_of, provider_of, read_response
from tallystick.wire.families import FAMILIES

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x04\0\0\0\x04\0\x08\x02\0\0\0"  # 1024 x 1024
DATA = base64.b64encode(PNG).decode()
CASES = int(os.environ.get("TALLYSTICK_BOUND_CASES", "2000"))


def bound(body, api="openai.chat", *, provider="openai", model=None, window=None):
    written = body if isinstance(body, bytes) else json.dumps(body).encode()
    return input_bound(api, written, provider=provider, model=model, context_window=window)


def user(*parts, model="gpt-4o", **more):
    return {"model": model, "messages": [{"role": "user", "content": list(parts)}], **more}


# What was billed.


def test_no_recorded_request_was_billed_more_than_its_bound(corpus):
    """Shown with ``-s``: how far above the bill the bounds are, and what has no bound."""
    ratios, unbounded, exceeded = defaultdict(list), Counter(), []
    for record in corpus:
        body = record["body"] or ""
        raw = base64.b64decode(record["body_base64"]) if record["body_base64"] else body.encode()
        reading = read_response(record["api"], record["status"], record["headers"], raw)
        if record["request"] is None or reading.input_tokens is None:
            continue
        billed = reading.input_tokens + sum(other.input_tokens or 0 for other in reading.others)
        found = bound(
            json.dumps(record["request"], ensure_ascii=False).encode(),
            record["api"],
            provider=provider_of(record["url"]),
            model=model_of(record["url"]),
        )
        if found.tokens is None:
            unbounded[found.reasons[0].partition(": ")[2]] += 1
            continue
        if found.tokens < billed:
            exceeded.append((record["id"], found, billed))
        if billed:
            tools = record["request"].keys() & {"tools", "toolConfig", "functions"}
            kind = "with tools" if tools else "without tools"
            size = "100 tokens and more" if billed >= 100 else "under 100 tokens"
            for name in ("all", kind, size):
                ratios[found.basis, name].append(found.tokens / billed)
    assert exceeded == []
    print(f"\n{'basis':14} {'requests':20} {'count':>6} {'least':>7} {'median':>7} {'p90':>7}")
    for (basis, name), values in sorted(ratios.items()):
        values.sort()
        ninety = values[int(len(values) * 0.9)]
        print(
            f"{basis:14} {name:20} {len(values):6} {values[0]:7.2f} "
            f"{statistics.median(values):7.2f} {ninety:7.2f}"
        )
    print(*(f"{count:4}  {reason}" for reason, count in unbounded.most_common()), sep="\n")
    assert sum(len(values) for (_, name), values in ratios.items() if name == "all") > 740
    assert statistics.median(ratios["o200k_base", "without tools"]) < 1.3
    assert statistics.median(ratios["o200k_base", "all"]) < 1.85
    assert sum(unbounded.values()) < 130


# Tokenizers.

ODD = (
    "\ufdfa", "\u0390", "\u1e9e", "\U0001d160", "\u0958", "\ufb03", "\u00bd", "\u337f", "\uff21",
    "\u200d", "\u0301", "e\u0301\u0327", "\u202e", "\x00", "\x1b", "\ufeff", "\ufffd", "\ue000",
    "\U000e0041", "\U0010ffff", "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f3f4\U000e0067", "\ud55c", "\u1112\u1161\u11ab", "漢", "ひ", "\u0627", "\u0e44\u0e17",
    "\ua66e", "\U0001d518",
    "<|im_start|>", "<|endoftext|>", "[INST]", "</s>", "▁", "Ġ", "\t", "\r\n", "\u2028", "\\", '"',
    "{", "}}", "<", "&", "'",
)  # fmt: skip
WORDS = ("the", "model", "must", "return", "a", "list", "of", "cities,", "each;", "why", "not?")


def text_of(chance):
    """A text of one of many kinds, mostly short."""
    length = chance.choice((0, 1, 3, 8, 20, 60, 200))
    kind = chance.randrange(10)
    if kind < 3:
        return " ".join(chance.choices(WORDS, k=length))
    if kind == 3:
        return "".join(chance.choices(ODD, k=length))
    if kind == 4:
        return chance.choice(ODD) * length
    if kind == 5:
        return "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(length))
    if kind == 6:
        return "".join(chance.choices("0123456789.,-+eE", k=length))
    if kind == 7:
        return "".join(chance.choices(" \t\n\r\u00a0\u3000", k=length)) + chance.choice(WORDS)
    if kind == 8:
        points = (chance.randrange(0x20, 0x30000) for _ in range(length))
        return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)
    return chance.choice("aAzZ0!=- _/") * (length * 3)


def value_of(chance, depth):
    kind = chance.randrange(8 if depth else 4)
    if kind == 0:
        return text_of(chance)
    if kind == 1:
        return chance.choice((0, -1, 1e-7, 2**63, 0.1 + 0.2, 12345678901234567890))
    if kind == 2:
        return chance.choice((True, False, None, [], {}, ""))
    if kind == 3:
        return chance.choice(WORDS)
    if kind < 6:
        return {
            text_of(chance)[:30]: value_of(chance, depth - 1) for _ in range(chance.randrange(4))
        }
    return [value_of(chance, depth - 1) for _ in range(chance.randrange(4))]


def body_of(chance):
    """A body of Chat Completions, with tools and a conversation."""
    messages = []
    for _ in range(chance.randrange(1, 4)):
        role = chance.choice(("system", "user", "assistant"))
        if chance.random() < 0.2:
            parts = [{"type": "text", "text": text_of(chance)} for _ in range(chance.randrange(3))]
            messages.append({"role": role, "content": parts})
        else:
            messages.append({"role": role, "content": text_of(chance)})
        if chance.random() < 0.2:
            name, arguments = text_of(chance)[:20], json.dumps(value_of(chance, 2))
            call = {"id": "call_1", "type": "function"}
            call["function"] = {"name": name, "arguments": arguments}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            said = text_of(chance)
            messages.append({"role": "tool", "tool_call_id": "call_1", "content": said})
    body = {"messages": messages}
    if chance.random() < 0.3:
        function = {"name": text_of(chance)[:20], "description": text_of(chance)}
        function["parameters"] = {"type": "object", "properties": value_of(chance, 3)}
        body["tools"] = [{"type": "function", "function": function}]
    return body


LAYOUTS = (
    lambda tool: json.dumps(tool, separators=(",", ":"), ensure_ascii=False),
    lambda tool: json.dumps(tool, ensure_ascii=False),
    lambda tool: json.dumps(tool, indent=4, ensure_ascii=False),
    json.dumps,
)


def rendered(body, layout):
    """The prompt that a template makes of a body: texts, and the special tokens between them."""
    texts, specials = [], 3
    if "tools" in body:
        tools = "\n".join(layout(tool) for tool in body["tools"])
        texts.append("# Tools\n\nYou may call one or more functions. They are:\n\n" + tools + "\n")
    for message in body["messages"]:
        specials += 3
        content = message["content"] or ""
        if isinstance(content, list):
            content = "".join(part["text"] for part in content)
        calls = ""
        for call in message.get("tool_calls", ()):
            specials += 2
            arguments = call["function"]["arguments"]
            calls += "\n" + call["function"]["name"] + "\n" + arguments
        if layout is LAYOUTS[0]:  # OpenAI's, with a mark between the two
            texts += [message["role"], content + calls]
        else:
            texts.append(f"{message['role']}\n{content}{calls}")
    return texts, specials


KNOWN = (
    ("gpt-4o", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("llama-3.3-70b", "llama3"),
    ("qwen3-32b", "qwen3"),
    ("deepseek-v3", "deepseek_v3"),
)
PLAIN = ("o200k_base", "llama3", "qwen3", "mistral_v1", "mistral_v3")


def test_a_generated_prompt_never_has_more_tokens_than_its_bound():
    """By its bytes whatever the tokenizer, by a vocabulary with that vocabulary."""
    chance = random.Random(7)
    for number in range(CASES):
        body = body_of(chance)
        written = json.dumps(body, ensure_ascii=chance.random() < 0.5).encode()
        texts, specials = rendered(body, LAYOUTS[number % len(LAYOUTS)])
        unknown = input_bound("openai.chat", written, provider="cohere", model="x")
        assert unknown.basis == "bytes"
        for name in PLAIN[number % 3 : number % 3 + 3]:
            true = token_length(name, texts) + specials
            assert true <= unknown.tokens, (number, name, body)
        for model, name in KNOWN[number % 3 : number % 3 + 3]:
            found = input_bound("openai.chat", written, provider="openai", model=model)
            assert found.basis == name
            # OpenAI writes tools shorter than JSON.
            own = rendered(body, LAYOUTS[0]) if name in vocabulary.OPENAI else (texts, specials)
            true = token_length(name, own[0]) + own[1]
            assert true <= found.tokens, (number, name, body)


@pytest.mark.parametrize(
    ("model", "name"), [("x", "mistral_v1"), ("x", "llama3"), KNOWN[2], KNOWN[3], KNOWN[4]]
)
def test_tools_may_be_written_over_lines_with_indents(model, name):
    """As the public template of Llama 3 does: each line begins with a token of its own."""
    properties = {f"{letter}{number}": number for letter in "xyz" for number in range(300)}
    tool = {"name": "f", "parameters": {"p": [properties, list(range(300)), [[[{}]]]]}}
    body = {"messages": [{"role": "user", "content": "a"}], "tools": [tool]}
    texts, specials = rendered(body, LAYOUTS[2])
    assert token_length(name, texts) + specials <= bound(body, model=model).tokens


@pytest.mark.parametrize("name", [*PLAIN, "cl100k_base", "kimi_k2", "glm4", "llama2"])
def test_no_character_has_more_tokens_than_its_byte_length(name):
    """Every hundredth, and all that normal forms lengthen; one more for a start."""
    for point in range(0x110000):
        character = chr(point)
        if 0xD800 <= point < 0xE000:
            continue
        long = point % 100 == 0 or len(unicodedata.normalize("NFKC", character)) > 1
        if long:
            assert token_length(name, [character]) <= byte_length(character) + 1, hex(point)


def test_normalised_text_is_bounded_by_what_it_becomes():
    assert byte_length("\ufdfa" * 1000) == 33_000
    assert byte_length("\U0001d160") == 12
    assert byte_length("\ud83d") == 3
    assert bound({"messages": "\ufdfa" * 10}, model="x").tokens > 330


def test_without_the_extra_the_bytes_count(monkeypatch):
    body = user({"type": "text", "text": "word " * 1000})
    assert bound(body).basis == "o200k_base"
    monkeypatch.setattr(bound_module, "token_length", lambda *_: None)
    assert bound(body).basis == "bytes"
    assert bound(body).tokens > 5000


def test_a_long_body_is_not_tokenized():
    assert bound({"model": "gpt-4o", "input": "a" * (2 << 20)}).basis == "bytes"


def test_a_body_of_100_kilobytes_takes_a_few_milliseconds():
    """Measured at 5 ms; bounded loosely, for a busy machine."""
    tool = {"type": "function", "function": {"name": "f", "description": "find it " * 100}}
    body = user({"type": "text", "text": "Some prose, and more of it.\n" * 2500}, tools=[tool] * 30)
    written = json.dumps(body).encode()
    bound(written)
    start = time.perf_counter()
    assert bound(written).tokens > 15_000
    assert time.perf_counter() - start < 0.15


def test_an_azure_deployment_is_counted_with_both_vocabularies():
    """Its name is its owner's choice, so it may be either."""
    body = {"model": "gpt-4o", "messages": "漢字 and text " * 50}
    both = bound(body, provider="azure").tokens
    assert both >= bound(body).tokens
    assert both > bound(body | {"model": "gpt-4o"}, provider="openai").tokens


# What is in a body.


def test_every_field_counts_wherever_it_stands():
    plain = user({"type": "text", "text": "a"})
    least = bound(plain).tokens
    for extra in (
        {"tools": [{"type": "function", "function": {"name": "f", "description": "b " * 500}}]},
        {"response_format": {"json_schema": {"schema": {"description": "b " * 500}}}},
        {"something_new": "b " * 500},
        {"instructions": "b " * 500},
        {"messages": [{"role": "b " * 500}]},
        {"messages": [{"role": "user", "new": {"b " * 500: 1}}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "b " * 500}]}]},
        {"tool_choice": {"b " * 500: 1}},
    ):
        assert bound(plain | extra).tokens >= least + 490, extra
    assert bound(plain | {"metadata": {"b": "b " * 500}, "seed": 1}).tokens == least


@pytest.mark.parametrize(
    ("api", "part"),
    [
        (
            "openai.chat",
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}"}},
        ),
        ("openai.responses", {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}),
        ("anthropic.messages", {"type": "image", "source": {"type": "base64", "data": DATA}}),
        ("gemini.generate", {"inlineData": {"mimeType": "image/png", "data": DATA}}),
        ("gemini.generate", {"inline_data": {"mime_type": "image/png", "data": DATA}}),
        ("bedrock.converse", {"image": {"format": "png", "source": {"bytes": DATA}}}),
    ],
)
def test_an_image_counts_by_its_dimensions_wherever_its_base64_stands(api, part):
    found = bound(user(part), api)
    assert found.images
    assert not found.audio
    assert not found.reasons
    assert 765 <= found.tokens < 765 + 40


def test_an_image_for_an_unnamed_deployment_counts_as_the_dearest():
    part = {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}"}
    assert bound(user(part, model="mine"), provider="azure").tokens > 25_501


def test_ollama_s_images_are_base64_alone():
    body = {"model": "x", "messages": [{"role": "user", "content": "a", "images": [DATA]}]}
    found = bound(body, "ollama.chat", provider=None)
    assert found.images
    assert not found.reasons


def test_base64_in_a_tool_s_input_is_text():
    """Only where a message may hold an image is base64 one."""
    source = {"type": "base64", "media_type": "image/png", "data": DATA * 100}
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {"source": source}}
    found = bound(user(call, model="claude-sonnet-4-5"), "anthropic.messages")
    assert found.tokens > 3000
    assert not found.images


def test_what_stands_beside_base64_counts_too():
    part = {"inlineData": {"mimeType": "image/png", "data": DATA, "displayName": "b " * 500}}
    assert bound(user(part), "gemini.generate").tokens > 765 + 490
    text = {"type": "image_url", "image_url": {"url": "data:text/plain," + "b " * 500}}
    assert bound(user(text)).tokens > 490
    found = {"type": "search_result", "source": "https://x.test", "title": "b", "content": []}
    assert bound(user(found), "anthropic.messages").reasons == ()


def test_audio_counts_by_its_duration_and_says_that_it_is_there():
    data = base64.b64encode(b"ID3" + b"\0" * 9_997).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "mp3"}}
    found = bound(user(part))
    assert found.audio
    assert not found.images
    assert 352 <= found.tokens < 380


def test_a_document_of_text_is_text():
    data = base64.b64encode(b"word " * 1000).decode()
    part = {"inlineData": {"mimeType": "text/plain", "data": data}}
    assert 5000 < bound(user(part, model="gemini-2.5-pro"), "gemini.generate").tokens < 5200


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}, "image_url"),
        ({"type": "input_image", "file_id": "file-1"}, "file_id"),
        ({"type": "input_file", "file_url": "https://x.test/a.pdf"}, "file_url"),
        ({"type": "document", "source": {"type": "url", "url": "https://x.test"}}, "source"),
        ({"fileData": {"fileUri": "https://x.test/v.mp4"}}, "fileData"),
        ({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a"}}}}, "image.source"),
        ({"video": {"format": "mp4", "source": {"bytes": DATA}}}, "video.source"),
        ({"inlineData": {"mimeType": "image/png", "data": "QUJD"}}, "inlineData"),
        ({"inlineData": {"mimeType": "image/png", "data": 7}}, "inlineData"),
        ({"type": "item_reference", "id": "msg_1"}, ""),
        ({"type": "reasoning", "id": "rs_1", "summary": []}, ""),
        ({"role": "assistant", "audio": {"id": "audio_1"}}, "audio"),
    ],
)
def test_what_is_not_in_the_body_is_bounded_by_the_context_window(part, path):
    found = bound(user({"type": "text", "text": "a"}, part))
    assert found.tokens is None
    assert found.reasons[0].startswith(f"messages[0].content[1]{'.' if path else ''}{path}: ")
    found = bound(user(part), window=128_000)
    assert (found.tokens, found.basis) == (128_000, "context window")
    assert found.tool_calls == {}


@pytest.mark.parametrize(
    "field",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"cachedContent": "cachedContents/1"},
        {"preset": "mine"},
        {"model": "arn:aws:bedrock:us-east-1:1:prompt/AB"},
        {"tools": [{"type": "computer_use_preview"}]},
        {"extra_body": {"google": {"cached_content": "cachedContents/1"}}},
    ],
)
def test_what_the_provider_keeps_is_bounded_by_the_context_window(field):
    found = bound({"model": "gpt-4o", "input": "a"} | field, "openai.responses", window=9_000)
    assert (found.tokens, found.basis) == (9_000, "context window")
    assert found.reasons[0].startswith(next(iter(field)))


def test_encrypted_reasoning_counts_by_its_length_where_it_is_more_than_a_name():
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gA" * 500}
    found = bound(user(item, model="gpt-5-mini"), "openai.responses")
    assert 750 < found.tokens < 780
    found = bound(user(item, model="o3-mini"), "openai.responses", window=5000)
    assert (found.tokens, len(found.reasons)) == (5000, 1)
    told = item | {"content": [{"type": "reasoning_text", "text": "because"}]}
    assert bound(user(told, model="deepseek-v3"), "openai.responses").reasons == ()


def test_no_request_is_billed_more_than_the_model_reads_at_once():
    found = bound(user({"type": "text", "text": "a " * 5000}), window=1000)
    assert (found.tokens, found.basis, found.reasons) == (1000, "context window", ())


# Tools that the provider runs.


@pytest.mark.parametrize(
    ("api", "fields", "calls"),
    [
        ("openai.responses", {"tools": [{"type": "web_search_preview"}]}, {"web_search": None}),
        (
            "openai.responses",
            {"tools": [{"type": "file_search"}, {"type": "mcp"}]},
            {"file_search": None, "mcp": None},
        ),
        ("openai.chat", {"web_search_options": {}}, {"web_search": None}),
        ("openai.chat", {"model": "gpt-4o-search-preview"}, {"web_search": None}),
        ("openai.chat", {"model": "openai/gpt-4o:online"}, {"web_search": None}),
        ("openai.chat", {"model": "compound-beta"}, {"web_search": None}),
        ("openai.chat", {"plugins": [{"id": "web"}]}, {"plugins": None}),
        ("openai.chat", {"tools": [{"type": "openrouter:web_search"}]}, {"web_search": None}),
        (
            "anthropic.messages",
            {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
            {"web_search": 3},
        ),
        (
            "anthropic.messages",
            {"tools": [{"type": "code_execution_20260120", "name": "code_execution"}]},
            {"code_execution": None},
        ),
        ("anthropic.messages", {"mcp_servers": [{"url": "x"}]}, {"mcp": None}),
        ("gemini.generate", {"tools": [{"googleSearch": {}}]}, {"web_search": None}),
        ("gemini.generate", {"tools": {"google_search": {}}}, {"web_search": None}),
        ("gemini.generate", {"tools": [{"code_execution": {}}]}, {"code_execution": None}),
        ("openai.chat", {"models": ["a", "perplexity/sonar"]}, {"web_search": None}),
        ("openai.chat", {"data_sources": [{}]}, {"data_sources": None}),
        (
            "gemini.generate",
            {"tools": [{"functionDeclarations": [{"name": "f"}], "urlContext": {}}]},
            {"url_context": None},
        ),
        (
            "bedrock.converse",
            {"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}},
            {"nova_grounding": None},
        ),
        (
            "openai.responses",
            {"context_management": [{"type": "compaction"}]},
            {"compaction": None},
        ),
    ],
)
def test_tools_that_the_provider_runs_are_named_with_their_caps(api, fields, calls):
    found = bound({"model": "m", "input": "a"} | fields, api, window=1000)
    assert found.tool_calls == calls
    assert (found.tokens is None) == (None in calls.values())
    assert found.reasons


@pytest.mark.parametrize(
    ("api", "fields"),
    [
        ("openai.responses", {"tools": [{"type": "function", "name": "f"}, {"type": "custom"}]}),
        ("anthropic.messages", {"tools": [{"name": "f", "input_schema": {}}]}),
        ("anthropic.messages", {"tools": [{"type": "bash_20250124", "name": "bash"}]}),
        ("gemini.generate", {"tools": [{"functionDeclarations": [{"name": "f"}]}]}),
        ("bedrock.converse", {"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}}),
        ("cohere.chat", {"tools": [{"name": "f", "parameter_definitions": {}}]}),
        ("openai.chat", {"functions": [{"name": "f", "parameters": {}}]}),
    ],
)
def test_the_user_s_own_tools_cost_no_calls(api, fields):
    found = bound({"model": "m", "input": "a"} | fields, api)
    assert (found.tool_calls, found.reasons) == ({}, ())
    assert found.tokens is not None


def test_each_call_may_bill_the_whole_context_again():
    tool = {"type": "web_search"}
    body = {"model": "gpt-5", "input": "a", "tools": [tool], "max_tool_calls": 2}
    found = bound(body, "openai.responses", window=1000)
    assert (found.tokens, found.tool_calls) == (3000, {"web_search": 2})
    assert bound(body, "openai.responses").tokens is None


def test_a_cap_counts_only_where_it_is_known_to_be_kept():
    body = {"model": "gpt-5", "input": "a", "tools": [{"type": "web_search", "max_uses": 1}]}
    assert bound(body, "openai.responses", window=1000).tool_calls == {"web_search": None}
    found = bound(body | {"max_tool_calls": 2}, "openai.responses", provider="openrouter")
    assert found.tool_calls == {"web_search": None}


def test_a_refused_search_is_a_turn_of_the_model_all_the_same():
    """Anthropic answers one search too many with an error, and asks the model again."""
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 1}
    body = {"model": "claude-sonnet-4-5", "messages": "a", "tools": [tool]}
    assert bound(body, "anthropic.messages", window=1000).tokens == 10_000


# What cannot be read.


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"a=b", b'"\\ufdfa"'])
def test_a_body_that_is_no_request_is_bounded_by_its_bytes(body):
    found = bound(body)
    assert found.basis == "bytes"
    assert found.tokens >= len(body) + 27 * body.count(b"\\u")


@pytest.mark.parametrize("body", [b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}"])
def test_a_body_that_others_may_read_has_no_bound(body):
    found = bound(body)
    assert found.tokens is None
    assert found.reasons


def test_a_name_that_comes_twice_has_no_bound_in_the_body():
    """Which of the two the provider reads is not known."""
    found = bound(b'{"model":"gpt-4o","input":"aaaaaaaaaaaaaaaaa","input":"a"}', window=50)
    assert (found.tokens, len(found.reasons)) == (50, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "content", "source", "tools", "input", "image_url", "audio", "data"),
                    *("messages", "file_data", "inlineData", "arguments", "prompt", "images"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(body=st.dictionaries(st.sampled_from(["messages", "input", "tools", "toolConfig"]), JSON))
def test_no_shape_raises(body):
    for api in FAMILIES:
        found = bound(body, api)
        assert found.tokens is not None or found.reasons


@pytest.mark.parametrize("name", ["x" + "_1" * 40 + "z", "x" + "_1" * 200_000 + "z"])
def test_the_name_of_a_tool_is_read_in_no_time_whatever_it_is(name):
    body = json.dumps({"model": "gpt-5", "input": "x", "tools": [{"type": name}]}).encode()
    began = time.process_time()
    input_bound("openai.responses", body, provider="openai", model="gpt-5")
    assert time.process_time() - began < 5


def test_a_character_that_is_escaped_although_it_is_ascii_counts_as_escaped():
    tools = [{"type": "function", "name": "f", "description": "\x7f" * 400}]
    body = json.dumps({"model": "m", "messages": [], "tools": tools}, ensure_ascii=False).encode()
    bound = input_bound("openai.chat", body, provider=None, model="m")
    assert bound.tokens >= 400 * len("\\u007f")


def test_a_deployment_at_azure_may_be_the_model_that_it_is_named_after():
    pytest.importorskip("splintr")
    assert vocabulary.vocabularies("azure", "glm-4.6")[0] == "glm4"
    names = ("gpt-4o", "gpt-4")
    assert len({frozenset(vocabulary.vocabularies("azure", name)) for name in names}) == 1
