"""A model behind OpenAI's API, or behind one that speaks it (`OPENAI_BASE_URL`)."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from agents import Model, ModelSettings, OpenAIResponsesModel
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tallystick.demo.comparison import Count, ServerCount
from tallystick.demo.tap import Tap


class HostedSource:
    """OpenAI's API, with the key and the address that the environment names.

    Args:
        name: the model's name there.
    """

    calls_tools = True
    own_rates = False

    def __init__(self, name: str) -> None:
        self._name = name
        self._tap = Tap()
        self.title = f"{name} behind OpenAI's API"

    @property
    def model(self) -> Model:
        """The model over Responses."""
        return self._model

    def settings(self, limit: int, *, one_line: bool = False) -> ModelSettings:  # noqa: ARG002
        """Room for a model that reasons first. The prompts ask for short answers."""
        return ModelSettings(max_tokens=limit + 2000)

    def fail_once(self) -> None:
        """Answer the next request with HTTP 500, in the API's place."""
        self._tap.fail_once()

    def asks_for_usage(self) -> bool:
        """A stream over Responses always ends with its usage."""
        return True

    async def __aenter__(self) -> Self:
        self._client = AsyncOpenAI(http_client=DefaultAsyncHttpxClient(transport=self._tap))
        self.title = f"{self._name} at {self._client.base_url.host}"
        self._model = OpenAIResponsesModel(self._name, self._client)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def counted(self) -> ServerCount:
        """Return the usage blocks in the API's answers, as they came over the wire.

        What it generated for a client that went away, it does not tell.
        """
        whole = [answer for answer in self._tap.answers if answer.whole or answer.status != 200]
        left = len(self._tap.answers) - len(whole)
        return ServerCount(
            "the usage in the API's answers, read off the wire",
            tuple(answer.served() for answer in whole),
            Count(requests=left, unknown=left),
            self._tap.failures,
        )
