"""`tallystick price`."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from tallystick.cli import items
from tallystick.cli.exits import Exit
from tallystick.cli.options import JsonOption, examples
from tallystick.cli.table import print_line
from tallystick.cli.terminal import open_console, print_json, shown
from tallystick.cli.words import prose
from tallystick.clock import Clock, timestamp
from tallystick.errors import ConfigError
from tallystick.pricing import Prices, Quote
from tallystick.report.period import ACCEPTED, read_moment
from tallystick.usage import MAX_COUNT, RequestUsage

EXAMPLES = examples(
    "tallystick price gpt-5 --provider openai --input 12000 --cached 2000 --output 500",
    "tallystick price gpt-5.4 --provider openai --input 300000 --output 900 --tier flex",
    "tallystick price claude-opus-4-6 --provider anthropic --input 9000 --cache-write 4000 "
    "--output 300 --at 2026-03-01",
)

MAX_SUGGESTIONS = 12


def _count(name: str, help_text: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        name, metavar="N", min=0, max=MAX_COUNT, help=help_text, show_default=False
    )
    return option


ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Own rates; else $TALLYSTICK_CONFIG, else tallystick.toml in this directory.",
        show_default=False,
    ),
]


def price(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model, as responses name it.")],
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Who serves it.")
    ] = None,
    sent: Annotated[
        int | None, _count("--input", "All input tokens, cached ones included.")
    ] = None,
    cached: Annotated[int | None, _count("--cached", "Of them read from a cache.")] = None,
    written: Annotated[int | None, _count("--cache-write", "Of them written to a cache.")] = None,
    written_5m: Annotated[
        int | None, _count("--cache-write-5m", "Of these for five minutes.")
    ] = None,
    written_1h: Annotated[int | None, _count("--cache-write-1h", "Of these for an hour.")] = None,
    audio_sent: Annotated[int | None, _count("--audio-input", "Input tokens of audio.")] = None,
    image_sent: Annotated[int | None, _count("--image-input", "Input tokens of images.")] = None,
    received: Annotated[
        int | None, _count("--output", "All output tokens, reasoning included.")
    ] = None,
    reasoning: Annotated[int | None, _count("--reasoning", "Of them reasoning.")] = None,
    audio_received: Annotated[
        int | None, _count("--audio-output", "Output tokens of audio.")
    ] = None,
    web_searches: Annotated[int | None, _count("--web-search", "Web searches.")] = None,
    tool: Annotated[
        list[str] | None,
        typer.Option("--tool", metavar="NAME=N", help="Other tools, as file_search=2."),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="WHEN", help=f"When it is sent: {ACCEPTED}. Else now."),
    ] = None,
    tier: Annotated[
        str | None,
        typer.Option("--tier", metavar="NAME", help="The tier that serves it: flex, priority, …"),
    ] = None,
    batch: Annotated[bool, typer.Option("--batch", help="It is part of a batch.")] = False,
    modifier: Annotated[
        list[str] | None,
        typer.Option("--modifier", metavar="NAME=VALUE", help="As inference_geo=us."),
    ] = None,
    customer: Annotated[
        str | None, typer.Option("--customer", metavar="NAME", help="For whom, for own rates.")
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", metavar="NAME", help="For which project.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Price a request, item by item, and say by which rule.

    Counts are inclusive, as providers report them: cached tokens are a part of the input. What is
    not given is none. Quantity times rate is amount, exactly, and the amounts add up to the
    total. Where there is no price, it says why and ends with the exit code 1.
    """
    moment = _moment(at)
    tools = {**_numbers("--tool", tool), **_known(web_search=web_searches)}
    inputs = _known(
        cached_tokens=cached,
        cache_write_tokens=written,
        cache_write_5m_tokens=written_5m,
        cache_write_1h_tokens=written_1h,
        audio_tokens=audio_sent,
        image_tokens=image_sent,
    )
    outputs = _known(reasoning_tokens=reasoning, audio_tokens=audio_received)
    if sent is None and received is None and not tools:
        raise typer.BadParameter("say what is used: --input and --output, or a tool")
    usage = RequestUsage(
        0 if sent is None else sent,
        0 if received is None else received,
        input_tokens_details=inputs,
        output_tokens_details=outputs,
        provider=provider,
        model=model,
        service_tier=tier,
        modifiers=_pairs("--modifier", modifier) or None,
        tool_requests=tools or None,
        customer=customer,
        project=project,
        started_at=moment,
    )
    prices = load_prices(config)
    quote = prices.quote(usage, batch=batch)
    hint = _hint(prices, provider, model) if quote.nanodollars is None else None
    if as_json:
        print_json(
            {
                "model": model,
                "provider": provider,
                "at": moment.isoformat(),
                **items.to_dict(quote),
                "hint": hint,
            }
        )
    else:
        _show(usage, quote, hint, moment, batch=batch)
    if quote.nanodollars is None:
        raise typer.Exit(Exit.UNPRICED)


def load_prices(config: Path | None) -> Prices:
    """Read the configuration that a command is given.

    Raises:
        BadParameter: the file cannot be used; the message names file, line and field.
    """
    try:
        return Prices.load(config)
    except ConfigError as error:
        raise typer.BadParameter(str(error)) from error


def providers_text(names: Sequence[str]) -> str:
    """Return providers as options to give: ``--provider openai, --provider azure``."""
    named = ", ".join(f"--provider {name}" for name in names[:MAX_SUGGESTIONS])
    return named if len(names) <= MAX_SUGGESTIONS else f"{named} and more"


def _show(
    usage: RequestUsage, quote: Quote, hint: str | None, moment: datetime, *, batch: bool
) -> None:
    console = open_console()
    heading = shown(str(usage.model))
    if usage.provider is not None:
        heading += f" of {shown(usage.provider)}"
    if usage.service_tier is not None:
        heading += f", {shown(usage.service_tier)}"
    if batch:
        heading += ", in a batch"
    print_line(console, f"{heading}, sent {moment:%Y-%m-%d %H:%M:%S} UTC")
    print_line(console)
    items.items(console, quote)
    if hint is not None:
        prose(console, shown(hint))


def _hint(prices: Prices, provider: str | None, model: str) -> str | None:
    """Say where the model has a price, or which names are close; a price is never guessed so."""
    try:
        book = prices.book
    except ImportError:
        return None
    if provider is None:
        found = book.providers_of(model)
        return f"it has a price with {providers_text(found)}" if found else None
    known = book.provider(provider)
    if known is None:
        near = difflib.get_close_matches(provider.lower(), book.provider_names, 3)
        return f"did you mean {providers_text(near)}?" if near else None
    names = [found.id for of, found in book.models() if of == known]
    near = difflib.get_close_matches(model.lower(), names, 3)
    if near and model.lower() not in near:
        return f"did you mean {' or '.join(near)}?"
    return None


def _moment(at: str | None) -> datetime:
    now = Clock().now()
    try:
        return timestamp(now if at is None else read_moment(at, now))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(str(error), param_hint="--at") from error


def _known(**counts: int | None) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number is not None}


def _pairs(option: str, texts: list[str] | None) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, equals, value = (part.strip() for part in text.partition("="))
        if not name or not equals or not value:
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        pairs[name] = value
    return pairs


def _numbers(option: str, texts: list[str] | None) -> dict[str, int]:
    pairs = _pairs(option, texts)
    for name, value in pairs.items():
        if not (value.isascii() and value.isdigit() and int(value[:16]) <= MAX_COUNT):
            raise typer.BadParameter(f"{name}={value}: not a count", param_hint=option)
    return {name: int(value) for name, value in pairs.items()}
