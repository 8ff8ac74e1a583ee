"""Every error that Tallystick raises.

::

    TallystickError
    ├── BudgetRefused           a request that a budget did not let leave
    │   ├── BudgetExceeded      it does not fit
    │   └── BudgetUncertain     whether it fits cannot be known
    ├── ConfigError             a tallystick.toml or an argument that cannot be used
    ├── HostError               a host or client that cannot be tracked
    └── LedgerError             the ledger cannot do what was asked
        ├── LedgerUnavailable   it cannot be opened, read or written
        ├── LedgerTooNew        it was written by a newer Tallystick
        ├── NotALedger          the file is something else
        └── NotFound            it holds no such run or entry

A message says what happened, where, and what to do about it.
"""

from __future__ import annotations

from typing import Any


class TallystickError(Exception):
    """The base of every error that Tallystick raises on purpose."""


class BudgetRefused(TallystickError):  # noqa: N818 - reads as what it says
    """A request that a budget did not let leave. It was never sent, and costs nothing.

    `usage` is what the run had used when it was refused, and `budget` the budget's name.
    """

    def __init__(
        self, message: str, *, budget: str | None = None, usage: Any = None, setting: str = ""
    ) -> None:
        super().__init__(message)
        self.budget = budget
        self.usage = usage
        self.setting = setting
        """What can be changed to let it pass; empty where that is the limit itself."""


class BudgetExceeded(BudgetRefused):
    """A request does not fit into a budget."""

    def __init__(
        self,
        message: str,
        *,
        budget: str | None = None,
        usage: Any = None,
        unit: str = "usd",
        limit: Any = None,
        spent: Any = None,
        held: Any = None,
        asked: Any = None,
    ) -> None:
        super().__init__(message, budget=budget, usage=usage)
        self.unit = unit
        """``usd``, ``tokens`` or ``requests``: what the amounts are in; USD as a Decimal."""
        self.limit = limit
        self.spent = spent
        self.held = held
        """By requests that are out, or whose outcome is not known."""
        self.asked = asked
        """The least that the request would have needed."""


class BudgetUncertain(BudgetRefused):
    """Whether a request fits cannot be known, so a hard budget refuses it.

    It has no price, its input has no bound, or the ledger cannot be written. `setting` says what
    lets it pass.
    """


class ConfigError(TallystickError):
    """A configuration file or an argument that cannot be used."""


class HostError(TallystickError):
    """A host or a client that Tallystick does not know how to track."""


class LedgerError(TallystickError):
    """The ledger cannot do what was asked of it."""


class LedgerUnavailable(LedgerError):  # noqa: N818 - reads as what it says, like its siblings
    """The ledger cannot be opened, read or written: a missing folder, a read-only or full disk."""


class LedgerTooNew(LedgerError):  # noqa: N818
    """The ledger was written by a newer version of Tallystick than this one."""


class NotALedger(LedgerError):  # noqa: N818
    """The file exists and is no Tallystick ledger; it is left as it was."""


class NotFound(LedgerError):  # noqa: N818
    """The ledger holds no run or entry of that name."""
