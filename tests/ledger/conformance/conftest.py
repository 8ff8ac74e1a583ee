"""The stores that must pass these tests, and few words to write to them with.

Another database is one more line in `STORES`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass, field

import pytest

from tallystick.clock import Clock
from tallystick.ledger import Amounts, Ask, BudgetRow, Claim, RunRow
from tallystick.ledger.holding import BALANCE_COLUMNS, balance_of
from tallystick.ledger.location import locate
from tallystick.ledger.sqlite_store import SqliteStore
from tallystick.ledger.store import Finish, Hold, LedgerError, OpenRun, SetBudget
from tallystick.ledger.verify import verify
from tallystick.usage import RequestUsage

ASK = Ask(60, 1, 4, 1, output_tokens=40, least=10)
"""60 to 100 nanodollars, 4 to 44 tokens."""

MOST = Amounts(100, 44, 1)
"""What `ASK` comes to where nothing limits it."""


UNLIMITED = Amounts()


class SqliteFile:
    """SQLite in a file, which several stores can have open."""

    shared = True

    def __init__(self, folder):
        self.location = locate(folder / "usage.db")
        self.stores = []

    def open(self):
        store = SqliteStore(self.location)
        self.stores.append(store)
        return store

    def execute(self, sql):
        """Do a statement as another program would."""
        with contextlib.closing(sqlite3.connect(self.location.path)) as other, other:
            return other.execute(sql).rowcount

    def close(self):
        for store in self.stores:
            store.close()


class SqliteMemory(SqliteFile):
    """SQLite in memory, which one store has for itself."""

    shared = False

    def __init__(self, folder):
        super().__init__(folder)
        self.location = locate(":memory:")

    def execute(self, sql):
        return self.stores[0]._writing.execute(sql).rowcount


STORES = {"sqlite file": SqliteFile, "sqlite memory": SqliteMemory}


@pytest.fixture(params=STORES)
def database(request, tmp_path):
    """Somewhere a store can be opened, and opened again."""
    database = STORES[request.param](tmp_path)
    yield database
    database.close()


@pytest.fixture
def another(database, store):
    """A second store of the same ledger, as another process has."""
    if not database.shared:
        pytest.skip("what is in memory has one store")
    return database.open()


@dataclass
class Writer:
    """A store, and what is often done to it. Each operation is a transaction of its own."""

    store: object
    clock: Clock = field(default_factory=Clock)

    def do(self, operation, *, again=False):
        (result,) = self.store.commit([operation], again=again)
        return result

    def row(self, parent=None):
        identity = self.clock.id("run")
        root = identity if parent is None else parent.root_id
        above = None if parent is None else parent.id
        return RunRow(identity, above, root, "trip", None, self.clock.now())

    def run(self, parent=None):
        run = self.row(parent)
        assert self.do(OpenRun(run)) is True
        return run

    def entry(self, run, **fields):
        return RequestUsage(
            id=self.clock.id("req"), run_id=run.id, status="held", model="gpt-5", **fields
        )

    def budget(self, name="team", *, per="all", limits=UNLIMITED, **more):
        """Set a standing budget, and return it as it is kept."""
        made = BudgetRow(self.clock.id("budget"), name, per, limits, self.clock.now(), **more)
        if made.run_id is None:
            assert self.do(SetBudget(made)) is True
        return made

    def asking(self, entry, *claims, ask=ASK, version=None):
        """Return the operation that holds an entry on budgets."""
        version = self.version() if version is None else version
        return Hold(entry, self.clock.now(), (), ask, claims, version)

    def hold(self, run, *claims, ask=ASK):
        """Hold a new request, which has to succeed, and return its entry."""
        entry = self.entry(run)
        result = self.do(self.asking(entry, *claims, ask=ask))
        assert not isinstance(result, LedgerError), result
        return entry

    def ending(self, entry, status="settled", *, budgeted=False, **fields):
        ended = entry.replace(status=status, outcome="completed", **fields)
        return Finish(ended, None, 5, self.clock.now(), budgeted=budgeted)

    def end(self, entry, status="settled", **fields):
        return self.do(self.ending(entry, status, **fields))

    def version(self):
        ((newest,),) = self.store.query("SELECT max(number) FROM budget_changes")
        return newest or 0

    def balance(self, claim):
        rows = self.store.query(
            f'SELECT {BALANCE_COLUMNS} FROM balances WHERE budget_id = ? AND "window" = ?',  # noqa: S608
            (claim.budget.id, claim.window),
        )
        return balance_of(rows[0], claim.budget.name) if rows else None

    def status(self, entry):
        rows = self.store.query("SELECT status FROM entries WHERE id = ?", (entry.id,))
        return rows[0][0] if rows else None

    def content(self):
        """Return all that was written, but for which process wrote."""
        tables = ("runs", "entries", "run_totals", "budgets", "budget_changes", "balances")
        more = ("holds", "adjustments", "books", "rollups", "reconciliations")
        return {name: self.store.query(f"SELECT * FROM {name}") for name in (*tables, *more)}  # noqa: S608

    def agrees(self):
        found = verify(self.store)
        assert found.problems == ()
        return True


@pytest.fixture
def store(database):
    return database.open()


@pytest.fixture
def write(store):
    writer = Writer(store)
    yield writer
    # Whatever a test did, the ledger agrees with itself (I1 to I8).
    assert writer.agrees()


@pytest.fixture
def claimed(write):
    """Set a budget of these limits, and return the claim on it."""

    def make(nanodollars=None, tokens=None, requests=None, *, name="team", **more):
        limits = Amounts(nanodollars, tokens, requests)
        return Claim(write.budget(name, limits=limits, **more), "all")

    return make
