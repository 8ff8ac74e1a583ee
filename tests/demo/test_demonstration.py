"""The demonstration on the testing provider: every figure against the provider's own ledger."""

import json
from dataclasses import replace

import agents

import tallystick
from tallystick.demo.comparison import Count, count_of_sdk, differences, told
from tallystick.demo.conversation import TURNS, Listener
from tallystick.demo.demonstration import demonstrate
from tallystick.demo.desk import Desk
from tallystick.demo.hosted import HostedSource
from tallystick.demo.scripted import ScriptedSource, write_script
from tallystick.testing import Provider, Slow

QUICKLY = Slow(between=0.003)


class Notes(Listener):
    """Writes down what it is told."""

    def __init__(self):
        self.said_by = []
        self.desks = []
        self.pieces = []
        self.hung_up = []

    def routed(self, desk):
        self.desks.append(desk)

    def said(self, agent, text, *, nested=False):
        self.said_by.append((agent, nested))

    def heard(self, agent, piece):
        self.pieces.append(piece)

    def ended(self, *, hung_up):
        self.hung_up.append(hung_up)


def assert_request_for_request(entries, served):
    """Each served request is an entry; those that the provider told of, with its figures."""
    assert len(entries) == len(served)
    for entry, record in zip(entries, served, strict=True):
        if record.outcome == "abandoned":
            assert entry.status == "in_doubt"
            assert entry.estimated
            continue
        assert entry.status == "settled"
        assert told(entry) == (record.input_tokens, record.cached_tokens, record.output_tokens)
        assert entry.response_id == record.response_id


async def test_the_ledger_equals_the_providers_own_request_for_request(tally):
    source = ScriptedSource(QUICKLY)
    notes = Notes()
    async with source:
        result = await demonstrate(tally, source, notes)
        served = source.provider.served
    assert source.provider.unused_replies == 0
    assert_request_for_request(tally.ledger.entries(result.run_id), served)
    assert result.differences == []
    assert result.server.total == Count(
        len(served),
        sum(record.input_tokens for record in served),
        sum(record.cached_tokens for record in served),
        sum(record.output_tokens for record in served),
    )
    assert notes.hung_up == [False, True]
    assert notes.desks == ["Billing", "Shipping", "Shipping"]
    assert ("Digest", True) in notes.said_by


async def test_the_conversation_has_what_makes_usage_hard_to_count(tally):
    """A failed attempt, a nested agent, a streamed answer, a cancelled one and an unpriced one."""
    async with ScriptedSource(QUICKLY) as source:
        result = await demonstrate(tally, source, Listener())
    turns = dict(zip((turn.title for turn, _ in result.turns), result.turns, strict=True))
    first, second = (line.entry for line in turns["refund"][1][:2])
    assert (first.agent, first.outcome, first.error_type) == ("Triage", "error", "500")
    assert (second.agent, second.outcome, first.turn) == ("Triage", "completed", second.turn)
    assert [(line.entry.agent, line.nested) for line in turns["parcel"][1]] == [
        ("Triage", False),
        ("Shipping", False),
        ("Digest", True),
        ("Shipping", False),
    ]
    (streamed,) = (line.entry for line in turns["letter"][1])
    assert streamed.status == "settled"
    assert streamed.output_tokens > 10
    (cancelled,) = (line.entry for line in turns["story"][1])
    assert (cancelled.status, cancelled.outcome) == ("in_doubt", "cancelled")
    unpriced = [line.entry for line in turns["Norway"][1]]
    assert {entry.customer for entry in unpriced} == {"globex"}
    assert all(entry.cost_nanodollars is None and entry.price_reason for entry in unpriced)
    assert result.usage.cost.unpriced == len(unpriced)
    assert result.usage.cost.nanodollars > 0
    assert set(result.usage.by("agent")) == {"Triage", "Billing", "Shipping", "Digest", "Writer"}


async def test_what_the_sdk_misses_and_what_it_counts_add_up_to_the_ledger(tally):
    async with ScriptedSource(QUICKLY) as source:
        result = await demonstrate(tally, source, Listener())
    assert set(result.missed) == {"failed", "nested", "streamed", "cancelled"}
    explained = result.sdk
    for count in result.missed.values():
        explained += count
    assert (explained.requests, explained.tokens) == (
        result.counted.requests,
        result.counted.tokens,
    )


async def test_the_sdks_own_figures_are_those_of_a_run_without_tallystick(tmp_path, tally):
    """The same conversation, untracked: the SDK's counters say what the demo says they would."""
    async with ScriptedSource(QUICKLY) as source:
        tracked = await demonstrate(tally, source, Listener())
    tally.untrack("openai-agents")
    usages = []
    with tallystick.open(tmp_path / "untracked.db", on_fault="raise") as bystander:
        async with ScriptedSource(QUICKLY) as source:
            desk = _DeskThatKeepsUsages(source, usages)
            conversation = await desk.converse(bystander)
        assert bystander.ledger.usage(conversation.run.id).requests == 0
    assert all(type(usage) is agents.Usage for usage in usages)
    plain = Count()
    for usage in usages:
        plain += count_of_sdk(usage, told_tokens=True)
    assert len(usages) == len(TURNS)
    assert (tracked.sdk.requests, tracked.sdk.tokens) == (plain.requests, plain.tokens)


class _DeskThatKeepsUsages(Desk):
    def __init__(self, source, usages):
        super().__init__(source, Listener())
        self._usages = usages

    def _context(self, turn):
        usage, context = super()._context(turn)
        self._usages.append(usage)
        return usage, context


async def test_a_hosted_api_is_counted_by_what_it_says_on_the_wire(tally, monkeypatch):
    """Over Responses, through the tap, against the provider's own ledger."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    source = HostedSource("gpt-5-mini")
    with Provider(cache_threshold=64) as provider:
        write_script(provider, QUICKLY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        async with source:
            result = await demonstrate(tally, source, Listener())
        provider.wait()
        served = provider.served
    entries = tally.ledger.entries(result.run_id)
    # The first attempt failed in the API's place, so the API never saw it.
    assert (entries[0].outcome, entries[0].error_type) == ("error", "500")
    assert_request_for_request(entries[1:], served)
    assert result.differences == []
    assert (result.server.failures, result.server.untold) == (1, Count(requests=1, unknown=1))
    assert "streamed" not in result.missed


async def test_a_planted_difference_is_found(tally):
    async with ScriptedSource(QUICKLY) as source:
        result = await demonstrate(tally, source, Listener())
    entries = tally.ledger.entries(result.run_id)
    told = result.server.told
    for changes, complaint in (
        ({"output_tokens": 1}, "the ledger has"),
        ({"response_id": "another"}, "the ledger has"),
        ({"status": 500}, "refused requests"),
    ):
        server = replace(result.server, told=(*told[:-1], replace(told[-1], **changes)))
        assert complaint in "\n".join(differences(entries, server))
    assert differences(entries, replace(result.server, told=told[:-1]))
    assert differences(entries[:-1], result.server)


async def test_the_result_is_json_and_whole(tally):
    async with ScriptedSource(QUICKLY) as source:
        result = await demonstrate(tally, source, Listener())
    data = json.loads(json.dumps(result.to_dict()))
    requests = [request for turn in data["turns"] for request in turn["requests"]]
    assert len(requests) == data["counted"]["tallystick"]["requests"]
    assert sum(request["input_tokens"] for request in requests) == result.usage.input_tokens
    assert data["cost"]["nanodollars"] == result.usage.cost.nanodollars
