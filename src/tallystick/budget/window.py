"""Windows: the stretches of time over which a budget counts."""

from __future__ import annotations

from bisect import bisect_left
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tallystick.errors import ConfigError
from tallystick.ledger import PERIODS, Per

ALL = "all"
"""The name of the one window of a budget without end."""


class Window(NamedTuple):
    """A stretch of time: its name, its first moment, and the first moment after it."""

    name: str
    begins_at: int | None
    """Nanoseconds; None where no time bounds it."""
    ends_at: int | None


@lru_cache(maxsize=64)
def zone_named(name: str) -> tzinfo:
    """Return a time zone by its IANA name, such as ``Europe/Berlin``.

    Raises:
        ConfigError: there is no such zone.
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{name!r} is no time zone; give an IANA name such as 'Europe/Berlin' (on a system "
            "without them, pip install tzdata)"
        ) from error


def window_at(per: Per, zone: str, now: int) -> Window:
    """Return the window that a moment is in.

    Hours, days, weeks (from Monday) and months begin by the clocks of the zone, so a day in which
    they are put forward has 23 hours.

    Args:
        per: which kind of window; ``run`` has no window of time.
        zone: the time zone's name.
        now: the moment, in nanoseconds.

    Raises:
        ConfigError: there is no such zone or kind.
    """
    if per == "all":
        return Window(ALL, None, None)
    # Most requests come in the same hour as the one before.
    found = _last.get((per, zone))
    if found is not None and found.begins_at <= now < found.ends_at:  # type: ignore[operator]
        return found
    if per not in PERIODS or per == "run":
        raise ConfigError(f"{per!r} is no window of time; known are hour, day, week, month, all")
    clock = zone_named(zone)
    moment = now // _SECOND
    begins, ends = _hour(moment, clock) if per == "hour" else _days(per, moment, clock)
    name = datetime.fromtimestamp(begins, clock).isoformat(timespec="minutes")
    window = Window(name, begins * _SECOND, ends * _SECOND)
    _last[per, zone] = window
    return window


_last: dict[tuple[Per, str], Window] = {}
_SECOND = 10**9


def _hour(moment: int, zone: tzinfo) -> tuple[int, int]:
    """Return the hour by the clocks that a moment is in; where they are put in its midst, a part.

    An hour that comes twice is two hours, and one of which half comes twice (Lord Howe) is two.
    """
    clock = datetime.fromtimestamp(moment, zone)
    begins = moment - clock.minute * 60 - clock.second
    ends = begins + 3600
    if _offset(begins, zone) != clock.utcoffset():
        begins = _put(begins, moment, zone)
    if _offset(ends - 1, zone) != clock.utcoffset():
        ends = _put(moment, ends - 1, zone)
    return begins, ends


def _days(per: Per, moment: int, zone: tzinfo) -> tuple[int, int]:
    """Return the day, week or month that a moment is in."""
    first = datetime.fromtimestamp(moment, zone).date()
    if per == "week":
        first -= timedelta(days=first.weekday())
    elif per == "month":
        first = first.replace(day=1)
    following = _following(per, first)
    begins, ends = _midnight(first, zone), _midnight(following, zone)
    if moment >= ends:
        # Put back over midnight, the clocks say yesterday's date when today has begun.
        return ends, _midnight(_following(per, following), zone)
    return begins, ends


def _following(per: Per, first: date) -> date:
    if per == "month":
        return (first + timedelta(days=31)).replace(day=1)
    return first + timedelta(days=7 if per == "week" else 1)


def _midnight(day: date, zone: tzinfo) -> int:
    """Return when a day begins: its first midnight, or where there is none, what comes instead."""
    midnight = datetime.combine(day, time(), zone)
    first, second = (int(midnight.replace(fold=fold).timestamp()) for fold in (0, 1))
    # Of a time that the clocks leave out, the fold that is read by the clocks after comes first.
    return _put(second, first, zone) if second < first else first


def _put(before: int, after: int, zone: tzinfo) -> int:
    """Return the first second at which the clocks are as they are at `after`, not at `before`."""
    old = _offset(before, zone)
    seconds = range(before, after + 1)
    return seconds[bisect_left(seconds, 1, key=lambda second: _offset(second, zone) != old)]


def _offset(moment: int, zone: tzinfo) -> timedelta | None:
    return datetime.fromtimestamp(moment, zone).utcoffset()
