"""Tallystick, the usage ledger for agent runs.

::

    tally = tallystick.open()
    tally.track("openai-agents")

Everything here is imported when it is first used, so that importing the package costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tallystick.attribution import Attribution as Attribution
    from tallystick.budget.limit import Budget as Budget
    from tallystick.clock import Clock as Clock
    from tallystick.errors import BudgetExceeded as BudgetExceeded
    from tallystick.errors import BudgetRefused as BudgetRefused
    from tallystick.errors import BudgetUncertain as BudgetUncertain
    from tallystick.errors import ConfigError as ConfigError
    from tallystick.errors import HostError as HostError
    from tallystick.errors import LedgerError as LedgerError
    from tallystick.errors import LedgerTooNew as LedgerTooNew
    from tallystick.errors import LedgerUnavailable as LedgerUnavailable
    from tallystick.errors import NotALedger as NotALedger
    from tallystick.errors import NotFound as NotFound
    from tallystick.errors import TallystickError as TallystickError
    from tallystick.money import Cost as Cost
    from tallystick.request import Request as Request
    from tallystick.run import Run as Run
    from tallystick.run import attribute as attribute
    from tallystick.run import current_run as current_run
    from tallystick.tally import Tally as Tally
    from tallystick.tally import open as open  # noqa: A004 - as `gzip.open` does
    from tallystick.usage import InputTokensDetails as InputTokensDetails
    from tallystick.usage import OutputTokensDetails as OutputTokensDetails
    from tallystick.usage import RequestUsage as RequestUsage
    from tallystick.usage import Usage as Usage

__version__ = "0.1.0"

_HOMES = {
    "Attribution": "attribution",
    "Budget": "budget.limit",
    "BudgetExceeded": "errors",
    "BudgetRefused": "errors",
    "BudgetUncertain": "errors",
    "Clock": "clock",
    "ConfigError": "errors",
    "Cost": "money",
    "HostError": "errors",
    "InputTokensDetails": "usage",
    "LedgerError": "errors",
    "LedgerTooNew": "errors",
    "LedgerUnavailable": "errors",
    "NotALedger": "errors",
    "NotFound": "errors",
    "OutputTokensDetails": "usage",
    "Request": "request",
    "RequestUsage": "usage",
    "Run": "run",
    "Tally": "tally",
    "TallystickError": "errors",
    "Usage": "usage",
    "attribute": "run",
    "current_run": "run",
    "open": "tally",
}

__all__ = [*_HOMES, "__version__"]  # noqa: PLE0604 - the names are the keys above


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tallystick' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tallystick.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
