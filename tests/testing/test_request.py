"""What scripts see of a request, the same over both APIs, and what the provider counts of it."""

from array import array

import pytest

from tallystick.testing.example import instance
from tallystick.testing.prompt import Conversations, read
from tallystick.testing.request import IMAGE_TOKENS, BadRequest, Request
from tallystick.testing.tokenizer import count_tokens


def chat(**body):
    return Request(1, "chat", "/v1/chat/completions", {}, {"model": "m", **body})


def responses(**body):
    return Request(1, "responses", "/v1/responses", {}, {"model": "m", **body})


def tokens(request):
    return len(read(request, Conversations())[0])


CALL = {"name": "find", "arguments": '{"q":1}'}

BOTH = [
    chat(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Where to?"}]},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "type": "function", "function": CALL}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "Kyoto"},
        ],
        max_tokens=50,
        tools=[{"type": "function", "function": {"name": "find", "parameters": {}}}],
        response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    ),
    responses(
        instructions="Be brief.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Where to?"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c", **CALL},
            {"type": "function_call_output", "call_id": "c", "output": "Kyoto"},
        ],
        max_output_tokens=50,
        tools=[{"type": "function", "name": "find", "parameters": {}}, {"type": "web_search"}],
        text={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    ),
]


@pytest.mark.parametrize("request_", BOTH, ids=["chat", "responses"])
def test_a_request_reads_the_same_over_both_apis(request_):
    assert request_.instructions == "Be brief."
    assert request_.user_text == "Where to?"
    assert request_.tool_outputs == ("Kyoto",)
    assert request_.tools == ("find",)
    assert request_.max_output_tokens == 50
    assert request_.output_schema == {"type": "object"}
    assert not request_.stream


def test_a_prompt_counts_what_openai_counts():
    """The counts are those that OpenAI billed for these very requests to GPT-4o and GPT-4.1."""
    assert (
        tokens(chat(messages=[{"role": "user", "content": "What is the capital of Mexico?"}])) == 14
    )
    assert tokens(responses(input="What is the capital of Mexico?")) == 14


def test_instructions_tools_and_schemas_are_counted():
    plain = tokens(responses(input="hello"))
    said = tokens(responses(input="hello", instructions="Be brief."))
    assert said == plain + count_tokens("Be brief.") + count_tokens("system") + 3
    assert tokens(BOTH[1]) > said + 10


def test_an_image_counts_a_fixed_number_of_tokens():
    part = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 10_000}
    with_image = responses(input=[{"role": "user", "content": [part]}])
    without = responses(input=[{"role": "user", "content": []}])
    assert tokens(with_image) == tokens(without) + IMAGE_TOKENS


def test_a_response_continues_the_conversation_before_it():
    kept = Conversations()
    _, conversation = read(responses(input="one two three", instructions="Once."), kept)
    kept.keep("resp_1", conversation, "four five")
    following = responses(input="six", previous_response_id="resp_1")
    spelled_out = responses(
        input=[
            {"role": "user", "content": "one two three"},
            {"role": "assistant", "content": "four five"},
            {"role": "user", "content": "six"},
        ]
    )
    assert read(following, kept)[0] == read(spelled_out, kept)[0]


def test_an_unknown_previous_response_is_refused_and_old_ones_are_forgotten():
    kept = Conversations(limit=1)
    kept.keep("resp_1", array("I"), "")
    kept.keep("resp_2", array("I"), "")
    kept.before("resp_2")
    with pytest.raises(BadRequest, match="resp_1"):
        kept.before("resp_1")


def test_the_default_value_of_a_schema_fits_it():
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "nights": {"type": "integer", "minimum": 2},
            "kind": {"enum": ["rail", "air"]},
            "next": {"anyOf": [{"$ref": "#/$defs/Leg"}, {"type": "null"}]},
            "legs": {"type": "array", "items": {"$ref": "#/$defs/Leg"}, "minItems": 2},
            "left_out": {"type": "boolean"},
        },
        "required": ["city", "nights", "kind", "next", "legs"],
        "$defs": {
            "Leg": {
                "type": "object",
                "properties": {"first": {"type": ["boolean", "null"]}},
                "required": ["first"],
            }
        },
    }
    assert instance(schema) == {
        "city": "text",
        "nights": 2,
        "kind": "rail",
        "next": {"first": False},
        "legs": [{"first": False}, {"first": False}],
    }


def test_a_schema_of_itself_comes_to_an_end():
    schema = {
        "type": "object",
        "properties": {"child": {"$ref": "#"}},
        "required": ["child"],
    }
    assert instance(schema)["child"] is not None
