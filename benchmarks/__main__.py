"""Prints the performance table: each figure beside its peer's, measured in the same process.

    make bench                     all rows
    make bench ARGS="add run"      the rows whose names begin so

A ratio is taken pair by pair (ours, peer, ours, peer, …) and its median is printed, with the
smallest and largest pair, because machines are noisy and drift.
"""

import sys

from rich.console import Console
from rich.table import Table

from benchmarks import host, importing, pricing, repricing, usage
from benchmarks.pairs import Row

MODULES = (usage, pricing, repricing, host, importing)


def main(wanted: list[str]) -> int:
    """Measure the wanted rows, print the table, and return 1 if a goal is missed."""
    console = Console()
    rows: list[Row] = []
    for module in MODULES:
        for name, measure in module.ROWS.items():
            if wanted and not any(name.startswith(prefix) for prefix in wanted):
                continue
            with console.status(f"measuring: {name}"):
                rows.append(measure())
    table = Table(title="Tallystick against its peers, median of pairs")
    for column, justify in (
        ("what", "left"),
        ("ours", "right"),
        ("peer", "right"),
        ("ratio", "right"),
        ("pairs from … to", "right"),
        ("goal", "left"),
        ("met", "left"),
    ):
        table.add_column(column, justify=justify)
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
