"""A run of the Agents SDK with a model that answers at once, tracked against untracked."""

import asyncio
import gc
import tempfile
import time
from pathlib import Path

import agents
from agents import Agent, Runner, function_tool
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

import tallystick
from benchmarks.pairs import Row, row

TURNS = 5


class Immediate(agents.Model):
    """Calls a tool four times, then answers."""

    def __init__(self) -> None:
        self.calls = 0

    async def get_response(self, *arguments: object, **options: object) -> agents.ModelResponse:
        """Answer at once, with a usage."""
        self.calls += 1
        output: object
        if self.calls % TURNS:
            output = ResponseFunctionToolCall(
                type="function_call", name="noop", call_id=f"c{self.calls}", arguments="{}"
            )
        else:
            text = ResponseOutputText(type="output_text", text="Done.", annotations=[])
            output = ResponseOutputMessage(
                id="m", type="message", role="assistant", status="completed", content=[text]
            )
        usage = agents.Usage(requests=1, input_tokens=100, output_tokens=10, total_tokens=110)
        return agents.ModelResponse(output=[output], usage=usage, response_id=f"r{self.calls}")

    def stream_response(self, *arguments: object, **options: object) -> object:
        """Not measured."""
        raise NotImplementedError


@function_tool
def noop() -> str:
    """Do nothing."""
    return ""


async def _runs(number: int, together: int) -> float:
    started = time.perf_counter()
    for _ in range(number):
        batch = [Agent("A", model=Immediate(), tools=[noop]) for _ in range(together)]
        await asyncio.gather(*(Runner.run(agent, "x") for agent in batch))
    return (time.perf_counter() - started) / (number * together * TURNS)


def _measure(name: str, number: int, together: int) -> Row:
    agents.set_tracing_disabled(disabled=True)

    def untracked() -> float:
        return asyncio.run(_runs(number, together))

    # What is imported is left out of garbage collections: in a measurement as short as this one
    # it is chance on whose side a full collection falls.
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        tally = tallystick.open(Path(folder) / "bench.db")

        def tracked() -> float:
            tally.track("openai-agents")
            try:
                return asyncio.run(_runs(number, together))
            finally:
                tally.untrack("openai-agents")

        try:
            return row(name, tracked, untracked, goal=1.10, faster=False, pairs=9)
        finally:
            tally.close()
            gc.unfreeze()


def alone() -> Row:
    """One run after another: every wait for the disk is in the figure."""
    return _measure("a turn of a tracked run, one at a time", 40, 1)


def together() -> Row:
    """Twenty runs at once, as a server has them: commits are shared."""
    return _measure("a turn of a tracked run, 20 at a time", 4, 20)


ROWS = {"run alone": alone, "run together": together}
