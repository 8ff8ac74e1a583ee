"""Budgets at the HTTP client itself, without any host or SDK."""

import json

import httpx2
import pytest

import tallystick
from tallystick import Budget, BudgetExceeded, BudgetUncertain
from tallystick.integrations.http import instrument

RATES = """
[[rates]]
model = "dear"
input_per_million = 1
output_per_million = 1000
"""
CHAT = "https://api.openai.com/v1/chat/completions"
MESSAGES = "https://api.anthropic.com/v1/messages"
ANSWER = {"model": "dear", "usage": {"prompt_tokens": 5, "completion_tokens": 5}}


@pytest.fixture
def tally(tmp_path):
    config = tmp_path / "tallystick.toml"
    config.write_text(RATES)
    with tallystick.open(tmp_path / "usage.db", config=config, on_fault="raise") as opened:
        yield opened
        opened.flush()
        assert opened.ledger.verify().problems == ()


@pytest.fixture
def sent():
    """The requests that have left, in their order."""
    return []


@pytest.fixture
def client(tally, sent):
    def answer(request):
        sent.append(request)
        return httpx2.Response(200, json=ANSWER)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as made:
        instrument(made, tally._recorder)
        yield made


def test_a_lowered_limit_is_sent_however_the_request_is_given(tally, client, sent):
    body = {"model": "dear", "messages": [], "max_tokens": 1_000}
    with tally.run("trip", budget=Budget(usd="0.5")):
        client.send(request=client.build_request("POST", CHAT, json=body))
        client.send(client.build_request("POST", CHAT, json=body))
    for request in sent:
        assert 256 <= json.loads(request.content)["max_tokens"] < 1_000
        assert int(request.headers["content-length"]) == len(request.content)


def test_what_has_no_answer_to_limit_is_sent_as_it_is(tally, client, sent):
    body = {"model": "dear", "input": "some words"}
    with tally.run("trip", budget=Budget(usd="0.5")):
        client.post("https://api.openai.com/v1/embeddings", json=body)
    assert [json.loads(request.content) for request in sent] == [body]


def test_where_no_limit_can_be_set_nothing_is_sent_and_nothing_held(tally, client, sent):
    """An Anthropic model has to be let think for 1,024 tokens."""
    thinking = {"type": "enabled", "budget_tokens": 2_000}
    body = {"model": "dear", "messages": [], "max_tokens": 4_000, "thinking": thinking}
    with tally.run("trip", budget=Budget(usd="0.5")) as run:
        with pytest.raises(BudgetUncertain, match="no limit can be set"):
            client.post(MESSAGES, json=body)
    assert sent == []
    tally.flush()
    assert [entry.status for entry in tally.ledger.entries(run.id)] == ["released"]


def test_the_run_of_a_client_of_its_own_ends_with_a_refusal_too(tally, client, sent):
    row = Budget(requests=0, per="all").row("budget_1", 1, name="none")
    assert tally.ledger.set_budget(row).result()
    with pytest.raises(BudgetExceeded):
        client.post(CHAT, json={"model": "dear", "messages": [], "max_tokens": 1_000})
    assert sent == []
    tally.flush()
    assert [run.outcome for run in tally.ledger.runs()] == ["completed"]


def test_a_request_of_ones_own_is_estimated_by_what_leaves(tally):
    """What is sent is known when it leaves, and not when its block is entered."""
    body = {"model": "dear", "messages": [{"role": "user", "content": "word " * 400}]}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(504))
    with httpx2.Client(transport=transport) as client, tally.run("r") as run:
        instrument(client, None)
        with run.request(model="dear", max_input_tokens=1):
            client.post(CHAT, json=body)
    (entry,) = run.usage.request_usage_entries
    assert entry.status == "in_doubt"
    assert entry.input_tokens > 400
