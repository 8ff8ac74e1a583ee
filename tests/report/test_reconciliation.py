"""Requests in doubt are settled by what providers billed, exactly, or not at all."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.clock import Clock, timestamp
from tallystick.errors import ConfigError
from tallystick.ledger import Amounts, open_ledger
from tallystick.pricing import Book, Prices
from tallystick.report.exported import plan_exports, span_of
from tallystick.report.exports import PARTS, read_export
from tallystick.report.reconciliation import (
    BY_HAND,
    Left,
    Settlement,
    as_estimated,
    as_held,
    by_counts,
    never_sent,
    of_each,
    settle,
)
from tallystick.report.remainder import Scope
from tallystick.report.sharing import allocate, share_out

DAY = 1_762_473_600
"""2025-11-07 00:00 UTC, in seconds."""

LATER = (DAY + 20 * 86_400) * 10**9

MODEL = "gpt-5-mini-2025-08-07"


def prices():
    """A book with rates of 1 and 10 USD for a million tokens in and out, 0.1 for cached ones."""
    rates = {"input_mtok": "1", "cache_read_mtok": "0.1", "output_mtok": "10"}
    match = ["or", [["equals", name] for name in ("gpt-5-mini", MODEL, "claude")]]
    model = {"id": "gpt-5-mini", "match": match, "prices": [[None, rates]]}
    providers = [
        {"id": name, "fallback": [], "models": [model]} for name in ("openai", "anthropic")
    ]
    return Prices(None, Book({"format": 1, "providers": providers}))


PRICES = prices()


@pytest.fixture
def make(entry):
    """Make a request of the day of the exports, so many seconds in, settled or in doubt."""
    number = 0

    def one(at, *, status="settled", cached=0, **fields):
        nonlocal number
        number += 1
        doubtful = status == "in_doubt"
        known = {
            "id": f"req_{number}",
            "provider": "openai",
            "model": "gpt-5-mini" if doubtful else MODEL,
            "status": status,
            "started_at": timestamp((DAY + at) * 10**9),
            "estimated": doubtful,
            "input_tokens_details": None if doubtful else {"cached_tokens": cached},
            "output_tokens_details": None,
            **fields,
        }
        return entry(0, **known)

    return one


def result(requests, sent, received, cached=0, model=MODEL, **fields):
    return {
        "object": "organization.usage.completions.result",
        "input_tokens": sent,
        "output_tokens": received,
        "input_cached_tokens": cached,
        "num_model_requests": requests,
        "model": model,
        "project_id": None,
        **fields,
    }


def page(*days):
    """One page of OpenAI's usage: the results of each day, from the first on."""
    return {
        "object": "page",
        "data": [
            {
                "object": "bucket",
                "start_time": DAY + number * 86_400,
                "end_time": DAY + (number + 1) * 86_400,
                "results": list(results),
            }
            for number, results in enumerate(days)
        ],
        "has_more": False,
    }


@pytest.fixture
def export(tmp_path):
    """Write an export and read it."""

    def write(content, name="usage.json"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return read_export(tmp_path / name)

    return write


def plan(exports, entries, held=None, **scope):
    known = {"exclusive": True, "taken_at": LATER, **scope}
    doubtful = [entry for entry in entries if entry.status == "in_doubt"]
    exports = exports if isinstance(exports, list) else [exports]
    return plan_exports(exports, doubtful, entries, held or {}, PRICES, Scope(**known))


def after(found):
    return {one.before.id: one.after for one in found.settlements}


def reasons(found):
    assert found.settlements == []
    assert found.left
    return " | ".join(left.reason for left in found.left)


# Sharing out


@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.none() | st.integers(0, 10_000)),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 10**9),
)
def test_shares_add_up_to_the_total_and_stay_within_their_most(rows, total):
    weights = [weight for weight, _ in rows]
    most = [limit for _, limit in rows]
    shares = allocate(total, weights, most)
    assert sum(shares) == total
    assert min(shares) >= 0
    enough = None in most or sum(limit for limit in most if limit is not None) >= total
    for share, limit in zip(shares, most, strict=True):
        assert limit is None or (share <= limit if enough else share >= limit)


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 5_000),
            st.none() | st.integers(0, 5_000),
            st.none() | st.integers(0, 20_000),
        ),
        min_size=1,
        max_size=8,
    ),
    st.tuples(*(st.integers(0, 10**6) for _ in range(6))),
)
def test_counts_and_their_parts_add_up_and_parts_stay_within_their_input(rows, totals):
    fresh, received, *parts = totals
    over = {"input_tokens": fresh + sum(parts), "output_tokens": received}
    over |= dict(zip(PARTS, parts, strict=True))
    inputs, outputs, holds = (list(column) for column in zip(*rows, strict=True))
    shares = share_out(over, {"input_tokens": inputs, "output_tokens": outputs}, holds)
    for name, total in over.items():
        assert sum(share[name] for share in shares) == total
    for share in shares:
        assert min(share.values()) >= 0
        assert sum(share[part] for part in PARTS) <= share["input_tokens"]


def test_shares_are_in_proportion_to_the_weights_and_equal_without():
    assert allocate(10, [3, 1], [None, None]) == [8, 2]
    assert allocate(5, [0, 0], [None, None]) == [3, 2]
    assert allocate(10, [3, 1], [6, None]) == [6, 4]
    assert allocate(12, [3, 1], [6, 2]) == [9, 3]


# What is left over of a bucket


def test_what_was_billed_less_what_is_settled_is_of_the_one_in_doubt(make, export):
    entries = [make(0), make(60, cached=20), make(90, status="in_doubt", input_tokens=1)]
    found = plan(export(page([result(3, 1_200, 90, cached=50)])), entries)
    (one,) = found.settlements
    assert found.left == []
    assert (one.after.input_tokens, one.after.output_tokens) == (1_000, 70)
    assert one.after.input_tokens_details.cached_tokens == 30
    assert one.after.estimated is False
    assert one.after.cost_nanodollars == 970 * 1_000 + 30 * 100 + 70 * 10_000
    assert one.after.cost_estimated is False
    assert one.after.price_reason is None
    assert (one.after.id, one.after.agent, one.after.outcome) == ("req_3", "Triage", "completed")
    assert one.source == "usage.json"
    assert "usage.json: data[0]: results[0], 2025-11-07 00:00" in one.detail
    assert "1000 in and 70 out are left over" in one.detail


def test_several_in_doubt_share_the_rest_by_their_estimates_and_stay_estimates(make, export):
    entries = [
        make(0),
        make(30, status="in_doubt", input_tokens=100, output_tokens=10),
        make(60, status="in_doubt", input_tokens=300, output_tokens=90),
    ]
    found = plan(export(page([result(3, 1_101, 111)])), entries)
    shares = after(found)
    assert [one.input_tokens for one in shares.values()] == [250, 751]
    assert [one.output_tokens for one in shares.values()] == [10, 91]
    assert all(one.estimated and one.cost_estimated for one in shares.values())
    assert "shared out between 2" in found.settlements[0].detail


def test_an_entry_gets_no_more_than_it_holds_unless_the_total_requires_it(make, export):
    entries = [
        make(30, status="in_doubt", input_tokens=100, output_tokens=0),
        make(60, status="in_doubt", input_tokens=100, output_tokens=0),
    ]
    held = {"req_1": Amounts(None, 150, 1), "req_2": Amounts(None, 900, 1)}
    shares = after(plan(export(page([result(2, 800, 40)])), entries, held))
    assert [one.input_tokens for one in shares.values()] == [150, 650]
    assert [one.output_tokens for one in shares.values()] == [0, 40]
    more = after(plan(export(page([result(2, 2_000, 0)])), entries, held))
    assert sum(one.input_tokens for one in more.values()) == 2_000
    assert all(
        one.input_tokens >= hold.tokens
        for one, hold in zip(more.values(), held.values(), strict=True)
    )


def test_where_nothing_is_left_over_they_were_not_billed(make, export):
    entries = [make(0), make(60, status="in_doubt"), make(70, status="in_doubt")]
    found = plan(export(page([result(1, 100, 10)])), entries)
    for one in found.settlements:
        assert (one.after.status, one.after.total_tokens) == ("settled", 0)
        assert (one.after.cost_nanodollars, one.after.estimated) == (0, False)
        assert one.after.price_rule == "the provider billed nothing for it"
        assert "nothing is left over" in one.detail
    assert len(found.settlements) == 2


def test_fewer_billed_than_in_doubt_share_what_was_billed(make, export):
    entries = [make(60, status="in_doubt"), make(70, status="in_doubt")]
    shares = after(plan(export(page([result(1, 101, 9)])), entries))
    assert sum(one.input_tokens for one in shares.values()) == 101
    assert sum(one.output_tokens for one in shares.values()) == 9


def test_a_day_without_a_result_billed_nothing_of_a_model_that_the_export_names(make, export):
    entries = [make(0), make(86_400 * 2 + 50_000, status="in_doubt")]
    found = plan(export(page([result(1, 100, 10)], [], [])), entries)
    assert [one.after.total_tokens for one in found.settlements] == [0]


def test_refused_requests_are_no_billed_requests(make, export):
    refused = make(5, input_tokens=0, output_tokens=0, outcome="error", error_type="429")
    entries = [refused, make(60, status="in_doubt")]
    assert after(plan(export(page([result(1, 500, 5)])), entries))["req_2"].input_tokens == 500


def test_batches_are_left_out_and_tiers_are_added_up(make, export):
    rows = [result(1, 100, 10, batch=False, service_tier="default"),
            result(1, 50, 5, service_tier="flex"), result(7, 9_000, 900, batch=True)]  # fmt: skip
    entries = [make(0), make(60, status="in_doubt")]
    found = after(plan(export(page(rows)), entries))
    assert (found["req_2"].input_tokens, found["req_2"].output_tokens) == (50, 5)


def test_buckets_that_a_request_reaches_across_are_one(make, export):
    entries = [
        make(86_390, duration=30.0),
        make(86_399, status="in_doubt"),
        make(100_000),
    ]
    found = plan(export(page([result(1, 100, 10)], [result(2, 400, 40)])), entries)
    assert after(found)["req_2"].input_tokens == 300
    assert "2025-11-07 00:00 to 2025-11-09 00:00" in found.settlements[0].detail


def test_parts_that_a_settled_request_does_not_know_are_not_shared_out(make, export):
    entries = [make(0, input_tokens_details=None), make(60, status="in_doubt")]
    found = after(plan(export(page([result(2, 200, 20, cached=50)])), entries))
    assert found["req_2"].input_tokens == 100
    assert found["req_2"].input_tokens_details.cached_tokens is None


def test_anthropic_parts_stand_side_by_side_and_are_added_up(make, export):
    anthropic = {"provider": "anthropic", "model": "claude"}
    details = {"cached_tokens": 10, "cache_write_tokens": 0}
    entries = [
        make(0, input_tokens_details=details, **anthropic),
        make(60, status="in_doubt", **anthropic),
    ]
    row = {
        "uncached_input_tokens": 190,
        "cache_creation": {"ephemeral_5m_input_tokens": 30, "ephemeral_1h_input_tokens": 4},
        "cache_read_input_tokens": 20,
        "output_tokens": 25,
        "model": "claude",
        "server_tool_use": {"web_search_requests": 0},
        "service_tier": "standard",
        "workspace_id": None,
    }
    bucket = {"starting_at": "2025-11-07T00:00:00Z", "ending_at": "2025-11-08T00:00:00Z"}
    content = {"data": [{**bucket, "results": [row]}], "has_more": False, "next_page": None}
    found = after(plan(export(content), entries))["req_2"]
    assert (found.input_tokens, found.output_tokens) == (144, 15)
    assert dict(found.record["input_tokens_details"]) == {
        "cached_tokens": 10,
        "cache_write_5m_tokens": 30,
        "cache_write_1h_tokens": 4,
        "cache_write_tokens": 34,
    }
    row["server_tool_use"]["web_search_requests"] = 2
    assert "web search requests are left over" in reasons(plan(export(content), entries))


# What contradicts settles nothing


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (result(2, 50, 30), "these used more than was billed"),
        (result(2, 500, 5), "these used more than was billed"),
        (result(0, 500, 50), "others used the account"),
        (result(3, 500, 50), "others used the account"),
        (result(1, 500, 50), "do not go with the tokens"),
        (result(2, 100, 10), "do not go with the tokens"),
        (result(2, 200, 20, cached=150), "these used more than was billed"),
        (result(2, 200, 20, input_audio_tokens=5), "input audio tokens are left over"),
        (result(2, 200, 20, model=None), "grouped by model"),
        (result(2, 200, 20, model="gpt-9"), "names no model gpt-5-mini"),
    ],
)
def test_figures_that_contradict_settle_nothing_and_say_so(make, export, row, why):
    entries = [make(0), make(60, status="in_doubt")]
    assert why in reasons(plan(export(page([row])), entries))


def test_a_bucket_is_used_only_where_the_caller_says_that_the_ledger_sees_it_all(make, export):
    entries = [make(0), make(60, status="in_doubt")]
    found = plan(export(page([result(2, 200, 20)])), entries, exclusive=False)
    assert "only where the ledger sees them all" in reasons(found)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"status": "held"}, "have not ended"),
        ({"estimated": True}, "rest on estimates"),
        ({"input_tokens": None, "total_tokens": None}, "have no counts"),
        ({"model": None}, "may be of"),
    ],
)
def test_what_is_open_or_unknown_beside_them_settles_nothing(make, export, other, why):
    entries = [make(0, **other), make(60, status="in_doubt")]
    assert why in reasons(plan(export(page([result(2, 200, 20)])), entries))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"provider": None}, rf"\(an unknown provider {MODEL}\) that may be of {MODEL}"),
        ({"model": "my-alias"}, r"\(openai my-alias\) that may be of"),
        ({"model": "my-alias", "at": -3_600, "duration": 5_400.0}, "my-alias"),
        ({"at": -3_600, "duration": 5_400.0}, "reaches across the edge"),
        ({"at": -3_600, "duration": 100_000.0}, "reaches across the edge"),
        ({"at": -3_600, "duration": 5_400.0, "status": "in_doubt"}, "reaches across the edge"),
    ],
)
def test_beside_a_request_that_may_be_in_the_remainder_nothing_is_settled(make, export, other, why):
    entries = [make(**{"at": 0, **other}), make(60, status="in_doubt")]
    for requests in (2, None):
        assert re.search(why, reasons(plan(export(page([result(requests, 200, 20)])), entries)))


@pytest.mark.parametrize(
    "other",
    [
        {"model": "my-alias", "input_tokens": 0, "output_tokens": 0, "outcome": "error"},
        {"model": "my-alias", "at": -3_600},
        {"model": "gpt-5-nano"},
        {"provider": "anthropic", "model": "claude"},
    ],
)
def test_a_settled_request_that_cannot_be_in_the_remainder_is_no_obstacle(make, export, other):
    entries = [make(**{"at": 0, **other}), make(60, status="in_doubt")]
    rows = [result(1, 200, 20), result(1, 100, 10, model="gpt-5-nano-2025-08-07")]
    assert after(plan(export(page(rows)), entries))["req_2"].input_tokens == 200


def test_what_no_request_can_cost_settles_nothing(make, export):
    most = 10**15
    entries = [make(60, status="in_doubt")]
    found = plan(export(page([result(1, most, most)])), entries)
    assert "results[0], 2025-11-07" in reasons(found)
    assert "11,000,000,000.00 USD, and one request to 1,000,000 USD at most" in reasons(found)
    found = plan(export(HEADER + f"req_1,,{most},,{most},\n", "bill.csv"), entries)
    assert "bill.csv: line 2" in reasons(found)
    unpriced = [make(60, status="in_doubt", model="unpriced")]
    rows = [result(1, most, 1, model="unpriced", service_tier=tier) for tier in ("flex", "default")]
    found = plan(export(page(rows[:1])), unpriced)
    assert after(found)["req_2"].cost_nanodollars is None
    rows = [{**row, "num_model_requests": None} for row in rows]
    assert "2000000000000000 is no count of one request" in reasons(
        plan(export(page(rows)), unpriced)
    )


def test_a_bucket_that_may_still_grow_settles_nothing(make, export):
    entries = [make(60, status="in_doubt")]
    found = plan(export(page([result(1, 200, 20)])), entries, taken_at=(DAY + 86_400) * 10**9)
    assert "too early" in reasons(found)


def test_a_request_at_the_edge_of_the_export_settles_nothing(make, export):
    entries = [make(86_399, status="in_doubt")]
    assert "reaches across the edge" in reasons(plan(export(page([result(1, 9, 9)])), entries))


def test_a_model_of_two_versions_settles_nothing(make, export):
    rows = [result(1, 200, 20), result(1, 100, 10, model="gpt-5-mini-2026-01-01")]
    entries = [make(0), make(60, status="in_doubt")]
    assert "several models that gpt-5-mini may be" in reasons(plan(export(page(rows)), entries))
    entries = [make(0, model="gpt-5-mini"), make(60, status="in_doubt", model=MODEL)]
    assert "another version" in reasons(plan(export(page(rows)), entries))


def test_only_an_owners_part_is_used_where_one_is_named(make, export):
    rows = [result(2, 200, 20, project_id="proj_a"), result(9, 9_000, 9, project_id="proj_b")]
    entries = [make(0), make(60, status="in_doubt")]
    found = after(plan(export(page(rows)), entries, owner="proj_a"))
    assert found["req_2"].input_tokens == 100
    with pytest.raises(ConfigError, match="does not say whose"):
        plan(export(page([result(2, 200, 20)])), entries, owner="proj_a")
    for owner in ("proj_c", ""):
        with pytest.raises(
            ConfigError, match=f"usage.json: no such owner '{owner}'.*proj_a, proj_b"
        ):
            plan(export(page(rows)), entries, owner=owner)


def test_two_exports_of_the_same_time_are_refused(make, export):
    exports = [export(page([result(1, 9, 9)]), name) for name in ("a.json", "b.json")]
    with pytest.raises(ConfigError, match=r"a\.json and b\.json both have what openai billed"):
        plan(exports, [make(60, status="in_doubt")])


# Lines of one request, and amounts


HEADER = "request_id,response_id,input_tokens,cached_tokens,output_tokens,cost_usd\n"


def bucket_lines(number, until="2025-11-08"):
    """A CSV in which one line of a bucket stands so often."""
    header = "begins_at,ends_at,provider,model,owner,input_tokens,output_tokens\n"
    return header + f"2025-11-07,{until},openai,{MODEL},,200,20\n" * number


def page_from(start):
    bucket = {"start_time": start, "end_time": DAY, "results": []}
    return {"object": "page", "data": [bucket]}


def anthropic_page(number=1):
    """One page of Anthropic's usage, in which one result stands so often."""
    row = {
        "uncached_input_tokens": 5,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "cache_read_input_tokens": 0,
        "output_tokens": 5,
        "model": "claude",
    }
    bucket = {"starting_at": "2025-11-07T00:00:00Z", "ending_at": "2025-11-08T00:00:00Z"}
    return {"data": [{**bucket, "results": [row] * number}]}


def test_a_line_of_one_request_settles_it_without_more(make, export):
    entries = [make(0, status="in_doubt"), make(9, status="in_doubt", response_id="resp_9")]
    content = HEADER + "req_1,,500,100,20,0.0007\n,resp_9,40,,4,\nreq_77,,1,,1,\n"
    found = plan(export(content, "bill.csv"), entries, exclusive=False)
    first, second = after(found).values()
    assert (first.input_tokens, first.output_tokens, first.estimated) == (500, 20, False)
    assert first.input_tokens_details.cached_tokens == 100
    assert (second.input_tokens, second.input_tokens_details.cached_tokens) == (40, None)
    assert "bill.csv: line 2" in found.settlements[0].detail
    assert found.settlements[0].raw_usage == {
        "input_tokens": 500, "cached_tokens": 100, "output_tokens": 20,
    }  # fmt: skip


def test_two_lines_of_one_request_or_two_requests_of_one_line_settle_nothing(make, export):
    entries = [make(0, status="in_doubt")]
    found = plan(export(HEADER + "req_1,,5,,2,\nreq_1,,6,,2,\n", "a.csv"), entries)
    assert "several lines" in reasons(found)
    entries = [make(at, status="in_doubt", response_id="resp") for at in (0, 9)]
    found = plan(export(HEADER + ",resp,5,,2,\n", "a.csv"), entries)
    assert "2 requests have" in reasons(found)


def test_a_line_may_name_a_request_without_the_prefix_of_its_id(make, export):
    entries = [make(0, status="in_doubt")]
    assert after(plan(export(HEADER + "1,,5,,2,\n", "a.csv"), entries))["req_1"].input_tokens == 5
    found = plan(export(HEADER + "1,,5,,2,\nreq_1,,5,,2,\n", "a.csv"), entries)
    assert "several lines" in reasons(found)


@pytest.mark.parametrize("ids", ["req_1,resp_2", "req_1,resp_9", "req_9,resp_1", "req_3,resp_1"])
def test_two_ids_of_a_line_that_are_not_of_one_request_are_refused(make, export, ids):
    entries = [
        make(at, status="in_doubt", response_id=name)
        for at, name in enumerate(("resp_1", "resp_2", None))
    ]
    row = export(HEADER + f"req_8,resp_8,5,,2,\n{ids},5,,2,\n", "a.csv")
    with pytest.raises(ConfigError, match=r"a\.csv: line 3: request_id .* are not of one request"):
        plan(row, entries)


@pytest.mark.parametrize("ids", ["req_1,resp_1", "req_2,resp_9"])
def test_two_ids_of_a_line_that_may_be_of_one_request_settle_it(make, export, ids):
    entries = [
        make(at, status="in_doubt", response_id=name) for at, name in enumerate(("resp_1", None))
    ]
    found = plan(export(HEADER + f"{ids},5,,2,\n", "a.csv"), entries)
    assert list(after(found)) == [ids.partition(",")[0]]


def test_a_csv_of_buckets_is_used_as_other_buckets_are(make, export):
    content = (
        "begins_at,ends_at,provider,model,requests,input_tokens,output_tokens,cost_usd\n"
        f"2025-11-07,2025-11-08T00:00:00+00:00,openai,{MODEL},2,300,20,1.25\n"
    )
    entries = [make(0), make(60, status="in_doubt")]
    found = plan(export(content, "bill.csv"), entries)
    assert after(found)["req_2"].input_tokens == 200
    (check,) = found.checks
    assert (check.billed_nanodollars, check.model) == (1_250_000_000, MODEL)


def test_costs_are_compared_and_shared_out_to_nobody(make, export):
    amounts = [
        {
            "object": "organization.costs.result",
            "amount": {"value": value, "currency": "usd"},
            "line_item": item,
            "project_id": None,
        }
        for value, item in ((0.1, "input"), (0.2, "output"))
    ]
    bucket = {"object": "bucket", "start_time": DAY, "end_time": DAY + 86_400}
    costs = {"object": "page", "data": [{**bucket, "results": amounts}]}
    entries = [make(0), make(60, status="in_doubt", cost_nanodollars=None)]
    found = plan(export(costs), entries)
    assert (found.settlements, found.left) == ([], [])
    (check,) = found.checks
    assert check.billed_nanodollars == 300_000_000
    assert (check.ledger.nanodollars, check.ledger.unpriced) == (45_000, 1)
    assert Decimal(check.to_dict()["billed_usd"]) == Decimal("0.3")
    both = [page([result(2, 200, 20)]), costs]
    assert after(plan(export(both), entries))["req_2"].input_tokens == 100
    with pytest.raises(ConfigError, match=r"\[1\]: data\[0\]: it overlaps with .*\[0\]: data\[0\]"):
        export([costs, costs])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "a.json: it is no JSON"),
        ("a.json", {"object": "page"}, "a.json: data: it is missing"),
        ("a.json", {"data": [{}]}, r"a.json: data\[0\]: start_time, starting_at"),
        ("a.json", page([result(-1, 5, 5)]), r"results\[0\]: num_model_requests: -1 is no count"),
        ("a.json", page([result(1, None, 5)]), r"results\[0\]: input_tokens: it is missing"),
        ("a.json", page([result(1, 5, 5, cached=6)]), "5 is less than its parts, 6"),
        ("a.json", page([result(1, 5, 5, object="other")]), "object: 'other' is not read"),
        ("a.csv", "input_tokens,output\n", "a.csv: line 1: 'output' is no column"),
        ("a.csv", "input_tokens\n", "a.csv: line 1: the column output_tokens is missing"),
        ("a.csv", HEADER + "req_1,,x,,1,\n", "a.csv: line 2: input_tokens: 'x' is no count"),
        ("a.csv", HEADER + "req_1,,1,,1,nan\n", "a.csv: line 2: cost_usd: 'nan' is no amount"),
        ("a.csv", HEADER + ",,1,,1,\n", "a.csv: line 2: provider: it is missing"),
        ("a.csv", HEADER + "1,2,3,4,5,6,7\n", "a.csv: line 2: it has 7 cells"),
        (
            "a.csv",
            "input_tokens,output_tokens,input_tokens\n",
            "column input_tokens is there twice",
        ),
        (
            "a.csv",
            HEADER + '"req_1,,1,,1,\nreq_2,,1,,1,\n',
            "line 2: it is no line of a CSV: unexp",
        ),
        ("a.csv", HEADER + "r" * 140_000 + ",,1,,1,\n", "line 2: it is no line of a CSV: field"),
        (
            "a.csv",
            bucket_lines(1, until="9999-12-31"),
            "a.csv: line 2: ends_at: '9999-12-31' is not",
        ),
        ("a.csv", bucket_lines(2), "a.csv: line 3: it overlaps with a.csv: line 2"),
        ("a.json", page_from(10**15), r"data\[0\]: start_time: 1000000000000000 is not within"),
        (
            "a.json",
            page_from("0001-01-01T00:00+14:00"),
            r"'0001-01-01T00:00\+14:00' is not within the years",
        ),
        ("a.json", [page([result(None, 5, 5)])] * 2, r"\[1\]: data\[0\]: it overlaps with .*\[0\]"),
        (
            "a.json",
            page([result(None, 5, 5)] * 2),
            r"results\[1\]: it overlaps with .*results\[0\]",
        ),
        ("a.json", [anthropic_page()] * 2, r"a.json: \[1\]: data\[0\]: it overlaps with a.json"),
        ("a.json", anthropic_page(2), r"results\[1\]: it overlaps with .*results\[0\]"),
    ],
)
def test_an_export_that_cannot_be_used_is_named_with_its_place_and_field(
    export, name, content, message
):
    with pytest.raises(ConfigError, match=message):
        export(content, name)


# By hand and by policy


def test_by_hand_the_counts_are_priced_at_the_time_of_the_request(make):
    entry = make(0, status="in_doubt", price_reason="the counts are an estimate")
    counts = {"input_tokens": 100, "output_tokens": 10, "cached_tokens": 40}
    one = by_counts(entry, counts, PRICES, source=BY_HAND, detail="seen")
    assert one.after.cost_nanodollars == 60 * 1_000 + 40 * 100 + 10 * 10_000
    assert (one.after.estimated, one.after.cost_estimated) == (False, False)
    assert one.after.price_reason is None
    assert one.after.price_book == PRICES.book.hash


def test_an_accepted_estimate_stays_marked_as_one(make):
    entry = make(0, status="in_doubt")
    one = as_estimated(entry, PRICES, source=BY_HAND)
    assert isinstance(one, Settlement)
    assert (one.after.input_tokens, one.after.output_tokens) == (100, 10)
    assert (one.after.status, one.after.estimated) == ("settled", True)
    assert one.after.cost_estimated is True
    none = as_estimated(make(0, status="in_doubt", input_tokens=None), PRICES, source=BY_HAND)
    assert isinstance(none, Left)


def test_what_is_held_can_be_charged(make):
    entry = make(0, status="in_doubt")
    one = as_held(entry, Amounts(7_000, 500, 1), source=BY_HAND)
    assert isinstance(one, Settlement)
    assert (one.after.cost_nanodollars, one.after.total_tokens) == (7_000, 500)
    assert (one.after.input_tokens, one.after.output_tokens) == (None, None)
    assert one.after.estimated is True
    assert isinstance(as_held(entry, None, source=BY_HAND), Left)


def test_what_was_never_sent_has_no_counts_and_no_price(make):
    after_it = never_sent(make(0, status="in_doubt")).after
    assert (after_it.status, after_it.total_tokens, after_it.cost_nanodollars) == (
        "released", None, None,
    )  # fmt: skip


def test_a_plan_is_carried_out_once_and_finished_by_doing_it_again(make, run, tmp_path):
    with open_ledger(tmp_path / "usage.db", clock=Clock()) as ledger:
        ledger.open_run(run()).result()
        for at in range(3):
            entry = make(at, status="in_doubt")
            ledger.hold(entry.replace(status="held"), started_ns=(DAY + at) * 10**9).result()
            ledger.finish(entry).result()
        found = of_each(ledger.in_doubt(), lambda one: as_estimated(one, PRICES, source=BY_HAND))
        assert settle(ledger, PRICES, found.settlements[:1]) == 1
        assert settle(ledger, PRICES, found.settlements) == 2
        assert settle(ledger, PRICES, found.settlements) == 0
        assert len(ledger.reconciliations()) == 3
        assert ledger.book(PRICES.book.hash) is not None
        found = ledger.verify()
        assert (found.problems, found.notes) == ((), ())


def test_the_ledger_is_read_from_before_the_first_bucket(export):
    begin, end = span_of([export(page([], [result(1, 1, 1)]))])
    assert begin == (DAY - 86_400) * 10**9
    assert end == (DAY + 2 * 86_400) * 10**9
    assert span_of([export(HEADER, "a.csv")]) is None
