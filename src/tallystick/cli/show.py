"""`tallystick show`."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick.cli import render
from tallystick.cli.options import JsonOption, LedgerOption, examples, open_for_reading
from tallystick.cli.terminal import open_console, print_json
from tallystick.report import find_run, waterfall_of

EXAMPLES = examples(
    "tallystick show last",
    "tallystick show 019aab12",
    "tallystick show last --json",
)


def show(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or 'last'."),
    ],
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show one run, request by request.

    Each line is a request of the run or of a run inside it: its turn, agent and model, tokens
    in, of which cached, and out, cost, how long it took and when in the run, and how it ended.
    Figures are never made up: ? is unknown, ~ rests on an estimate, and the notes say why.
    """
    with open_for_reading(context, ledger) as opened:
        value = waterfall_of(opened, find_run(opened, run))
    if as_json:
        print_json(value.to_dict())
    else:
        render.show(open_console(), value)
