"""`tallystick demo`."""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.status import Status
from rich.text import Text

from tallystick.cli import render
from tallystick.cli.cells import BAD, BAR, DIM, DOUBTFUL, GOOD
from tallystick.cli.exits import Exit
from tallystick.cli.options import JsonOption
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import (
    PIPE_WIDTH,
    Terminal,
    glyphs,
    open_console,
    print_json,
    shown,
)
from tallystick.demo.conversation import Listener, Turn
from tallystick.errors import HostError, LedgerUnavailable
from tallystick.ledger import open_ledger
from tallystick.ledger.location import MEMORY
from tallystick.report import RequestLine, Waterfall, waterfall_of
from tallystick.tally import open as open_tally

if TYPE_CHECKING:
    from tallystick.demo.comparison import Count
    from tallystick.demo.demonstration import Demonstration

INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 + SIGINT, as a shell says it."""

_WIDE = 100
"""Columns of a screen on which there is room to show how deep a request is nested."""

_RATES = Path(__file__).parents[1] / "demo" / "rates.toml"
"""What the model on this machine costs: nobody's price list knows."""


def demo(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="A model of OpenAI's API, with OPENAI_API_KEY set (and OPENAI_BASE_URL for "
            "another server). Without it, a small model on this machine.",
            show_default=False,
        ),
    ] = None,
    testing: Annotated[
        bool,
        typer.Option("--testing", help="No language model: scripted answers, counted for real."),
    ] = False,
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            help="Where to keep it; else demo.db in the user's data directory.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Count and price a real multi-agent run on this machine.

    A support desk of five agents answers two customers. One request fails and is sent again,
    one agent runs inside another, one answer is streamed, and one is cancelled in the middle.
    Then you see every request and its cost, what the Agents SDK's own counters show of the same
    run, and what the model's server itself counted.

    Exit codes: 0 well; 1 the conversation broke off, or the ledger and the server differ; 2 wrong
    usage; 3 a package is missing, or the ledger cannot be opened; 130 stopped by Ctrl-C.
    """
    started = time.monotonic()
    url = ledger if ledger is not None else str(_demo_ledger())
    # Opened once before, so that a ledger that cannot be used is an error here and not a fault.
    with open_ledger(url) as opened:
        place = opened.url
    screen = Screen(open_console(errors=as_json))
    try:
        with _quiet():
            result, picture = asyncio.run(_demonstrate(url, model, screen, testing=testing))
    except BrokenOffError as error:
        print_line(open_console(errors=True), f"tallystick: {error}")
        raise typer.Exit(Exit.FAILED) from None
    except KeyboardInterrupt:
        screen.stop()
        # The SDK leaves a turn behind that Ctrl-C kept from beginning; that is no news here.
        warnings.filterwarnings("ignore", message="coroutine .* was never awaited")
        print_line(screen.console, "\nStopped. What was counted until then is in the ledger.")
        raise typer.Exit(INTERRUPTED) from None
    seconds = time.monotonic() - started
    if as_json:
        print_json({**result.to_dict(), "ledger": place, "seconds_in_all": round(seconds, 3)})
    else:
        _show(screen.console, result, picture)
        _show_next(screen.console, result, place, seconds)
    if result.differences:
        raise typer.Exit(Exit.DISAGREES)


def _demo_ledger() -> Path:
    import platformdirs

    folder = Path(platformdirs.user_data_dir("tallystick", appauthor=False))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerUnavailable(
            f"the folder for the ledger, {folder}, cannot be made ({error.strerror}); "
            "name another with --ledger"
        ) from error
    return folder / "demo.db"


async def _others_end() -> None:
    """Let a streamed run that was broken off end before the ledger is closed."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=2)


async def _demonstrate(
    url: str, model: str | None, screen: Screen, *, testing: bool
) -> tuple[Demonstration, Waterfall]:
    """Start the model, have the conversation, stop the model; return all there is to show."""
    screen.doing("starting")
    try:
        from tallystick.demo.demonstration import demonstrate
        from tallystick.demo.models import Unavailable, serving
    except ImportError as error:
        raise HostError(_missing(error)) from error
    import agents
    import openai

    try:
        async with serving(model, testing=testing, on_progress=screen.doing) as (source, reason):
            screen.ready(source.title, reason)
            with open_tally(url, config=_RATES if source.own_rates else None) as tally:
                tally.track("openai-agents")
                try:
                    result = await demonstrate(tally, source, screen)
                except BaseException:
                    await _others_end()
                    raise
                finally:
                    tally.untrack("openai-agents")
                return result, waterfall_of(tally.ledger, tally.ledger.run(result.run_id))
    except (openai.OpenAIError, agents.exceptions.AgentsException) as error:
        raise BrokenOffError(f"the conversation broke off: {error}") from error
    except Unavailable as error:
        raise typer.BadParameter(str(error)) from error
    except ImportError as error:
        raise HostError(_missing(error)) from error
    finally:
        screen.stop()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the SDK's log from the screen; what goes wrong is said in one line, by us."""
    logger = logging.getLogger("openai.agents")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _missing(error: ImportError) -> str:
    return f"the demo lacks a package ({error}): pip install 'tallystick[demo]'"


class BrokenOffError(Exception):
    """The model or the Agents SDK gave up; what was counted until then is in the ledger."""


class Screen(Listener):
    """Shows the conversation while it happens; on a screen, also what is being worked on."""

    def __init__(self, console: Terminal) -> None:
        self.console = console
        self._marks = glyphs(console)
        self._status: Status | None = None
        self._column = 0

    def doing(self, what: str) -> None:
        """Show what is being done, until something else is."""
        if not self.console.is_terminal:
            return
        if self._status is None:
            self._status = self.console.status("")
            self._status.start()
        self._status.update(Text(f"{what} {self._marks.ellipsis}", DIM))

    def stop(self) -> None:
        """Show no more what is being done."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def _line(self, *parts: str | tuple[str, str], indent: int = 0) -> None:
        """Print a paragraph, wrapped where there is a screen."""
        text = Text.assemble(*parts)
        if self.console.width >= PIPE_WIDTH:
            print_line(self.console, Text(" " * indent).append_text(text))
            return
        for line in text.wrap(self.console, max(self.console.width - indent, 20)):
            line.rstrip()
            print_line(self.console, Text(" " * indent).append_text(line))

    def ready(self, title: str, reason: str | None) -> None:
        """Say what runs, on which model, and why on that one."""
        self.stop()
        self._line(("A support desk of five agents, on the OpenAI Agents SDK", "bold"))
        if reason is not None:
            self._line((f"There is no language model here: {reason}", DOUBTFUL))
        self._line("Model: ", title)

    def turn(self, number: int, turn: Turn) -> None:
        """Say who asks what."""
        self.stop()
        notes = {
            "asked": "  (one request is made to fail)" if turn.fails_once else "",
            "streamed": "  (streamed)",
            "cancelled": "  (streamed, then cancelled)",
        }
        print_line(self.console)
        self._line(
            (f"{number}  {turn.customer}: ", "bold"),
            turn.says,
            (notes[turn.way], DIM),
        )

    def working(self, agent: str) -> None:
        """Show which agent is at work."""
        self.doing(agent)

    def routed(self, desk: str) -> None:
        """Say which desk is to answer."""
        self._said("Triage", f"{desk} answers.")

    def said(self, agent: str, text: str, *, nested: bool = False) -> None:
        """Say what an agent answered."""
        self._said(agent, text, indent=5 if nested else 3)

    def _said(self, agent: str, text: str, *, indent: int = 3) -> None:
        self.stop()
        self._line((f"{agent}: ", BAR), _shown(text), indent=indent)

    def heard(self, agent: str, piece: str) -> None:
        """Print a piece of an answer as it arrives."""
        self.stop()
        text = _shown(piece)
        if not self._column:
            self._write(f"   {agent}:", BAR)
            text = f" {text.lstrip()}"
        if self._column + len(text) > self.console.width:
            self._write("\n")
            self._column = 0
            text = f"   {text.lstrip()}"
        self._write(text)

    def _write(self, text: str, style: str = "") -> None:
        self.console.print(Text(text, style), end="", soft_wrap=True)
        self._column += len(text)

    def ended(self, *, hung_up: bool) -> None:
        """End the line of a streamed answer."""
        self._write(f" {self._marks.ellipsis} [cancelled]" if hung_up else "", DOUBTFUL)
        print_line(self.console)
        self._column = 0


def _shown(text: str) -> str:
    """Return what a model wrote as one line that commands no terminal."""
    return shown(text.replace("\n", " "))


def _show(console: Terminal, result: Demonstration, picture: Waterfall) -> None:
    """Print every request of the run, and what the others counted of it."""
    print_line(console)
    print_line(console, Text("Every request, as it is in the ledger", "bold"))
    print_line(console)
    render.show(console, _by_turn(picture, indent=int(console.width >= _WIDE)))
    print_line(console)
    print_line(console, Text("What others counted of it", "bold"))
    print_line(console)
    _show_counts(console, result)
    print_line(console)
    if result.differences:
        for difference in result.differences:
            print_line(console, Text(f"differs: {difference}", BAD))
    else:
        ended = sum(one.status == 200 for one in result.server.told)
        text = (
            f"Each of the {ended} answers that the server ended is in the ledger, token for token."
        )
        print_line(console, Text(text, GOOD))


def _by_turn(picture: Waterfall, indent: int) -> Waterfall:
    """Leave out the lines of the SDK's own runs, which say again what their requests say.

    `tallystick show` has them. The requests of a turn are `indent` steps further in than it is,
    and those of a nested agent one more.
    """
    return replace(
        picture,
        lines=tuple(
            replace(line, depth=max(line.depth - 2, 0) + indent)
            if isinstance(line, RequestLine)
            else line
            for line in picture.lines
            if isinstance(line, RequestLine) or line.run.host is None
        ),
    )


_WHY = {
    "failed": "a failed attempt, sent again",
    "nested": "an agent inside another's run",
    "streamed": "tokens of a streamed answer",
    "cancelled": "a cancelled answer",
}


def _show_counts(console: Terminal, result: Demonstration) -> None:
    """Print how the SDK's counters, Tallystick's and the server's add up."""
    marks = glyphs(console)

    def row(name: str, count: Count, *, of: str = "known", style: str = "") -> list[Cell]:
        cells = [f"{count.requests:,}" if count.requests else marks.absent]
        cells += [f"{number:,}" for number in count.tokens]
        if count.unknown and not any(count.tokens):
            cells[1:] = "???"
        elif of == "estimate":
            # How much of an estimate was cached, nobody can say.
            cells[1:] = f"~{cells[1]}", "?", f"~{cells[3]}"
        elif of == "sum":
            cells[1:] = f"~{cells[1]}", f"{marks.at_least}{cells[2]}", f"~{cells[3]}"
        return [Text(name, style), *(Text(cell, style) for cell in cells)]

    rows = [row("the Agents SDK's own counters", result.sdk)]
    rest = result.counted - result.sdk
    for why, count in result.missed.items():
        of = "estimate" if why == "cancelled" else "known"
        rows.append(row(f"+ {_WHY[why]}", count, of=of, style=DIM))
        rest -= count
    if rest.requests or any(rest.tokens):
        rows.append(row("+ not explained", rest, style=BAD))
    of = "sum" if result.in_doubt.requests else "known"
    rows.append(row("= Tallystick", result.counted, of=of, style="bold"))
    rows.append(row("the model's server", result.server.total))
    if result.server.untold.requests:
        rows.append(row("  of it, for the cancelled answer", result.server.untold, style=DIM))
    columns = [
        Column("who counted", least=20),
        *(Column(title, right=True) for title in ("requests", "in", "cached", "out")),
    ]
    draw(console, columns, rows)
    print_line(console, Text(f"The server's figures are from {result.server.source}.", DIM))
    if result.server.failures:
        print_line(
            console,
            Text("The failed attempt never reached it: the demo answered in its place.", DIM),
        )


def _show_next(console: Terminal, result: Demonstration, place: str, seconds: float) -> None:
    """Print where the ledger lies, and what to do with it."""
    print_line(console)
    if result.faults:
        text = f"{result.faults} faults while counting; the log above names them."
        print_line(console, Text(text, BAD))
    print_line(console, f"That took {seconds:.0f} s. The ledger is {place}")
    if place == MEMORY:
        return
    print_line(console, "Look at it with:")
    for command in (
        f"export TALLYSTICK_URL={shlex.quote(place)}",
        "tallystick show last",
        "tallystick report --by agent",
        "tallystick report --by customer",
        "tallystick verify",
    ):
        print_line(console, Text(f"  {command}", BAR))
