"""Text from a ledger on a terminal."""

import pytest

from tallystick.cli.terminal import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("Zoë & Söhne 京都", "Zoë & Söhne 京都"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("two\nlines\ttab", "two\\nlines\\ttab"),
        ("a\u202eb", "a\\u202eb"),
        ("bell\a", "bell\\x07"),
        ("\ud800", "\\ud800"),
    ],
)
def test_a_name_can_neither_colour_nor_break_nor_reorder_a_line(text, expected):
    assert shown(text) == expected
