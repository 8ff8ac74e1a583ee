"""The real OpenAI client, in all its modes, against the provider; the ledger against the client."""

import asyncio
import json

import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

from tallystick.testing import (
    Fail,
    Incomplete,
    Json,
    NoUsage,
    Provider,
    Refusal,
    Reply,
    ToolCall,
    count_tokens,
)

TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
CHAT_TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
RESPONSES_TOOLS = [{"type": "function", "name": "weather", "parameters": TOOL, "strict": True}]
ASK = [{"role": "user", "content": "What is the capital of Mexico?"}]


def told(usage):
    """Return a usage block as the ledger has it: input, cached, output, reasoning, total."""
    if hasattr(usage, "prompt_tokens"):
        return (
            usage.prompt_tokens,
            usage.prompt_tokens_details.cached_tokens,
            usage.completion_tokens,
            usage.completion_tokens_details.reasoning_tokens,
            usage.total_tokens,
        )
    return (
        usage.input_tokens,
        usage.input_tokens_details.cached_tokens,
        usage.output_tokens,
        usage.output_tokens_details.reasoning_tokens,
        usage.total_tokens,
    )


def billed(record):
    assert record.state == "finished"
    return (
        record.input_tokens,
        record.cached_tokens,
        record.output_tokens,
        record.reasoning_tokens,
        record.total_tokens,
    )


def last(provider):
    return provider.served[-1]


async def respond(client, mode, **options):
    """Return the final response, however it is asked for."""
    if mode == "body":
        return await client.responses.create(model="gpt-5", input="Where to?", **options)
    async with client.responses.stream(model="gpt-5", input="Where to?", **options) as stream:
        seen = [event async for event in stream]
    return seen[-1].response


async def complete(client, mode, **options):
    if mode == "body":
        return await client.chat.completions.create(model="gpt-5", messages=ASK, **options)
    asked = {"stream_options": {"include_usage": True}}
    async with client.chat.completions.stream(
        model="gpt-5", messages=ASK, **asked, **options
    ) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_completion()


@pytest.mark.parametrize("mode", ["body", "stream"])
async def test_responses_text(provider, async_client, mode):
    provider.script(Reply("Kyoto, in the spring.", reasoning_tokens=128))
    response = await respond(async_client, mode)
    assert response.status == "completed"
    assert response.output_text == "Kyoto, in the spring."
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert told(response.usage) == billed(last(provider))
    assert response.usage.output_tokens == 128 + count_tokens("Kyoto, in the spring.")
    assert last(provider).response_id == response.id
    assert last(provider).outcome == "completed"
    assert last(provider).usage_reported


@pytest.mark.parametrize("mode", ["body", "stream"])
async def test_chat_text(provider, async_client, mode):
    provider.script(Reply("Mexico City.", reasoning_tokens=64))
    completion = await complete(async_client, mode)
    assert completion.choices[0].message.content == "Mexico City."
    assert completion.choices[0].finish_reason == "stop"
    assert told(completion.usage) == billed(last(provider))
    assert completion.usage.prompt_tokens == 14
    assert completion.usage.completion_tokens == 64 + count_tokens("Mexico City.")
    assert last(provider).response_id == completion.id


@pytest.mark.parametrize("mode", ["body", "stream"])
async def test_parallel_tool_calls_beside_text(provider, async_client, mode):
    step = ["Let me look.", ToolCall("weather", {"city": "Kyoto"}), ToolCall("weather", {}, "c-2")]
    provider.script(step, step)
    response = await respond(async_client, mode, tools=RESPONSES_TOOLS)
    assert response.output_text == "Let me look."
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(c.name, json.loads(c.arguments)) for c in calls] == [
        ("weather", {"city": "Kyoto"}),
        ("weather", {}),
    ]
    assert calls[0].call_id != calls[1].call_id == "c-2"
    assert told(response.usage) == billed(last(provider))

    completion = await complete(async_client, mode, tools=CHAT_TOOLS)
    choice = completion.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert [json.loads(c.function.arguments) for c in choice.message.tool_calls] == [
        {"city": "Kyoto"},
        {},
    ]
    assert told(completion.usage) == billed(last(provider))


class Trip(BaseModel):
    city: str
    nights: int


async def test_structured_output_scripted_and_by_default(provider, async_client):
    provider.script(Json({"city": "Nara", "nights": 2}))
    scripted = await async_client.responses.parse(model="m", input="Plan.", text_format=Trip)
    assert scripted.output_parsed == Trip(city="Nara", nights=2)
    default = await async_client.chat.completions.parse(
        model="m", messages=ASK, response_format=Trip
    )
    assert default.choices[0].message.parsed == Trip(city="text", nights=0)


async def test_a_required_tool_is_called_by_default(provider, async_client):
    response = await respond(async_client, "body", tools=RESPONSES_TOOLS, tool_choice="required")
    assert [(item.name, item.arguments) for item in response.output] == [
        ("weather", '{"city":"text"}')
    ]
    choice = {"type": "function", "function": {"name": "weather"}}
    completion = await complete(async_client, "body", tools=CHAT_TOOLS, tool_choice=choice)
    assert completion.choices[0].message.tool_calls[0].function.name == "weather"


@pytest.mark.parametrize("mode", ["body", "stream"])
async def test_a_refusal_is_no_text(provider, async_client, mode):
    provider.script(Refusal("No."), Refusal("No."))
    response = await respond(async_client, mode)
    assert response.output[0].content[0].type == "refusal"
    assert response.output[0].content[0].refusal == "No."
    completion = await complete(async_client, mode)
    assert completion.choices[0].message.refusal == "No."
    assert completion.choices[0].message.content in (None, "")
    assert completion.usage.completion_tokens == count_tokens("No.")


@pytest.mark.parametrize("mode", ["body", "stream"])
async def test_output_is_cut_at_the_limit(provider, async_client, mode):
    provider.script("word " * 100, repeat=True)
    response = await respond(async_client, mode, max_output_tokens=20)
    assert response.status == "incomplete"
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.usage.output_tokens == 20
    assert response.output_text == "word" + " word" * 19
    assert response.output[0].status == "incomplete"
    assert told(response.usage) == billed(last(provider))
    assert last(provider).outcome == "incomplete"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
async def test_chat_output_is_cut_at_the_limit_by_either_name(provider, async_client, name):
    provider.script("word " * 100, repeat=True)
    completion = await async_client.chat.completions.create(model="m", messages=ASK, **{name: 7})
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 7
    assert completion.choices[0].message.content == "word" + " word" * 6


async def test_reasoning_can_use_up_the_whole_limit(provider, async_client):
    provider.script(Reply("never said", reasoning_tokens=500))
    response = await respond(async_client, "stream", max_output_tokens=32)
    assert response.status == "incomplete"
    assert response.output_text == ""
    assert told(response.usage)[2:4] == (32, 32)


async def test_incomplete_by_a_content_filter(provider, async_client):
    step = Reply("The first half", Incomplete("content_filter"))
    provider.script(step, step)
    response = await respond(async_client, "body")
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "content_filter")
    completion = await complete(async_client, "body")
    assert completion.choices[0].finish_reason == "content_filter"


async def test_the_usage_chunk_comes_only_when_it_is_asked_for(provider, async_client):
    async def chunks(**options):
        stream = await async_client.chat.completions.create(
            model="m", messages=ASK, stream=True, **options
        )
        return [chunk async for chunk in stream]

    silent = await chunks()
    assert all(chunk.choices and chunk.usage is None for chunk in silent)
    assert not last(provider).usage_reported
    assert last(provider).total_tokens > 0

    asked = await chunks(stream_options={"include_usage": True})
    assert asked[-1].choices == []
    assert told(asked[-1].usage) == billed(last(provider))
    assert all(chunk.usage is None and chunk.choices for chunk in asked[:-1])
    assert last(provider).usage_reported

    provider.script(NoUsage())
    withheld = await chunks(stream_options={"include_usage": True})
    assert all(chunk.choices and chunk.usage is None for chunk in withheld)
    assert not last(provider).usage_reported


async def test_the_events_of_a_responses_stream_are_in_the_order_of_the_api(provider, async_client):
    provider.script(["Hi there", ToolCall("weather", {})])
    stream = await async_client.responses.create(model="m", input="x", stream=True)
    events = [event async for event in stream]
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert last(provider).events_sent == len(events)


def test_a_long_prompt_is_cached_the_second_time(provider, client):
    text = " ".join(f"fact {n}" for n in range(1000))
    usages = [
        client.responses.create(model="m", instructions=text, input=f"Question {n}").usage
        for n in range(3)
    ]
    cached = [usage.input_tokens_details.cached_tokens for usage in usages]
    assert cached[0] == 0
    assert cached[1] == cached[2] > 1024
    assert cached[1] % 128 == 0
    assert usages[1].input_tokens - cached[1] < 256
    assert [told(usage) for usage in usages] == [billed(record) for record in provider.served]


def test_cache_writes_are_reported_where_the_provider_is_told_to():
    with (
        Provider(cache_threshold=128, bill_cache_writes=True) as provider,
        OpenAI(base_url=provider.base_url, api_key="test") as client,
    ):
        text = "one two three four " * 100
        first = client.responses.create(model="m", input=text).usage.input_tokens_details
        assert (first.cached_tokens, first.cache_write_tokens) == (0, 384)
        ask = [{"role": "user", "content": text}]
        second = client.chat.completions.create(model="m", messages=ask).usage
        assert second.prompt_tokens_details.cached_tokens == 384
        assert second.prompt_tokens_details.cache_write_tokens == 0
        assert provider.totals().cache_write_tokens == 384


def test_model_and_tier_are_those_that_served():
    with (
        Provider(models={"gpt-5": "gpt-5-2025-08-07"}) as provider,
        OpenAI(base_url=provider.base_url, api_key="test") as client,
    ):
        provider.script(Reply("x", model="gpt-9", service_tier="flex"), model="other")
        given = [
            client.responses.create(model="gpt-5", input="x"),
            client.responses.create(model="gpt-5", input="x", service_tier="fast"),
            client.chat.completions.create(model="gpt-4o", messages=ASK, service_tier="flex"),
            client.responses.create(model="other", input="x"),
        ]
        seen = [(answer.model, answer.service_tier) for answer in given]
        assert seen == [
            ("gpt-5-2025-08-07", "default"),
            ("gpt-5-2025-08-07", "priority"),
            ("gpt-4o", "flex"),
            ("gpt-9", "flex"),
        ]
        assert [(r.model, r.service_tier) for r in provider.served] == seen
        assert provider.served[0].requested_model == "gpt-5"
        assert provider.totals(model="gpt-5-2025-08-07").requests == 2
        names = [model.id for model in client.models.list()]
        assert names == ["gpt-4o", "gpt-5", "gpt-5-2025-08-07", "other"]


def test_a_conversation_goes_on_from_the_previous_response(provider, client):
    first = client.responses.create(model="m", input="My name is Aiko.")
    second = client.responses.create(model="m", input="Who?", previous_response_id=first.id)
    assert second.usage.input_tokens > first.usage.total_tokens
    with pytest.raises(openai.BadRequestError, match="resp_unknown"):
        client.responses.create(model="m", input="Who?", previous_response_id="resp_unknown")
    not_stored = client.responses.create(model="m", input="x", store=False)
    with pytest.raises(openai.BadRequestError, match="not found"):
        client.responses.create(model="m", input="x", previous_response_id=not_stored.id)


def test_compaction_replaces_the_conversation_and_is_billed(provider):
    # The API keeps messages of the user in a compaction, and the client's strict types know only
    # the model's, so that this client is not strict.
    with OpenAI(base_url=provider.base_url, api_key="test", max_retries=0) as client:
        compact_and_go_on(provider, client)


def compact_and_go_on(provider, client):
    conversation = [
        {"role": "user", "content": "Where to? " * 50},
        {"role": "assistant", "content": "Kyoto. " * 200},
    ]
    provider.script("They decided on Kyoto.")
    compacted = client.responses.compact(model="m", input=conversation)
    assert [item.type for item in compacted.output] == ["message", "compaction"]
    assert compacted.usage.output_tokens == count_tokens("They decided on Kyoto.")
    assert told(compacted.usage) == billed(last(provider))
    assert last(provider).api == "responses.compact"

    items = [item.model_dump(exclude_none=True, warnings=False) for item in compacted.output]
    after = client.responses.create(model="m", input=[*items, {"role": "user", "content": "Ok?"}])
    assert after.usage.input_tokens < compacted.usage.input_tokens - 300


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m", "input": "x", "max_output_tokens": 15}, "max_output_tokens"),
        ({"model": "m", "input": "x", "max_output_tokens": "many"}, "max_output_tokens"),
        ({"model": "", "input": "x"}, "model"),
    ],
)
def test_what_openai_refuses_is_refused_and_not_billed(provider, client, body, param):
    script = provider.script("not used up")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(**body)
    assert caught.value.param == param
    assert last(provider).outcome == "refused"
    assert billed(last(provider)) == (0, 0, 0, 0, 0)
    assert script.used == 0


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    ],
)
def test_what_openai_refuses_of_a_chat_is_refused(provider, client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**{"model": "m", "messages": ASK, **options})
    assert caught.value.param == param


def test_an_unknown_path_is_refused_and_recorded(provider, client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="m", input="x", encoding_format="float")
    assert (last(provider).api, last(provider).status) == ("unknown", 404)


def test_the_clients_own_retries_are_seen_each(provider):
    provider.script(Fail(500, retry_after=0.001), Fail(429, retry_after=0.001), "At last.")
    with OpenAI(base_url=provider.base_url, api_key="test", max_retries=2) as client:
        headers = {"x-tallystick-run": "run_1"}
        response = client.responses.create(model="m", input="x", extra_headers=headers)
    assert response.output_text == "At last."
    assert [
        (r.status, r.headers["x-stainless-retry-count"], r.headers["x-tallystick-run"])
        for r in provider.served
    ] == [(500, "0", "run_1"), (429, "1", "run_1"), (200, "2", "run_1")]
    assert response._request_id == last(provider).request_id
    assert provider.totals().billed_requests == 1
    assert provider.totals().total_tokens == response.usage.total_tokens


async def test_concurrent_agents_each_get_their_own_script(provider, async_client):
    for model in ("a", "b"):
        provider.script(*[f"{model}{n}" for n in range(20)], model=model)
    provider.script("for Nils", when=lambda request: "Nils" in request.instructions)

    async def talk(model):
        return [
            (await async_client.responses.create(model=model, input="x")).output_text
            for _ in range(20)
        ]

    assert await asyncio.gather(talk("a"), talk("b")) == [
        [f"{model}{n}" for n in range(20)] for model in ("a", "b")
    ]
    ask = [{"role": "system", "content": "You are Nils."}]
    completion = await async_client.chat.completions.create(model="c", messages=ask)
    assert completion.choices[0].message.content == "for Nils"
    assert provider.unused_replies == 0


def test_a_function_of_the_request_answers(provider, client):
    provider.script(
        lambda request: (
            f"{request.user_text.upper()} {request.number}" if request.number < 3 else None
        ),
        repeat=True,
    )
    answers = [client.responses.create(model="m", input="hi").output_text for _ in range(3)]
    assert answers[:2] == ["HI 1", "HI 2"]
    assert answers[2].startswith("You said: hi")


def test_an_error_in_a_scripted_function_reaches_the_test():
    def broken(request):
        raise KeyError(request.model)

    provider = Provider().start()
    provider.script(broken)
    with (
        OpenAI(base_url=provider.base_url, api_key="test", max_retries=0) as client,
        pytest.raises(openai.InternalServerError, match="KeyError"),
    ):
        client.responses.create(model="m", input="x")
    with pytest.raises(ExceptionGroup) as caught:
        provider.stop()
    assert caught.group_contains(KeyError)
    provider.stop()


def test_the_default_answer_is_the_same_for_the_same_request(provider, client):
    texts = {client.responses.create(model="m", input="Again?").output_text for _ in range(3)}
    assert len(texts) == 1
    assert "Again?" in texts.pop()
