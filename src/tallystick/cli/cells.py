"""The cells of tables: figures, names, outcomes and bars.

Colour repeats what the words say, so nothing is lost without it.
"""

from __future__ import annotations

from collections.abc import Callable

from rich.text import Text

from tallystick.cli import format as written
from tallystick.cli.table import Cell, Drawn
from tallystick.cli.terminal import Glyphs, shown
from tallystick.ledger import RunRow
from tallystick.report import RequestLine, RunLine, Totals
from tallystick.report.grouping import Value
from tallystick.report.listing import seconds_taken
from tallystick.usage import RequestUsage

DIM = "dim"
GOOD = "green"
DOUBTFUL = "yellow"
BAD = "red"
BAR = "cyan"

_OUTCOME_STYLES = {
    "completed": GOOD,
    "failed": BAD,
    "cancelled": DOUBTFUL,
    "interrupted": DOUBTFUL,
}


def request_cells(
    line: RequestLine, seconds: float, places: int, common: set[int], marks: Glyphs
) -> list[Cell]:
    """Return the cells of a request in a waterfall; those of `run_cells` are the same."""
    entry = line.entry
    sent = entry.status not in ("held", "released")
    guessed = entry.estimated

    def figure(value: int | None, *, total: bool = True) -> Text:
        if not sent:
            return Text(marks.absent, DIM)
        return Text(written.tokens(value, estimated=guessed and total and value is not None))

    cost = written.cost_cell(entry.cost, 1, places, marks) if sent else marks.absent
    numbers = ",".join(str(number) for number in line.notes if number not in common)
    return [
        Text("" if entry.turn is None else str(entry.turn), DIM),
        Text("  " * line.depth + shown(entry.agent or marks.absent)),
        Text(shown(entry.model or entry.requested_model or "?"), DIM),
        figure(entry.input_tokens),
        figure(entry.input_tokens_details.cached_tokens, total=False),
        figure(entry.output_tokens),
        figure(entry.output_tokens_details.reasoning_tokens, total=False),
        Text(cost),
        Text(marks.absent if entry.duration is None else written.duration(entry.duration)),
        _bar(line.offset, entry.duration, seconds, _bar_of(entry, marks)),
        _outcome(entry),
        Text(f"[{numbers}]" if numbers else "", DIM),
    ]


def run_cells(line: RunLine, seconds: float, marks: Glyphs) -> list[Cell]:
    """Return the cells of a run inside the run that is shown: where it began, and its bar."""
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
        Text("ok", GOOD) if run.outcome == "completed" else run_outcome(run),
        blank,
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


def run_outcome(run: RunRow) -> Text:
    """Return how a run ended."""
    return Text(run.outcome or "open", _OUTCOME_STYLES.get(run.outcome or "", DOUBTFUL))


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


def axis(seconds: float, marks: Glyphs) -> Callable[[int], str]:
    """Return the heading of the bars: from the start to the last end."""
    end = written.duration(seconds)

    def drawn(width: int) -> str:
        middle = marks.rule * max(width - len(end) - 4, 1)
        return f"0s {middle} {end}"

    return drawn


def count(value: Totals, name: str, marks: Glyphs) -> Text:
    """Return a sum of `value`, with its marks."""
    return Text(written.count_cell(value, name, marks))


def cost(value: Totals, places: int, marks: Glyphs) -> Text:
    """Return a cost, with its marks."""
    return Text(written.cost_cell(value.cost, value.requests, places, marks))


def warning(number: int) -> Text:
    """Return a number that is better nought."""
    return Text(f"{number:,}", DOUBTFUL if number else DIM)


def key(value: Value, marks: Glyphs) -> Text:
    """Return what a group has in common."""
    return named(None if value is None else str(value), marks)


def named(value: str | None, marks: Glyphs) -> Text:
    """Return a name, or a dash where there is none."""
    return Text(marks.absent, DIM) if value is None else Text(shown(value))


def moment(nanoseconds: int) -> Drawn:
    """Return a UTC moment, shorter where there is less room."""
    return lambda width: Text(written.moment(nanoseconds, width), DIM)


def took(run: RunRow) -> str:
    """Return how long a run took."""
    return written.duration(seconds_taken(run))
