"""An entry comes back from its row as it was written."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.clock import nanoseconds
from tallystick.ledger import open_ledger
from tallystick.ledger.entry import encode_raw_usage
from tallystick.usage import INPUT_DETAILS, MAX_COUNT, OUTPUT_DETAILS, RequestFields

counts = st.none() | st.integers(-3, MAX_COUNT + 2)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.dictionaries(texts, texts, max_size=3)
moments = st.datetimes(
    datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)  # noqa: DTZ001
) | st.datetimes(
    datetime(1970, 1, 2), datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(timezone(timedelta(hours=2))),
)  # fmt: skip

SPECIAL = {
    "id": st.none(),
    "run_id": st.none(),
    "status": st.sampled_from(["settled", "released", "in_doubt"]),
    "outcome": st.sampled_from(["completed", "incomplete", "failed", "cancelled", "error"]),
    "turn": st.integers(0, 10**6),
    "started_at": moments,
    "duration": st.floats(0, 1e6),
    "modifiers": names,
    "tool_requests": st.dictionaries(texts, st.integers(0, 99), max_size=2),
    "tags": names,
    "cost_nanodollars": st.integers(0, 10**12),
    "cost_estimated": st.booleans(),
    "estimated": st.booleans(),
    "provider_cost": st.decimals(0, 1000, places=6),
    "anomalies": st.lists(texts, max_size=2),
}
fields = st.fixed_dictionaries(
    {},
    optional={
        name: SPECIAL.get(name, texts)
        for name in RequestFields.__annotations__
        if name not in {"id", "run_id", "status"}
    },
)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    status=SPECIAL["status"],
    tokens=st.tuples(counts, counts, counts),
    input_details=st.dictionaries(st.sampled_from(INPUT_DETAILS), counts),
    output_details=st.dictionaries(st.sampled_from(OUTPUT_DETAILS), counts),
    fields=fields,
    duration_ns=st.none() | st.integers(0, 10**13),
)
def test_every_field_comes_back(
    make, memory, status, tokens, input_details, output_details, fields, duration_ns
):
    ledger, run = memory
    held = make.entry(run)
    written = make.entry(
        run,
        **fields
        | {
            "id": held.id,
            "status": status,
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "total_tokens": tokens[2],
            "input_tokens_details": input_details,
            "output_tokens_details": output_details,
        },
    )
    moment = written.started_at or datetime.now(UTC)
    assert ledger.hold(held, started_ns=nanoseconds(moment) + 7).result()
    assert ledger.finish(written, duration_ns=duration_ns).result()
    read = ledger.entry(held.id)
    if written.started_at is None:
        assert read.started_at == moment
        written = written.replace(started_at=read.record["started_at"])
    if written.duration is None and duration_ns is not None:
        assert read.duration == duration_ns / 1e9
        written = written.replace(duration=read.duration)
    # `replace` computes a total anew where there was a wrong one.
    expected = {**written.record, "total_tokens": written.record["total_tokens"]}
    assert {**read.record, "total_tokens": expected["total_tokens"]} == expected
    if tokens[2] is None or 0 <= tokens[2] <= MAX_COUNT:
        assert read == written


@pytest.fixture(scope="module")
def memory():
    """One ledger with one run for all examples of a property."""
    from tallystick.clock import Clock
    from tallystick.ledger import RunRow

    with open_ledger(":memory:") as ledger:
        identity = Clock().id("run")
        run = RunRow(identity, None, identity, "trip", None, 1)
        ledger.open_run(run).result()
        yield ledger, run
        # That one is of the entries, which are made without any sense here.
        problems = ledger.verify().problems
        assert [text for text in problems if "without any count" not in text] == []


def test_a_wrong_total_stays_unknown(ledger, make):
    run = make.run(ledger)
    written = make.settle(ledger, run, total_tokens=-5)
    read = ledger.entry(written.id)
    assert read.total_tokens is None
    assert read.anomalies == ["total_tokens: -5"]
    assert read.input_tokens == 100


def test_unknown_and_zero_stay_apart(ledger, make):
    run = make.run(ledger)
    unknown = make.settle(ledger, run, input_tokens=None, output_tokens=0)
    read = ledger.entry(unknown.id)
    assert (read.input_tokens, read.output_tokens, read.total_tokens) == (None, 0, None)
    assert read.input_tokens_details.cached_tokens is None
    assert ledger.usage(run.id).unknown["input_tokens"] == 1


def test_a_provider_cost_keeps_its_digits(ledger, make):
    entry = make.settle(ledger, make.run(ledger), provider_cost=Decimal("0.00012300"))
    assert str(ledger.entry(entry.id).provider_cost) == "0.00012300"


def test_a_provider_cost_has_columns_of_its_own(ledger, make):
    make.settle(
        ledger,
        make.run(ledger),
        provider_cost=Decimal("0.00012300"),
        provider_cost_currency="credits",
    )
    columns = "SELECT provider_cost, provider_cost_currency, rest FROM adjusted_entries"
    assert ledger.query(columns) == [("0.00012300", "credits", None)]


def test_a_provider_cost_from_before_it_had_columns_is_read_all_the_same(ledger, make):
    """Entries of before have it in `rest`; a settled entry never changes."""
    entry = make.hold(ledger, make.run(ledger))
    ledger.flush()
    with contextlib.closing(sqlite3.connect(ledger.path)) as old:
        old.execute(
            "UPDATE entries SET status = 'settled', finished_at = 1, "
            'rest = \'{"provider_cost":"0.5"}\' WHERE id = ?',
            (entry.id,),
        )
        old.commit()
    assert ledger.entry(entry.id).provider_cost == Decimal("0.5")


def test_an_odd_name_does_not_cost_the_entry(ledger, make):
    """A lone surrogate cannot be written to a database, and comes out of some servers' JSON."""
    entry = make.settle(ledger, make.run(ledger), model="gpt-\ud800", tags={"a": "\udfff"})
    read = ledger.entry(entry.id)
    assert read.model == "gpt-?"
    assert read.input_tokens == 100


def test_the_raw_usage_block_comes_back(ledger, make):
    run = make.run(ledger)
    raw = {"prompt_tokens": 3, "details": {"cached": None, "tier": "default"}, "list": [1, 2.5]}
    entry = make.hold(ledger, run).replace(status="settled", input_tokens=3)
    ledger.finish(entry, raw_usage=raw).result()
    assert ledger.raw_usage(entry.id) == raw
    assert ledger.raw_usage(make.settle(ledger, run).id) is None


def test_no_text_of_a_prompt_gets_in_with_the_usage_block(ledger, make):
    secret = "the prompt " * 40
    raw = {"tokens": 3, "echo": secret, "deep": [{"x": secret}], "a" * 400: 1, "odd": object()}
    entry = make.hold(ledger, make.run(ledger)).replace(status="settled", input_tokens=3)
    assert ledger.finish(entry, raw_usage=raw).result()
    kept = ledger.raw_usage(entry.id)
    assert kept["tokens"] == 3
    assert kept["echo"] == f"<{len(secret)} characters left out>"
    assert "the prompt" not in json.dumps(kept)
    ledger.flush()
    for file in ledger.path.parent.iterdir():
        if file.is_file():
            assert b"the prompt" not in file.read_bytes()


def test_an_endless_usage_block_is_cut():
    nested: dict = {}
    nested["again"] = nested
    assert "left out" in encode_raw_usage(nested)
    assert (
        len(encode_raw_usage({str(n): {str(m): "x" * 100 for m in range(64)} for n in range(64)}))
        < 100
    )
    assert encode_raw_usage({"nan": float("nan"), "flag": True}) == '{"nan":"nan","flag":true}'
