"""The exit codes, which scripts may rely on."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the process ends with."""

    OK = 0
    DISAGREES = 1
    """`tallystick verify` found that the ledger disagrees with itself."""
    USAGE = 2
    """An option or an argument that cannot be used."""
    NO_LEDGER = 3
    """The ledger cannot be opened or read."""
    NOT_FOUND = 4
    """The ledger holds no such run."""
    CUT = 141
    """Whoever read the output went away before its end, as 128 + SIGPIPE says in a shell."""
