"""`Period`: from when until when, and how people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from tallystick.clock import nanoseconds
from tallystick.usage import RequestUsage

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,6})\s*([smhdw])", re.ASCII | re.IGNORECASE)

ACCEPTED = (
    "a time ago such as 30m, 24h, 7d or 2w, a date such as 2026-11-01, "
    "or a moment such as 2026-11-01T14:30 (UTC unless it names a zone)"
)
"""What `read_moment` reads, for messages and help."""


def read_moment(text: str, now: int) -> int:
    """Return the moment that `text` names, in nanoseconds since 1970-01-01 UTC.

    Args:
        text: ``30m``, ``24h``, ``7d`` or ``2w`` ago; an ISO date, its midnight; or an ISO date
            and time. Without a zone, both are UTC, as the days of providers' own reports are.
        now: the present, in the same nanoseconds.

    Raises:
        ValueError: it is none of these; the message says what is accepted.
    """
    stripped = text.strip()
    ago = _AGO.fullmatch(stripped)
    if ago is not None:
        seconds = int(ago[1]) * _SECONDS[ago[2].lower()]
        return max(now - seconds * 1_000_000_000, 0)
    # A number alone would be a year or a compact date to the ISO parser; nobody means that.
    if not stripped.isdigit():
        try:
            moment = datetime.fromisoformat(stripped)
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            return nanoseconds(moment)
        except (ValueError, OverflowError):
            pass
    raise ValueError(f"{text!r} is no moment; give {ACCEPTED}")


@dataclass(frozen=True, slots=True)
class Period:
    """From `since` on and before `until`, nanoseconds since 1970-01-01 UTC; None is open."""

    since: int | None = None
    until: int | None = None

    @classmethod
    def read(cls, since: str | None, until: str | None, now: int) -> Period:
        """Return the period between two moments as people write them.

        Raises:
            ValueError: one cannot be read, or `until` is not after `since`.
        """
        period = cls(
            None if since is None else read_moment(since, now),
            None if until is None else read_moment(until, now),
        )
        if period.since is not None and period.until is not None and period.until <= period.since:
            raise ValueError(f"the period ends ({until}) before it begins ({since})")
        return period

    def holds(self, moment: int | None) -> bool:
        """Whether a moment lies in the period; one that nobody knows does not."""
        if moment is None:
            return False
        if self.since is not None and moment < self.since:
            return False
        return self.until is None or moment < self.until


def sent_at(entry: RequestUsage) -> int | None:
    """Return when a request was sent, in nanoseconds since 1970-01-01 UTC.

    None where nobody said, or where what was said is no moment. One without a zone is UTC.
    """
    try:
        moment = entry.started_at
    except ValueError:
        return None
    if moment is None:
        return None
    return nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
