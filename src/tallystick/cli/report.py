"""`tallystick report`."""

from __future__ import annotations

from typing import Annotated

import typer

from tallystick.cli import render, spreadsheet
from tallystick.cli.options import (
    JsonOption,
    LedgerOption,
    SinceOption,
    UntilOption,
    examples,
    open_for_reading,
    read_period,
)
from tallystick.cli.table import print_line, shortened
from tallystick.cli.terminal import glyphs, open_console, print_json, shown, write
from tallystick.clock import timestamp
from tallystick.report import Key, Report, read_keys, usage_within
from tallystick.report.grouping import KEYS, suggestion

EXAMPLES = examples(
    "tallystick report --by model,agent,customer --since 7d",
    "tallystick report --by day,model --since 2026-11-01 --until 2026-12-01",
    "tallystick report --by customer,feature --csv > usage.csv",
)

LONGEST_TAG = 60
"""A tag that no request has is repeated in so many cells."""


def report(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="KEYS",
            help=f"What to group by, separated by commas: {', '.join(KEYS)}, or any tag.",
        ),
    ] = "model",
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV: a row for each group, plain integers.")
    ] = False,
    ledger: LedgerOption = None,
) -> None:
    """Report usage and cost by model, agent, customer and more.

    The dearest group comes first; days and hours, which are UTC, come in order. A request
    counts at the moment it was sent. 'run' is the name of the top-level run, and 'tag:day' is a
    tag that is called like a key.
    """
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv are two formats; give one")
    keys = _keys(by)
    period = read_period(since, until)
    with open_for_reading(context, ledger) as opened:
        value = usage_within(opened, period, keys)
        url = opened.url
    if as_json:
        moments = {"since": period.since, "until": period.until}
        print_json(
            {
                **{
                    name: None if moment is None else timestamp(moment).isoformat()
                    for name, moment in moments.items()
                },
                **value.to_dict(),
            }
        )
    elif as_csv:
        write(spreadsheet.csv_text(value))
    elif value.rows:
        render.report(open_console(), value)
    else:
        print_line(open_console(errors=True), f"No requests in that period in {url}.")
    _warn_of_absent_tags(value)


def _keys(by: str) -> tuple[Key, ...]:
    try:
        return read_keys(by)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _warn_of_absent_tags(value: Report) -> None:
    for tag in value.absent_tags:
        close = suggestion(tag)
        if close == tag:
            meant = f"{close!r} without 'tag:' is the key of that name."
        else:
            meant = f"did you mean {close!r}?" if close else f"keys are {', '.join(KEYS)}."
        console = open_console(errors=True)
        name = shortened(shown(tag), LONGEST_TAG, glyphs(console).ellipsis)
        print_line(console, f"No request has a tag {name!r}; {meant}")
