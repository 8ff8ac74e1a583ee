"""Migration 5: hourly rollups beside the entries, kept by triggers.

A rollup is what the requests of one subject that were sent in one hour come to. A subject is all
that requests have in common and that reports group by: the provider and the model, the agent, the
service tier, the customer and the project. Users, sessions, runs, turns and tags are no part of
it: there can be nearly as many of them as of requests, and the rollups would be as long as the
ledger.

A request is in its rollup when it has ended. The cost in there is the one that it has by now, so
that of `adjusted_entries`.
"""

from __future__ import annotations

from typing import Final

ROLLUPS: Final = (
    """
    CREATE TABLE subjects (
        id           INTEGER PRIMARY KEY,
        provider     TEXT,
        model        TEXT,
        agent        TEXT,
        service_tier TEXT,
        customer     TEXT,
        project      TEXT
    )
    """,
    # No text equals a blob: a name that is missing differs from every name, the empty one too,
    # and is equal to another that is missing.
    """
    CREATE UNIQUE INDEX subjects_once ON subjects (
        ifnull(model, x''), ifnull(agent, x''), ifnull(customer, x''),
        ifnull(project, x''), ifnull(provider, x''), ifnull(service_tier, x'')
    )
    """,
    # `hour` counts from 1970-01-01 00:00 UTC. `…_unknown` is how many of `requests` did not say
    # that count; `repriced` is how many have a price that was made later. The numbers of all its
    # entries lie from `first_number` to `last_number`: who looks for the entries of an hour needs
    # not read all of the ledger, and no entry costs another page in an index.
    """
    CREATE TABLE rollups (
        hour                INTEGER NOT NULL CHECK (typeof(hour) = 'integer'),
        subject_id          INTEGER NOT NULL REFERENCES subjects (id),
        requests            INTEGER NOT NULL DEFAULT 0 CHECK (requests >= 0),
        released            INTEGER NOT NULL DEFAULT 0 CHECK (released >= 0),
        in_doubt            INTEGER NOT NULL DEFAULT 0 CHECK (in_doubt >= 0),
        estimated           INTEGER NOT NULL DEFAULT 0 CHECK (estimated >= 0),
        input_tokens        INTEGER NOT NULL DEFAULT 0 CHECK (input_tokens >= 0),
        cached_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (cached_tokens >= 0),
        cache_write_tokens  INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_tokens >= 0),
        output_tokens       INTEGER NOT NULL DEFAULT 0 CHECK (output_tokens >= 0),
        reasoning_tokens    INTEGER NOT NULL DEFAULT 0 CHECK (reasoning_tokens >= 0),
        total_tokens        INTEGER NOT NULL DEFAULT 0 CHECK (total_tokens >= 0),
        input_unknown       INTEGER NOT NULL DEFAULT 0 CHECK (input_unknown >= 0),
        cached_unknown      INTEGER NOT NULL DEFAULT 0 CHECK (cached_unknown >= 0),
        cache_write_unknown INTEGER NOT NULL DEFAULT 0 CHECK (cache_write_unknown >= 0),
        output_unknown      INTEGER NOT NULL DEFAULT 0 CHECK (output_unknown >= 0),
        reasoning_unknown   INTEGER NOT NULL DEFAULT 0 CHECK (reasoning_unknown >= 0),
        total_unknown       INTEGER NOT NULL DEFAULT 0 CHECK (total_unknown >= 0),
        cost_nanodollars    INTEGER NOT NULL DEFAULT 0 CHECK (cost_nanodollars >= 0),
        cost_unpriced       INTEGER NOT NULL DEFAULT 0 CHECK (cost_unpriced >= 0),
        cost_estimated      INTEGER NOT NULL DEFAULT 0 CHECK (cost_estimated >= 0),
        repriced            INTEGER NOT NULL DEFAULT 0 CHECK (repriced >= 0),
        first_number        INTEGER NOT NULL,
        last_number         INTEGER NOT NULL CHECK (last_number >= first_number),
        PRIMARY KEY (hour, subject_id)
    ) WITHOUT ROWID
    """,
    # The entries from before.
    """
    INSERT INTO subjects (provider, model, agent, service_tier, customer, project)
        SELECT DISTINCT provider, model, agent, service_tier, customer, project
        FROM entries WHERE status <> 'held'
    """,
    """
    INSERT INTO rollups
        SELECT
            started_at / 3600000000000 - (started_at % 3600000000000 < 0),
            subjects.id,
            sum(status <> 'released'),
            sum(status = 'released'),
            sum(status = 'in_doubt'),
            sum(status <> 'released' AND ifnull(estimated, 0)),
            sum(iif(status <> 'released', ifnull(input_tokens, 0), 0)),
            sum(iif(status <> 'released', ifnull(cached_tokens, 0), 0)),
            sum(iif(status <> 'released', ifnull(cache_write_tokens, 0), 0)),
            sum(iif(status <> 'released', ifnull(output_tokens, 0), 0)),
            sum(iif(status <> 'released', ifnull(reasoning_tokens, 0), 0)),
            sum(iif(status <> 'released', ifnull(total_tokens, 0), 0)),
            sum(status <> 'released' AND input_tokens IS NULL),
            sum(status <> 'released' AND cached_tokens IS NULL),
            sum(status <> 'released' AND cache_write_tokens IS NULL),
            sum(status <> 'released' AND output_tokens IS NULL),
            sum(status <> 'released' AND reasoning_tokens IS NULL),
            sum(status <> 'released' AND total_tokens IS NULL),
            sum(iif(status <> 'released', ifnull(cost_nanodollars, 0), 0)),
            sum(status <> 'released' AND cost_nanodollars IS NULL),
            sum(status <> 'released' AND cost_nanodollars IS NOT NULL
                AND ifnull(cost_estimated, 0)),
            sum(EXISTS (SELECT 1 FROM adjustments AS made
                        WHERE made.entry_id = kept.id AND made.status = kept.status)),
            min(kept.number),
            max(kept.number)
        FROM adjusted_entries AS kept JOIN subjects ON
            ifnull(subjects.model, x'') = ifnull(kept.model, x'')
            AND ifnull(subjects.agent, x'') = ifnull(kept.agent, x'')
            AND ifnull(subjects.customer, x'') = ifnull(kept.customer, x'')
            AND ifnull(subjects.project, x'') = ifnull(kept.project, x'')
            AND ifnull(subjects.provider, x'') = ifnull(kept.provider, x'')
            AND ifnull(subjects.service_tier, x'') = ifnull(kept.service_tier, x'')
        WHERE status <> 'held'
        GROUP BY 1, 2
    """,
    # What an entry is added to must be there. It has the names that the request ended with, which
    # are not always those that it was held with.
    """
    CREATE TRIGGER entries_open_rollup BEFORE UPDATE ON entries
    WHEN NOT EXISTS (
        SELECT 1 FROM rollups
        WHERE hour = NEW.started_at / 3600000000000 - (NEW.started_at % 3600000000000 < 0)
        AND subject_id = (SELECT id FROM subjects WHERE
            ifnull(model, x'') = ifnull(NEW.model, x'')
            AND ifnull(agent, x'') = ifnull(NEW.agent, x'')
            AND ifnull(customer, x'') = ifnull(NEW.customer, x'')
            AND ifnull(project, x'') = ifnull(NEW.project, x'')
            AND ifnull(provider, x'') = ifnull(NEW.provider, x'')
            AND ifnull(service_tier, x'') = ifnull(NEW.service_tier, x'')
        )
    ) BEGIN
        INSERT INTO subjects (provider, model, agent, service_tier, customer, project)
        VALUES (NEW.provider, NEW.model, NEW.agent, NEW.service_tier, NEW.customer, NEW.project)
        ON CONFLICT DO NOTHING;
        INSERT INTO rollups (hour, subject_id, first_number, last_number) SELECT
            NEW.started_at / 3600000000000 - (NEW.started_at % 3600000000000 < 0),
            id, NEW.number, NEW.number
        FROM subjects WHERE
            ifnull(model, x'') = ifnull(NEW.model, x'')
            AND ifnull(agent, x'') = ifnull(NEW.agent, x'')
            AND ifnull(customer, x'') = ifnull(NEW.customer, x'')
            AND ifnull(project, x'') = ifnull(NEW.project, x'')
            AND ifnull(provider, x'') = ifnull(NEW.provider, x'')
            AND ifnull(service_tier, x'') = ifnull(NEW.service_tier, x'');
    END
    """,
    """
    CREATE TRIGGER entries_roll_up AFTER UPDATE ON entries
    WHEN NEW.status IN ('settled', 'in_doubt') BEGIN
        UPDATE rollups SET
            requests = requests + 1,
            in_doubt = in_doubt + (NEW.status = 'in_doubt'),
            estimated = estimated + ifnull(NEW.estimated, 0),
            input_tokens = input_tokens + ifnull(NEW.input_tokens, 0),
            cached_tokens = cached_tokens + ifnull(NEW.cached_tokens, 0),
            cache_write_tokens = cache_write_tokens + ifnull(NEW.cache_write_tokens, 0),
            output_tokens = output_tokens + ifnull(NEW.output_tokens, 0),
            reasoning_tokens = reasoning_tokens + ifnull(NEW.reasoning_tokens, 0),
            total_tokens = total_tokens + ifnull(NEW.total_tokens, 0),
            input_unknown = input_unknown + (NEW.input_tokens IS NULL),
            cached_unknown = cached_unknown + (NEW.cached_tokens IS NULL),
            cache_write_unknown = cache_write_unknown + (NEW.cache_write_tokens IS NULL),
            output_unknown = output_unknown + (NEW.output_tokens IS NULL),
            reasoning_unknown = reasoning_unknown + (NEW.reasoning_tokens IS NULL),
            total_unknown = total_unknown + (NEW.total_tokens IS NULL),
            cost_nanodollars = cost_nanodollars + ifnull(NEW.cost_nanodollars, 0),
            cost_unpriced = cost_unpriced + (NEW.cost_nanodollars IS NULL),
            cost_estimated = cost_estimated
                + (NEW.cost_nanodollars IS NOT NULL AND ifnull(NEW.cost_estimated, 0)),
            first_number = min(first_number, NEW.number),
            last_number = max(last_number, NEW.number)
        WHERE hour = NEW.started_at / 3600000000000 - (NEW.started_at % 3600000000000 < 0)
          AND subject_id = (SELECT id FROM subjects WHERE
            ifnull(model, x'') = ifnull(NEW.model, x'')
            AND ifnull(agent, x'') = ifnull(NEW.agent, x'')
            AND ifnull(customer, x'') = ifnull(NEW.customer, x'')
            AND ifnull(project, x'') = ifnull(NEW.project, x'')
            AND ifnull(provider, x'') = ifnull(NEW.provider, x'')
            AND ifnull(service_tier, x'') = ifnull(NEW.service_tier, x'')
        );
    END
    """,
    """
    CREATE TRIGGER entries_roll_up_released AFTER UPDATE ON entries
    WHEN NEW.status = 'released' BEGIN
        UPDATE rollups SET
            released = released + 1,
            first_number = min(first_number, NEW.number),
            last_number = max(last_number, NEW.number)
        WHERE hour = NEW.started_at / 3600000000000 - (NEW.started_at % 3600000000000 < 0)
          AND subject_id = (SELECT id FROM subjects WHERE
            ifnull(model, x'') = ifnull(NEW.model, x'')
            AND ifnull(agent, x'') = ifnull(NEW.agent, x'')
            AND ifnull(customer, x'') = ifnull(NEW.customer, x'')
            AND ifnull(project, x'') = ifnull(NEW.project, x'')
            AND ifnull(provider, x'') = ifnull(NEW.provider, x'')
            AND ifnull(service_tier, x'') = ifnull(NEW.service_tier, x'')
        );
    END
    """,
    # What was in doubt is taken back under the names that it had then, at the price that it had
    # at last: an adjustment of it counts no more.
    """
    CREATE TRIGGER entries_roll_back AFTER UPDATE ON entries WHEN OLD.status = 'in_doubt' BEGIN
        UPDATE rollups SET
            requests = requests - 1,
            in_doubt = in_doubt - 1,
            estimated = estimated - ifnull(OLD.estimated, 0),
            input_tokens = input_tokens - ifnull(OLD.input_tokens, 0),
            cached_tokens = cached_tokens - ifnull(OLD.cached_tokens, 0),
            cache_write_tokens = cache_write_tokens - ifnull(OLD.cache_write_tokens, 0),
            output_tokens = output_tokens - ifnull(OLD.output_tokens, 0),
            reasoning_tokens = reasoning_tokens - ifnull(OLD.reasoning_tokens, 0),
            total_tokens = total_tokens - ifnull(OLD.total_tokens, 0),
            input_unknown = input_unknown - (OLD.input_tokens IS NULL),
            cached_unknown = cached_unknown - (OLD.cached_tokens IS NULL),
            cache_write_unknown = cache_write_unknown - (OLD.cache_write_tokens IS NULL),
            output_unknown = output_unknown - (OLD.output_tokens IS NULL),
            reasoning_unknown = reasoning_unknown - (OLD.reasoning_tokens IS NULL),
            total_unknown = total_unknown - (OLD.total_tokens IS NULL),
            cost_nanodollars = cost_nanodollars - ifnull(price.nanodollars, 0),
            cost_unpriced = cost_unpriced - (price.nanodollars IS NULL),
            cost_estimated = cost_estimated - price.unsure,
            repriced = repriced - price.later
        FROM (
            SELECT
                iif(made.number IS NULL, OLD.cost_nanodollars, made.cost_nanodollars)
                    AS nanodollars,
                iif(made.number IS NULL,
                    OLD.cost_nanodollars IS NOT NULL AND ifnull(OLD.cost_estimated, 0),
                    made.cost_nanodollars IS NOT NULL AND made.cost_estimated) AS unsure,
                made.number IS NOT NULL AS later
            FROM (SELECT 1) LEFT JOIN adjustments AS made ON made.number = (
                SELECT max(number) FROM adjustments
                WHERE entry_id = OLD.id AND status = 'in_doubt'
            )
        ) AS price
        WHERE hour = OLD.started_at / 3600000000000 - (OLD.started_at % 3600000000000 < 0)
          AND subject_id = (SELECT id FROM subjects WHERE
            ifnull(model, x'') = ifnull(OLD.model, x'')
            AND ifnull(agent, x'') = ifnull(OLD.agent, x'')
            AND ifnull(customer, x'') = ifnull(OLD.customer, x'')
            AND ifnull(project, x'') = ifnull(OLD.project, x'')
            AND ifnull(provider, x'') = ifnull(OLD.provider, x'')
            AND ifnull(service_tier, x'') = ifnull(OLD.service_tier, x'')
        );
    END
    """,
    # An adjustment adds the difference to the price that the entry had.
    """
    CREATE TRIGGER adjustments_roll_up AFTER INSERT ON adjustments BEGIN
        UPDATE rollups SET
            cost_nanodollars = cost_nanodollars
                + ifnull(NEW.cost_nanodollars, 0) - ifnull(earlier.nanodollars, 0),
            cost_unpriced = cost_unpriced
                + (NEW.cost_nanodollars IS NULL) - (earlier.nanodollars IS NULL),
            cost_estimated = cost_estimated
                + (NEW.cost_nanodollars IS NOT NULL AND NEW.cost_estimated) - earlier.unsure,
            repriced = repriced + earlier.own
        FROM (
            SELECT
                entry.started_at / 3600000000000 - (entry.started_at % 3600000000000 < 0)
                    AS hour,
                subjects.id AS subject_id,
                iif(made.number IS NULL, entry.cost_nanodollars, made.cost_nanodollars)
                    AS nanodollars,
                iif(made.number IS NULL,
                    entry.cost_nanodollars IS NOT NULL AND ifnull(entry.cost_estimated, 0),
                    made.cost_nanodollars IS NOT NULL AND made.cost_estimated) AS unsure,
                made.number IS NULL AS own
            FROM entries AS entry
            JOIN subjects ON
                ifnull(subjects.model, x'') = ifnull(entry.model, x'')
                AND ifnull(subjects.agent, x'') = ifnull(entry.agent, x'')
                AND ifnull(subjects.customer, x'') = ifnull(entry.customer, x'')
                AND ifnull(subjects.project, x'') = ifnull(entry.project, x'')
                AND ifnull(subjects.provider, x'') = ifnull(entry.provider, x'')
                AND ifnull(subjects.service_tier, x'') = ifnull(entry.service_tier, x'')
            LEFT JOIN adjustments AS made ON made.number = (
                SELECT max(number) FROM adjustments
                WHERE entry_id = NEW.entry_id AND status = NEW.status AND number < NEW.number
            )
            WHERE entry.id = NEW.entry_id
        ) AS earlier
        WHERE rollups.hour = earlier.hour AND rollups.subject_id = earlier.subject_id;
    END
    """,
    """
    CREATE TRIGGER rollups_stay BEFORE DELETE ON rollups BEGIN
        SELECT RAISE (ABORT, 'a rollup is never deleted');
    END
    """,
    """
    CREATE TRIGGER subjects_stay BEFORE DELETE ON subjects BEGIN
        SELECT RAISE (ABORT, 'a subject is never deleted');
    END
    """,
    """
    CREATE TRIGGER subjects_never_change BEFORE UPDATE ON subjects BEGIN
        SELECT RAISE (ABORT, 'a subject never changes');
    END
    """,
)
"""The statements, in their order."""
