import json

import pytest

from tallystick.testing import (
    Cut,
    Fail,
    Failed,
    Handoff,
    Incomplete,
    Json,
    Malformed,
    NoUsage,
    Reply,
    Slow,
    ToolCall,
)
from tallystick.testing.generation import Billed, Call, generate
from tallystick.testing.reply import reply_of
from tallystick.testing.tokenizer import count_tokens


def test_a_part_or_a_list_of_parts_stands_for_the_reply_of_it():
    assert reply_of("hello") == Reply("hello")
    assert reply_of(ToolCall("f")) == Reply(ToolCall("f"))
    assert reply_of(["hello", ToolCall("f"), NoUsage()]) == Reply("hello", ToolCall("f"), NoUsage())


def test_content_and_faults_compose_in_any_order():
    reply = Reply(Slow(before=1), "a", Cut(after_events=2), Json({"b": 1}))
    assert reply.content == ("a", Json({"b": 1}))
    assert reply.fault(Cut) == Cut(after_events=2)
    assert reply.fault(Malformed) is None


@pytest.mark.parametrize(
    "parts",
    [
        (Cut(), Cut(at_end=True)),
        (Fail(500), "text"),
        (Fail(500), Cut()),
        (Incomplete(), Failed()),
    ],
)
def test_parts_that_contradict_each_other_are_refused(parts):
    with pytest.raises(ValueError, match=r"fault|error|incomplete"):
        Reply(*parts)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fail(200),
        lambda: Fail(429, retry_after=-1),
        lambda: Cut(-1),
        lambda: Cut(3, at_end=True),
        lambda: Slow(before=-0.1),
        lambda: Malformed(-1),
        lambda: Reply("a", reasoning_tokens=-1),
    ],
)
def test_values_that_mean_nothing_are_refused(make):
    with pytest.raises(ValueError, match=r"."):
        make()


def test_what_is_no_part_is_refused():
    with pytest.raises(TypeError, match="42 is no part of a reply"):
        Reply(42)


def test_a_handoff_is_the_tool_call_that_the_agents_sdk_offers():
    from agents import Agent, handoff

    for name in ("Billing", "Flight desk", "Tier-2 (EU)"):
        assert Handoff(name).name == handoff(Agent(name)).tool_name
    assert Handoff("Billing").arguments_text == "{}"


def test_arguments_are_compact_json_or_sent_as_they_are():
    assert json.loads(ToolCall("f", {"city": "Zürich"}).arguments_text) == {"city": "Zürich"}
    assert ToolCall("f", '{"city":').arguments_text == '{"city":'


def test_generation_without_a_limit_bills_reasoning_text_name_and_arguments():
    reply = Reply("Let me look.", ToolCall("find_flights", {"to": "Kyoto"}), reasoning_tokens=64)
    generation = generate(reply, None, Billed(input_tokens=10, cached_tokens=4))
    tokens = ("Let me look.", "find_flights", '{"to":"Kyoto"}')
    assert generation.status == "completed"
    assert generation.billed == Billed(10, 4, 0, 64 + sum(map(count_tokens, tokens)), 64)


@pytest.mark.parametrize("limit", range(1, 40))
def test_no_limit_is_ever_exceeded_and_what_fits_exactly_is_whole(limit):
    reply = Reply("one two three four five", ToolCall("f", {"a": [1, 2, 3]}), reasoning_tokens=7)
    whole = generate(reply, None, Billed())
    cut = generate(reply, limit, Billed())
    need = whole.billed.output_tokens
    assert cut.billed.output_tokens <= limit
    assert cut.billed.reasoning_tokens == min(7, limit)
    assert whole.transcript.startswith(cut.transcript)
    if limit >= need:
        assert cut == whole
    else:
        assert (cut.status, cut.reason) == ("incomplete", "max_output_tokens")
        # Only a tool name that does not fit whole leaves tokens of the limit unused.
        unused = limit - cut.billed.output_tokens
        assert unused == 0 or not any(isinstance(item, Call) for item in cut.items)
