"""Time and ids: the only reader of the wall clock.

Everything else is given a `Clock`, so that tests and simulations decide what time it is.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FIRST, LAST = -(2**63), 2**63 - 1
"""The moments that 64 bits of nanoseconds can hold: from September 1677 to April 2262."""


class Clock:
    """The system's time and randomness. Tests give a subclass of their own."""

    def now(self) -> int:
        """Nanoseconds since 1970-01-01 UTC by the wall clock, which may jump either way."""
        return time.time_ns()

    def monotonic(self) -> int:
        """Nanoseconds by a clock that never goes back; only differences mean anything."""
        return time.monotonic_ns()

    def id(self, prefix: str) -> str:
        """Return a new globally unique id such as ``req_019aab…``, sorting by time of creation.

        48 bits of milliseconds and 80 random bits from the operating system, so that processes
        that share a ledger, forks included, never issue the same id.
        """
        return f"{prefix}_{self.now() // 1_000_000 & 0xFFFFFFFFFFFF:012x}{os.urandom(10).hex()}"


def timestamp(nanoseconds: int) -> datetime:
    """Return nanoseconds since the epoch as an aware UTC datetime, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def checked(nanoseconds: int) -> int:
    """Return a moment, in nanoseconds since the epoch, that a ledger can be asked for.

    Raises:
        ValueError: 64 bits cannot hold it.
    """
    if not FIRST <= nanoseconds <= LAST:
        raise ValueError("a moment is from 1677-09-22 to 2262-04-11; leave it out for no bound")
    return nanoseconds


def nanoseconds(moment: datetime) -> int:
    """Return an aware datetime as nanoseconds since the epoch.

    Raises:
        ValueError: `moment` has no time zone, so it names no moment.
    """
    if moment.tzinfo is None:
        raise ValueError(f"a moment needs a time zone: {moment!r}")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
