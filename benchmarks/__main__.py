"""Prints the performance table: each figure beside its peer's, measured in the same process.

    make bench                     all rows, and the tables of latencies and of N50 below them
    make bench ARGS="add run"      the rows whose names begin so
    make bench ARGS="hold latency" rows and a table

A ratio is taken pair by pair (ours, peer, ours, peer, …) and its median is printed, with the
smallest and largest pair, because machines are noisy and drift.
"""

import os
import sys

from rich.console import Console
from rich.table import Table

from benchmarks import holding, host, importing, latency, n50, pricing, repricing, usage
from benchmarks.pairs import Row

MODULES = (usage, pricing, repricing, holding, host, importing)
TABLES = {**latency.TABLES, **n50.TABLES}


def main(wanted: list[str]) -> int:
    """Measure the wanted rows, print the table, and return 1 if a goal is missed."""
    console = Console()

    def chosen(name: str) -> bool:
        return not wanted or any(name.startswith(prefix) for prefix in wanted)

    load = os.getloadavg()[0]
    rows: list[Row] = []
    for module in MODULES:
        for name, measure in module.ROWS.items():
            if chosen(name):
                with console.status(f"measuring: {name}"):
                    rows.append(measure())
    if rows:
        table = _table(rows)
        # Other work on the machine slows most whoever waits for the disk.
        table.caption = (
            f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores"
        )
        console.print(table)
    met = all(row.met for row in rows)
    for name, tabulate in TABLES.items():
        if chosen(name):
            with console.status(f"measuring: {name}"):
                table, reached = tabulate()
            console.print(table)
            met = met and reached
    return 0 if met else 1


def _table(rows: list[Row]) -> Table:
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
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
