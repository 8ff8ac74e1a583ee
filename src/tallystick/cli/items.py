"""A quote as its items: quantity times rate is amount, and the amounts add up to the total.

Nothing is rounded here but in what says so: a figure that a decimal can say is written as that
decimal, another as a fraction with its nearest decimal beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from fractions import Fraction
from typing import Any

from rich.console import Console
from rich.text import Text

from tallystick.cli.cells import DIM, DOUBTFUL
from tallystick.cli.format import money
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import shown
from tallystick.cli.words import prose
from tallystick.money import NANODOLLARS_PER_USD
from tallystick.pricing import Line, Quote

_PER = {
    1: "each",
    1_000: "a thousand",
    3_600: "an hour",
    1_000_000: "a million",
    1_000_000_000: "a billion",
}


def exact(value: Fraction) -> str:
    """Return a number exactly: as a decimal where one ends, else as a fraction such as ``1/3``."""
    places = _places(value.denominator)
    if places is None:
        return f"{value.numerator}/{value.denominator}"
    sign = "-" if value < 0 else ""
    whole, rest = divmod(abs(value.numerator) * 10**places // value.denominator, 10**places)
    return f"{sign}{whole}.{rest:0{places}}" if places else f"{sign}{whole}"


def _places(denominator: int) -> int | None:
    """Return how many decimals 1/denominator has, or None where they do not end."""
    powers = []
    for prime in (2, 5):
        power = 0
        while denominator % prime == 0:
            denominator //= prime
            power += 1
        powers.append(power)
    return max(powers) if denominator == 1 else None


def dollars(value: Fraction) -> str:
    """Return an exact amount such as ``$0.0125``, with at least the cents."""
    text = exact(value)
    if "/" in text:
        return f"${text} (about ${float(value):.9f})"
    whole, _, rest = text.partition(".")
    return f"${int(whole):,}.{rest:0<2}"


def rate_text(line: Line) -> str:
    """Return a rate as it is published, such as ``$2.50 a million``."""
    per = _PER.get(line.per, f"for {line.per:,}")
    text = f"{dollars(line.rate * line.per)} {per}"
    return text if line.above is None else f"{text} (above {line.above:,} in)"


def item_name(line: Line, lines: Iterable[Line]) -> str:
    """Return what a line is for; a whole whose parts stand on other lines is what is left."""
    direction = {"input_tokens": ("input", "cache"), "output_tokens": ("output",)}.get(line.unit)
    name = line.unit.replace("_", " ")
    if direction is None:
        return name
    parts = [
        other
        for other in lines
        if other.unit != line.unit
        and other.unit.endswith("_tokens")
        and other.unit.startswith(direction)
    ]
    return f"other {name}" if parts else name


def items(console: Console, quote: Quote) -> None:
    """Print the items of a quote, their total, the rule behind them and what is uncertain."""
    total = quote.exact
    if total is None or quote.nanodollars is None:
        prose(console, f"unpriced: {shown('; '.join(quote.reasons))}", indent=10, style=DOUBTFUL)
    else:
        lines = quote.lines
        columns = [
            Column("item", least=8),
            Column("quantity", right=True),
            Column("rate", right=True),
            Column("amount", right=True),
        ]
        rows: list[list[Cell]] = [
            [
                Text(item_name(line, lines)),
                Text(f"{line.quantity:,}"),
                Text(rate_text(line)),
                Text(dollars(line.amount)),
            ]
            for line in lines
        ]
        mark = "~" if quote.estimated else ""
        draw(
            console,
            columns,
            rows,
            total=[Text("total"), Text(), Text(), Text(f"{mark}{dollars(total)}")],
        )
        if total * NANODOLLARS_PER_USD != quote.nanodollars:
            prose(
                console,
                f"charged as {money(quote.nanodollars, 9)}: whole nanodollars, rounded half-even",
            )
    print_line(console)
    for label, text in (
        ("rule", quote.rule),
        ("book", quote.book or "none"),
        ("rates", None if total is None else _held(quote.since, quote.until)),
    ):
        if text is not None:
            print_line(console, Text.assemble((f"{label:<10}", DIM), shown(text)))
    if total is not None:
        for reason in quote.reasons:
            prose(console, f"estimated: {shown(reason)}", indent=11, style=DOUBTFUL)


def _held(since: datetime | None, until: datetime | None) -> str:
    start = "of no known beginning" if since is None else f"from {_day(since)}"
    return f"{start}, {'no end known' if until is None else f'until before {_day(until)}'}"


def _day(moment: datetime) -> str:
    text = moment.strftime("%Y-%m-%d %H:%M:%S")
    return f"{text.removesuffix(' 00:00:00')} UTC"


def to_dict(quote: Quote) -> dict[str, Any]:
    """Return a quote in a JSON-safe form; amounts and rates are exact text."""
    total = quote.exact
    return {
        "cost": quote.cost.to_dict(),
        "exact_usd": None if total is None else exact(total),
        "lines": [
            {
                "unit": line.unit,
                "quantity": line.quantity,
                "rate_usd": exact(line.rate * line.per),
                "per": line.per,
                "above_input_tokens": line.above,
                "amount_usd": exact(line.amount),
            }
            for line in quote.lines
        ],
        "rule": quote.rule,
        "book": quote.book,
        "since": None if quote.since is None else quote.since.isoformat(),
        "until": None if quote.until is None else quote.until.isoformat(),
        "reasons": list(quote.reasons),
    }
