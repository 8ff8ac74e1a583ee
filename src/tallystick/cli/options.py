"""What several commands share: the ledger they read, and the moments they are given."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick.clock import Clock, checked
from tallystick.ledger import Ledger, open_ledger
from tallystick.report import Period
from tallystick.report.period import ACCEPTED

_HOUR = 3_600 * 10**9

SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help=f"From then on: {ACCEPTED}.", show_default=False),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="WHEN", help="Before then; written as --since is."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON; amounts are text and whole nanodollars.")
]
LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="URL",
        help="The ledger, as a path or sqlite:///file; else $TALLYSTICK_URL, else the user's own.",
        show_default=False,
    ),
]


def examples(*commands: str) -> str:
    """Return the examples under a command's help, each on a line of its own."""
    # A paragraph that begins with this character is not wrapped.
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def open_for_reading(context: typer.Context, ledger: str | None) -> Ledger:
    """Open the ledger that a command, or the words before it, names.

    Raises:
        LedgerError: it cannot be opened.
        ConfigError: its URL is none.
    """
    return open_ledger(ledger if ledger is not None else ledger_named(context), read_only=True)


def ledger_named(context: typer.Context) -> str | None:
    """Return the ``--ledger`` that was given before the command, or None."""
    named = context.find_root().params.get("ledger")
    return named if isinstance(named, str) else None


def read_period(since: str | None, until: str | None = None) -> Period:
    """Return the period that a command is given.

    Raises:
        BadParameter: a moment cannot be read, or no ledger can hold it.
    """
    try:
        period = Period.read(since, until, Clock().now())
        for moment in (period.since, period.until):
            if moment is not None:
                # Reports read whole hours around it.
                checked(moment - _HOUR)
                checked(moment + _HOUR)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return period
