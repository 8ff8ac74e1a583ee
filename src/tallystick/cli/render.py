"""Runs, waterfalls and reports, as they are printed.

Everything takes a console and what to show on it, and nothing reads a ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from tallystick.cli import cells, words
from tallystick.cli import format as written
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import glyphs, shown
from tallystick.cli.words import notes, totals
from tallystick.ledger import RunRow, Verification
from tallystick.report import Report, RequestLine, RunLine, RunSummary, Totals, Waterfall
from tallystick.report import waterfall as waterfall_of
from tallystick.report.grouping import column_names
from tallystick.usage import RequestUsage

__all__ = [
    "notes",
    "report",
    "requests",
    "run_heading",
    "runs",
    "show",
    "totals",
    "verification",
    "waterfall",
]

_AGENT_WIDTH = 20
"""How wide names with their indentation are kept where other columns can go instead."""

_BAR_WIDTH = 32


def runs(console: Console, summaries: Sequence[RunSummary]) -> None:
    """Print runs, one line each."""
    marks = glyphs(console)
    places = written.decimals(summary.totals.cost_nanodollars for summary in summaries)
    any_in_doubt = any(summary.totals.in_doubt for summary in summaries)
    has_customers = any(summary.run.attribution.customer is not None for summary in summaries)
    columns = [
        Column("run"),
        Column("name", least=8),
        Column("customer", least=8, drop=2, empty=not has_customers),
        Column("started (UTC)", least=13, most=19, drop=1),
        Column("took", right=True, drop=5),
        Column("requests", right=True, drop=4),
        Column("in", right=True),
        Column("cached", right=True, drop=6),
        Column("out", right=True),
        Column("cost", right=True),
        Column("in doubt", right=True, drop=3, empty=not any_in_doubt),
        Column("outcome", least=9),
    ]
    rows: list[list[Cell]] = []
    for summary in summaries:
        run, totals = summary.run, summary.totals
        rows.append(
            [
                Text(summary.short_id, cells.BAR),
                Text(shown(run.name)),
                cells.named(run.attribution.customer, marks),
                cells.moment(run.started_at),
                Text(marks.absent if run.ended_at is None else cells.took(run)),
                Text(written.requests_cell(totals)),
                cells.count(totals, "input_tokens", marks),
                cells.count(totals, "cached_tokens", marks),
                cells.count(totals, "output_tokens", marks),
                cells.cost(totals, places, marks),
                cells.warning(totals.in_doubt),
                cells.run_outcome(run),
            ]
        )
    drawing = draw(console, columns, rows)
    words.explain(console, drawing.figures)
    words.left_out(console, drawing.left_out)


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
        Column("cached", right=True, drop=3, empty=not total.counts["cached_tokens"]),
        Column("output", right=True),
        Column("reasoning", right=True, drop=4, empty=not total.counts["reasoning_tokens"]),
        Column("cost", right=True),
        Column("unpriced", right=True, drop=2, empty=not total.cost_unpriced),
        Column("in doubt", right=True, drop=1, empty=not total.in_doubt),
    ]

    def figures(totals: Totals) -> list[Cell]:
        return [
            Text(written.requests_cell(totals)),
            cells.count(totals, "input_tokens", marks),
            cells.count(totals, "cached_tokens", marks),
            cells.count(totals, "output_tokens", marks),
            cells.count(totals, "reasoning_tokens", marks),
            cells.cost(totals, places, marks),
            cells.warning(totals.cost_unpriced),
            cells.warning(totals.in_doubt),
        ]

    rows: list[list[Cell]] = [
        [*(cells.key(item, marks) for item in row.key), *figures(row.totals)] for row in value.rows
    ]
    heading: list[Cell] = [Text("total"), *(Text() for _ in value.keys[1:])]
    drawing = draw(console, columns, rows, total=[*heading, *figures(total)])
    words.explain(console, drawing.figures)
    if value.repriced:
        verb = "request was" if value.repriced == 1 else "requests were"
        words.prose(console, f"{value.repriced:,} {verb} repriced.", style=cells.DIM)
    words.left_out(console, drawing.left_out)


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
    figures = ""
    if value.lines:
        print_line(console)
        figures = requests(console, value)
    print_line(console)
    figures += totals(console, value.totals, _places(value))
    notes(console, value.notes, value.totals)
    words.explain(console, figures)


def run_heading(console: Console, run: RunRow) -> None:
    """Print what a run is, how it ended, and whom it was for."""
    marks = glyphs(console)
    ending = f"{run.outcome or 'open'}"
    if run.ended_at is not None:
        ending += f" in {cells.took(run)}"
    style = cells.run_outcome(run).style
    print_line(console, Text.assemble((shown(run.name), "bold"), "  ", (ending, style)))
    print_line(console, Text(run.id, cells.DIM))
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
    words.prose(console, marks.separator.join(shown(fact) for fact in facts), style=cells.DIM)


def requests(console: Console, value: Waterfall) -> str:
    """Print the requests of a run, turn by turn and agent by agent, with a bar for each.

    Returns:
        The figures that were printed, for `words.explain`.
    """
    marks = glyphs(console)
    entries = [line.entry for line in value.lines if isinstance(line, RequestLine)]
    places = _places(value)
    models = {entry.model for entry in entries}
    turns = any(entry.turn is not None for entry in entries)
    reasons = value.totals.counts["reasoning_tokens"] > 0
    cached = value.totals.counts["cached_tokens"] > 0
    common = {note.number for note in value.notes if words.is_common(note, value.totals)}
    marked = [
        [number for number in line.notes if number not in common]
        for line in value.lines
        if isinstance(line, RequestLine)
    ]
    rows: list[list[Cell]] = []
    for line in value.lines:
        if isinstance(line, RunLine):
            rows.append(cells.run_cells(line, value.seconds, marks))
        else:
            rows.append(cells.request_cells(line, value.seconds, places, common, marks))
    # Whose request it was says more than how long it took, so names stay whole for as long as
    # there is another column to leave out.
    agents = max((row[1].cell_len for row in rows if isinstance(row[1], Text)), default=0)
    columns = [
        Column("turn", right=True, drop=3, empty=not turns),
        Column("agent", least=max(9, min(agents, _AGENT_WIDTH))),
        Column("model", least=10, drop=2 if len(models) > 1 else 7),
        Column("in", right=True),
        Column("cached", right=True, drop=4, empty=not cached),
        Column("out", right=True),
        Column("reasoning", right=True, drop=6, empty=not reasons),
        Column("cost", right=True),
        Column("took", right=True, drop=5),
        Column(cells.axis(value.seconds, marks), drop=1, least=8, most=_BAR_WIDTH, name="timeline"),
        Column("outcome", least=8),
        Column("", empty=all(not numbers for numbers in marked)),
    ]
    drawing = draw(console, columns, rows)
    words.left_out(console, drawing.left_out)
    return drawing.figures


def verification(console: Console, value: Verification, url: str) -> None:
    """Print whether a ledger agrees with itself, and every problem if it does not."""
    checked = f"{value.runs:,} runs, {value.entries:,} entries, {value.counts:,} totals"
    if value.adjustments:
        noun = "adjustment" if value.adjustments == 1 else "adjustments"
        checked += f", {value.adjustments:,} {noun}"
    for problem in value.problems:
        print_line(console, Text.assemble(("problem  ", cells.BAD), shown(problem)))
    for note in value.notes:
        print_line(console, Text.assemble(("note     ", cells.DOUBTFUL), shown(note)))
    if value.ok:
        headline = ("The ledger agrees with itself", cells.GOOD)
        print_line(console, Text.assemble(headline, f": {checked}."))
    else:
        number = len(value.problems)
        count = f"{number:,} problem{'' if number == 1 else 's'}"
        headline = (f"The ledger disagrees: {count}", cells.BAD)
        print_line(console, Text.assemble(headline, f" in {checked}."))
    print_line(console, Text(shown(url), cells.DIM))


def _places(value: Waterfall) -> int:
    return written.decimals(
        line.entry.cost_nanodollars for line in value.lines if isinstance(line, RequestLine)
    )
