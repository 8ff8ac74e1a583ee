"""`tallystick prices`."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text

from tallystick.cli.cells import DIM
from tallystick.cli.exits import Exit
from tallystick.cli.items import dollars, exact
from tallystick.cli.options import JsonOption, examples
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import glyphs, open_console, print_json, shown
from tallystick.cli.words import left_out, prose
from tallystick.clock import Clock, timestamp
from tallystick.pricing import Book
from tallystick.pricing.book import Listed, Model
from tallystick.pricing.cache import installed_book
from tallystick.pricing.corrections import free_of_charge
from tallystick.pricing.rate import Rate, RateError
from tallystick.pricing.resolution import STANDARD
from tallystick.pricing.units import UNITS
from tallystick.pricing.update import Update, UpdateError, update

EXAMPLES = examples(
    "tallystick prices claude --provider anthropic",
    "tallystick prices --history gpt-5.4 --provider openai",
    "tallystick prices --update",
)

COLUMNS = {
    "input_tokens": "in",
    "cache_read_tokens": "cached",
    "cache_write_tokens": "cache write",
    "output_tokens": "out",
}
"""The rates that have a column of their own, in USD a million."""

_SHOWN = 10


def prices(
    search: Annotated[
        str | None,
        typer.Argument(metavar="[SEARCH]", help="Words of a model's name.", show_default=False),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Only of this provider.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="MODEL", help="All rates of a model: dates and tiers."),
    ] = None,
    newer: Annotated[
        bool, typer.Option("--update", help="First fetch the newest data of genai-prices.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the list prices of models, in USD a million tokens.

    These are the book's: own rates and discounts come on top of them (see 'tallystick price').
    Nothing is fetched but with --update, and what was priced stays as it was priced.
    """
    changes = _update() if newer else None
    try:
        book = installed_book() if changes is None else changes.after
    except (ImportError, ValueError) as error:
        _end(f"the price data cannot be read: {error}", Exit.FAILED)
    if changes is not None:
        if search is None and history is None and provider is None:
            if as_json:
                print_json(_update_dict(changes))
            else:
                _print_update(changes)
            return
        if not as_json:
            _print_update(changes)
    only = None if provider is None else _provider(book, provider)
    if history is not None:
        if search is not None:
            raise typer.BadParameter("SEARCH and --history are two questions; ask one")
        _history(book, only, history, as_json=as_json)
    else:
        _list(book, only, search, as_json=as_json)


def _provider(book: Book, name: str) -> str:
    known = book.provider(name)
    if known is None:
        near = difflib.get_close_matches(name.lower(), book.provider_names, 3)
        meant = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "known are " + ", ".join(book.provider_names)
        )
        _end(f"the price book has no provider {shown(name)!r}; {meant}", Exit.NOT_FOUND)
    return known


def _end(message: str, code: Exit) -> NoReturn:
    print_line(open_console(errors=True), f"tallystick: {message}")
    raise typer.Exit(code)


# The list.


def _list(book: Book, only: str | None, search: str | None, *, as_json: bool) -> None:
    now = timestamp(Clock().now())
    found = [
        (provider, model) for provider, model in _found(book, search) if only in (None, provider)
    ]
    if not found:
        _no_model(book, only, str(search))
    if as_json:
        print_json(
            {
                "book": book.hash,
                "at": now.isoformat(),
                "models": [_model_dict(provider, model, now) for provider, model in found],
            }
        )
        return
    console = open_console()
    columns = [
        Column("provider", least=6),
        Column("model", least=12),
        *(Column(title, right=True) for title in COLUMNS.values()),
        Column("beside, and for more input", drop=1),
    ]
    rows: list[list[Cell]] = []
    for provider, model in found:
        rates = _now(model, now)
        rows.append(
            [
                Text(provider, DIM),
                Text(shown(model.id)),
                *_cells(rates, provider, model.id, glyphs(console).absent),
                Text(_beside(rates), DIM),
            ]
        )
    drawing = draw(console, columns, rows)
    left_out(console, drawing.left_out)
    print_line(console)
    counted = f"{len(found):,} model{'' if len(found) == 1 else 's'}"
    prose(
        console,
        f"{counted}; USD a million, {now:%Y-%m-%d %H:%M} UTC; book {book.hash}",
        style=DIM,
    )


def _found(book: Book, search: str | None) -> Iterator[tuple[str, Model]]:
    """Yield the models whose name has all words of a search, or that it is another name of."""
    words = (search or "").lower().split()
    named = {}
    if search is not None:
        for provider in book.provider_names:
            model = book.find(provider, search)
            if model is not None and model.own:
                named[provider] = model.id
    for provider, model in book.models():
        name = f"{provider}/{model.id}".lower()
        if named.get(provider) == model.id or all(word in name for word in words):
            yield provider, model


def _no_model(book: Book, only: str | None, name: str) -> NoReturn:
    names = {model.id for provider, model in book.models() if only in (None, provider)}
    near = difflib.get_close_matches(name.lower(), sorted(names), 3)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    where = "the price book" if only is None else f"the price book's {only}"
    _end(f"{where} has no model {shown(name)!r}{meant}", Exit.NOT_FOUND)


def _now(model: Model, now: datetime) -> dict[str, Rate] | None:
    try:
        return model.at(now, {}).rates
    except RateError:
        return None


def _cells(rates: Mapping[str, Rate] | None, provider: str, model: str, absent: str) -> list[Text]:
    """Return the cells of `COLUMNS`: ``?`` where nobody entered a rate, ``$0`` where it is free."""
    if not rates:
        free = free_of_charge(provider, model) is not None
        return [Text("$0" if free else "?") for _ in COLUMNS]
    return [
        Text(dollars(rates[unit].base * UNITS[unit].per)) if unit in rates else Text(absent, DIM)
        for unit in COLUMNS
    ]


def _beside(rates: Mapping[str, Rate] | None) -> str:
    """Return what the columns do not say: the rates of other units, and those of more input."""
    parts = []
    for unit, rate in (rates or {}).items():
        per = UNITS[unit].per
        name = COLUMNS.get(unit) or unit.replace("_", " ")
        if unit not in COLUMNS:
            # Beside a million, a rate is for a thousand, an hour or one.
            parts.append(f"{name} {dollars(rate.base * per)}{_UNIT.get(per, '')}")
        parts.extend(
            f"above {above:,} in: {name} {dollars(dearer * per)}" for above, dearer in rate.tiers
        )
    return "; ".join(parts)


_UNIT = {1: " each", 1_000: " a thousand", 3_600: " an hour", 1_000_000_000: " a billion"}


def _model_dict(provider: str, model: Model, now: datetime) -> dict[str, Any]:
    rates = _now(model, now)
    return {
        "provider": provider,
        "model": model.id,
        "free": not rates and free_of_charge(provider, model.id) is not None,
        "rates": _rates_dict(rates or {}),
    }


def _rates_dict(rates: Mapping[str, Rate]) -> dict[str, Any]:
    return {
        unit: {
            "usd": exact(rate.base * UNITS[unit].per),
            "per": UNITS[unit].per,
            "above": [
                {"input_tokens": above, "usd": exact(dearer * UNITS[unit].per)}
                for above, dearer in rate.tiers
            ],
        }
        for unit, rate in rates.items()
    }


# The history.


def _history(book: Book, only: str | None, name: str, *, as_json: bool) -> None:
    providers = book.provider_names if only is None else (only,)
    models = [
        model
        for provider in providers
        if (model := book.find(provider, name)) is not None and (model.own or only is not None)
    ]
    if not models:
        _no_model(book, only, name)
    try:
        listed = [
            (model, [item for item in model.history() if not _repeats(item)]) for model in models
        ]
    except RateError as error:
        _end(str(error), Exit.FAILED)
    if as_json:
        print_json(
            {
                "book": book.hash,
                "models": [
                    {
                        "provider": model.provider,
                        "model": model.id,
                        "rates": [_listed_dict(item) for item in items],
                    }
                    for model, items in listed
                ],
            }
        )
        return
    console = open_console()
    absent = glyphs(console).absent
    for model, items in listed:
        print_line(console, Text(f"{model.provider}/{shown(model.id)}", "bold"))
        columns = [
            Column("from"),
            Column("hours", least=8, empty=not any(item.window for item in items)),
            Column("for", least=8),
            *(Column(title, right=True) for title in COLUMNS.values()),
            Column("beside, and for more input", drop=1),
        ]
        drawing = draw(
            console,
            columns,
            [
                [
                    Text(item.since or absent),
                    Text(item.window or "all"),
                    Text(_when(item)),
                    *_cells(item.rates, model.provider, model.id, absent),
                    Text(_beside(item.rates), DIM),
                ]
                for item in items
            ],
        )
        left_out(console, drawing.left_out)
        print_line(console)
    prose(
        console,
        f"Dates are UTC; {absent} is of no known beginning. USD a million; book {book.hash}.",
        style=DIM,
    )


def _repeats(item: Listed) -> bool:
    """Whether it is for a tier that is the standard one under a name."""
    return bool(item.when) and STANDARD.issuperset(item.when.values())


def _when(item: Listed) -> str:
    said = [
        "batch" if name == "processing" else value if name == "service_tier" else f"{name} {value}"
        for name, value in item.when.items()
    ]
    return ", ".join(said) or "standard"


def _listed_dict(item: Listed) -> dict[str, Any]:
    return {
        "from": item.since,
        "hours": item.window,
        "for": item.when,
        "rates": _rates_dict(item.rates),
    }


# The update.


def _update() -> Update:
    try:
        return update()
    except UpdateError as error:
        _end(str(error), Exit.FAILED)


def _print_update(changes: Update) -> None:
    console = open_console()
    if changes.file is None:
        print_line(console, f"Nothing newer: book {changes.after.hash} is the newest.")
        return
    print_line(console, f"Book {changes.after.hash} takes the place of {changes.before.hash}.")
    for names, what in (
        (changes.added, "new"),
        (changes.changed, "changed"),
        (changes.removed, "gone"),
    ):
        if names:
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            told = ", ".join(shown(name) for name in names[:_SHOWN])
            prose(console, f"{len(names):,} {what}: {told}{more}", indent=2)
    prose(
        console,
        "Programs that start from now on price by it. To go back, delete "
        f"{shown(str(changes.file))}.",
        style=DIM,
    )


def _update_dict(changes: Update) -> dict[str, Any]:
    return {
        "before": changes.before.hash,
        "after": changes.after.hash,
        "added": list(changes.added),
        "changed": list(changes.changed),
        "removed": list(changes.removed),
        "file": None if changes.file is None else str(changes.file),
    }
