"""What SDKs return, recognised by its shape."""

from dataclasses import dataclass, field
from decimal import Decimal
from types import SimpleNamespace

import pytest

from tallystick.usage import RequestUsage, Usage
from tallystick.wire import read_object

CHAT = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o",
    "choices": [
        {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4},
    },
}
GEMINI = {
    "candidates": [{"finish_reason": "STOP", "content": {"parts": [{"text": "hi"}]}}],
    "model_version": "gemini-3",
    "response_id": "g1",
    "usage_metadata": {
        "prompt_token_count": 10,
        "candidates_token_count": 2,
        "thoughts_token_count": 5,
        "total_token_count": 17,
        "prompt_tokens_details": [{"modality": "TEXT", "token_count": 10}],
    },
    "sdk_http_response": {"headers": {"x-gemini-service-tier": "flex"}},
}
BOTO = {
    "output": {"message": {"content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": {
        "inputTokens": 10,
        "outputTokens": 2,
        "totalTokens": 12,
        "cacheReadInputTokens": 5,
    },
    "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}},
}


class Dumped:
    """An object like pydantic's."""

    def __init__(self, content):
        self.content = content

    def model_dump(self):
        return self.content


def namespace(value):
    if isinstance(value, dict):
        return SimpleNamespace(**{name: namespace(item) for name, item in value.items()})
    return [namespace(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("form", [dict, Dumped, namespace], ids=["dict", "dumped", "plain"])
@pytest.mark.parametrize(
    ("body", "counts", "details"),
    [
        (CHAT, (10, 2, 12), {"cached_tokens": 4}),
        (GEMINI, (10, 7, 17), {"text_tokens": 10}),
        (BOTO, (15, 2, 17), {"cached_tokens": 5}),
        (
            {
                "type": "message",
                "model": "claude",
                "content": [],
                "stop_reason": "end_turn",
                "usage": {"input_tokens": 5, "cache_read_input_tokens": 22, "output_tokens": 1},
            },
            (27, 1, 28),
            {"cached_tokens": 22},
        ),
        (
            {
                "object": "response",
                "status": "completed",
                "output": [],
                "usage": {"input_tokens": 5, "output_tokens": 1, "total_tokens": 6},
            },
            (5, 1, 6),
            {},
        ),
        (
            {"object": "list", "data": [], "usage": {"prompt_tokens": 3, "total_tokens": 3}},
            (3, 0, 3),
            {},
        ),
        (
            {"finish_reason": "COMPLETE", "usage": {"billed_units": {"input_tokens": 3}}},
            (3, None, None),
            {},
        ),
        ({"model": "g", "done": True, "eval_count": 3, "prompt_eval_count": 2}, (2, 3, 5), {}),
    ],
    ids=["chat", "gemini", "boto", "anthropic", "responses", "embeddings", "cohere", "ollama"],
)
def test_a_response_is_recognised_in_each_form(form, body, counts, details):
    reading = read_object(form(body))
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == counts
    assert reading.input_details == details
    assert reading.outcome == "completed"
    assert reading.anomalies == []


def test_google_s_library_keeps_the_header_with_the_tier():
    assert read_object(GEMINI).service_tier == "flex"


@pytest.mark.parametrize(
    ("block", "counts"),
    [
        (CHAT["usage"], (10, 2, 12)),
        (GEMINI["usage_metadata"], (10, 7, 17)),
        (BOTO["usage"], (15, 2, 17)),
        ({"input_tokens": 5, "cache_read_input_tokens": 22, "output_tokens": 1}, (27, 1, 28)),
        ({"input_tokens": 5, "output_tokens": 1}, (5, 1, 6)),
        ({"input_tokens": 0, "output_tokens": 0}, (0, 0, 0)),
    ],
)
def test_a_bare_usage_block_is_recognised(block, counts):
    reading = read_object(block)
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == counts


def test_openai_s_own_objects_are_read():
    openai = pytest.importorskip("openai.types.chat")
    reading = read_object(openai.ChatCompletion.model_validate(CHAT))
    assert (reading.model, reading.response_id, reading.total_tokens) == ("gpt-4o", "c1", 12)
    # A host's novelty, kept by the SDK in a field of another type, warns nobody.
    odd = openai.ChatCompletion.model_construct(**{**CHAT, "service_tier": 7})
    assert read_object(odd).total_tokens == 12


def test_the_agents_sdk_s_usage_and_response_are_read():
    agents = pytest.importorskip("agents")
    usage = agents.Usage(requests=1, input_tokens=10, output_tokens=2, total_tokens=12)
    reading = read_object(usage)
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (10, 2, 12)
    response = agents.ModelResponse(output=[], usage=usage, response_id="r1")
    assert (read_object(response).response_id, read_object(response).total_tokens) == ("r1", 12)
    empty = agents.ModelResponse(output=[], usage=agents.Usage(), response_id=None)
    # It knows no None: of a host that says nothing, all is zero.
    assert not read_object(empty).has_usage


def test_a_usage_of_ours_is_read_as_it_is():
    request = RequestUsage(
        10, 2, 12, {"cached_tokens": 4}, model="m", provider_cost=Decimal("0.1"), outcome="failed"
    )
    reading = read_object(request)
    assert reading.fields() == {
        "input_tokens": 10,
        "output_tokens": 2,
        "total_tokens": 12,
        "input_tokens_details": {"cached_tokens": 4},
        "model": "m",
        "provider_cost": Decimal("0.1"),
        "outcome": "failed",
    }
    usage = Usage()
    usage.add(request)
    assert read_object(usage) == reading


def test_a_sum_that_lacks_a_request_is_unknown():
    usage = Usage()
    usage.add(RequestUsage(10, 2, 12))
    usage.add(RequestUsage(None, 5))
    reading = read_object(usage)
    assert (reading.input_tokens, reading.output_tokens, reading.total_tokens) == (None, 7, None)
    assert reading.anomalies == ["input_tokens: unknown for 1 requests"]


@dataclass
class Odd:
    usage: object = None
    items: list = field(default_factory=list)


class Raising:
    def model_dump(self, **_):
        raise RuntimeError("no")

    def __getattr__(self, name):
        raise AttributeError(name)


@pytest.mark.parametrize(
    "thing",
    [None, 7, "text", b"bytes", [], {}, Odd(), Raising(), object(), Odd, 10**5000, {1: 2}],
    ids=lambda thing: type(thing).__name__,
)
def test_what_is_not_recognised_is_named_and_nothing_more(thing):
    reading = read_object(thing)
    assert not reading.has_usage
    assert reading.outcome is None
    assert len(reading.anomalies) == 1
    assert len(reading.anomalies[0]) < 60
