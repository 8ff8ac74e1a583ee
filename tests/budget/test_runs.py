"""Budgets on runs and on attributions, for users without a host."""

from __future__ import annotations

import asyncio
import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import tallystick
from tallystick import Budget, BudgetExceeded, BudgetUncertain, Clock, ConfigError
from tallystick.errors import LedgerUnavailable
from tallystick.ledger import open_ledger
from tallystick.wire import Reading

RATES = """
[[rates]]
model = "ten-cents"
input_per_million = 0
output_per_million = 1000

[[rates]]
model = "cheap"
input_per_million = 0
output_per_million = 1
"""
HOUR = 3600 * 10**9


class Watch(Clock):
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1_790_000_000_000_000_000

    def now(self) -> int:
        return self.time


@pytest.fixture
def clock():
    return Watch()


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tallystick.toml"
    path.write_text(RATES)
    return path


@pytest.fixture
def tally(tmp_path, config, clock):
    with tallystick.open(
        tmp_path / "usage.db", config=config, on_fault="raise", clock=clock
    ) as opened:
        yield opened
        opened.flush()
        assert opened.ledger.verify().problems == ()


def ask(run, output=100, *, model="ten-cents", limit=100, **about):
    """Ask for an answer of at most `limit` tokens, and get one of `output`: 0.1 cents each."""
    with run.request(
        model=model, provider="local", max_input_tokens=10, max_output_tokens=limit, **about
    ) as request:
        request.settle({"usage": {"prompt_tokens": 10, "completion_tokens": output}})
    return request


def balances(tally):
    tally.flush()
    found = tally.ledger.query("SELECT DISTINCT budget_id FROM balances ORDER BY budget_id")
    return [balance for (budget,) in found for balance in tally.ledger.balances(budget)]


async def test_of_fifty_concurrent_calls_for_ten_cents_a_dollar_buys_ten(tally):
    sent = []

    async def call(run):
        request = run.request(
            model="ten-cents", provider="local", max_input_tokens=10, max_output_tokens=100
        )
        async with request:
            sent.append(request.id)
            await asyncio.sleep(0.01)
            request.settle({"usage": {"prompt_tokens": 10, "completion_tokens": 100}})

    async with tally.run("n50", budget=Budget(usd=1)) as run:
        results = await asyncio.gather(*(call(run) for _ in range(50)), return_exceptions=True)
    assert len(sent) == 10
    assert sum(isinstance(result, BudgetExceeded) for result in results) == 40
    assert run.usage.cost.nanodollars == 10**9


def test_the_same_from_fifty_threads(tally):
    sent = []
    gate = threading.Barrier(50)

    def call(run):
        gate.wait()
        try:
            sent.append(ask(run))
        except BudgetExceeded:
            return "refused"

    with tally.run("n50", budget=Budget(usd=1)) as run, ThreadPoolExecutor(50) as threads:
        results = list(threads.map(call, [run] * 50))
    assert (len(sent), results.count("refused")) == (10, 40)
    (found,) = balances(tally)
    assert (found.spent.nanodollars, found.held.nanodollars) == (10**9, 0)


def test_all_budgets_of_a_request_are_held_or_none(tally):
    """The outer one has no room: the inner one is as if nobody had asked."""
    with tally.run("outer", budget=Budget(requests=1, name="outer")) as outer:
        with tally.run("inner", budget=Budget(usd=1, tokens=10_000, name="inner")) as inner:
            ask(inner)
            with pytest.raises(BudgetExceeded, match="'outer'"):
                ask(inner)
    by_name = {balance.name: balance for balance in balances(tally)}
    assert by_name["inner"].spent == (100_000_000, 110, 1)
    assert by_name["inner"].held == (0, 0, 0)
    assert by_name["outer"].spent.requests == outer.usage.requests == 1


def test_the_limit_on_the_answer_is_lowered_down_to_a_floor(tally):
    budget = Budget(usd="0.15", min_output_tokens=40)
    with tally.run("r", budget=budget) as run:
        assert ask(run).output_limit is None
        assert ask(run, 50).output_limit == 50
        with pytest.raises(BudgetExceeded):
            ask(run)
    assert run.usage.cost.nanodollars == 150_000_000


def test_a_hold_in_doubt_stays_until_it_is_known_what_was_used(tally):
    with tally.run("r", budget=Budget(usd=1)) as run:
        with run.request(
            model="ten-cents", provider="local", max_input_tokens=1, max_output_tokens=100
        ) as request:
            request.doubt()
    (found,) = balances(tally)
    assert (found.spent.nanodollars, found.held.nanodollars) == (0, 100_000_000)
    known = request.entry.replace(
        status="settled", input_tokens=1, output_tokens=7, total_tokens=8, cost_nanodollars=7
    )
    assert tally.ledger.finish(known).result()
    (found,) = balances(tally)
    assert (found.spent.nanodollars, found.held.nanodollars) == (7, 0)


def test_a_request_that_was_never_sent_gives_its_hold_back(tally):
    with tally.run("r", budget=Budget(usd=1)) as run:
        request = run.request(
            model="ten-cents", provider="local", max_input_tokens=1, max_output_tokens=100
        )
        request.hold()
        request.release()
    (found,) = balances(tally)
    assert (found.spent, found.held) == ((0, 0, 0), (0, 0, 0))


def test_what_a_provider_bills_above_its_bound_is_posted_as_debt(tally):
    """I1: the overrun is never dropped, and nothing more is let pass."""
    with tally.run("r", budget=Budget(usd="0.10")) as run:
        ask(run, 130)
        with pytest.raises(BudgetExceeded):
            ask(run)
    (found,) = balances(tally)
    assert (found.spent.nanodollars, found.debt.nanodollars) == (130_000_000, 30_000_000)


def test_a_settlement_goes_to_the_window_of_its_hold(tally, clock):
    """I5: also when the window has rolled meanwhile."""
    budget = Budget(usd=1, per="hour").row("budget_1", clock.now(), name="hourly")
    assert tally.ledger.set_budget(budget).result()
    with tally.run("r") as run:
        request = run.request(
            model="ten-cents", provider="local", max_input_tokens=1, max_output_tokens=100
        )
        request.hold()
        clock.time += HOUR
        ask(run)
        request.settle({"usage": {"prompt_tokens": 1, "completion_tokens": 5}})
    tally.flush()
    later, earlier = tally.ledger.balances("budget_1")
    assert earlier.ends_at == later.begins_at
    assert (earlier.spent.nanodollars, later.spent.nanodollars) == (5_000_000, 100_000_000)


def test_a_new_window_has_all_its_room(tally, clock):
    budget = Budget(requests=1, per="hour").row("budget_1", clock.now(), name="hourly")
    assert tally.ledger.set_budget(budget).result()
    with tally.run("r") as run:
        ask(run)
    with tally.run("r") as run, pytest.raises(BudgetExceeded, match=r"until 20.*Z"):
        ask(run)
    clock.time += HOUR
    with tally.run("r") as run:
        ask(run)


def test_a_budget_for_a_customer_is_for_that_customer_alone(tally, clock):
    budget = Budget(requests=1, per="month")
    row = budget.row("budget_1", clock.now(), name="acme", scope={"customer": "acme"})
    assert tally.ledger.set_budget(row).result()
    for _ in range(2):
        with tally.run("r", customer="globex") as run:
            ask(run)
    with tally.run("r", customer="acme") as run:
        ask(run)
    with tally.run("r", customer="acme") as run, pytest.raises(BudgetExceeded, match="'acme'"):
        ask(run)
    with tally.run("r") as run, tallystick.attribute(customer="acme"):
        with pytest.raises(BudgetExceeded):
            ask(run)


def test_a_budget_that_another_process_sets_holds_at_once(tally, tmp_path, clock):
    """I2: no request leaves without a hold on every budget in scope."""
    with tally.run("r") as run:
        ask(run)
        with open_ledger(tmp_path / "usage.db") as other:
            row = Budget(requests=0, per="all").row("budget_1", clock.now(), name="none")
            assert other.set_budget(row).result()
        with pytest.raises(BudgetExceeded, match="'none'"):
            ask(run)
        with open_ledger(tmp_path / "usage.db") as other:
            assert other.remove_budget("budget_1").result()
        ask(run)


def test_a_budget_per_run_counts_each_tree_of_runs_for_itself(tally, clock):
    row = Budget(requests=1, per="run").row("budget_1", clock.now(), name="each")
    assert tally.ledger.set_budget(row).result()
    for _ in range(2):
        with tally.run("top"), tally.run("inside") as run:
            ask(run)
            with pytest.raises(BudgetExceeded):
                ask(run)


def test_without_a_bound_a_hard_budget_refuses(tally):
    with tally.run("r", budget=Budget(usd=1)) as run:
        with pytest.raises(BudgetUncertain, match=r"give its body or max_input_tokens.*allow="):
            run.request(model="ten-cents", provider="local").hold()
    with tally.run("r", budget=Budget(usd=1, allow=["unbounded"])) as run:
        run.request(model="ten-cents", provider="local").hold()
    with tally.run("r", budget=Budget(requests=1)) as run:
        run.request(model="ten-cents", provider="local").hold()


def test_a_ledger_that_cannot_be_written_refuses_under_a_hard_budget(
    tmp_path, config, monkeypatch, caplog
):
    with tallystick.open(tmp_path / "usage.db", config=config) as tally:
        with (
            tally.run("r", budget=Budget(requests=9)) as strict,
            tally.run("r", budget=Budget(requests=9, allow=["unkept"])) as inside,
        ):
            monkeypatch.setattr(tally.ledger._store, "commit", full)
            with pytest.raises(BudgetUncertain, match=r'disk is full.*allow=\["unkept"\]'):
                ask(strict)
            with pytest.raises(BudgetUncertain):
                ask(inside)
        with tally.run("r", budget=Budget(requests=9, allow=["unkept"])) as lenient:
            ask(lenient)
        with tally.run("r") as free:
            ask(free)
    assert (strict.usage.requests, lenient.usage.requests, free.usage.requests) == (0, 1, 1)


def full(*_: object, **__: object) -> None:
    raise LedgerUnavailable("the disk is full")


def test_without_a_ledger_a_hard_budget_refuses(tmp_path):
    tally = tallystick.open(tmp_path / "no" / "such" / "folder" / "\0")
    with tally.run("r", budget=Budget(requests=1)) as run, pytest.raises(BudgetUncertain):
        ask(run)


def test_an_interrupt_while_holding_gives_the_hold_back(tally, monkeypatch):
    from tallystick import request as module

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "wait", interrupted)
    with tally.run("r", budget=Budget(requests=1)) as run:
        with pytest.raises(KeyboardInterrupt):
            run.request(model="ten-cents").hold()
    monkeypatch.undo()
    (found,) = balances(tally)
    assert found.held.requests == 0


def test_what_another_model_used_inside_a_request_is_charged_too(tally):
    """It was sent by the provider, so that nobody could hold it."""
    reading = Reading(model="ten-cents", input_tokens=1, output_tokens=50, total_tokens=51)
    other = Reading(model="ten-cents", input_tokens=1, output_tokens=70, total_tokens=71)
    reading.others.append(other)
    with tally.run("r", budget=Budget(usd="0.10")) as run:
        with run.request(
            model="ten-cents", provider="local", max_input_tokens=10, max_output_tokens=100
        ) as request:
            request.settle(reading)
    (found,) = balances(tally)
    assert run.usage.cost.nanodollars == found.spent.nanodollars == 120_000_000
    assert (found.debt.nanodollars, found.held.nanodollars) == (20_000_000, 0)


def test_a_change_of_another_budget_lets_no_stopped_run_go_on(tally):
    tally.budgets.set("mine", Budget(usd="0.05", per="all"), customer="me")
    with tally.run("r", customer="me") as run:
        ask(run, 10, limit=10)
        with pytest.raises(BudgetExceeded):
            ask(run)
        tally.budgets.set("other", Budget(requests=1, per="all"), customer="you")
        with pytest.raises(BudgetExceeded, match="has stopped this run before"):
            ask(run, 10, limit=10)
        tally.budgets.top_up("mine", usd=1)
        ask(run, 10, limit=10)


def test_a_limit_that_is_no_limit_is_none(tally):
    with tally.run("r", budget=Budget(usd=1)) as run:
        assert ask(run, limit=10**15).output_limit == 1000


def test_of_two_limits_on_an_answer_the_higher_is_held(tally):
    """Nobody knows which of them a server goes by."""
    body = {"model": "ten-cents", "messages": [], "max_tokens": 10, "max_completion_tokens": 500}
    with tally.run("r", budget=Budget(usd=1)) as run:
        request = run.request(provider="local", body=body)
        request.hold()
    (found,) = balances(tally)
    assert found.held.nanodollars == 500_000_000
    request.release()


def test_an_answer_that_takes_no_limit_has_no_bound(tally):
    body = {"model": "ten-cents", "input": "x"}
    with tally.run("r", budget=Budget(usd=1)) as run:
        request = run.request(provider="local", body=body)
        request.api = "openai.responses.compact"
        with pytest.raises(BudgetUncertain, match="takes no limit on the answer"):
            request.hold()
    with tally.run("r", budget=Budget(usd=1, allow=["unbounded"])) as run:
        request = run.request(provider="local", body=body)
        request.api = "openai.responses.compact"
        request.hold()
        assert request.output_limit is None
        request.release()


def test_a_run_has_no_budget_for_a_window_of_time(tally):
    with pytest.raises(ConfigError, match=r"tally\.budgets\.set"):
        tally.run("r", budget=Budget(usd=1, per="month"))


def test_a_refusal_can_be_sent_to_another_process():
    error = BudgetExceeded("no", budget="b", unit="tokens", limit=1, spent=2, held=3, asked=4)
    again = copy.copy(error)
    assert (str(again), again.budget, again.asked) == ("no", "b", 4)


def test_a_budget_that_is_set_while_they_are_read_is_seen(tally, tmp_path, clock, monkeypatch):
    """I2: the version that is noted is never newer than the budgets that were read."""
    read = tally.ledger.budgets

    def meanwhile():
        found = read()
        monkeypatch.undo()
        row = Budget(requests=0, per="all").row("budget_1", clock.now(), name="none")
        with open_ledger(tmp_path / "usage.db") as other:
            assert other.set_budget(row).result()
        return found

    monkeypatch.setattr(tally.ledger, "budgets", meanwhile)
    with tally.run("r") as run, pytest.raises(BudgetExceeded, match="'none'"):
        ask(run)


def test_a_standing_budget_refuses_too_where_the_ledger_cannot_be_written(
    tmp_path, config, clock, monkeypatch
):
    with tallystick.open(tmp_path / "usage.db", config=config, clock=clock) as tally:
        row = Budget(requests=9, per="all").row("budget_1", clock.now(), name="all")
        assert tally.ledger.set_budget(row).result()
        with tally.run("r") as run:
            monkeypatch.setattr(tally.ledger._store, "commit", full)
            with pytest.raises(BudgetUncertain, match="'all'"):
                ask(run)


def test_without_a_ledger_a_budget_that_only_warns_lets_pass(tmp_path):
    tally = tallystick.open(tmp_path / "no" / "such" / "folder" / "\0")
    with tally.run("r", budget=Budget(requests=1, on_exceeded="warn")) as run:
        ask(run)
    assert run.usage.requests == 1


def test_a_limit_that_no_budget_lowered_is_of_the_budget_that_needs_one(tally):
    with tally.run("roomy", budget=Budget(usd=99)) as run:
        request = ask(run, limit=None)
    assert (request.output_limit, request.limited_by) == (16_384, "roomy")


def test_an_estimate_is_no_longer_than_the_limit_that_a_budget_set(tally):
    budget = Budget(usd="0.10", min_output_tokens=1)
    with tally.run("r", budget=budget) as run:
        request = run.request(model="ten-cents", provider="local", max_input_tokens=10)
        request.hold()
        request.doubt()
    assert request.entry.output_tokens == request.output_limit == 100


def test_a_request_is_sent_to_a_cheaper_model_once(tally):
    body = {"model": "ten-cents", "messages": [], "max_tokens": 2_000}
    dear = Budget(usd="0.01", min_output_tokens=2_000, on_exceeded="cheap")
    long = Budget(tokens=300, min_output_tokens=2_000, on_exceeded="ten-cents")
    with tally.run("dear", budget=dear), tally.run("long", budget=long) as run:
        request = run.request(provider="openai", body=body)
        with pytest.raises(BudgetExceeded, match="'long'"):
            request.hold()
    assert (request.model, request.replaced_model) == ("cheap", "ten-cents")


def test_what_another_model_used_inside_a_request_is_of_the_same_moment(tally, clock):
    reading = Reading(model="ten-cents", input_tokens=1, output_tokens=5, total_tokens=6)
    reading.others.append(Reading(model="cheap", input_tokens=1, output_tokens=7, total_tokens=8))
    with tally.run("r") as run, run.request(model="ten-cents", provider="local") as request:
        clock.time += HOUR
        request.settle(reading)
    first, second = run.usage.request_usage_entries
    assert first.started_at == second.started_at


async def test_the_last_request_of_a_run_is_warned_of_before_the_run_ends(tally):
    told = []

    class Hooks:
        def on_budget_warning(self, run, balance):
            told.append(balance.name)

        def on_run_end(self, run):
            told.append("end")

    with tally.run("plain", budget=Budget(requests=1), hooks=Hooks()) as run:
        ask(run)
    async with tally.run("async", budget=Budget(requests=1), hooks=Hooks()) as run:
        ask(run)
    assert told == ["plain", "end", "async", "end"]


def test_a_warning_before_a_budget_is_full_does_not_silence_the_one_when_it_is(tally, caplog):
    """The log has one of each, however often it is exceeded."""
    budget = Budget(requests=2, tokens=10_000, warn_at=50, on_exceeded="warn")
    with tally.run("r", budget=budget) as run:
        for _ in range(5):
            ask(run)
    tally.flush()
    assert len([line for line in caplog.messages if "budget 'r'" in line]) == 2
