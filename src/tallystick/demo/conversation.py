"""The conversation: what the two customers say, and whoever listens to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Turn:
    """What a customer says, and what becomes of it."""

    title: str
    customer: str
    says: str
    way: Literal["asked", "streamed", "cancelled"] = "asked"
    fails_once: bool = False


TURNS = (
    Turn("refund", "acme", "I was charged twice for order 1042.", fails_once=True),
    Turn("parcel", "acme", "And where is my parcel, order 1042?"),
    Turn("letter", "acme", "Please write me a letter about it.", way="streamed"),
    Turn("story", "acme", "Tell me the whole story of that lamp.", way="cancelled"),
    Turn("Norway", "globex", "Do you ship to Norway?"),
)


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
