"""Whether budgets agree with the requests that were held on them."""

from __future__ import annotations

from collections.abc import Iterator

from tallystick.ledger.balance import UNITS
from tallystick.ledger.store import Query
from tallystick.ledger.verify_balances import balance_problems

_SPENT = {
    "nanodollars": "ifnull(entries.cost_nanodollars, holds.nanodollars)",
    "tokens": "ifnull(entries.total_tokens, holds.tokens)",
    "requests": "1",
}
"""What a settled hold spent: what its entry says, and what was held where that is not known."""

_SUMS = {
    **{f"held_{unit}": f"sum(iif(status = 'held', ifnull({unit}, 0), 0))" for unit in UNITS},
    **{f"spent_{unit}": f"sum(ifnull(spent_{unit}, 0))" for unit in UNITS},
    "unpriced": "sum(status = 'settled' AND spent_nanodollars IS NULL)",
}
"""How each sum of a balance follows from its holds."""

_INSIDE = (
    "WITH RECURSIVE inside (budget_id, run_id) AS ("
    "SELECT id, run_id FROM budgets WHERE run_id IS NOT NULL UNION "
    "SELECT budget_id, runs.id FROM runs JOIN inside ON runs.parent_id = inside.run_id) "
)
"""The runs that are under the budget of a run: that run, and all inside it (I8)."""

# What another model used inside a request is told by that request's answer: it was never asked
# for by itself, and its note says so.
_UNHELD = (
    f"{_INSIDE} SELECT entries.id, budgets.id FROM inside "  # noqa: S608
    "JOIN entries USING (run_id) JOIN budgets ON budgets.id = inside.budget_id "
    "WHERE entries.status <> 'released' AND entries.started_at > budgets.created_at "
    "AND ifnull(entries.rest, '') NOT LIKE '%\"inside: %' AND NOT EXISTS (SELECT 1 FROM holds "
    "WHERE holds.entry_id = entries.id AND holds.budget_id = budgets.id) "
)
_STRICT = "budgets.hard AND budgets.policy NOT LIKE '%\"unkept\"%'"

_HOLD_RULES = (
    (
        "is {}, and its entry is {}",
        (
            "SELECT entry_id, budget_id, holds.status, entries.status FROM holds "
            "JOIN entries ON entries.id = entry_id "
            "WHERE iif(entries.status = 'in_doubt', 'held', entries.status) <> holds.status"
        ),
    ),
    (
        "is of the window {}, in which its request was not sent",
        (
            'SELECT entry_id, budget_id, holds."window" FROM holds '
            "JOIN entries ON entries.id = entry_id "
            'JOIN balances USING (budget_id, "window") '
            "WHERE entries.started_at < begins_at OR entries.started_at >= ends_at"
        ),
    ),
    (
        "is of the run {}, in which its request was not sent",
        (
            f'{_INSIDE} SELECT entry_id, budget_id, holds."window" FROM holds '  # noqa: S608
            "JOIN entries ON entries.id = entry_id JOIN runs ON runs.id = entries.run_id "
            "JOIN budgets ON budgets.id = budget_id WHERE budgets.per = 'run' AND "
            'iif(budgets.run_id IS NULL, holds."window" <> runs.root_id, '
            'holds."window" <> budgets.run_id OR (budget_id, entries.run_id) NOT IN inside)'
        ),
    ),
    *(
        (
            f"spent {{}} {unit}, and by its entry it is {{}}",
            (
                f"SELECT entry_id, budget_id, ifnull(spent_{unit}, 'unknown'), "  # noqa: S608
                f"ifnull(iif(holds.status = 'settled', {_SPENT[unit]}, 0), 'unknown') FROM holds "
                "JOIN entries ON entries.id = entry_id "
                f"WHERE spent_{unit} IS NOT iif(holds.status = 'settled', {_SPENT[unit]}, NULL)"
            ),
        )
        for unit in UNITS
    ),
)
"""What is wrong with a hold, and the query for its entry, its budget and the values."""

_BALANCE_RULES = tuple(
    rule
    for unit in UNITS
    for rule in (
        (
            f"has {{}} {unit} spent and held, above its limit of {{}} and its debt",
            (
                f'SELECT budget_id, "window", spent_{unit} + held_{unit}, limit_{unit} '  # noqa: S608
                "FROM balances "
                f"WHERE hard AND spent_{unit} + held_{unit} > limit_{unit} + debt_{unit}"
            ),
        ),
        (
            f"has a debt of {{}} {unit}, and is {{}} above its limit",
            (
                f'SELECT budget_id, "window", debt_{unit}, '  # noqa: S608
                f"max(0, ifnull(spent_{unit} + held_{unit} - limit_{unit}, 0)) FROM balances "
                f"WHERE debt_{unit} <> max(0, ifnull(spent_{unit} + held_{unit} - limit_{unit}, 0))"
            ),
        ),
    )
)
"""What is wrong with a balance, and the query for its budget, its window and the values."""


def budget_problems(query: Query) -> Iterator[str]:
    """Say what is wrong with holds and balances."""
    for words, sql in _HOLD_RULES:
        for entry_id, budget_id, *values in query(sql):
            yield f"the hold of entry {entry_id} on {budget_id} {words.format(*values)}"
    for words, sql in _BALANCE_RULES:
        for budget_id, window, *values in query(sql):
            yield f"{budget_id} in {window} {words.format(*values)}"
    yield from balance_problems(query)
    yield from _sum_problems(query)
    for entry_id, budget_id in query(f"{_UNHELD} AND {_STRICT}"):
        yield f"entry {entry_id} was sent without a hold on {budget_id}, which it falls under"


def budget_notes(query: Query) -> Iterator[str]:
    """Say what was sent without a hold that a budget lets pass."""
    for entry_id, budget_id in query(f"{_UNHELD} AND NOT ({_STRICT})"):
        yield f"entry {entry_id}: it could not be held on {budget_id}, which let it pass"


def _sum_problems(query: Query) -> Iterator[str]:
    expected = {
        (budget_id, window): sums
        for budget_id, window, *sums in query(
            f'SELECT budget_id, "window", {", ".join(_SUMS.values())} FROM holds '  # noqa: S608
            'GROUP BY budget_id, "window"'
        )
    }
    kept = query(f'SELECT budget_id, "window", {", ".join(_SUMS)} FROM balances')  # noqa: S608
    for budget_id, window, *sums in kept:
        holds = expected.get((budget_id, window), [0] * len(_SUMS))
        for name, found, held in zip(_SUMS, sums, holds, strict=True):
            if found != held:
                yield (
                    f"{budget_id} in {window}: {name} is kept as {found}, "
                    f"and its holds come to {held}"
                )
