"""Windows: they tile time, by the clocks of a zone."""

from __future__ import annotations

from bisect import bisect
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from tallystick import ConfigError
from tallystick.budget import window
from tallystick.budget.window import window_at
from tallystick.clock import nanoseconds, timestamp

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",  # until 2011 the clocks were put at a minute past midnight
    "America/Santiago",  # they are put at midnight, which then does not come
    "America/Havana",  # midnight comes twice
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # they are put by half an hour
    "Pacific/Apia",  # the 30th of December 2011 was left out
    "Africa/Casablanca",
]
PERIODS = ["hour", "day", "week", "month"]
SECOND = 10**9
HOUR = 3600 * SECOND


def at(text, zone="UTC", fold=0):
    return nanoseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold))


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    window._last.clear()


moments = some.integers(at("1985-01-01"), at("2080-01-01"))


def near_changes():
    """Moments within two hours of when the clocks of a zone are put."""

    def offset(zone, moment):
        return timestamp(moment).astimezone(ZoneInfo(zone)).utcoffset()

    def changes(zone):
        for day in range(at("2003-01-01"), at("2013-01-01"), 24 * HOUR):
            minutes = range(day, day + 24 * HOUR, 60 * SECOND)
            if (before := offset(zone, day)) != offset(zone, day + 24 * HOUR):
                put = bisect(minutes, False, key=lambda each: offset(zone, each) != before)
                yield day + put * 60 * SECOND

    found = {zone: changed for zone in ZONES if (changed := list(changes(zone)))}
    assert len(found) == len(ZONES) - 2  # all but UTC and Kolkata
    return some.sampled_from(sorted(found)).flatmap(
        lambda zone: some.tuples(
            some.just(zone),
            some.sampled_from(found[zone]).flatmap(
                lambda moment: some.integers(moment - 2 * HOUR, moment + 2 * HOUR)
            ),
        )
    )


def tiles(per, zone, moment):
    found = window_at(per, zone, moment)
    assert found.begins_at <= moment < found.ends_at
    for inside in (found.begins_at, found.ends_at - 1):
        window._last.clear()
        assert window_at(per, zone, inside) == found
    window._last.clear()
    before = window_at(per, zone, found.begins_at - 1)
    window._last.clear()
    after = window_at(per, zone, found.ends_at)
    assert before.ends_at == found.begins_at
    assert found.ends_at == after.begins_at
    assert len({before.name, found.name, after.name}) == 3
    return found


@given(per=some.sampled_from(PERIODS), zone=some.sampled_from(ZONES), moment=moments)
@example("day", "America/St_Johns", at("2005-10-30 23:30", "America/St_Johns", fold=1))
@example("hour", "Australia/Lord_Howe", at("2026-04-05 01:45", "Australia/Lord_Howe", fold=1))
@example("day", "Pacific/Apia", at("2011-12-29 12:00", "Pacific/Apia"))
def test_windows_tile_time_without_gap_or_overlap(per, zone, moment):
    tiles(per, zone, moment)


@given(per=some.sampled_from(PERIODS), where=near_changes())
def test_they_do_so_too_around_the_days_on_which_clocks_are_put(per, where):
    zone, moment = where
    found = tiles(per, zone, moment)
    longest = {"hour": 1, "day": 25, "week": 7 * 24 + 1, "month": 31 * 24 + 1}[per]
    assert 0 < found.ends_at - found.begins_at <= longest * HOUR


@given(zone=some.sampled_from(ZONES), moment=moments)
def test_what_is_remembered_is_what_would_be_worked_out(zone, moment):
    first = window_at("day", zone, moment)
    assert window_at("day", zone, first.ends_at - 1) == first
    assert window_at("day", zone, first.ends_at) != first


@pytest.mark.parametrize(
    ("per", "zone", "moment", "begins", "ends"),
    [
        ("hour", "Asia/Kolkata", "2026-11-22T10:45", "2026-11-22T10:30", "2026-11-22T11:30"),
        ("day", "Asia/Kolkata", "2026-11-22T18:30", "2026-11-22T18:30", "2026-11-23T18:30"),
        ("day", "Europe/Berlin", "2026-03-29T12:00", "2026-03-28T23:00", "2026-03-29T22:00"),
        ("day", "Europe/Berlin", "2026-10-25T12:00", "2026-10-24T22:00", "2026-10-25T23:00"),
        ("week", "UTC", "2026-11-22T23:59", "2026-11-16T00:00", "2026-11-23T00:00"),
        ("month", "UTC", "2028-02-29T23:59", "2028-02-01T00:00", "2028-03-01T00:00"),
        ("month", "UTC", "2026-12-31T23:59", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("month", "Europe/Berlin", "2026-03-31T22:30", "2026-03-31T22:00", "2026-04-30T22:00"),
        ("month", "America/New_York", "2026-01-31T12:00", "2026-01-01T05:00", "2026-02-01T05:00"),
    ],
)
def test_a_window_is_by_the_clocks_of_its_zone(per, zone, moment, begins, ends):
    found = window_at(per, zone, at(moment))
    assert (found.begins_at, found.ends_at) == (at(begins), at(ends))


def test_an_hour_that_comes_twice_is_two_hours():
    first, second = (
        window_at("hour", "Europe/Berlin", at("2026-10-25T02:30", "Europe/Berlin", fold))
        for fold in (0, 1)
    )
    assert first.ends_at == second.begins_at
    assert (first.name, second.name) == ("2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00")


def test_half_an_hour_that_comes_twice_is_a_window_of_its_own():
    found = window_at("hour", "Australia/Lord_Howe", at("2026-04-04T15:15"))
    assert timestamp(found.begins_at) == datetime(2026, 4, 4, 15, 0, tzinfo=UTC)
    assert timestamp(found.ends_at) == datetime(2026, 4, 4, 15, 30, tzinfo=UTC)


def test_a_day_without_a_midnight_begins_when_the_clocks_are_put():
    found = window_at("day", "America/Santiago", at("2026-09-06T12:00"))
    assert found.name == "2026-09-06T01:00-03:00"


def test_all_time_has_one_window_and_a_run_none_of_time():
    assert window_at("all", "UTC", 0) == ("all", None, None)
    with pytest.raises(ConfigError, match="no window of time"):
        window_at("run", "UTC", 0)


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "/etc/passwd", "Europe"])
def test_what_is_no_zone_is_named(name):
    with pytest.raises(ConfigError, match="no time zone"):
        window_at("day", name, 0)
