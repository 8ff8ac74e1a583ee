"""A report from the hourly rollups equals the report from the entries (I6)."""

import itertools
import random
from dataclasses import dataclass

import pytest

from tallystick.clock import Clock, timestamp
from tallystick.ledger import (
    ROLLUP_KEYS,
    Adjustment,
    Ledger,
    RunRow,
    open_ledger,
    split,
)
from tallystick.report import (
    Period,
    entries_within,
    group,
    read_keys,
    top_run_names,
    usage_within,
)
from tallystick.report.period import sent_at
from tallystick.usage import RequestUsage

HOUR = 3_600_000_000_000
START = 1_795_000_000_000_000_000 // (24 * HOUR) * 24 * HOUR
HOURS = 30


@dataclass
class Random:
    """Does random things to a ledger: every status, every price, and changes of both."""

    ledger: Ledger
    seed: int

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.clock = Clock()
        self.run = RunRow(run := self.clock.id("run"), None, run, "trip", None, START)
        self.ledger.open_run(self.run).result()
        self.doubtful = []

    def names(self):
        choose = self.random.choice
        return {
            "model": choose(["gpt-5", "gpt-5-mini", "", None]),
            "provider": choose(["openai", None]),
            "agent": choose(["Triage", "", None]),
            "customer": choose(["acme", None]),
            "user": choose(["u1", None]),
            "project": choose(["p", None, None]),
            "service_tier": choose(["flex", None, None]),
            "tags": {"team": "red"} if self.random.random() < 0.2 else {},
        }

    def counts(self):
        some = self.random.choice
        return {
            "input_tokens": some([None, 0, 70, 1000]),
            "output_tokens": some([None, 0, 9, 400]),
            "input_tokens_details": some([{}, {"cached_tokens": 7}, {"cache_write_tokens": 3}]),
            "output_tokens_details": some([{}, {"reasoning_tokens": 2}]),
            "estimated": some([True, False]),
            "cost_nanodollars": some([None, 0, 45_000, 7]),
            "cost_estimated": some([True, False]),
            "outcome": "completed",
        }

    def request(self):
        sent = START + self.random.randrange(HOURS * HOUR)
        entry = RequestUsage(
            id=self.clock.id("req"),
            run_id=self.run.id,
            status="held",
            started_at=timestamp(sent),
            **self.names(),
        )
        self.ledger.hold(entry, started_ns=sent).result()
        status = self.random.choice(["settled"] * 6 + ["in_doubt"] * 4 + ["released", "held"])
        if status == "held":
            return
        ended = entry.replace(status=status, **self.counts(), **self.names())
        self.ledger.finish(ended).result()
        if status != "released":
            self.reprice(ended)
        if status == "in_doubt" and self.random.random() < 0.5:
            status = self.random.choice(["settled", "released"])
            ended = ended.replace(status=status, **self.counts(), **self.names())
            self.ledger.finish(ended).result()
            if status == "settled":
                self.reprice(ended)

    def reprice(self, entry):
        """Make from none to three prices for an entry later."""
        for batch in range(self.random.choice([0, 0, 1, 3])):
            amount = self.random.choice([None, 0, 80_000, 45_000])
            made = Adjustment(
                entry.id,
                entry.status,
                "book",
                "rule",
                None,
                amount,
                self.random.random() < 0.5,
                f"{entry.status}-{batch}",
                5,
            )
            self.ledger.adjust([made]).result()


def scanned(ledger, period, keys):
    """The same report from every entry, read without a look at the rollups."""
    (run,) = ledger.runs()
    entries = [
        entry for entry in ledger.entries(run.id, adjusted=True) if period.holds(sent_at(entry))
    ]
    found = entries_within(ledger, period)
    assert {entry.id for entry in entries} == {entry.id for entry in found}
    made = {(found.entry_id, found.status) for found in ledger.adjustments()}
    repriced = sum((entry.id, entry.status) in made for entry in entries)
    return group(entries, keys, top_run_names(ledger), repriced=repriced)


PERIODS = [
    Period(),
    Period(START + 3 * HOUR, START + 20 * HOUR),
    Period(START + 3 * HOUR + 1, START + 20 * HOUR - 1),
    Period(since=START + 5 * HOUR + HOUR // 2),
    Period(until=START + 5 * HOUR + HOUR // 3),
    Period(START + 4 * HOUR + 9, START + 5 * HOUR - 9),
    Period(START + 4 * HOUR + HOUR // 2, START + 5 * HOUR + HOUR // 2),
    Period(START + 900 * HOUR, START + 901 * HOUR),
]

BY = [
    *ROLLUP_KEYS,
    "model,agent,customer",
    "day,model",
    "hour,user,project",
    "provider,hour,day,service_tier",
    "model,team",
    "status,model",
    "run,hour",
    "session,turn,outcome",
]


@pytest.mark.parametrize("seed", range(3))
def test_a_report_by_rollups_equals_the_report_by_a_full_scan(seed):
    """Over every status, unknown counts and prices, prices made later, and any period."""
    with open_ledger(":memory:") as ledger:
        written = Random(ledger, seed)
        for _ in range(250):
            written.request()
        for period, by in itertools.product(PERIODS, BY):
            keys = read_keys(by)
            value = usage_within(ledger, period, keys)
            assert value.to_dict() == scanned(ledger, period, keys).to_dict(), (period, by)
        assert ledger.repriced_between() == usage_within(ledger, Period(), keys).repriced > 9
        assert ledger.verify().problems == ()


@pytest.fixture
def ledger():
    with open_ledger(":memory:") as opened:
        yield opened


def test_a_report_of_whole_hours_reads_no_entry(ledger, monkeypatch):
    """So it takes as long as its answer is, and not as long as the ledger."""
    written = Random(ledger, 1)
    for _ in range(20):
        written.request()
    expected = usage_within(ledger, Period(), read_keys("session,model"))
    read = []
    between = Ledger.entries_between
    monkeypatch.setattr(
        Ledger,
        "entries_between",
        lambda *given, **more: (read.append(given[1:]), between(*given, **more))[1],
    )
    whole = Period(START, START + HOURS * HOUR)
    assert usage_within(ledger, whole, read_keys("day,model")).total.to_dict() == (
        expected.total.to_dict()
    )
    assert read == []
    inside = Period(START + 5, START + HOURS * HOUR + 7)
    usage_within(ledger, inside, read_keys("day,model"))
    assert read == [
        (START + 5, START + HOUR),
        (START + HOURS * HOUR, START + HOURS * HOUR + 7),
    ]


@pytest.mark.parametrize(
    ("period", "whole", "edges"),
    [
        ((None, None), (None, None), []),
        ((HOUR, 2 * HOUR), (HOUR, 2 * HOUR), []),
        ((1, None), (HOUR, None), [(1, HOUR)]),
        ((None, 1), (None, 0), [(0, 1)]),
        ((1, 2), None, [(1, 2)]),
        ((1, HOUR + 1), None, [(1, HOUR + 1)]),
        ((-1, HOUR), (0, HOUR), [(-1, 0)]),
    ],
)
def test_a_period_is_its_whole_hours_and_what_is_left_at_its_ends(period, whole, edges):
    assert split(*period) == (whole, edges)


def test_rollups_refuse_a_bound_inside_an_hour_and_a_key_that_they_do_not_know(ledger):
    with pytest.raises(ValueError, match="lies inside one"):
        ledger.rollups(["model"], since=HOUR + 1)
    with pytest.raises(ValueError, match="do not know 'session'"):
        ledger.rollups(["session"])
    (nothing,) = ledger.rollups()
    assert (nothing.key, nothing.requests, nothing.held) == ((), 0, 0)


def test_rollups_count_what_is_out_and_what_was_sent_before_1970(ledger, run, entry):
    """A clock may be wrong; its hours are whole all the same."""
    ledger.open_run(run()).result()
    for name, sent in (("a", -1), ("b", -HOUR), ("c", -HOUR - 1), ("d", 0)):
        held = entry(id=name, status="held", started_at=timestamp(sent))
        ledger.hold(held, started_ns=sent).result()
        if name != "a":
            ledger.finish(held.replace(status="settled")).result()
    found = {rollup.key: (rollup.requests, rollup.held) for rollup in ledger.rollups(["hour"])}
    assert found == {(-2 * HOUR,): (1, 0), (-HOUR,): (1, 1), (0,): (1, 0)}
    assert [rollup.key for rollup in ledger.rollups(["day"])] == [(-24 * HOUR,), (0,)]
    assert [kept.id for kept in ledger.entries_between(-HOUR, 0)] == ["a", "b"]
