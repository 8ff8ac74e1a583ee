"""The support desk: five agents, and the conversation that they have with two customers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

import agents
from agents import Agent, Handoff, RunConfig, RunContextWrapper, Runner, function_tool, handoff
from pydantic import BaseModel

from tallystick.demo import instructions
from tallystick.demo.comparison import Count, count_of_sdk
from tallystick.demo.conversation import TURNS, Listener, Turn
from tallystick.demo.models import Source
from tallystick.run import Run
from tallystick.tally import Tally

# The SDK would send its traces to OpenAI's servers. The demo keeps to this machine.
_CONFIG = RunConfig(tracing_disabled=True)

_HANG_UP_AFTER = 8
"""How many pieces of the answer the customer hears before hanging up."""


class Route(BaseModel):
    """Which desk answers."""

    desk: Literal["billing", "shipping"]


@dataclass
class Conversation:
    """What the conversation was, once it is over."""

    run: Run
    """The run of the whole; `run.usage` is what it used."""
    turns: list[tuple[Turn, Run]] = field(default_factory=list)
    sdk: Count = field(default_factory=Count)
    """What the Agents SDK's counters say of the runs that the desk started, added up."""


class Desk:
    """The agents, on one model."""

    def __init__(self, source: Source, listener: Listener) -> None:
        self._source = source
        self._listener = listener
        self._history: list[Any] = []
        model = source.model
        line = source.settings(48, one_line=True)
        self._digest = Agent[Turn](
            "Digest",
            instructions=instructions.DIGEST + instructions.DIGEST_EXAMPLES,
            model=model,
            model_settings=line,
        )
        self._billing = Agent[Turn](
            "Billing",
            instructions=instructions.BILLING + instructions.BILLING_EXAMPLES,
            model=model,
            model_settings=line,
        )
        self._shipping = Agent[Turn](
            "Shipping", instructions=self._shipping_instructions, model=model, model_settings=line
        )
        self._triage = Agent[Turn](
            "Triage",
            instructions=instructions.TRIAGE + instructions.TRIAGE_EXAMPLES,
            model=model,
            model_settings=source.settings(16),
        )
        self._writer = Agent[Turn](
            "Writer",
            instructions=instructions.WRITER + instructions.WRITER_EXAMPLES,
            model=model,
            model_settings=source.settings(64, one_line=True),
        )
        if source.calls_tools:
            self._shipping.tools = [self._parcel_tool()]
            self._triage.instructions = instructions.TRIAGE
            self._triage.handoffs = [
                self._handoff(desk) for desk in (self._billing, self._shipping)
            ]
        else:
            # A model that calls no tools still decides: its answer is held to this form.
            self._triage.output_type = Route

    def _handoff(self, desk: Agent[Turn]) -> Handoff[Turn, Agent[Turn]]:
        def handing_over(_: RunContextWrapper[Turn]) -> None:
            self._listener.routed(desk.name)
            self._listener.working(desk.name)

        return handoff(desk, on_handoff=handing_over)

    # A nested agent: the shipping desk has a parcel's log summed up while it works.

    async def _parcel(self, context: RunContextWrapper[Turn]) -> str:
        self._listener.working("Digest")
        result = await Runner.run(
            self._digest, instructions.PARCEL_LOG, context=context.context, run_config=_CONFIG
        )
        summary = str(result.final_output).strip()
        self._listener.said("Digest", summary, nested=True)
        return summary

    def _parcel_tool(self) -> agents.Tool:
        @function_tool
        async def parcel(context: RunContextWrapper[Turn], order: str) -> str:
            """Say where the parcel of an order is."""
            return f"{order}: {await self._parcel(context)}"

        return parcel

    async def _shipping_instructions(
        self, context: RunContextWrapper[Turn], agent: Agent[Turn]
    ) -> str:
        text = instructions.SHIPPING + instructions.SHIPPING_EXAMPLES
        if self._source.calls_tools or "parcel" not in context.context.says:
            return text
        summary = await self._parcel(context)
        self._listener.working(agent.name)
        return f"{text}{instructions.PARCEL_EXAMPLES}\n\n{summary}"

    # The conversation.

    async def converse(self, tally: Tally) -> Conversation:
        """Have the conversation, in a run of its own that has a run for each turn."""
        async with tally.run("support desk", session="demo") as run:
            conversation = Conversation(run)
            for number, turn in enumerate(TURNS, 1):
                async with tally.run(turn.title, customer=turn.customer) as turn_run:
                    conversation.turns.append((turn, turn_run))
                    self._listener.turn(number, turn)
                    if turn.fails_once:
                        self._source.fail_once()
                    if turn.way == "asked":
                        conversation.sdk += await self._answer(turn)
                    else:
                        conversation.sdk += await self._stream(turn)
        return conversation

    async def _answer(self, turn: Turn) -> Count:
        """Let the triage find the desk and the desk answer; return what the SDK counted."""
        usage, context = self._context(turn)
        self._listener.working("Triage")
        result = await Runner.run(self._triage, turn.says, context=context, run_config=_CONFIG)
        # A triage that calls tools has handed over, and the desk has answered, in this one run.
        if not self._source.calls_tools:
            route = result.final_output_as(Route)
            desk = self._shipping if route.desk == "shipping" else self._billing
            self._listener.routed(desk.name)
            self._listener.working(desk.name)
            result = await Runner.run(desk, turn.says, context=context, run_config=_CONFIG)
        answer = str(result.final_output).strip()
        self._listener.said(result.last_agent.name, answer)
        self._history += [
            {"role": "user", "content": turn.says},
            {"role": "assistant", "content": answer},
        ]
        return count_of_sdk(usage, told_tokens=True)

    async def _stream(self, turn: Turn) -> Count:
        """Stream the writer's answer; return what the SDK counted."""
        usage, context = self._context(turn)
        self._listener.working(self._writer.name)
        said: Any = {"role": "user", "content": turn.says}
        result = Runner.run_streamed(
            self._writer, [*self._history, said], context=context, run_config=_CONFIG
        )
        pieces: list[str] = []
        hung_up = False
        async for event in result.stream_events():
            if event.type != "raw_response_event":
                continue
            if event.data.type != "response.output_text.delta" or hung_up:
                continue
            pieces.append(event.data.delta)
            self._listener.heard(self._writer.name, event.data.delta)
            if turn.way == "cancelled" and len(pieces) == _HANG_UP_AFTER:
                hung_up = True
                result.cancel(mode="immediate")
        if result.run_loop_task is not None:
            # A cancelled run is over when its loop is.
            await asyncio.wait([result.run_loop_task])
        self._listener.ended(hung_up=hung_up)
        self._history += [said, {"role": "assistant", "content": "".join(pieces).strip()}]
        return count_of_sdk(usage, told_tokens=self._source.asks_for_usage())

    def _context(self, turn: Turn) -> tuple[agents.Usage, Any]:
        """Return a context for runs, and the usage in it, to which only the SDK will add.

        Tallystick puts its own usage in the context, and goes on adding to this one exactly what
        the SDK adds: what the desk would read in the SDK's counters without Tallystick. (The SDK
        takes such a wrapper as well as a context, which its types do not say.)
        """
        usage = agents.Usage()
        return usage, RunContextWrapper(context=turn, usage=usage)
