"""The real OpenAI Agents SDK against the provider, over both of its model classes."""

import pytest
from agents import (
    Agent,
    ModelBehaviorError,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesCompactionSession,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

from tallystick.testing import Fail, Handoff, Json, NoUsage, Reply, Slow, ToolCall

MODELS = [OpenAIResponsesModel, OpenAIChatCompletionsModel]


@pytest.fixture(params=MODELS, ids=["responses", "chat"])
def model(request, async_client):
    def make(name):
        return request.param(model=name, openai_client=async_client)

    return make


@pytest.fixture(params=[False, True], ids=["run", "run_streamed"])
def run(request):
    async def run(agent, text, **options):
        # Chat Completions reports the usage of a stream only where it is asked for it.
        if not request.param:
            return await Runner.run(agent, text, **options)
        result = Runner.run_streamed(agent, text, **options)
        async for _ in result.stream_events():
            pass
        return result

    return run


ASK_USAGE = ModelSettings(include_usage=True)


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"Rain in {city}."


def assert_agree(provider, usage):
    """The SDK was told exactly what the provider billed."""
    totals = provider.totals()
    assert totals.unfinished == 0
    assert usage.requests == totals.billed_requests
    assert usage.input_tokens == totals.input_tokens
    assert usage.input_tokens_details.cached_tokens == totals.cached_tokens
    assert usage.output_tokens == totals.output_tokens
    assert usage.output_tokens_details.reasoning_tokens == totals.reasoning_tokens
    assert usage.total_tokens == totals.total_tokens


async def test_tool_calls_in_parallel_and_an_answer(provider, model, run):
    provider.script(
        Reply(
            ToolCall("weather", {"city": "Kyoto"}),
            ToolCall("weather", {"city": "Nara"}),
            reasoning_tokens=64,
        ),
        lambda request: " ".join(request.tool_outputs),
    )
    agent = Agent("Guide", model=model("m"), tools=[weather], model_settings=ASK_USAGE)
    result = await run(agent, "How is the weather?")
    assert result.final_output == "Rain in Kyoto. Rain in Nara."
    assert result.context_wrapper.usage.requests == 2
    assert_agree(provider, result.context_wrapper.usage)


async def test_a_handoff_moves_the_run_to_the_other_agent(provider, model, run):
    provider.script(Handoff("Flight desk"), model="triage-model")
    provider.script("Gate 12.", when=lambda request: "You fly." in request.instructions)
    flights = Agent(
        "Flight desk",
        model=model("flight-model"),
        instructions="You fly.",
        model_settings=ASK_USAGE,
    )
    triage = Agent(
        "Triage", model=model("triage-model"), handoffs=[flights], model_settings=ASK_USAGE
    )
    result = await run(triage, "Where do I board?")
    assert result.final_output == "Gate 12."
    assert result.last_agent is flights
    assert [record.model for record in provider.served] == ["triage-model", "flight-model"]
    assert provider.unused_replies == 0
    assert_agree(provider, result.context_wrapper.usage)


class Plan(BaseModel):
    city: str


async def test_structured_output(provider, model, run):
    provider.script(Json({"city": "Nara"}))
    agent = Agent("Planner", model=model("m"), output_type=Plan, model_settings=ASK_USAGE)
    result = await run(agent, "Plan.")
    assert result.final_output == Plan(city="Nara")
    unscripted = await run(agent, "Plan.")
    assert unscripted.final_output == Plan(city="text")


async def test_hidden_retries_are_three_requests_here_and_one_there(provider, run):
    provider.script(Fail(500, retry_after=0.001), Fail(500, retry_after=0.001), "At last.")
    async with AsyncOpenAI(base_url=provider.base_url, api_key="test") as client:
        model = OpenAIResponsesModel(model="m", openai_client=client)
        result = await run(Agent("A", model=model), "Go.")
    assert result.final_output == "At last."
    assert result.context_wrapper.usage.requests == 1
    assert [(r.status, r.total_tokens > 0) for r in provider.served] == [
        (500, False),
        (500, False),
        (200, True),
    ]
    assert_agree(provider, result.context_wrapper.usage)


async def test_an_answer_cut_by_the_limit_is_billed_and_lost_to_the_sdk(provider, model, run):
    """Over Responses the SDK raises; what was billed is only in the provider's ledger."""
    provider.script("word " * 100)
    settings = ModelSettings(max_tokens=16, include_usage=True)
    agent = Agent("A", model=model("m"), model_settings=settings)
    if isinstance(agent.model, OpenAIResponsesModel):
        with pytest.raises(ModelBehaviorError):
            await run(agent, "Go.")
    else:
        assert (await run(agent, "Go.")).final_output == "word" + " word" * 15
    (record,) = provider.served
    assert (record.outcome, record.output_tokens) == ("incomplete", 16)
    assert record.usage_reported


async def test_a_chat_stream_on_a_foreign_base_url_reports_no_usage_unasked(provider, async_client):
    model = OpenAIChatCompletionsModel(model="m", openai_client=async_client)
    result = Runner.run_streamed(Agent("A", model=model), "Go.")
    async for _ in result.stream_events():
        pass
    assert result.context_wrapper.usage.total_tokens == 0
    (record,) = provider.served
    assert record.total_tokens > 0
    assert not record.usage_reported


async def test_a_chat_stream_whose_server_sends_no_usage_chunk(provider, async_client):
    provider.script(Reply("Done.", NoUsage()))
    model = OpenAIChatCompletionsModel(model="m", openai_client=async_client)
    result = Runner.run_streamed(Agent("A", model=model, model_settings=ASK_USAGE), "Go.")
    async for _ in result.stream_events():
        pass
    assert result.final_output == "Done."
    assert result.context_wrapper.usage.total_tokens == 0
    assert provider.totals().total_tokens > 0


async def test_a_session_is_compacted(provider, async_client):
    provider.script("Hello.", "They said hello.", "Again.")
    session = OpenAIResponsesCompactionSession(
        "s",
        SQLiteSession("s"),
        client=async_client.copy(_extra_kwargs={"_strict_response_validation": False}),
        model="gpt-5",
        compaction_mode="input",
        should_trigger_compaction=lambda context: len(context["compaction_candidate_items"]) == 1,
    )
    agent = Agent("A", model=OpenAIResponsesModel(model="gpt-5", openai_client=async_client))
    result = await Runner.run(agent, "Hi.", session=session)
    assert [record.api for record in provider.served] == ["responses", "responses.compact"]
    assert_agree(provider, result.context_wrapper.usage)
    assert (await Runner.run(agent, "And again?", session=session)).final_output == "Again."


async def test_a_run_cancelled_in_the_middle_of_a_stream(provider, async_client):
    provider.script(Reply("one two three four five six", Slow(between=0.03)))
    model = OpenAIResponsesModel(model="m", openai_client=async_client)
    result = Runner.run_streamed(Agent("A", model=model), "Go.")
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type.endswith("text.delta"):
            result.cancel(mode="immediate")
    assert provider.wait()
    (record,) = provider.served
    assert (record.outcome, record.client_disconnected) == ("abandoned", True)
    assert 1 <= record.output_tokens < 6
    assert record.input_tokens > 0
