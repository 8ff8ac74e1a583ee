"""`tallystick reconcile`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli import reconciled
from tallystick.cli.options import (
    JsonOption,
    LedgerOption,
    examples,
    ledger_named,
    open_for_reading,
)
from tallystick.cli.table import print_line
from tallystick.cli.terminal import open_console, print_json
from tallystick.clock import Clock
from tallystick.counts import MAX_COUNT
from tallystick.errors import ConfigError, NotFound
from tallystick.ledger import Ledger, open_ledger
from tallystick.pricing import Prices
from tallystick.report.exported import plan_exports, span_of
from tallystick.report.exports import read_export
from tallystick.report.period import read_moment
from tallystick.report.reconciliation import (
    BY_HAND,
    BY_POLICY,
    Left,
    Plan,
    Settlement,
    as_estimated,
    as_held,
    by_counts,
    never_sent,
    of_each,
    settle,
    trail_dict,
)
from tallystick.report.remainder import Scope
from tallystick.usage import RequestUsage

EXAMPLES = examples(
    "tallystick reconcile",
    "tallystick reconcile usage.json costs.json --exclusive --dry-run",
    "tallystick reconcile 01a1ee578 --input 1204 --cached 1024 --output 88 --yes",
    "tallystick reconcile --older-than 7d --accept-estimates --yes",
    "tallystick reconcile --trail",
)

LEAST_OF_ID = 6
"""How many characters of an id name a request; fewer are more likely a slip."""


def reconcile(
    context: typer.Context,
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE...|ENTRY]",
            help="Exports of providers (.json, .csv); or a request in doubt, by the beginning of "
            "its id. Neither: list what is in doubt.",
            show_default=False,
        ),
    ] = None,
    exclusive: Annotated[
        bool,
        typer.Option(
            "--exclusive",
            help="The ledger sees every request that the exports are of: what is left over of a "
            "bucket is then of the requests in doubt.",
        ),
    ] = False,
    owner: Annotated[
        str | None,
        typer.Option(
            "--owner",
            metavar="ID",
            help="Use only what the exports say of this project, workspace or API key, whose "
            "requests are those that the ledger has.",
        ),
    ] = None,
    input_tokens: Annotated[
        int | None,
        typer.Option("--input", min=0, max=MAX_COUNT, help="Settle ENTRY: all tokens sent."),
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option("--output", min=0, max=MAX_COUNT, help="Settle ENTRY: all tokens received."),
    ] = None,
    cached_tokens: Annotated[
        int | None, typer.Option("--cached", min=0, help="Of those sent, read from a cache.")
    ] = None,
    cache_write_tokens: Annotated[
        int | None, typer.Option("--cache-write", min=0, help="Of those sent, written to one.")
    ] = None,
    unsent: Annotated[
        bool, typer.Option("--never-sent", help="Release ENTRY: it was never sent.")
    ] = False,
    estimates: Annotated[
        bool, typer.Option("--accept-estimates", help="Settle at the estimates, marked as such.")
    ] = False,
    holds: Annotated[
        bool,
        typer.Option("--charge-holds", help="Settle at what is held of budgets: the most."),
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than",
            metavar="TIME",
            help="All that were sent so long ago, such as 24h or 7d.",
            show_default=False,
        ),
    ] = None,
    trail: Annotated[
        bool, typer.Option("--trail", help="List how requests in doubt came to their ends.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write nothing; print what would become of them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """List the requests in doubt, or settle them: by an export, by hand, or after a time.

    In doubt is what was sent and whose use the provider never said. Each is settled or released
    once, at the prices of the time at which it was sent; what it holds of budgets becomes spent,
    or free; and the trail says by whom or what, and what was there before.
    """
    counts = {
        name: value
        for name, value in (
            ("input_tokens", input_tokens),
            ("output_tokens", output_tokens),
            ("cached_tokens", cached_tokens),
            ("cache_write_tokens", cache_write_tokens),
        )
        if value is not None
    }
    names = what or []
    files = [Path(name) for name in names if _is_export(name)]
    ends = [end for end, given in (("counts", counts), ("never", unsent), ("estimates", estimates),
                                   ("holds", holds)) if given]  # fmt: skip
    _check_usage(names, files, ends, older_than=older_than, trail=trail)
    if not (names or older_than) or trail:
        with open_for_reading(context, ledger) as opened:
            _list(opened, names, trail=trail, as_json=as_json)
        return
    if not (dry_run or yes) and (as_json or not sys.stdin.isatty()):
        raise typer.BadParameter("it would write to the ledger; give --yes, or --dry-run to look")
    prices = Prices.load()
    with open_for_reading(context, ledger) as opened:
        if files:
            plan, others = _by_exports(opened, files, prices, exclusive=exclusive, owner=owner)
        else:
            plan, others = _by_word(opened, names, older_than, ends[0], counts, prices), 0
    if not as_json:
        reconciled.plan(open_console(), plan, others)
    if not (dry_run or yes) and plan.settlements:
        dry_run = not typer.confirm(f"Write {reconciled.requests(plan.settlements)}?", err=True)
        if dry_run:
            print_line(open_console(errors=True), "Nothing was written.")
    done = 0
    if plan.settlements and not dry_run:
        url = ledger if ledger is not None else ledger_named(context)
        with open_ledger(url) as opened, reconciled.progress(len(plan.settlements)) as bar:
            done = settle(opened, prices, plan.settlements, bar)
    if as_json:
        print_json({"written": done, **plan.to_dict()})
    elif not dry_run:
        reconciled.written(open_console(), plan, done)


def _is_export(name: str) -> bool:
    return Path(name).suffix.lower() in (".json", ".csv") or Path(name).is_file()


def _check_usage(
    names: Sequence[str],
    files: Sequence[Path],
    ends: Sequence[str],
    *,
    older_than: str | None,
    trail: bool,
) -> None:
    """Refuse what does not go together.

    Raises:
        BadParameter: it does not.
    """
    problem = None
    if trail and (ends or files or older_than):
        problem = "--trail only lists"
    elif len(ends) > 1:
        problem = "give one of counts, --never-sent, --accept-estimates and --charge-holds"
    elif files and (ends or older_than or len(files) < len(names)):
        problem = "exports are given alone"
    elif len(names) - len(files) > 1:
        problem = "give one ENTRY at a time"
    elif older_than is not None and (names or ends not in (["estimates"], ["holds"])):
        problem = "--older-than goes with --accept-estimates or --charge-holds, and no ENTRY"
    elif names and not files and not ends and not trail:
        problem = "say how ENTRY ends: --input and --output, --never-sent, --accept-estimates …"
    elif ends and not names and older_than is None:
        problem = "give an ENTRY, or --older-than TIME"
    if problem is not None:
        raise typer.BadParameter(problem)


def _list(opened: Ledger, names: Sequence[str], *, trail: bool, as_json: bool) -> None:
    console = open_console()
    if trail:
        made = opened.reconciliations()
        if names:
            wanted = _without_prefix(names[0])
            made = [one for one in made if _without_prefix(one.entry_id).startswith(wanted)]
        if as_json:
            print_json({"trail": [trail_dict(one) for one in made]})
        elif made:
            reconciled.trail(console, made)
        else:
            print_line(open_console(errors=True), f"Nothing was reconciled in {opened.url}.")
        return
    entries, held = opened.in_doubt(adjusted=True), opened.held_in_doubt()
    if as_json:
        print_json({"in_doubt": reconciled.listing_dict(entries, held)})
    elif entries:
        reconciled.listing(console, entries, held)
    else:
        print_line(open_console(errors=True), f"Nothing is in doubt in {opened.url}.")


def _by_exports(
    opened: Ledger, files: Sequence[Path], prices: Prices, *, exclusive: bool, owner: str | None
) -> tuple[Plan, int]:
    """Return the plan by exports, and how many requests in doubt they say nothing of."""
    try:
        exports = [read_export(file) for file in files]
        taken_at = min(Clock().now(), *(file.stat().st_mtime_ns for file in files))
        entries = opened.in_doubt(adjusted=True)
        period = span_of(exports)
        there = () if period is None else opened.entries_between(*period, adjusted=True)
        scope = Scope(exclusive, taken_at, owner)
        plan = plan_exports(exports, entries, there, opened.held_in_doubt(), prices, scope)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error
    return plan, len(entries) - len(plan.settlements) - len(plan.left)


def _by_word(
    opened: Ledger,
    names: Sequence[str],
    older_than: str | None,
    end: str,
    counts: dict[str, int],
    prices: Prices,
) -> Plan:
    """Return the plan for one entry by hand, or for all that have been in doubt for long."""
    if older_than is None:
        source, entries = BY_HAND, [_entry(opened, names[0])]
    else:
        source = f"{BY_POLICY}: older than {older_than}"
        try:
            entries = opened.in_doubt(until=read_moment(older_than, Clock().now()), adjusted=True)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
    if end == "counts":
        _check_counts(counts)
    held = opened.held_in_doubt()

    def end_of(entry: RequestUsage) -> Settlement | Left:
        match end:
            case "counts":
                detail = ", ".join(f"{name} {value}" for name, value in counts.items())
                ended = by_counts(entry, counts, prices, source=source, detail=detail)
                if isinstance(ended, Left):
                    raise typer.BadParameter(f"--input, --output: {ended.reason}")
                return ended
            case "never":
                return never_sent(entry, source=source)
            case "estimates":
                return as_estimated(entry, prices, source=source)
        return as_held(entry, held.get(str(entry.id)), source=source)

    return of_each(entries, end_of)


def _check_counts(counts: dict[str, int]) -> None:
    if "input_tokens" not in counts or "output_tokens" not in counts:
        raise typer.BadParameter("give both --input and --output")
    parts = counts.get("cached_tokens", 0) + counts.get("cache_write_tokens", 0)
    if parts > counts["input_tokens"]:
        raise typer.BadParameter("--cached and --cache-write are parts of --input, and exceed it")


def _entry(opened: Ledger, name: str) -> RequestUsage:
    """Return the only request in doubt whose id begins so.

    Raises:
        BadParameter: it is too short to be meant.
        NotFound: there is none, or several.
    """
    wanted = _without_prefix(name)
    found = {
        _without_prefix(str(entry.id)): entry
        for entry in opened.in_doubt(adjusted=True)
        if _without_prefix(str(entry.id)).startswith(wanted)
    }
    if wanted in found:
        return found[wanted]
    status = opened.query("SELECT status FROM entries WHERE id IN (?, ?)", name, f"req_{wanted}")
    if status:
        raise NotFound(f"{name} is {status[0][0]}, and not in doubt")
    # What a script left empty begins every id.
    if len(wanted) < LEAST_OF_ID:
        raise typer.BadParameter(
            f"{name!r} is too short; give at least {LEAST_OF_ID} characters of the id after req_"
        )
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise NotFound(f"{len(found)} requests in doubt begin with {name!r}; give more of the id")
    raise NotFound(f"{opened.url} holds no request in doubt {name!r}")


def _without_prefix(identity: str) -> str:
    return identity.removeprefix("req_")
