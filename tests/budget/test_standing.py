"""Standing budgets in Python: set, list, show, top up, remove."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal

import pytest

import tallystick
from tallystick import Budget, BudgetExceeded, Clock, ConfigError
from tallystick.budget.standing import Budgets
from tallystick.errors import NotFound
from tallystick.ledger import Amounts, open_ledger

RATES = """
[[rates]]
model = "cent"
input_per_million = 0
output_per_million = 10000
"""
HOUR = 3600 * 10**9


class Watch(Clock):
    """A clock that is set by hand."""

    def __init__(self):
        self.time = 1_795_000_000_000_000_000  # 2026-11-18T11:06:40Z

    def now(self):
        return self.time


@pytest.fixture
def clock():
    return Watch()


@pytest.fixture
def tally(tmp_path, clock):
    (tmp_path / "tallystick.toml").write_text(RATES)
    with tallystick.open(
        tmp_path / "usage.db", config=tmp_path / "tallystick.toml", on_fault="raise", clock=clock
    ) as opened:
        yield opened
        opened.flush()
        assert opened.ledger.verify().problems == ()


@pytest.fixture
def budgets(tally, clock):
    return Budgets(tally.ledger, clock)


def ask(run, output=10, *, limit=10, settle=True, **about):
    """Ask for an answer at a cent a token."""
    with run.request(
        **{"model": "cent", "provider": "local", "max_input_tokens": 5, **about},
        max_output_tokens=limit,
    ) as request:
        if settle:
            request.settle({"usage": {"prompt_tokens": 5, "completion_tokens": output}})
    return request


def test_a_budget_says_what_is_spent_held_and_left(tally, budgets):
    budgets.set("acme", Budget(usd=1, tokens=1000, per="month"), customer="acme")
    with tally.run("r", customer="acme") as run:
        ask(run, 8)
        ask(run, settle=False)
    tally.flush()
    found = budgets.get("acme")
    assert (found.limits.usd, found.spent.usd, found.held.usd, found.room.usd) == (
        Decimal(1),
        Decimal("0.08"),
        Decimal("0.10"),
        Decimal("0.82"),
    )
    assert (found.spent.tokens, found.held.tokens, found.room.tokens) == (13, 15, 972)
    assert (found.spent.requests, found.held.requests) == (1, None)
    assert found.used == 18
    assert (found.begins, found.ends) == (
        datetime.fromisoformat("2026-11-01T00:00Z"),
        datetime.fromisoformat("2026-12-01T00:00Z"),
    )


def test_before_its_first_request_a_budget_has_all_its_room(budgets):
    made = budgets.set("all", Budget(requests=3, per="day", zone="Asia/Kolkata"))
    assert made.room == Amounts(None, None, 3)
    assert made.begins.isoformat() == "2026-11-18T00:00:00+05:30"
    assert budgets.list() == [made]
    assert budgets.get("all") == made


def test_the_dict_of_a_budget_is_json_and_holds_no_float(budgets):
    made = budgets.set("b", Budget(usd="0.1", per="all", allow=["unpriced"]), model="cent")
    told = json.loads(json.dumps(made.to_dict()), parse_float=pytest.fail)
    assert told["limits"]["usd"] == "0.100000000"
    assert told["scope"] == {"model": "cent"}
    assert told["allow"] == ["unpriced"]


@pytest.mark.parametrize(
    "scope",
    [
        {"customer": "acme"},
        {"user": "u"},
        {"project": "p"},
        {"session": "s"},
        {"agent": "Planner"},
        {"model": "cent"},
        {"provider": "local"},
        {"team": "x"},
        {"name": "a tag may be called so"},
        {"customer": "acme", "team": "x", "agent": "Planner"},
    ],
)
def test_a_budget_counts_what_agrees_with_all_of_its_scope(tally, budgets, scope):
    budgets.set("b", Budget(requests=1, per="all"), **scope)
    own = {key: value for key, value in scope.items() if key in ("agent", "model", "provider")}
    others = {key: value for key, value in scope.items() if key not in own}
    run_name = others.pop("name", None)
    with (
        tally.run("r", **others) as run,
        tallystick.attribute(**({} if run_name is None else {"name": run_name})),
    ):
        ask(run, **own)
        with pytest.raises(BudgetExceeded, match="'b'"):
            ask(run, **own)
    if own != scope:
        with tally.run("r") as run:
            ask(run, **own)


def test_values_of_a_scope_are_cleaned_as_attributions_are(tally, budgets):
    made = budgets.set("b", Budget(requests=1, per="all"), customer=42, team="x" * 300)
    assert made.scope == {"customer": "42", "team": "x" * 256}
    with tally.run("r", customer=42, team="x" * 300) as run:
        ask(run)
        with pytest.raises(BudgetExceeded):
            ask(run)


@pytest.mark.parametrize(
    "scope", [{"customer": 1.5}, {"agent": True}, {"team": ""}, {"turn": 1}, {"run_id": "r"}]
)
def test_a_scope_that_no_request_can_have_is_refused(budgets, scope):
    with pytest.raises(ConfigError, match=next(iter(scope))):
        budgets.set("b", Budget(requests=1, per="all"), **scope)
    assert budgets.list() == []


@pytest.mark.parametrize("name", ["", " ", " b", None, 7])
def test_a_name_that_nobody_could_type_is_refused(budgets, name):
    with pytest.raises(ConfigError, match="no name"):
        budgets.set(name, Budget(usd=1))


def test_two_names_for_one_budget_are_refused(budgets):
    with pytest.raises(ConfigError, match="give one"):
        budgets.set("a", Budget(usd=1, name="b"))


def test_another_limit_keeps_what_is_spent_and_another_scope_begins_anew(tally, budgets):
    budgets.set("b", Budget(requests=1, per="day"))
    with tally.run("r", customer="acme") as run:
        ask(run)
        tally.flush()
        assert budgets.set("b", Budget(requests=2, per="day")).room.requests == 1
        ask(run)
        assert budgets.set("b", Budget(requests=2, per="day"), customer="acme").spent.requests == 0
        ask(run)
    assert len(budgets.list()) == 1


def test_a_top_up_is_for_the_current_window_alone(tally, budgets, clock):
    budgets.set("b", Budget(usd="0.10", requests=1, per="hour"))
    with tally.run("r") as run:
        ask(run)
        with pytest.raises(BudgetExceeded):
            ask(run)
        topped = budgets.top_up("b", usd="0.10", requests=2)
        assert topped.limits == Amounts(200_000_000, None, 3)
        ask(run)
        clock.time += HOUR
        assert budgets.get("b").limits == Amounts(100_000_000, None, 1)


def test_a_top_up_goes_on_the_limit_that_was_set_last(tally, budgets, clock, tmp_path, monkeypatch):
    """Also where another process sets it between reading and topping up."""
    budgets.set("b", Budget(requests=1, per="all"))
    old = budgets._row("b")
    with open_ledger(tmp_path / "usage.db") as other:
        Budgets(other, clock).set("b", Budget(requests=5, per="all"))
    monkeypatch.setattr(budgets, "_row", lambda name: old)
    budgets.top_up("b", requests=2)
    monkeypatch.undo()
    assert budgets.get("b").limits.requests == 7


@pytest.mark.parametrize(
    ("budget", "added", "said"),
    [
        (Budget(usd=1, per="run"), {"usd": 1}, "per run"),
        (Budget(usd=1, per="all"), {"tokens": 1}, "no limit of tokens"),
        (Budget(tokens=1, per="all"), {"usd": 1}, "no limit of usd"),
        (Budget(usd=1, per="all"), {}, "say what to add"),
        (Budget(usd=1, per="all"), {"usd": 0}, "more than nothing"),
        (Budget(usd=1, per="all"), {"usd": -1}, "from 0 to"),
        (Budget(usd=1, per="all"), {"usd": 0.5}, "give a Decimal"),
        (Budget(usd=10**9, per="all"), {"usd": 1}, "too large"),
    ],
)
def test_a_top_up_that_means_nothing_is_refused(budgets, budget, added, said):
    before = budgets.set("b", budget)
    with pytest.raises(ConfigError, match=said):
        budgets.top_up("b", **added)
    assert budgets.get("b") == before


def test_a_budget_per_run_tells_how_many_runs_are_open(tally, budgets):
    made = budgets.set("each", Budget(requests=1))
    assert (made.open_windows, made.room, made.used) == (0, Amounts(), None)
    with tally.run("one") as one:
        ask(one)
        with tally.run("inside"):
            tally.flush()
            assert budgets.get("each").open_windows == 1
    assert budgets.get("each").open_windows == 0
    (window,) = budgets.history("each").windows
    assert window.spent.requests == 1


def test_another_limit_per_run_leaves_runs_that_are_over_as_they_were(tally, budgets):
    budgets.set("each", Budget(requests=2))
    with tally.run("over") as over:
        ask(over)
    with tally.run("open") as run:
        ask(run)
        tally.flush()
        status = budgets.set("each", Budget(requests=9))
        kept = {
            balance.window: balance.limits.requests
            for balance in tally.ledger.balances(status.row.id)
        }
    assert kept == {over.id: 2, run.id: 9}


def test_the_history_tells_windows_and_changes(tally, budgets, clock, monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    budgets.set("b", Budget(requests=5, per="hour"))
    with tally.run("r") as run:
        ask(run)
        clock.time += HOUR
        budgets.top_up("b", requests=1)
        ask(run)
    tally.flush()
    clock.time += HOUR
    history = budgets.history("b")
    assert [window.spent.requests for window in history.windows] == [0, 1, 1]
    assert [window.limits.requests for window in history.windows] == [5, 6, 5]
    assert [(change.change, change.by) for change in history.changes] == [
        ("set", "ada"),
        ("top up", "ada"),
    ]
    assert history.changes[1].added == Amounts(None, None, 1)
    assert history.changes[1].window == "2026-11-18T12:00+00:00"


def test_a_removed_budget_holds_nothing_and_its_name_is_free(tally, budgets):
    budgets.set("b", Budget(requests=0, per="all"))
    budgets.remove("b")
    with tally.run("r") as run:
        ask(run)
    assert budgets.list() == []
    assert budgets.set("b", Budget(requests=3, per="all")).spent.requests == 0


@pytest.mark.parametrize("method", ["get", "remove", "history", "top_up"])
def test_an_unknown_name_is_answered_with_names_near_to_it(budgets, method):
    budgets.set("acme-monthly", Budget(usd=1, per="month"))
    with pytest.raises(NotFound, match="did you mean 'acme-monthly'"):
        getattr(budgets, method)("acme-montly")
    budgets.remove("acme-monthly")
    with pytest.raises(NotFound, match="none is set"):
        getattr(budgets, method)("acme")


def test_holds_are_compared_with_what_requests_came_to(tally, budgets):
    budgets.set("one", Budget(usd=10, per="all"))
    budgets.set("two", Budget(usd=10, tokens=10_000, per="all"))
    with tally.run("r") as run:
        ask(run, 5)  # held 10, came to 5
        ask(run, 20, limit=20)  # came to what it held
        ask(run, 4, limit=2)  # came to twice what it held
        ask(run, settle=False)
        with run.request(
            model="cent", provider="local", max_input_tokens=5, max_output_tokens=1
        ) as refused:
            refused.reject("429")
        ask(run, 1, limit=None)
    tally.flush()
    (found,) = tally.ledger.holds_by_model()
    assert (found.provider, found.model) == ("local", "cent")
    assert (found.holds, found.settled, found.in_doubt, found.released) == (6, 5, 1, 0)
    assert (found.limited, found.overrun) == (1, 1)
    cost = found.nanodollars
    # The refused one came to nothing, and nothing is no measure.
    assert cost.requests == 4
    assert cost.actual == (5 + 20 + 4 + 1) * 10_000_000
    assert cost.held > cost.actual
    assert cost.median == 1.5
    assert found.tokens.requests == 4
    later = tally.ledger.holds_by_model(run.recorder.clock.now() + 1)
    assert later == []
