"""A report as CSV that programs and spreadsheets read the same."""

from __future__ import annotations

import csv
import io

from tallystick.report import Report, Totals
from tallystick.report.grouping import Value, column_names

COLUMNS = (
    "requests",
    "held",
    "released",
    "in_doubt",
    "estimated",
    "input_tokens",
    "input_unknown",
    "cached_tokens",
    "cached_unknown",
    "cache_write_tokens",
    "cache_write_unknown",
    "output_tokens",
    "output_unknown",
    "reasoning_tokens",
    "reasoning_unknown",
    "total_tokens",
    "total_unknown",
    "cost_usd",
    "cost_nanodollars",
    "cost_unpriced",
    "cost_estimated",
)
"""The columns after those of the keys. A count is empty where no request reported it, and
`…_unknown` says how many did not."""

_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula."""


def csv_text(report: Report) -> str:
    """Return a report as CSV after RFC 4180: a header, and a row for each group.

    There is no row for the total, so that a sum over a column is right. Text that a spreadsheet
    would take for a formula has an apostrophe before it.
    """
    out = io.StringIO()
    # RFC 4180 ends each line, the last one too, with CRLF; so does this writer by default.
    writer = csv.writer(out)
    writer.writerow([*(_text(name) for name in column_names(report.keys)), *COLUMNS])
    for row in report.rows:
        writer.writerow([*(_text(item) for item in row.key), *_figures(row.totals)])
    return out.getvalue()


def _text(value: Value) -> str | int:
    if value is None:
        return ""
    if isinstance(value, str) and value.startswith(_FORMULAS):
        return f"'{value}"
    return value


def _figures(totals: Totals) -> list[str | int | None]:
    figures: list[str | int | None] = [
        totals.requests,
        totals.held,
        totals.released,
        totals.in_doubt,
        totals.estimated,
    ]
    for name, unknown in totals.unknown.items():
        figures += [totals.known(name), unknown]
    priced = totals.cost_unpriced < totals.requests or not totals.requests
    figures += [
        f"{totals.cost.usd:f}" if priced else None,
        totals.cost_nanodollars if priced else None,
        totals.cost_unpriced,
        totals.cost_estimated,
    ]
    return figures
