"""Whether a ledger agrees with itself.

Everything that the ledger keeps beside its entries is computed again from the entries, in one
snapshot, and compared; every rule that the triggers and constraints enforce is looked at once
more in the rows, because a file can be changed behind their back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tallystick.ledger.adjustment import books_of, is_named, unpacked
from tallystick.ledger.entry import COUNT_COLUMNS
from tallystick.ledger.reconciliation import reconciliation_problems
from tallystick.ledger.store import TOTAL_COLUMNS, Query, Store
from tallystick.ledger.verify_budgets import budget_notes, budget_problems
from tallystick.ledger.verify_rollups import rollup_problems

MOST_PROBLEMS = 1_000
"""How many problems are written out; the rest are only counted."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` looked at and what it found."""

    runs: int
    entries: int
    counts: int
    """How many totals of runs were computed again and compared."""
    problems: tuple[str, ...] = ()
    """Each a sentence that names the row and the column. Empty where all agrees."""
    notes: tuple[str, ...] = ()
    """What is odd and no fault of the ledger, such as details that exceed their total."""
    adjustments: int = 0
    """Prices made later; the totals of runs are of the entries as they were written."""
    books: int = 0
    balances: int = 0
    """Budgets, each in each of its windows."""
    rollups: int = 0
    """Groups of requests of an hour that are summed beside the entries."""

    @property
    def ok(self) -> bool:
        """Whether the ledger agrees with itself."""
        return not self.problems


_COUNTED = "status IN ('settled', 'in_doubt')"

_RECOMPUTED = {
    "requests": f"sum({_COUNTED})",
    "released": "sum(status = 'released')",
    "in_doubt": "sum(status = 'in_doubt')",
    "estimated": f"sum({_COUNTED} AND coalesce(estimated, 0) = 1)",
    "cost_nanodollars": f"sum(CASE WHEN {_COUNTED} THEN cost_nanodollars END)",
    "cost_unpriced": f"sum({_COUNTED} AND cost_nanodollars IS NULL)",
    "cost_estimated": (
        f"sum({_COUNTED} AND cost_nanodollars IS NOT NULL AND coalesce(cost_estimated, 0) = 1)"
    ),
}
"""How each total follows from the entries of a run; a column that is not here is a sum."""

_RULES = (
    (
        "has the status {}, which there is not",
        (
            "SELECT id, status FROM entries "
            "WHERE status NOT IN ('held', 'settled', 'released', 'in_doubt')"
        ),
    ),
    (
        "is held and yet finished at {}",
        "SELECT id, finished_at FROM entries WHERE status = 'held' AND finished_at IS NOT NULL",
    ),
    (
        "is {} without a time at which it ended",
        "SELECT id, status FROM entries WHERE status <> 'held' AND finished_at IS NULL",
    ),
    (
        "is settled as {} without any count, error or note that says why",
        (
            "SELECT id, coalesce(outcome, 'no outcome') FROM entries WHERE status = 'settled' "
            "AND input_tokens IS NULL AND output_tokens IS NULL AND total_tokens IS NULL "
            "AND outcome IS NULL AND error_type IS NULL AND price_reason IS NULL"
        ),
    ),
    (
        "names the process {}, which ended before the entry was held",
        (
            "SELECT entries.id, processes.id FROM entries "
            "JOIN processes ON processes.id = entries.process_id "
            "WHERE entries.status = 'held' AND processes.ended_at IS NOT NULL"
        ),
    ),
)
"""Rules for entries: what is wrong, and the query for the id and the value that break it."""

_RUN_RULES = (
    (
        "has no totals",
        (
            "SELECT runs.id FROM runs LEFT JOIN run_totals ON run_totals.run_id = runs.id "
            "WHERE run_totals.run_id IS NULL"
        ),
    ),
    (
        "is not in the tree of its parent",
        (
            "SELECT child.id FROM runs AS child JOIN runs AS parent ON parent.id = child.parent_id "
            "WHERE child.root_id <> parent.root_id"
        ),
    ),
    (
        "has no parent and yet another root",
        "SELECT id FROM runs WHERE (parent_id IS NULL) <> (root_id = id)",
    ),
    (
        "cannot be reached from its root: its parents go round in a circle",
        (
            "WITH RECURSIVE reached (id) AS (SELECT id FROM runs WHERE parent_id IS NULL "
            "UNION SELECT runs.id FROM runs JOIN reached ON runs.parent_id = reached.id) "
            "SELECT id FROM runs WHERE id NOT IN (SELECT id FROM reached)"
        ),
    ),
    (
        "ended without an outcome",
        "SELECT id FROM runs WHERE ended_at IS NOT NULL AND outcome IS NULL",
    ),
)

_ADJUSTMENT_RULES = (
    (
        "is of the entry {}, which there is not",
        ("SELECT number, entry_id FROM adjustments WHERE entry_id NOT IN (SELECT id FROM entries)"),
    ),
    (
        "is of the entry {}, which is neither settled nor in doubt as it says",
        (
            "SELECT adjustments.number, entries.id FROM adjustments "
            "JOIN entries ON entries.id = adjustments.entry_id "
            "WHERE (adjustments.status <> entries.status AND "
            "NOT (adjustments.status = 'in_doubt' AND entries.status IN ('settled', 'released'))) "
            "OR adjustments.status NOT IN ('settled', 'in_doubt')"
        ),
    ),
    (
        "has {} for an amount, which is none",
        (
            "SELECT number, cost_nanodollars FROM adjustments WHERE cost_nanodollars < 0 "
            "OR typeof(cost_nanodollars) NOT IN ('integer', 'null')"
        ),
    ),
    (
        "says that the price was {} before, which it was not",
        # What an entry cost while it was in doubt is gone from its row once it has settled.
        (
            "SELECT number, coalesce(previous, 'unknown') FROM (SELECT adjustments.number, "
            "adjustments.previous_nanodollars AS previous, "
            "adjustments.status AS status, entries.status AS entry_status, "
            "entries.cost_nanodollars AS own, "
            "lag(adjustments.cost_nanodollars) OVER made AS before, "
            "row_number() OVER made AS place "
            "FROM adjustments JOIN entries ON entries.id = adjustments.entry_id "
            "WINDOW made AS (PARTITION BY adjustments.entry_id, adjustments.status "
            "ORDER BY adjustments.number)) "
            "WHERE CASE WHEN place > 1 THEN previous IS NOT before "
            "ELSE status = entry_status AND previous IS NOT own END"
        ),
    ),
)
"""Rules for adjustments: what is wrong, and the query for the number and the value."""

_ODDITIES = (
    (
        "it was never sent, and yet has counts ({}) or a cost",
        (
            "SELECT id, coalesce(total_tokens, input_tokens, output_tokens) FROM entries "
            "WHERE status = 'released' AND coalesce(input_tokens, output_tokens, total_tokens, "
            "cost_nanodollars, 0) > 0"
        ),
    ),
    (
        "the parts of its input come to more than the {} tokens of it",
        (
            "SELECT id, input_tokens FROM entries "
            "WHERE coalesce(cached_tokens, 0) + coalesce(cache_write_tokens, 0) > input_tokens"
        ),
    ),
    (
        "its reasoning comes to more than the {} tokens of its output",
        "SELECT id, output_tokens FROM entries WHERE reasoning_tokens > output_tokens",
    ),
)


def verify(store: Store) -> Verification:
    """Compare what the ledger keeps with what its entries come to.

    Raises:
        LedgerUnavailable: it cannot be read at all.
    """
    problems: list[str] = []
    notes: list[str] = []
    with store.snapshot() as query:
        problems += store.integrity()
        ((runs,),) = query("SELECT count(*) FROM runs")
        ((entries,),) = query("SELECT count(*) FROM entries")
        counts = _compare_totals(query, problems)
        for words, sql in _RUN_RULES:
            problems += (f"run {identity} {words}" for (identity,) in query(sql))
        for words, sql in (*_RULES, *_count_rules()):
            problems += (
                f"entry {identity} {words.format(value)}" for identity, value in query(sql)
            )
        for words, sql in _ODDITIES:
            notes += (f"entry {identity}: {words.format(value)}" for identity, value in query(sql))
        ((adjustments,),) = query("SELECT count(*) FROM adjustments")
        for words, sql in _ADJUSTMENT_RULES if adjustments else ():
            problems += (
                f"adjustment {number} {words.format(value)}" for number, value in query(sql)
            )
        ((books,),) = query("SELECT count(*) FROM books")
        problems += _damaged_books(query)
        notes += _absent_books(query)
        ((balances,),) = query("SELECT count(*) FROM balances")
        problems += budget_problems(query)
        notes += budget_notes(query)
        ((rollups,),) = query("SELECT count(*) FROM rollups")
        problems += rollup_problems(query)
        problems += reconciliation_problems(query)
    found = (_shortened(problems), _shortened(notes))
    return Verification(runs, entries, counts, *found, adjustments, books, balances, rollups)


def _damaged_books(query: Query) -> Iterator[str]:
    for name, kept in query("SELECT hash, content FROM books ORDER BY hash"):
        try:
            if not is_named(unpacked(kept), name):
                yield f"book {name} holds another content than its name says"
        except ValueError as error:
            yield f"book {name}: {error}"


def _absent_books(query: Query) -> Iterator[str]:
    """Say which books are named and not kept: those of entries from before books were kept."""
    kept = {name for (name,) in query("SELECT hash FROM books")}
    named = query(
        "SELECT price_book, count(*) FROM entries WHERE price_book IS NOT NULL GROUP BY price_book "
        "UNION ALL SELECT book, count(*) FROM adjustments WHERE book IS NOT NULL GROUP BY book"
    )
    absent: dict[str, int] = {}
    for price_book, number in named:
        for name in books_of(price_book):
            if name not in kept:
                absent[name] = absent.get(name, 0) + number
    for name, number in absent.items():
        yield f"book {name}: {number} prices name it, and the ledger does not hold it"


def _compare_totals(query: Query, problems: list[str]) -> int:
    recomputed = ", ".join(
        f"coalesce({_RECOMPUTED.get(name, f'sum(CASE WHEN {_COUNTED} THEN {name} END)')}, 0)"
        for name in TOTAL_COLUMNS
    )
    expected: dict[Any, tuple[Any, ...]] = {
        row[0]: row[1:]
        for row in query(f"SELECT run_id, {recomputed} FROM entries GROUP BY run_id")  # noqa: S608
    }
    nothing = (0,) * len(TOTAL_COLUMNS)
    columns = ", ".join(TOTAL_COLUMNS)
    kept = query(f"SELECT run_id, {columns} FROM run_totals ORDER BY run_id")  # noqa: S608
    for run_id, *totals in kept:
        for name, total, sum_of_entries in zip(
            TOTAL_COLUMNS, totals, expected.get(run_id, nothing), strict=True
        ):
            if total != sum_of_entries:
                problems.append(
                    f"run {run_id}: {name} is kept as {total}, "
                    f"and its entries come to {sum_of_entries}"
                )
    return len(kept) * len(TOTAL_COLUMNS)


def _count_rules() -> list[tuple[str, str]]:
    return [
        (
            f"has {{!r}} for {name}, which is no count",
            (
                f"SELECT id, {name} FROM entries "  # noqa: S608
                f"WHERE {name} < 0 OR typeof({name}) NOT IN ('integer', 'null')"
            ),
        )
        for name in COUNT_COLUMNS
    ]


def _shortened(findings: list[str]) -> tuple[str, ...]:
    if len(findings) <= MOST_PROBLEMS:
        return tuple(findings)
    return (*findings[:MOST_PROBLEMS], f"and {len(findings) - MOST_PROBLEMS} more")
