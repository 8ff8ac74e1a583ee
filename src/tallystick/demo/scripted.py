"""The testing provider in the model's place: no language model, a script with real token counts."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from agents import Model, ModelSettings, OpenAIChatCompletionsModel
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tallystick.demo import instructions
from tallystick.demo.comparison import Served, ServerCount, count_of_served
from tallystick.demo.models import asks_for_usage
from tallystick.testing import Fail, Handoff, Provider, Reply, Request, Slow, ToolCall
from tallystick.testing import Served as Record

MODEL = "testing-model"

PACE = Slow(before=0.05, between=0.02)
"""So that a stream can be watched, and left in its middle."""


class ScriptedSource:
    """A `tallystick.testing.Provider` that plays the desk's part in the conversation.

    Args:
        pace: how fast its streamed answers come; slowly enough to leave them in the middle.
    """

    title = "the testing provider: no language model; its answers are scripted, its tokens counted"
    calls_tools = True
    own_rates = True

    def __init__(self, pace: Slow = PACE) -> None:
        self._pace = pace
        self.provider = Provider(cache_threshold=64)

    @property
    def model(self) -> Model:
        """The model over Chat Completions, as most servers that are not OpenAI's speak it."""
        return self._model

    def settings(self, limit: int, *, one_line: bool = False) -> ModelSettings:  # noqa: ARG002
        """Nothing but the limit."""
        return ModelSettings(max_tokens=limit)

    def fail_once(self) -> None:
        """Answer the next request with HTTP 500."""
        self._failing = True

    def asks_for_usage(self) -> bool:
        """By the SDK's own rule; it does not ask a server that is not OpenAI's."""
        return asks_for_usage(self._model)

    async def __aenter__(self) -> Self:
        self._failing = False
        failure = Fail(500, "the demo makes this request fail once", retry_after=0.2)
        self.provider.script(failure, when=lambda _: self._failing)
        write_script(self.provider, self._pace)
        self.provider.start()
        self._client = AsyncOpenAI(
            base_url=self.provider.base_url,
            api_key="testing",
            http_client=DefaultAsyncHttpxClient(trust_env=False),
        )
        self._model = OpenAIChatCompletionsModel(MODEL, self._client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()
        await asyncio.to_thread(self.provider.stop)

    async def counted(self) -> ServerCount:
        """Return the provider's own ledger."""
        await asyncio.to_thread(self.provider.wait)
        records = self.provider.served
        told = [_served(record) for record in records if record.outcome != "abandoned"]
        untold = [_served(record) for record in records if record.outcome == "abandoned"]
        return ServerCount(
            "the testing provider's own ledger", tuple(told), count_of_served(untold)
        )


def _served(record: Record) -> Served:
    return Served(
        record.response_id,
        record.status,
        record.input_tokens,
        record.cached_tokens,
        record.output_tokens,
    )


def write_script(provider: Provider, pace: Slow = PACE) -> None:
    """Give a provider the desk's part in the conversation."""

    def script(role: str, *replies: Reply) -> None:
        def asked(request: Request) -> bool:
            return role in request.instructions

        provider.script(*replies, when=asked)

    billing, shipping = Handoff("Billing"), Handoff("Shipping")
    script(instructions.TRIAGE, Reply(billing), Reply(shipping), Reply(shipping))
    script(
        instructions.BILLING,
        Reply(
            "I am sorry! You paid $19 for order 1042 twice, so we pay $19 back to you by 10 May."
        ),
    )
    script(
        instructions.SHIPPING,
        Reply(ToolCall("parcel", {"order": "1042"})),
        Reply("Your lamp is on its way: it left Osaka on 4 May, and a storm holds it in Kobe."),
        Reply("Yes, we ship to Norway, and it takes seven days."),
    )
    script(
        instructions.DIGEST,
        Reply("The lamp left Osaka on 4 May, and waits in Kobe because of a storm."),
    )
    script(
        instructions.WRITER,
        Reply(
            "Dear customer, you paid for your lamp twice, and we pay $19 back to you by "
            "10 May. The lamp waits in Kobe because of a storm. Yours, the shop.",
            pace,
        ),
        # Never faster, so that on a busy machine too it is left in its middle.
        Reply("It was a dark and stormy night in Osaka when the lamp set out. " * 4, PACE),
    )
