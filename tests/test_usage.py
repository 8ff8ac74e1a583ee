"""The accumulator: what `agents.Usage` does, exactly, and what it loses, kept."""

import copy
import json
import pickle
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from agents.usage import RequestUsage as AgentsRequestUsage
from agents.usage import Usage as AgentsUsage
from agents.usage import deserialize_usage, serialize_usage
from hypothesis import given
from hypothesis import strategies as st
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from tallystick import Cost, RequestUsage, Usage
from tallystick.usage import MAX_COUNT, count

COUNTS = st.integers(0, 10**9)


@st.composite
def entries(draw, identified=False):
    sent, received = draw(COUNTS), draw(COUNTS)
    return RequestUsage(
        sent,
        received,
        None,
        {"cached_tokens": draw(st.integers(0, sent))} if draw(st.booleans()) else None,
        {"reasoning_tokens": draw(st.integers(0, received))} if draw(st.booleans()) else None,
        id=draw(st.text("abcdef0123456789", min_size=8, max_size=12)) if identified else None,
        agent=draw(st.sampled_from([None, "Planner", "Flights"])),
        model=draw(st.sampled_from(["gpt-5", "gpt-5-mini"])),
        customer=draw(st.sampled_from([None, "acme"])),
        tags=draw(st.sampled_from([None, {"team": "red"}])),
        cost_nanodollars=draw(st.one_of(st.none(), COUNTS)),
    )


def agents_usage(requests, sent, cached, received, reasoning):
    return AgentsUsage(
        requests=requests,
        input_tokens=sent,
        output_tokens=received,
        total_tokens=sent + received,
        input_tokens_details=InputTokensDetails(cached_tokens=cached, cache_write_tokens=0),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=reasoning),
    )


AGENTS_USAGES = st.builds(agents_usage, st.integers(0, 3), COUNTS, COUNTS, COUNTS, COUNTS)


@given(st.lists(AGENTS_USAGES, max_size=8))
def test_adding_gives_what_the_agents_sdk_gives(added):
    """Totals, details and entries equal those of the Agents SDK after the same adds."""
    theirs, ours = AgentsUsage(), Usage()
    for usage in added:
        theirs.add(usage)
        ours.add(usage)
    assert ours == theirs
    assert theirs == ours
    assert deserialize_usage(serialize_usage(ours)) == theirs


@given(AGENTS_USAGES, st.lists(AGENTS_USAGES, max_size=4))
def test_what_the_agents_sdk_serialised_is_read(first, more):
    theirs = copy.deepcopy(first)
    for usage in more:
        theirs.add(usage)
    old = json.loads(json.dumps(serialize_usage(theirs)))
    assert Usage.from_dict(old) == theirs
    assert Usage.from_dict(json.dumps(old)) == theirs


def test_older_forms_are_read():
    """Forms without entries, without cache writes, and with missing keys are whole usages."""
    assert Usage.from_dict({}) == Usage()
    old = {"requests": 2, "input_tokens": 7, "input_tokens_details": [{"cached_tokens": 3}]}
    usage = Usage.from_dict(old)
    assert (usage.requests, usage.input_tokens) == (2, 7)
    assert usage.input_tokens_details.cached_tokens == 3
    with pytest.raises(ValueError, match="a usage is an object"):
        Usage.from_dict("[]")


@given(st.lists(entries(identified=True), max_size=10, unique_by=lambda entry: entry.id))
def test_serialising_and_back_gives_an_equal_usage(added):
    usage = Usage()
    for entry in added:
        usage.append(entry)
    again = Usage.from_dict(json.loads(json.dumps(usage.to_dict())))
    assert again == usage
    assert again.cost == usage.cost
    assert again.unknown == usage.unknown
    assert pickle.loads(pickle.dumps(usage)) == usage  # noqa: S301 - our own bytes
    assert deserialize_usage(usage.to_dict()).total_tokens == usage.total_tokens


def test_a_serialised_usage_cannot_be_used_to_change_an_entry():
    """The entries in the dict are records that cannot be changed; a deep copy can."""
    usage = Usage.of(RequestUsage(1, 2, 3, {"cached_tokens": 1}))
    record = usage.to_dict()["request_usage_entries"][0]
    for change in (
        lambda: record.update(input_tokens=9),
        lambda: record.__setitem__("input_tokens", 9),
        lambda: record["input_tokens_details"].pop("cached_tokens"),
        record.clear,
        lambda: record.__ior__({"input_tokens": 9}),
        lambda: record.setdefault("agent", "x"),
    ):
        with pytest.raises(TypeError, match="cannot be changed"):
            change()
    mine = copy.deepcopy(record)
    mine["input_tokens"] = 9
    mine["input_tokens_details"]["cached_tokens"] = 9
    assert usage.request_usage_entries[0] == RequestUsage(1, 2, 3, {"cached_tokens": 1})


@pytest.mark.parametrize(
    ("details", "cached"),
    [
        (None, 0),
        (InputTokensDetails(cached_tokens=5, cache_write_tokens=1), 5),
        (PromptTokensDetails(cached_tokens=5, audio_tokens=2), 5),
        (PromptTokensDetails(cached_tokens=None), 0),
        (InputTokensDetails.model_construct(cached_tokens=None), 0),
        ({"cached_tokens": 5}, 5),
        ([{"cached_tokens": 5}], 5),
        ([], 0),
    ],
)
def test_details_may_be_openais_own_types_or_none(details, cached):
    usage = Usage(requests=1, input_tokens=10, input_tokens_details=details)
    assert usage.input_tokens_details.cached_tokens == cached
    total = Usage()
    total.add(usage)
    total.add(Usage(requests=1, input_tokens=1, input_tokens_details=None))
    assert total.input_tokens_details.cached_tokens == cached
    assert total.output_tokens_details.reasoning_tokens == 0


def test_audio_tokens_and_tools_are_totalled():
    usage = Usage()
    for _ in range(2):
        usage.append(
            RequestUsage(
                10,
                5,
                15,
                PromptTokensDetails(audio_tokens=4, cached_tokens=0),
                CompletionTokensDetails(audio_tokens=3, reasoning_tokens=1),
                tool_requests={"web_search": 2},
            )
        )
    assert usage.input_tokens_details.audio_tokens == 8
    assert usage.output_tokens_details.audio_tokens == 6
    assert usage.tool_requests == {"web_search": 4}


def test_a_count_that_is_missing_is_unknown_and_said_so():
    """None is unknown and 0 is measured: totals sum what is known and name what is missing."""
    usage = Usage()
    usage.append(RequestUsage(10, 0, None, {"cached_tokens": 0, "cache_write_tokens": 0}))
    usage.append(RequestUsage(5, None, None, None))
    measured, unknown = usage.request_usage_entries
    assert measured.output_tokens == 0
    assert unknown.output_tokens is None
    assert unknown.total_tokens is None
    assert measured.input_tokens_details.cached_tokens == 0
    assert unknown.input_tokens_details.cached_tokens is None
    assert usage.input_tokens == 15
    assert usage.unknown == {
        "reasoning_tokens": 2,
        "output_tokens": 1,
        "cached_tokens": 1,
        "cache_write_tokens": 1,
    }


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (0, 0),
        (7, 7),
        ("12", 12),
        (12.0, 12),
        (MAX_COUNT, MAX_COUNT),
        (None, None),
        (-1, None),
        (MAX_COUNT + 1, None),
        (10**400, None),
        (1.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        ("", None),
        ("many", None),
        ("-3", None),
        ("٣", None),
        ("9" * 5000, None),
        ([1], None),
        ({}, None),
        (Decimal(3), None),
    ],
)
def test_what_cannot_be_a_count_is_unknown(value, known):
    assert count(value) == known
    entry = RequestUsage(value, 1)
    assert entry.input_tokens == known
    assert bool(entry.anomalies) == (known is None and value is not None)
    assert Usage(requests=1, input_tokens=value).input_tokens == (known or 0)
    Usage().add(Usage(requests=value, input_tokens=value, total_tokens=value))


def test_the_same_entry_counts_once():
    """An id that is here already is the same request (I3), however often it is added."""
    entry = RequestUsage(10, 5, id="req_1", cost_nanodollars=7)
    usage = Usage()
    assert usage.append(entry)
    assert not usage.append(entry)
    usage.add(entry)
    usage.add(usage)
    other = Usage()
    other.append(entry)
    other.append(RequestUsage(1, 1, id="req_2", cost_nanodollars=1))
    usage.add(other)
    usage.add(other)
    assert (usage.requests, usage.input_tokens, usage.total_tokens) == (2, 11, 17)
    assert [each.id for each in usage.request_usage_entries] == ["req_1", "req_2"]
    assert usage.cost == Cost(8)


def test_a_usage_added_to_itself_doubles_what_has_no_id():
    """As in the Agents SDK, where nothing has an id; and it ends."""
    usage = Usage(requests=1, input_tokens=3, total_tokens=3)
    total = Usage()
    total.add(usage)
    total.add(total)
    assert (total.requests, total.input_tokens) == (2, 6)
    assert len(total.request_usage_entries) == 2


def test_adding_leaves_the_added_usage_as_it_was():
    """Nothing done to the total shows in what was added, nor the other way round."""
    cached = {"cached_tokens": 1}
    part = Usage(requests=1, input_tokens=3, total_tokens=3, input_tokens_details=cached)
    total = Usage()
    total.add(part)
    total.add(part)
    assert part == Usage(requests=1, input_tokens=3, total_tokens=3, input_tokens_details=cached)
    part.add(part)
    assert total.input_tokens == 6
    nested = AgentsUsage(requests=1, input_tokens=1, total_tokens=1)
    nested.request_usage_entries.append(
        AgentsRequestUsage(1, 0, 1, nested.input_tokens_details, nested.output_tokens_details)
    )
    total.add(nested)
    nested.request_usage_entries[0].input_tokens = 99
    assert total.request_usage_entries[-1].input_tokens == 1


@given(st.lists(entries(identified=True), max_size=12), st.integers(0, 12))
def test_a_snapshot_stays_and_a_difference_is_what_came_after(added, cut):
    """`later - earlier` has exactly the requests between them, and adds up with the earlier."""
    usage = Usage()
    snapshot = usage.snapshot()
    later = []
    for index, entry in enumerate(added):
        if index == cut:
            snapshot = usage.snapshot()
            later = []
        if usage.append(entry):
            later.append(entry)
    before = snapshot.to_dict()
    rest = usage - snapshot
    assert rest.request_usage_entries == later
    assert rest.cost == usage.cost - snapshot.cost
    assert snapshot.to_dict() == before
    snapshot.add(rest)
    assert snapshot == usage


def test_a_difference_of_unrelated_usages_is_refused():
    one, other = Usage(), Usage()
    one.append(RequestUsage(1, 1, id="a"))
    other.append(RequestUsage(1, 1, id="b"))
    with pytest.raises(ValueError, match="only from a later state of itself"):
        one - other
    with pytest.raises(ValueError, match="only from a later state of itself"):
        Usage() - one


@given(st.lists(entries(), max_size=20), st.sampled_from(["agent", "model", "customer", "team"]))
def test_a_split_adds_up_to_the_whole(added, name):
    usage = Usage()
    for entry in added:
        usage.append(entry)
    total = Usage()
    for part in usage.by(name).values():
        total.add(part)
    assert total.requests == usage.requests
    assert total.input_tokens == usage.input_tokens
    assert total.total_tokens == usage.total_tokens
    assert total.cost == usage.cost


def test_a_cost_never_hides_a_request_without_a_price():
    usage = Usage()
    usage.append(RequestUsage(1, 1, cost_nanodollars=1_500_000_000))
    usage.append(RequestUsage(1, 1, cost_nanodollars=1, cost_estimated=True))
    assert usage.cost == Cost(1_500_000_001, estimated=1)
    assert usage.cost.complete
    usage.append(RequestUsage(1, 1, price_reason="no price is known"))
    usage.add(Usage(requests=3))
    assert usage.cost == Cost(1_500_000_001, unpriced=4, estimated=1)
    assert not usage.cost.complete
    assert usage.cost.usd == Decimal("1.500000001")
    assert str(usage.cost) == "~$1.500000 + 4 unpriced"


def test_copies_are_independent_and_equal():
    usage = Usage()
    usage.append(RequestUsage(1, 1, id="a"))
    for other in (copy.copy(usage), copy.deepcopy(usage), usage.snapshot()):
        assert other == usage
        other.append(RequestUsage(1, 1, id="b"))
        assert usage.requests == 1
        assert usage != other


def test_an_entry_says_everything_it_knows():
    moment = datetime(2026, 11, 22, 13, 0, 0, 123456, tzinfo=UTC)
    entry = RequestUsage(
        10,
        5,
        id="req_1",
        provider="openai",
        model="gpt-5-2025-08-07",
        requested_model="gpt-5",
        agent="Planner",
        turn=3,
        response_id="resp_1",
        status="settled",
        outcome="completed",
        started_at=moment,
        duration=0.25,
        service_tier="flex",
        customer="acme",
        tags={"team": "red"},
        cost_nanodollars=12,
        provider_cost=Decimal("0.0000012"),
    )
    assert entry.started_at == moment
    assert entry.provider_cost == Decimal("0.0000012")
    assert entry.cost == Cost(12)
    assert (entry.get("agent"), entry.get("team"), entry.get("nobody")) == ("Planner", "red", None)
    assert entry.replace(turn=4).turn == 4
    assert entry.turn == 3
    with pytest.raises(AttributeError, match="use replace"):
        entry.turn = 4
    with pytest.raises(TypeError, match="has no colour"):
        RequestUsage(1, 1, colour="red")


def test_entries_that_were_put_in_by_hand_are_read():
    """Code of the Agents SDK replaces the list with its own objects."""
    usage = Usage(requests=2, input_tokens=3)
    theirs = AgentsUsage()
    usage.request_usage_entries = [
        AgentsRequestUsage(3, 0, 3, theirs.input_tokens_details, theirs.output_tokens_details)
    ]
    assert usage.request_usage_entries[0].input_tokens == 3
    assert usage.cost == Cost(unpriced=2)
