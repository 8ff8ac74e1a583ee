"""What a request asks for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.wire import RequestReading, read_request
from tallystick.wire.families import FAMILIES


def read(api="openai.chat", **body):
    return read_request(api, json.dumps(body).encode())


def test_a_request_is_read_as_far_as_its_cost_depends_on_it():
    options = {"include_usage": True}
    body = {"model": "gpt-5", "stream": True, "stream_options": options, "n": 3, "max_tokens": 9}
    written = json.dumps(body).encode()
    assert read_request("openai.chat", written) == RequestReading(
        model="gpt-5",
        stream=True,
        asks_usage=True,
        max_output_tokens=9,
        input_bytes=len(written),
        n=3,
    )
    assert read(model="m", stream=True) == RequestReading("m", stream=True, input_bytes=30)


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("openai.responses", {"max_output_tokens": 64}),
        ("openai.chat", {"max_completion_tokens": 64}),
        ("anthropic.messages", {"max_tokens": 64}),
        ("gemini.generate", {"generationConfig": {"maxOutputTokens": 64}}),
        ("bedrock.converse", {"inferenceConfig": {"maxTokens": 64}}),
        ("bedrock.invoke", {"textGenerationConfig": {"maxTokenCount": 64}}),
        ("ollama.chat", {"options": {"num_predict": 64}}),
    ],
)
def test_the_limit_is_found_under_each_api_s_name(api, body):
    assert read(api, **body).max_output_tokens == 64


def test_a_limit_that_cannot_be_one_is_none():
    assert read(max_tokens=-1).max_output_tokens is None
    assert read(max_tokens=None, options={"num_predict": -1}).max_output_tokens is None


def test_choices_are_counted_whatever_they_are_called():
    assert read(n=2, best_of=4).n == 4
    assert read("gemini.generate", generationConfig={"candidateCount": 2}).n == 2
    assert read(n=0).n == 1
    assert read(n="x").n == 1


def test_what_streams_without_saying_so():
    assert read("bedrock.converse-stream").stream
    assert read("ollama.chat").stream
    assert not read("ollama.chat", stream=False).stream
    assert not read("openai.chat").stream


@given(st.sampled_from([*FAMILIES, None, "x"]), st.binary(max_size=60))
def test_no_body_raises(api, body):
    assert read_request(api, body).input_bytes == len(body)
