"""`tallystick reprice`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from tallystick.cli import cells
from tallystick.cli import format as written
from tallystick.cli.options import (
    JsonOption,
    LedgerOption,
    SinceOption,
    UntilOption,
    examples,
    ledger_named,
    open_for_reading,
    read_period,
)
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import Terminal, glyphs, open_console, print_json, shown
from tallystick.cli.words import explain
from tallystick.clock import Clock
from tallystick.ledger import Ledger, open_ledger
from tallystick.money import Cost
from tallystick.pricing import Prices
from tallystick.report import Change, Period, Pricing, Repricing
from tallystick.report import reprice as reprice_entries
from tallystick.report.repricing import CURRENT, PINNED

EXAMPLES = examples(
    "tallystick reprice --since 30d --dry-run",
    "tallystick reprice --book current --since 2026-11-01 --yes",
)


def reprice(
    context: typer.Context,
    book: Annotated[
        str,
        typer.Option(
            "--book",
            metavar="BOOK",
            help=f"By which price book: '{PINNED}', the one that each price names; '{CURRENT}', "
            "the one of the installed data; or the hash of one.",
        ),
    ] = PINNED,
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print what would change.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Price requests anew, by the rates of the time at which each was sent.

    No entry changes: where the price differs, an adjustment is appended, and reports show the
    newest. Own rates are those of tallystick.toml here; without one, a price by own rates is made
    again by the same. Doing it twice appends nothing; one that broke off is finished by another.
    """
    period = read_period(since, until)
    if not (dry_run or yes) and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("it would write to the ledger; give --yes, or --dry-run to look")
    prices = Prices.load()
    if not yes or dry_run:
        with open_for_reading(context, ledger) as opened:
            found = _reprice(opened, prices, book, period, write=False)
        _show(found, as_json=as_json, done=False)
        if dry_run or not found.total.adjusted:
            return
        if not typer.confirm(f"Append {_adjustments(found)}?", err=True):
            print_line(open_console(errors=True), "Nothing was written.")
            return
    else:
        # Where there is no ledger, none is made.
        open_for_reading(context, ledger).close()
    with open_ledger(ledger if ledger is not None else ledger_named(context)) as opened:
        found = _reprice(opened, prices, book, period, write=True)
    if yes:
        _show(found, as_json=as_json, done=True)
    else:
        print_line(open_console(), f"Appended {_adjustments(found)}.")


def _reprice(
    opened: Ledger, prices: Prices, book: str, period: Period, *, write: bool
) -> Repricing:
    clock = Clock()
    pricing = Pricing(opened, prices, book)
    with _progress(opened, period, "repricing" if write else "looking") as bar:
        return reprice_entries(
            opened,
            pricing,
            period,
            batch=clock.id("rep"),
            made_at=clock.now(),
            write=write,
            progress=bar,
        )


class _Bar:
    """Says on a screen how many entries have been read."""

    def __init__(self, bar: Progress, words: str, total: int) -> None:
        self._bar = bar
        self._task = bar.add_task(words, total=total)

    def __call__(self, read: int) -> None:
        self._bar.update(self._task, completed=read)


@contextmanager
def _progress(opened: Ledger, period: Period, words: str) -> Iterator[_Bar | None]:
    console = open_console(errors=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, words, opened.count_between(period.since, period.until))


def _show(found: Repricing, *, as_json: bool, done: bool) -> None:
    if as_json:
        print_json({"written": done, **found.to_dict()})
        return
    console = open_console()
    if not found.models:
        print_line(open_console(errors=True), "No requests in that period.")
        return
    _table(console, found)
    total = found.total
    if total.kept:
        noun = "request keeps its price" if total.kept == 1 else "requests keep their price"
        print_line(console, f"{total.kept:,} {noun}: what it is from is not in the ledger.")
    if done:
        print_line(console, f"Appended {_adjustments(found)}.")
    else:
        print_line(console, f"{_adjustments(found)[0].upper()}{_adjustments(found)[1:]} to append.")


def _adjustments(found: Repricing) -> str:
    number = found.total.adjusted
    if not number:
        return "no adjustment"
    return f"{number:,} adjustment{'' if number == 1 else 's'}"


def _table(console: Terminal, found: Repricing) -> None:
    """Print what requests cost before and after, a line for each model."""
    marks = glyphs(console)
    changes = sorted(
        found.models.items(), key=lambda item: (-abs(item[1].difference), str(item[0]))
    )
    total = found.total
    everything = [change for _, change in changes] + [total]
    places = written.decimals(
        amount
        for change in everything
        for amount in (change.before.nanodollars, change.after.nanodollars, change.difference)
    )
    unpriced = total.before.unpriced or total.after.unpriced
    columns = [
        Column("model", least=10),
        Column("requests", right=True),
        Column("adjusted", right=True, drop=2),
        Column("before", right=True),
        Column("after", right=True),
        Column("difference", right=True),
        Column("unpriced before", right=True, drop=1, empty=not unpriced),
        Column("after", right=True, drop=1, empty=not unpriced, name="unpriced after"),
    ]

    def figures(change: Change) -> list[Cell]:
        def amount(cost: Cost) -> Text:
            return Text(written.cost_cell(cost, change.entries, places, marks))

        return [
            Text(f"{change.entries:,}"),
            Text(f"{change.adjusted:,}"),
            amount(change.before),
            amount(change.after),
            Text(_difference(change.difference, places)),
            cells.warning(change.before.unpriced),
            cells.warning(change.after.unpriced),
        ]

    rows = [[Text(shown(model or "?")), *figures(change)] for model, change in changes]
    drawing = draw(console, columns, rows, total=[Text("total"), *figures(total)])
    explain(console, drawing.figures)


def _difference(nanodollars: int, places: int) -> str:
    if not nanodollars:
        return written.money(0)
    sign = "+" if nanodollars > 0 else "-"
    return f"{sign}{written.money(abs(nanodollars), places)}"
