"""The same request with another limit, or for another model."""

import json

import httpx2
import pytest

from tallystick.wire import read_request
from tallystick.wire.families import FAMILIES
from tallystick.wire.rewrite import with_model, with_output_limit


def limited(api, body, limit=64, *, provider=None):
    rewritten = with_output_limit(
        api, json.dumps(body).encode(), limit, model=None, provider=provider
    )
    return None if rewritten is None else json.loads(rewritten)


@pytest.mark.parametrize(
    ("api", "provider", "body", "expected"),
    [
        ("openai.responses", "openai", {}, {"max_output_tokens": 64}),
        ("openai.responses", "openai", {"max_output_tokens": 9}, {"max_output_tokens": 64}),
        ("openai.chat", "openai", {}, {"max_completion_tokens": 64}),
        ("openai.chat", "azure", {"max_tokens": None}, {"max_completion_tokens": 64}),
        ("openai.chat", "openai", {"max_tokens": 9}, {"max_tokens": 64}),
        ("openai.chat", "groq", {}, {"max_tokens": 64}),
        ("openai.chat", None, {"max_completion_tokens": 9}, {"max_completion_tokens": 64}),
        ("openai.completions", "openai", {}, {"max_tokens": 64}),
        ("anthropic.messages", "anthropic", {"max_tokens": 9}, {"max_tokens": 64}),
        ("gemini.generate", "google", {}, {"generationConfig": {"maxOutputTokens": 64}}),
        (
            "gemini.generate",
            "google",
            {"generation_config": {"top_k": 1}},
            {"generation_config": {"top_k": 1, "max_output_tokens": 64}},
        ),
        ("bedrock.converse", "aws", {}, {"inferenceConfig": {"maxTokens": 64}}),
        ("bedrock.invoke", "aws", {"anthropic_version": "x"}, {"max_tokens": 64}),
        ("cohere.chat", "cohere", {}, {"max_tokens": 64}),
        (
            "ollama.chat",
            None,
            {"options": {"seed": 1}},
            {"options": {"seed": 1, "num_predict": 64}},
        ),
    ],
)
def test_the_limit_is_set_under_each_api_s_name(api, provider, body, expected):
    found = limited(api, body, provider=provider)
    assert {name: found[name] for name in expected} == expected
    rewritten = json.dumps(found).encode()
    assert read_request(api, rewritten).max_output_tokens == 64


def test_of_two_limits_both_are_set():
    body = {"max_tokens": 1, "max_completion_tokens": 2}
    assert limited("openai.chat", body) == {"max_tokens": 64, "max_completion_tokens": 64}


@pytest.mark.parametrize("api", [api for api in FAMILIES if "embed" in api])
def test_embeddings_have_no_limit(api):
    assert limited(api, {"input": "a"}) is None


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"]
)
def test_a_body_that_is_no_object_is_left_alone(body):
    assert with_output_limit("openai.chat", body, 9, model=None, provider=None) is None
    assert with_model("openai.chat", body, "m") is None


def test_a_block_of_another_type_is_left_alone():
    assert limited("gemini.generate", {"generationConfig": [1]}) is None
    assert limited("bedrock.invoke", {"inputText": "a"}) is None


def test_everything_else_stays_byte_for_byte_as_httpx_wrote_it():
    body = {
        "model": "m",
        "z": [1, 2.5, -0.0, 1e-7, True, None, {}],
        "messages": [{"role": "user", "content": 'é "日本" \u2028 \\ 😀 \n'}],
        "max_tokens": 9,
        "a": {"y": 1, "x": 2},
    }
    sent = httpx2.Request("POST", "http://localhost", json=body).content
    rewritten = with_output_limit("openai.chat", sent, 1234, model=None, provider=None)
    assert rewritten == sent.replace(b'"max_tokens":9', b'"max_tokens":1234')
    assert with_model("openai.chat", sent, "other") == sent.replace(b'"m"', b'"other"', 1)


def test_half_a_surrogate_pair_stays_an_escape():
    rewritten = with_model("openai.chat", b'{"model":"m","a":"\\ud83d"}', "n")
    assert rewritten == b'{"model":"n","a":"\\ud83d"}'


def test_a_number_that_json_has_no_form_for_is_not_rewritten():
    assert with_model("openai.chat", b'{"a":1e999}', "n") is None


@pytest.mark.parametrize(
    ("limit", "budget"), [(5000, 2000), (2000, 1999), (1025, 1024), (1024, None), (10, None)]
)
def test_thinking_stays_below_the_limit(limit, budget):
    """Anthropic refuses a budget for thinking that is not smaller, and one under 1,024."""
    thinking = {"type": "enabled", "budget_tokens": 2000}
    found = limited("anthropic.messages", {"max_tokens": 9000, "thinking": thinking}, limit)
    assert (found and found["thinking"]["budget_tokens"]) == budget
    fields = {"additionalModelRequestFields": {"thinking": thinking}}
    found = limited("bedrock.converse", fields, limit)
    assert (found and found["additionalModelRequestFields"]["thinking"]["budget_tokens"]) == budget


def test_thinking_without_a_budget_is_left_alone():
    body = {"max_tokens": 9000, "thinking": {"type": "adaptive"}}
    assert limited("anthropic.messages", body, 10) == body | {"max_tokens": 10}


def test_a_model_in_the_url_is_not_in_the_body():
    assert with_model("gemini.generate", b"{}", "m") is None
    assert with_model("bedrock.converse", b"{}", "m") is None
    assert with_model("openai.responses", b"{}", "m") == b'{"model":"m"}'
