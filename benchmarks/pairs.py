"""Measuring in pairs: ours and the peer's in turn, in one process."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Row:
    """A line of the table. Times are seconds for one of what is measured."""

    name: str
    ours: float
    peer: float
    ratios: tuple[float, ...]
    goal: float
    faster: bool
    """Whether the ratio says how many times as fast ours is, or how many times as long it takes."""

    @property
    def ratio(self) -> float:
        """The median over the pairs."""
        return median(self.ratios)

    @property
    def met(self) -> bool:
        """Whether the median meets the goal."""
        return self.ratio >= self.goal if self.faster else self.ratio <= self.goal

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        sign, unit = ("≥", " times as fast") if self.faster else ("≤", " times as long")
        return (
            self.name,
            duration(self.ours),
            duration(self.peer),
            f"{self.ratio:.2f}",
            f"{min(self.ratios):.2f} … {max(self.ratios):.2f}",
            f"{sign} {self.goal:g}{unit}",
            "yes" if self.met else "NO",
        )


def duration(value: float) -> str:
    """Return seconds as text, in the unit that suits them."""
    for limit, factor, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "µs"), (1, 1e3, "ms")):
        if value < limit:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s"


def timed(action: Callable[[], object], number: int = 1) -> float:
    """Return how long one of `number` calls takes."""
    gc.collect()
    started = time.perf_counter()
    for _ in range(number):
        action()
    return (time.perf_counter() - started) / number


def row(
    name: str,
    ours: Callable[[], float],
    peer: Callable[[], float],
    *,
    goal: float,
    faster: bool,
    pairs: int = 7,
) -> Row:
    """Measure pairs after one that is not counted. `ours` and `peer` return seconds."""
    ours(), peer()
    times = [(ours(), peer()) for _ in range(pairs)]
    ratios = tuple((theirs / mine) if faster else (mine / theirs) for mine, theirs in times)
    return Row(
        name,
        median(mine for mine, _ in times),
        median(theirs for _, theirs in times),
        ratios,
        goal,
        faster,
    )
