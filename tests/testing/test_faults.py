"""Every way to fail, in both APIs, streamed and not: what the client sees, what the ledger says."""

import asyncio
import json
import time

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tallystick.testing import (
    Cut,
    Fail,
    Failed,
    Incomplete,
    Malformed,
    NoUsage,
    Reply,
    Slow,
    count_tokens,
)

TEXT = "one two three four five six seven eight nine ten"
INPUT_TOKENS = 8
APIS = ["responses", "chat"]
ASK = [{"role": "user", "content": "x"}]


async def ask(client, api, **options):
    if api == "responses":
        return await client.responses.create(model="m", input="x", **options)
    return await client.chat.completions.create(model="m", messages=ASK, **options)


async def events(client, api, **options):
    """Return the events of a stream, and what ended it early if something did."""
    if api == "chat":
        options["stream_options"] = {"include_usage": True}
    seen = []
    try:
        async for event in await ask(client, api, stream=True, **options):
            seen.append(event)  # noqa: PERF401 - a comprehension would lose what came before an error
    except (openai.OpenAIError, httpx2.TransportError, json.JSONDecodeError) as error:
        return seen, error
    return seen, None


def only(provider):
    assert provider.wait()
    (record,) = provider.served
    assert record.state == "finished"
    assert record.total_tokens == record.input_tokens + record.output_tokens
    return record


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (418, openai.APIStatusError),
    ],
)
async def test_an_http_error_is_not_billed(provider, async_client, api, stream, status, error):
    provider.script(Fail(status, "Out of order.", code="own_code"))
    with pytest.raises(error, match=r"Out of order\.") as caught:
        await ask(async_client, api, stream=stream)
    assert caught.value.code == "own_code"
    record = only(provider)
    assert (record.status, record.outcome, record.total_tokens) == (status, "refused", 0)
    assert caught.value.request_id == record.request_id


async def test_retry_after_is_sent_in_both_forms(provider, async_client):
    provider.script(Fail(429, retry_after=0.25))
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(async_client, "chat")
    headers = caught.value.response.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("0.25", "250")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("stream", [False, True])
async def test_cut_before_the_first_byte(provider, async_client, api, stream):
    provider.script(Reply(TEXT, Cut()))
    with pytest.raises(openai.APIConnectionError):
        await ask(async_client, api, stream=stream)
    record = only(provider)
    assert (record.status, record.outcome, record.bytes_sent) == (None, "cut", 0)
    # An answer that is not streamed is generated before its first byte; a stream is not.
    assert record.input_tokens == INPUT_TOKENS
    assert record.output_tokens == (0 if stream else count_tokens(TEXT))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_cut_can_be_free(provider, async_client, stream):
    provider.script(Reply(TEXT, Cut(billed=False)), Reply(TEXT, Cut(2, billed=False)))
    for _ in range(2):
        with pytest.raises((openai.APIError, httpx2.TransportError)):
            async for _ in await ask(async_client, "chat", stream=stream):
                pass
    assert provider.totals().total_tokens == 0


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("count", [0, 1, 5, 7])
async def test_cut_in_the_middle_of_a_stream(provider, async_client, api, count):
    provider.script(Reply(TEXT, Cut(after_events=count)))
    seen, error = await events(async_client, api)
    assert len(seen) == count
    assert isinstance(error, (openai.APIError, httpx2.TransportError))
    record = only(provider)
    assert (record.status, record.outcome, record.events_sent) == (200, "cut", count)
    assert not record.usage_reported
    generated = "".join(
        (event.delta if event.type.endswith("delta") else "")
        if api == "responses"
        else event.choices[0].delta.content
        for event in seen
    )
    assert record.input_tokens == INPUT_TOKENS
    assert record.output_tokens == count_tokens(generated)


@pytest.mark.parametrize("api", APIS)
async def test_cut_in_the_middle_of_a_body(provider, async_client, api):
    provider.script(Reply(TEXT, Cut(after_events=0)))
    with pytest.raises(openai.APIConnectionError):
        await ask(async_client, api)
    record = only(provider)
    assert (record.status, record.outcome) == (200, "cut")
    assert record.output_tokens == count_tokens(TEXT)
    assert not record.usage_reported


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("cut", [Cut(at_end=True), Cut(after_events=1000)])
async def test_cut_after_the_last_event_but_before_the_end(provider, async_client, api, cut):
    """The whole stream arrives, but the HTTP body has no end."""
    provider.script(Reply(TEXT, cut))
    seen, error = await events(async_client, api)
    # The client stops reading at [DONE], so that only a Responses stream notices.
    assert (error is None) == (api == "chat")
    assert (seen[-1].usage if api == "chat" else seen[-1].response.usage) is not None
    record = only(provider)
    assert (record.outcome, record.usage_reported) == ("cut", True)
    assert record.output_tokens == count_tokens(TEXT)


async def test_a_whole_body_without_an_end(provider, async_client):
    provider.script(Reply(TEXT, Cut(at_end=True)))
    with pytest.raises(openai.APIConnectionError):
        await ask(async_client, "chat")
    assert only(provider).outcome == "cut"


@pytest.mark.parametrize("api", APIS)
async def test_malformed_body(provider, async_client, api):
    provider.script(Reply(TEXT, Malformed()))
    with pytest.raises((openai.APIError, json.JSONDecodeError)):
        await ask(async_client, api)
    record = only(provider)
    assert (record.status, record.outcome) == (200, "completed")
    assert record.output_tokens == count_tokens(TEXT)
    assert not record.usage_reported


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("count", [0, 3])
async def test_malformed_event(provider, async_client, api, count):
    provider.script(Reply(TEXT, Malformed(after_events=count)))
    seen, error = await events(async_client, api)
    assert len(seen) == count
    assert isinstance(error, (openai.APIError, json.JSONDecodeError))
    assert only(provider).status == 200


@pytest.mark.parametrize("api", APIS)
async def test_a_malformed_last_event_hides_the_usage(provider, async_client, api):
    provider.script(Reply(TEXT, Malformed(after_events=1000)))
    _, error = await events(async_client, api)
    assert error is not None
    record = only(provider)
    assert not record.usage_reported
    assert record.output_tokens == count_tokens(TEXT)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("null", [False, True])
async def test_no_usage_is_billed_all_the_same(provider, async_client, api, null):
    provider.script(Reply(TEXT, NoUsage(null=null)))
    answer = await ask(async_client, api)
    assert answer.usage is None
    assert ("usage" in answer.model_fields_set) == null
    record = only(provider)
    assert (record.outcome, record.usage_reported) == ("completed", False)
    assert record.output_tokens == count_tokens(TEXT)


@pytest.mark.parametrize("null", [False, True])
async def test_no_usage_in_a_responses_stream(provider, async_client, null):
    provider.script(Reply(TEXT, NoUsage(null=null)))
    seen, error = await events(async_client, "responses")
    assert error is None
    assert seen[-1].type == "response.completed"
    assert ("usage" in seen[-1].response.model_fields_set) == null
    assert seen[-1].response.usage is None
    assert not only(provider).usage_reported


async def test_a_null_usage_chunk(provider, async_client):
    provider.script(Reply(TEXT, NoUsage(null=True)))
    seen, _ = await events(async_client, "chat")
    assert (seen[-1].choices, seen[-1].usage) == ([], None)


async def test_incomplete_has_usage_in_all_modes(provider, async_client):
    provider.script(Reply(TEXT, Incomplete()), repeat=True)
    response = await ask(async_client, "responses")
    assert (response.status, response.incomplete_details.reason) == (
        "incomplete",
        "max_output_tokens",
    )
    seen, _ = await events(async_client, "responses")
    assert seen[-1].type == "response.incomplete"
    assert seen[-1].response.usage == response.usage
    completion = await ask(async_client, "chat")
    assert completion.choices[0].finish_reason == "length"
    seen, _ = await events(async_client, "chat")
    assert seen[-2].choices[0].finish_reason == "length"
    assert {r.outcome for r in provider.served} == {"incomplete"}
    assert provider.totals().output_tokens == 4 * count_tokens(TEXT)


async def test_failed_responses_have_an_error_and_usage(provider, async_client):
    provider.script(Reply(TEXT, Failed("It broke.", code="rate_limit_exceeded")), repeat=True)
    response = await ask(async_client, "responses")
    assert (response.status, response.error.code) == ("failed", "rate_limit_exceeded")
    assert response.error.message == "It broke."
    assert response.usage.output_tokens == count_tokens(TEXT)
    seen, error = await events(async_client, "responses")
    assert error is None
    assert seen[-1].type == "response.failed"
    assert seen[-1].response.usage == response.usage
    assert {(r.outcome, r.usage_reported) for r in provider.served} == {("failed", True)}


async def test_a_failed_chat_is_billed_and_the_client_not_told(provider, async_client):
    provider.script(Reply(TEXT, Failed("It broke.")), repeat=True)
    with pytest.raises(openai.InternalServerError, match="It broke"):
        await ask(async_client, "chat")
    seen, error = await events(async_client, "chat")
    assert "".join(chunk.choices[0].delta.content for chunk in seen) == TEXT
    assert "It broke" in str(error)
    for record in provider.served:
        assert (record.outcome, record.usage_reported) == ("failed", False)
        assert record.output_tokens == count_tokens(TEXT)


@pytest.mark.parametrize("stream", [False, True])
async def test_slow_before_the_first_byte(provider, async_client, stream):
    provider.script(Slow(before=0.1))
    began = time.monotonic()
    await ask(async_client, "chat", stream=stream)
    assert 0.1 <= time.monotonic() - began < 2


async def test_slow_between_the_events(provider, async_client):
    provider.script(Reply("one two three", Slow(between=0.02)))
    began = time.monotonic()
    seen, _ = await events(async_client, "chat")
    assert time.monotonic() - began >= 0.02 * len(seen)


@pytest.mark.parametrize("api", APIS)
async def test_a_client_that_leaves_a_stream_pays_for_what_was_generated(
    provider, async_client, api
):
    provider.script(Reply(TEXT, Slow(between=0.05)))
    stream = await ask(async_client, api, stream=True)
    count = 0
    async for _ in stream:
        count += 1
        if count == 6:
            break
    await stream.close()
    record = only(provider)
    assert (record.outcome, record.client_disconnected) == ("abandoned", True)
    assert record.status == 200
    assert record.input_tokens == INPUT_TOKENS
    # Events go on leaving until the client is seen to be gone, each of one token after the head.
    assert 6 <= record.events_sent < 12
    assert record.output_tokens == record.events_sent - {"responses": 4, "chat": 1}[api]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_gives_up_before_the_first_byte(provider, stream):
    provider.script(Reply(TEXT, Slow(before=30)))
    async with AsyncOpenAI(
        base_url=provider.base_url, api_key="test", max_retries=0, timeout=0.1
    ) as client:
        with pytest.raises(openai.APITimeoutError):
            await ask(client, "responses", stream=stream)
    record = only(provider)
    assert (record.outcome, record.client_disconnected) == ("abandoned", True)
    assert record.status is None
    assert record.output_tokens == (0 if stream else count_tokens(TEXT))


async def test_a_cancelled_task_is_noticed(provider, async_client):
    provider.script(Reply(TEXT, Slow(before=30)))
    task = asyncio.create_task(ask(async_client, "chat"))
    for _ in range(1000):
        if provider.served:
            break
        await asyncio.sleep(0.005)
    assert provider.served[0].state == "received"
    assert provider.totals().unfinished == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert only(provider).client_disconnected


async def test_a_fault_alone_delivers_the_default_answer(provider, async_client):
    provider.script(NoUsage())
    answer = await ask(async_client, "responses")
    assert answer.output_text.startswith("You said: x")
    assert answer.usage is None
