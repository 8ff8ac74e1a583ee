"""Money, counts, durations and moments as people read them.

Three marks say what a figure is not: ``?`` unknown, ``~`` resting on an estimate, ``≥`` a lower
bound, because some requests are missing from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from tallystick.cli.terminal import UNICODE, Glyphs
from tallystick.clock import timestamp
from tallystick.money import Cost, usd
from tallystick.report import Totals

UNKNOWN = "?"


def decimals(amounts: Iterable[int | None]) -> int:
    """Return how many decimals a column of amounts (nanodollars) needs: 2, 4, 6 or 9.

    The smallest amount that is not zero keeps at least two digits, where nanodollars have them.
    """
    smallest = min((abs(amount) for amount in amounts if amount), default=None)
    if smallest is None or smallest >= 100_000_000_000:
        return 2
    if smallest >= 1_000_000:
        return 4
    return 6 if smallest >= 10_000 else 9


def money(nanodollars: int, places: int | None = None) -> str:
    """Return an amount such as ``$0.0123``, rounded half-even to `places` decimals.

    Without `places`, to as many as the amount itself needs. Nothing is ``$0``, and only nothing.
    """
    if not nanodollars:
        return "$0"
    if places is None:
        places = decimals([nanodollars])
    amount = usd(nanodollars).quantize(Decimal(1).scaleb(-places))
    return f"-${-amount:,f}" if amount < 0 else f"${amount:,f}"


def cost_cell(cost: Cost, requests: int, places: int | None = None, marks: Glyphs = UNICODE) -> str:
    """Return a cost for a table: ``$0.0123``, ``~$0.0123``, ``≥$0.0123``, or ``?``.

    Args:
        cost: what is known.
        requests: how many requests it is the cost of.
        places: the decimals of the column.
        marks: the characters to write with.
    """
    if not requests:
        return marks.absent
    if cost.unpriced and not cost.nanodollars:
        return UNKNOWN
    return _marked(money(cost.nanodollars, places), cost.estimated, cost.unpriced, marks)


def cost_text(cost: Cost, requests: int, places: int | None = None) -> str:
    """Return a cost in words: ``~$0.0123 + 2 unpriced``."""
    if requests and cost.unpriced >= requests:
        return f"unknown: {_number(cost.unpriced, 'request')} unpriced"
    amount = f"{'~' if cost.estimated else ''}{money(cost.nanodollars, places)}"
    return f"{amount} + {cost.unpriced:,} unpriced" if cost.unpriced else amount


def count_cell(totals: Totals, name: str, marks: Glyphs = UNICODE) -> str:
    """Return a sum of `totals` for a table: ``12,345``, ``~12,345``, ``≥12,345``, or ``?``."""
    if not totals.requests:
        return marks.absent
    value = totals.counts[name]
    if totals.unknown[name] and not value:
        # "At least nothing" is what anybody knows.
        return UNKNOWN
    # Only the totals of an answer are estimated; its details are reported, or not known.
    guessed = totals.estimated if name in ("input_tokens", "output_tokens", "total_tokens") else 0
    return _marked(f"{value:,}", guessed, totals.unknown[name], marks)


def tokens(value: int | None, *, estimated: bool = False) -> str:
    """Return one count: ``12,345``, ``~12,345``, or ``?`` where it is not known."""
    if value is None:
        return UNKNOWN
    return f"~{value:,}" if estimated else f"{value:,}"


def requests_cell(totals: Totals) -> str:
    """Return a number of requests, and how many more are out: ``12``, ``12 + 1 held``."""
    parts = []
    if totals.requests or not (totals.held or totals.released):
        parts.append(f"{totals.requests:,}")
    if totals.held:
        parts.append(f"{totals.held:,} held")
    if not parts:
        parts.append(f"{totals.released:,} not sent")
    return " + ".join(parts)


def requests_text(totals: Totals) -> str:
    """Return a number of requests with all that has to be said about it, in words."""
    said = [
        f"{number:,} {what}"
        for number, what in (
            (totals.in_doubt, "in doubt"),
            (totals.estimated - totals.in_doubt, "more with estimated counts"),
        )
        if number > 0
    ]
    apart = [
        f"{number:,} {what}"
        for number, what in (
            (totals.held, "not finished and in no figure here"),
            (totals.released, "never sent"),
        )
        if number
    ]
    text = f"{totals.requests:,}"
    if said:
        text += f", of which {' and '.join(said)}"
    return f"{text}; beside them {' and '.join(apart)}" if apart else text


def tokens_text(totals: Totals, marks: Glyphs = UNICODE) -> str:
    """Return the tokens of `totals` in words: ``1,200 in (800 cached), 90 out``."""
    parts = []
    for name, word, details in (
        ("input_tokens", "in", (("cached_tokens", "cached"), ("cache_write_tokens", "written"))),
        ("output_tokens", "out", (("reasoning_tokens", "reasoning"),)),
    ):
        inner = [
            f"{count_cell(totals, detail, marks)} {what}"
            for detail, what in details
            if totals.known(detail) != 0 or (detail == "cached_tokens" and totals.unknown[detail])
        ]
        text = f"{count_cell(totals, name, marks)} {word}"
        parts.append(f"{text} ({', '.join(inner)})" if inner else text)
    return ", ".join(parts)


def duration(seconds: float | None) -> str:
    """Return a duration such as ``850ms``, ``12.3s``, ``4m05s``, ``3h12m`` or ``2d04h``."""
    if seconds is None:
        return UNKNOWN
    if round(seconds * 1000) < 1000:
        return f"{round(seconds * 1000)}ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 24:
        return f"{hours}h{minutes:02}m"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days}d{hours:02}h"


def moment(nanoseconds: int, width: int = 19) -> str:
    """Return a UTC moment as ``2026-11-22 14:03:11``, or shorter where there is less room."""
    text = timestamp(nanoseconds).strftime("%Y-%m-%d %H:%M:%S")
    if width >= 19:
        return text
    return text[:16] if width >= 16 else text[5:16]


def _marked(text: str, estimated: int, missing: int, marks: Glyphs) -> str:
    return f"{marks.at_least if missing else ''}{'~' if estimated else ''}{text}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
