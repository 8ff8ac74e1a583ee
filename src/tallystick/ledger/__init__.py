"""The ledger: one row for each request, committed before the request leaves."""

from tallystick.ledger.adjustment import Adjustment
from tallystick.ledger.balance import (
    NOTHING,
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
from tallystick.ledger.hindsight import BudgetChange, Comparison, ModelHolds, OpenHold
from tallystick.ledger.ledger import Ledger, open_ledger
from tallystick.ledger.reconciliation import Reconciliation
from tallystick.ledger.rollup import ROLLUP_KEYS, Rollup, split
from tallystick.ledger.store import RunOutcome, RunRow, RunTotals
from tallystick.ledger.verify import Verification

__all__ = [
    "NOTHING",
    "PERIODS",
    "ROLLUP_KEYS",
    "UNITS",
    "Adjustment",
    "Amounts",
    "Ask",
    "Balance",
    "BudgetChange",
    "BudgetRow",
    "BudgetsChanged",
    "Claim",
    "Comparison",
    "Ended",
    "Granted",
    "HoldRefused",
    "Ledger",
    "ModelHolds",
    "OpenHold",
    "Per",
    "Reconciliation",
    "Rollup",
    "RunOutcome",
    "RunRow",
    "RunTotals",
    "Unit",
    "Verification",
    "open_ledger",
    "split",
]
