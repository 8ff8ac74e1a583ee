"""`import tallystick` against importing what its core stands on, each in a new interpreter."""

import subprocess
import sys
import time

from benchmarks.pairs import Row, row


def _start(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - our own interpreter
    return time.perf_counter() - started


def importing() -> Row:
    """The whole start of an interpreter, less that of one that imports nothing."""
    nothing = min(_start("pass") for _ in range(5))

    def net(program: str) -> float:
        return max(min(_start(program) for _ in range(3)) - nothing, 1e-4)

    return row(
        "import tallystick",
        lambda: net("import tallystick"),
        lambda: net("import sqlite3, decimal, dataclasses"),
        goal=2,
        faster=False,
    )


ROWS = {"import": importing}
