"""The support desk: five agents, and the conversation that they have with two customers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

import agents
from agents import Agent, RunConfig, RunContextWrapper, Runner, function_tool
from pydantic import BaseModel

from tallystick.demo.comparison import Count, count_of_sdk
from tallystick.demo.models import Source
from tallystick.run import Run
from tallystick.tally import Tally

TRIAGE = "You are the triage of a web shop. Say which desk answers: billing or shipping."
BILLING = "You are the billing desk of a web shop. You know what each customer paid."
SHIPPING = "You are the shipping desk of a web shop. You know where each parcel is."
SUMMARISER = "You sum up a parcel's log in one sentence."
WRITER = "You write to the customers of a web shop, from what its desks told them."

# A small model goes by examples; a large one does not mind them.
_TRIAGE_EXAMPLES = """

Customer: I paid too much.
Desk: {"desk": "billing"}
Customer: Where is my parcel?
Desk: {"desk": "shipping"}
Customer: The parcel is late.
Desk: {"desk": "shipping"}
Customer: I was charged $5 too much.
Desk: {"desk": "billing"}
Customer: Do you ship to Sweden?
Desk: {"desk": "shipping"}
Customer: I want to be paid back.
Desk: {"desk": "billing"}"""

_BILLING_EXAMPLES = """

Customer: I was charged twice for order 998.
Desk: I am sorry! You paid $45 for order 998 twice, so we pay $45 back to you by 6 May.
Customer: I was charged twice for order 1001.
Desk: I am sorry! You paid $7 for order 1001 twice, so we pay $7 back to you by 8 May.

Order 1042: a lamp, $19, paid twice; $19 is paid back by 10 May."""

_SHIPPING_EXAMPLES = """

Customer: Do you ship to Sweden?
Desk: Yes, we ship to Sweden, and it takes six days."""

_PARCEL_EXAMPLES = """
Customer: And where is my parcel, order 998?
The chair left Nagoya on 2 May, and waits in Tokyo because of a strike.
Desk: Your chair is on its way: it left Nagoya on 2 May, and a strike holds it in Tokyo."""

_SUMMARISER_EXAMPLES = """

Customer: chair: 1 May 10:00 packed in Nagoya. 2 May 08:30 left Nagoya. 3 May 11:15 waits in \
Tokyo, because of a strike.
Desk: The chair left Nagoya on 2 May, and waits in Tokyo because of a strike."""

_WRITER_EXAMPLES = """

Customer: Please write me a letter about it.
Desk: Dear customer, you paid for your chair twice, and we pay $45 back to you by 6 May. The \
chair waits in Tokyo because of a strike. Yours, the shop."""

PARCEL_LOG = (
    "lamp: 3 May 16:20 packed in Osaka. 4 May 09:12 left Osaka. 6 May 08:05 waits in Kobe, "
    "because of a storm."
)

# The SDK would send its traces to OpenAI's servers. The demo keeps to this machine.
_CONFIG = RunConfig(tracing_disabled=True)

_HANG_UP_AFTER = 8
"""How many pieces of the answer the customer hears before hanging up."""


@dataclass(frozen=True)
class Turn:
    """What a customer says, and what becomes of it."""

    title: str
    customer: str
    says: str
    way: Literal["asked", "streamed", "cancelled"] = "asked"
    fails_once: bool = False


TURNS = (
    Turn("a refund", "acme", "I was charged twice for order 1042.", fails_once=True),
    Turn("a parcel", "acme", "And where is my parcel, order 1042?"),
    Turn("a letter", "acme", "Please write me a letter about it.", way="streamed"),
    Turn("a long story", "acme", "Tell me the whole story of that lamp.", way="cancelled"),
    Turn("another customer", "globex", "Do you ship to Norway?"),
)


class Route(BaseModel):
    """Which desk answers."""

    desk: Literal["billing", "shipping"]


class Listener:
    """Is told what happens while it happens. The base does nothing."""

    def turn(self, number: int, turn: Turn) -> None:
        """A customer speaks."""

    def working(self, agent: str) -> None:
        """An agent is at work."""

    def routed(self, desk: str) -> None:
        """The triage has decided."""

    def said(self, agent: str, text: str, *, nested: bool = False) -> None:
        """An agent has answered; `nested` inside another agent's run."""

    def heard(self, agent: str, piece: str) -> None:
        """A piece of a streamed answer has arrived."""

    def ended(self, *, hung_up: bool) -> None:
        """A streamed answer has ended, or the customer hung up in the middle of it."""


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
        self._summariser = Agent[Turn](
            "Summariser", instructions=SUMMARISER + _SUMMARISER_EXAMPLES, model=model,
            model_settings=line,
        )
        self._billing = Agent[Turn](
            "Billing", instructions=BILLING + _BILLING_EXAMPLES, model=model, model_settings=line
        )
        self._shipping = Agent[Turn](
            "Shipping", instructions=self._shipping_instructions, model=model, model_settings=line
        )
        self._triage = Agent[Turn](
            "Triage", instructions=TRIAGE + _TRIAGE_EXAMPLES, model=model,
            model_settings=source.settings(16),
        )
        self._writer = Agent[Turn](
            "Writer", instructions=WRITER + _WRITER_EXAMPLES, model=model,
            model_settings=source.settings(64),
        )
        if source.calls_tools:
            self._shipping.tools = [self._parcel_tool()]
            self._triage.instructions = TRIAGE
            self._triage.handoffs = [self._billing, self._shipping]
        else:
            # A model that calls no tools still decides: its answer is held to this form.
            self._triage.output_type = Route

    # A nested agent: the shipping desk has a parcel's log summed up while it works.

    async def _parcel(self, context: RunContextWrapper[Turn]) -> str:
        self._listener.working("Summariser")
        result = await Runner.run(
            self._summariser, PARCEL_LOG, context=context.context, run_config=_CONFIG
        )
        summary = str(result.final_output).strip()
        self._listener.said("Summariser", summary, nested=True)
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
        instructions = SHIPPING + _SHIPPING_EXAMPLES
        if self._source.calls_tools or "parcel" not in context.context.says:
            return instructions
        summary = await self._parcel(context)
        self._listener.working(agent.name)
        return f"{instructions}{_PARCEL_EXAMPLES}\n\n{summary}"

    # The conversation.

    async def converse(self, tally: Tally) -> Conversation:
        """Have the conversation, in a run of its own that has a run for each turn."""
        async with tally.run("support desk", session="demo") as run:
            conversation = Conversation(run)
            for number, turn in enumerate(TURNS, 1):
                name = f"turn {number}: {turn.title}"
                async with tally.run(name, customer=turn.customer) as turn_run:
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
        usage, context = _context(turn)
        self._listener.working("Triage")
        result = await Runner.run(self._triage, turn.says, context=context, run_config=_CONFIG)
        if self._source.calls_tools:
            # The triage has handed over, and the desk has answered, in this one run.
            self._listener.routed(result.last_agent.name)
        else:
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
        usage, context = _context(turn)
        self._listener.working(self._writer.name)
        said = {"role": "user", "content": turn.says}
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


def _context(turn: Turn) -> tuple[agents.Usage, RunContextWrapper[Turn]]:
    """Return a context for runs, and the usage in it, to which only the SDK will add.

    Tallystick puts its own usage in the context, and goes on adding to this one exactly what the
    SDK adds: what the desk would read in the SDK's counters without Tallystick.
    """
    usage = agents.Usage()
    return usage, RunContextWrapper(context=turn, usage=usage)
