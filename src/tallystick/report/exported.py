"""What becomes of requests in doubt by the exports of providers.

A line of an export that names a request is of that request alone. What is left over of a bucket
is of those in doubt in it; see `remainder`. Amounts of money only check what the ledger has.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from tallystick.errors import ConfigError
from tallystick.ledger import Amounts
from tallystick.money import Cost, usd
from tallystick.pricing import Prices
from tallystick.report.exports import BilledAmount, BilledBucket, BilledRequest, Export
from tallystick.report.period import sent_at
from tallystick.report.reconciliation import Check, Left, Plan, by_counts
from tallystick.report.remainder import Account, Scope, moment_text
from tallystick.usage import RequestUsage

_Owned = TypeVar("_Owned", BilledBucket, BilledAmount)

_BEFORE = 86_400 * 1_000_000_000
"""How long before an export the ledger is read, for requests that took until it. In nanoseconds;
no provider keeps a connection open for a day."""


def span_of(exports: Sequence[Export]) -> tuple[int, int] | None:
    """Return from when until when the ledger has to be read to use exports; None for nothing."""
    moments = [span[1:] for export in exports for span in export.spans]
    moments += [
        (amount.begins_at, amount.ends_at) for export in exports for amount in export.amounts
    ]
    if not moments:
        return None
    # Requests that were sent before a bucket may have ended, and been billed, in it.
    return min(begin for begin, _ in moments) - _BEFORE, max(end for _, end in moments)


def plan_exports(
    exports: Sequence[Export],
    doubtful: Sequence[RequestUsage],
    entries: Iterable[RequestUsage],
    held: Mapping[str, Amounts],
    prices: Prices,
    scope: Scope,
) -> Plan:
    """Return what becomes of entries in doubt by what providers billed.

    Args:
        exports: what the providers say.
        doubtful: all entries in doubt.
        entries: all entries, of every status, of the time that `span_of` names.
        held: what entries in doubt hold, by their ids.
        prices: what counts are priced by.
        scope: what the caller says of the exports.

    Raises:
        ConfigError: exports overlap, do not tell the owner, or name a request by two ids that
            contradict each other.
    """
    _check_overlap(exports)
    _check_owner(exports, scope.owner)
    plan = Plan()
    rows = [row for export in exports for row in export.requests]
    _match(rows, doubtful, plan, prices)
    ended = {one.before.id for one in plan.settlements} | {left.entry.id for left in plan.left}
    after = {one.before.id: one.after for one in plan.settlements}
    # What was matched exactly is settled, as far as what is left over is concerned.
    known = [after.get(entry.id, entry) for entry in entries]
    rest = [entry for entry in doubtful if entry.id not in ended]
    buckets = [bucket for export in exports for bucket in export.buckets]
    buckets = _owned(buckets, scope.owner)
    spans = {span for export in exports for span in export.spans}
    for provider in sorted({provider for provider, _, _ in spans}):
        windows = sorted(span[1:] for span in spans if span[0] == provider)
        there = [bucket for bucket in buckets if bucket.provider == provider]
        # One of which nobody knows the provider may be of this one.
        of_provider = [entry for entry in known if entry.provider in (provider, None)]
        account = Account(windows, there, of_provider, held, prices, scope)
        for entry in rest:
            if entry.provider == provider:
                account.doubt(entry)
        account.settle(plan)
    amounts = [amount for export in exports for amount in export.amounts]
    plan.checks = _checks(_owned(amounts, scope.owner), known, plan)
    return plan


def _match(
    rows: Iterable[BilledRequest], doubtful: Sequence[RequestUsage], plan: Plan, prices: Prices
) -> None:
    """Settle the entries that an export names."""
    by_id = {_short(str(entry.id)): entry for entry in doubtful}
    by_response: dict[str | None, list[RequestUsage]] = defaultdict(list)
    for entry in doubtful:
        by_response[entry.response_id].append(entry)
    matched: dict[str, list[BilledRequest]] = defaultdict(list)
    found: dict[str, RequestUsage] = {}
    for row in rows:
        named = _named(row, by_id, by_response)
        if len(named) > 1:
            why = f"{row.where} names a response that {len(named)} requests have"
            plan.left += (Left(entry, why) for entry in named)
        elif named:
            found[str(named[0].id)] = named[0]
            matched[str(named[0].id)].append(row)
    for identity, lines in matched.items():
        entry = found[identity]
        if len(lines) > 1:
            where = ", ".join(line.where for line in lines)
            plan.left.append(Left(entry, f"several lines are of it: {where}"))
            continue
        (row,) = lines
        cost = "" if row.cost_nanodollars is None else f", {usd(row.cost_nanodollars)} USD"
        counts = ", ".join(f"{name} {value}" for name, value in row.counts.items())
        plan.add(
            by_counts(
                entry,
                row.counts,
                prices,
                source=row.where.partition(":")[0],
                detail=f"{row.where}: billed for this request: {counts}{cost}",
                raw_usage=dict(row.counts),
            )
        )


def _named(
    row: BilledRequest,
    by_id: Mapping[str, RequestUsage],
    by_response: Mapping[str | None, list[RequestUsage]],
) -> list[RequestUsage]:
    """Return the entries in doubt that a line names; several where they have one response.

    Raises:
        ConfigError: its two ids are not of one request.
    """
    answered = [] if row.response_id is None else by_response.get(row.response_id, [])
    if row.request_id is None:
        return answered
    entry = by_id.get(_short(row.request_id))
    others = answered and (entry is None or entry.id not in [one.id for one in answered])
    differs = entry is not None and entry.response_id not in (None, row.response_id)
    if others or (differs and row.response_id is not None):
        raise ConfigError(
            f"{row.where}: request_id {row.request_id} and response_id {row.response_id} "
            "are not of one request"
        )
    return [] if entry is None else [entry]


def _short(identity: str) -> str:
    return identity.removeprefix("req_")


def _owned(things: list[_Owned], owner: str | None) -> list[_Owned]:
    """Return what is of an owner; everything where none is named."""
    if owner is None or not things:
        return things
    if not any(thing.owners for thing in things):
        raise ConfigError(
            f"{things[0].where}: it does not say whose it is; "
            "ask for the export grouped by project, workspace or API key"
        )
    return [thing for thing in things if owner in thing.owners]


def _check_owner(exports: Sequence[Export], owner: str | None) -> None:
    known = {owner for export in exports for one in export.buckets for owner in one.owners}
    known |= {owner for export in exports for one in export.amounts for owner in one.owners}
    if owner is not None and known and owner not in known:
        names = ", ".join(export.name for export in exports)
        raise ConfigError(f"{names}: no such owner {owner!r}; there are {', '.join(sorted(known))}")


def _check_overlap(exports: Sequence[Export]) -> None:
    last: dict[str, tuple[int, str]] = {}
    found = sorted(
        (begin, end, provider, export.name)
        for export in exports
        for provider, begin, end in export.spans
    )
    for begin, end, provider, name in found:
        until, other = last.get(provider, (begin, name))
        if begin < until:
            start = f"what {provider} billed from {moment_text(begin)} UTC on"
            if other == name:
                raise ConfigError(f"{name}: its buckets overlap: two have {start}")
            raise ConfigError(f"{other} and {name} both have {start}; give one of them")
        last[provider] = (end, name)


def _checks(
    amounts: Sequence[BilledAmount], entries: Sequence[RequestUsage], plan: Plan
) -> list[Check]:
    """Compare the amounts that were billed with the costs in the ledger, as they will be."""
    after = {one.before.id: one.after for one in plan.settlements}
    costs = sorted(
        (
            (moment, entry)
            for entry in (after.get(entry.id, entry) for entry in entries)
            if entry.status in ("settled", "in_doubt") and (moment := sent_at(entry)) is not None
        ),
        key=lambda item: item[0],
    )
    moments = [moment for moment, _ in costs]
    billed: dict[tuple[str, str | None, int, int], int] = defaultdict(int)
    for amount in amounts:
        key = (amount.provider, amount.model, amount.begins_at, amount.ends_at)
        billed[key] += amount.nanodollars
    checks = []
    for (provider, model, begins_at, ends_at), total in sorted(
        billed.items(), key=lambda item: (item[0][2], item[0][0], str(item[0][1]))
    ):
        there = Cost()
        for _, entry in costs[bisect_left(moments, begins_at) : bisect_left(moments, ends_at)]:
            if entry.provider == provider and model in (None, entry.model):
                there += entry.cost
        checks.append(Check(provider, model, begins_at, ends_at, total, there))
    return checks
