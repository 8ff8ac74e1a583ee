"""Whatever a body holds, reading it never raises and never takes nonsense for a count."""

import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.usage import INPUT_DETAILS, OUTPUT_DETAILS, RequestUsage
from tallystick.wire import Reading, StreamReader, read_object, read_response
from tallystick.wire.families import FAMILIES

NAMES = sorted(
    {
        *INPUT_DETAILS, *OUTPUT_DETAILS,
        "usage", "usageMetadata", "usage_metadata", "choices", "output", "status", "message",
        "delta", "content", "type", "model", "id", "error", "response", "candidates", "meta",
        "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
        "prompt_tokens_details", "completion_tokens_details", "input_tokens_details",
        "cache_creation", "iterations", "billed_units", "inputTokens", "outputTokens", "results",
        "promptTokenCount", "totalTokenCount", "promptTokensDetails", "modality", "tokenCount",
        "finish_reason", "stop_reason", "timings", "x_groq", "cost", "tool_usage", "serviceTier",
        "service_tier", "groundingMetadata", "webSearchQueries", "item", "bytes", "text",
        "tool_calls", "function", "arguments", "inputTextTokenCount", "eval_count", "done",
        "cached_tokens_details", "cost_details", "is_byok", "incomplete_details", "reason",
        "server_tool_use", "cacheDetails", "ttl", "trace", "promptRouter", "embedding",
    }
)  # fmt: skip

numbers = st.sampled_from(
    [
        *(0, 1, 7, -3, 10**15, 10**16, 10**400, -(10**400), 1.0, 2.5, -0.0, 1e308, True, None),
        *(float("nan"), float("inf"), "12", " 7 ", "12x", "-1", "٣", "9" * 400),
    ]
)
words = st.sampled_from(
    [
        *("message", "message_start", "message_delta", "response.completed", "error", "stop"),
        *("length", "advisor_message", "auto", "TEXT", "", "x" * 999, "\ud800", "5m"),
        *("web_search_call", "compaction", "gemini-2.5-pro", "content_block_delta"),
    ]
)
values = st.recursive(
    numbers | words,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)
bodies = st.dictionaries(st.sampled_from(NAMES), values, max_size=6)
apis = st.sampled_from([*FAMILIES, "unknown"])


def check(reading: Reading) -> None:
    """What every reading keeps to, however it came about."""
    usage = RequestUsage(**reading.fields())
    json.dumps(usage.to_dict(), allow_nan=False)
    written = json.dumps(reading.raw_usage, allow_nan=False)
    assert "x" * 100 not in written
    for number in (reading.input_tokens, reading.output_tokens, reading.total_tokens):
        assert number is None or (type(number) is int and number >= 0)
    for details, names, whole in (
        (reading.input_details, INPUT_DETAILS, reading.input_tokens),
        (reading.output_details, OUTPUT_DETAILS, reading.output_tokens),
    ):
        assert details.keys() <= set(names)
        for number in details.values():
            assert type(number) is int
            assert number >= 0
            assert whole is None or number <= whole
    assert all(type(number) is int and number > 0 for number in reading.tool_requests.values())
    assert reading.provider_cost is None or reading.provider_cost >= Decimal(0)
    assert len(reading.anomalies) <= 20
    assert all(len(anomaly) < 400 for anomaly in reading.anomalies)
    assert isinstance(reading.text_bytes, int)
    for other in reading.others:
        check(other)


@settings(max_examples=150)
@given(apis, bodies, st.sampled_from([200, 429]))
def test_a_body_of_wrong_types_never_raises(api, body, status):
    check(read_response(api, status, {}, body))
    check(read_object(body))


@settings(max_examples=150)
@given(apis, st.lists(bodies, max_size=4), st.binary(max_size=20))
def test_a_stream_of_wrong_types_never_raises(api, items, tail):
    reader = StreamReader(api, {})
    for body in items:
        try:
            written = json.dumps(body).encode()
        except ValueError:  # A number past what Python writes.
            continue
        reader.feed(b"data: " + written + b"\n\n")
        check(reader.reading)
    reader.feed(tail)
    check(reader.close())


@given(apis, st.binary(max_size=300), st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_random_bytes_never_raise(api, body, headers):
    check(read_response(api, 200, headers, body))
    reader = StreamReader(api, headers)
    reader.feed(body)
    reader.feed(b"")
    check(reader.close())


def repr_of(value):
    """A test's id, also for a number that has no decimal form."""
    return "absurd" if isinstance(value, int) and value > 10**20 else repr(value)


@pytest.mark.parametrize(
    ("value", "count", "anomaly"),
    [
        (-3, None, "prompt_tokens: -3"),
        (2.5, None, "prompt_tokens: 2.5"),
        ("12", 12, "prompt_tokens: '12'"),
        ("many", None, "prompt_tokens: 'many'"),
        (True, None, "prompt_tokens: True"),
        ({"a": 1}, None, "prompt_tokens: (dict)"),
        ([1], None, "prompt_tokens: (list)"),
        (10**16, None, f"prompt_tokens: {10**16}"),
        (10**5000, None, "prompt_tokens: '(an absurd number)'"),
        (float("nan"), None, "prompt_tokens: 'nan'"),
        ("x" * 500, None, "prompt_tokens: '(text left out)'"),
        (12.0, 12, None),
        (None, None, None),
    ],
    ids=repr_of,
)
def test_what_cannot_be_a_count_is_unknown_and_named(value, count, anomaly):
    body = {"choices": [], "usage": {"prompt_tokens": value, "completion_tokens": 4}}
    reading = read_response("openai.chat", 200, {}, body)
    assert (reading.input_tokens, reading.output_tokens) == (count, 4)
    assert reading.anomalies == ([] if anomaly is None else [anomaly])


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b"[[", b"7", b'"x"', b"[" * 100_000])
def test_a_body_that_cannot_be_read_is_malformed(body):
    reading = read_response("openai.chat", 200, {}, body)
    assert (reading.outcome, reading.error_type) == ("error", "malformed_body")
    reading = read_response("openai.chat", 502, {}, body)
    assert (reading.outcome, reading.error_type) == ("error", "502")


def test_an_http_error_is_named_by_its_code_else_by_its_status():
    body = b'{"error": {"code": "insufficient_quota", "type": "x"}}'
    assert read_response("openai.chat", 429, {}, body).error_type == "insufficient_quota"
    assert read_response("ollama.chat", 404, {}, b'{"error": "no model"}').error_type == "404"
    assert read_response("cohere.chat", 404, {}, b'{"message": "no"}').error_type == "404"
    assert read_response("gemini.generate", 400, {}, b"<html>").error_type == "400"


def test_an_error_that_came_where_a_stream_was_asked_for_is_read():
    """Under its own content type, and under the stream's."""
    for kind in ("application/json", "text/event-stream"):
        reader = StreamReader("openai.responses", {"content-type": kind}, 429)
        reader.feed(b' {"error": {"co')
        reader.feed(b'de": "rate_limit_exceeded"}}')
        reading = reader.close()
        assert (reading.outcome, reading.error_type) == ("error", "rate_limit_exceeded")


def test_a_whole_response_that_came_where_a_stream_was_asked_for_is_read():
    body = {"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    body["choices"] = [{"finish_reason": "stop", "message": {"content": "hi"}}]
    reader = StreamReader("openai.chat", {"content-type": "application/json"})
    reader.feed(json.dumps(body).encode())
    assert reader.finished
    assert reader.close() == read_response("openai.chat", 200, {}, body)


def test_a_stream_given_as_a_whole_body_is_read():
    body = b'data: {"model":"m","choices":[],"usage":{"prompt_tokens":3}}\n\ndata: [DONE]\n\n'
    assert read_response("openai.chat", 200, {}, body).input_tokens == 3


def test_a_reader_keeps_no_text():
    """However long the stream, what it holds does not grow with it."""
    reader = StreamReader("openai.chat", {})
    for number in range(300):
        content = f"secret {number} \n" * 50
        choice = {"index": 0, "delta": {"content": content}}
        body = {"id": "c", "model": "m", "choices": [choice]}
        reader.feed(b"data: " + json.dumps(body).encode() + b"\n\n")
    held = [reader._reading, *(getattr(reader._decoder, name) for name in ("_rest", "_data"))]
    assert "secret" not in repr(held)
    assert reader.reading.text_bytes > 100_000


def test_a_live_reading_is_a_copy():
    reader = StreamReader("openai.chat", {})
    reader.feed(b'data: {"choices":[],"usage":{"prompt_tokens":-1}}\n\n')
    before = reader.reading
    reader.feed(b'data: {"choices":[],"usage":{"prompt_tokens":5}}\n\n')
    assert before.input_tokens is None
    assert before.anomalies == ["prompt_tokens: -1"]
    assert reader.reading.input_tokens == 5
    assert reader.reading == reader.reading == reader.close() == reader.close()
