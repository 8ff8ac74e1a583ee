"""What a ledger says: periods, totals, groups and waterfalls, as values and without a picture.

Nothing here draws. Entries come in as they are read, one after the other, and what goes out is
small: a total, a row for each group, a line for each request of one run.
"""

from tallystick.report.grouping import KEYS, Key, Report, ReportRow, group, read_keys
from tallystick.report.listing import RunSummary, shortest_ids, summarise
from tallystick.report.notes import Note, Notes
from tallystick.report.period import Period, read_moment
from tallystick.report.reading import (
    entries_within,
    find_run,
    latest_runs,
    top_run_names,
    usage_within,
    waterfall_of,
)
from tallystick.report.repricing import Change, Pricing, Repricing, reprice
from tallystick.report.totals import Totals
from tallystick.report.waterfall import RequestLine, RunLine, Waterfall, waterfall

__all__ = [
    "KEYS",
    "Change",
    "Key",
    "Note",
    "Notes",
    "Period",
    "Pricing",
    "Report",
    "ReportRow",
    "Repricing",
    "RequestLine",
    "RunLine",
    "RunSummary",
    "Totals",
    "Waterfall",
    "entries_within",
    "find_run",
    "group",
    "latest_runs",
    "read_keys",
    "read_moment",
    "reprice",
    "shortest_ids",
    "summarise",
    "top_run_names",
    "usage_within",
    "waterfall",
    "waterfall_of",
]
