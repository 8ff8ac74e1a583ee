"""Budgets in the Agents SDK: refused before anything is sent, in every mode."""

import agents
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrail,
    ModelRetrySettings,
    ModelSettings,
    Runner,
    function_tool,
)
from agents.testing import ScriptedModel, assistant_message
from openai import AsyncOpenAI, OpenAI

import tallystick
from comparing import kept
from tallystick import Budget, BudgetExceeded, BudgetUncertain
from tallystick.testing import Fail, NoUsage, ToolCall

RATES = """
[[rates]]
model = "cheap"
input_per_million = 1
output_per_million = 1

[[rates]]
model = "gpt-5"
input_per_million = 10
output_per_million = 100
"""
# 256 tokens of answer, the least that a budget affords by default, are 0.0256 USD.
TOO_LITTLE = Budget(usd="0.02")
ENOUGH = Budget(usd="5")
LONG = " ".join(["word"] * 600)


@pytest.fixture
def tally(tmp_path):
    config = tmp_path / "tallystick.toml"
    config.write_text(RATES)
    with tallystick.open(tmp_path / "usage.db", config=config, on_fault="raise") as opened:
        opened.track("openai-agents")
        yield opened
        opened.untrack("openai-agents")
        assert opened.faults == 0
        opened.flush()
        assert opened.ledger.verify().problems == ()


@pytest.fixture
def limits(provider):
    """The limits on the answer that the provider was sent, in their order."""
    seen = []

    def note(request):
        seen.append(request.max_output_tokens)
        return False

    provider.script("never", when=note)
    return seen


class FakeModel(ScriptedModel):
    """A model that sends nothing, and notes the limits on its answers."""

    def __init__(self):
        super().__init__([[assistant_message("hello")], [assistant_message("hello")]])
        self.limits = []

    async def get_response(self, *arguments, **options):
        self.limits.append(options["model_settings"].max_tokens)
        return await super().get_response(*arguments, **options)

    async def stream_response(self, *arguments, **options):
        self.limits.append(arguments[2].max_tokens)
        async for event in super().stream_response(*arguments, **options):
            yield event


def balance(tally):
    """Return the only balance there is."""
    tally.flush()
    ((budget_id,),) = tally.ledger.query("SELECT DISTINCT budget_id FROM balances")
    (found,) = tally.ledger.balances(budget_id)
    return found


async def test_a_request_that_does_not_fit_is_never_sent(tally, provider, model, run_it):
    agent = Agent("A", model=model())
    with tally.run("trip", budget=TOO_LITTLE) as run:
        with pytest.raises(BudgetExceeded, match="budget 'trip'") as caught:
            await run_it(agent)
    assert provider.served == []
    error = caught.value
    assert isinstance(error, agents.AgentsException)
    assert error.run_data.last_agent is agent
    assert (error.unit, str(error.limit), error.spent) == ("usd", "0.020000000", 0)
    assert error.asked > error.limit
    assert error.usage.requests == run.usage.requests == 0
    assert kept(tally) == []


async def test_a_run_inside_its_budget_is_held_and_then_charged_what_it_cost(
    tally, provider, model, run_it
):
    with tally.run("trip", budget=ENOUGH) as run:
        await run_it(Agent("A", model=model()))
    found = balance(tally)
    assert (found.held.nanodollars, found.held.tokens, found.held.requests) == (0, 0, 0)
    assert found.spent.nanodollars == run.usage.cost.nanodollars
    assert found.spent.tokens == provider.totals().total_tokens
    assert found.spent.requests == 1


async def test_a_runaway_agent_is_stopped_inside_its_budget(tally, provider, model, run_it):
    """It would call its tool for ever."""

    @function_tool
    def more() -> str:
        return "go on"

    provider.script(ToolCall("more", {}), repeat=True)
    agent = Agent("Runaway", tools=[more], model=model())
    budget = Budget(usd="0.08", default_output_tokens=300)
    with tally.run("runaway", budget=budget) as run:
        with pytest.raises(BudgetExceeded) as caught:
            await run_it(agent, max_turns=1000)
    assert 1 < provider.totals().requests < 100
    assert run.usage.cost.nanodollars <= 80_000_000
    assert caught.value.usage.requests == provider.totals().requests


async def test_requests_and_tokens_have_limits_too(tally, provider, model, run_it):
    agent = Agent("A", model=model())
    with tally.run("trip", budget=Budget(requests=2)):
        await run_it(agent)
        await run_it(agent)
        with pytest.raises(BudgetExceeded, match="1 requests, and of 2 requests"):
            await run_it(agent)
    assert provider.totals().requests == 2
    with tally.run("other", budget=Budget(tokens=200)), pytest.raises(BudgetExceeded):
        await run_it(agent)
    assert provider.totals().requests == 2


async def test_a_tool_that_swallows_the_refusal_cannot_go_on_spending(
    tally, provider, model, run_it
):
    """`as_tool` makes a text of the error, and the SDK goes on with it."""
    inner = Agent("Inner", model=model("gpt-5"))
    tool = inner.as_tool("inner", "Ask.", failure_error_function=lambda _, error: str(error))
    provider.script(ToolCall("inner", {"input": LONG}), model="gpt-5")
    outer = Agent("Outer", tools=[tool], model=model("gpt-5"))
    # The outer request fits, and the inner one, with its long input, does not.
    with tally.run("trip", budget=Budget(usd="0.07", min_output_tokens=600)):
        with pytest.raises(BudgetExceeded, match="has stopped this run before"):
            await run_it(outer)
    assert provider.totals().requests == 1


async def test_a_budget_of_a_child_run_stops_the_child_alone(tally, provider, model):
    agent = Agent("A", model=model())
    with tally.run("parent", budget=ENOUGH) as parent:
        with tally.run("child", budget=TOO_LITTLE), pytest.raises(BudgetExceeded):
            await Runner.run(agent, "x")
        await Runner.run(agent, "x")
    assert parent.usage.requests == 1


async def test_a_child_run_is_inside_the_budget_of_its_parent(tally, provider, model):
    agent = Agent("A", model=model())
    with tally.run("parent", budget=Budget(requests=1)):
        with tally.run("child", budget=ENOUGH):
            await Runner.run(agent, "x")
        with tally.run("child", budget=ENOUGH), pytest.raises(BudgetExceeded, match="'parent'"):
            await Runner.run(agent, "x")
    assert provider.totals().requests == 1


async def test_no_retry_policy_sends_a_refused_request_again(tally, provider, client, run_it):
    tried = []

    def always(context):
        tried.append(context)
        return True

    retries = ModelRetrySettings(max_retries=5, policy=always, backoff={"initial_delay": 0.001})
    agent = Agent(
        "A",
        model=agents.OpenAIResponsesModel("gpt-5", client),
        model_settings=ModelSettings(retry=retries),
    )
    with tally.run("trip", budget=TOO_LITTLE), pytest.raises(BudgetExceeded):
        await run_it(agent)
    assert tried == []


async def test_the_client_does_not_wait_and_try_a_refused_request_again(tally, provider, model):
    using = AsyncOpenAI(base_url=provider.base_url, api_key="test", max_retries=5)
    refused = []

    class Hooks:
        def on_budget_exceeded(self, run, error):
            refused.append(error)

    with tally.run("trip", budget=TOO_LITTLE, hooks=Hooks()), pytest.raises(BudgetExceeded):
        await Runner.run(Agent("A", model=model(using=using)), "x")
    assert len(refused) == 1
    await using.close()


async def test_hidden_retries_are_held_one_by_one(tally, provider, model):
    provider.script(Fail(500), Fail(500), "at last")
    using = AsyncOpenAI(base_url=provider.base_url, api_key="test", max_retries=5)
    with tally.run("trip", budget=Budget(requests=2)), pytest.raises(BudgetExceeded) as caught:
        await Runner.run(Agent("A", model=model(using=using)), "x")
    assert isinstance(caught.value, agents.AgentsException)
    assert [served.status for served in provider.served] == [500, 500]
    await using.close()


async def test_a_guardrail_is_under_the_budget_of_its_run(tally, provider, model, run_it):
    checker = Agent("Checker", model=model())

    async def check(context, agent, question):
        await Runner.run(checker, question)
        return GuardrailFunctionOutput(None, tripwire_triggered=False)

    guarded = Agent(
        "Guarded",
        model=model(),
        input_guardrails=[InputGuardrail(check, run_in_parallel=False)],
    )
    with tally.run("trip", budget=Budget(requests=1)), pytest.raises(BudgetExceeded):
        await run_it(guarded)
    assert provider.totals().requests == 1


async def test_the_limit_on_the_answer_is_what_the_budget_affords(tally, limits, model, run_it):
    """40 cents afford some 4,000 tokens, and the agent asks for none in particular."""
    with tally.run("trip", budget=Budget(usd="0.40")) as run:
        await run_it(Agent("A", model=model()))
    (entry,) = run.usage.request_usage_entries
    assert 3_800 < limits[0] < 4_000
    assert (entry.output_limit, entry.limited_by) == (limits[0], "trip")


async def test_a_limit_that_is_asked_for_and_fits_is_sent_as_it_is(tally, limits, model):
    agent = Agent("A", model=model(), model_settings=ModelSettings(max_tokens=300))
    with tally.run("trip", budget=ENOUGH) as run:
        await Runner.run(agent, "x")
    assert limits == [300]
    assert run.usage.request_usage_entries[0].limited_by is None


async def test_an_answer_that_a_budget_cut_is_counted_and_explained(
    tally, provider, client, run_it
):
    """The SDK makes an error without any usage of it."""
    provider.script(LONG)
    agent = Agent("A", model=agents.OpenAIResponsesModel("gpt-5", client))
    with tally.run("trip", budget=Budget(usd="0.04")) as run:
        with pytest.raises(BudgetExceeded, match=r"was cut at 3.. tokens, because the budget"):
            await run_it(agent)
    (entry,) = run.usage.request_usage_entries
    assert (entry.outcome, entry.status) == ("incomplete", "settled")
    assert entry.output_tokens == entry.output_limit == provider.served[0].output_tokens
    assert balance(tally).spent.nanodollars == entry.cost.nanodollars


async def test_an_answer_that_no_budget_cut_is_not_put_down_to_one(tally, provider, client, run_it):
    provider.script(LONG)
    settings = ModelSettings(max_tokens=300)
    model = agents.OpenAIResponsesModel("gpt-5", client)
    with tally.run("trip", budget=ENOUGH), pytest.raises(agents.ModelBehaviorError):
        await run_it(Agent("A", model=model, model_settings=settings))


async def test_a_cheaper_model_takes_over_what_does_not_fit(tally, provider, model, run_it):
    agent = Agent("A", model=model("gpt-5"))
    with tally.run("trip", budget=Budget(usd="0.02", on_exceeded="cheap")) as run:
        await run_it(agent)
    (served,) = provider.served
    (entry,) = run.usage.request_usage_entries
    assert (served.model, entry.model, entry.requested_model) == ("cheap", "cheap", "gpt-5")


async def test_a_budget_that_only_warns_lets_pass_and_says_so(tally, provider, model, caplog):
    warned = []

    class Hooks:
        async def on_budget_warning(self, run, found):
            warned.append(found.name)

    budget = Budget(usd="0.02", on_exceeded="warn")
    with tally.run("trip", budget=budget, hooks=Hooks()) as run:
        await Runner.run(Agent("A", model=model()), "x")
    assert run.usage.requests == 1
    assert warned == ["trip"]
    assert "trip" in caplog.text
    assert run.usage.request_usage_entries[0].output_limit is None


async def test_it_is_warned_once_when_four_fifths_are_spent(tally, provider, model):
    warned = []

    class Hooks:
        def on_budget_warning(self, run, found):
            warned.append((found.name, found.spent.requests))

    agent = Agent("A", model=model())
    with tally.run("trip", budget=Budget(requests=5), hooks=Hooks()):
        for _ in range(5):
            await Runner.run(agent, "x")
    assert warned == [("trip", 4)]


async def test_what_nobody_said_it_used_keeps_its_hold(tally, provider, model, run_it):
    """I4: the hold stays until it is reconciled, so that nothing is undercharged."""
    provider.script(NoUsage())
    agent = Agent("A", model=model(), model_settings=ModelSettings(max_tokens=100))
    with tally.run("trip", budget=ENOUGH) as run:
        await run_it(agent)
    (entry,) = run.usage.request_usage_entries
    found = balance(tally)
    assert entry.status == "in_doubt"
    assert found.spent.nanodollars == 0
    assert found.held.nanodollars > 100 * 100_000
    assert found.held.nanodollars > entry.cost.nanodollars


async def test_a_model_without_a_price_is_refused_unless_that_is_allowed(tally, provider, model):
    agent = Agent("A", model=model("unheard-of"))
    with tally.run("trip", budget=ENOUGH) as run:
        with pytest.raises(BudgetUncertain, match=r'allow=\["unpriced"\]') as caught:
            await Runner.run(agent, "x")
    assert isinstance(caught.value, agents.AgentsException)
    assert provider.served == []
    with tally.run("trip", budget=Budget(usd=5, allow=["unpriced"])) as run:
        await Runner.run(agent, "x")
    assert run.usage.cost.unpriced == 1


async def test_a_model_that_sends_by_other_ways_is_under_the_budget_too(tally, run_it):
    fake = FakeModel()
    with tally.run("trip", budget=Budget(requests=0)), pytest.raises(BudgetExceeded) as caught:
        await run_it(Agent("A", model=fake))
    assert isinstance(caught.value, agents.AgentsException)
    assert fake.limits == []
    with tally.run("trip", budget=Budget(tokens=2000)):
        await run_it(Agent("A", model=fake))
    assert 600 < fake.limits[0] < 2000


async def test_handoffs_are_held_for_with_what_else_is_sent_by_other_ways(tally):
    """Their descriptions are input, and the provider bills them."""
    other = Agent("Other", handoff_description=LONG)
    with tally.run("trip", budget=Budget(tokens=1_500)), pytest.raises(BudgetExceeded):
        await Runner.run(Agent("A", model=FakeModel(), handoffs=[other]), "x")
    with tally.run("trip", budget=Budget(tokens=1_500)):
        await Runner.run(Agent("A", model=FakeModel()), "x")


class Many(agents.Model):
    """A model whose one response stands for three requests."""

    async def get_response(self, *arguments, **options):
        usage = agents.Usage(requests=3, input_tokens=9, output_tokens=6, total_tokens=15)
        return agents.ModelResponse([assistant_message("hello")], usage, response_id=None)

    def stream_response(self, *arguments, **options):
        raise NotImplementedError


async def test_all_requests_that_a_response_stands_for_are_charged(tally):
    with tally.run("trip", budget=Budget(requests=5)):
        await Runner.run(Agent("A", model=Many()), "x")
    assert balance(tally).spent.requests == 3


async def test_a_model_that_is_refused_outside_any_run_leaves_none_open(tally):
    row = Budget(requests=0, per="all").row("budget_1", 1, name="none")
    assert tally.ledger.set_budget(row).result()
    with pytest.raises(BudgetExceeded):
        await tally.track(FakeModel()).get_response(
            None, "x", model_settings=ModelSettings(), tools=[], output_schema=None, handoffs=[],
            tracing=agents.ModelTracing.DISABLED, previous_response_id=None, conversation_id=None,
            prompt=None,
        )  # fmt: skip
    tally.flush()
    assert [run.outcome for run in tally.ledger.runs()] == ["completed"]


async def test_a_client_outside_any_agent_gets_the_refusal_itself(tally, provider, api):
    """The openai client wraps what its HTTP client raises, and tries again."""
    with OpenAI(base_url=provider.base_url, api_key="test", max_retries=3) as plain:
        question = [{"role": "user", "content": "x"}]
        with tally.run("trip", budget=TOO_LITTLE), pytest.raises(BudgetExceeded):
            _ = (
                plain.responses.create(model="gpt-5", input="x")
                if api == "responses"
                else plain.chat.completions.create(model="gpt-5", messages=question)
            )
    assert provider.served == []


class Wrapped(agents.Model):
    """A model of the user's own around one of the SDK's, which says more than it was asked."""

    def __init__(self, inner, prompt=""):
        self.inner = inner
        self.model = inner.model
        self.prompt = prompt

    async def get_response(self, **options):
        options["system_instructions"] = self.prompt
        return await self.inner.get_response(**options)

    def stream_response(self, *arguments, **options):
        return self.inner.stream_response(self.prompt, *arguments[1:], **options)


async def test_what_leaves_is_held_and_not_what_a_model_was_asked(tally, provider, model, run_it):
    agent = Agent("A", model=Wrapped(model(), prompt="secret " * 3000))
    with tally.run("trip", budget=Budget(tokens=2500)), pytest.raises(BudgetExceeded):
        await run_it(agent)
    assert provider.served == []


async def test_a_model_that_nobody_can_change_is_not_held_as_a_cheaper_one(tally, run_it):
    fake = FakeModel()
    fake.model = "gpt-5"
    budget = Budget(usd="0.02", on_exceeded="cheap")
    with tally.run("trip", budget=budget), pytest.raises(BudgetExceeded):
        await run_it(Agent("A", model=fake))
    assert fake.limits == []


def test_the_same_request_sent_again_is_another_request(tally, provider):
    with OpenAI(base_url=provider.base_url, api_key="test") as plain:
        http = plain._client
        body = {"model": "gpt-5", "input": "x"}
        request = http.build_request("POST", f"{provider.base_url}/responses", json=body)
        with tally.run("trip", budget=Budget(requests=2)) as run:
            http.send(request)
            http.send(request)
            with pytest.raises(BudgetExceeded):
                http.send(request)
    assert run.usage.requests == provider.totals().requests == 2


def test_a_limit_of_another_api_limits_nothing(tally, provider):
    with OpenAI(base_url=provider.base_url, api_key="test") as plain:
        with tally.run("trip", budget=Budget(tokens=1500)) as run:
            plain.responses.create(model="gpt-5", input="x", extra_body={"max_tokens": 10})
    (entry,) = run.usage.request_usage_entries
    assert entry.output_limit > 1000


async def test_requests_that_a_model_made_unasked_are_charged_and_make_debt(tally):
    """A response that stands for three requests, where the budget lets two pass."""

    class Busy(FakeModel):
        async def get_response(self, *arguments, **options):
            response = await super().get_response(*arguments, **options)
            response.usage = agents.Usage(requests=3, input_tokens=9, output_tokens=3)
            response.usage.total_tokens = 12
            response.usage.request_usage_entries = [
                agents.usage.RequestUsage(3, 1, 4, *_no_details()) for _ in range(3)
            ]
            return response

    with tally.run("trip", budget=Budget(requests=2)) as run:
        await Runner.run(Agent("A", model=Busy()), "x")
    found = balance(tally)
    assert run.usage.requests == found.spent.requests == 3
    assert (found.debt.requests, found.held.requests) == (1, 0)


def _no_details():
    from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

    return (
        InputTokensDetails(cached_tokens=0, cache_write_tokens=0),
        OutputTokensDetails(reasoning_tokens=0),
    )
