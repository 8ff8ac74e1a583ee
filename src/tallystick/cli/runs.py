"""`tallystick runs`."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick.cli import render
from tallystick.cli.options import (
    JsonOption,
    LedgerOption,
    SinceOption,
    examples,
    open_for_reading,
    read_period,
)
from tallystick.cli.table import print_line
from tallystick.cli.terminal import open_console, print_json
from tallystick.report import latest_runs

EXAMPLES = examples(
    "tallystick runs",
    "tallystick runs --since 24h --customer acme",
    "tallystick runs --limit 100 --json",
)

MOST_RUNS = 1_000_000_000
"""More than a ledger holds, and a number that every database can count to."""


def runs(
    context: typer.Context,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", min=1, max=MOST_RUNS, help="How many runs, the newest first."
        ),
    ] = 20,
    since: SinceOption = None,
    customer: Annotated[
        str | None, typer.Option("--customer", help="Only runs for this customer.")
    ] = None,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List the latest runs, with what each used and cost.

    The runs inside a run are counted in it and not listed; see `tallystick show RUN`.
    """
    period = read_period(since)
    with open_for_reading(context, ledger) as opened:
        found = latest_runs(opened, period, limit=limit, customer=customer)
        url = opened.url
    if as_json:
        print_json({"runs": [summary.to_dict() for summary in found]})
        return
    if found:
        render.runs(open_console(), found)
        return
    narrowed = since is not None or customer is not None
    print_line(
        open_console(errors=True),
        f"No such run in {url}." if narrowed else f"No run yet in {url}.",
    )
