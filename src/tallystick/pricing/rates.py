"""Reads a user's own rates, discounts and aliases from a ``tallystick.toml``.

::

    [[rates]]
    model = "gemma3-270m*"            # a glob
    provider = "local"                # optional; so are customer, project and service_tier
    input_per_million = "0.02"        # USD; text, a whole number or a decimal, read exactly
    output_per_million = "0.04"
    request = "0.0001"                # USD for each request
    from = 2026-01-01                 # optional: the first day, UTC, on which it holds
    until = 2027-01-01                # optional: the first day on which it holds no more

    [[rates.tiers]]
    above = 200000                    # requests with more input than this pay, for all of it,
    input_per_million = "0.04"        # these rates instead

    [[discounts]]
    provider = "openai"
    percent = "12"                    # off the list price

    [aliases]
    "my-azure-deployment" = "azure/gpt-5"

    [billing]
    provider_cost = ["openrouter"]    # what these providers report is billed, not the list price
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

from tallystick.errors import ConfigError
from tallystick.pricing.book import digest
from tallystick.pricing.rate import Rate, RateError
from tallystick.pricing.rate_card import Discount, OwnRate, Rates, Terms
from tallystick.pricing.reported import UNITS as REPORTED_UNITS
from tallystick.pricing.reported import provider_named
from tallystick.pricing.tariff import Tariff
from tallystick.pricing.units import MILLION

RATE_FIELDS: dict[str, tuple[str, int]] = {
    "input_per_million": ("input_tokens", MILLION),
    "cached_input_per_million": ("cache_read_tokens", MILLION),
    "cache_write_per_million": ("cache_write_tokens", MILLION),
    "cache_write_5m_per_million": ("cache_write_5m_tokens", MILLION),
    "cache_write_1h_per_million": ("cache_write_1h_tokens", MILLION),
    "output_per_million": ("output_tokens", MILLION),
    "reasoning_per_million": ("output_reasoning_tokens", MILLION),
    **{
        f"{modality}_{direction}_per_million": (f"{direction}_{modality}_tokens", MILLION)
        for modality in ("audio", "image", "video")
        for direction in ("input", "output")
    },
    **{
        f"cached_{modality}_input_per_million": (f"cache_{modality}_read_tokens", MILLION)
        for modality in ("audio", "image", "video")
    },
    "request": ("requests", 1),
    "web_search": ("web_searches", 1),
    "social_search": ("social_searches", 1),
    "file_search": ("storage_searches", 1),
    "code_execution": ("code_executions", 1),
    "rerank": ("rerank_searches", 1),
}
"""The unit of each rate field, and how many the rate is for."""

TABLES = ("rates", "discounts", "aliases", "billing")

TERM_FIELDS = ("model", "provider", "customer", "project", "service_tier")

MAX_RATE = 1_000_000
"""USD. No rate of a million tokens, a request or a search comes near it."""

MAX_TIERS = 20


def load(path: Path | str) -> Rates:
    """Read the rates of a ``tallystick.toml``; its other tables are other readers' matter.

    Raises:
        ConfigError: the file cannot be read, is no TOML, or says something about prices that
            cannot be; the message names the file, the line and the field.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> Rates:
    """Read rates from the content of a file; see `load`."""
    try:
        text = content.decode()
        data = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return _Reader(path, text).read(data)


class _Reader:
    """One file while it is read: it knows where its tables stand."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()

    def read(self, data: Mapping[str, Any]) -> Rates:
        for name in data:
            near = difflib.get_close_matches(name, TABLES, 1, 0.8)
            if near and name != near[0]:
                self.fail(f"unknown table; did you mean {near[0]}?", name, self.key_line(name, 0))
        rates = tuple(self.rate(table, number) for number, table in self.tables(data, "rates"))
        discounts = tuple(
            self.discount(table, number) for number, table in self.tables(data, "discounts")
        )
        self.refuse_overlaps("rates", [rate.terms for rate in rates])
        self.refuse_overlaps("discounts", [discount.terms for discount in discounts])
        aliases, reported = self.aliases(data), self.provider_cost(data)
        kept = self.canonical(data)
        name = f"{self.path.name}:{digest(kept)}"
        return Rates(name, rates, discounts, aliases, kept, reported)

    def canonical(self, data: Mapping[str, Any]) -> bytes:
        """Return what the file says about prices as TOML; call it once all of it was found right.

        This is what ledgers keep, so no comment and no other table is in it: those may hold what
        is nobody's business. Each table stays on its line, because rules name it.
        """
        placed = [
            (self.table_line(name, number), name, table)
            for name in ("rates", "discounts")
            for number, table in self.tables(data, name)
        ]
        lines: list[str] = []
        for line, name, table in sorted(placed, key=itemgetter(0)):
            lines += [""] * (line - 1 - len(lines))
            lines += [f"[[{name}]]", *_pairs(table)]
        for name in ("aliases", "billing"):
            if data.get(name):
                lines += [f"[{name}]", *_pairs(data[name])]
        return "".join(f"{line}\n" for line in lines).encode()

    def tables(self, data: Mapping[str, Any], name: str) -> list[tuple[int, dict[str, Any]]]:
        tables = data.get(name, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.fail(f"write it as [[{name}]]", name, self.key_line(name, 0))
        return list(enumerate(tables))

    def rate(self, table: dict[str, Any], number: int) -> OwnRate:
        line = self.table_line("rates", number)
        terms = self.terms(table, {*RATE_FIELDS, "tiers"}, "rates", line)
        if "model" not in table:
            self.fail('say which model it is for; a glob such as "*" will do', "model", line)
        base = self.amounts(table, line)
        tiers: dict[str, list[tuple[int, Fraction]]] = {}
        for threshold, amounts in self.tiers(table, line):
            for unit, amount in amounts.items():
                tiers.setdefault(unit, []).append((threshold, amount))
        rates = {
            unit: Rate(amount, tuple(sorted(tiers.get(unit, ())))) for unit, amount in base.items()
        }
        if not rates:
            self.fail("there is no rate; give input_per_million, output_per_million", "rates", line)
        try:
            Tariff(rates, rule=terms.name, book=None)
        except RateError as error:
            self.fail(_by_field(str(error)), "rates", line)
        return OwnRate(terms, rates)

    def tiers(self, table: dict[str, Any], line: int) -> list[tuple[int, dict[str, Fraction]]]:
        tiers = table.get("tiers", [])
        if not isinstance(tiers, list) or not all(isinstance(tier, dict) for tier in tiers):
            self.fail("write it as [[rates.tiers]]", "tiers", self.key_line("tiers", line))
        if len(tiers) > MAX_TIERS:
            self.fail(f"more than {MAX_TIERS} tiers", "tiers", line)
        read: dict[int, dict[str, Fraction]] = {}
        for index, tier in enumerate(tiers):
            tier_line = self.tier_line(index, line)
            above = tier.get("above")
            if type(above) is not int or not 0 < above <= 10**12 or above in read:
                self.fail(
                    f"needs a whole number of input tokens, once, and not {above!r}",
                    "above",
                    self.key_line("above", tier_line),
                )
            for key in tier:
                where = self.key_line(key, tier_line)
                if key != "above" and key not in RATE_FIELDS:
                    self.unknown(key, ("above", *RATE_FIELDS), where)
                if key != "above" and key not in table:
                    self.fail("a tier needs a rate to start from in its [[rates]]", key, where)
            read[above] = self.amounts(tier, tier_line)
            if not read[above]:
                self.fail("there is no rate in this tier", "tiers", tier_line)
        return list(read.items())

    def discount(self, table: dict[str, Any], number: int) -> Discount:
        line = self.table_line("discounts", number)
        terms = self.terms(table, {"percent"}, "discounts", line)
        if "percent" not in table:
            self.fail("say how much", "percent", line)
        where = self.key_line("percent", line)
        percent = self.number(table["percent"], "percent", where)
        if not 0 < percent <= 100:
            self.fail(
                f"a discount is above 0 and at most 100 percent, not {percent}", "percent", where
            )
        return Discount(terms, Fraction(percent))

    def aliases(self, data: Mapping[str, Any]) -> dict[str, str]:
        aliases = data.get("aliases", {})
        if not isinstance(aliases, dict):
            self.fail("write it as [aliases]", "aliases", self.key_line("aliases", 0))
        header = self.header_line("[aliases]")
        for name, target in aliases.items():
            line = self.key_line(name, header)
            if not isinstance(target, str) or not target.strip() or target.endswith("/"):
                self.fail('is "provider/model" or "model", as text', name, line)
            if not name.strip():
                self.fail("an alias needs a name", "aliases", line)
        return dict(aliases)

    def provider_cost(self, data: Mapping[str, Any]) -> frozenset[str]:
        table = data.get("billing", {})
        if not isinstance(table, dict):
            self.fail("write it as [billing]", "billing", self.key_line("billing", 0))
        header = self.header_line("[billing]")
        for key in table:
            if key != "provider_cost":
                self.unknown(key, ("provider_cost",), self.key_line(key, header))
        line = self.key_line("provider_cost", header)
        names = table.get("provider_cost", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            self.fail('is a list of providers such as ["openrouter"]', "provider_cost", line)
        for name in names:
            if provider_named(name) not in REPORTED_UNITS:
                known = ", ".join(sorted(REPORTED_UNITS))
                self.fail(
                    f"it is not known what {name!r} reports its cost in; known are {known}",
                    "provider_cost",
                    line,
                )
        return frozenset(map(provider_named, names))

    def terms(self, table: dict[str, Any], others: set[str], kind: str, line: int) -> Terms:
        known = {*TERM_FIELDS, "from", "until", "name", *others}
        for key in table:
            if key not in known:
                self.unknown(key, tuple(known), self.key_line(key, line))
        values: dict[str, str] = {}
        for name in (*TERM_FIELDS, "name"):
            value = table.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not value.strip():
                self.fail(
                    f"is text that is not empty, not {value!r}", name, self.key_line(name, line)
                )
            values[name] = value.strip()
        since = self.moment(table, "from", line)
        until = self.moment(table, "until", line)
        if since is not None and until is not None and until <= since:
            self.fail("must be after from", "until", self.key_line("until", line))
        shown = values.pop("name", None) or values.get("model") or values.get("provider") or kind
        return Terms(f"{shown} ({self.path.name}, line {line})", since=since, until=until, **values)

    def moment(self, table: dict[str, Any], name: str, line: int) -> datetime | None:
        value = table.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                self.fail(
                    f"is a date such as 2026-01-01, not {value!r}", name, self.key_line(name, line)
                )
        if isinstance(value, datetime):
            try:
                return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            except OverflowError:
                self.fail("lies outside the calendar", name, self.key_line(name, line))
        if not isinstance(value, date):
            self.fail(
                f"is a date such as 2026-01-01, not {value!r}", name, self.key_line(name, line)
            )
        return datetime(value.year, value.month, value.day, tzinfo=UTC)

    def amounts(self, table: dict[str, Any], line: int) -> dict[str, Fraction]:
        amounts = {}
        for name, (unit, per) in RATE_FIELDS.items():
            if name not in table:
                continue
            where = self.key_line(name, line)
            amount = self.number(table[name], name, where)
            if amount < 0:
                self.fail(f"a rate cannot be negative, and {amount} is", name, where)
            if amount > MAX_RATE:
                self.fail(f"{amount} USD is no believable rate", name, where)
            amounts[unit] = Fraction(amount) / per
        return amounts

    def number(self, value: Any, name: str, line: int) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            self.fail(f'is a number such as "0.25", not {value!r:.60}', name, line)
        try:
            number = Decimal(value.strip() if isinstance(value, str) else value)
        except InvalidOperation:
            self.fail(f'is a number such as "0.25", not {value!r:.60}', name, line)
        exponent = number.as_tuple().exponent
        if not isinstance(exponent, int) or exponent < -18 or exponent > 18 or len(str(value)) > 40:
            self.fail(f"is a number of at most 18 decimals, not {value!r:.60}", name, line)
        return number

    def refuse_overlaps(self, kind: str, terms: list[Terms]) -> None:
        for index, later in enumerate(terms):
            for earlier in terms[:index]:
                if earlier.key == later.key and earlier.overlaps(later):
                    line = self.table_line(kind, index)
                    self.fail(f"its dates overlap those of {earlier.name}", "from", line)

    def unknown(self, key: str, known: tuple[str, ...], line: int) -> NoReturn:
        near = difflib.get_close_matches(key, known, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(sorted(known))}"
        self.fail(f"unknown field{hint}", key, line)

    def fail(self, message: str, field: str, line: int) -> NoReturn:
        where = f"{self.path}, line {line}" if line else str(self.path)
        raise ConfigError(f"{where}: {field}: {message}")

    def table_line(self, name: str, number: int) -> int:
        """Return the line of the table of this number, from 1, or 0 where it cannot be told."""
        header = re.compile(rf"\s*\[\[\s*{name}\s*\]\]")
        found = [index for index, line in enumerate(self.lines, 1) if header.match(line)]
        return found[number] if number < len(found) else self.key_line(name, 0)

    def tier_line(self, index: int, line: int) -> int:
        """Return the line of a tier of the rate table that begins at `line`."""
        header = re.compile(r"\s*\[\[\s*rates\s*\.\s*tiers\s*\]\]")
        found = [
            place for place, text in enumerate(self.lines, 1) if place > line and header.match(text)
        ]
        return found[index] if index < len(found) else line

    def header_line(self, header: str) -> int:
        return next(
            (
                index
                for index, line in enumerate(self.lines, 1)
                if line.split("#")[0].replace(" ", "").strip() == header
            ),
            0,
        )

    def key_line(self, key: str, start: int) -> int:
        """Return the line of a key, looking from the line of its table on; else that line."""
        written = rf"(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')"
        pattern = re.compile(rf"(?:^|[\s,{{\[]){written}\s*[\]=.]")
        for index, line in enumerate(self.lines[start:], start + 1):
            if start and index > start and re.match(r"\s*\[", line) and not pattern.search(line):
                break
            if pattern.search(line):
                return index
        return start


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [
        f"{key if _BARE_KEY.fullmatch(key) else _toml(key)} = {_toml(value)}"
        for key, value in table.items()
    ]


_BARE_KEY = re.compile("[A-Za-z0-9_-]+")


def _toml(value: Any) -> str:
    """Write a value that was read from TOML, and found to be one that a price table may have."""
    if isinstance(value, str):
        # A JSON string is a TOML string, but for one character that only TOML escapes.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(_pairs(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return value.isoformat() if isinstance(value, date) else str(value)


def _by_field(message: str) -> str:
    """Put the file's own names where a message names units."""
    for field, (unit, _) in RATE_FIELDS.items():
        message = re.sub(rf"\b{unit}\b", field, message)
    return message
