"""The commands put together, and errors turned into one line and an exit code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tallystick import __version__
from tallystick.cli import budget as budget_file
from tallystick.cli import price as price_file
from tallystick.cli import prices as prices_file
from tallystick.cli import reconcile as reconcile_file
from tallystick.cli import report as report_file
from tallystick.cli import reprice as reprice_file
from tallystick.cli import runs as runs_file
from tallystick.cli import show as show_file
from tallystick.cli import verify as verify_file
from tallystick.cli.exits import Exit
from tallystick.cli.options import ledger_named
from tallystick.cli.table import print_line, shortened
from tallystick.cli.terminal import (
    ensure_streams,
    finish,
    glyphs,
    open_console,
    unwritten,
    write,
)
from tallystick.errors import NotFound, TallystickError

_BEGINNING = """\b
Begin with:
  tallystick demo          count and price a real agent run on this machine
  tallystick runs          list the latest runs
  tallystick show last     show the last one, request by request
  tallystick report --by model,customer --since 7d

\b
Exit codes:
  0 well      1 verify found problems              2 wrong usage
              3 the ledger cannot be opened        4 no such run or budget
"""

# Help is plain text, laid out for the terminal that reads it: the same words in a pipe, where
# frames would be cut, and nothing to import before it is printed. Tracebacks are Python's own,
# because others print the values of variables, and those may be secrets.
app = typer.Typer(
    name="tallystick",
    epilog=_BEGINNING,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("runs", epilog=runs_file.EXAMPLES)(runs_file.runs)
app.command("show", epilog=show_file.EXAMPLES)(show_file.show)
app.command("report", epilog=report_file.EXAMPLES)(report_file.report)
app.add_typer(budget_file.budget)
app.command("price", epilog=price_file.EXAMPLES)(price_file.price)
app.command("prices", epilog=prices_file.EXAMPLES)(prices_file.prices)
app.command("reprice", epilog=reprice_file.EXAMPLES)(reprice_file.reprice)
app.command("reconcile", epilog=reconcile_file.EXAMPLES)(reconcile_file.reconcile)
app.command("verify", epilog=verify_file.EXAMPLES)(verify_file.verify)


def _print_version(wanted: bool) -> None:
    if wanted:
        write(f"tallystick {__version__}\n")
        raise typer.Exit


@app.callback()
def tallystick(
    ledger: Annotated[
        str | None,
        typer.Option(
            "--ledger",
            metavar="URL",
            help="The ledger, as a path or sqlite:///file; else $TALLYSTICK_URL, "
            "else a file in the user's data directory.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """The usage ledger for agent runs: what they used, what it cost, and for whom."""


@app.command(
    "demo",
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def demo(context: typer.Context) -> None:
    """Count and price a real multi-agent run on this machine.

    Its options are read by the demo itself, which is imported only when it runs: it needs
    packages that the other commands do without.
    """
    from tallystick.cli.demo import demo as command

    sub = typer.Typer(
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    sub.command("demo")(command)
    arguments = list(context.args)
    named = ledger_named(context)
    if named is not None and "--ledger" not in arguments:
        arguments = ["--ledger", named, *arguments]
    sub(args=arguments, prog_name="tallystick demo")


def run() -> int:
    """Run the command that the process was given; return its exit code."""
    ensure_streams()
    try:
        # Standard output must take any character of the help before it is printed.
        open_console()
        app(prog_name="tallystick")
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            print_line(open_console(errors=True), code)
            return finish(Exit.FAILED)
        return finish(Exit.OK if code is None else int(code))
    except TallystickError as error:
        finish(Exit.OK)
        return complain(error)
    except OSError as error:
        return unwritten(error)
    return finish(Exit.OK)


LONGEST_WORD = 256
"""A name in an error is written without its middle from here on; most paths are shorter."""


def complain(error: TallystickError) -> int:
    """Print an error on one line of standard error; return the exit code that stands for it."""
    console = open_console(errors=True)
    ellipsis = glyphs(console).ellipsis
    words = (shortened(word, LONGEST_WORD, ellipsis) for word in str(error).split())
    print_line(console, f"tallystick: {' '.join(words)}")
    return Exit.NOT_FOUND if isinstance(error, NotFound) else Exit.NO_LEDGER


if __name__ == "__main__":
    sys.exit(run())
