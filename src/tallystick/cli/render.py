"""Runs, waterfalls, totals and reports, as they are printed.

Everything takes a console and what to show on it, and nothing reads a ledger. Colour repeats
what the words say, so nothing is lost without it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.text import Text

from tallystick.cli import format as written
from tallystick.cli.table import Cell, Column, Drawn, draw, print_line
from tallystick.cli.terminal import PIPE_WIDTH, Glyphs, glyphs, shown
from tallystick.ledger import RunRow, Verification
from tallystick.report import (
    Note,
    Report,
    RequestLine,
    RunLine,
    RunSummary,
    Totals,
    Waterfall,
)
from tallystick.report import waterfall as waterfall_of
from tallystick.report.grouping import Value, column_names
from tallystick.report.listing import seconds_taken
from tallystick.usage import RequestUsage

DIM = "dim"
GOOD = "green"
DOUBTFUL = "yellow"
BAD = "red"
BAR = "cyan"

_BAR_WIDTH = 32
_OUTCOMES = {"completed": GOOD, "failed": BAD, "cancelled": DOUBTFUL, "interrupted": DOUBTFUL}


def runs(console: Console, summaries: Sequence[RunSummary]) -> None:
    """Print runs, one line each."""
    marks = glyphs(console)
    places = written.decimals(summary.totals.cost_nanodollars for summary in summaries)
    has_customers = any(summary.run.attribution.customer is not None for summary in summaries)
    columns = [
        Column("run"),
        Column("name", least=8),
        Column("customer", least=8, drop=3 if has_customers else 9),
        Column("started (UTC)", least=13, most=19),
        Column("took", right=True, drop=4),
        Column("requests", right=True, drop=2),
        Column("in", right=True),
        Column("cached", right=True, drop=5),
        Column("out", right=True),
        Column("cost", right=True),
        Column("outcome", least=9),
    ]
    rows: list[list[Cell]] = []
    for summary in summaries:
        run, totals = summary.run, summary.totals
        rows.append(
            [
                Text(summary.short_id, BAR),
                Text(shown(run.name)),
                _named(run.attribution.customer, marks),
                _moment(run.started_at),
                Text(marks.absent if run.ended_at is None else _took(run)),
                Text(written.requests_cell(totals)),
                _count(totals, "input_tokens", marks),
                _count(totals, "cached_tokens", marks),
                _count(totals, "output_tokens", marks),
                _cost(totals, places, marks),
                _run_outcome(run, totals),
            ]
        )
    left_out = draw(console, columns, rows)
    _explain(console, [summary.totals for summary in summaries], left_out)


def report(console: Console, value: Report) -> None:
    """Print usage by group, with its total."""
    marks = glyphs(console)
    everything = [row.totals for row in value.rows]
    total = value.total
    places = written.decimals(
        [*(totals.cost_nanodollars for totals in everything), total.cost_nanodollars]
    )
    columns = [
        *(Column(shown(name), least=8) for name in column_names(value.keys)),
        Column("requests", right=True),
        Column("input", right=True),
        Column("cached", right=True, drop=3 if total.known("cached_tokens") else 6),
        Column("output", right=True),
        Column("reasoning", right=True, drop=4 if total.known("reasoning_tokens") else 7),
        Column("cost", right=True),
        Column("unpriced", right=True, drop=2 if total.cost_unpriced else 8),
        Column("in doubt", right=True, drop=1 if total.in_doubt else 9),
    ]

    def figures(totals: Totals) -> list[Cell]:
        return [
            Text(written.requests_cell(totals)),
            _count(totals, "input_tokens", marks),
            _count(totals, "cached_tokens", marks),
            _count(totals, "output_tokens", marks),
            _count(totals, "reasoning_tokens", marks),
            _cost(totals, places, marks),
            _warning(totals.cost_unpriced),
            _warning(totals.in_doubt),
        ]

    rows = [[*(_key(item, marks) for item in row.key), *figures(row.totals)] for row in value.rows]
    heading: list[Cell] = [Text("total"), *(Text() for _ in value.keys[1:])]
    left_out = draw(console, columns, rows, total=[*heading, *figures(total)])
    _explain(console, [*everything, total], left_out)


def waterfall(
    console: Console,
    run: RunRow,
    entries: Iterable[RequestUsage],
    descendants: Iterable[RunRow] = (),
) -> None:
    """Print a run: what it is, its requests line by line, its totals and its notes.

    Args:
        console: where to.
        run: the run.
        entries: its requests and those of the runs inside it.
        descendants: the runs inside it, at every depth.
    """
    show(console, waterfall_of(run, entries, descendants))


def show(console: Console, value: Waterfall) -> None:
    """Print a waterfall: the run, its requests line by line, its totals and its notes."""
    run_heading(console, value.run)
    if value.lines:
        print_line(console)
        requests(console, value)
    print_line(console)
    totals(console, value.totals)
    notes(console, value.notes, value.totals)


def run_heading(console: Console, run: RunRow) -> None:
    """Print what a run is, how it ended, and whom it was for."""
    marks = glyphs(console)
    ending = f"{run.outcome or 'open'}"
    if run.ended_at is not None:
        ending += f" in {_took(run)}"
    style = _OUTCOMES.get(run.outcome or "", DOUBTFUL)
    print_line(console, Text.assemble((shown(run.name), "bold"), "  ", (ending, style)))
    print_line(console, Text(run.id, DIM))
    who = run.attribution
    facts = [f"{written.moment(run.started_at)} UTC"]
    if run.host is not None:
        facts.append(run.host)
    named = {
        "customer": who.customer,
        "user": who.user,
        "project": who.project,
        "session": who.session,
        **who.tags,
    }
    facts.extend(f"{name} {value}" for name, value in named.items() if value is not None)
    _prose(console, marks.separator.join(shown(fact) for fact in facts), style=DIM)


def requests(console: Console, value: Waterfall) -> None:
    """Print the requests of a run, turn by turn and agent by agent, with a bar for each."""
    marks = glyphs(console)
    entries = [line.entry for line in value.lines if isinstance(line, RequestLine)]
    places = written.decimals(entry.cost_nanodollars for entry in entries)
    models = {entry.model for entry in entries}
    reasons = value.totals.counts["reasoning_tokens"] > 0
    cached = value.totals.counts["cached_tokens"] > 0
    common = {note.number for note in value.notes if note.requests == len(entries)}
    columns = [
        Column("turn", right=True, drop=4),
        Column("agent", least=10),
        Column("model", least=10, drop=2 if len(models) > 1 else 5),
        Column("in", right=True),
        Column("cached", right=True, drop=3 if cached else 6),
        Column("out", right=True),
        Column("reasoning", right=True, drop=7 if reasons else 9),
        Column("cost", right=True),
        Column("took", right=True),
        Column(_axis(value.seconds, marks), drop=1, least=10, most=_BAR_WIDTH, name="timeline"),
        Column("outcome", least=8),
    ]
    rows: list[list[Cell]] = []
    for line in value.lines:
        if isinstance(line, RunLine):
            rows.append(_run_cells(line, value.seconds, marks))
        else:
            rows.append(_request_cells(line, value.seconds, places, common, marks))
    left_out = draw(console, columns, rows)
    _left_out(console, left_out)


def totals(console: Console, value: Totals) -> None:
    """Print what requests come to, in three lines of words."""
    marks = glyphs(console)
    uncertain = value.in_doubt or value.estimated or value.held
    cost = written.cost_text(value.cost, value.requests)
    for name, text, style in (
        ("requests", written.requests_text(value), DOUBTFUL if uncertain else ""),
        ("tokens", written.tokens_text(value, marks), ""),
        ("cost", cost, "bold" if value.cost.complete else f"bold {DOUBTFUL}"),
    ):
        print_line(console, Text.assemble((f"{name:<10}", DIM), (text, style)))


def notes(console: Console, values: Sequence[Note], of: Totals) -> None:
    """Print why figures are missing, estimated or in doubt."""
    if not values:
        return
    print_line(console)
    everything = of.requests + of.held + of.released
    for note in values:
        if note.requests == everything and everything > 1:
            head, count = "", f" (all {everything:,} requests)"
        else:
            head, count = f"[{note.number}] ", ""
            if note.requests > 1:
                count = f" ({note.requests:,} requests)"
        text = f"{head}{_KINDS[note.kind]}: {note.text}{count}"
        _prose(console, shown(text), indent=len(head), style=DIM)


_KINDS = {
    "in_doubt": "in doubt",
    "held": "held",
    "released": "not sent",
    "unpriced": "unpriced",
    "cost_estimated": "cost estimated",
    "estimated": "estimated",
    "anomaly": "impossible figure left out",
}


def verification(console: Console, value: Verification, url: str) -> None:
    """Print whether a ledger agrees with itself, and every problem if it does not."""
    checked = f"{value.runs:,} runs, {value.entries:,} entries, {value.counts:,} totals"
    for problem in value.problems:
        print_line(console, Text.assemble(("problem  ", BAD), shown(problem)))
    for note in value.notes:
        print_line(console, Text.assemble(("note     ", DOUBTFUL), shown(note)))
    if value.ok:
        print_line(console, Text.assemble(("The ledger agrees with itself", GOOD), f": {checked}."))
    else:
        number = len(value.problems)
        count = f"{number:,} problem{'' if number == 1 else 's'}"
        print_line(
            console, Text.assemble((f"The ledger disagrees: {count}", BAD), f" in {checked}.")
        )
    print_line(console, Text(shown(url), DIM))


# Cells.


def _request_cells(
    line: RequestLine, seconds: float, places: int, common: set[int], marks: Glyphs
) -> list[Cell]:
    entry = line.entry
    sent = entry.status not in ("held", "released")
    guessed = entry.estimated

    def count(value: int | None, *, total: bool = True) -> Text:
        if not sent:
            return Text(marks.absent, DIM)
        return Text(written.tokens(value, estimated=guessed and total and value is not None))

    cost = written.cost_cell(entry.cost, 1, places, marks) if sent else marks.absent
    outcome = _outcome(entry)
    numbers = [str(number) for number in line.notes if number not in common]
    if numbers:
        outcome.append(f" [{','.join(numbers)}]", DIM)
    return [
        Text("" if entry.turn is None else str(entry.turn), DIM),
        Text("  " * line.depth + shown(entry.agent or marks.absent)),
        Text(shown(entry.model or entry.requested_model or "?"), DIM),
        count(entry.input_tokens),
        count(entry.input_tokens_details.cached_tokens, total=False),
        count(entry.output_tokens),
        count(entry.output_tokens_details.reasoning_tokens, total=False),
        Text(cost),
        Text(marks.absent if entry.duration is None else written.duration(entry.duration)),
        _bar(line.offset, entry.duration, seconds, _bar_of(entry, marks)),
        outcome,
    ]


def _run_cells(line: RunLine, seconds: float, marks: Glyphs) -> list[Cell]:
    run = line.run
    blank = Text()
    return [
        blank,
        Text("  " * (line.depth - 1) + marks.child + shown(run.name), "bold"),
        blank,
        blank,
        blank,
        blank,
        blank,
        blank,
        Text("" if line.duration is None else written.duration(line.duration), DIM),
        _bar(line.offset, line.duration, seconds, (marks.run_bar, DIM)),
        Text(run.outcome or "open", DIM if run.outcome == "completed" else DOUBTFUL),
    ]


def _outcome(entry: RequestUsage) -> Text:
    """Return how a request ended, in a word or two."""
    if entry.status == "in_doubt":
        return Text("in doubt", DOUBTFUL)
    if entry.status == "held":
        return Text("held", DOUBTFUL)
    if entry.status == "released":
        return Text("not sent", DIM)
    outcome = entry.outcome
    if outcome in (None, "completed"):
        return Text("ok", GOOD)
    text = f"{outcome} {entry.error_type}" if entry.error_type else str(outcome)
    return Text(shown(text), BAD if outcome in ("failed", "error") else DOUBTFUL)


def _run_outcome(run: RunRow, totals: Totals) -> Text:
    text = Text(run.outcome or "open", _OUTCOMES.get(run.outcome or "", DOUBTFUL))
    if totals.in_doubt:
        text.append(f", {totals.in_doubt:,} in doubt", DOUBTFUL)
    return text


def _bar_of(entry: RequestUsage, marks: Glyphs) -> tuple[str, str]:
    if entry.status in ("in_doubt", "held"):
        return marks.doubtful_bar, DOUBTFUL
    bad = entry.outcome in ("failed", "error") or entry.status == "released"
    return marks.bar, BAD if bad else BAR


def _bar(
    offset: float | None, duration: float | None, seconds: float, ink: tuple[str, str]
) -> Drawn:
    """Return a bar from its start to its end; whatever happened is at least one cell long."""
    char, style = ink

    def drawn(width: int) -> Text:
        if offset is None:
            return Text()
        if seconds <= 0:
            return Text(char, style)
        first = min(int(offset / seconds * width), width - 1)
        last = min(-int(-(offset + (duration or 0)) / seconds * width // 1), width)
        return Text(" " * first).append(char * max(last - first, 1), style)

    return drawn


def _axis(seconds: float, marks: Glyphs) -> Callable[[int], str]:
    end = written.duration(seconds)

    def drawn(width: int) -> str:
        middle = marks.rule * max(width - len(end) - 4, 1)
        return f"0s {middle} {end}"

    return drawn


def _count(value: Totals, name: str, marks: Glyphs) -> Text:
    return Text(written.count_cell(value, name, marks))


def _cost(value: Totals, places: int, marks: Glyphs) -> Text:
    return Text(written.cost_cell(value.cost, value.requests, places, marks))


def _warning(number: int) -> Text:
    return Text(f"{number:,}", DOUBTFUL if number else DIM)


def _key(value: Value, marks: Glyphs) -> Text:
    return _named(None if value is None else str(value), marks)


def _named(value: str | None, marks: Glyphs) -> Text:
    return Text(marks.absent, DIM) if value is None else Text(shown(value))


def _moment(nanoseconds: int) -> Drawn:
    return lambda width: Text(written.moment(nanoseconds, width), DIM)


def _took(run: RunRow) -> str:
    return written.duration(seconds_taken(run))


# Words under a table.


def _explain(console: Console, values: Sequence[Totals], left_out: Sequence[str]) -> None:
    """Print what the marks in a table mean, if it has any, and what there was no room for."""
    marks = glyphs(console)
    counts = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
    counted = [value for value in values if value.requests]
    meanings = []
    if any(value.estimated or value.cost_estimated for value in counted):
        meanings.append("~ rests on an estimate")
    missing = [
        (number, value.requests)
        for value in counted
        for number in (value.cost_unpriced, *(value.unknown[name] for name in counts))
    ]
    if any(0 < number < requests for number, requests in missing):
        meanings.append(f"{marks.at_least} some requests are not in it")
    if any(number == requests for number, requests in missing):
        meanings.append("? unknown")
    if meanings:
        print_line(console)
        _prose(console, marks.separator.join(meanings), style=DIM)
    _left_out(console, left_out)


def _left_out(console: Console, names: Sequence[str]) -> None:
    if names:
        _prose(console, f"No room here for: {', '.join(names)}.", style=DIM)


def _prose(console: Console, text: str, *, indent: int = 0, style: str = "") -> None:
    """Print a sentence, wrapped where there is a screen."""
    if console.width >= PIPE_WIDTH:
        print_line(console, Text(text, style))
        return
    lines = textwrap.wrap(
        text, max(console.width, 20), subsequent_indent=" " * indent, break_on_hyphens=False
    )
    for line in lines:
        print_line(console, Text(line, style))
