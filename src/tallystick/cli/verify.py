"""`tallystick verify`."""

from __future__ import annotations

import typer

from tallystick.cli import render
from tallystick.cli.exits import Exit
from tallystick.cli.options import JsonOption, LedgerOption, examples, open_for_reading
from tallystick.cli.terminal import open_console, print_json

EXAMPLES = examples(
    "tallystick verify",
    "tallystick verify --ledger usage.db && echo sound",
)


def verify(
    context: typer.Context, as_json: JsonOption = False, ledger: LedgerOption = None
) -> None:
    """Check that the ledger agrees with itself.

    Every total is computed again from the rows, and every rule of the rows and the file itself
    are checked; nothing is changed. Exits with 1 where something disagrees, and names each problem.
    """
    with open_for_reading(context, ledger) as opened:
        found = opened.verify()
        url = opened.url
    if as_json:
        print_json(
            {
                "ok": found.ok,
                "runs": found.runs,
                "entries": found.entries,
                "totals": found.counts,
                "adjustments": found.adjustments,
                "books": found.books,
                "balances": found.balances,
                "rollups": found.rollups,
                "problems": list(found.problems),
                "notes": list(found.notes),
            }
        )
    else:
        render.verification(open_console(), found, url)
    if not found.ok:
        raise typer.Exit(Exit.DISAGREES)
