"""Every case in which the Agents SDK loses usage, or says zero: counted."""

import asyncio
import contextlib
import json

import agents
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    ModelRetrySettings,
    ModelSettings,
    RunConfig,
    Runner,
    function_tool,
    retry_policies,
)
from agents.memory import OpenAIResponsesCompactionSession, SQLiteSession
from agents.run_state import RunState
from openai import AsyncOpenAI

from comparing import assert_equal, assert_every_request_is_kept, billed, kept, told
from tallystick.testing import Cut, Fail, Failed, Incomplete, Malformed, NoUsage, Slow, ToolCall

RETRIES = ModelSettings(
    retry=ModelRetrySettings(
        max_retries=3,
        policy=retry_policies.http_status([429, 500]),
        backoff={"initial_delay": 0.001, "jitter": False},
    )
)
LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"


# Nested runs.


async def test_a_nested_run_in_a_tool(tally, provider, model, run_it):
    """With the user's context given on, and not the wrapper: the SDK loses it."""
    inner = Agent("Inner", model=model("inner"))

    @function_tool
    async def ask(context: agents.RunContextWrapper) -> str:
        return (await Runner.run(inner, "y", context=context.context)).final_output

    provider.script(ToolCall("ask"), "Done.", model="outer")
    result = await run_it(Agent("Outer", model=model("outer"), tools=[ask]), context={"mine": 1})
    assert_equal(tally, provider)
    assert result.context_wrapper.usage.requests == 3
    assert set(result.context_wrapper.usage.by("agent")) == {"Outer", "Inner"}


async def test_a_nested_run_in_a_guardrail(tally, provider, model, run_it):
    judge = Agent("Judge", model=model("judge"))

    async def check(context, agent, question):
        result = await Runner.run(judge, "Is it fine?", context=context.context)
        return GuardrailFunctionOutput(output_info=result.final_output, tripwire_triggered=False)

    agent = Agent("Main", model=model("main"), input_guardrails=[InputGuardrail(check)])
    result = await run_it(agent)
    assert len(provider.served) == 2
    assert_every_request_is_kept(tally, provider)
    assert set(result.context_wrapper.usage.by("agent")) == {"Main", "Judge"}


async def test_a_tripped_parallel_guardrail(tally, provider, model, run_it):
    """The model call under way is cancelled; it was sent, and may be billed."""

    async def trip(context, agent, question):
        await _arrived(provider)
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered=True)

    provider.script(["Too late.", Slow(before=0.3)])
    agent = Agent("Main", model=model(), input_guardrails=[InputGuardrail(trip)])
    with tally.run("guarded") as run, pytest.raises(agents.InputGuardrailTripwireTriggered) as info:
        await run_it(agent)
    assert info.value.run_data.context_wrapper.usage.requests == 1
    (entry,) = run.usage.request_usage_entries
    # The SDK lets a stream end before it raises; a plain call it cancels.
    assert (entry.status, entry.outcome) in {("in_doubt", "cancelled"), ("settled", "completed")}
    assert_every_request_is_kept(tally, provider)


# Cancels.


async def test_cancelled_at_once_in_the_middle_of_a_stream(tally, provider, model):
    provider.script([LONG, Slow(between=0.02)])
    result = Runner.run_streamed(Agent("A", model=model()), "x")
    deltas = 0
    async for event in result.stream_events():
        deltas += getattr(getattr(event, "data", None), "type", "") == "response.output_text.delta"
        if deltas == 4:
            result.cancel("immediate")
    await _ended(result)
    usage = result.context_wrapper.usage
    assert usage.requests == 1
    (entry,) = usage.request_usage_entries
    assert (entry.status, entry.outcome, entry.estimated) == ("in_doubt", "cancelled", True)
    assert entry.output_tokens >= 4
    assert usage.in_doubt == usage.estimated == 1
    assert_every_request_is_kept(tally, provider)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_task_cancelled_before_the_first_byte(tally, provider, model, streamed):
    provider.script([LONG, Slow(before=0.5)])
    agent = Agent("A", model=model())

    async def go():
        if streamed:
            result = Runner.run_streamed(agent, "x")
            async for _ in result.stream_events():
                pass
        else:
            await Runner.run(agent, "x")

    with tally.run("cancelled") as run:
        task = asyncio.create_task(go())
        await _arrived(provider)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(100):
            if run.usage.requests:
                break
            await asyncio.sleep(0.01)
    assert run.usage.requests == 1
    (entry,) = run.usage.request_usage_entries
    assert (entry.status, entry.outcome) == ("in_doubt", "cancelled")
    assert entry.input_tokens > 0
    assert entry.output_tokens > 0
    assert_every_request_is_kept(tally, provider)


async def test_cancelled_after_the_turn_and_left_alone(tally, provider, model):
    """Both go on in the background, and are counted whole."""
    for leave in ("after_turn", "break"):
        provider.script([LONG, Slow(between=0.002)])
        result = Runner.run_streamed(Agent("A", model=model()), "x")
        async for _ in result.stream_events():
            if leave == "break":
                break
            result.cancel("after_turn")
        await _ended(result)
        assert result.context_wrapper.usage.requests == 1
    assert_equal(tally, provider)


async def _arrived(provider):
    """Wait until the provider has seen a request."""
    for _ in range(2000):
        if provider.served:
            return
        await asyncio.sleep(0.001)
    raise TimeoutError


async def _ended(result):
    await asyncio.wait([result.run_loop_task])
    for _ in range(3):
        await asyncio.sleep(0.01)


# Retries.


async def test_retries_then_success(tally, provider, model, run_it):
    """Each attempt has an entry: what was refused, at nothing; what was answered, as billed."""
    provider.script(Fail(500), Fail(429, retry_after=0.001), "At last.")
    agent = Agent("A", model=model(), model_settings=RETRIES)
    result = await run_it(agent)
    usage = result.context_wrapper.usage
    assert usage.requests == 3
    assert [entry.error_type for entry in usage.request_usage_entries] == ["500", "429", None]
    assert [entry.total_tokens for entry in usage.request_usage_entries][:2] == [0, 0]
    assert_equal(tally, provider)


async def test_retries_exhausted(tally, provider, model, run_it):
    provider.script(Fail(500), repeat=True)
    agent = Agent("A", model=model(), model_settings=RETRIES)
    with tally.run("doomed") as run, pytest.raises(Exception, match="500"):
        await run_it(agent)
    assert run.usage.requests == len(provider.served) == 4
    assert run.usage.total_tokens == 0
    assert run.usage.cost.complete
    assert_equal(tally, provider)


async def test_the_clients_own_hidden_retries(tally, provider, model, run_it):
    provider.script(Fail(500, retry_after=0.001), Fail(500, retry_after=0.001), "At last.")
    async with AsyncOpenAI(base_url=provider.base_url, api_key="test", max_retries=2) as client:
        result = await run_it(Agent("A", model=model("gpt-5", client)))
    assert result.context_wrapper.usage.requests == len(provider.served) == 3
    assert_equal(tally, provider)


async def test_a_connection_that_was_never_made(tally, model, run_it):
    """Nothing was sent: the row is released, and is no request in any total."""
    async with AsyncOpenAI(base_url="http://127.0.0.1:9/v1", api_key="x", max_retries=1) as client:
        with tally.run("nowhere") as run, pytest.raises(Exception, match="Connection"):
            await run_it(Agent("A", model=model("gpt-5", client)))
    assert run.usage.requests == 0
    assert [entry.status for entry in kept(tally)] == ["released", "released"]


# Answers that are not whole.


@pytest.mark.parametrize("fault", [Cut(), Cut(after_events=5), Cut(at_end=True), Malformed(3)])
async def test_a_response_that_breaks_off(tally, provider, model, run_it, fault):
    """What is not known is in doubt with an estimate; what was said is settled."""
    provider.script([LONG, fault])
    with tally.run("broken") as run, contextlib.suppress(Exception):
        await run_it(Agent("A", model=model()))
    assert run.usage.requests == len(provider.served) == 1
    assert_every_request_is_kept(tally, provider)


@pytest.mark.parametrize("fault", [Incomplete(), Incomplete("content_filter"), Failed()])
async def test_incomplete_and_failed_responses(tally, provider, model, run_it, api, fault):
    """They are billed, and the SDK raises them away."""
    provider.script([LONG, fault])
    with tally.run("cut") as run, contextlib.suppress(Exception):
        await run_it(Agent("A", model=model()))
    (entry,) = run.usage.request_usage_entries
    (record,) = provider.served
    if record.usage_reported:
        assert told(entry) == billed(record)
        assert entry.status == "settled"
        assert entry.outcome == ("failed" if isinstance(fault, Failed) else "incomplete")
    else:
        assert api == "chat"
        assert entry.status == ("settled" if record.status == 500 else "in_doubt")


async def test_cut_by_the_output_limit(tally, provider, model, run_it):
    provider.script(LONG * 5)
    agent = Agent("A", model=model(), model_settings=ModelSettings(max_tokens=20))
    with tally.run("cut") as run, contextlib.suppress(agents.AgentsException):
        await run_it(agent)
    (entry,) = run.usage.request_usage_entries
    assert (entry.outcome, entry.output_tokens) == ("incomplete", 20)
    assert_equal(tally, provider)


# Chat Completions at a base URL that is not OpenAI's.


async def test_chat_streams_are_asked_for_their_usage(tally, provider, client):
    provider.script(LONG)
    agent = Agent("A", model=agents.OpenAIChatCompletionsModel("gpt-5", client))
    result = Runner.run_streamed(agent, "x")
    async for _ in result.stream_events():
        pass
    assert result.context_wrapper.usage.requests == 1
    assert result.context_wrapper.usage.total_tokens == provider.served[0].total_tokens
    assert_equal(tally, provider)


async def test_a_server_that_sends_no_usage_is_said_so(tally, provider, model, run_it, api):
    provider.script([LONG, NoUsage()], [LONG, NoUsage(null=True)])
    for _ in range(2):
        result = await run_it(Agent("A", model=model()))
        (entry,) = result.context_wrapper.usage.request_usage_entries
        assert (entry.status, entry.error_type) == ("in_doubt", "usage_not_reported")
        assert entry.estimated
        assert entry.cost.estimated or entry.cost.unpriced
        assert result.context_wrapper.usage.requests == 1
    assert_every_request_is_kept(tally, provider)


async def test_a_server_that_refuses_the_question_is_asked_without_it(tally, provider, client):
    """The option that was added must not break what works without it."""

    def refuse(request):
        if "stream_options" in json.dumps(request.body):
            return Fail(400, "unknown field: stream_options")
        return LONG

    provider.script(refuse, repeat=True)
    agent = Agent("A", model=agents.OpenAIChatCompletionsModel("gpt-5", client))
    result = Runner.run_streamed(agent, "x")
    async for _ in result.stream_events():
        pass
    assert result.final_output == LONG
    assert [record.status for record in provider.served] == [400, 200]
    first, second = result.context_wrapper.usage.request_usage_entries
    assert (first.error_type, second.error_type) == ("400", "usage_not_reported")


async def test_who_wants_no_usage_is_not_asked(tally, provider, client):
    provider.script(LONG)
    settings = ModelSettings(include_usage=False)
    model = agents.OpenAIChatCompletionsModel("gpt-5", client)
    result = Runner.run_streamed(Agent("A", model=model, model_settings=settings), "x")
    async for _ in result.stream_events():
        pass
    assert not provider.served[0].usage_reported
    assert result.context_wrapper.usage.in_doubt == 1


# Exceptions.


async def test_an_exception_that_carries_no_run_data(tally, provider, model, run_it):
    @function_tool(failure_error_function=None)
    def explode() -> str:
        raise ZeroDivisionError("mine")

    provider.script(ToolCall("explode"))
    with tally.run("exploded") as run, pytest.raises(Exception, match="mine"):
        await run_it(Agent("A", model=model(), tools=[explode]))
    assert run.usage.requests == 1
    assert_equal(tally, provider)
    assert {row.outcome for row in tally.ledger.runs(limit=9) if row.name == "A"} == {"failed"}


async def test_too_many_turns(tally, provider, model, run_it):
    @function_tool
    def again() -> str:
        return "again"

    provider.script(ToolCall("again"), repeat=True)
    with pytest.raises(agents.MaxTurnsExceeded) as info:
        await run_it(Agent("A", model=model(), tools=[again]), max_turns=3)
    assert info.value.run_data.context_wrapper.usage.requests == 3
    assert_equal(tally, provider)


# Compaction, and runs that are resumed.


async def test_compaction_is_counted_once(tally, provider, client, run_it):
    session = OpenAIResponsesCompactionSession(
        "s", SQLiteSession("s"), client=client, should_trigger_compaction=lambda _: True
    )
    agent = Agent("A", model=agents.OpenAIResponsesModel("gpt-5", client))
    result = await run_it(agent, session=session)
    assert {record.api for record in provider.served} == {"responses", "responses.compact"}
    assert_equal(tally, provider)
    assert result.context_wrapper.usage.requests == 2
    assert result.context_wrapper.usage.total_tokens == provider.totals().total_tokens


@pytest.mark.parametrize("form", ["state", "json"])
async def test_a_resumed_run_counts_nothing_twice(tally, provider, model, run_it, form):
    @function_tool(needs_approval=True)
    def pay() -> str:
        return "paid"

    agent = Agent("A", model=model(), tools=[pay])
    provider.script(ToolCall("pay"), "Done.")
    first = await run_it(agent)
    state = first.to_state()
    if form == "json":
        state = await RunState.from_json(agent, json.loads(json.dumps(state.to_json())))
    state.approve(first.interruptions[0])
    second = await run_it(agent, state)
    assert second.final_output == "Done."
    assert first.context_wrapper.usage.requests == 1
    assert second.context_wrapper.usage.requests == 2
    assert second.context_wrapper.usage.total_tokens == provider.totals().total_tokens
    assert_equal(tally, provider)
    assert [tally.usage(row.id).requests for row in tally.ledger.runs(limit=9)] == [1, 1]


# Models that send by other ways.


class Opaque(agents.Model):
    """A model that answers by itself, with whatever usage it is given."""

    def __init__(self, *usages):
        self.usages = list(usages)

    async def get_response(self, *arguments, **options):
        usage = self.usages.pop(0)
        if isinstance(usage, Exception):
            raise usage
        message = _message("Hello.")
        return agents.ModelResponse(output=[message], usage=usage, response_id="mine")

    def stream_response(self, *arguments, **options):
        raise NotImplementedError


def _message(text):
    from openai.types.responses import ResponseOutputMessage, ResponseOutputText

    part = ResponseOutputText(text=text, type="output_text", annotations=[])
    return ResponseOutputMessage(
        id="m", type="message", role="assistant", content=[part], status="completed"
    )


async def test_a_model_without_http_is_counted_by_its_response(tally):
    usage = agents.Usage(requests=1, input_tokens=5, output_tokens=3, total_tokens=8)
    result = await Runner.run(Agent("A", model=Opaque(usage)), "x")
    (entry,) = result.context_wrapper.usage.request_usage_entries
    assert (entry.input_tokens, entry.output_tokens, entry.agent) == (5, 3, "A")
    assert entry.status == "settled"
    assert kept(tally) == [entry]


async def test_a_model_that_says_nothing_of_its_request_is_in_doubt(tally):
    result = await Runner.run(Agent("A", model=Opaque(agents.Usage(requests=1))), "x")
    (entry,) = result.context_wrapper.usage.request_usage_entries
    assert (entry.status, entry.estimated) == ("in_doubt", True)
    assert entry.output_tokens > 0


async def test_a_model_that_made_no_request_is_none(tally):
    result = await Runner.run(Agent("A", model=Opaque(agents.Usage())), "x")
    assert result.context_wrapper.usage.requests == 0
    assert [entry.status for entry in kept(tally)] == ["released"]


async def test_a_model_that_breaks_is_in_doubt(tally):
    with tally.run("broken") as run, pytest.raises(ValueError, match="mine"):
        await Runner.run(Agent("A", model=Opaque(ValueError("mine"))), "x")
    assert run.usage.in_doubt == 1


async def test_a_model_of_many_requests_has_an_entry_for_each(tally):
    usage = agents.Usage()
    usage.add(agents.Usage(requests=1, input_tokens=5, output_tokens=3, total_tokens=8))
    usage.add(agents.Usage(requests=1, input_tokens=7, output_tokens=1, total_tokens=8))
    result = await Runner.run(Agent("A", model=Opaque(usage)), "x", run_config=RunConfig())
    assert result.context_wrapper.usage.requests == 2
    assert [entry.input_tokens for entry in kept(tally)] == [5, 7]
