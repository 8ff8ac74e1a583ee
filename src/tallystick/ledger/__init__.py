"""The ledger: one row for each request, committed before the request leaves."""

from tallystick.ledger.adjustment import Adjustment
from tallystick.ledger.balance import (
    PERIODS,
    UNITS,
    Amounts,
    Ask,
    Balance,
    BudgetRow,
    BudgetsChanged,
    Claim,
    Ended,
    Granted,
    HoldRefused,
    Per,
    Unit,
)
from tallystick.ledger.ledger import Ledger, open_ledger
from tallystick.ledger.store import RunOutcome, RunRow, RunTotals
from tallystick.ledger.verify import Verification

__all__ = [
    "PERIODS",
    "UNITS",
    "Adjustment",
    "Amounts",
    "Ask",
    "Balance",
    "BudgetRow",
    "BudgetsChanged",
    "Claim",
    "Ended",
    "Granted",
    "HoldRefused",
    "Ledger",
    "Per",
    "RunOutcome",
    "RunRow",
    "RunTotals",
    "Unit",
    "Verification",
    "open_ledger",
]
