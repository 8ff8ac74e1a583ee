"""Usage by what requests have in common."""

import pytest

from tallystick.report.grouping import Key, column_names, group, read_keys, suggestion


def keys_of(report):
    return [row.key for row in report.rows]


def test_a_name_that_is_no_key_is_a_tag():
    assert read_keys("model, feature,tag:day,day") == (
        Key("model"),
        Key("feature", is_tag=True),
        Key("day", is_tag=True),
        Key("day"),
    )
    assert column_names(read_keys("feature,tag:day,day")) == ("feature", "tag:day", "day")


@pytest.mark.parametrize("text", ["", "model,", ",", "tag:", "model,model"])
def test_a_list_with_an_empty_or_repeated_name_is_refused(text):
    with pytest.raises(ValueError, match=r"lacks a name|twice"):
        read_keys(text)


def test_the_dearest_group_comes_first_then_the_one_of_most_tokens(entry):
    report = group(
        [
            entry(model="cheap"),
            entry(model="local-small", cost_nanodollars=None, input_tokens=5),
            entry(model="local-large", cost_nanodollars=None, input_tokens=900),
            entry(model="dear", cost_nanodollars=90_000),
        ],
        read_keys("model"),
    )
    assert keys_of(report) == [("dear",), ("cheap",), ("local-large",), ("local-small",)]
    assert (report.total.requests, report.total.cost_unpriced) == (4, 2)


def test_groups_of_several_keys_add_up_to_the_total(entry):
    entries = [
        entry(agent=agent, customer=customer, tags={"feature": feature})
        for agent in ("Triage", "Billing", None)
        for customer in ("acme", None)
        for feature in ("search", "chat", "chat")
    ]
    report = group(iter(entries), read_keys("agent,customer,feature"))
    assert len(report.rows) == 12
    assert report.total.requests == sum(row.totals.requests for row in report.rows) == 18
    assert (None, None, "chat") in keys_of(report)


def test_days_and_hours_are_utc_and_come_in_order(entry):
    entries = [
        entry(started_at="2026-11-02T00:30:00+01:00", cost_nanodollars=1),
        entry(started_at="2026-11-01T22:59:59+00:00", cost_nanodollars=2),
        entry(started_at="2026-11-02T07:00:00", cost_nanodollars=9),
        entry(started_at=None),
    ]
    assert keys_of(group(entries, read_keys("day"))) == [("2026-11-01",), ("2026-11-02",), (None,)]
    assert keys_of(group(entries, read_keys("hour"))) == [
        ("2026-11-01 22:00",),
        ("2026-11-01 23:00",),
        ("2026-11-02 07:00",),
        (None,),
    ]


def test_turns_are_numbers(entry):
    entries = [entry(turn=turn, cost_nanodollars=1) for turn in (10, 9, None)]
    assert keys_of(group(entries, read_keys("turn"))) == [(9,), (10,), (None,)]


def test_what_was_never_sent_has_a_row_only_where_the_status_tells_it_apart(entry):
    entries = [entry(), entry(status="released", model="other"), entry(status="held", model="out")]
    by_model = group(entries, read_keys("model"))
    assert keys_of(by_model) == [("gpt-5-mini",), ("out",)]
    assert (by_model.total.requests, by_model.total.held, by_model.total.released) == (1, 1, 1)
    assert len(group(entries, read_keys("status")).rows) == 3


def test_a_run_is_named_by_the_run_at_its_top(entry):
    entries = [entry(run_id="run_a"), entry(run_id="run_b"), entry(run_id="run_lost")]
    names = {"run_a": "desk", "run_b": "desk"}
    assert keys_of(group(entries, read_keys("run"), names)) == [("desk",), (None,)]


def test_a_tag_that_no_request_has_is_named_with_what_may_have_been_meant(entry):
    report = group([entry(tags={"feature": "chat"})], read_keys("modle,feature"))
    assert report.absent_tags == ("modle",)
    assert suggestion("modle") == "model"
    assert suggestion("flavour") is None


def test_a_report_of_nothing_is_empty_and_blames_no_tag():
    report = group([], read_keys("flavour"))
    assert report.to_dict()["rows"] == []
    assert report.absent_tags == ()
