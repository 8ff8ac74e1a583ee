"""OpenAI's Responses API."""

import json

import pytest

from tallystick.wire import StreamReader, read_response

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 30},
    "total_tokens": 150,
}


def response(**more):
    return {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-5",
        "status": "completed",
        "error": None,
        "service_tier": "default",
        "output": [],
        "usage": USAGE,
        **more,
    }


def read(**more):
    return read_response("openai.responses", 200, {}, json.dumps(response(**more)).encode())


def stream(*events):
    reader = StreamReader("openai.responses", {"content-type": "text/event-stream"})
    for event in events:
        name = event["type"].encode()
        reader.feed(b"event: " + name + b"\ndata: " + json.dumps(event).encode() + b"\n\n")
    return reader


CREATED = {
    "type": "response.created",
    "response": response(status="in_progress", usage=None, service_tier="auto"),
}


def delta(text):
    return {"type": "response.output_text.delta", "item_id": "i", "delta": text, "logprobs": []}


def test_the_counts_are_the_usage_block_s():
    reading = read()
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (100, 50, 150)
    assert reading.input_details == {"cached_tokens": 60, "cache_write_tokens": 10}
    assert reading.output_details == {"reasoning_tokens": 30}
    assert (reading.model, reading.response_id) == ("gpt-5", "resp_1")
    assert (reading.outcome, reading.service_tier) == ("completed", "default")
    assert reading.raw_usage == USAGE


@pytest.mark.parametrize(
    ("more", "outcome", "error_type"),
    [
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "incomplete",
            "max_output_tokens",
        ),
        ({"status": "failed", "error": {"code": "server_error"}}, "failed", "server_error"),
        ({"status": "cancelled"}, "cancelled", None),
        ({"status": "queued", "usage": None}, None, None),
    ],
)
def test_the_status_is_the_outcome_and_the_usage_counts_all_the_same(more, outcome, error_type):
    """In a whole body, and as the last event of a stream."""
    streamed = stream(CREATED, {"type": f"response.{more['status']}", "response": response(**more)})
    for reading in (read(**more), streamed.close()):
        assert (reading.outcome, reading.error_type) == (outcome, error_type)
        assert reading.has_usage is ("usage" not in more)
    assert streamed.finished is (outcome is not None)


def test_a_stream_is_read_from_its_last_event():
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Hello you"}]}]
    done = {"type": "response.completed", "response": response(output=output)}
    reader = stream(CREATED, delta("Hello"), delta(' "you"\n'), done)
    assert reader.finished
    assert reader.close() == reader.reading
    assert reader.reading.total_tokens == 150
    assert reader.reading.output_events == 2
    assert reader.reading.service_tier == "default"


def test_a_stream_that_broke_off_says_who_answered_and_how_much_was_seen():
    reader = stream(CREATED, delta("Hello"), delta(" you"))
    reading = reader.close()
    assert not reader.finished
    assert not reading.has_usage
    assert (reading.model, reading.response_id) == ("gpt-5", "resp_1")
    assert (reading.outcome, reading.service_tier) == (None, None)
    assert (reading.text_bytes, reading.output_events) == (9, 2)


def test_an_error_event_ends_a_stream():
    reader = stream(CREATED, {"type": "error", "code": "rate_limit_exceeded", "message": "…"})
    assert reader.finished
    assert (reader.reading.outcome, reader.reading.error_type) == ("failed", "rate_limit_exceeded")


ITEMS = [
    {"type": "web_search_call", "action": {"type": "search", "query": "a"}},
    {"type": "web_search_call", "action": {"type": "open_page"}},
    {"type": "web_search_call"},
    {"type": "file_search_call"},
    {"type": "code_interpreter_call"},
    {"type": "image_generation_call"},
    {"type": "mcp_call"},
    {"type": "function_call", "name": "f", "arguments": "{}"},
    {"type": "computer_call"},
    "no item",
]
TOOLS = {
    "web_search": 2,
    "web_fetch": 1,
    "file_search": 1,
    "code_interpreter": 1,
    "image_generation": 1,
    "mcp": 1,
}


def test_calls_of_the_provider_s_tools_are_counted_from_the_items():
    assert read(output=ITEMS).tool_requests == TOOLS


def test_tools_count_once_in_a_stream_and_also_in_one_that_broke_off():
    done = [{"type": "response.output_item.done", "item": item} for item in ITEMS]
    assert stream(CREATED, *done).close().tool_requests == TOOLS
    last = {"type": "response.completed", "response": response(output=ITEMS)}
    assert stream(CREATED, *done, last).close().tool_requests == TOOLS


def test_what_openai_says_that_it_charges_for_searches_is_taken_first():
    used = {"web_search": {"num_requests": 5}, "image_gen": {"total_tokens": 0}}
    assert read(output=ITEMS, tool_usage=used).tool_requests == {**TOOLS, "web_search": 5}


def test_tokens_of_an_image_model_are_kept_beside():
    used = {"image_gen": {"input_tokens": 7, "output_tokens": 1000, "total_tokens": 1007}}
    reading = read(tool_usage=used)
    assert reading.total_tokens == 150
    assert [(other.model, other.total_tokens) for other in reading.others] == [(None, 1007)]
    assert reading.anomalies == ["1007 tokens of an image model beside"]


def test_a_compaction_is_read_like_a_response():
    body = {"id": "resp_2", "object": "response.compaction", "output": [], "usage": USAGE}
    reading = read_response("openai.responses.compact", 200, {}, body)
    assert (reading.outcome, reading.total_tokens) == ("completed", 150)


@pytest.mark.parametrize(
    "written",
    [
        b'{"type":"response.output_text.delta","delta":"a","response":{"usage":{"input_tokens":3}}}',
        (
            b'{"type":"response.output_text.delta","delta":"a","r\\u0065sponse":{"usage":'
            b'{"input_tokens":3}}}'
        ),
        b'{"delta":"a","type":"response.completed","response" : {"usage":{"input_tokens":3}}}',
    ],
)
def test_only_a_plain_delta_is_left_undecoded(written):
    reader = stream(CREATED)
    reader.feed(b"event: response.output_text.delta\ndata: " + written + b"\n\n")
    kind = json.loads(written)["type"]
    # An event that calls itself a delta is one, and carries no response.
    assert reader.reading.input_tokens == (3 if kind == "response.completed" else None)
    assert reader.finished is (kind == "response.completed")
