"""Gemini, Bedrock, Cohere and Ollama."""

import base64
import json

import pytest

from tallystick.wire import StreamReader, read_response


def gemini(usage, headers=None, **more):
    candidate = {"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}
    body = {"candidates": [candidate], "modelVersion": "gemini-3", "usageMetadata": usage, **more}
    return read_response("gemini.generate", 200, headers or {}, json.dumps(body).encode())


def test_gemini_s_thoughts_and_tool_prompts_are_added():
    reading = gemini(
        {
            "promptTokenCount": 95,
            "cachedContentTokenCount": 40,
            "candidatesTokenCount": 66,
            "thoughtsTokenCount": 132,
            "toolUsePromptTokenCount": 439,
            "totalTokenCount": 732,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 15},
                {"modality": "VIDEO", "tokenCount": 50},
                {"modality": "AUDIO", "tokenCount": 20},
                {"modality": "DOCUMENT", "tokenCount": 10},
            ],
            "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 439}],
            "cacheTokensDetails": [{"modality": "VIDEO", "tokenCount": 40}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 66}],
        }
    )
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (534, 198, 732)
    assert reading.input_details == {
        "cached_tokens": 40,
        "text_tokens": 454,
        "video_tokens": 50,
        "audio_tokens": 20,
        "image_tokens": 10,
        "cached_video_tokens": 40,
    }
    assert reading.output_details == {"reasoning_tokens": 132, "text_tokens": 66}
    assert reading.anomalies == []


def test_what_gemini_leaves_out_because_it_is_zero_is_told_by_the_total():
    assert gemini({"promptTokenCount": 8, "totalTokenCount": 8}).output_tokens == 0
    thoughts = {"promptTokenCount": 34, "thoughtsTokenCount": 68, "totalTokenCount": 102}
    assert gemini(thoughts).output_tokens == 68
    assert gemini({"promptTokenCount": 8}).output_tokens is None
    assert not gemini({"trafficType": "ON_DEMAND"}).has_usage


def test_gemini_s_tier_is_in_the_header_first():
    usage = {"promptTokenCount": 1, "totalTokenCount": 1, "serviceTier": "standard"}
    assert gemini(usage, {"X-Gemini-Service-Tier": "Flex"}).service_tier == "flex"
    assert gemini(usage).service_tier == "standard"
    assert gemini({"trafficType": "ON_DEMAND_PRIORITY"}).service_tier == "priority"
    reading = gemini({"trafficType": "PROVISIONED_THROUGHPUT"})
    assert reading.modifiers == {"traffic_type": "provisioned_throughput"}


def test_vertex_s_numbers_of_enumerations_are_understood():
    details = [{"modality": 1, "tokenCount": 11}]
    reading = gemini(
        {"promptTokenCount": 11, "totalTokenCount": 28, "promptTokensDetails": details},
        candidates=[{"finishReason": 1}],
    )
    assert reading.input_details == {"text_tokens": 11}
    assert reading.outcome == "completed"


@pytest.mark.parametrize(
    ("more", "error_type"),
    [
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, "MAX_TOKENS"),
        ({"candidates": [{"finishReason": "SAFETY"}]}, "SAFETY"),
        ({"candidates": [], "promptFeedback": {"blockReason": "SAFETY"}}, "SAFETY"),
    ],
)
def test_a_gemini_answer_that_was_cut_or_blocked_is_incomplete(more, error_type):
    reading = gemini({}, **more)
    assert (reading.outcome, reading.error_type) == ("incomplete", error_type)


def test_gemini_s_searches_are_counted():
    grounding = {"webSearchQueries": ["a", "", "b"], "groundingChunks": [{"maps": {"uri": "x"}}]}
    reading = gemini({}, candidates=[{"groundingMetadata": grounding, "finishReason": "STOP"}])
    assert reading.tool_requests == {"web_search": 2, "google_maps": 1}


@pytest.mark.parametrize("array", [False, True])
def test_a_gemini_stream_is_cumulative(array):
    """As server-sent events, and as the one array that Google sends without them."""
    chunks = [
        {
            "candidates": [{"content": {"parts": [{"text": "abc"}]}}],
            "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5 + output},
            "modelVersion": "gemini-3",
        }
        for output in (1, 4, 9)
    ]
    chunks[2]["candidates"][0]["finishReason"] = "STOP"
    written = (
        json.dumps(chunks, indent=1).encode()
        if array
        else b"".join(b"data: " + json.dumps(each).encode() + b"\r\n\r\n" for each in chunks)
    )
    reader = StreamReader("gemini.generate", {})
    reader.feed(written[:100])
    assert not reader.finished
    reader.feed(written[100:])
    assert reader.finished
    reading = reader.close()
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (5, 9, 14)
    assert (reading.text_bytes, reading.output_events) == (9, 3)
    assert read_response("gemini.generate", 200, {}, written) == reading


def converse(usage, **more):
    body = {
        "output": {"message": {"content": [{"text": "hi"}]}},
        "stopReason": "end_turn",
        "usage": usage,
        **more,
    }
    return read_response("bedrock.converse", 200, {}, json.dumps(body).encode())


@pytest.mark.parametrize("total", [120, 400])
def test_bedrock_s_cached_tokens_are_added_whichever_total_it_gives(total):
    usage = {
        "inputTokens": 100,
        "cacheReadInputTokens": 200,
        "cacheWriteInputTokens": 80,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 50}, {"ttl": "5m", "inputTokens": 30}],
        "outputTokens": 20,
        "totalTokens": total,
    }
    reading = converse(usage)
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (380, 20, 400)
    assert reading.input_details == {
        "cached_tokens": 200,
        "cache_write_tokens": 80,
        "cache_write_1h_tokens": 50,
        "cache_write_5m_tokens": 30,
    }
    assert reading.anomalies == []


def test_bedrock_s_tier_latency_and_router_are_read_for_the_price():
    reading = converse(
        {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        serviceTier={"type": "flex"},
        performanceConfig={"latency": "optimized"},
        trace={"promptRouter": {"invokedModelId": "us.meta.llama"}},
    )
    assert (reading.service_tier, reading.model) == ("flex", "us.meta.llama")
    assert reading.modifiers == {"latency": "optimized"}
    assert converse({}, stopReason="max_tokens").outcome == "incomplete"


def event(name, payload):
    # The framing itself has tests of its own, in test_framing.
    import struct
    import zlib

    block = b"\x0b:event-type\x07" + struct.pack(">H", len(name)) + name.encode()
    data = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(block) + len(data), len(block))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + block + data
    return whole + struct.pack(">I", zlib.crc32(whole))


BINARY = {"Content-Type": "application/vnd.amazon.eventstream"}


def test_a_converse_stream_ends_with_its_metadata():
    reader = StreamReader("bedrock.converse-stream", BINARY)
    reader.feed(event("contentBlockDelta", {"delta": {"text": "hé"}}))
    reader.feed(event("contentBlockDelta", {"delta": {"toolUse": {"input": '{"a"'}}}))
    reader.feed(event("messageStop", {"stopReason": "tool_use"}))
    assert not reader.finished
    reader.feed(event("metadata", {"usage": {"inputTokens": 9, "outputTokens": 3}}))
    assert reader.finished
    reading = reader.close()
    assert (reading.input_tokens, reading.total_tokens, reading.outcome) == (9, 12, "completed")
    assert (reading.text_bytes, reading.output_events) == (7, 2)


def test_an_exception_in_a_converse_stream_fails_it():
    reader = StreamReader("bedrock.converse-stream", BINARY)
    reader.feed(event("throttlingException", {"message": "…"}))
    assert (reader.close().outcome, reader.finished) == ("failed", True)
    assert reader.reading.error_type == "throttlingException"


def chunk(payload):
    encoded = base64.b64encode(json.dumps(payload).encode()).decode()
    return event("chunk", {"bytes": encoded, "p": "abc"})


METRICS = {
    "inputTokenCount": 9,
    "outputTokenCount": 3,
    "cacheReadInputTokenCount": 20,
    "cacheWriteInputTokenCount": 1,
}


@pytest.mark.parametrize(
    "payloads",
    [
        [
            {"type": "message_start", "message": {"model": "c", "usage": {"input_tokens": 9}}},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "hi"}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        ],
        [{"generation": "hi", "stop_reason": "stop", "generation_token_count": 3}],
        [{"outputText": "hi", "completionReason": "FINISH"}],
        [{"contentBlockDelta": {"delta": {"text": "hi"}}}, {"messageStop": {"stopReason": "x"}}],
    ],
    ids=["anthropic", "llama", "titan", "nova"],
)
def test_an_invoked_stream_is_read_in_each_maker_s_form(payloads):
    reader = StreamReader("bedrock.invoke-stream", BINARY)
    for payload in payloads[:-1]:
        reader.feed(chunk(payload))
    last = {**payloads[-1], "amazon-bedrock-invocationMetrics": METRICS}
    reader.feed(chunk(last))
    reading = reader.close()
    assert reader.finished
    assert (reading.outcome, reading.text_bytes, reading.output_events) == ("completed", 2, 1)
    assert reading.raw_usage["invocationMetrics"] == METRICS
    assert reading.has_usage


def test_the_metrics_of_an_invoked_stream_are_exclusive_too():
    reader = StreamReader("bedrock.invoke-stream", BINARY)
    reader.feed(chunk({"outputText": "hi", "amazon-bedrock-invocationMetrics": METRICS}))
    reading = reader.close()
    assert (reading.input_tokens, reading.output_tokens) == (30, 3)
    assert reading.input_details == {"cached_tokens": 20, "cache_write_tokens": 1}


def test_an_invoked_model_that_says_nothing_is_read_from_the_headers():
    headers = {"X-Amzn-Bedrock-Input-Token-Count": "4"}
    reading = read_response("bedrock.invoke", 200, headers, b'{"embeddings": [[0.1]]}')
    assert (reading.input_tokens, reading.output_tokens) == (4, 0)
    assert reading.anomalies == []
    headers = {"x-amzn-bedrock-input-token-count": "4", "x-amzn-bedrock-output-token-count": "7"}
    reading = read_response("bedrock.invoke", 200, headers, b'{"outputs": [{"text": "hi"}]}')
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (4, 7, 11)


def test_cohere_is_counted_by_what_it_bills():
    usage = {
        "billed_units": {"input_tokens": 41, "output_tokens": 25},
        "tokens": {"input_tokens": 1441, "output_tokens": 54},
        "cached_tokens": 144,
    }
    body = {"id": "x", "finish_reason": "COMPLETE", "message": {"content": []}, "usage": usage}
    reading = read_response("cohere.chat", 200, {}, body)
    assert (reading.input_tokens, reading.output_tokens) == (41, 25)
    assert reading.input_details == {}
    assert reading.raw_usage == usage
    meta = {"meta": {"api_version": {"version": "1"}, **usage}, "text": "hi"}
    reading = read_response("cohere.chat", 200, {}, {**meta, "finish_reason": "MAX_TOKENS"})
    assert (reading.input_tokens, reading.outcome, reading.text_bytes) == (41, "incomplete", 2)
    assert reading.raw_usage == usage


def test_cohere_s_first_version_streams_objects_and_ends_with_the_whole():
    reader = StreamReader("cohere.chat", {"content-type": "application/stream+json"})
    reader.feed(b'{"event_type": "text-generation", "text": "hello"}\n')
    final = {"text": "hello", "finish_reason": "COMPLETE", "response_id": "r"}
    final["meta"] = {"billed_units": {"input_tokens": 2, "output_tokens": 1}}
    reader.feed(json.dumps({"event_type": "stream-end", "response": final}).encode())
    reading = reader.close()
    assert reader.finished
    assert (reading.total_tokens, reading.text_bytes, reading.output_events) == (3, 5, 1)


def test_ollama_streams_lines_and_counts_in_the_last():
    reader = StreamReader("ollama.chat", {"content-type": "application/x-ndjson"})
    reader.feed(b'{"model":"g","message":{"content":"he"},"done":false}\n{"model":"g","mess')
    reader.feed(b'age":{"content":"y"},"done":false}\n')
    assert not reader.finished
    reader.feed(b'{"model":"g","done":true,"done_reason":"length","prompt_eval_count":16,')
    reader.feed(b'"eval_count":2,"eval_duration":4}\n')
    reading = reader.close()
    assert (reading.model, reading.input_tokens, reading.output_tokens) == ("g", 16, 2)
    assert (reading.outcome, reading.text_bytes, reading.output_events) == ("incomplete", 3, 2)
    assert reader.finished


def test_ollama_s_prompt_is_unknown_where_it_was_all_cached():
    body = {"model": "g", "response": "hi", "done": True, "eval_count": 2}
    reading = read_response("ollama.generate", 200, {}, body)
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (None, 2, None)
