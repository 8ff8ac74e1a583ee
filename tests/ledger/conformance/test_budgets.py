"""Budgets: what holds take from balances, what endings give back, and what limits become."""

from __future__ import annotations

import json

import pytest

from tallystick.errors import LedgerError
from tallystick.ledger import (
    UNITS,
    Amounts,
    Ask,
    BudgetRow,
    BudgetsChanged,
    Claim,
    Ended,
    Granted,
    HoldRefused,
)
from tallystick.ledger.store import Hold, RemoveBudget, SetBudget, TopUp

NOTHING = Amounts(0, 0, 0)
MOST = Amounts(100, 44, 1)
"""What the usual request holds at most: 60 nanodollars and 4 tokens, and 1 and 1 a token of 40."""


@pytest.mark.parametrize(
    ("status", "fields", "spent", "held"),
    [
        ("settled", {"cost_nanodollars": 80, "total_tokens": 20}, (80, 20, 1), NOTHING),
        ("settled", {"cost_nanodollars": 0, "total_tokens": 0}, (0, 0, 1), NOTHING),
        ("settled", {}, MOST, NOTHING),
        ("settled", {"total_tokens": 7}, (100, 7, 1), NOTHING),
        ("released", {}, NOTHING, NOTHING),
        ("in_doubt", {"cost_nanodollars": 80, "total_tokens": 20}, NOTHING, MOST),
    ],
)
def test_a_request_holds_the_most_it_can_come_to_until_it_ends(
    write, claimed, status, fields, spent, held
):
    """I4: in doubt keeps the hold; and what is not known is charged what was held of it."""
    claim = claimed(1_000, 1_000, 10)
    entry = write.hold(write.run(), claim)
    assert (write.balance(claim).held, write.balance(claim).spent) == (MOST, NOTHING)
    ended = write.end(entry, status, budgeted=True, **fields)
    assert ended == Ended(changed=True)
    assert (write.balance(claim).held, write.balance(claim).spent) == (held, spent)
    assert write.balance(claim).debt == NOTHING
    write.end(entry, status, **fields)
    assert (write.balance(claim).held, write.balance(claim).spent) == (held, spent)


def test_what_was_in_doubt_ends_its_hold_when_it_settles(write, claimed):
    claim = claimed(1_000)
    entry = write.hold(write.run(), claim)
    write.end(entry, "in_doubt")
    write.end(entry, cost_nanodollars=30, total_tokens=9)
    assert (write.balance(claim).held, write.balance(claim).spent) == (NOTHING, (30, 9, 1))


def test_a_hold_is_on_all_budgets_or_on_none(write, claimed):
    """I2, and a refusal leaves nothing: no entry, no budget of a run, no balance."""
    wide, narrow = claimed(1_000, name="wide"), claimed(65, name="narrow")
    run = write.run()
    own = write.budget("own", run_id=run.id, per="run", limits=Amounts(500, None, None))
    claims = (wide, narrow, Claim(own, run.id))
    before = write.content()
    refused = write.do(write.asking(write.entry(run), *claims))
    assert isinstance(refused, HoldRefused)
    assert (refused.balance.name, refused.unit, refused.asked) == ("narrow", "nanodollars", 70)
    assert write.content() == before
    granted = write.do(write.asking(write.entry(run), wide, Claim(own, run.id)))
    assert granted == Granted(40)
    assert write.balance(wide).held == write.balance(claims[2]).held == MOST


def test_a_refused_hold_fails_alone(write, claimed):
    claim = claimed(160)
    run = write.run()
    entries = [write.entry(run) for _ in range(3)]
    results = write.store.commit([write.asking(entry, claim) for entry in entries])
    assert results[0] == Granted(40)
    assert isinstance(results[1], LedgerError)
    assert isinstance(results[2], LedgerError)
    assert [write.status(entry) for entry in entries] == ["held", None, None]


def test_the_answer_is_clamped_to_what_the_tightest_budget_affords(write, claimed):
    roomy, tight = claimed(1_000, name="roomy"), claimed(None, 4 + 25, name="tight")
    granted = write.do(write.asking(write.entry(write.run()), roomy, tight))
    assert (granted.output_tokens, granted.limited_by) == (25, "tight")
    assert write.balance(roomy).held == (60 + 25, 4 + 25, 1)
    assert write.balance(tight).room("tokens") == 0


def test_what_fits_exactly_is_limited_by_nobody(write, claimed):
    claim = claimed(*MOST)
    assert write.do(write.asking(write.entry(write.run()), claim)) == Granted(40)
    assert all(write.balance(claim).room(unit) == 0 for unit in UNITS)


def test_a_run_that_could_not_be_written_is_written_before_its_budget(write):
    run = write.row()
    own = write.budget("own", run_id=run.id, per="run", limits=MOST)
    claims = (Claim(own, run.id),)
    operation = Hold(write.entry(run), 5, (run,), Ask(60, 1, 4, 1, 40, 10), claims, write.version())
    assert write.do(operation) == Granted(40)


def test_an_amount_that_nobody_knows_is_let_pass_and_counted(write, claimed):
    claim = claimed(10)
    entry = write.hold(write.run(), claim, ask=Ask(None, 0, None, 0, 40, 40))
    assert write.balance(claim).held == (0, 0, 1)
    write.end(entry)
    assert (write.balance(claim).spent, write.balance(claim).unpriced) == ((0, 0, 1), 1)


def test_claims_that_were_made_by_other_budgets_are_refused(write, claimed):
    """Whoever set one meanwhile: then nothing is held, and the guard looks again."""
    claim = claimed(1_000)
    version = write.version()
    claimed(1_000, name="another")
    run = write.run()
    entry = write.entry(run)
    assert isinstance(write.do(write.asking(entry, claim, version=version)), BudgetsChanged)
    unbudgeted = write.asking(write.entry(run), ask=None, version=version)
    assert isinstance(write.do(unbudgeted), BudgetsChanged)
    assert write.status(entry) is None
    assert write.balance(claim) is None
    assert write.do(write.asking(entry, claim)) == Granted(40)


def test_a_settlement_goes_to_the_window_that_its_hold_named(write):
    """I5, also when that window has ended and the next one is open."""
    budget = write.budget(per="hour", limits=Amounts(200, None, None))
    now = write.clock.now()
    first = Claim(budget, "first", now - 10**9, now + 10**9)
    run = write.run()
    late = write.hold(run, first)
    second = Claim(budget, "second", now - 1, now + 10**12)
    write.hold(run, second)
    write.end(late, cost_nanodollars=90, total_tokens=5)
    assert write.balance(first).spent == (90, 5, 1)
    assert (write.balance(second).spent, write.balance(second).held) == (NOTHING, MOST)


def test_what_was_billed_above_its_bound_is_posted_as_debt_and_stops_what_comes_next(
    write, claimed
):
    """I1: the overrun is never dropped."""
    claim = claimed(150)
    run = write.run()
    write.end(write.hold(run, claim), cost_nanodollars=180, total_tokens=50)
    balance = write.balance(claim)
    assert (balance.spent.nanodollars, balance.debt) == (180, (30, 0, 0))
    assert isinstance(write.do(write.asking(write.entry(run), claim)), HoldRefused)


def test_a_budget_that_only_warns_refuses_nothing_and_counts_the_debt(write, claimed):
    claim = claimed(150, hard=False)
    run = write.run()
    assert write.do(write.asking(write.entry(run), claim)) == Granted(40)
    entry = write.entry(run)
    granted = write.do(write.asking(entry, claim))
    assert [balance.name for balance in granted.exceeded] == ["team"]
    assert write.balance(claim).debt == (50, 0, 0)
    write.end(entry, cost_nanodollars=0, total_tokens=0)
    assert write.balance(claim).debt == NOTHING


def test_a_budget_that_only_warns_is_not_exceeded_by_what_fits_exactly(write, claimed):
    """What is held counts, which another budget may have lowered, and not what was wanted."""
    soft = claimed(60 + 25, 4 + 25, 1, name="soft", hard=False)
    tight = claimed(None, 4 + 25, name="tight")
    assert write.do(write.asking(write.entry(write.run()), soft, tight)) == Granted(25, "tight")


def test_a_mark_is_warned_of_once_in_each_window_and_again_after_a_new_limit(write, claimed):
    claim = claimed(1_000, warn_at=50)
    run = write.run()
    warned = []
    for cost in (40, 460, 10):
        entry = write.hold(run, claim)
        ended = write.end(entry, budgeted=True, cost_nanodollars=cost, total_tokens=1)
        warned.append([balance.spent.nanodollars for balance in ended.warnings])
    assert warned == [[], [500], []]
    claimed(900, warn_at=50)
    ended = write.end(write.hold(run, claim), budgeted=True, cost_nanodollars=0, total_tokens=1)
    assert [balance.limits.nanodollars for balance in ended.warnings] == [900]


def test_topping_up_adds_to_one_window_and_makes_good_its_debt(write, claimed):
    claim = claimed(150, None, 5)
    run = write.run()
    write.end(write.hold(run, claim), cost_nanodollars=180, total_tokens=1)
    for _ in range(2):
        operation = TopUp(claim, Amounts(100, None, 2), write.clock.now())
        assert write.do(operation) is True
    balance = write.balance(claim)
    assert balance.limits == (350, None, 9)
    assert balance.debt == NOTHING
    other = Claim(claim.budget, "other")
    write.hold(run, other)
    assert write.balance(other).limits == (150, None, 5)
    assert write.store.query("SELECT count(*) FROM budget_changes") == [(3,)]


def test_topping_up_goes_by_the_limit_that_the_budget_has_by_now(write, claimed):
    claim = claimed(1_000)
    write.hold(write.run(), claim)
    claimed(500)
    write.do(TopUp(claim, Amounts(50, None, None), write.clock.now()))
    assert write.balance(claim).limits.nanodollars == 550


def test_lowering_a_limit_under_what_is_spent_posts_the_difference_as_debt(write, claimed):
    claim = claimed(1_000)
    run = write.run()
    entry = write.hold(run, claim)
    write.do(TopUp(claim, Amounts(5, None, None), write.clock.now()))
    assert claimed(60).budget.id != claim.budget.id, "a new id is asked for, and the old one kept"
    balance = write.balance(claim)
    assert (balance.limits.nanodollars, balance.debt.nanodollars) == (65, 35)
    assert isinstance(write.do(write.asking(write.entry(run), claim)), HoldRefused)
    write.end(entry, cost_nanodollars=10, total_tokens=1)
    assert (write.balance(claim).debt, write.balance(claim).spent.nanodollars) == (NOTHING, 10)


def test_a_window_that_has_ended_keeps_the_limit_that_it_had(write):
    budget = write.budget(per="hour", limits=Amounts(200, None, None))
    now = write.clock.now()
    ending = Claim(budget, "ending", now - 10**9, now + 10**8)
    write.hold(write.run(), ending)
    later = BudgetRow("budget_x", "team", "hour", Amounts(100, None, None), now + 10**9)
    assert write.do(SetBudget(later)) is True
    assert write.balance(ending).limits.nanodollars == 200


def test_a_budget_of_another_scope_or_window_begins_anew_under_its_name(write, claimed):
    claim = claimed(1_000)
    write.hold(write.run(), claim)
    scoped = claimed(1_000, scope={"customer": "acme"})
    rows = write.store.query("SELECT id, removed_at IS NULL, scope FROM budgets ORDER BY rowid")
    assert [(row[0], row[1], json.loads(row[2])) for row in rows] == [
        (claim.budget.id, 0, {}),
        (scoped.budget.id, 1, {"customer": "acme"}),
    ]
    assert write.balance(scoped) is None
    zoned = claimed(1_000, scope={"customer": "acme"}, zone="Europe/Berlin")
    assert write.store.query("SELECT id FROM budgets WHERE removed_at IS NULL") == [
        (zoned.budget.id,)
    ]


def test_a_removed_budget_keeps_what_it_holds_until_that_ends(write, claimed):
    claim = claimed(1_000)
    run = write.run()
    entry = write.hold(run, claim)
    now = write.clock.now()
    assert write.do(RemoveBudget(claim.budget.id, now)) is True
    assert write.do(RemoveBudget(claim.budget.id, now + 1)) is False
    assert write.balance(claim).held == MOST
    write.end(entry, cost_nanodollars=10, total_tokens=1)
    assert (write.balance(claim).held, write.balance(claim).spent) == (NOTHING, (10, 1, 1))
    changes = write.store.query("SELECT change FROM budget_changes ORDER BY number")
    assert changes == [("set",), ("remove",)]


def test_the_requests_of_a_child_run_hold_once_on_each_budget_of_its_ancestors(write):
    """I8."""
    top = write.run()
    child = write.run(top)
    claims = [
        Claim(
            write.budget("own", run_id=run.id, per="run", limits=Amounts(1_000, None, None)), run.id
        )
        for run in (top, child)
    ]
    write.end(write.hold(child, *claims), cost_nanodollars=30, total_tokens=9)
    write.end(write.hold(top, claims[0]), cost_nanodollars=5, total_tokens=1)
    assert [write.balance(claim).spent for claim in claims] == [(35, 10, 2), (30, 9, 1)]
