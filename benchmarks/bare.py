"""Holding and settling through a bare `sqlite3` connection: the peer of the ledger.

It ends up with the same rows in the same tables and indexes as the ledger. Its first transaction
inserts the entry, checks and raises three balances in a statement each, and inserts three holds.
Its second updates the entry, the run's totals, the hourly rollup, the three holds and the three
balances. It has no triggers, CHECKs or foreign keys, compares no versions, looks for no budget to
warn of, and is given its values as they are stored.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.workload import ASK, BUDGETS, DURATION, LIMITS, RAW_USAGE, RUN, START, Pair, pair
from tallystick.ledger.entry import CHANGING, encode, encode_raw_usage
from tallystick.ledger.rollup import HOUR, SUBJECT_COLUMNS
from tallystick.ledger.sqlite import Durability

TABLES = ("entries", "run_totals", "subjects", "rollups", "balances", "holds")


class Bare:
    """The same rows through a bare connection, in two transactions for each request."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute
        names = ("id", "run_id", "process_id", "status", "started_at", "started_text", *CHANGING)
        self._insert_entry = (
            f"INSERT INTO entries ({', '.join(_quoted(names))}) "  # noqa: S608
            f"VALUES ({', '.join('?' * len(names))})"
        )
        self._update_entry = (
            "UPDATE entries SET status = ?, finished_at = ?, duration = ?, raw_usage = ?, "  # noqa: S608
            f"{', '.join(f'{name} = ?' for name in _quoted(CHANGING))} "
            "WHERE id = ? AND status = 'held'"
        )

    def rows(self, pair: Pair) -> tuple[Any, ...]:
        """Return what is to be written of a request, as it is stored."""
        identity = pair.held.id
        held = encode(pair.held, None)
        settled = encode(pair.settled, DURATION)
        amounts = ASK.amounts(ASK.output_tokens)
        text = encode_raw_usage(RAW_USAGE)
        now = pair.started_at + DURATION
        return (
            (identity, RUN, "proc", "held", pair.started_at, None, *held),
            [(*amounts, f"budget_{name}", "all", *amounts) for name in sorted(BUDGETS)],
            [(identity, f"budget_{name}", "all", *amounts) for name in sorted(BUDGETS)],
            ("settled", now, DURATION, text, *settled, identity),
            (1200, 1024, 0, 300, 64, 1500, 4_500_000, RUN),
            (1200, 1024, 0, 300, 64, 1500, 4_500_000, pair.started_at // HOUR, 1),
            (4_500_000, 1500, 1, identity),
            [(*amounts, 4_500_000, 1500, 1, f"budget_{name}", "all") for name in sorted(BUDGETS)],
        )

    def one_by_one(self, work: Sequence[tuple[Any, ...]]) -> None:
        """Hold and settle each in turn."""
        execute = self._execute
        for entry, raises, holds, ended, totals, rollup, charged, ends in work:
            execute("BEGIN IMMEDIATE")
            execute(self._insert_entry, entry)
            for values in raises:
                if execute(_RAISE, values).rowcount != 1:
                    raise RuntimeError("the budget has no room")
            for values in holds:
                execute(_INSERT_HOLD, values)
            execute("COMMIT")
            execute("BEGIN IMMEDIATE")
            execute(self._update_entry, ended)
            execute(_ADD.format("run_totals") + "run_id = ?", totals)
            execute(_ADD.format("rollups") + "hour = ? AND subject_id = ?", rollup)
            execute(_END_HOLDS, charged)
            for values in ends:
                execute(_LOWER, values)
            execute("COMMIT")


_RAISE = (
    "UPDATE balances SET held_nanodollars = held_nanodollars + ?, held_tokens = held_tokens + ?, "
    'held_requests = held_requests + ? WHERE budget_id = ? AND "window" = ? '
    "AND spent_nanodollars + held_nanodollars + ? <= limit_nanodollars "
    "AND spent_tokens + held_tokens + ? <= limit_tokens "
    "AND spent_requests + held_requests + ? <= limit_requests"
)
_INSERT_HOLD = (
    'INSERT INTO holds (entry_id, budget_id, "window", status, nanodollars, tokens, requests) '
    "VALUES (?, ?, ?, 'held', ?, ?, ?)"
)
_ADD = (
    "UPDATE {} SET requests = requests + 1, input_tokens = input_tokens + ?, "
    "cached_tokens = cached_tokens + ?, cache_write_tokens = cache_write_tokens + ?, "
    "output_tokens = output_tokens + ?, reasoning_tokens = reasoning_tokens + ?, "
    "total_tokens = total_tokens + ?, cost_nanodollars = cost_nanodollars + ? WHERE "
)
_END_HOLDS = (
    "UPDATE holds SET status = 'settled', spent_nanodollars = ?, spent_tokens = ?, "
    "spent_requests = ? WHERE entry_id = ?"
)
_LOWER = (
    "UPDATE balances SET held_nanodollars = held_nanodollars - ?, held_tokens = held_tokens - ?, "
    "held_requests = held_requests - ?, spent_nanodollars = spent_nanodollars + ?, "
    "spent_tokens = spent_tokens + ?, spent_requests = spent_requests + ? "
    'WHERE budget_id = ? AND "window" = ?'
)


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]


def _bare_schema(model: sqlite3.Connection) -> list[str]:
    """Return the statements for a ledger's tables and indexes without any of its rules."""
    statements = []
    for table in TABLES:
        columns = model.execute(f"PRAGMA table_info({table})").fetchall()
        keys = [f'"{name}"' for _, name, *_, key in sorted(columns, key=lambda c: c[5]) if key]
        lines = [
            f'"{name}" {kind}{"" if default is None else f" DEFAULT {default}"}'
            for _, name, kind, _, default, _ in columns
        ]
        ((sql,),) = model.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,))
        without = " WITHOUT ROWID" if "WITHOUT ROWID" in sql else ""
        statements.append(
            f"CREATE TABLE {table} ({', '.join(lines)}, PRIMARY KEY ({', '.join(keys)})){without}"
        )
        found = model.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL AND tbl_name = ?",
            (table,),
        )
        statements += [sql for (sql,) in found]
    statements.append("CREATE UNIQUE INDEX entries_once ON entries (id)")
    return statements


@contextmanager
def bare(path: Path, ledger: Path, durability: Durability) -> Iterator[sqlite3.Connection]:
    """Open a database like the ledger, with the rows that are there before the first request."""
    with (
        closing(sqlite3.connect(ledger)) as model,
        closing(sqlite3.connect(path, isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {durability.upper()}")
        for statement in _bare_schema(model):
            connection.execute(statement)
        settled = pair("req_0", 0).settled.record
        names = ", ".join(_quoted(SUBJECT_COLUMNS))
        connection.execute(
            f"INSERT INTO subjects (id, {names}) VALUES (1{', ?' * len(SUBJECT_COLUMNS)})",  # noqa: S608
            [settled.get(name) for name in SUBJECT_COLUMNS],
        )
        connection.execute("INSERT INTO run_totals (run_id) VALUES (?)", (RUN,))
        connection.execute(
            "INSERT INTO rollups (hour, subject_id, first_number, last_number) VALUES (?, 1, 1, 1)",
            (START // HOUR,),
        )
        for name in BUDGETS:
            connection.execute(
                'INSERT INTO balances (budget_id, "window", hard, limit_nanodollars, '
                "limit_tokens, limit_requests) VALUES (?, 'all', 1, ?, ?, ?)",
                (f"budget_{name}", *LIMITS),
            )
        yield connection
