"""The tables of `tallystick reconcile`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from tallystick.cli import cells, words
from tallystick.cli import format as written_as
from tallystick.cli.cells import DIM, DOUBTFUL, GOOD
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import glyphs, open_console, shown
from tallystick.ledger import Amounts, Reconciliation
from tallystick.money import Cost, usd
from tallystick.report.listing import shortest_ids
from tallystick.report.period import sent_at
from tallystick.report.reconciliation import Check, Plan, Settlement, described, figures
from tallystick.usage import RequestUsage


def listing(console: Console, entries: Sequence[RequestUsage], held: Mapping[str, Amounts]) -> None:
    """Print what is in doubt, a line for each request."""
    marks = glyphs(console)
    ids = _short(str(entry.id) for entry in entries)
    places = written_as.decimals(entry.cost_nanodollars for entry in entries)
    columns = [
        Column("request", least=8),
        Column("sent (UTC)", least=11, most=19),
        Column("model", least=8),
        Column("agent", drop=2, least=6),
        Column("customer", drop=3, least=6, empty=not any(entry.customer for entry in entries)),
        Column("in", right=True),
        Column("out", right=True),
        Column("cost", right=True),
        Column("holds", right=True, drop=1, empty=not held),
        Column("why", least=14),
    ]

    def row(entry: RequestUsage) -> list[Cell]:
        moment = sent_at(entry)
        hold = held.get(str(entry.id), Amounts()).nanodollars
        return [
            Text(ids[str(entry.id)]),
            Text("?") if moment is None else cells.moment(moment),
            Text(shown(entry.model or "?")),
            cells.named(entry.agent, marks),
            cells.named(entry.customer, marks),
            Text(written_as.tokens(entry.input_tokens, estimated=entry.estimated)),
            Text(written_as.tokens(entry.output_tokens, estimated=entry.estimated)),
            Text(written_as.cost_cell(entry.cost, 1, places, marks)),
            Text(marks.absent, DIM) if hold is None else Text(written_as.money(hold, places)),
            Text(shown(why(entry)), DOUBTFUL),
        ]

    drawing = draw(console, columns, [row(entry) for entry in entries])
    words.explain(console, drawing.figures)
    words.left_out(console, drawing.left_out)


def listing_dict(
    entries: Sequence[RequestUsage], held: Mapping[str, Amounts]
) -> list[dict[str, Any]]:
    """Return what is in doubt in a JSON-safe form."""
    return [
        {
            **described(entry),
            **figures(entry),
            "why": why(entry),
            "held": held[str(entry.id)]._asdict() if entry.id in held else None,
        }
        for entry in entries
    ]


def why(entry: RequestUsage) -> str:
    """Return why it is not known what a request used."""
    return entry.error_type or entry.outcome or "its process ended"


def plan(console: Console, value: Plan, others: int) -> None:
    """Print what becomes of requests in doubt, and why others stay so.

    Args:
        console: where to.
        value: what becomes of them.
        others: how many more are in doubt, of which the exports say nothing.
    """
    if value.settlements:
        _settlements(console, value.settlements)
    reasons = Counter(left.reason for left in value.left)
    for reason, number in reasons.items():
        words.prose(console, f"stays in doubt ({number:,}): {shown(reason)}", style=DOUBTFUL)
    if others:
        words.prose(
            console, f"The exports say nothing of {others:,} more in doubt.", style=DOUBTFUL
        )
    for check in value.checks:
        words.prose(console, _check(check))
    if not (value.settlements or reasons or others):
        print_line(console, "Nothing of it is in doubt.")


def written(console: Console, value: Plan, done: int) -> None:
    """Print how many requests came to their end."""
    if value.settlements:
        late = len(value.settlements) - done
        more = f" {late:,} were not in doubt any more." if late else ""
        print_line(console, f"Reconciled {done:,} request{'' if done == 1 else 's'}.{more}")
    else:
        print_line(console, "Nothing was written.")


def requests(settlements: Sequence[Settlement]) -> str:
    """Return how many requests there are, in words."""
    number = len(settlements)
    return f"the end of {number:,} request{'' if number == 1 else 's'}"


def trail(console: Console, made: Sequence[Reconciliation]) -> None:
    """Print how requests in doubt came to their ends."""
    marks = glyphs(console)
    ids = _short(one.entry_id for one in made)
    notes = _numbered(f"{one.source}: {one.detail}" for one in made)
    places = written_as.decimals(one.previous.get("cost_nanodollars") for one in made)
    columns = [
        Column("made (UTC)", least=11, most=19),
        Column("request", least=8),
        Column("in was", right=True),
        Column("out was", right=True),
        Column("cost was", right=True),
        Column("end"),
        Column(""),
    ]

    def row(one: Reconciliation) -> list[Cell]:
        before = one.previous
        amount, guessed = before.get("cost_nanodollars"), bool(before.get("estimated"))
        cost = Cost(unpriced=1)
        if amount is not None:
            cost = Cost(amount, estimated=before.get("cost_estimated", 0))
        return [
            cells.moment(one.made_at),
            Text(ids[one.entry_id]),
            Text(written_as.tokens(before.get("input_tokens"), estimated=guessed)),
            Text(written_as.tokens(before.get("output_tokens"), estimated=guessed)),
            Text(written_as.cost_cell(cost, 1, places, marks)),
            _status(one.status),
            Text(f"[{notes[f'{one.source}: {one.detail}']}]", DIM),
        ]

    _table(console, columns, [row(one) for one in made], notes)


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None] | None]:
    """Say on a screen how many requests are done."""
    console = open_console(errors=True)
    if not console.is_terminal:
        yield None
        return
    shape = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*shape, console=console, transient=True) as bar:
        task = bar.add_task("reconciling", total=total)
        yield lambda done: bar.update(task, completed=done)


def _settlements(console: Console, settlements: Sequence[Settlement]) -> None:
    """Print requests before and after, and under them what was gone by."""
    marks = glyphs(console)
    ids = _short(str(one.before.id) for one in settlements)
    notes = _numbered(one.detail for one in settlements)
    places = written_as.decimals(
        entry.cost_nanodollars for one in settlements for entry in (one.before, one.after)
    )
    columns = [
        Column("request", least=8),
        Column("model", least=8, drop=2),
        Column("in was", right=True),
        Column("in", right=True),
        Column("out was", right=True),
        Column("out", right=True),
        Column("cost was", right=True),
        Column("cost", right=True),
        Column("end"),
        Column(""),
    ]

    def count(entry: RequestUsage, value: int | None) -> Text:
        if entry.status == "released":
            return Text(marks.absent, DIM)
        return Text(written_as.tokens(value, estimated=entry.estimated))

    def cost(entry: RequestUsage) -> Text:
        if entry.status == "released":
            return Text(marks.absent, DIM)
        return Text(written_as.cost_cell(entry.cost, 1, places, marks))

    rows: list[list[Cell]] = [
        [
            Text(ids[str(one.before.id)]),
            Text(shown(one.before.model or "?"), DIM),
            count(one.before, one.before.input_tokens),
            count(one.after, one.after.input_tokens),
            count(one.before, one.before.output_tokens),
            count(one.after, one.after.output_tokens),
            cost(one.before),
            cost(one.after),
            _status(one.after.status),
            Text(f"[{notes[one.detail]}]", DIM),
        ]
        for one in settlements
    ]
    _table(console, columns, rows, notes)


def _table(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    notes: Mapping[str, int],
) -> None:
    """Print a table, under it the notes that its lines name, and what its marks mean."""
    drawing = draw(console, columns, rows)
    print_line(console)
    for text, number in notes.items():
        words.prose(console, shown(f"[{number}] {text}"), indent=4, style=DIM)
    words.explain(console, drawing.figures)
    words.left_out(console, drawing.left_out)


def _numbered(texts: Iterable[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}


def _status(status: str) -> Text:
    return Text("never sent", DIM) if status == "released" else Text("settled", GOOD)


def _check(check: Check) -> str:
    whose = check.provider if check.model is None else f"{check.provider} {check.model}"
    span = f"{written_as.moment(check.begins_at, 16)} to {written_as.moment(check.ends_at, 16)} UTC"
    sign = "-" if check.difference < 0 else "+"
    differs = f"{sign}{written_as.money(abs(check.difference))}" if check.difference else "the same"
    return (
        f"cost of {shown(whose)}, {span}: billed ${usd(check.billed_nanodollars).normalize():f}, "
        f"in the ledger {written_as.cost_text(check.ledger, 0)} ({differs})"
    )


def _short(identities: Iterable[str]) -> dict[str, str]:
    """Return the beginnings by which requests can be named, without ``req_``."""
    whole = {identity: identity.removeprefix("req_") for identity in identities}
    short = shortest_ids(list(whole.values()))
    return {identity: short[name] for identity, name in whole.items()}
