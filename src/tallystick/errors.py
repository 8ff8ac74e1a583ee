"""Every error that Tallystick raises.

::

    TallystickError
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


class TallystickError(Exception):
    """The base of every error that Tallystick raises on purpose."""


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
