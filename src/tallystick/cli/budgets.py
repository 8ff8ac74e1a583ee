"""Budgets, as they are printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo

from rich.console import Console
from rich.text import Text

from tallystick.budget.estimate import BudgetFit, Estimate
from tallystick.budget.guard import amount_text
from tallystick.budget.guard import shown as amount_shown
from tallystick.budget.standing import BudgetHistory, BudgetStatus
from tallystick.cli import cells, words
from tallystick.cli import format as written
from tallystick.cli.table import Cell, Column, draw, print_line
from tallystick.cli.terminal import Glyphs, glyphs, shown
from tallystick.ledger import UNITS, Amounts, BudgetChange, ModelHolds, OpenHold, Unit

BAR_WIDTH = 24

NOUNS = {"nanodollars": "usd", "tokens": "tokens", "requests": "requests"}

PER = {
    "run": "each run, with all runs inside it",
    "hour": "each hour",
    "day": "each day",
    "week": "each week, from Monday",
    "month": "each month",
    "all": "all time",
}

LET_PASS = {
    "unpriced": "models without a price",
    "unbounded": "input without a bound",
    "unkept": "requests that the ledger cannot be written for",
}


def budgets(console: Console, found: Sequence[BudgetStatus]) -> None:
    """Print budgets, a line for each limit."""
    marks = glyphs(console)
    places = _places(amounts for each in found for amounts in _figures(each))
    rows: list[list[Cell]] = []
    for each in found:
        for unit in _limited(each):
            first = unit == _limited(each)[0]
            rows.append(
                [
                    Text(shown(each.name) if first else "", cells.BAR),
                    Text(shown(scope_text(each)) if first else ""),
                    Text(each.budget.per if first else "", cells.DIM),
                    *(
                        _amount(unit, getattr(amounts, unit), marks, places)
                        for amounts in (each.limits, each.spent, each.held, each.room)
                    ),
                    _percent(each, unit, marks),
                    Text(_until(each, marks, UTC) if first else "", cells.DIM),
                ]
            )
    columns = [
        Column("budget", least=8),
        Column("for", least=10, drop=1),
        Column("per", drop=3),
        Column("limit", right=True),
        Column("spent", right=True),
        Column("held", right=True, drop=2),
        Column("left", right=True),
        Column("used", right=True, drop=4),
        Column("until (UTC)", drop=5),
    ]
    drawing = draw(console, columns, rows)
    words.left_out(console, drawing.left_out)


def status(console: Console, value: BudgetStatus) -> None:
    """Print a budget in its current window, with a bar for each limit."""
    marks = glyphs(console)
    print_line(console, Text(shown(value.name), "bold"))
    facts = [scope_text(value), PER[value.budget.per]]
    if value.ends is not None:
        facts += [value.budget.zone, f"until {_until(value, marks)}"]
    words.prose(console, shown(marks.separator.join(facts)), style=cells.DIM)
    print_line(console)
    places = _places(_figures(value))
    for unit in _limited(value):
        limit = _exactly(unit, getattr(value.limits, unit))
        if value.open_windows is not None:
            number = value.open_windows
            runs = "1 run is" if number == 1 else f"{number:,} runs are"
            print_line(console, f"{NOUNS[unit]:<9} {limit} for each; {runs} open")
            continue
        spent, held, room, debt = (
            _amount(unit, getattr(amounts, unit), marks, places).plain
            for amounts in (value.spent, value.held, value.room, value.debt)
        )
        said = f"{spent} spent, {held} held, {room} left of {limit}"
        if getattr(value.debt, unit):
            said += f", {debt} over it"
        percent = _percent(value, unit, marks)
        label = Text(f"{NOUNS[unit]:<9} ", cells.DIM)
        line = Text.assemble(label, _bar(value, unit, marks), " ", percent, "  ", said)
        if line.cell_len <= console.width:
            print_line(console, line)
        else:
            words.prose(console, f"{label}{percent}  {said}", indent=label.cell_len)
    if value.unpriced:
        noun = "request has" if value.unpriced == 1 else "requests have"
        print_line(console, Text(f"{value.unpriced:,} {noun} no price, and no part in it"))


def show(
    console: Console,
    value: BudgetStatus,
    history: BudgetHistory,
    holds: Sequence[OpenHold],
) -> None:
    """Print a budget: its window, what holds it, its past windows and its changes."""
    status(console, value)
    print_line(console)
    for line in policy(value):
        words.prose(console, line)
    if holds:
        print_line(console)
        _open_holds(console, holds)
    past = [window for window in history.windows if window.begins != value.begins]
    if past:
        print_line(console)
        _windows(console, past)
    print_line(console)
    _changes(console, history.changes)


def policy(value: BudgetStatus) -> list[str]:
    """Return what a budget does, in sentences."""
    budget = value.budget
    said = {
        "stop": "What does not fit is refused, and never sent.",
        "warn": "What does not fit is sent all the same, and warned of.",
    }
    sentences = [
        said.get(
            budget.on_exceeded,
            f"What does not fit is sent to {shown(budget.on_exceeded)}, if it fits then, and else "
            "refused.",
        )
    ]
    if budget.on_exceeded != "warn":
        if budget.usd is not None or budget.tokens is not None:
            sentences.append(
                "A limit on the answer is lowered to what is left, down to "
                f"{budget.min_output_tokens:,} tokens; a request without one is given "
                f"{budget.default_output_tokens:,}."
            )
        allowed = [LET_PASS[name] for name in budget.allow]
        sentences.append(
            f"Let pass without a hold: {', '.join(allowed)}."
            if allowed
            else "What has no bound, no price or no ledger to be kept in is refused."
        )
    if budget.warn_at is not None:
        told = " in the log" if budget.webhook is None else " in the log and by a webhook"
        sentences.append(f"Warned of{told} when {budget.warn_at} % are spent, once a window.")
    return sentences


def policy_of(console: Console, value: BudgetStatus) -> None:
    """Print a budget and what it does."""
    status(console, value)
    print_line(console)
    for line in policy(value):
        words.prose(console, line)
    print_line(console)


def estimated(console: Console, value: Estimate) -> None:
    """Print what a request can come to, and what its budgets do with it."""
    places = written.decimals([value.most.nanodollars, value.expected.nanodollars])

    def line(name: str, text: str) -> None:
        print_line(console, Text.assemble((f"{name:<10}", cells.DIM), shown(text)))

    of = f" of {value.provider}" if value.provider is not None else ""
    line("request", f"{value.model or written.UNKNOWN}{of}, {value.api}")
    basis = "" if value.basis is None else f" (by {value.basis})"
    line("input", f"at most {written.tokens(value.input_tokens)} tokens{basis}")
    many = "" if value.answers == 1 else f"{value.answers:,} times "
    given = "as it asks" if value.asks_limit else "as it is given; it asks for no limit"
    line("answer", f"at most {many}{value.output_tokens:,} tokens, {given}")
    for name, amounts, mark in (("hold", value.most, ""), ("expected", value.expected, "~")):
        cost = amounts.nanodollars
        money = written.UNKNOWN if cost is None else f"{mark}{written.money(cost, places)}"
        tokens = written.tokens(amounts.tokens, estimated=bool(mark))
        line(name, f"{money}, {tokens} tokens")
    if value.rule is not None:
        line("rates", value.rule)
    for reason in value.reasons:
        line("unknown", reason)
    if value.budgets:
        print_line(console)
        for fit in value.budgets:
            line("budget", f"{fit.budget}: {_verdict(fit)}")
    print_line(console)


def _verdict(fit: BudgetFit) -> str:
    affords = f"it affords an answer of {fit.output_tokens:,} tokens" if fit.output_tokens else ""
    said = {
        "fits": "fits",
        "clamped": f"fits with a lower limit; {affords}",
        "refused": f"refused{'; ' if affords else ''}{affords}",
        "warned": "sent all the same, and warned of",
        "uncertain": "refused, because it cannot be held",
    }[fit.verdict]
    if fit.instead is not None:
        said += f"; sent to {fit.instead} if it fits then"
    return f"{said} ({_amounts_text(fit.room)} left)"


def holds_by_model(console: Console, found: Sequence[ModelHolds]) -> None:
    """Print how holds compared with what requests came to."""
    marks = glyphs(console)
    columns = [
        Column("model", least=10),
        Column("holds", right=True),
        Column("settled", right=True, drop=4),
        Column("out", right=True, drop=6, empty=not any(each.held for each in found)),
        Column("in doubt", right=True, drop=2, empty=not any(each.in_doubt for each in found)),
        Column("limited", right=True, drop=3),
        Column("overrun", right=True, drop=1),
        Column("usd median", right=True),
        Column("mean", right=True, drop=5, name="usd mean"),
        Column("tokens median", right=True),
        Column("mean", right=True, drop=5, name="tokens mean"),
    ]
    rows: list[list[Cell]] = [
        [
            Text(shown(each.model or "?")),
            Text(f"{each.holds:,}"),
            Text(f"{each.settled:,}"),
            Text(f"{each.held:,}"),
            cells.warning(each.in_doubt),
            Text(f"{each.limited:,}"),
            cells.warning(each.overrun),
            *(
                Text(marks.absent if ratio is None else f"{ratio:,.1f}x")
                for comparison in (each.nanodollars, each.tokens)
                for ratio in (comparison.median, comparison.mean)
            ),
        ]
        for each in found
    ]
    drawing = draw(console, columns, rows)
    print_line(console)
    words.prose(
        console,
        "Median and mean are what was held, in multiples of what settled requests came to.",
        style=cells.DIM,
    )
    words.left_out(console, drawing.left_out)


def scope_text(value: BudgetStatus) -> str:
    """Return what a budget is for, such as ``customer acme, model gpt-5``."""
    if not value.scope:
        return "all requests"
    return ", ".join(f"{name} {text}" for name, text in value.scope.items())


def _open_holds(console: Console, holds: Sequence[OpenHold]) -> None:
    marks = glyphs(console)
    places = _places(hold.amounts for hold in holds)
    columns = [
        Column("held by", least=12),
        Column("run", least=12, drop=1),
        Column("model", least=10, drop=2),
        Column("sent (UTC)", least=13, most=19, drop=3),
        Column("usd", right=True),
        Column("tokens", right=True, drop=4),
        Column("status"),
    ]
    rows: list[list[Cell]] = [
        [
            Text(hold.entry_id, cells.BAR),
            Text(hold.run_id, cells.DIM),
            Text(shown(hold.model or "?"), cells.DIM),
            cells.moment(hold.started_at),
            _amount("nanodollars", hold.amounts.nanodollars, marks, places),
            _amount("tokens", hold.amounts.tokens, marks, None),
            Text(hold.status.replace("_", " "), cells.DOUBTFUL),
        ]
        for hold in holds
    ]
    words.left_out(console, draw(console, columns, rows).left_out)


def _windows(console: Console, past: Sequence[BudgetStatus]) -> None:
    marks = glyphs(console)
    places = _places(amounts for each in past for amounts in _figures(each))
    columns = [
        Column("window from", least=10),
        Column("limit", right=True),
        Column("spent", right=True),
        Column("held", right=True, drop=1),
        Column("used", right=True, drop=2),
    ]
    rows: list[list[Cell]] = [
        [
            Text(marks.absent if each.begins is None else f"{each.begins:%Y-%m-%d %H:%M %z}"),
            *(
                _amount(unit, getattr(amounts, unit), marks, places)
                for amounts in (each.limits, each.spent, each.held)
            ),
            _percent(each, unit, marks),
        ]
        for each in past
        for unit in _limited(each)
    ]
    words.left_out(console, draw(console, columns, rows).left_out)


def _changes(console: Console, changes: Sequence[BudgetChange]) -> None:
    for change in changes:
        amounts = change.added or change.limits
        text = "" if amounts is None else f" to {_amounts_text(amounts)}"
        if change.added is not None:
            text = f" by {_amounts_text(amounts or change.added)}"
        by = "" if change.by is None else f" by {shown(change.by)}"
        done = {"set": "set", "top up": "topped up", "remove": "removed"}[change.change]
        words.prose(console, f"{written.moment(change.made_at)} UTC  {done}{text}{by}", indent=25)


def _amounts_text(amounts: Amounts) -> str:
    return ", ".join(
        _exactly(unit, amount)
        for unit, amount in zip(UNITS, amounts, strict=True)
        if amount is not None
    )


def _exactly(unit: Unit, amount: int) -> str:
    return amount_text(unit, amount_shown(unit, amount))


def _limited(value: BudgetStatus) -> list[Unit]:
    return [unit for unit in UNITS if getattr(value.limits, unit) is not None]


def _figures(value: BudgetStatus) -> tuple[Amounts, ...]:
    return (value.limits, value.spent, value.held, value.room)


def _places(amounts: Iterable[Amounts]) -> int:
    return written.decimals(each.nanodollars for each in amounts)


def _amount(unit: Unit, amount: int | None, marks: Glyphs, places: int | None) -> Text:
    if amount is None:
        return Text(marks.absent, cells.DIM)
    return Text(written.money(amount, places) if unit == "nanodollars" else f"{amount:,}")


def _percent(value: BudgetStatus, unit: Unit, marks: Glyphs) -> Text:
    percent = value.used_percent(unit)
    if percent is None:
        return Text(marks.absent, cells.DIM)
    return Text(f"{percent:,} %", _style(value, percent))


def _style(value: BudgetStatus, percent: int) -> str:
    if percent >= 100:
        return cells.BAD
    warn_at = value.budget.warn_at
    return cells.DOUBTFUL if warn_at is not None and percent >= warn_at else cells.GOOD


def _bar(value: BudgetStatus, unit: Unit, marks: Glyphs) -> Text:
    """Return a bar of what is spent, held and left."""
    limit, spent, held = (
        getattr(amounts, unit) for amounts in (value.limits, value.spent, value.held)
    )
    whole = max(limit, spent + held, 1)
    spent_cells = -(-spent * BAR_WIDTH // whole)
    held_cells = min(-(-held * BAR_WIDTH // whole), BAR_WIDTH - spent_cells)
    rest = BAR_WIDTH - spent_cells - held_cells
    percent = value.used_percent(unit)
    style = cells.DIM if percent is None else _style(value, percent)
    return Text.assemble(
        (marks.bar * spent_cells, style),
        (marks.doubtful_bar * held_cells, cells.DOUBTFUL),
        (marks.run_bar * rest, cells.DIM),
    )


def _until(value: BudgetStatus, marks: Glyphs, zone: tzinfo | None = None) -> str:
    """Return when the window ends, by the clocks of the budget unless a zone is given."""
    if value.ends is None:
        return marks.absent
    return f"{value.ends if zone is None else value.ends.astimezone(zone):%Y-%m-%d %H:%M}"
