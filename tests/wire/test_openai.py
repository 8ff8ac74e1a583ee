"""Chat Completions and what their many hosts do differently."""

import json
from decimal import Decimal

import pytest

from tallystick.wire import StreamReader, read_response


def chat(usage, **more):
    body = {"id": "c1", "model": "m", "choices": [], "usage": usage, **more}
    return read_response("openai.chat", 200, {}, json.dumps(body).encode())


def stream(*events, api="openai.chat", end=b"data: [DONE]\n\n"):
    reader = StreamReader(api, {"content-type": "text/event-stream"})
    for event in events:
        reader.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    reader.feed(end)
    return reader


def chunk(content=None, **more):
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": more.pop("finish_reason", None)}
    return {"id": "c1", "model": "m", "choices": [choice], **more}


def test_the_prompt_includes_what_was_cached():
    reading = chat(
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 5, "accepted_prediction_tokens": 2},
        }
    )
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (100, 20, 120)
    assert reading.input_details == {"cached_tokens": 80, "audio_tokens": 0}
    assert reading.output_details == {"reasoning_tokens": 5, "accepted_prediction_tokens": 2}
    assert reading.anomalies == []


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_cache_hit_tokens": 6, "prompt_cache_miss_tokens": 4},
        {"num_cached_tokens": 6},
        {"cached_tokens": 6},
        {"cache_read_input_tokens": 6},
        {"prompt_tokens_details": {"cached_tokens": 6}, "num_cached_tokens": 5},
    ],
    ids=["deepseek", "mistral", "moonshot", "gateway", "openai"],
)
def test_cached_tokens_are_found_by_each_host_s_name(usage):
    reading = chat({"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, **usage})
    assert reading.input_details["cached_tokens"] == 6
    assert reading.input_tokens == 10


def test_cache_writes_are_a_part_of_the_prompt():
    details = {"cached_tokens": 0, "cache_write_tokens": 7}
    assert chat({"prompt_tokens": 9, "prompt_tokens_details": details}).input_details == details
    litellm = {"prompt_tokens": 9, "prompt_tokens_details": {"cache_creation_tokens": 7}}
    assert chat(litellm).input_details == {"cache_write_tokens": 7}


def test_reasoning_beside_the_completion_is_added_where_the_total_has_it():
    """XAI's total is prompt + completion + reasoning; OpenAI's completion has the reasoning."""
    details = {"completion_tokens_details": {"reasoning_tokens": 30}}
    beside = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 45, **details}
    inside = {"prompt_tokens": 10, "completion_tokens": 35, "total_tokens": 45, **details}
    for usage in (beside, inside):
        reading = chat(usage)
        assert reading.output_tokens == 35
        assert reading.output_details == {"reasoning_tokens": 30}
        assert reading.anomalies == []


def test_gemini_s_thoughts_behind_openai_s_interface_are_what_the_total_has_beside():
    usage = {"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109}
    reading = chat(usage, model="gemini-2.5-pro")
    assert reading.output_tokens == 74
    assert reading.output_details == {"reasoning_tokens": 62}


def test_a_total_that_cannot_be_explained_is_an_anomaly():
    reading = chat({"prompt_tokens": 35, "completion_tokens": 12, "total_tokens": 109})
    assert (reading.output_tokens, reading.total_tokens) == (12, 109)
    assert reading.anomalies == ["total_tokens: 109 for 35 + 12"]


def test_a_part_larger_than_its_whole_is_dropped_and_noted():
    reading = chat({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}})
    assert reading.input_details == {}
    assert reading.anomalies == ["cached_tokens: 6 of 5 input_tokens"]


def test_openrouter_s_cost_is_kept_exactly():
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.00013, "is_byok": False}
    assert chat(usage).provider_cost == Decimal("0.00013")
    assert chat({**usage, "cost": 4e-05}).provider_cost == Decimal("0.00004")
    assert chat({**usage, "cost": 0}).provider_cost == Decimal(0)
    assert chat({"prompt_tokens": 1}).provider_cost is None


def test_with_a_key_of_one_s_own_openrouter_s_fee_and_the_upstream_cost_add_up():
    usage = {"prompt_tokens": 1, "cost": 0.05, "is_byok": True}
    details = {"cost_details": {"upstream_inference_cost": 1.2}}
    assert chat({**usage, **details}).provider_cost == Decimal("1.25")
    # The fee alone would look like the whole.
    assert chat(usage).provider_cost is None


def test_other_hosts_costs():
    assert chat({"cost": {"total_cost": 0.006}}).provider_cost == Decimal("0.006")
    assert chat({"cost_in_usd_ticks": 12_500_000}).provider_cost == Decimal("0.00125")
    assert chat({"estimated_cost": 0.1}).provider_cost == Decimal("0.1")


def test_a_cost_that_cannot_be_one_is_unknown_and_noted():
    for cost in (-1, "free", True, [1], 1e300, 10**5000):
        body = {"choices": [], "usage": {"prompt_tokens": 1, "cost": cost}}
        reading = read_response("openai.chat", 200, {}, body)
        assert reading.provider_cost is None
        assert len(reading.anomalies) == 1


def test_tools_that_the_host_ran_are_counted():
    reading = chat({"prompt_tokens": 1, "server_tool_use_details": {"web_search_requests": 2}})
    assert reading.tool_requests == {"web_search": 2}
    reading = chat({"num_search_queries": 3, "search_context_size": "low"})
    assert reading.tool_requests == {"web_search": 3}
    assert reading.modifiers == {"search_context_size": "low"}
    reading = chat({"server_side_tool_usage_details": {"x_search_calls": 1, "mcp_calls": 0}})
    assert reading.tool_requests == {"x_search": 1}


@pytest.mark.parametrize(
    ("reason", "outcome", "error_type"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", "length"),
        ("content_filter", "incomplete", "content_filter"),
        ("model_length", "incomplete", "model_length"),
        ("error", "failed", "error"),
        (None, "completed", None),
    ],
)
def test_the_finish_reason_is_the_outcome(reason, outcome, error_type):
    reading = chat(None, choices=[{"finish_reason": reason, "message": {"content": "hi"}}])
    assert (reading.outcome, reading.error_type) == (outcome, error_type)
    reader = stream(chunk("hi"), chunk(finish_reason=reason))
    assert reader.reading.outcome == outcome


def test_of_several_choices_one_cut_short_makes_the_response_incomplete():
    choices = [{"finish_reason": "length"}, {"finish_reason": "stop"}]
    assert chat(None, choices=choices).outcome == "incomplete"


def test_the_tier_is_the_response_s_and_auto_is_none():
    assert chat({}, service_tier="flex").service_tier == "flex"
    assert chat({}, service_tier="auto").service_tier is None
    assert chat({}, service_tier="").service_tier is None


def test_a_stream_takes_the_largest_value_and_null_erases_nothing():
    """Hosts repeat usage in each chunk, cumulatively, and may end with none."""
    reader = stream(
        chunk("a", usage={"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}),
        chunk("b", usage={"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}),
        chunk("c", usage=None),
        chunk("d", usage={"prompt_tokens": None, "completion_tokens": 0}),
        chunk(finish_reason="stop"),
    )
    reading = reader.close()
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (10, 2, 12)
    assert (reading.text_bytes, reading.output_events) == (4, 4)
    assert reader.finished


def test_groq_s_usage_is_found_in_its_own_block():
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    reading = stream(chunk("a"), chunk(finish_reason="stop", x_groq={"usage": usage})).close()
    assert (reading.input_tokens, reading.output_tokens) == (3, 4)


def test_llama_cpp_s_timings_stand_in_for_usage_that_was_not_asked_for():
    timings = {"cache_n": 22, "prompt_n": 5, "prompt_ms": 20.5, "predicted_n": 32}
    reading = stream(chunk("a"), chunk(finish_reason="length", timings=timings)).close()
    assert (reading.input_tokens, reading.output_tokens) == (27, 32)
    assert reading.input_details == {"cached_tokens": 22}
    usage = {"prompt_tokens": 27, "completion_tokens": 31}
    reading = stream(chunk("a"), chunk(timings=timings, usage=usage)).close()
    assert (reading.input_tokens, reading.output_tokens) == (27, 31)


def test_timings_without_the_cached_part_leave_the_prompt_unknown():
    reading = stream(chunk("a", timings={"prompt_n": 5, "predicted_n": 32})).close()
    assert (reading.input_tokens, reading.output_tokens) == (None, 32)


def test_a_stream_without_usage_says_what_an_estimate_can_rest_on():
    events = [chunk("Grüße"), chunk(" you"), chunk(""), chunk(finish_reason="stop")]
    reading = stream(*events).close()
    assert not reading.has_usage
    assert reading.raw_usage is None
    assert (reading.text_bytes, reading.output_events) == (11, 2)


def test_tool_arguments_and_reasoning_are_text_too():
    call = {"index": 0, "function": {"name": "look", "arguments": '{"a"'}}
    reader = stream(
        {"id": "c", "model": "m", "choices": [{"delta": {"tool_calls": [call]}}]},
        {"id": "c", "model": "m", "choices": [{"delta": {"reasoning_content": "hm"}}]},
    )
    assert reader.reading.text_bytes == 10
    message = {"tool_calls": [call], "content": [{"type": "text", "text": "abc"}], "refusal": "no"}
    assert chat(None, choices=[{"message": message}]).text_bytes == 13


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"message": "…", "type": "server_error", "code": None}},
        {"choices": [], "error": {"code": "server_error"}},
        {"error": {"code": 503, "status": "server_error"}},
    ],
)
def test_an_error_in_a_stream_fails_it(event):
    reading = stream(chunk("a", usage={"prompt_tokens": 4}), event).close()
    assert (reading.outcome, reading.error_type) == ("failed", "server_error")
    assert reading.input_tokens == 4


def test_an_error_event_that_is_the_error_itself_fails_the_stream():
    reader = stream(chunk("a"), end=b'event: error\ndata: {"code": "overloaded"}\n\n')
    reading = reader.close()
    assert (reading.outcome, reading.error_type) == ("failed", "overloaded")


def test_a_stream_that_broke_off_has_no_outcome():
    reader = stream(chunk("a"), end=b"")
    assert reader.close().outcome is None
    assert not reader.finished


def test_a_last_chunk_without_its_empty_line_still_gives_the_usage():
    whole = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    assert stream(chunk("a"), end=whole).close().input_tokens == 3
    assert stream(chunk("a"), end=whole[:-4]).close().input_tokens is None


@pytest.mark.parametrize(
    "written",
    [
        (
            b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"},'
            b'"finish_reason":null}],"usage":{"prompt_tokens":3}}'
        ),
        (
            b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"},'
            b'"finish_reason":null}],"usage" : {"prompt_tokens":3}}'
        ),
        (
            b'data: {"id":"c","model":"m","choices":[{"index":0,"delta":{"content":"a"},'
            b'"finish_reason":null}],"\\u0075sage":{"prompt_tokens":3}}'
        ),
        (
            b'data: {"\\u0075sage": {"prompt_tokens":3},"id":"c","choices":[{"index":0,'
            b'"delta":{"content":"a"}}]}'
        ),
        (
            b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null,'
            b'"x_groq":{"usage":{"prompt_tokens":3}}}'
        ),
        (
            b'data: {"id":"c",\ndata: "choices":[{"index":0,"delta":{"content":"a"}}],'
            b'\ndata: "usage":{"prompt_tokens":3}}'
        ),
    ],
)
def test_usage_is_not_skipped_however_it_is_written(written):
    """The fast path leaves plain deltas undecoded; these look like one and are none."""
    assert stream(chunk("a"), end=written + b"\n\n").close().input_tokens == 3


def test_a_tier_that_comes_late_is_not_skipped():
    reader = stream(chunk("a"), chunk("b", service_tier="priority"), end=b"")
    assert reader.close().service_tier == "priority"


def test_embeddings_use_no_output():
    body = {"object": "list", "data": [], "model": "e", "usage": {"prompt_tokens": 4}}
    reading = read_response("openai.embeddings", 200, {}, json.dumps(body))
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (4, 0, 4)
    body["usage"] = {"total_tokens": 6}
    reading = read_response("openai.embeddings", 200, {}, json.dumps(body))
    assert (reading.input_tokens, reading.output_tokens) == (6, 0)
    assert reading.outcome == "completed"
