"""What the Agents SDK and its users may do stays possible, whatever Tallystick counts beside it."""

import asyncio
import dataclasses
import json
import pickle
import time
from types import SimpleNamespace

import agents
import pytest
from agents import Agent, RunConfig, RunContextWrapper, Runner
from agents.run_state import RunState
from agents.usage import RequestUsage as AgentsRequestUsage
from agents.usage import Usage as AgentsUsage
from openai import AsyncOpenAI
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseTextDeltaEvent,
)
from openai.types.responses.response_usage import (
    InputTokensDetails,
    OutputTokensDetails,
    ResponseUsage,
)
from pydantic import TypeAdapter

from comparing import assert_equal, kept
from tallystick import Usage
from tallystick.integrations.openai_agents import HostUsage, run_config
from tallystick.testing import Slow


def message(text="Hello."):
    part = ResponseOutputText(text=text, type="output_text", annotations=[])
    return ResponseOutputMessage(
        id="m", type="message", role="assistant", content=[part], status="completed"
    )


def reply(usage):
    return agents.ModelResponse(output=[message()], usage=usage, response_id="r")


class Streaming(agents.Model):
    """A model that streams what it is given, and raises what it is given."""

    def __init__(self, *events):
        self.events = events
        self.closing = None

    async def get_response(self, *arguments, **options):
        raise NotImplementedError

    async def stream_response(self, *arguments, **options):
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            if self.closing is not None:
                raise self.closing


def delta(text):
    return ResponseTextDeltaEvent.model_construct(
        type="response.output_text.delta", delta=text, item_id="m", output_index=0
    )


def completed(usage):
    response = Response.model_construct(id="r", output=[message()], usage=usage, model="m")
    return ResponseCompletedEvent.model_construct(
        type="response.completed", response=response, sequence_number=1
    )


def block(sent, received):
    return ResponseUsage(
        input_tokens=sent,
        output_tokens=received,
        total_tokens=sent + received,
        input_tokens_details=InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=0),
    )


async def streamed(agent, question="x", **options):
    result = Runner.run_streamed(agent, question, **options)
    async for _ in result.stream_events():
        pass
    return result


async def test_half_an_emoji_in_a_delta_stops_no_stream(tally):
    """A JSON escape may be split over two deltas, which leaves a lone surrogate in each."""
    model = Streaming(
        delta("\ud83d"), delta("\ude00"), SimpleNamespace(type=None), completed(block(5, 2))
    )
    result = await streamed(Agent("A", model=model))
    assert result.context_wrapper.usage.total_tokens == 7
    assert kept(tally) == result.context_wrapper.usage.request_usage_entries


async def test_a_count_that_is_unknown_can_be_paused_and_restored(tally, model, provider):
    """The SDK knows no None: what was not said reads as 0 there, and says so in `unknown`."""

    class Odd(agents.Model):
        async def get_response(self, *arguments, **options):
            return reply(AgentsUsage(requests=1, input_tokens=-3, output_tokens=2, total_tokens=2))

        def stream_response(self, *arguments, **options):
            raise NotImplementedError

    result = await Runner.run(Agent("A", model=Odd()), "x")
    usage = result.context_wrapper.usage
    (entry,) = usage.request_usage_entries
    assert entry.input_tokens == 0
    assert entry.record["input_tokens"] is None
    assert "input_tokens" in entry.unknown
    assert usage.unknown["input_tokens"] == 1
    assert sum(each.input_tokens for each in usage.request_usage_entries) == 0
    agent = Agent("A", model=Odd())
    text = json.dumps(result.to_state().to_json())
    state = await RunState.from_json(agent, json.loads(text))
    assert state._context.usage.output_tokens == 2


async def test_a_usage_is_the_sdks_own_in_every_way_that_it_is_used(tally, model, provider):
    result = await Runner.run(Agent("A", model=model()), "x")
    usage = result.context_wrapper.usage
    (entry,) = usage.request_usage_entries
    assert isinstance(usage, AgentsUsage)
    assert isinstance(entry, AgentsRequestUsage)
    for details in (usage.input_tokens_details, entry.input_tokens_details):
        assert isinstance(details, InputTokensDetails)
        assert details.model_copy() == details
        assert json.loads(details.model_dump_json())["cached_tokens"] == 0
        assert json.dumps(details.__dict__)
    assert isinstance(usage.output_tokens_details, OutputTokensDetails)
    assert pickle.loads(pickle.dumps(usage)) == usage  # noqa: S301 - our own bytes
    assert pickle.loads(pickle.dumps(entry)) == entry  # noqa: S301 - our own bytes
    plain = dataclasses.asdict(usage)
    assert plain["request_usage_entries"][0]["input_tokens"] == entry.input_tokens
    adapter = TypeAdapter(AgentsUsage)
    assert adapter.validate_json(adapter.dump_json(usage)) == usage
    AgentsRequestUsage(
        input_tokens=1,
        output_tokens=1,
        total_tokens=2,
        input_tokens_details=entry.input_tokens_details,
        output_tokens_details=usage.output_tokens_details,
    )


async def test_an_input_that_is_no_json_reaches_the_model(tally):
    class Plain(agents.Model):
        async def get_response(self, *arguments, **options):
            return reply(AgentsUsage(requests=1, input_tokens=1, output_tokens=1, total_tokens=2))

        def stream_response(self, *arguments, **options):
            raise NotImplementedError

    tracked = tally.track(Plain())
    await tracked.get_response(None, [{("a", 1): "b"}], None, [], None, [], None)
    assert len(kept(tally)) == 1


async def test_the_error_of_a_stream_is_its_own_and_not_that_of_its_closing(tally):
    model = Streaming(delta("a"), ValueError("the real one"))
    model.closing = None

    class Broken(Streaming):
        def stream_response(self, *arguments, **options):
            return _BrokenClose(super().stream_response(*arguments, **options))

    broken = Broken(delta("a"), ValueError("the real one"))
    with pytest.raises(ValueError, match="the real one"):
        await streamed(Agent("A", model=broken))
    (entry,) = kept(tally)
    assert (entry.status, entry.error_type) == ("in_doubt", "ValueError")


class _BrokenClose:
    def __init__(self, stream):
        self.stream = stream

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await self.stream.__anext__()

    async def aclose(self):
        await self.stream.aclose()
        raise RuntimeError("close failed")


async def test_a_model_that_raises_at_once_leaves_nothing_held(tally):
    class AtOnce(agents.Model):
        async def get_response(self, *arguments, **options):
            raise NotImplementedError

        def stream_response(self, *arguments, **options):
            raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        await streamed(Agent("A", model=AtOnce()))
    assert [entry.status for entry in kept(tally)] == ["in_doubt"]


async def test_a_client_that_is_a_stand_in_is_counted_by_its_response(tally, provider):
    """As tests of the host give a model a client with nothing but the method it calls."""
    async with AsyncOpenAI(base_url=provider.base_url, api_key="x") as real:
        response = await real.responses.create(model="gpt-5", input="x")
    create = SimpleNamespace(create=lambda **_: _returned(response))
    model = agents.OpenAIResponsesModel(
        "gpt-5", SimpleNamespace(responses=create, base_url="http://nowhere/v1")
    )
    result = await Runner.run(Agent("A", model=model), "x")
    assert result.context_wrapper.usage.total_tokens == response.usage.total_tokens


async def _returned(value):
    return value


async def test_a_usage_class_of_ones_own_keeps_what_it_has(tally, provider, model):
    class Mine(AgentsUsage):
        calls = 0

        def add(self, other):
            self.calls += 1
            super().add(other)

    wrapper = RunContextWrapper(context=None, usage=Mine())
    await Runner.run(Agent("A", model=model()), "x", context=wrapper)
    assert wrapper.usage.calls == 1
    assert wrapper.usage.total_tokens == provider.served[0].total_tokens
    with pytest.raises(AttributeError):
        _ = HostUsage().calls


async def test_a_wrapper_is_asked_what_its_model_is(tally, client):
    tracked = tally.track(agents.OpenAIChatCompletionsModel("gpt-5", client))
    assert isinstance(tracked, agents.OpenAIChatCompletionsModel)
    assert tally.track(tracked) is tracked


class Around(agents.Model):
    """A model of the user's own around another."""

    def __init__(self, inner):
        self.inner = inner

    async def get_response(self, *arguments, **options):
        return await self.inner.get_response(*arguments, **options)

    async def stream_response(self, *arguments, **options):
        async for event in self.inner.stream_response(*arguments, **options):
            yield event


async def test_a_model_inside_a_model_counts_once(tally, provider, model):
    await Runner.run(Agent("A", model=Around(tally.track(model()))), "x")
    await streamed(Agent("A", model=Around(tally.track(model()))))
    await streamed(Agent("A", model=Around(model())))
    assert_equal(tally, provider)


async def test_a_model_that_runs_agents_counts_once(tally, provider, model):
    """It gives back, as its own usage, what its agents have been counted for."""

    class Router(Around):
        async def get_response(self, *arguments, **options):
            result = await Runner.run(Agent("Inner", model=self.inner), "y")
            return reply(result.context_wrapper.usage)

    result = await Runner.run(Agent("Outer", model=Router(model())), "x")
    assert_equal(tally, provider)
    assert result.context_wrapper.usage.requests == 1


async def test_a_hook_that_refuses_stops_the_request_and_nothing_is_in_doubt(
    tally, provider, model
):
    def refuse(run, request):
        raise PermissionError("no")

    with tally.run("r", hooks=SimpleNamespace(on_llm_start=refuse)) as run:
        with pytest.raises(PermissionError):
            await Runner.run(Agent("A", model=model()), "x")
        with pytest.raises(PermissionError):
            await streamed(Agent("A", model=model()))
    assert provider.served == []
    assert run.usage.requests == 0


async def test_a_response_that_stands_for_many_requests(tally):
    """An adapter says so with what it attaches to the usage, in a stream as without one."""
    usage = block(5, 2)
    object.__setattr__(usage, "_agents_sdk_request_count", 3)
    result = await streamed(Agent("A", model=Streaming(completed(usage))))
    assert result.context_wrapper.usage.requests == 3
    assert result.context_wrapper.usage.total_tokens == 7
    assert len(kept(tally)) == 3


async def test_a_task_that_a_model_leaves_behind_is_the_runs_own(tally, provider, client):
    left, told = [], []

    class Leaving(agents.Model):
        async def get_response(self, *arguments, **options):
            async def later():
                await asyncio.sleep(0.02)
                await client.responses.create(model="gpt-5", input="later")

            left.append(asyncio.create_task(later()))
            return reply(AgentsUsage(requests=1, input_tokens=1, output_tokens=1, total_tokens=2))

        def stream_response(self, *arguments, **options):
            raise NotImplementedError

    hooks = SimpleNamespace(on_llm_end=lambda _, entry: told.append(entry))
    with tally.run("r", hooks=hooks) as run:
        await Runner.run(Agent("A", model=Leaving()), "x")
        await left[0]
    assert len(told) == 2
    assert run.usage.requests == 2
    assert len(provider.served) == 1


async def test_a_cancelled_run_does_not_wait_for_a_slow_disk(tally, provider, model):
    provider.script(["Too late.", Slow(before=0.5)])
    commit = tally.ledger._store.commit
    task = asyncio.create_task(Runner.run(Agent("A", model=model()), "x"))
    for _ in range(1000):
        if provider.served:
            break
        await asyncio.sleep(0.001)

    def slow(*arguments, **options):
        time.sleep(0.3)
        return commit(*arguments, **options)

    tally.ledger._store.commit = slow
    tally.ledger._writer._spared_until = float("inf")
    began = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - began < 0.25
    tally.ledger._store.commit = commit


async def test_the_explicit_way_works_with_a_model_of_the_config(tally, provider, model):
    tally.untrack("openai-agents")
    with tally.run("r") as run:
        result = await Runner.run(
            Agent("A"), "x", run_config=run_config(tally, RunConfig(model=model()))
        )
    assert type(result.context_wrapper.usage) is AgentsUsage
    assert run.usage.requests == 1
    assert isinstance(run.usage, Usage)
    assert_equal(tally, provider)
