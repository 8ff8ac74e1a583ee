"""Where the demo's model comes from: this machine, OpenAI, or the testing provider."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Protocol, Self

from agents import Model, ModelSettings

from tallystick.demo.comparison import ServerCount


class Unavailable(Exception):  # noqa: N818 - what it is, as a reason that is shown
    """A model cannot be had here; the message says why."""


class Source(Protocol):
    """A model with its server. An async context manager: it serves inside the block."""

    title: str
    """What it is, in words."""
    calls_tools: bool
    """Whether the model calls tools, and so hands over by itself."""
    own_rates: bool
    """Whether its price is the demo's own rate, and not a provider's list price."""

    @property
    def model(self) -> Model:
        """The model, for an `Agent`."""

    def settings(self, limit: int, *, one_line: bool = False) -> ModelSettings:
        """Return settings for an answer of at most `limit` tokens, of one line if asked."""

    def fail_once(self) -> None:
        """Make the next request fail with HTTP 500."""

    def asks_for_usage(self) -> bool:
        """Whether the Agents SDK by itself asks this server for the usage of a stream."""

    async def counted(self) -> ServerCount:
        """Return what the server counted, by its own means, since it started."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@asynccontextmanager
async def serving(
    model: str | None, *, testing: bool, on_progress: Callable[[str], None]
) -> AsyncIterator[tuple[Source, str | None]]:
    """Start the model that is asked for, or the testing provider where there is none.

    Args:
        model: the name of a model of OpenAI's API, or None for the one on this machine.
        testing: use the testing provider, whatever else there is.
        on_progress: is told what is being done meanwhile.

    Yields:
        The source, serving, and why it is not the one that was hoped for, or None if it is.

    Raises:
        Unavailable: a model was named and there is no key for it.
    """
    reason: str | None = None
    async with AsyncExitStack() as stack:
        source: Source
        if testing:
            source = await stack.enter_async_context(_scripted())
        elif model is not None:
            if not os.environ.get("OPENAI_API_KEY"):
                raise Unavailable("--model uses OpenAI's API, so it needs OPENAI_API_KEY")
            from tallystick.demo.hosted import HostedSource

            source = await stack.enter_async_context(HostedSource(model))
        else:
            from tallystick.demo.local import LocalSource

            try:
                source = await stack.enter_async_context(LocalSource(on_progress=on_progress))
            except Unavailable as error:
                reason = str(error)
                source = await stack.enter_async_context(_scripted())
        yield source, reason


def _scripted() -> Source:
    # Imported only here: a real model needs no testing provider, nor what that needs.
    from tallystick.demo.scripted import ScriptedSource

    return ScriptedSource()


def asks_for_usage(model: Model) -> bool:
    """Whether the Agents SDK, by its own rule, asks for the usage of a stream of this model.

    Over Responses it always comes. Over Chat Completions it has to be asked for, and the SDK asks
    OpenAI only.
    """
    from agents import OpenAIChatCompletionsModel
    from agents.models.chatcmpl_helpers import ChatCmplHelpers

    if not isinstance(model, OpenAIChatCompletionsModel):
        return True
    client = model._client
    options = ChatCmplHelpers.get_stream_options_param(client, ModelSettings(), stream=True)
    return bool(options and options.get("include_usage"))
