"""Migration 4: budgets, their balances, and the holds of requests on them.

A hold is a row of its own for each budget. Triggers end it together with its entry and carry
every change to the balance, so that neither can be without the other; the balance's CHECKs are
what no statement gets past.
"""

from __future__ import annotations

from typing import Final

BUDGETS: Final = (
    """
    CREATE TABLE budgets (
        id                TEXT PRIMARY KEY,
        name              TEXT NOT NULL,
        run_id            TEXT REFERENCES runs (id),
        scope             TEXT NOT NULL,
        per               TEXT NOT NULL
                          CHECK (per IN ('run', 'hour', 'day', 'week', 'month', 'all')),
        zone              TEXT NOT NULL,
        limit_nanodollars INTEGER CHECK (limit_nanodollars BETWEEN 0 AND 1000000000000000000),
        limit_tokens      INTEGER CHECK (limit_tokens BETWEEN 0 AND 1000000000000000000),
        limit_requests    INTEGER CHECK (limit_requests BETWEEN 0 AND 1000000000000000000),
        hard              INTEGER NOT NULL CHECK (hard IN (0, 1)),
        warn_at           INTEGER CHECK (warn_at BETWEEN 1 AND 100),
        policy            TEXT NOT NULL,
        created_at        INTEGER NOT NULL CHECK (typeof(created_at) = 'integer'),
        removed_at        INTEGER
    )
    """,
    # A name is free again when the budget that had it is removed.
    """
    CREATE UNIQUE INDEX budgets_standing ON budgets (name)
    WHERE run_id IS NULL AND removed_at IS NULL
    """,
    # Who changed what, and when. The newest number is the version of the standing budgets: a
    # hold that was worked out under an older one is worked out again.
    """
    CREATE TABLE budget_changes (
        number    INTEGER PRIMARY KEY,
        budget_id TEXT NOT NULL REFERENCES budgets (id),
        made_at   INTEGER NOT NULL CHECK (typeof(made_at) = 'integer'),
        change    TEXT NOT NULL CHECK (change IN ('set', 'top up', 'remove')),
        detail    TEXT NOT NULL
    )
    """,
    # A budget in one window. The limit has what was topped up in it; `extra` says how much that
    # is. Debt is by how much spent and held exceed the limit: a hold cannot make any.
    """
    CREATE TABLE balances (
        budget_id         TEXT NOT NULL REFERENCES budgets (id),
        "window"          TEXT NOT NULL,
        begins_at         INTEGER,
        ends_at           INTEGER,
        hard              INTEGER NOT NULL CHECK (hard IN (0, 1)),
        limit_nanodollars INTEGER CHECK (limit_nanodollars >= 0),
        limit_tokens      INTEGER CHECK (limit_tokens >= 0),
        limit_requests    INTEGER CHECK (limit_requests >= 0),
        extra_nanodollars INTEGER NOT NULL DEFAULT 0 CHECK (extra_nanodollars >= 0),
        extra_tokens      INTEGER NOT NULL DEFAULT 0 CHECK (extra_tokens >= 0),
        extra_requests    INTEGER NOT NULL DEFAULT 0 CHECK (extra_requests >= 0),
        spent_nanodollars INTEGER NOT NULL DEFAULT 0 CHECK (spent_nanodollars >= 0),
        spent_tokens      INTEGER NOT NULL DEFAULT 0 CHECK (spent_tokens >= 0),
        spent_requests    INTEGER NOT NULL DEFAULT 0 CHECK (spent_requests >= 0),
        held_nanodollars  INTEGER NOT NULL DEFAULT 0 CHECK (held_nanodollars >= 0),
        held_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (held_tokens >= 0),
        held_requests     INTEGER NOT NULL DEFAULT 0 CHECK (held_requests >= 0),
        debt_nanodollars  INTEGER NOT NULL DEFAULT 0 CHECK (debt_nanodollars >= 0),
        debt_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (debt_tokens >= 0),
        debt_requests     INTEGER NOT NULL DEFAULT 0 CHECK (debt_requests >= 0),
        unpriced          INTEGER NOT NULL DEFAULT 0 CHECK (unpriced >= 0),
        warned            INTEGER NOT NULL DEFAULT 0 CHECK (warned IN (0, 1)),
        PRIMARY KEY (budget_id, "window"),
        CHECK (NOT hard OR limit_nanodollars IS NULL
               OR spent_nanodollars + held_nanodollars <= limit_nanodollars + debt_nanodollars),
        CHECK (NOT hard OR limit_tokens IS NULL
               OR spent_tokens + held_tokens <= limit_tokens + debt_tokens),
        CHECK (NOT hard OR limit_requests IS NULL
               OR spent_requests + held_requests <= limit_requests + debt_requests)
    ) WITHOUT ROWID
    """,
    # What is set aside of a budget for a request. NULL: not known, and let pass by the budget.
    # Of a request in doubt it stays held. A request that settles without an amount or a count
    # is charged its hold: unknown is not zero.
    """
    CREATE TABLE holds (
        entry_id          TEXT NOT NULL REFERENCES entries (id),
        budget_id         TEXT NOT NULL,
        "window"          TEXT NOT NULL,
        status            TEXT NOT NULL CHECK (status IN ('held', 'settled', 'released')),
        nanodollars       INTEGER CHECK (nanodollars >= 0),
        tokens            INTEGER CHECK (tokens >= 0),
        requests          INTEGER NOT NULL CHECK (requests >= 0),
        spent_nanodollars INTEGER CHECK (spent_nanodollars >= 0),
        spent_tokens      INTEGER CHECK (spent_tokens >= 0),
        spent_requests    INTEGER CHECK (spent_requests >= 0),
        PRIMARY KEY (entry_id, budget_id),
        FOREIGN KEY (budget_id, "window") REFERENCES balances (budget_id, "window")
    ) WITHOUT ROWID
    """,
    """
    CREATE TRIGGER holds_take AFTER INSERT ON holds BEGIN
        UPDATE balances SET
            held_nanodollars = held_nanodollars + ifnull(NEW.nanodollars, 0),
            held_tokens = held_tokens + ifnull(NEW.tokens, 0),
            held_requests = held_requests + NEW.requests,
            debt_nanodollars = iif(hard, debt_nanodollars, max(0, ifnull(
                held_nanodollars + ifnull(NEW.nanodollars, 0) + spent_nanodollars
                - limit_nanodollars, 0))),
            debt_tokens = iif(hard, debt_tokens, max(0, ifnull(
                held_tokens + ifnull(NEW.tokens, 0) + spent_tokens - limit_tokens, 0))),
            debt_requests = iif(hard, debt_requests, max(0, ifnull(
                held_requests + NEW.requests + spent_requests - limit_requests, 0)))
        WHERE budget_id = NEW.budget_id AND "window" = NEW."window";
    END
    """,
    """
    CREATE TRIGGER holds_end AFTER UPDATE ON holds WHEN NEW.status <> 'held' BEGIN
        UPDATE balances SET
            held_nanodollars = held_nanodollars - ifnull(OLD.nanodollars, 0),
            held_tokens = held_tokens - ifnull(OLD.tokens, 0),
            held_requests = held_requests - OLD.requests,
            spent_nanodollars = spent_nanodollars + ifnull(NEW.spent_nanodollars, 0),
            spent_tokens = spent_tokens + ifnull(NEW.spent_tokens, 0),
            spent_requests = spent_requests + ifnull(NEW.spent_requests, 0),
            unpriced = unpriced
                + (NEW.status = 'settled' AND NEW.spent_nanodollars IS NULL),
            debt_nanodollars = max(0, ifnull(
                held_nanodollars - ifnull(OLD.nanodollars, 0) + spent_nanodollars
                + ifnull(NEW.spent_nanodollars, 0) - limit_nanodollars, 0)),
            debt_tokens = max(0, ifnull(
                held_tokens - ifnull(OLD.tokens, 0) + spent_tokens
                + ifnull(NEW.spent_tokens, 0) - limit_tokens, 0)),
            debt_requests = max(0, ifnull(
                held_requests - OLD.requests + spent_requests
                + ifnull(NEW.spent_requests, 0) - limit_requests, 0))
        WHERE budget_id = NEW.budget_id AND "window" = NEW."window";
    END
    """,
    """
    CREATE TRIGGER holds_end_once BEFORE UPDATE ON holds
    WHEN OLD.status <> 'held' OR NEW.status = 'held' BEGIN
        SELECT RAISE (ABORT, 'a hold changes only by ending, and once');
    END
    """,
    """
    CREATE TRIGGER holds_keep_identity BEFORE UPDATE ON holds
    WHEN NEW.entry_id IS NOT OLD.entry_id OR NEW.budget_id IS NOT OLD.budget_id
      OR NEW."window" IS NOT OLD."window" OR NEW.nanodollars IS NOT OLD.nanodollars
      OR NEW.tokens IS NOT OLD.tokens OR NEW.requests IS NOT OLD.requests BEGIN
        SELECT RAISE (ABORT, 'what was held, and of which window, never changes');
    END
    """,
    """
    CREATE TRIGGER holds_stay BEFORE DELETE ON holds BEGIN
        SELECT RAISE (ABORT, 'a hold is never deleted');
    END
    """,
    """
    CREATE TRIGGER balances_stay BEFORE DELETE ON balances BEGIN
        SELECT RAISE (ABORT, 'a balance is never deleted');
    END
    """,
    """
    CREATE TRIGGER budgets_stay BEFORE DELETE ON budgets BEGIN
        SELECT RAISE (ABORT, 'a budget is never deleted; it is removed');
    END
    """,
    """
    CREATE TRIGGER budget_changes_stay BEFORE DELETE ON budget_changes BEGIN
        SELECT RAISE (ABORT, 'a change of a budget is never deleted');
    END
    """,
    """
    CREATE TRIGGER budget_changes_never_change BEFORE UPDATE ON budget_changes BEGIN
        SELECT RAISE (ABORT, 'a change of a budget never changes');
    END
    """,
    # In doubt is no end: the hold stays until the entry settles or turns out never sent.
    """
    CREATE TRIGGER entries_settle_holds AFTER UPDATE ON entries WHEN NEW.status = 'settled' BEGIN
        UPDATE holds SET
            status = 'settled',
            spent_nanodollars = ifnull(NEW.cost_nanodollars, nanodollars),
            spent_tokens = ifnull(NEW.total_tokens, tokens),
            spent_requests = 1
        WHERE entry_id = NEW.id;
    END
    """,
    """
    CREATE TRIGGER entries_release_holds AFTER UPDATE ON entries WHEN NEW.status = 'released' BEGIN
        UPDATE holds SET status = 'released' WHERE entry_id = NEW.id;
    END
    """,
    # How what was in doubt came to its end: by whom or what, and what they went by.
    """
    CREATE TABLE reconciliations (
        number   INTEGER PRIMARY KEY,
        entry_id TEXT NOT NULL UNIQUE REFERENCES entries (id),
        made_at  INTEGER NOT NULL CHECK (typeof(made_at) = 'integer'),
        status   TEXT NOT NULL CHECK (status IN ('settled', 'released')),
        source   TEXT NOT NULL,
        detail   TEXT NOT NULL,
        previous TEXT NOT NULL
    )
    """,
    """
    CREATE TRIGGER reconciliations_stay BEFORE DELETE ON reconciliations BEGIN
        SELECT RAISE (ABORT, 'a reconciliation is never deleted');
    END
    """,
    """
    CREATE TRIGGER reconciliations_never_change BEFORE UPDATE ON reconciliations BEGIN
        SELECT RAISE (ABORT, 'a reconciliation never changes');
    END
    """,
)
"""The statements, in their order."""
