"""`tallystick budget`: set, list, show, top up, remove and explain standing budgets."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from tallystick.attribution import Attribution
from tallystick.budget.estimate import Estimate, estimate
from tallystick.budget.limit import (
    ALLOWANCES,
    DEFAULT_OUTPUT_TOKENS,
    FLOOR_TOKENS,
    Allowance,
    Budget,
    check_name,
)
from tallystick.budget.standing import Budgets, scope_of
from tallystick.cli import budgets as render
from tallystick.cli.options import (
    JsonOption,
    LedgerOption,
    SinceOption,
    examples,
    ledger_named,
    open_for_reading,
    read_period,
)
from tallystick.cli.price import load_prices
from tallystick.cli.table import print_line
from tallystick.cli.terminal import open_console, print_json, shown
from tallystick.clock import Clock
from tallystick.errors import ConfigError
from tallystick.ledger import PERIODS, Ledger, ModelHolds, Per, open_ledger

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The budget's name.")]
UsdOption = Annotated[
    str | None, typer.Option("--usd", metavar="AMOUNT", help="USD, such as 100 or 0.50.")
]
TokensOption = Annotated[
    int | None, typer.Option("--tokens", metavar="N", help="Tokens, input and output together.")
]
RequestsOption = Annotated[
    int | None, typer.Option("--requests", metavar="N", help="Requests, retries included.")
]


def _for(name: str) -> Any:
    return typer.Option(f"--{name}", metavar="NAME", help=f"Only requests of this {name}.")


TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="KEY=VALUE", help="Only requests with this tag."),
]

budget = typer.Typer(
    name="budget",
    help="Set, show and explain standing budgets.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=examples(
        "tallystick budget set acme --usd 100 --per month --customer acme",
        "tallystick budget list",
        "tallystick budget explain acme",
    ),
)


@budget.command(
    "set",
    epilog=examples(
        "tallystick budget set acme --usd 100 --per month --zone Europe/Berlin --customer acme",
        "tallystick budget set nightly --tokens 2000000 --per day --agent Digest",
        "tallystick budget set each-run --usd 0.50 --per run --on-exceeded gpt-5-nano",
    ),
)
def set_budget(
    context: typer.Context,
    name: NameArgument,
    per: Annotated[
        str, typer.Option("--per", metavar="WINDOW", help=f"One of {', '.join(PERIODS)}.")
    ],
    usd: UsdOption = None,
    tokens: TokensOption = None,
    requests: RequestsOption = None,
    zone: Annotated[
        str, typer.Option("--zone", metavar="ZONE", help="By whose clocks windows begin.")
    ] = "UTC",
    on_exceeded: Annotated[
        str,
        typer.Option(
            "--on-exceeded",
            metavar="WHAT",
            help="'stop' refuses what does not fit, 'warn' lets it pass, and the name of a "
            "cheaper model sends it there.",
        ),
    ] = "stop",
    warn_at: Annotated[
        int,
        typer.Option("--warn-at", metavar="PERCENT", help="When to warn, once a window; 0: never."),
    ] = 80,
    min_output: Annotated[
        int,
        typer.Option("--min-output", metavar="N", help="How far an answer's limit is lowered."),
    ] = FLOOR_TOKENS,
    default_output: Annotated[
        int,
        typer.Option("--default-output", metavar="N", help="The limit of an answer without one."),
    ] = DEFAULT_OUTPUT_TOKENS,
    allow: Annotated[
        list[str] | None,
        typer.Option("--allow", metavar="WHAT", help=f"Let pass unheld: {', '.join(ALLOWANCES)}."),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help="Is sent a JSON message.")
    ] = None,
    customer: Annotated[str | None, _for("customer")] = None,
    user: Annotated[str | None, _for("user")] = None,
    project: Annotated[str | None, _for("project")] = None,
    session: Annotated[str | None, _for("session")] = None,
    agent: Annotated[str | None, _for("agent")] = None,
    model: Annotated[str | None, _for("model")] = None,
    provider: Annotated[str | None, _for("provider")] = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Set a budget: a limit, a window, and whom or what it is for.

    It holds in every process that uses the ledger, from its next request on. Without --customer
    and the like it is for all requests; given several, all have to agree. Set again, it has what
    is said now, and keeps what is spent unless its window or scope is another.
    """
    scope = {
        "customer": customer,
        "user": user,
        "project": project,
        "session": session,
        "agent": agent,
        "model": model,
        "provider": provider,
    }
    with _usage():
        check_name(name)
        limit = Budget(
            usd=usd,
            tokens=tokens,
            requests=requests,
            per=cast("Per", per),  # `Budget` checks it, and what is allowed
            zone=zone,
            on_exceeded=on_exceeded,
            warn_at=warn_at or None,
            min_output_tokens=min_output,
            default_output_tokens=default_output,
            allow=cast("list[Allowance]", allow or []),
            webhook=webhook,
        )
        tags = _tags(tag, scope)
        scope_of(**scope, **tags)
    with _open_for_writing(context, ledger) as opened, _usage():
        before = {row.name: row.id for row in opened.budgets()}
        status = Budgets(opened).set(name, limit, **scope, **tags)
    if as_json:
        print_json(status.to_dict())
        return
    render.status(open_console(), status)
    if before.get(name, status.row.id) != status.row.id:
        print_line(
            open_console(errors=True),
            "Its window or scope is another than before, so it begins anew.",
        )


@budget.command("list", epilog=examples("tallystick budget list", "tallystick budget list --json"))
def list_budgets(
    context: typer.Context, as_json: JsonOption = False, ledger: LedgerOption = None
) -> None:
    """List the standing budgets, each with its current window."""
    with open_for_reading(context, ledger) as opened:
        found = Budgets(opened).list()
        url = opened.url
    if as_json:
        print_json({"budgets": [status.to_dict() for status in found]})
    elif found:
        render.budgets(open_console(), found)
    else:
        print_line(open_console(errors=True), f"No budget is set in {url}.")


@budget.command("show", epilog=examples("tallystick budget show acme"))
def show_budget(
    context: typer.Context,
    name: NameArgument,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Show a budget: what is spent, held and left, by which requests it is held, and its past."""
    with open_for_reading(context, ledger) as opened:
        standing = Budgets(opened)
        status, history = standing.get(name), standing.history(name)
        holds = opened.open_holds(status.row.id)
    if as_json:
        print_json(
            {
                **status.to_dict(),
                "holds": [hold.to_dict() for hold in holds],
                "windows": [window.to_dict() for window in history.windows],
                "changes": [change.to_dict() for change in history.changes],
            }
        )
    else:
        render.show(open_console(), status, history, holds)


@budget.command("remove", epilog=examples("tallystick budget remove acme"))
def remove_budget(
    context: typer.Context,
    name: NameArgument,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Remove a budget. What it counted stays in the ledger, and its name is free again."""
    open_for_reading(context, ledger).close()  # where there is no ledger, none is made
    with _open_for_writing(context, ledger) as opened:
        Budgets(opened).remove(name)
    if as_json:
        print_json({"removed": name})
    else:
        print_line(open_console(), f"Removed the budget {shown(name)}.")


@budget.command("top-up", epilog=examples("tallystick budget top-up acme --usd 20"))
def top_up_budget(
    context: typer.Context,
    name: NameArgument,
    usd: UsdOption = None,
    tokens: TokensOption = None,
    requests: RequestsOption = None,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Add to a budget's limit in its current window; the next one begins without."""
    open_for_reading(context, ledger).close()
    with _open_for_writing(context, ledger) as opened, _usage():
        status = Budgets(opened).top_up(name, usd=usd, tokens=tokens, requests=requests)
    if as_json:
        print_json(status.to_dict())
    else:
        render.status(open_console(), status)


@budget.command(
    "explain",
    epilog=examples(
        "tallystick budget explain",
        "tallystick budget explain acme --since 7d",
        "tallystick budget explain --request body.json --provider openai --customer acme",
    ),
)
def explain_budget(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Also this budget, in words.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="Only holds of this model.")
    ] = None,
    since: SinceOption = None,
    request: Annotated[
        Path | None,
        typer.Option(
            "--request",
            metavar="FILE",
            help="A request's JSON body, or - for standard input: what it can come to, and "
            "whether its budgets let it pass now.",
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Who serves that request.")
    ] = None,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="NAME", help="Which agent asks it.")
    ] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="NAME", help="Whom it is for.")
    ] = None,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Likewise.")] = None,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="Likewise.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", metavar="NAME", help="Likewise.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Likewise.")
    ] = None,
    as_json: JsonOption = False,
    ledger: LedgerOption = None,
) -> None:
    """Explain budgets: how what was held compared with what requests came to, model by model.

    With --request also the bound of a request that has not been sent, the hold, and what each
    budget that it falls under does with it.
    """
    period = read_period(since)
    body = None if request is None else _body(request)
    known = {"customer": customer, "user": user, "project": project, "session": session}
    who = Attribution().with_values({**known, **_tags(tag, known)})
    with open_for_reading(context, ledger) as opened:
        status = None if name is None else Budgets(opened).get(name)
        found: Estimate | None = None
        if body is not None:
            found = estimate(
                body,
                ledger=opened,
                prices=load_prices(None),
                at=Clock().now(),
                provider=provider,
                who=who,
                agent=agent,
            )
        holds = _of(opened.holds_by_model(period.since), model)
    if as_json:
        print_json(
            {
                "budget": None if status is None else status.to_dict(),
                "policy": [] if status is None else render.policy(status),
                "request": None if found is None else found.to_dict(),
                "models": [each.to_dict() for each in holds],
            }
        )
        return
    console = open_console()
    if status is not None:
        render.policy_of(console, status)
    if found is not None:
        render.estimated(console, found)
    if holds:
        render.holds_by_model(console, holds)
    elif found is None:
        print_line(open_console(errors=True), "No request has held on a budget yet.")


def _of(holds: list[ModelHolds], model: str | None) -> list[ModelHolds]:
    return [each for each in holds if model is None or each.model == model]


@contextmanager
def _usage() -> Iterator[None]:
    """Say of a value that cannot be used that it is the command's usage which is wrong."""
    try:
        yield
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def _open_for_writing(context: typer.Context, ledger: str | None) -> Ledger:
    return open_ledger(ledger if ledger is not None else ledger_named(context))


def _tags(texts: list[str] | None, taken: Mapping[str, object]) -> dict[str, str]:
    tags: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals or not value:
            raise typer.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="--tag")
        if name in taken:
            raise typer.BadParameter(f"{name} is an option: --{name}", param_hint="--tag")
        if name in tags:
            raise typer.BadParameter(f"{name} is given twice", param_hint="--tag")
        tags[name] = value
    return tags


def _body(path: Path) -> Mapping[str, Any]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise typer.BadParameter(f"{path}: {error}", param_hint="--request") from error
    if not isinstance(body, Mapping):
        raise typer.BadParameter(f"{path}: a body is a JSON object", param_hint="--request")
    return body
