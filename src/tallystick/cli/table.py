"""Tables that fit: columns are shortened, then left out, and a line is never wrapped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from tallystick.cli.terminal import glyphs

GAP = 2

_LEAST = 4

Drawn = Callable[[int], Text]
"""A cell that is drawn to the width of its column."""

Cell = Text | Drawn


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str | Callable[[int], str]
    right: bool = False
    """Whether it is aligned to the right, as numbers are."""
    drop: int = 0
    """The higher, the sooner it is left out where there is no room; 0 is always kept."""
    least: int | None = None
    """How narrow it may become; None for what must not be shortened, as numbers must not."""
    most: int = 0
    """How wide cells that are drawn to a width should be."""
    empty: bool = False
    """Whether it says nothing here, so that it is the first to go and nobody misses it."""
    name: str = ""
    """What it is called where it is left out, if its title does not say."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What became of a table."""

    left_out: tuple[str, ...]
    """The names of the columns for which there was no room."""
    figures: str
    """The cells of the columns that are aligned to the right, as printed."""


def draw(
    console: Console,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    total: Sequence[Cell] | None = None,
) -> Drawing:
    """Print a table.

    Args:
        console: its width is what the table has to fit in.
        columns: what the cells of each row are.
        rows: the cells; one that is drawn is asked for its text at the width of its column.
        total: a last row, under a rule.
    """
    everything = [*rows, total] if total is not None else list(rows)
    widths = _fit(columns, everything, console.width)
    ellipsis = glyphs(console).ellipsis
    titles = [Text(_title(column, widths.get(index, 0))) for index, column in enumerate(columns)]

    def line(cells: Sequence[Cell], style: str = "") -> None:
        text = Text(style=style)
        for place, (index, width) in enumerate(widths.items()):
            if place:
                text.append(" " * GAP)
            text.append_text(_padded(cells[index], columns[index], width, ellipsis))
        text.rstrip()
        print_line(console, text)

    line(titles, "dim")
    for row in rows:
        line(row)
    if total is not None:
        length = sum(widths.values()) + GAP * (len(widths) - 1)
        print_line(console, Text(glyphs(console).rule * length, "dim"))
        line(total, "bold")
    return Drawing(
        left_out=tuple(
            column.name or _title(column, 0)
            for index, column in enumerate(columns)
            if index not in widths and not column.empty
        ),
        figures=" ".join(
            cell.plain
            for row in everything
            for index in widths
            if columns[index].right and isinstance(cell := row[index], Text)
        ),
    )


def print_line(console: Console, text: Text | str = "") -> None:
    """Print one line as it is: not wrapped, not cut."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def shortened(text: str, width: int, ellipsis: str) -> str:
    """Return text in at most `width` cells, without its middle where it is longer.

    What tells names apart is often at their ends.
    """
    if cell_len(text) <= width:
        return text
    room = width - cell_len(ellipsis)
    if room < 2:
        return set_cell_size(text, width)
    tail = room // 3
    head = set_cell_size(text, room - tail)
    end = ""
    for char in reversed(text):
        if cell_len(char + end) > tail:
            break
        end = char + end
    return f"{head}{ellipsis}{end}"


def _fit(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], room: int) -> dict[int, int]:
    """Return the width of each column that is kept, by its place."""
    natural = {
        index: _natural(column, [row[index] for row in rows])
        for index, column in enumerate(columns)
    }
    kept = dict(natural)
    while True:
        widths = _shrunk(columns, kept, room)
        if _length(widths) <= room:
            return widths
        droppable = [index for index in kept if columns[index].drop]
        if not droppable:
            return _shrunk(columns, kept, room, last_resort=True)
        del kept[max(droppable, key=lambda index: (columns[index].empty, columns[index].drop))]


def _shrunk(
    columns: Sequence[Column], widths: dict[int, int], room: int, *, last_resort: bool = False
) -> dict[int, int]:
    """Take from the widest of the columns that may be narrower, until all fit or none is left.

    As a last resort names become as narrow as can still be told apart; numbers never do.
    """
    widths = dict(widths)
    while _length(widths) > room:
        able = [
            (width, index)
            for index, width in widths.items()
            if (least := columns[index].least) is not None
            and width > (_LEAST if last_resort else least)
        ]
        if not able:
            break
        widths[max(able)[1]] -= 1
    return widths


def _length(widths: dict[int, int]) -> int:
    return sum(widths.values()) + GAP * max(len(widths) - 1, 0)


def _natural(column: Column, cells: Sequence[Cell]) -> int:
    texts = [cell.cell_len for cell in cells if isinstance(cell, Text)]
    title = cell_len(column.title) if isinstance(column.title, str) else 0
    return max([title, column.most, *texts])


def _title(column: Column, width: int) -> str:
    return column.title if isinstance(column.title, str) else column.title(width)


def _padded(cell: Cell, column: Column, width: int, ellipsis: str) -> Text:
    text = cell if isinstance(cell, Text) else cell(width)
    if text.cell_len > width:
        text = Text(shortened(text.plain, width, ellipsis), style=text.style)
    space = " " * (width - text.cell_len)
    return Text.assemble(space, text) if column.right else Text.assemble(text, space)
