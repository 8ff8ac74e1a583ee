"""`Usage`, the accumulator, and with it what a usage is made of.

A `RequestUsage` is what one request consumed, for whom, and what it cost: an immutable value. A
`Usage` adds them up. Both carry every field of the OpenAI Agents SDK's `Usage` and
`RequestUsage` under the same names, so code written for those works with these.

Counts are inclusive, as OpenAI and OpenTelemetry define them: `input_tokens` includes cached
and cache-written tokens, `output_tokens` includes reasoning tokens. In a `RequestUsage`, None
means that the provider did not say and 0 that it said zero. The totals of a `Usage` are sums of
what is known, and `Usage.unknown` says for how many requests each count is missing from them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tallystick.counts import (
    INPUT_DETAILS,
    MAX_COUNT,
    OUTPUT_DETAILS,
    InputTokensDetails,
    OutputTokensDetails,
    Record,
    count,
    read_counts,
    same_counts,
    shown,
)
from tallystick.money import Cost
from tallystick.request_usage import TOKEN_FIELDS, Outcome, RequestFields, RequestUsage, Status

__all__ = [
    "INPUT_DETAILS",
    "MAX_COUNT",
    "OUTPUT_DETAILS",
    "InputTokensDetails",
    "Outcome",
    "OutputTokensDetails",
    "Record",
    "RequestFields",
    "RequestUsage",
    "Status",
    "Usage",
    "count",
    "shown",
]


class Usage:
    """What requests consumed: totals, and one `RequestUsage` for each request.

    It takes the Agents SDK's keywords. Details may be openai's own types, mappings or None.
    Adding costs the same however many entries there are; entries are immutable and are shared,
    not copied, so nothing that is done to one usage shows in another.
    """

    __slots__ = (
        "_ids",
        "_input_details",
        "_kept",
        "_lazy",
        "_output_details",
        "_summary",
        "input_tokens",
        "output_tokens",
        "requests",
        "total_tokens",
    )
    requests: int
    """How many requests were made, failed ones and those without an entry included."""
    input_tokens: int
    output_tokens: int
    total_tokens: int

    def __init__(
        self,
        requests: int | None = 0,
        input_tokens: int | None = 0,
        input_tokens_details: Any = None,
        output_tokens: int | None = 0,
        output_tokens_details: Any = None,
        total_tokens: int | None = 0,
        request_usage_entries: Iterable[Any] | None = None,
    ) -> None:
        # A total is a sum of what is known, so what cannot be a count adds nothing to it.
        self.requests = count(requests) or 0
        self.input_tokens = count(input_tokens) or 0
        self.output_tokens = count(output_tokens) or 0
        self.total_tokens = count(total_tokens) or 0
        self._input_details = _sums(read_counts(input_tokens_details, INPUT_DETAILS))
        self._output_details = _sums(read_counts(output_tokens_details, OUTPUT_DETAILS))
        self._kept: list[Any] = []
        self._lazy = False
        self._ids: set[str] = set()
        self._summary = _Summary()
        if request_usage_entries:
            self.request_usage_entries = list(request_usage_entries)

    @classmethod
    def of(cls, other: Any) -> Usage:
        """Return `other` as a `Usage`: one already, the Agents SDK's, or a mapping of its form."""
        if isinstance(other, Usage):
            return other
        if isinstance(other, RequestUsage):
            usage = Usage()
            usage.append(other)
            return usage
        if isinstance(other, Mapping):
            return Usage(**{name: other.get(name) for name in _USAGE_FIELDS})
        return Usage(**{name: getattr(other, name, None) for name in _USAGE_FIELDS})

    @property
    def input_tokens_details(self) -> InputTokensDetails:
        """The named parts of `input_tokens`, summed where they are known."""
        return InputTokensDetails._of(
            {"cached_tokens": 0, "cache_write_tokens": 0, **self._input_details}
        )

    @input_tokens_details.setter
    def input_tokens_details(self, details: Any) -> None:
        self._input_details = _sums(read_counts(details, INPUT_DETAILS))

    @property
    def output_tokens_details(self) -> OutputTokensDetails:
        """The named parts of `output_tokens`, summed where they are known."""
        return OutputTokensDetails._of({"reasoning_tokens": 0, **self._output_details})

    @output_tokens_details.setter
    def output_tokens_details(self, details: Any) -> None:
        self._output_details = _sums(read_counts(details, OUTPUT_DETAILS))

    @property
    def request_usage_entries(self) -> list[RequestUsage]:
        """One `RequestUsage` for each request, oldest first."""
        return self._entries

    @request_usage_entries.setter
    def request_usage_entries(self, entries: Iterable[Any]) -> None:
        self._kept = [RequestUsage.of(entry) for entry in entries]
        self._lazy = False
        self._ids = {entry.id for entry in self._kept if entry.id is not None}
        self._summary = _Summary()

    @property
    def _entries(self) -> list[RequestUsage]:
        # Usages without an entry of their own are kept as bare counts until someone looks.
        if self._lazy:
            self._lazy = False
            self._kept[:] = [
                RequestUsage.from_known(dict(zip(TOKEN_FIELDS, kept, strict=True)))
                if type(kept) is tuple
                else kept
                for kept in self._kept
            ]
        return self._kept

    def add(self, other: Any) -> None:
        """Add another usage: a `Usage`, the Agents SDK's, or a `RequestUsage`.

        An entry whose id is here already is the same request, and is not counted twice. A usage
        of one request without entries becomes an entry, as in the Agents SDK.
        """
        if not isinstance(other, Usage):
            other = Usage.of(other)
        kept: list[Any] = other._kept
        lazy: bool = other._lazy
        if kept:
            if other._ids and not self._ids.isdisjoint(other._ids):
                other = other._without(self._ids)
                kept = other._kept
            self._ids |= other._ids
        elif other.requests == 1 and (
            other.input_tokens or other.output_tokens or other.total_tokens
        ):
            lazy = True
            kept = [
                (
                    other.input_tokens,
                    other.output_tokens,
                    other.total_tokens,
                    {**other._input_details},
                    {**other._output_details},
                )
            ]
        self.requests += other.requests
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.total_tokens += other.total_tokens
        mine = self._input_details
        theirs = other._input_details
        for name in theirs:
            mine[name] += theirs[name]
        mine = self._output_details
        theirs = other._output_details
        for name in theirs:
            mine[name] += theirs[name]
        self._kept += kept
        if lazy:
            self._lazy = True

    def has(self, entry_id: str) -> bool:
        """Whether an entry of this id is here."""
        return entry_id in self._ids

    def append(self, entry: RequestUsage) -> bool:
        """Count one request, unless its id is here already; say whether it was new."""
        record = entry.record
        identity = record.get("id")
        if identity is not None:
            if identity in self._ids:
                return False
            self._ids.add(identity)
        self.requests += 1
        self.input_tokens += record["input_tokens"] or 0
        self.output_tokens += record["output_tokens"] or 0
        self.total_tokens += record["total_tokens"] or 0
        mine = self._input_details
        for name, value in record["input_tokens_details"].items():
            mine[name] += value
        mine = self._output_details
        for name, value in record["output_tokens_details"].items():
            mine[name] += value
        self._kept.append(entry)
        return True

    def _without(self, ids: set[str]) -> Usage:
        """Return this usage less the entries of these ids."""
        known = Usage()
        kept: list[RequestUsage] = []
        for entry in self._entries:
            if entry.id in ids:
                known.append(entry)
            else:
                kept.append(entry)
        rest = self._minus(known)
        rest._kept = kept
        rest._ids = self._ids - ids
        return rest

    def _minus(self, other: Usage) -> Usage:
        rest = Usage(
            max(self.requests - other.requests, 0),
            max(self.input_tokens - other.input_tokens, 0),
            None,
            max(self.output_tokens - other.output_tokens, 0),
            None,
            max(self.total_tokens - other.total_tokens, 0),
        )
        rest._input_details = _difference(self._input_details, other._input_details)
        rest._output_details = _difference(self._output_details, other._output_details)
        return rest

    def snapshot(self) -> Usage:
        """Return a copy that later adds do not change."""
        copy = Usage.__new__(type(self))
        copy.requests = self.requests
        copy.input_tokens = self.input_tokens
        copy.output_tokens = self.output_tokens
        copy.total_tokens = self.total_tokens
        copy._input_details = self._input_details.copy()
        copy._output_details = self._output_details.copy()
        copy._kept = self._kept.copy()
        copy._lazy = self._lazy
        copy._ids = self._ids.copy()
        copy._summary = _Summary()
        return copy

    __copy__ = snapshot

    def __deepcopy__(self, memo: dict[int, Any]) -> Usage:
        return self.snapshot()

    def __sub__(self, earlier: Any) -> Usage:
        """Return what was added since `earlier`, an earlier snapshot of this usage.

        Raises:
            ValueError: `earlier` is not an earlier state of this usage.
        """
        if not isinstance(earlier, Usage):
            return NotImplemented
        length = len(earlier._entries)
        if (
            earlier.requests > self.requests
            or earlier.input_tokens > self.input_tokens
            or earlier.output_tokens > self.output_tokens
            or self._entries[:length] != earlier._entries
        ):
            raise ValueError("a usage can be taken only from a later state of itself")
        rest = self._minus(earlier)
        rest._kept = self._entries[length:]
        rest._ids = {entry.id for entry in rest._kept if entry.id is not None}
        return rest

    @property
    def cost(self) -> Cost:
        """What the requests cost: the known amount, and how many are not in it."""
        summary = self._summed()
        missing = max(self.requests - len(self._kept), 0)
        return Cost(summary.nanodollars, summary.unpriced + missing, summary.cost_estimated)

    @property
    def in_doubt(self) -> int:
        """How many requests were sent and never said what they used; see their estimates."""
        return self._summed().in_doubt

    @property
    def estimated(self) -> int:
        """How many requests are in the totals with estimated counts."""
        return self._summed().estimated

    @property
    def unknown(self) -> dict[str, int]:
        """For how many requests each count is unknown, and so missing from the totals.

        The names are `input_tokens` and `output_tokens`, and those of the details that the
        Agents SDK has, where a provider left them out.
        """
        return dict(self._summed().unknown)

    @property
    def tool_requests(self) -> dict[str, int]:
        """How often the providers' own tools were used, such as ``{"web_search": 2}``."""
        return dict(self._summed().tool_requests)

    def _summed(self) -> _Summary:
        summary = self._summary
        if summary.length > len(self._kept):
            summary = self._summary = _Summary()
        for entry in self._entries[summary.length :]:
            summary.count(entry)
        return summary

    def by(self, name: str) -> dict[Any, Usage]:
        """Return the usage split by a field of its entries or by a tag.

        Args:
            name: `agent`, `model`, `turn`, `provider`, `run_id`, `status`, `service_tier`,
                `customer`, `user`, `project`, `session`, or any tag.

        Returns:
            A usage for each value, in order of first appearance; None holds the entries
            without one.
        """
        groups: dict[Any, Usage] = {}
        for entry in self._entries:
            key = entry.get(name)
            group = groups.get(key)
            if group is None:
                group = groups[key] = Usage()
            group.append(entry)
        return groups

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict; `from_dict` reads it.

        The entries are their own immutable records, shared and not copied.
        """
        return {
            "requests": self.requests,
            "input_tokens": self.input_tokens,
            "input_tokens_details": self.input_tokens_details.model_dump(),
            "output_tokens": self.output_tokens,
            "output_tokens_details": self.output_tokens_details.model_dump(),
            "total_tokens": self.total_tokens,
            "request_usage_entries": [entry.record for entry in self._entries],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | str) -> Usage:
        """Read what `to_dict` or the Agents SDK's `serialize_usage` wrote, of any version.

        Args:
            data: the dict, or its JSON text.

        Raises:
            ValueError: it is no usage.
        """
        if isinstance(data, str):
            data = json.loads(data)
        if not isinstance(data, Mapping):
            raise ValueError(f"a usage is an object, not {type(data).__name__}")  # noqa: TRY004
        return Usage.of(data)

    def __eq__(self, other: object) -> bool:
        entries = getattr(other, "request_usage_entries", None)
        if not isinstance(entries, list):
            return NotImplemented
        # The entries of the Agents SDK are compared as what they are: by their counts alone.
        if not isinstance(other, Usage):
            other = Usage.of(other)
        return (
            self.requests == other.requests
            and self.input_tokens == other.input_tokens
            and self.output_tokens == other.output_tokens
            and self.total_tokens == other.total_tokens
            and same_counts(self._input_details, other._input_details)
            and same_counts(self._output_details, other._output_details)
            and _same_entries(self._entries, entries)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"Usage(requests={self.requests}, input_tokens={self.input_tokens}, "
            f"output_tokens={self.output_tokens}, total_tokens={self.total_tokens}, "
            f"cost={self.cost})"
        )


def _same_entries(mine: list[RequestUsage], theirs: list[Any]) -> bool:
    """Compare entries: in order, or, where all have ids, in any order.

    Requests that ran at the same time ended in an order that means nothing, and a ledger gives
    them in the order in which they began.
    """
    if len(mine) != len(theirs):
        return False
    if mine == theirs:
        return True
    known: dict[str | None, RequestUsage] = {e.id: e for e in mine if e.id is not None}
    return len(known) == len(mine) and all(
        isinstance(entry, RequestUsage) and known.get(entry.id) == entry for entry in theirs
    )


_USAGE_FIELDS = ("requests", *TOKEN_FIELDS, "request_usage_entries")


class _Summary:
    """What the first `length` entries say beside their tokens, so that reading it is cheap."""

    __slots__ = (
        "cost_estimated",
        "estimated",
        "in_doubt",
        "length",
        "nanodollars",
        "tool_requests",
        "unknown",
        "unpriced",
    )

    def __init__(self) -> None:
        self.length = 0
        self.nanodollars = 0
        self.unpriced = 0
        self.cost_estimated = 0
        self.in_doubt = 0
        self.estimated = 0
        self.unknown: dict[str, int] = {}
        self.tool_requests: dict[str, int] = {}

    def count(self, entry: RequestUsage) -> None:
        self.length += 1
        record = entry.record
        amount = record.get("cost_nanodollars")
        if amount is None:
            self.unpriced += 1
        else:
            self.nanodollars += amount
            self.cost_estimated += bool(record.get("cost_estimated"))
        self.in_doubt += record.get("status") == "in_doubt"
        self.estimated += bool(record.get("estimated"))
        for name in entry.unknown:
            self.unknown[name] = self.unknown.get(name, 0) + 1
        for name, number in record.get("tool_requests", {}).items():
            self.tool_requests[name] = self.tool_requests.get(name, 0) + number


def _sums(counts: Mapping[str, int]) -> defaultdict[str, int]:
    return defaultdict(int, counts)


def _difference(later: Mapping[str, int], earlier: Mapping[str, int]) -> defaultdict[str, int]:
    return _sums({name: max(value - earlier.get(name, 0), 0) for name, value in later.items()})
