"""Tables that fit."""

import pytest
from rich.cells import cell_len
from rich.text import Text

from tallystick.cli.table import Column, draw, shortened

COLUMNS = [
    Column("name", least=6),
    Column("tokens", right=True),
    Column("extra", right=True, drop=1),
    Column("nothing", right=True, drop=2, empty=True),
    Column("place", drop=2, least=4),
]
ROWS = [
    [Text("support-desk"), Text("1,234"), Text("99"), Text("0"), Text("Kyōto 京都")],
    [Text("b"), Text("12"), Text("7"), Text("0"), Text("-")],
]


def drawn(console, width, **options):
    screen = console(width)
    drawing = draw(screen, COLUMNS, ROWS, **options)
    return drawing, screen.file.getvalue().splitlines()


def test_a_table_with_room_shows_everything_aligned(console):
    drawing, lines = drawn(console, 80)
    assert lines == [
        "name          tokens  extra  nothing  place",
        "support-desk   1,234     99        0  Kyōto 京都",
        "b                 12      7        0  -",
    ]
    assert drawing.left_out == ()


@pytest.mark.parametrize("width", range(16, 60))
def test_no_line_is_wider_than_the_screen_and_no_number_is_ever_cut(console, width):
    _, lines = drawn(console, width)
    assert len(lines) == 3
    assert all(cell_len(line) <= width for line in lines)
    assert "1,234" in lines[1]


def test_an_empty_column_goes_first_and_is_not_missed(console):
    drawing, lines = drawn(console, 32)
    assert "nothing" not in lines[0]
    assert drawing.left_out == ()
    drawing, lines = drawn(console, 24)
    assert drawing.left_out == ("place",)
    assert drawn(console, 16)[0].left_out == ("extra", "place")


def test_a_total_stands_under_a_rule(console):
    total = [Text("total"), Text("1,246"), Text("106"), Text("0"), Text()]
    _, lines = drawn(console, 80, total=total)
    assert lines[-2:] == [
        "────────────────────────────────────────────────",
        "total          1,246    106        0",
    ]


@pytest.mark.parametrize(
    ("text", "width", "expected"),
    [
        ("gpt-5-mini", 10, "gpt-5-mini"),
        ("claude-sonnet-4-5-20250929", 14, "claude-so…0929"),
        ("京都京都京都", 8, "京都 …都"),
        ("abc", 2, "ab"),
    ],
)
def test_a_long_name_keeps_its_beginning_and_end(text, width, expected):
    assert shortened(text, width, "…") == expected
    assert cell_len(shortened(text, width, "…")) <= width
