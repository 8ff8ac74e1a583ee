"""From a reply to what is generated and billed: cut into tokens, and off at the limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from tallystick.testing.reply import Failed, Incomplete, Refusal, Reply, ToolCall
from tallystick.testing.tokenizer import Piece, encode, pieces

__all__ = ["Billed", "Call", "Event", "Generation", "Said", "generate"]


@dataclass(frozen=True)
class Billed:
    """What a request is billed for, in tokens. Totals are inclusive, as OpenAI's are."""

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def up_to(self, output_tokens: int) -> Billed:
        """Return the same with only the first `output_tokens` generated."""
        reasoning = min(self.reasoning_tokens, output_tokens)
        return replace(self, output_tokens=output_tokens, reasoning_tokens=reasoning)


@dataclass(frozen=True)
class Said:
    """A text, or a refusal, that was generated; `whole` unless it was cut off."""

    pieces: tuple[Piece, ...]
    refusal: bool
    whole: bool

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(piece.text for piece in self.pieces)


@dataclass(frozen=True)
class Call:
    """A tool call that was generated; `whole` unless it was cut off. `pieces` are the arguments."""

    name: str
    name_tokens: int
    call_id: str | None
    pieces: tuple[Piece, ...]
    whole: bool

    @property
    def arguments(self) -> str:
        """The arguments as far as they were generated."""
        return "".join(piece.text for piece in self.pieces)


Item = Said | Call


@dataclass(frozen=True)
class Generation:
    """Everything that the model made of a request.

    `status` is that of the Responses API, `reason` says why it is incomplete.
    """

    items: tuple[Item, ...]
    status: Literal["completed", "incomplete", "failed"]
    reason: Literal["max_output_tokens", "content_filter"] | None
    failure: Failed | None
    billed: Billed

    @property
    def said(self) -> Iterator[Said]:
        """The texts and refusals."""
        return (item for item in self.items if isinstance(item, Said))

    @property
    def calls(self) -> Iterator[Call]:
        """The tool calls."""
        return (item for item in self.items if isinstance(item, Call))

    @property
    def transcript(self) -> str:
        """All that was generated, as a later turn reads it."""
        return "".join(
            item.text if isinstance(item, Said) else item.name + item.arguments
            for item in self.items
        )


class Event(NamedTuple):
    """One event of a stream: its bytes, what is generated when it is sent, and if it has usage."""

    data: bytes
    output_tokens: int
    has_usage: bool = False


def generate(reply: Reply, limit: int | None, billed: Billed) -> Generation:
    """Return what is generated for `reply` within `limit` output tokens.

    Reasoning comes first, then the content in order; what does not fit is not generated, and the
    generation is incomplete. `billed` has the input; the output is added to it. A tool call counts
    the tokens of its name and of its arguments.
    """
    room = limit if limit is not None else 1 << 62
    reasoning = min(reply.reasoning_tokens, room)
    whole = reasoning == reply.reasoning_tokens
    left = room - reasoning
    items: list[Item] = []
    for part in reply.content:
        if not whole or left == 0:
            whole = False
            break
        name_tokens = 0
        if isinstance(part, ToolCall):
            tokens = encode(part.arguments_text)
            name_tokens = len(encode(part.name))
        else:
            tokens = encode(part if isinstance(part, str) else part.text)
        if name_tokens > left:
            whole = False
            left = 0
            break
        left -= name_tokens
        whole = len(tokens) <= left
        tokens = tokens[:left]
        left -= len(tokens)
        if isinstance(part, ToolCall):
            items.append(Call(part.name, name_tokens, part.call_id, pieces(tokens), whole))
        else:
            items.append(Said(pieces(tokens), isinstance(part, Refusal), whole))
    billed = replace(billed, output_tokens=room - left, reasoning_tokens=reasoning)
    incomplete = reply.fault(Incomplete)
    failed = reply.fault(Failed)
    if not whole:
        return Generation(tuple(items), "incomplete", "max_output_tokens", None, billed)
    if incomplete is not None:
        cut = _with_last_cut(items)
        return Generation(cut, "incomplete", incomplete.reason, None, billed)
    if failed is not None:
        return Generation(_with_last_cut(items), "failed", None, failed, billed)
    return Generation(tuple(items), "completed", None, None, billed)


def _with_last_cut(items: list[Item]) -> tuple[Item, ...]:
    return (*items[:-1], replace(items[-1], whole=False)) if items else ()
