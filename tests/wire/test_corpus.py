"""Recorded responses of real providers, against a second reading and against genai-prices."""

import base64
import json
import random
import re
from collections import Counter
from functools import cache

import pytest

from tallystick.usage import RequestUsage
from tallystick.wire import StreamReader, identify, provider_of, read_response
from tallystick.wire.families import FAMILIES

EMBEDDINGS = re.compile(r"embed")


def body_of(record):
    if record["body_base64"]:
        return base64.b64decode(record["body_base64"])
    return record["body"].encode()


def reading_of(record):
    return read_response(record["api"], record["status"], record["headers"], body_of(record))


def objects_of(record):
    """All JSON objects of a body, found by other means than the project's own decoders."""
    body = body_of(record)
    if record["body_base64"]:
        found = re.findall(rb'"usage":(\{[^{}]*(?:\{\}[^{}]*)?\})', body)
        return [{"usage": json.loads(block)} for block in found]
    text = body.decode()
    try:
        return [json.loads(text)]
    except ValueError:
        lines = [line.removeprefix("data:").strip() for line in text.split("\n")]
        return [json.loads(line) for line in lines if line.startswith("{")]


def usage_of(record):
    """The largest value of each number in the usage blocks of a body."""
    largest = {}
    for body in objects_of(record):
        response = body.get("response")
        for holder in (
            body,
            response if isinstance(response, dict) else {},
            body.get("message") if isinstance(body.get("message"), dict) else {},
            body.get("x_groq") or {},
            body.get("meta") or {},
            body.get("delta") if isinstance(body.get("delta"), dict) else {},
        ):
            block = holder.get("usage") or holder.get("usageMetadata") or holder.get("billed_units")
            for name, value in {
                **(block or {}),
                **((block or {}).get("billed_units") or {}),
            }.items():
                if isinstance(value, int | float):
                    largest[name] = max(value, largest.get(name, 0))
                elif value:
                    largest[name] = value
        for name in ("eval_count", "prompt_eval_count", "inputTextTokenCount"):
            if name in body:
                largest[name] = body[name]
        for result in body.get("results", []):
            largest["outputText"] = result["tokenCount"]
    return largest


def told_by(record):
    """Input and output by a short second reading of each provider's documentation."""
    usage = usage_of(record)
    kind = record["api"]
    get = usage.get
    if kind == "gemini.generate":
        if "promptTokenCount" not in usage:
            return None, None
        sent = usage["promptTokenCount"] + get("toolUsePromptTokenCount", 0)
        return sent, get("candidatesTokenCount", 0) + get("thoughtsTokenCount", 0)
    if kind.startswith("bedrock.") and "inputTokens" in usage:
        extra = get("cacheReadInputTokens", 0) + get("cacheWriteInputTokens", 0)
        return usage["inputTokens"] + extra, usage["outputTokens"]
    if kind == "anthropic.messages" or (kind == "bedrock.invoke" and "input_tokens" in usage):
        extra = get("cache_read_input_tokens", 0) + get("cache_creation_input_tokens", 0)
        compactions = [i for i in get("iterations", []) if i["type"] == "compaction"]
        sent = sum(i["input_tokens"] for i in compactions)
        received = sum(i["output_tokens"] for i in compactions)
        return usage["input_tokens"] + extra + sent, usage["output_tokens"] + received
    if kind == "bedrock.invoke":
        headers = record["headers"]
        sent = int(headers["x-amzn-bedrock-input-token-count"])
        return sent, int(headers.get("x-amzn-bedrock-output-token-count", 0))
    if kind.startswith("ollama."):
        return get("prompt_eval_count"), get("eval_count")
    sent = get("prompt_tokens", get("input_tokens"))
    received = get("completion_tokens", get("output_tokens"))
    if kind == "openai.embeddings":
        return (get("total_tokens") if sent is None else sent), (0 if usage else None)
    if (
        "gemini" in str(record["request"])
        and kind == "openai.chat"
        and "googleapis" in record["url"]
    ):
        received = usage["total_tokens"] - sent
    return sent, received


def test_every_record_equals_a_second_reading_of_its_usage_block(corpus):
    compared = 0
    for record in corpus:
        reading = reading_of(record)
        told = told_by(record)
        assert (reading.input_tokens, reading.output_tokens) == told, record["id"]
        compared += reading.has_usage
    assert compared > 850


def test_every_record_becomes_a_request_usage(corpus):
    """A reading's fields are the keywords of `RequestUsage`, and nothing in it is text."""
    for record in corpus:
        reading = reading_of(record)
        usage = RequestUsage(**reading.fields())
        assert usage.input_tokens == reading.input_tokens
        assert usage.total_tokens == reading.total_tokens
        assert len(json.dumps(usage.to_dict())) < 2000
        assert len(json.dumps(reading.raw_usage, allow_nan=False)) < 3000
        if record["status"] == 200 and reading.has_usage:
            assert reading.outcome in ("completed", "incomplete", "failed"), record["id"]
        if record["status"] >= 400:
            assert reading.outcome == "error"
            assert reading.error_type


def test_every_record_names_its_api_and_known_hosts_their_provider(corpus):
    unknown = Counter()
    for record in corpus:
        if record["url"].endswith("/api/embeddings"):
            assert identify(record["url"]) == "ollama.embed"
        else:
            assert identify(record["url"]) == record["api"], record["url"]
        if provider_of(record["url"]) is None:
            unknown[record["url"].split("/")[2]] += 1
    assert set(unknown) == {
        "127.0.0.1:11434",
        "localhost:5002",
        "localhost:8000",
        "localhost:8787",
        "api.inference.crusoecloud.com",
        "myorg-myaccount.snowflakecomputing.com",
        "ollama.com",
        "us.inference.heroku.com",
    }


def test_the_anomalies_of_the_corpus_are_these(corpus):
    """Real responses hold few contradictions; each of them is known."""
    anomalies = Counter(anomaly for record in corpus for anomaly in reading_of(record).anomalies)
    assert anomalies == {
        # An advisor of another model was asked within the request, and is billed at its rates.
        "2540 tokens of claude-opus-4-8 beside": 1,
        "2561 tokens of claude-opus-4-8 beside": 1,
        # OpenRouter, of a request that failed: more reasoning than output.
        "reasoning_tokens: 11 of 10 output_tokens": 1,
        # Gemini 3 with tools of Google's: the last chunk leaves out the first step's candidates.
        "totalTokenCount: 165 for 87 + 99": 1,
    }


def streamed(corpus):
    records = [record for record in corpus if record["stream"]]
    # Recorded streams that the recorder took for plain bodies.
    records += [
        record
        for record in corpus
        if not record["stream"] and record["body"].startswith(("data:", "event:", '{"model":"gem'))
    ]
    assert len(records) > 100
    return records


def test_a_stream_reads_the_same_however_it_is_cut(corpus):
    chance = random.Random(20)
    for record in streamed(corpus):
        body = body_of(record)
        whole = StreamReader(record["api"], record["headers"])
        whole.feed(body)
        expected = whole.close()
        for size in (1, 7, 60, 1500):
            if size == 1 and len(body) > 30_000:
                continue
            reader = StreamReader(record["api"], record["headers"])
            place = 0
            while place < len(body):
                step = chance.randint(1, size)
                reader.feed(body[place : place + step])
                place += step
            assert reader.close() == expected, (record["id"], size)
            assert reader.finished == whole.finished


def test_skipping_plain_deltas_changes_nothing(corpus):
    """What the skip leaves undecoded is nothing that would have been read."""
    skipped = 0
    for record in streamed(corpus):
        family = FAMILIES[record["api"]]
        if family.skip is None:
            continue
        reader = StreamReader(record["api"], record["headers"])
        decoding = StreamReader(record["api"], record["headers"])
        decoding._skip = None

        def counted(reading, data, skip=family.skip):
            nonlocal skipped
            length = skip(reading, data)
            skipped += length is not None
            return length

        reader._skip = counted
        for each in (reader, decoding):
            each.feed(body_of(record))
        assert reader.close() == decoding.close(), record["id"]
    assert skipped > 2200


def test_a_stream_that_is_cut_short_never_says_more_than_the_whole(corpus):
    chance = random.Random(21)
    for record in streamed(corpus):
        body = body_of(record)
        whole = StreamReader(record["api"], record["headers"])
        whole.feed(body)
        expected = whole.close()
        reader = StreamReader(record["api"], record["headers"])
        reader.feed(body[: chance.randint(0, len(body) - 1)])
        reading = reader.close()
        for part, full in (
            (reading.input_tokens, expected.input_tokens),
            (reading.text_bytes, expected.text_bytes),
        ):
            assert part is None or part <= full, record["id"]


# Differences from genai-prices, each looked into. In all of them ours is what the provider bills.
DIFFERENCES = {
    # Its Mistral extractor does not read `num_cached_tokens`, which is part of prompt_tokens.
    ("mistral", "openai.chat", "cache_read_tokens"): 11,
    # Gemini behind OpenAI's interface leaves its thoughts out of completion_tokens; they are
    # output, and in the total.
    ("google", "openai.chat", "output_tokens"): 2,
    # A compaction is billed beside the message; its tokens are only in `iterations`.
    ("anthropic", "anthropic.messages", "input_tokens"): 1,
    ("anthropic", "anthropic.messages", "output_tokens"): 1,
}

# What genai-prices reads nothing of, by what it says. It has no extractor for some forms, wants a
# model that it knows, and misses what lies in headers.
UNREAD = {
    ("aws", "bedrock.invoke", "Missing value at `usage`"): 16,
    ("aws", "bedrock.invoke", "Missing value at `usage.inputTokens`"): 1,
    ("aws", "openai.responses", "Unknown api_flavor 'responses'"): 4,
    ("aws", "openai.chat", "Missing value at `usage.inputTokens`"): 1,
    ("cohere", "cohere.chat", "Missing value at `usage`"): 8,
    ("deepseek", "openai.responses", "Unknown api_flavor 'responses'"): 5,
    ("google", "gemini.generate", "'int' object has no attribute 'lower'"): 1,
    ("google", "gemini.generate", "No usage information found at usageMetadata"): 1,
    ("groq", "openai.chat", "Unable to find model"): 1,
    ("huggingface_together", "openai.chat", "Unable to find model"): 2,
    ("mistral", "openai.embeddings", "Unknown api_flavor 'embeddings'"): 1,
    ("openai", "openai.completions", "Unknown api_flavor 'default'"): 5,
    ("openai", "openai.responses", "Expected `usage` value to be a Mapping"): 1,
    ("openrouter", "openai.responses", "Unknown api_flavor 'responses'"): 2,
    ("together", "openai.chat", "No extraction logic defined for this provider"): 1,
    ("voyageai", "openai.embeddings", "No extraction logic defined for this provider"): 3,
}  # fmt: skip

FLAVORS = {
    "openai.chat": ("chat", "default"),
    "openai.completions": ("chat", "default"),
    "openai.embeddings": ("embeddings",),
    "openai.responses": ("responses",),
    "bedrock.invoke": ("anthropic", "default"),
}


def test_every_difference_from_genai_prices_is_known(corpus):
    from genai_prices import extract_usage

    differences, unread, equal = Counter(), Counter(), 0
    for record in corpus:
        provider = provider_of(record["url"])
        if record["status"] != 200 or provider is None or record["stream"]:
            continue
        try:
            body = json.loads(record["body"])
        except ValueError:
            continue
        theirs = None
        for flavor in FLAVORS.get(record["api"], ("default",)):
            try:
                theirs = extract_usage(body, provider_id=provider, api_flavor=flavor).usage
                break
            except Exception as raised:
                said = (
                    str(raised.args[0] if raised.args else raised)
                    .split(", ")[0]
                    .split(" with model")[0]
                )
        if theirs is None:
            unread[provider, record["api"], said] += 1
            continue
        ours = reading_of(record)
        before = differences.total()
        for name, count in (
            ("input_tokens", ours.input_tokens),
            ("output_tokens", ours.output_tokens),
            ("cache_read_tokens", ours.input_details.get("cached_tokens")),
            ("cache_write_tokens", ours.input_details.get("cache_write_tokens")),
            ("input_audio_tokens", ours.input_details.get("audio_tokens")),
            ("output_audio_tokens", ours.output_details.get("audio_tokens")),
        ):
            # genai-prices does not tell zero from unknown.
            if (count or 0) != (getattr(theirs, name, None) or 0):
                differences[provider, record["api"], name] += 1
        equal += differences.total() == before
    assert differences == DIFFERENCES
    assert unread == UNREAD
    assert equal > 740


@cache
def spread():
    return random.Random(22)


@pytest.mark.parametrize("round_", range(2))
def test_a_damaged_body_never_raises(corpus, round_):
    """Recorded bodies, cut and with bytes changed, read as whole bodies and as streams."""
    chance = spread()
    for record in corpus[round_::2]:
        body = bytearray(body_of(record)[:20_000])
        for _ in range(chance.randint(1, 6)):
            if body:
                body[chance.randrange(len(body))] = chance.choice(b'"{}[]:,\\\x00\xff-9n\r\n ')
        del body[chance.randint(0, len(body)) if chance.random() < 0.5 else len(body) :]
        reading = read_response(record["api"], record["status"], record["headers"], bytes(body))
        RequestUsage(**reading.fields())
        reader = StreamReader(record["api"], record["headers"])
        reader.feed(bytes(body))
        json.dumps(reader.close().raw_usage, allow_nan=False)
