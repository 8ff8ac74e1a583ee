"""A provider, and the real OpenAI clients of it, which check every answer against their types."""

import agents
import pytest
from openai import AsyncOpenAI, OpenAI

from tallystick.testing import Provider

agents.set_tracing_disabled(True)


@pytest.fixture
def provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def client(provider):
    with OpenAI(
        base_url=provider.base_url,
        api_key="test",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
async def async_client(provider):
    async with AsyncOpenAI(
        base_url=provider.base_url,
        api_key="test",
        max_retries=0,
        timeout=10,
        _strict_response_validation=True,
    ) as client:
        yield client
