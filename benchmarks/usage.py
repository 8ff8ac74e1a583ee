"""The accumulator against the Agents SDK's: adding a request, and serialising 10,000 entries."""

from agents.usage import Usage as AgentsUsage
from agents.usage import serialize_usage
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from benchmarks.pairs import Row, row, timed
from tallystick import RequestUsage, Usage


def _one(kind: type) -> object:
    return kind(
        requests=1,
        input_tokens=1200,
        output_tokens=300,
        total_tokens=1500,
        input_tokens_details=InputTokensDetails(cached_tokens=1024, cache_write_tokens=0),
        output_tokens_details=OutputTokensDetails(reasoning_tokens=64),
    )


def _adding(kind: type, before: int = 0) -> float:
    """Add a usage of one request 5,000 times to a total that has `before` entries."""
    part, total = _one(kind), kind()
    for _ in range(before):
        total.add(part)
    return timed(lambda: total.add(part), 5000)


def add() -> Row:
    """One add, from an empty total on."""
    return row(
        "add one request",
        lambda: _adding(Usage),
        lambda: _adding(AgentsUsage),
        goal=10,
        faster=True,
    )


def add_flat() -> Row:
    """One add to a total of 100,000 entries, against one to an empty total: both ours."""
    return row(
        "add, at 100,000 entries against 0",
        lambda: _adding(Usage, 100_000),
        lambda: _adding(Usage),
        goal=1.5,
        faster=False,
    )


def _entry(number: int) -> RequestUsage:
    return RequestUsage(
        1200,
        300,
        1500,
        {"cached_tokens": 1024, "cache_write_tokens": 0},
        {"reasoning_tokens": 64},
        id=f"req_{number:026x}",
        run_id="run_0",
        provider="openai",
        model="gpt-5-2025-08-07",
        agent="Planner",
        turn=number % 9,
        response_id=f"resp_{number:026x}",
        duration=0.25,
        cost_nanodollars=4_500_000,
    )


def serialize() -> Row:
    """The whole usage as a JSON-safe dict; ours has twice as many fields in an entry."""
    ours, theirs, part = Usage(), AgentsUsage(), _one(AgentsUsage)
    for number in range(10_000):
        ours.append(_entry(number))
        theirs.add(part)
    return row(
        "serialise 10,000 entries",
        lambda: timed(ours.to_dict),
        lambda: timed(lambda: serialize_usage(theirs)),
        goal=10,
        faster=True,
    )


ROWS = {"add": add, "add flat": add_flat, "serialise": serialize}
