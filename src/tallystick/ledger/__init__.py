"""The ledger: one row for each request, committed before the request leaves."""

from tallystick.ledger.adjustment import Adjustment
from tallystick.ledger.ledger import Ledger, open_ledger
from tallystick.ledger.store import RunOutcome, RunRow, RunTotals
from tallystick.ledger.verify import Verification

__all__ = [
    "Adjustment",
    "Ledger",
    "RunOutcome",
    "RunRow",
    "RunTotals",
    "Verification",
    "open_ledger",
]
