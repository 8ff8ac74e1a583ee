"""A tally that tracks the Agents SDK, and a provider that keeps a ledger of its own."""

import agents
import pytest
from openai import AsyncOpenAI

import tallystick
from tallystick.testing import Provider


@pytest.fixture(autouse=True)
def no_tracing():
    agents.set_tracing_disabled(disabled=True)


@pytest.fixture
def provider():
    with Provider(cache_threshold=64) as started:
        yield started


@pytest.fixture
async def client(provider):
    made = AsyncOpenAI(base_url=provider.base_url, api_key="test", max_retries=0)
    yield made
    await made.close()


@pytest.fixture
def tally(tmp_path):
    with tallystick.open(tmp_path / "usage.db", on_fault="raise") as opened:
        opened.track("openai-agents")
        yield opened
        opened.untrack("openai-agents")
        assert opened.faults == 0
        assert opened.ledger.verify().ok


@pytest.fixture(params=["responses", "chat"])
def api(request):
    return request.param


@pytest.fixture
def model(api, client):
    """Make the model of a name in the API that the test is run for."""

    def make(name="gpt-5", using=None):
        if api == "responses":
            return agents.OpenAIResponsesModel(name, using or client)
        return agents.OpenAIChatCompletionsModel(name, using or client)

    return make


@pytest.fixture(params=["plain", "streamed"])
def run_it(request):
    """Run an agent to its end, plain or streamed."""

    async def run(agent, question="x", **options):
        if request.param == "plain":
            return await agents.Runner.run(agent, question, **options)
        result = agents.Runner.run_streamed(agent, question, **options)
        async for _ in result.stream_events():
            pass
        return result

    return run
