"""What is said in words: totals, notes, and what the marks in a table mean."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tallystick.cli import format as written
from tallystick.cli.cells import DIM, DOUBTFUL
from tallystick.cli.table import print_line
from tallystick.cli.terminal import PIPE_WIDTH, glyphs, shown
from tallystick.report import Note, Totals

_LABEL = 10
"""How wide the names before the totals are."""


def totals(console: Console, value: Totals, places: int | None = None) -> str:
    """Print what requests come to, in three lines of words.

    Args:
        console: where to.
        value: the totals.
        places: the decimals of the cost; without them, as many as the amount needs.

    Returns:
        The figures that were printed, for `explain`.
    """
    marks = glyphs(console)
    uncertain = value.in_doubt or value.estimated or value.held
    cost = written.cost_text(value.cost, value.requests, places)
    counted = written.tokens_text(value, marks)
    for name, text, style in (
        ("requests", written.requests_text(value), DOUBTFUL if uncertain else ""),
        ("tokens", counted, ""),
        ("cost", cost, "bold" if value.cost.complete else f"bold {DOUBTFUL}"),
    ):
        for number, line in enumerate(_wrapped(text, console.width - _LABEL)):
            label = name if number == 0 else ""
            print_line(console, Text.assemble((f"{label:<{_LABEL}}", DIM), (line, style)))
    return f"{counted} {cost}"


def notes(console: Console, values: Sequence[Note], of: Totals) -> None:
    """Print why figures are missing, estimated or in doubt."""
    if not values:
        return
    print_line(console)
    for note in values:
        if is_common(note, of):
            head, count = "", f" (all {note.requests:,} requests)"
        else:
            head, count = f"[{note.number}] ", ""
            if note.requests > 1:
                count = f" ({note.requests:,} requests)"
        text = f"{head}{_KINDS[note.kind]}: {note.text}{count}"
        prose(console, shown(text), indent=len(head), style=DIM)


def is_common(note: Note, of: Totals) -> bool:
    """Whether a note is true of every request, so that marking each would say nothing."""
    everything = of.requests + of.held + of.released
    return note.requests == everything and everything > 1


_KINDS = {
    "in_doubt": "in doubt",
    "held": "held",
    "released": "not sent",
    "unpriced": "unpriced",
    "cost_estimated": "cost estimated",
    "estimated": "estimated",
    "anomaly": "impossible figure left out",
    "repriced": "repriced",
}


def explain(console: Console, figures: str) -> None:
    """Print what the marks in figures mean, if there are any."""
    marks = glyphs(console)
    meanings = [
        meaning
        for mark, meaning in (
            ("~", "~ rests on an estimate"),
            (marks.at_least, f"{marks.at_least} some requests are not in it"),
            (written.UNKNOWN, f"{written.UNKNOWN} unknown"),
        )
        if mark in figures
    ]
    if meanings:
        print_line(console)
        prose(console, marks.separator.join(meanings), style=DIM)


def left_out(console: Console, names: Sequence[str]) -> None:
    """Print for which columns there was no room."""
    if names:
        prose(console, f"Not shown at this width: {', '.join(names)}.", style=DIM)


def prose(console: Console, text: str, *, indent: int = 0, style: str = "") -> None:
    """Print a sentence, wrapped where there is a screen."""
    for line in _wrapped(text, console.width, indent):
        print_line(console, Text(line, style))


def _wrapped(text: str, width: int, indent: int = 0) -> list[str]:
    if width >= PIPE_WIDTH - _LABEL:
        return [text]
    return textwrap.wrap(
        text, max(width, 20), subsequent_indent=" " * indent, break_on_hyphens=False
    )
