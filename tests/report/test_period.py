"""How people write moments."""

import pytest

from tallystick.report.period import Period, read_moment, sent_at
from tallystick.usage import RequestUsage

NOW = 1_795_000_000_000_000_000
SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1_800),
        ("24h", 86_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        (" 7 D", 604_800),
    ],
)
def test_a_time_ago_is_counted_back_from_now(text, seconds):
    assert read_moment(text, NOW) == NOW - seconds * SECOND


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02", 86_400),
        ("1970-01-01T01:00", 3_600),
        ("1970-01-01 01:00:30", 3_630),
        ("1970-01-01T01:00+01:00", 0),
        ("1970-01-01T01:00Z", 3_600),
    ],
)
def test_a_date_or_moment_without_a_zone_is_utc(text, seconds):
    assert read_moment(text, NOW) == seconds * SECOND


def test_longer_ago_than_1970_is_1970():
    assert read_moment("999999w", NOW) == 0


@pytest.mark.parametrize(
    "text", ["", "yesterday", "7", "7x", "-7d", "2026", "20261101", "2026-13-01"]
)
def test_what_is_no_moment_is_refused_with_what_is_accepted(text):
    with pytest.raises(ValueError, match=r"7d .* 2026-11-01"):
        read_moment(text, NOW)


def test_a_period_holds_its_beginning_and_not_its_end():
    period = Period.read("1970-01-02", "1970-01-03", NOW)
    day = 86_400 * SECOND
    assert [period.holds(moment) for moment in (day - 1, day, 2 * day - 1, 2 * day, None)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert Period().holds(0)


def test_a_period_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match="ends"):
        Period.read("1d", "2d", NOW)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("soon", None),
        ("1970-01-01T00:00:01", SECOND),
        ("1970-01-01T01:00:01+01:00", SECOND),
    ],
)
def test_when_a_request_was_sent_is_unknown_rather_than_an_error(text, expected):
    assert sent_at(RequestUsage(started_at=text)) == expected
