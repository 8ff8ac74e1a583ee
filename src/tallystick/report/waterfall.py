"""The waterfall of a run: its requests and the runs inside it, in the order they happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tallystick.ledger import Adjustment, RunRow
from tallystick.money import usd
from tallystick.report.listing import run_dict
from tallystick.report.notes import Note, Notes
from tallystick.report.period import sent_at
from tallystick.report.totals import Totals
from tallystick.usage import RequestUsage


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run inside the run that is shown, at the place where it began."""

    run: RunRow
    depth: int
    """How deep it is nested; a child of the run that is shown has depth 1."""
    offset: float
    """Seconds from the start of the waterfall."""
    duration: float | None
    totals: Totals
    """Of its own requests and of those of the runs inside it."""


@dataclass(frozen=True, slots=True)
class RequestLine:
    """One request."""

    entry: RequestUsage
    depth: int
    """How deep its run is nested; 0 for the run that is shown."""
    offset: float | None
    """Seconds from the start of the waterfall; None where nobody said when it was sent."""
    notes: tuple[int, ...]
    """The numbers of the notes that are true of it."""


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A run, line by line."""

    run: RunRow
    lines: tuple[RunLine | RequestLine, ...]
    totals: Totals
    """Of all its requests, those of the runs inside it included."""
    seconds: float
    """From the first start to the last end; what a bar of full width stands for."""
    notes: tuple[Note, ...]

    @property
    def runs(self) -> tuple[RunLine, ...]:
        """The runs inside it, in the order they began."""
        return tuple(line for line in self.lines if isinstance(line, RunLine))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "run": run_dict(self.run),
            "children": [
                {**run_dict(line.run), "depth": line.depth, "usage": line.totals.to_dict()}
                for line in self.runs
            ],
            "usage": self.totals.to_dict(),
            "notes": [note.to_dict() for note in self.notes],
            "requests": [
                {**_request_dict(line.entry), "notes": list(line.notes)}
                for line in self.lines
                if isinstance(line, RequestLine)
            ],
        }


def _request_dict(entry: RequestUsage) -> dict[str, Any]:
    amount = entry.cost_nanodollars
    # Always there, so that no reader takes a missing price for none.
    price = {
        "cost_nanodollars": amount,
        "cost_usd": None if amount is None else f"{usd(amount):f}",
    }
    return {**entry.to_dict(), **price}


def waterfall(
    run: RunRow,
    entries: Iterable[RequestUsage],
    descendants: Iterable[RunRow] = (),
    adjustments: Iterable[Adjustment] = (),
) -> Waterfall:
    """Return the waterfall of a run.

    Args:
        run: the run to show.
        entries: its requests and those of the runs inside it, of every status. One whose run
            is not among `descendants` is taken as the shown run's own.
        descendants: the runs inside it, at every depth.
        adjustments: the prices that were made later for these entries, which have the newest.
    """
    builder = _Builder(run, list(descendants), list(entries), adjustments)
    return builder.build()


class _Builder:
    def __init__(
        self,
        run: RunRow,
        descendants: Sequence[RunRow],
        entries: Sequence[RequestUsage],
        adjustments: Iterable[Adjustment],
    ) -> None:
        self.run = run
        self.notes = Notes()
        self.repriced: dict[tuple[str | None, str], Adjustment] = {
            (made.entry_id, made.status): made for made in adjustments
        }
        self.lines: list[RunLine | RequestLine] = []
        known = {run.id, *(child.id for child in descendants)}
        self.children: dict[str, list[RunRow]] = {}
        for child in descendants:
            parent = child.parent_id if child.parent_id in known else run.id
            self.children.setdefault(parent or run.id, []).append(child)
        self.entries: dict[str, list[RequestUsage]] = {}
        self.starts: list[int] = [run.started_at, *(child.started_at for child in descendants)]
        ends = [row.ended_at for row in (run, *descendants) if row.ended_at is not None]
        for entry in entries:
            owner = entry.run_id if entry.run_id in known else run.id
            self.entries.setdefault(owner or run.id, []).append(entry)
            started = sent_at(entry)
            if started is not None:
                self.starts.append(started)
                ends.append(started + int((entry.duration or 0) * 1e9))
        # A clock that jumped back may put a request before its run; it is shown all the same.
        self.start = min(self.starts)
        self.end = max([self.start, *self.starts, *ends])

    def build(self) -> Waterfall:
        totals = self._add(self.run, 0)
        return Waterfall(
            run=self.run,
            lines=tuple(self.lines),
            totals=totals,
            seconds=(self.end - self.start) / 1e9,
            notes=self.notes.all(),
        )

    def _add(self, run: RunRow, depth: int) -> Totals:
        """Add the lines of a run's requests and children in order; return their totals."""
        totals = Totals()
        happened: list[tuple[int, int, RunRow | RequestUsage]] = []
        latest = run.started_at
        for entry in self.entries.pop(run.id, []):
            started = sent_at(entry)
            latest = latest if started is None else started
            happened.append((latest, len(happened), entry))
        for child in self.children.pop(run.id, []):
            happened.append((child.started_at, len(happened), child))
        for _, _, item in sorted(happened, key=lambda event: event[:2]):
            if isinstance(item, RunRow):
                place = len(self.lines)
                used = self._add(item, depth + 1)
                self.lines.insert(place, self._run_line(item, depth + 1, used))
                totals.add(used)
            else:
                totals.count(item)
                adjustment = self.repriced.get((item.id, item.status))
                notes = self.notes.mark(item, adjustment)
                self.lines.append(RequestLine(item, depth, self._offset(sent_at(item)), notes))
        return totals

    def _run_line(self, run: RunRow, depth: int, totals: Totals) -> RunLine:
        duration = None if run.ended_at is None else max(run.ended_at - run.started_at, 0) / 1e9
        return RunLine(run, depth, (run.started_at - self.start) / 1e9, duration, totals)

    def _offset(self, moment: int | None) -> float | None:
        return None if moment is None else (moment - self.start) / 1e9
