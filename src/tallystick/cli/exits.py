"""The exit codes, which scripts may rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the process ends with."""

    OK = 0
    DISAGREES = 1
    """Figures disagree: those of the ledger with each other, or the demo's with the server's."""
    UNPRICED = 1
    """The request has no price."""
    FAILED = 1
    """Anything else that could not be done."""
    USAGE = 2
    """An option or an argument that cannot be used."""
    NO_LEDGER = 3
    """The ledger cannot be opened or read; or the demo lacks a package."""
    NOT_FOUND = 4
    """The ledger holds no such run or budget."""
    CUT = 141
    """Whoever read the output went away before its end, as 128 + SIGPIPE says in a shell."""
