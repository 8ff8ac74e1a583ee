"""`tallystick show`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from tallystick.cli import items, render
from tallystick.cli.options import JsonOption, LedgerOption, examples, open_for_reading
from tallystick.cli.price import load_prices
from tallystick.cli.table import print_line
from tallystick.cli.terminal import open_console, print_json, shown
from tallystick.errors import ConfigError
from tallystick.ledger import Ledger
from tallystick.pricing import Prices, Quote
from tallystick.report import find_run, waterfall_of
from tallystick.usage import RequestUsage

EXAMPLES = examples(
    "tallystick show last",
    "tallystick show 019aab12",
    "tallystick show last --explain",
    "tallystick show last --json",
)


def show(
    context: typer.Context,
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="A run's id, the beginning of one, or 'last'."),
    ],
    explained: Annotated[
        bool,
        typer.Option("--explain", help="Also the items of each request's price, and its rule."),
    ] = False,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show one run, request by request.

    Each line is a request of the run or of a run inside it: its turn, agent and model, tokens
    in, of which cached, and out, cost, how long it took and when in the run, and how it ended.
    Figures are never made up: ? is unknown, ~ rests on an estimate, and the notes say why.
    """
    quotes: list[tuple[RequestUsage, Quote]] = []
    with open_for_reading(context, ledger) as opened:
        found = find_run(opened, run)
        value = waterfall_of(opened, found)
        if explained:
            quotes = _explained(opened, opened.entries(found.id, adjusted=True))
    if as_json:
        told = value.to_dict()
        if explained:
            told["quotes"] = {str(entry.id): items.to_dict(quote) for entry, quote in quotes}
        print_json(told)
    else:
        console = open_console()
        render.show(console, value)
        _print_quotes(console, quotes)


def _explained(ledger: Ledger, entries: list[RequestUsage]) -> list[tuple[RequestUsage, Quote]]:
    """Return the quotes of requests that were sent, by the books that priced them where kept."""
    # Imported when it is asked for: to show a run, nothing of this is needed.
    from tallystick.pricing.explanation import explain, prices_behind

    default = load_prices(None)
    known: dict[str | None, Prices] = {None: default}

    def behind(price_book: str | None) -> Prices:
        if price_book is not None and price_book not in known:
            # What was not kept, or cannot be read any more, leaves today's prices; the quote
            # says so where they come to another amount.
            try:
                kept = prices_behind(price_book, ledger.book)
            except (ConfigError, ValueError):
                kept = None
            known[price_book] = default if kept is None else kept
        return known[price_book]

    return [
        (entry, explain(entry, behind(entry.price_book)))
        for entry in entries
        if entry.status in ("settled", "in_doubt")
    ]


def _print_quotes(console: Console, quotes: list[tuple[RequestUsage, Quote]]) -> None:
    for entry, quote in quotes:
        print_line(console)
        heading = " ".join(
            part
            for part in (
                None if entry.turn is None else f"turn {entry.turn}:",
                entry.model or entry.requested_model or "?",
                None if entry.provider is None else f"of {entry.provider}",
                None if entry.service_tier is None else f"({entry.service_tier})",
            )
            if part
        )
        print_line(console, Text(shown(heading), "bold"))
        items.items(console, quote)
