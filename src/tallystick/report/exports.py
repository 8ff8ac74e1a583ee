"""What providers say that they billed: exports of usage and of costs, read into one form.

Read are OpenAI's usage and costs, Anthropic's usage report, as their APIs answer, and a CSV with
the header that `CSV_COLUMNS` states. Counts come out inclusive, as everywhere here: of input,
cached and cache-written tokens are parts. Nothing here looks at a ledger.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from tallystick.clock import nanoseconds
from tallystick.counts import count
from tallystick.errors import ConfigError
from tallystick.money import nanodollars

PARTS = ("cached_tokens", "cache_write_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
"""The parts of input that exports tell apart; none of them includes another here."""

UNSHARED = ("input_audio_tokens", "output_audio_tokens", "web_search_requests")
"""What is billed at rates of its own, and is not shared out between requests."""

CSV_COLUMNS = (
    "begins_at",
    "ends_at",
    "provider",
    "model",
    "owner",
    "request_id",
    "response_id",
    "requests",
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "output_tokens",
    "cost_usd",
)
"""The columns that a CSV may have, in any order.

`input_tokens` and `output_tokens` are required. A line with a `request_id` (an entry's id) or a
`response_id` (the provider's) is of one request; any other is of all the requests of a provider
and a model from `begins_at` on and before `ends_at`, both ISO 8601, UTC where they name no zone.
`owner` is a project, a workspace or an API key. An empty cell is not known.
"""

_SECOND = 1_000_000_000

_FIRST, _BEYOND = (nanoseconds(datetime(year, 1, 1, tzinfo=UTC)) for year in (1678, 2262))
"""The moments that a ledger can be asked for: 64 bits of nanoseconds reach no further."""

ACCEPTED = (
    "OpenAI's usage (completions) or costs as JSON, Anthropic's usage report (messages) as JSON, "
    "or a CSV with a header"
)


@dataclass(frozen=True, slots=True)
class BilledBucket:
    """What was billed for all requests of a model in a span of time."""

    where: str
    """The file and the place in it."""
    provider: str
    model: str | None
    """None where the export was not asked to tell models apart."""
    begins_at: int
    """Nanoseconds since 1970-01-01 UTC."""
    ends_at: int
    """The first nanosecond after."""
    requests: int | None
    """None where the export does not say: Anthropic's never does."""
    counts: Mapping[str, int]
    """`input_tokens`, `output_tokens`, and those of `PARTS` and `UNSHARED` that are said."""
    owners: frozenset[str] = frozenset()
    """The project or workspace and the API key that it is of, where the export tells them."""


@dataclass(frozen=True, slots=True)
class BilledRequest:
    """What was billed for one request."""

    where: str
    request_id: str | None
    response_id: str | None
    counts: Mapping[str, int]
    cost_nanodollars: int | None


@dataclass(frozen=True, slots=True)
class BilledAmount:
    """An amount of money that was billed for a span of time; it is compared, and not shared out."""

    where: str
    provider: str
    model: str | None
    """None where it is of all models."""
    begins_at: int
    ends_at: int
    nanodollars: int
    owners: frozenset[str] = frozenset()


@dataclass(slots=True)
class Export:
    """All that a file says."""

    name: str
    """The file's name."""
    buckets: list[BilledBucket] = field(default_factory=list)
    requests: list[BilledRequest] = field(default_factory=list)
    amounts: list[BilledAmount] = field(default_factory=list)
    spans: set[tuple[str, int, int]] = field(default_factory=set)
    """The provider, beginning and end of each bucket of usage, also of those that are empty."""
    _places: dict[tuple[Hashable, ...], str] = field(default_factory=dict, init=False)

    def once(self, place: _Place, *key: Hashable) -> None:
        """Note what a place is of.

        Raises:
            ConfigError: another place is of the same, and it would count twice.
        """
        first = self._places.setdefault(key, place.where)
        if first != place.where:
            raise ConfigError(f"{place.where}: it overlaps with {first}; give it once")


def read_export(path: Path) -> Export:
    """Read an export.

    Raises:
        ConfigError: it cannot be read; the message names the file, the place and the field.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: it cannot be read: {error}") from error
    if path.suffix.lower() == ".csv":
        return _read_csv(path.name, text)
    try:
        # As decimals, because no amount of money is ever a float.
        value = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path.name}: it is no JSON: {error}; give {ACCEPTED}") from error
    return _read_pages(path.name, value)


@dataclass(frozen=True, slots=True)
class _Place:
    """An object of an export, and where it stands, for messages."""

    where: str
    value: Mapping[str, Any]

    def fail(self, name: str, problem: str) -> NoReturn:
        raise ConfigError(f"{self.where}: {name}: {problem}")

    def get(self, name: str) -> Any:
        value = self.value.get(name)
        return None if value == "" else value

    def text(self, name: str) -> str | None:
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            self.fail(name, f"{value!r} is no text")
        return value

    def count(self, name: str) -> int | None:
        value = self.get(name)
        known = count(value)
        if known is None and value is not None:
            self.fail(name, f"{value!r} is no count")
        return known

    def required(self, name: str) -> int:
        known = self.count(name)
        return self.fail(name, "it is missing") if known is None else known

    def moment(self, name: str) -> int:
        value = self.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            known = value * _SECOND
        else:
            try:
                moment = datetime.fromisoformat(value)
            except (TypeError, ValueError):
                self.fail(name, "it is missing" if value is None else f"{value!r} is no moment")
            known = nanoseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
        if not _FIRST <= known < _BEYOND:
            self.fail(name, f"{value!r:.40} is not within the years 1678 to 2261")
        return known

    def amount(self, name: str) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        try:
            return nanodollars(value)
        except (TypeError, ValueError):
            return self.fail(name, f"{value!r} is no amount in USD")

    def inside(self, name: str) -> _Place:
        value = self.value.get(name)
        if value is None:
            value = {}
        if not isinstance(value, Mapping):
            self.fail(name, "it is no object")
        return _Place(f"{self.where}: {name}", value)

    def items(self, name: str) -> Iterator[_Place]:
        values = self.value.get(name)
        if not isinstance(values, list):
            self.fail(name, "it is missing" if values is None else "it is no list")
        for number, value in enumerate(values):
            where = f"{self.where}: {name}[{number}]"
            if not isinstance(value, Mapping):
                raise ConfigError(f"{where}: it is no object")
            yield _Place(where, value)

    def grouping(self) -> frozenset[tuple[str, str | bool]]:
        """Return what a result is of: all that it says but counts and amounts."""
        return frozenset(
            (name, value) for name, value in self.value.items() if isinstance(value, str | bool)
        )

    def owners(self, *names: str) -> frozenset[str]:
        return frozenset(owner for name in names if (owner := self.text(name)) is not None)


def _read_pages(name: str, value: Any) -> Export:
    """Read one page of an API's answer, or a list of pages."""
    export = Export(name)
    pages = value if isinstance(value, list) else [value]
    for number, page in enumerate(pages):
        where = name if page is value else f"{name}: [{number}]"
        if not isinstance(page, Mapping):
            raise ConfigError(f"{where}: it is no page of an export; give {ACCEPTED}")
        for bucket in _Place(where, page).items("data"):
            if "start_time" in bucket.value:
                _read_openai(export, bucket)
            elif "starting_at" in bucket.value:
                _read_anthropic(export, bucket)
            else:
                bucket.fail("start_time, starting_at", f"neither is there; give {ACCEPTED}")
    if not export.buckets:
        # A day without a cost looks like one without usage; nothing is said of any model.
        export.spans.clear()
    return export


def _read_openai(export: Export, bucket: _Place) -> None:
    """Read a bucket of OpenAI's usage of completions, or of its costs.

    The formats: https://developers.openai.com/api/docs/api-reference/usage and the examples of
    https://cookbook.openai.com/examples/completions_usage_api. There `input_tokens` includes
    what was cached, and a field by which the results are not grouped is null.
    """
    span = _span_of(bucket, "start_time", "end_time")
    results = list(bucket.items("results"))
    if all(result.get("object") == "organization.usage.completions.result" for result in results):
        export.spans.add(("openai", *span))
    for result in results:
        owners = result.owners("project_id", "api_key_id")
        export.once(bucket, "openai", span, result.text("object"))
        export.once(result, "openai", span, result.grouping())
        if result.get("object") == "organization.costs.result":
            amount = result.inside("amount")
            if amount.get("currency") not in ("usd", "USD"):
                amount.fail("currency", f"{amount.get('currency')!r} is not usd")
            value = amount.amount("value")
            if value is None:
                amount.fail("value", "it is missing")
            export.amounts.append(BilledAmount(result.where, "openai", None, *span, value, owners))
            continue
        if result.get("object") != "organization.usage.completions.result":
            result.fail("object", f"{result.get('object')!r} is not read; give {ACCEPTED}")
        # The requests of a batch are sent by OpenAI itself, and are in no ledger.
        if result.get("batch") is True:
            continue
        counts = _counts(
            result,
            {
                "cached_tokens": "input_cached_tokens",
                "cache_write_tokens": "input_cache_write_tokens",
                "input_audio_tokens": "input_audio_tokens",
                "output_audio_tokens": "output_audio_tokens",
            },
        )
        counts["input_tokens"] = result.required("input_tokens")
        counts["output_tokens"] = result.required("output_tokens")
        requests = result.count("num_model_requests")
        model = result.text("model")
        _add(export, result, "openai", model, span, requests, counts, owners)


def _read_anthropic(export: Export, bucket: _Place) -> None:
    """Read a bucket of Anthropic's usage report of messages.

    The format: https://platform.claude.com/docs/en/api/admin-api/usage-cost/get-messages-usage-report
    There the parts of input stand side by side, and nothing says how many requests there were.
    """
    span = _span_of(bucket, "starting_at", "ending_at")
    export.spans.add(("anthropic", *span))
    for result in bucket.items("results"):
        if "uncached_input_tokens" not in result.value:
            result.fail("uncached_input_tokens", f"it is missing; give {ACCEPTED}")
        export.once(bucket, "anthropic", span)
        export.once(result, "anthropic", span, result.grouping())
        if result.get("service_tier") == "batch":
            continue
        created = result.inside("cache_creation")
        parts = {
            "cached_tokens": result.required("cache_read_input_tokens"),
            "cache_write_5m_tokens": created.required("ephemeral_5m_input_tokens"),
            "cache_write_1h_tokens": created.required("ephemeral_1h_input_tokens"),
        }
        searches = result.inside("server_tool_use").count("web_search_requests")
        counts = {
            **parts,
            "input_tokens": result.required("uncached_input_tokens") + sum(parts.values()),
            "output_tokens": result.required("output_tokens"),
            **({} if searches is None else {"web_search_requests": searches}),
        }
        owners = result.owners("workspace_id", "api_key_id")
        model = result.text("model")
        _add(export, result, "anthropic", model, span, None, counts, owners)


def _read_csv(name: str, text: str) -> Export:
    export = Export(name)
    lines = _cells(name, text)
    _, titles = next(lines)
    header = [title.strip() for title in titles]
    for title in header:
        if title not in CSV_COLUMNS:
            known = ", ".join(CSV_COLUMNS)
            raise ConfigError(f"{name}: line 1: {title!r} is no column; there are {known}")
        if header.count(title) > 1:
            raise ConfigError(f"{name}: line 1: the column {title} is there twice")
    for title in ("input_tokens", "output_tokens"):
        if title not in header:
            raise ConfigError(f"{name}: line 1: the column {title} is missing")
    for where, cells in lines:
        if len(cells) > len(header):
            raise ConfigError(f"{where}: it has {len(cells)} cells, and the header {len(header)}")
        if any(cells):
            known_cells = {title: cell.strip() for title, cell in zip(header, cells, strict=False)}
            _read_line(export, _Place(where, known_cells))
    return export


def _cells(name: str, text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield where each line of a CSV stands, and its cells.

    Lines are read one by one, so that a quote that is left open cannot swallow those after it.
    """
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name}: line {number}"
        try:
            yield where, next(csv.reader([line], strict=True), [])
        except csv.Error as error:
            raise ConfigError(f"{where}: it is no line of a CSV: {error}") from error


def _read_line(export: Export, line: _Place) -> None:
    counts = _counts(line, {part: part for part in ("cached_tokens", "cache_write_tokens")})
    counts["input_tokens"] = line.required("input_tokens")
    counts["output_tokens"] = line.required("output_tokens")
    _check_parts(line, counts)
    cost = line.amount("cost_usd")
    request_id, response_id = line.text("request_id"), line.text("response_id")
    if request_id is not None or response_id is not None:
        export.requests.append(BilledRequest(line.where, request_id, response_id, counts, cost))
        return
    provider, model = line.text("provider"), line.text("model")
    for title, value in (("provider", provider), ("model", model)):
        if value is None:
            line.fail(title, "it is missing, and so are request_id and response_id")
    provider = str(provider)
    span = _span_of(line, "begins_at", "ends_at")
    owners = line.owners("owner")
    export.once(line, provider, model, span, owners)
    export.spans.add((provider, *span))
    _add(export, line, provider, model, span, line.count("requests"), counts, owners)
    if cost is not None:
        export.amounts.append(BilledAmount(line.where, provider, model, *span, cost, owners))


def _add(
    export: Export,
    place: _Place,
    provider: str,
    model: str | None,
    span: tuple[int, int],
    requests: int | None,
    counts: dict[str, int],
    owners: frozenset[str],
) -> None:
    _check_parts(place, counts)
    export.buckets.append(
        BilledBucket(place.where, provider, model, *span, requests, counts, owners)
    )


def _check_parts(place: _Place, counts: Mapping[str, int]) -> None:
    parts = sum(counts.get(part, 0) for part in PARTS)
    if parts > counts["input_tokens"]:
        place.fail("input_tokens", f"{counts['input_tokens']} is less than its parts, {parts}")


def _counts(place: _Place, names: Mapping[str, str]) -> dict[str, int]:
    known = {name: place.count(theirs) for name, theirs in names.items()}
    return {name: value for name, value in known.items() if value is not None}


def _span_of(place: _Place, first: str, last: str) -> tuple[int, int]:
    begins_at, ends_at = place.moment(first), place.moment(last)
    if ends_at <= begins_at:
        place.fail(last, f"it is not after {first}")
    return begins_at, ends_at
