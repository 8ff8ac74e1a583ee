"""Where output goes: how wide it may be, and which characters it can hold."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, TextIO

from rich.console import Console

from tallystick.cli.exits import Exit

PIPE_WIDTH = 4_000
"""How wide a line may be where nobody has a screen: programs read it, and cut nothing off."""

_PIECE = 8_192


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters to draw with."""

    at_least: str
    ellipsis: str
    rule: str
    bar: str
    doubtful_bar: str
    run_bar: str
    separator: str
    absent: str
    child: str


UNICODE = Glyphs("≥", "…", "─", "━", "╍", "─", " · ", "\N{EN DASH}", "▸ ")
ASCII = Glyphs(">=", "..", "-", "=", "~", "-", ", ", "-", "> ")


class Terminal(Console):
    """A console on which a line is printed as it is, whose reader may go away at any time."""

    def on_broken_pipe(self) -> NoReturn:
        """Stop without a word: whoever read has seen enough."""
        cut_off()


def open_console(*, errors: bool = False) -> Terminal:
    """Return a console on standard output, or on standard error.

    On a screen it is as wide as the screen; in a pipe or a file it is not limited. Colour
    follows the terminal, ``NO_COLOR``, ``FORCE_COLOR`` and ``TERM=dumb``.
    """
    file = sys.stderr if errors else sys.stdout
    _never_fail(file)
    width = None if _is_screen(file) else PIPE_WIDTH
    return Terminal(file=file, width=width, highlight=False, markup=False, emoji=False)


def glyphs(console: Console) -> Glyphs:
    """Return the characters that a console's encoding has."""
    return UNICODE if console.encoding.startswith("utf") else ASCII


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    write(json.dumps(value, indent=2, ensure_ascii=not _is_utf8(sys.stdout)) + "\n")


def write(text: str) -> None:
    """Write text to standard output as it is."""
    try:
        # In pieces, because of one large write an unbuffered stream loses the part that its
        # reader did not take, and says nothing.
        for start in range(0, len(text), _PIECE):
            sys.stdout.write(text[start : start + _PIECE])
    except BrokenPipeError:
        cut_off()


def finish(code: int) -> int:
    """Write out what is buffered, and return the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _let_go()
        return Exit.CUT
    except OSError as error:
        return unwritten(error)
    return code


def unwritten(error: OSError) -> int:
    """Say that the output could not be written, such as to a full disk; return the exit code."""
    _let_go()
    print(f"tallystick: cannot write the output: {error.strerror}", file=sys.stderr)  # noqa: T201
    return Exit.FAILED


def cut_off() -> NoReturn:
    """End because the reader went away.

    Raises:
        SystemExit: always.
    """
    _let_go()
    raise SystemExit(Exit.CUT)


def _let_go() -> None:
    """Leave nothing that Python would try to write out when it ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def shown(text: str) -> str:
    """Return text from a ledger as it can be shown: nothing in it commands the terminal.

    Control characters, and those that change the direction of what follows, are written as
    their codes. So a name can neither colour a report, nor break its lines, nor reorder them.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode() if unicodedata.category(char) in _COMMANDS else char
        for char in text
    )


_COMMANDS = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def ensure_streams() -> None:
    """Give output somewhere to go where the process was started without (``>&-``)."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for good


def _is_screen(file: IO[str]) -> bool:
    try:
        return file.isatty()
    except ValueError:
        return False


def _is_utf8(file: TextIO) -> bool:
    return (getattr(file, "encoding", None) or "utf-8").lower().startswith("utf")


def _never_fail(file: TextIO) -> None:
    """Write a character that the locale's encoding lacks as its code, instead of failing."""
    reconfigure = getattr(file, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
