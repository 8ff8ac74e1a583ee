"""The Agents SDK's runs, counted as they are meant to go: every way in, every shape."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import agents
import pytest
from agents import (
    Agent,
    ModelSettings,
    RunConfig,
    RunContextWrapper,
    RunHooks,
    Runner,
    SQLiteSession,
    function_tool,
)
from agents.usage import Usage as AgentsUsage
from openai import AsyncOpenAI, OpenAI

import tallystick
from comparing import assert_equal, kept
from tallystick import RequestUsage, Usage
from tallystick.integrations.openai_agents import run_config, run_context
from tallystick.testing import Fail, Handoff, ToolCall


async def test_a_run_is_counted_with_everything_it_knows(tally, provider, model):
    provider.script(ToolCall("weather", {"city": "Kyoto"}), "Rain.")

    @function_tool
    def weather(city: str) -> str:
        return f"{city}: rain"

    agent = Agent("Planner", model=model("gpt-5"), tools=[weather])
    with tally.run("trip", customer="acme", session="s-42", team="red") as run:
        result = await Runner.run(agent, "Plan a weekend")
    assert result.final_output == "Rain."
    assert_equal(tally, provider)
    usage = result.context_wrapper.usage
    assert isinstance(usage, Usage)
    assert isinstance(usage, AgentsUsage)
    assert usage.requests == 2
    first, second = usage.request_usage_entries
    assert (first.agent, first.turn, second.turn) == ("Planner", 1, 2)
    assert (first.model, first.provider, first.outcome) == ("gpt-5", "local", "completed")
    assert (first.customer, first.session, first.tags) == ("acme", "s-42", {"team": "red"})
    assert first.duration > 0
    assert first.started_at < second.started_at
    assert first.response_id == provider.served[0].response_id
    parent, child = sorted(tally.ledger.runs(limit=9), key=lambda row: row.started_at)
    assert (parent.name, child.name, child.parent_id) == ("trip", "Planner", parent.id)
    assert (child.host, child.outcome) == ("openai-agents", "completed")
    for live in (run.usage, usage):
        assert live.request_usage_entries == kept(tally)
        assert tally.usage(run) == live


async def test_streamed_runs_are_counted_the_same(tally, provider, model):
    provider.script(ToolCall("weather", {}), "Rain over the whole of the city.")

    @function_tool
    def weather() -> str:
        return "rain"

    agent = Agent("Planner", model=model(), tools=[weather])
    result = Runner.run_streamed(agent, "Plan a weekend")
    seen = [event async for event in result.stream_events()]
    assert seen
    assert_equal(tally, provider)
    usage = result.context_wrapper.usage
    assert usage.request_usage_entries == kept(tally)
    assert [entry.turn for entry in usage.request_usage_entries] == [1, 2]
    (row,) = tally.ledger.runs(limit=9)
    assert row.outcome == "completed"


def test_run_sync_is_counted(tally, provider, api):
    """The SDK runs it on the thread's default loop, so a thread of its own is given one."""

    def sync():
        client = AsyncOpenAI(base_url=provider.base_url, api_key="test")
        agent = Agent("Planner", model=_model(api, "gpt-5", client))
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            return Runner.run_sync(agent, "Hello")
        finally:
            loop.run_until_complete(client.close())
            loop.close()

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(sync).result()
    assert_equal(tally, provider)
    assert result.context_wrapper.usage.request_usage_entries == kept(tally)


def _model(api, name, client):
    if api == "responses":
        return agents.OpenAIResponsesModel(name, client)
    return agents.OpenAIChatCompletionsModel(name, client)


async def test_handoffs_and_nested_agents_are_counted_once_everywhere(tally, provider, model):
    """A child's requests count once in the child and once in each ancestor (I8)."""
    translator = Agent("Translator", model=model("translator"))
    billing = Agent(
        "Billing",
        model=model("billing"),
        tools=[translator.as_tool("translate", "Translates.")],
    )
    triage = Agent("Triage", model=model("triage"), handoffs=[billing])
    provider.script(Handoff("Billing"), model="triage")
    provider.script(ToolCall("translate", {"input": "x"}), "Paid.", model="billing")
    with tally.run("desk") as run:
        result = await Runner.run(triage, "Where is my money?")
    assert result.last_agent is billing
    assert_equal(tally, provider)
    usage = result.context_wrapper.usage
    assert usage.requests == run.usage.requests == 4
    assert {name: part.requests for name, part in usage.by("agent").items()} == {
        "Triage": 1,
        "Billing": 2,
        "Translator": 1,
    }
    rows = {row.name: row for row in tally.ledger.runs(limit=9)}
    assert rows["Translator"].parent_id == rows["Triage"].id
    assert tally.usage(rows["Translator"].id).requests == 1
    assert tally.usage(rows["Triage"].id).requests == 4


async def test_totals_are_live_in_the_users_own_hooks(tally, provider, model):
    live = []

    class Hooks(RunHooks):
        async def on_llm_end(self, context, agent, response):
            usage = context.usage
            live.append((usage.requests, usage.total_tokens, usage.request_usage_entries[-1].agent))

    provider.script(ToolCall("noop"), "Done.")

    @function_tool
    def noop() -> str:
        return ""

    with tally.run("hooks") as run:
        seen_by_run = []

        class Ours:
            def on_llm_end(self, inner, entry):
                seen_by_run.append((run.usage.requests, entry.total_tokens))

        run._hooks = Ours()
        await Runner.run(Agent("A", model=model(), tools=[noop]), "x", hooks=Hooks())
    first, second = [record.total_tokens for record in provider.served]
    assert live == [(1, first, "A"), (2, first + second, "A")]
    assert seen_by_run == [(1, first), (2, second)]


@pytest.mark.parametrize("way", ["name", "config name", "config model", "provider", "agent model"])
async def test_whatever_way_the_model_is_given(tally, provider, client, model, api, way):
    class Mine(agents.ModelProvider):
        def get_model(self, model_name):
            return model(model_name)

    agents.set_default_openai_client(client, use_for_tracing=False)
    agents.set_default_openai_api("responses" if api == "responses" else "chat_completions")
    agent = Agent("A", model="gpt-5")
    config = RunConfig()
    if way == "config name":
        config = RunConfig(model="gpt-5")
        agent = Agent("A")
    elif way == "config model":
        config = RunConfig(model=model())
    elif way == "provider":
        config = RunConfig(model_provider=Mine())
    elif way == "agent model":
        agent = Agent("A", model=model())
    result = await Runner.run(agent, "x", run_config=config)
    assert_equal(tally, provider)
    (entry,) = result.context_wrapper.usage.request_usage_entries
    assert (entry.model, entry.agent, entry.turn) == ("gpt-5", "A", 1)


async def test_the_explicit_way_changes_nothing_in_the_process(tmp_path, provider, model):
    with tallystick.open(tmp_path / "x.db", on_fault="raise") as tally:
        agent = Agent("A", model="gpt-5")

        class Mine(agents.ModelProvider):
            def get_model(self, model_name):
                return model(model_name)

        config = run_config(tally, RunConfig(model_provider=Mine()))
        with tally.run("mine", customer="acme") as run:
            result = await Runner.run(agent, "x", context=run_context("ctx"), run_config=config)
            assert result.context_wrapper.context == "ctx"
        streamed = None
        with tally.run("streamed") as second:
            streamed = Runner.run_streamed(agent, "x", context=run_context(), run_config=config)
            async for _ in streamed.stream_events():
                pass
        assert_equal(tally, provider)
        assert result.context_wrapper.usage == run.usage
        assert streamed.context_wrapper.usage == second.usage
        (entry,) = run.usage.request_usage_entries
        assert (entry.agent, entry.turn, entry.customer) == ("A", 1, "acme")
        plain = await Runner.run(agent, "x", run_config=RunConfig(model_provider=Mine()))
        assert type(plain.context_wrapper.usage) is AgentsUsage
        assert len(kept(tally)) == 2


async def test_one_model_can_be_tracked(tmp_path, provider, model):
    with tallystick.open(tmp_path / "x.db", on_fault="raise") as tally:
        agent = Agent("A", model=tally.track(model()))
        with tally.run("mine") as run:
            await Runner.run(agent, "x")
        await Runner.run(agent, "x")
        assert_equal(tally, provider)
        assert run.usage.requests == 1


async def test_untrack_leaves_the_sdk_as_it_was(tmp_path, provider, model):
    from agents.run import get_default_agent_runner
    from agents.run_internal import run_loop

    before = (get_default_agent_runner(), run_loop.get_model)
    with tallystick.open(tmp_path / "x.db", on_fault="raise") as tally:
        tally.track("openai-agents")
        tally.track("openai-agents")
        assert get_default_agent_runner() is not before[0]
        tally.untrack("openai-agents")
        tally.untrack("openai-agents")
        assert (get_default_agent_runner(), run_loop.get_model) == before
        result = await Runner.run(Agent("A", model=model()), "x")
        assert type(result.context_wrapper.usage) is AgentsUsage
        assert kept(tally) == []


async def test_two_trackers_count_nothing_twice(tmp_path, tally, provider, model, caplog):
    """A run inside a tally's run is that tally's; any other is the latest tracker's."""
    agent = Agent("A", model=model())
    with tallystick.open(tmp_path / "second.db", on_fault="raise") as second:
        second.track("openai-agents")
        assert "a second tally tracks openai-agents" in caplog.text
        await Runner.run(agent, "x")
        with tally.run("mine"):
            await Runner.run(agent, "x")
        second.untrack("openai-agents")
        await Runner.run(agent, "x")
        assert (len(kept(tally)), len(kept(second))) == (2, 1)
    assert len(provider.served) == 3


async def test_a_session_is_counted_turn_by_turn(tally, provider, model):
    session = SQLiteSession("s")
    agent = Agent("A", model=model())
    for question in ("One?", "Two?", "Three?"):
        await Runner.run(agent, question, session=session)
    assert_equal(tally, provider)
    assert len(tally.ledger.runs(limit=9)) == 3


def test_runs_in_tasks_and_threads_never_mix(tally, provider, api):
    """Each run has its own requests, whatever runs beside it (I6)."""

    async def one(number, client):
        model = _model(api, f"m{number}", client)
        with tally.run(f"run-{number}", customer=f"c{number}") as run:
            await Runner.run(Agent(f"A{number}", model=model), "x")
            await asyncio.sleep(0)
            await Runner.run(Agent(f"B{number}", model=model), "x")
        assert run.usage.requests == 2
        assert set(run.usage.by("model")) == {f"m{number}"}
        assert set(run.usage.by("customer")) == {f"c{number}"}

    async def many(first):
        async with AsyncOpenAI(base_url=provider.base_url, api_key="test") as client:
            await asyncio.gather(*(one(first + number, client) for number in range(10)))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(asyncio.run, many(100 * thread)) for thread in range(4)]:
            done.result()
    entries = kept(tally)
    assert len(entries) == len(provider.served) == 80
    assert sorted(entry.response_id for entry in entries) == sorted(
        record.response_id for record in provider.served
    )


async def test_a_usage_of_ones_own_is_kept_up_to_date(tally, provider, model):
    """Who gives the run context a usage finds in it what the SDK itself counts."""
    mine = AgentsUsage()
    provider.script("Hello.")
    wrapper = RunContextWrapper(context=None, usage=mine)
    await Runner.run(Agent("A", model=model()), "x", context=wrapper)
    assert mine == wrapper.usage
    assert mine.requests == 1
    assert isinstance(wrapper.usage, Usage)


async def test_a_context_that_is_used_again_carries_on(tally, provider, model):
    wrapper = RunContextWrapper(context=None)
    for _ in range(3):
        await Runner.run(Agent("A", model=model()), "x", context=wrapper)
    assert wrapper.usage.requests == 3
    assert wrapper.usage.request_usage_entries == kept(tally)
    assert_equal(tally, provider)


async def test_what_a_tool_reports_is_counted_and_kept(tally, provider, model):
    """A tool that runs a model by itself and adds its usage, as the Codex tool does."""
    provider.script(ToolCall("inner"), "Done.")

    @function_tool
    def inner(context: RunContextWrapper) -> str:
        context.usage.add(AgentsUsage(requests=1, input_tokens=7, output_tokens=2, total_tokens=9))
        return ""

    result = await Runner.run(Agent("A", model=model(), tools=[inner]), "x")
    usage = result.context_wrapper.usage
    assert usage.requests == 3
    assert usage.request_usage_entries == kept(tally)
    assert [entry.total_tokens for entry in usage.request_usage_entries][1] == 9
    assert usage.total_tokens == 9 + sum(record.total_tokens for record in provider.served)


async def test_results_can_be_added_up(tally, provider, model):
    """Adding the usages of two runs keeps every entry and records none of them again."""
    total = Usage()
    theirs = AgentsUsage()
    for _ in range(2):
        result = await Runner.run(Agent("A", model=model()), "x")
        total.add(result.context_wrapper.usage)
        total.add(result.context_wrapper.usage)
        theirs.add(result.context_wrapper.usage)
    assert total.requests == theirs.requests == 2
    assert len(kept(tally)) == 2
    assert all(isinstance(entry, RequestUsage) for entry in total.request_usage_entries)


async def test_the_users_settings_reach_the_model(tally, provider, model):
    """Nothing that the user set is lost on the way through the wrapper."""
    provider.script("One two three four five six seven eight nine ten, and so on for a while, on.")
    settings = ModelSettings(max_tokens=16, extra_headers={"x-tallystick-test": "yes"})
    agent = Agent("A", model=model(), model_settings=settings)
    with contextlib.suppress(agents.exceptions.AgentsException):
        await Runner.run(agent, "x")
    (record,) = provider.served
    assert record.output_tokens == 16
    assert record.headers["x-tallystick-test"] == "yes"


@pytest.mark.parametrize("retried", [False, True])
def test_a_request_of_ones_own_that_a_tracked_client_sends_is_counted_once(
    tally, provider, retried
):
    if retried:
        provider.script(Fail(500), "at last")
    told = []

    class Hooks:
        def on_llm_end(self, run, entry):
            told.append(entry.output_tokens)

    with (
        OpenAI(base_url=provider.base_url, api_key="test", max_retries=1) as plain,
        tally.run("mine", hooks=Hooks()) as run,
    ):
        with run.request(agent="me", turn=3) as request:
            request.settle(plain.responses.create(model="gpt-5", input="x"))
        plain.responses.create(model="gpt-5", input="y")
    assert run.usage.requests == len(provider.served) == (3 if retried else 2)
    first, *others = run.usage.request_usage_entries
    assert (first.agent, first.turn, first.requested_model) == ("me", 3, "gpt-5")
    assert first.error_type == ("500" if retried else None)
    assert [entry.agent for entry in others] == (["me", None] if retried else [None])
    assert len(told) == len(provider.served)
