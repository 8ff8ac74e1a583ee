"""The schema of the SQLite ledger, as numbered migrations.

A migration that has been released never changes; a new one is appended. Each is the text of
its statements and nothing computed, so that it creates tomorrow what it creates today.

What an entry adds to its run's totals is written by triggers. So an entry and its totals
cannot part, whichever statement changes the entry, and an operation on an entry is one
statement, which SQLite undoes alone where it fails.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.ledger.schema_budgets import BUDGETS
from tallystick.ledger.schema_rollups import ROLLUPS

APPLICATION_ID = 0x54414C59
"""``TALY`` in the header of the file, by which a ledger is told from other SQLite files."""


@dataclass(frozen=True, slots=True)
class Migration:
    """The statements that lead from the schema before to schema `number`."""

    number: int
    name: str
    statements: tuple[str, ...]


_FIRST = (
    """
    CREATE TABLE migrations (
        number     INTEGER PRIMARY KEY,
        name       TEXT NOT NULL,
        applied_at INTEGER NOT NULL
    )
    """,
    # One row for each process that wrote, and each ledger it opened. Whether it still runs is
    # shown by a lock beside the file, and not by anything in here.
    """
    CREATE TABLE processes (
        id         TEXT PRIMARY KEY,
        pid        INTEGER NOT NULL,
        host       TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at   INTEGER
    )
    """,
    "CREATE INDEX processes_running ON processes (id) WHERE ended_at IS NULL",
    """
    CREATE TABLE runs (
        id         TEXT PRIMARY KEY,
        parent_id  TEXT REFERENCES runs (id),
        root_id    TEXT NOT NULL REFERENCES runs (id),
        process_id TEXT NOT NULL REFERENCES processes (id),
        name       TEXT NOT NULL,
        host       TEXT,
        started_at INTEGER NOT NULL CHECK (typeof(started_at) = 'integer'),
        ended_at   INTEGER CHECK (ended_at IS NULL OR outcome IS NOT NULL),
        outcome    TEXT CHECK (outcome IN ('completed', 'failed', 'cancelled', 'interrupted')),
        customer   TEXT,
        "user"     TEXT,
        project    TEXT,
        session    TEXT,
        tags       TEXT,
        CHECK ((parent_id IS NULL) = (root_id = id))
    )
    """,
    "CREATE INDEX runs_by_start ON runs (started_at)",
    "CREATE INDEX runs_by_parent ON runs (parent_id) WHERE parent_id IS NOT NULL",
    "CREATE INDEX runs_open ON runs (process_id) WHERE outcome IS NULL",
    # A run's own requests only. The requests of its children are in the rows of the children,
    # so that none can be counted twice in one ancestor, and so that concurrent children do not
    # all write the row of their root; a tree is summed when it is read.
    """
    CREATE TABLE run_totals (
        run_id             TEXT PRIMARY KEY REFERENCES runs (id),
        requests           INTEGER NOT NULL DEFAULT 0 CHECK (requests >= 0),
        released           INTEGER NOT NULL DEFAULT 0 CHECK (released >= 0),
        in_doubt           INTEGER NOT NULL DEFAULT 0 CHECK (in_doubt >= 0),
        estimated          INTEGER NOT NULL DEFAULT 0 CHECK (estimated >= 0),
        input_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (input_tokens >= 0),
        cached_tokens      INTEGER NOT NULL DEFAULT 0 CHECK (cached_tokens >= 0),
        cache_write_tokens INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_tokens >= 0),
        output_tokens      INTEGER NOT NULL DEFAULT 0 CHECK (output_tokens >= 0),
        reasoning_tokens   INTEGER NOT NULL DEFAULT 0 CHECK (reasoning_tokens >= 0),
        total_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (total_tokens >= 0),
        cost_nanodollars   INTEGER NOT NULL DEFAULT 0 CHECK (cost_nanodollars >= 0),
        cost_unpriced      INTEGER NOT NULL DEFAULT 0 CHECK (cost_unpriced >= 0),
        cost_estimated     INTEGER NOT NULL DEFAULT 0 CHECK (cost_estimated >= 0)
    ) WITHOUT ROWID
    """,
    # BETWEEN refuses text and negative numbers and lets NULL pass: unknown is not zero.
    """
    CREATE TABLE entries (
        number              INTEGER PRIMARY KEY,
        id                  TEXT NOT NULL UNIQUE,
        run_id              TEXT NOT NULL REFERENCES runs (id),
        process_id          TEXT NOT NULL REFERENCES processes (id),
        status              TEXT NOT NULL
                            CHECK (status IN ('held', 'settled', 'released', 'in_doubt')),
        started_at          INTEGER NOT NULL CHECK (typeof(started_at) = 'integer'),
        started_text        TEXT,
        duration            INTEGER CHECK (duration BETWEEN 0 AND 9000000000000000000),
        finished_at         INTEGER CHECK ((finished_at IS NULL) = (status = 'held')),
        provider            TEXT,
        model               TEXT,
        requested_model     TEXT,
        agent               TEXT,
        turn                INTEGER,
        response_id         TEXT,
        outcome             TEXT,
        error_type          TEXT,
        service_tier        TEXT,
        customer            TEXT,
        "user"              TEXT,
        project             TEXT,
        session             TEXT,
        tags                TEXT,
        input_tokens        INTEGER CHECK (input_tokens BETWEEN 0 AND 1000000000000000),
        cached_tokens       INTEGER CHECK (cached_tokens BETWEEN 0 AND 1000000000000000),
        cache_write_tokens  INTEGER CHECK (cache_write_tokens BETWEEN 0 AND 1000000000000000),
        input_audio_tokens  INTEGER CHECK (input_audio_tokens BETWEEN 0 AND 1000000000000000),
        output_tokens       INTEGER CHECK (output_tokens BETWEEN 0 AND 1000000000000000),
        reasoning_tokens    INTEGER CHECK (reasoning_tokens BETWEEN 0 AND 1000000000000000),
        output_audio_tokens INTEGER CHECK (output_audio_tokens BETWEEN 0 AND 1000000000000000),
        total_tokens        INTEGER CHECK (total_tokens BETWEEN 0 AND 2000000000000000),
        estimated           INTEGER CHECK (estimated IN (0, 1)),
        cost_nanodollars    INTEGER CHECK (cost_nanodollars BETWEEN 0 AND 1000000000000000),
        cost_estimated      INTEGER CHECK (cost_estimated IN (0, 1)),
        price_book          TEXT,
        price_rule          TEXT,
        price_reason        TEXT,
        raw_usage           TEXT,
        rest                TEXT
    )
    """,
    "CREATE INDEX entries_by_run ON entries (run_id, started_at)",
    "CREATE INDEX entries_held ON entries (run_id, process_id) WHERE status = 'held'",
    "CREATE INDEX entries_in_doubt ON entries (started_at) WHERE status = 'in_doubt'",
    """
    CREATE TRIGGER runs_get_totals AFTER INSERT ON runs BEGIN
        INSERT INTO run_totals (run_id) VALUES (NEW.id);
    END
    """,
    """
    CREATE TRIGGER runs_end_once BEFORE UPDATE ON runs WHEN OLD.outcome IS NOT NULL BEGIN
        SELECT RAISE (ABORT, 'a run that has ended never changes');
    END
    """,
    """
    CREATE TRIGGER runs_stay BEFORE DELETE ON runs BEGIN
        SELECT RAISE (ABORT, 'a run is never deleted');
    END
    """,
    """
    CREATE TRIGGER entries_begin_held BEFORE INSERT ON entries WHEN NEW.status <> 'held' BEGIN
        SELECT RAISE (ABORT, 'an entry begins as held');
    END
    """,
    """
    CREATE TRIGGER entries_stay BEFORE DELETE ON entries BEGIN
        SELECT RAISE (ABORT, 'an entry is never deleted');
    END
    """,
    """
    CREATE TRIGGER entries_settle_once BEFORE UPDATE ON entries
    WHEN OLD.status IN ('settled', 'released') BEGIN
        SELECT RAISE (ABORT, 'an entry that is settled or released never changes');
    END
    """,
    """
    CREATE TRIGGER entries_move_on BEFORE UPDATE ON entries
    WHEN NEW.status = 'held' OR (OLD.status = 'in_doubt' AND NEW.status = 'in_doubt') BEGIN
        SELECT RAISE (ABORT, 'an entry changes only by ending');
    END
    """,
    """
    CREATE TRIGGER entries_keep_identity BEFORE UPDATE ON entries
    WHEN NEW.number IS NOT OLD.number OR NEW.id IS NOT OLD.id OR NEW.run_id IS NOT OLD.run_id
      OR NEW.process_id IS NOT OLD.process_id OR NEW.started_at IS NOT OLD.started_at BEGIN
        SELECT RAISE (ABORT, 'the id, run, process and start of an entry never change');
    END
    """,
    # What is held is in no total, and is few: `entries_held` has just those.
    """
    CREATE TRIGGER entries_release AFTER UPDATE ON entries
    WHEN OLD.status = 'held' AND NEW.status = 'released' BEGIN
        UPDATE run_totals SET released = released + 1 WHERE run_id = NEW.run_id;
    END
    """,
    """
    CREATE TRIGGER entries_settle AFTER UPDATE ON entries
    WHEN OLD.status = 'held' AND NEW.status <> 'released' BEGIN
        UPDATE run_totals SET
            requests = requests + 1,
            in_doubt = in_doubt + (NEW.status = 'in_doubt'),
            estimated = estimated + ifnull(NEW.estimated, 0),
            input_tokens = input_tokens + ifnull(NEW.input_tokens, 0),
            cached_tokens = cached_tokens + ifnull(NEW.cached_tokens, 0),
            cache_write_tokens = cache_write_tokens + ifnull(NEW.cache_write_tokens, 0),
            output_tokens = output_tokens + ifnull(NEW.output_tokens, 0),
            reasoning_tokens = reasoning_tokens + ifnull(NEW.reasoning_tokens, 0),
            total_tokens = total_tokens + ifnull(NEW.total_tokens, 0),
            cost_nanodollars = cost_nanodollars + ifnull(NEW.cost_nanodollars, 0),
            cost_unpriced = cost_unpriced + (NEW.cost_nanodollars IS NULL),
            cost_estimated = cost_estimated
                + (NEW.cost_nanodollars IS NOT NULL AND ifnull(NEW.cost_estimated, 0))
        WHERE run_id = NEW.run_id;
    END
    """,
    # What was in doubt is taken back, and what it turned out to be is added where it was sent.
    """
    CREATE TRIGGER entries_reconcile AFTER UPDATE ON entries WHEN OLD.status = 'in_doubt' BEGIN
        UPDATE run_totals SET
            requests = requests - 1,
            in_doubt = in_doubt - 1,
            estimated = estimated - ifnull(OLD.estimated, 0),
            input_tokens = input_tokens - ifnull(OLD.input_tokens, 0),
            cached_tokens = cached_tokens - ifnull(OLD.cached_tokens, 0),
            cache_write_tokens = cache_write_tokens - ifnull(OLD.cache_write_tokens, 0),
            output_tokens = output_tokens - ifnull(OLD.output_tokens, 0),
            reasoning_tokens = reasoning_tokens - ifnull(OLD.reasoning_tokens, 0),
            total_tokens = total_tokens - ifnull(OLD.total_tokens, 0),
            cost_nanodollars = cost_nanodollars - ifnull(OLD.cost_nanodollars, 0),
            cost_unpriced = cost_unpriced - (OLD.cost_nanodollars IS NULL),
            cost_estimated = cost_estimated
                - (OLD.cost_nanodollars IS NOT NULL AND ifnull(OLD.cost_estimated, 0)),
            released = released + (NEW.status = 'released')
        WHERE run_id = NEW.run_id;
        UPDATE run_totals SET
            requests = requests + 1,
            estimated = estimated + ifnull(NEW.estimated, 0),
            input_tokens = input_tokens + ifnull(NEW.input_tokens, 0),
            cached_tokens = cached_tokens + ifnull(NEW.cached_tokens, 0),
            cache_write_tokens = cache_write_tokens + ifnull(NEW.cache_write_tokens, 0),
            output_tokens = output_tokens + ifnull(NEW.output_tokens, 0),
            reasoning_tokens = reasoning_tokens + ifnull(NEW.reasoning_tokens, 0),
            total_tokens = total_tokens + ifnull(NEW.total_tokens, 0),
            cost_nanodollars = cost_nanodollars + ifnull(NEW.cost_nanodollars, 0),
            cost_unpriced = cost_unpriced + (NEW.cost_nanodollars IS NULL),
            cost_estimated = cost_estimated
                + (NEW.cost_nanodollars IS NOT NULL AND ifnull(NEW.cost_estimated, 0))
        WHERE run_id = NEW.run_id AND NEW.status = 'settled';
    END
    """,
)

_SECOND = (
    # What a price was made from, so that it can be made again: the data of a book, or a
    # configuration file with own rates, compressed.
    """
    CREATE TABLE books (
        hash    TEXT PRIMARY KEY,
        content BLOB NOT NULL CHECK (typeof(content) = 'blob'),
        kept_at INTEGER NOT NULL
    )
    """,
    # A price made later for an entry, which itself stays as it is. It counts while the entry has
    # the status for which it was made: what was in doubt and has settled has other counts.
    """
    CREATE TABLE adjustments (
        number               INTEGER PRIMARY KEY,
        entry_id             TEXT NOT NULL REFERENCES entries (id),
        status               TEXT NOT NULL CHECK (status IN ('settled', 'in_doubt')),
        book                 TEXT,
        rule                 TEXT,
        reason               TEXT,
        cost_nanodollars     INTEGER CHECK (cost_nanodollars BETWEEN 0 AND 1000000000000000),
        cost_estimated       INTEGER NOT NULL CHECK (cost_estimated IN (0, 1)),
        previous_nanodollars INTEGER,
        batch                TEXT NOT NULL,
        made_at              INTEGER NOT NULL CHECK (typeof(made_at) = 'integer'),
        UNIQUE (entry_id, status, batch)
    )
    """,
    """
    CREATE TRIGGER books_stay BEFORE DELETE ON books BEGIN
        SELECT RAISE (ABORT, 'a book is never deleted');
    END
    """,
    """
    CREATE TRIGGER books_never_change BEFORE UPDATE ON books BEGIN
        SELECT RAISE (ABORT, 'a book never changes');
    END
    """,
    """
    CREATE TRIGGER adjustments_stay BEFORE DELETE ON adjustments BEGIN
        SELECT RAISE (ABORT, 'an adjustment is never deleted');
    END
    """,
    """
    CREATE TRIGGER adjustments_never_change BEFORE UPDATE ON adjustments BEGIN
        SELECT RAISE (ABORT, 'an adjustment never changes');
    END
    """,
    """
    CREATE TRIGGER adjustments_are_of_their_entry BEFORE INSERT ON adjustments
    WHEN NEW.status IS NOT (SELECT status FROM entries WHERE id = NEW.entry_id) BEGIN
        SELECT RAISE (ABORT, 'only an entry that is settled or in doubt is adjusted');
    END
    """,
    # Every entry with the price that it has now: that of its newest adjustment, else its own.
    """
    CREATE VIEW adjusted_entries AS
        SELECT
            entries.number, entries.id, entries.run_id, entries.process_id, entries.status,
            entries.started_at, entries.started_text, entries.duration, entries.finished_at,
            entries.provider, entries.model, entries.requested_model, entries.agent,
            entries.turn, entries.response_id, entries.outcome, entries.error_type,
            entries.service_tier, entries.customer, entries."user", entries.project,
            entries.session, entries.tags, entries.input_tokens, entries.cached_tokens,
            entries.cache_write_tokens, entries.input_audio_tokens, entries.output_tokens,
            entries.reasoning_tokens, entries.output_audio_tokens, entries.total_tokens,
            entries.estimated,
            iif(newest.number IS NULL, entries.cost_nanodollars, newest.cost_nanodollars)
                AS cost_nanodollars,
            iif(newest.number IS NULL, entries.cost_estimated, newest.cost_estimated)
                AS cost_estimated,
            iif(newest.number IS NULL, entries.price_book, newest.book)
                AS price_book,
            iif(newest.number IS NULL, entries.price_rule, newest.rule)
                AS price_rule,
            iif(newest.number IS NULL, entries.price_reason, newest.reason)
                AS price_reason,
            entries.raw_usage, entries.rest
        FROM entries LEFT JOIN adjustments AS newest ON newest.number = (
            SELECT max(number) FROM adjustments AS made
            WHERE made.entry_id = entries.id AND made.status = entries.status
        )
    """,
)

_THIRD = (
    # What the provider itself says that the request cost: a decimal number as text, and what it
    # is counted in. Entries from before have the number in `rest`.
    "ALTER TABLE entries ADD COLUMN provider_cost TEXT",
    "ALTER TABLE entries ADD COLUMN provider_cost_currency TEXT",
    "DROP VIEW adjusted_entries",
    """
    CREATE VIEW adjusted_entries AS
        SELECT
            entries.number, entries.id, entries.run_id, entries.process_id, entries.status,
            entries.started_at, entries.started_text, entries.duration, entries.finished_at,
            entries.provider, entries.model, entries.requested_model, entries.agent,
            entries.turn, entries.response_id, entries.outcome, entries.error_type,
            entries.service_tier, entries.customer, entries."user", entries.project,
            entries.session, entries.tags, entries.input_tokens, entries.cached_tokens,
            entries.cache_write_tokens, entries.input_audio_tokens, entries.output_tokens,
            entries.reasoning_tokens, entries.output_audio_tokens, entries.total_tokens,
            entries.estimated,
            iif(newest.number IS NULL, entries.cost_nanodollars, newest.cost_nanodollars)
                AS cost_nanodollars,
            iif(newest.number IS NULL, entries.cost_estimated, newest.cost_estimated)
                AS cost_estimated,
            iif(newest.number IS NULL, entries.price_book, newest.book)
                AS price_book,
            iif(newest.number IS NULL, entries.price_rule, newest.rule)
                AS price_rule,
            iif(newest.number IS NULL, entries.price_reason, newest.reason)
                AS price_reason,
            entries.provider_cost, entries.provider_cost_currency,
            entries.raw_usage, entries.rest
        FROM entries LEFT JOIN adjustments AS newest ON newest.number = (
            SELECT max(number) FROM adjustments AS made
            WHERE made.entry_id = entries.id AND made.status = entries.status
        )
    """,
)

MIGRATIONS = (
    Migration(1, "runs, entries and the totals of runs", _FIRST),
    Migration(2, "books, and adjustments of prices", _SECOND),
    Migration(3, "the cost that providers report", _THIRD),
    Migration(4, "budgets", BUDGETS),
    Migration(5, "hourly rollups", ROLLUPS),
)

VERSION = MIGRATIONS[-1].number
"""The schema that this version of Tallystick writes: `PRAGMA user_version` of the file."""
