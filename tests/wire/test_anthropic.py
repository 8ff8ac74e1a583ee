"""Anthropic's Messages API."""

import json

import pytest

from tallystick.wire import StreamReader, read_response


def message(usage, **more):
    body = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": usage,
        **more,
    }
    return read_response("anthropic.messages", 200, {}, json.dumps(body).encode())


def stream(*events):
    reader = StreamReader("anthropic.messages", {"content-type": "text/event-stream"})
    for event in events:
        name = event["type"].encode()
        reader.feed(b"event: " + name + b"\ndata: " + json.dumps(event).encode() + b"\n\n")
    return reader


def start(usage):
    started = {"id": "msg_1", "type": "message", "model": "claude", "content": [], "usage": usage}
    return {"type": "message_start", "message": started}


def delta(text):
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": text},
    }


def test_input_is_made_to_include_what_was_read_from_and_written_to_a_cache():
    reading = message(
        {
            "input_tokens": 16,
            "cache_read_input_tokens": 13637,
            "cache_creation_input_tokens": 7049,
            "cache_creation": {"ephemeral_5m_input_tokens": 7000, "ephemeral_1h_input_tokens": 49},
            "output_tokens": 344,
            "output_tokens_details": {"thinking_tokens": 33},
        }
    )
    assert reading.input_tokens == 16 + 13637 + 7049
    assert reading.total_tokens == 16 + 13637 + 7049 + 344
    assert reading.input_details == {
        "cached_tokens": 13637,
        "cache_write_tokens": 7049,
        "cache_write_5m_tokens": 7000,
        "cache_write_1h_tokens": 49,
    }
    assert reading.output_details == {"reasoning_tokens": 33}


def test_the_sum_of_both_spans_stands_in_for_a_missing_count_of_writes():
    spans = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    reading = message({"input_tokens": 1, "output_tokens": 1, "cache_creation": spans})
    assert (reading.input_tokens, reading.input_details["cache_write_tokens"]) == (8, 7)


def test_llama_cpp_s_form_is_exclusive_too():
    reading = message({"input_tokens": 5, "cache_read_input_tokens": 22, "output_tokens": 8})
    assert (reading.input_tokens, reading.total_tokens) == (27, 35)
    assert reading.input_details == {"cached_tokens": 22}


def test_tools_tier_place_and_speed_are_read_for_the_price():
    reading = message(
        {
            "input_tokens": 1,
            "output_tokens": 1,
            "service_tier": "priority",
            "inference_geo": "us",
            "speed": "fast",
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        }
    )
    assert reading.service_tier == "priority"
    assert reading.modifiers == {"inference_geo": "us", "speed": "fast"}
    assert reading.tool_requests == {"web_search": 2}
    assert message({"inference_geo": "not_available"}).modifiers == {}


@pytest.mark.parametrize(
    ("reason", "outcome", "error_type"),
    [
        ("end_turn", "completed", None),
        ("tool_use", "completed", None),
        ("pause_turn", "completed", None),
        ("max_tokens", "incomplete", "max_tokens"),
        ("refusal", "incomplete", "refusal"),
        (None, None, None),
    ],
)
def test_the_stop_reason_is_the_outcome(reason, outcome, error_type):
    reading = message({}, stop_reason=reason)
    assert (reading.outcome, reading.error_type) == (outcome, error_type)


def test_a_stream_s_last_counts_are_cumulative_and_taken_once():
    """The start has the input and a first token, the delta the final output."""
    reader = stream(
        start({"input_tokens": 25, "cache_read_input_tokens": 5, "output_tokens": 1}),
        delta("Hel"),
        delta('lo "x"'),
        {"type": "ping"},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens"},
            "usage": {"output_tokens": 15, "input_tokens": None},
        },
        {"type": "message_stop"},
    )
    reading = reader.close()
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (30, 15, 45)
    assert (reading.outcome, reading.error_type) == ("incomplete", "max_tokens")
    assert (reading.text_bytes, reading.output_events) == (9, 2)
    assert reader.finished


def test_null_in_a_later_event_erases_nothing():
    usage = {"input_tokens": 25, "service_tier": "batch", "inference_geo": "us", "output_tokens": 1}
    nulls = dict.fromkeys([*usage, "cache_creation", "server_tool_use"])
    reading = stream(start(usage), {"type": "message_delta", "usage": nulls}).close()
    assert (reading.input_tokens, reading.output_tokens) == (25, 1)
    assert (reading.service_tier, reading.modifiers) == ("batch", {"inference_geo": "us"})


def test_a_stream_that_broke_off_knows_its_input():
    reading = stream(start({"input_tokens": 25, "output_tokens": 1}), delta("Hello")).close()
    assert (reading.input_tokens, reading.outcome) == (25, None)
    assert reading.text_bytes == 5


def test_an_error_event_ends_a_stream():
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "…"}}
    reader = stream(start({"input_tokens": 25, "output_tokens": 1}), event)
    assert reader.finished
    assert (reader.reading.outcome, reader.reading.error_type) == ("failed", "overloaded_error")


ITERATIONS = [
    {"type": "compaction", "input_tokens": 55196, "output_tokens": 125},
    {"type": "message", "input_tokens": 220, "output_tokens": 8, "cache_read_input_tokens": 2},
    {
        "type": "advisor_message",
        "model": "claude-opus-4-8",
        "input_tokens": 2518,
        "output_tokens": 22,
    },
]


def test_a_compaction_within_the_request_is_added():
    """It is billed, at the same rates, and the counts at the top leave it out."""
    usage = {"input_tokens": 220, "cache_read_input_tokens": 2, "output_tokens": 8}
    reading = message({**usage, "iterations": ITERATIONS[:2]})
    assert (reading.input_tokens, reading.output_tokens) == (220 + 2 + 55196, 8 + 125)
    assert reading.total_tokens == reading.input_tokens + reading.output_tokens
    assert reading.others == []


def test_another_model_s_advice_is_kept_beside():
    usage = {"input_tokens": 220, "output_tokens": 8, "iterations": ITERATIONS[1:]}
    reading = message(usage)
    assert (reading.input_tokens, reading.output_tokens) == (220, 8)
    [other] = reading.others
    assert (other.model, other.input_tokens, other.output_tokens) == ("claude-opus-4-8", 2518, 22)
    assert reading.anomalies == ["2540 tokens of claude-opus-4-8 beside"]
