"""`RequestUsage` and `Usage`, the accumulator.

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
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, NoReturn, Self, TypedDict, TypeVar, Unpack, overload

from tallystick.money import Cost

__all__ = ["InputTokensDetails", "OutputTokensDetails", "RequestUsage", "Usage", "count"]

T = TypeVar("T")

Status = Literal["held", "settled", "released", "in_doubt"]
"""held: committed, not yet finished. settled: the provider said what was used, or refused.
released: provably never sent. in_doubt: sent, and what was used is not known."""

Outcome = Literal["completed", "incomplete", "failed", "cancelled", "error"]
"""How the request ended. incomplete: cut by a limit or a filter; failed: the provider gave up on
it; cancelled: the caller went away; error: an HTTP error, a broken connection or body."""

MAX_COUNT = 10**15
"""The largest count that is believed. It leaves room to add nine thousand of them in 64 bits."""

INPUT_DETAILS = (
    "cached_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "text_tokens",
    "audio_tokens",
    "image_tokens",
    "video_tokens",
    "cached_text_tokens",
    "cached_audio_tokens",
    "cached_image_tokens",
    "cached_video_tokens",
)
"""The parts of `input_tokens` that have names; each is included in it."""

OUTPUT_DETAILS = (
    "reasoning_tokens",
    "text_tokens",
    "audio_tokens",
    "image_tokens",
    "video_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
)
"""The parts of `output_tokens` that have names; each is included in it."""


def count(value: Any) -> int | None:
    """Return a provider's or caller's number as a count, or None where it cannot be one.

    A whole number from 0 to 10¹⁵ is a count, also when written as text or as a float.
    Everything else (None, a negative or absurd number, a bool, other text) is unknown.
    """
    if type(value) is int:
        return value if 0 <= value <= MAX_COUNT else None
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if 0 <= value <= MAX_COUNT and value.is_integer() else None
    if isinstance(value, str):
        text = value.strip()
        if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_COUNT)):
            return count(int(text))
        return None
    if isinstance(value, int):
        return count(int(value))
    return None


def shown(value: Any) -> str:
    """Return a short form of a value that cannot be what it should be, for an anomaly.

    Of containers and long text only the kind is shown: a reading holds no text content.
    """
    if isinstance(value, bool | float) or value is None:
        return repr(value)
    if isinstance(value, int):
        # The decimal form of an absurd number costs time, and past some size raises.
        return str(value) if -(10**20) < value < 10**20 else "an absurd number"
    if isinstance(value, str) and len(value) <= 24:
        return repr(value)
    return f"({type(value).__name__})"


class Record(dict[str, Any]):
    """A JSON-safe dict that cannot be changed, so that it can be shared without being copied."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a record cannot be changed; dict(record) is a copy that can")

    __setitem__ = __delitem__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse
    __ior__ = _refuse

    def __reduce__(self) -> tuple[Any, ...]:
        return (Record, (dict(self),))

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        return {key: _thawed(value) for key, value in self.items()}


def _thawed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _thawed(item) for key, item in value.items()}
    return list(value) if isinstance(value, list) else value


def _read_counts(
    details: Any, names: Sequence[str], anomalies: list[str] | None = None
) -> dict[str, int]:
    """Return the known counts of a details object: a mapping, one of openai's types, or None."""
    if details is None:
        return {}
    if isinstance(details, _TokensDetails):
        return details._counts.copy()
    if isinstance(details, list | tuple):
        # The Agents SDK serialises details as a list of one.
        return _read_counts(details[0], names, anomalies) if details else {}
    values = details if isinstance(details, Mapping) else _attributes(details, names)
    counts: dict[str, int] = {}
    for name in names:
        value = values.get(name)
        if value is None:
            continue
        known = count(value)
        if known is not None:
            counts[name] = known
        elif anomalies is not None:
            anomalies.append(f"{name}: {shown(value)}")
    return counts


def _attributes(details: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Return the attributes of an object as a mapping.

    Asking a pydantic object for an attribute that it lacks is slow, and most are lacking, so its
    fields are read where it keeps them.
    """
    fields = getattr(details, "__pydantic_fields_set__", None)
    if fields is None:
        return {name: getattr(details, name, None) for name in names}
    extra = details.__pydantic_extra__
    return {**details.__dict__, **extra} if extra else vars(details)


class _TokensDetails:
    """The named parts of a token count: attributes that are counts, or None where unknown."""

    __slots__ = ("_counts",)
    _names: tuple[str, ...] = ()
    _counts: dict[str, int]

    def __init__(self, **counts: Any) -> None:
        unknown = counts.keys() - set(self._names)
        if unknown:
            raise TypeError(f"{type(self).__name__} has no {', '.join(sorted(unknown))}")
        object.__setattr__(self, "_counts", _read_counts(counts, self._names))

    @classmethod
    def _of(cls, counts: dict[str, int]) -> Self:
        self = object.__new__(cls)
        object.__setattr__(self, "_counts", counts)
        return self

    def __getattr__(self, name: str) -> int | None:
        if name in type(self)._names:
            return self._counts.get(name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def model_dump(self, **_: object) -> dict[str, int]:
        """Return the known counts by name, as openai's own details objects do."""
        return self._counts.copy()

    def __eq__(self, other: object) -> bool:
        names = self._names
        if isinstance(other, _TokensDetails):
            return type(self) is type(other) and _same(self._counts, other._counts)
        if isinstance(other, Mapping) or hasattr(other, names[0]):
            return _same(self._counts, _read_counts(other, names))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self)._of, (self._counts.copy(),))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value}" for name, value in self._counts.items())
        return f"{type(self).__name__}({shown})"


def _same(left: Mapping[str, int], right: Mapping[str, int]) -> bool:
    """Compare known counts. A sum in which nothing was reported equals one of zero."""
    return all(left.get(name, 0) == right.get(name, 0) for name in left.keys() | right.keys())


class InputTokensDetails(_TokensDetails):
    """The named parts of `input_tokens`, each included in it; see `INPUT_DETAILS`.

    `cached_tokens` were read from a cache; `cache_write_tokens` were written to one, of which
    `cache_write_5m_tokens` and `cache_write_1h_tokens` for so long; text, audio, image and video
    tokens are the modalities, `cached_…` their cached parts.
    """

    __slots__ = ()
    _names = INPUT_DETAILS


class OutputTokensDetails(_TokensDetails):
    """The named parts of `output_tokens`, each included in it; see `OUTPUT_DETAILS`."""

    __slots__ = ()
    _names = OUTPUT_DETAILS


class RequestFields(TypedDict, total=False):
    """The keywords of `RequestUsage` beside its counts."""

    id: str | None
    run_id: str | None
    provider: str | None
    model: str | None
    requested_model: str | None
    agent: str | None
    turn: int | None
    response_id: str | None
    status: Status
    outcome: Outcome | None
    error_type: str | None
    started_at: datetime | str | None
    duration: float | None
    service_tier: str | None
    modifiers: Mapping[str, str] | None
    tool_requests: Mapping[str, int] | None
    customer: str | None
    user: str | None
    project: str | None
    session: str | None
    tags: Mapping[str, str] | None
    cost_nanodollars: int | None
    cost_estimated: bool
    price_book: str | None
    price_rule: str | None
    price_reason: str | None
    provider_cost: Decimal | str | None
    estimated: bool
    anomalies: Sequence[str]


class _Field(Generic[T]):
    """An attribute that is read from the record and cannot be set."""

    __slots__ = ("default", "name")

    def __init__(self, default: T) -> None:
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: RequestUsage, owner: type) -> T: ...
    def __get__(self, instance: RequestUsage | None, owner: type) -> Self | T:
        if instance is None:
            return self
        value: T = instance.record.get(self.name, self.default)
        return value

    def __set__(self, instance: object, value: object) -> NoReturn:
        raise AttributeError(f"a RequestUsage cannot be changed; use replace({self.name}=…)")


_NO_DETAILS = Record()


class RequestUsage:
    """What one request consumed, for whom, and what it cost. Immutable.

    The five token fields come first and in the order of the Agents SDK's `RequestUsage`; they
    take numbers, or None where the provider did not say. A number that cannot be a count is
    unknown, and is named in `anomalies`. The value is kept as the JSON-safe `record` that
    `Usage.to_dict` gives out, so that serialising costs nothing per field.
    """

    __slots__ = ("record",)
    record: Record

    id: _Field[str | None] = _Field(None)
    """The entry's id in the ledger; two usages of the same id are one and count once."""
    run_id: _Field[str | None] = _Field(None)
    provider: _Field[str | None] = _Field(None)
    """Who served it, by the name that genai-prices gives the provider."""
    model: _Field[str | None] = _Field(None)
    """The model as served: what the response names, else what was asked for."""
    requested_model: _Field[str | None] = _Field(None)
    agent: _Field[str | None] = _Field(None)
    turn: _Field[int | None] = _Field(None)
    """The agent loop's turn, from 1."""
    response_id: _Field[str | None] = _Field(None)
    status: _Field[Status] = _Field("settled")
    outcome: _Field[Outcome | None] = _Field(None)
    error_type: _Field[str | None] = _Field(None)
    """What went wrong: an HTTP status such as "429", or the name of an exception."""
    duration: _Field[float | None] = _Field(None)
    """Seconds from sending to the last byte."""
    service_tier: _Field[str | None] = _Field(None)
    """The tier that served it, as the response says."""
    customer: _Field[str | None] = _Field(None)
    user: _Field[str | None] = _Field(None)
    project: _Field[str | None] = _Field(None)
    session: _Field[str | None] = _Field(None)
    cost_nanodollars: _Field[int | None] = _Field(None)
    """The price in nanodollars, or None where there is none; `price_reason` says why."""
    cost_estimated: _Field[bool] = _Field(False)  # noqa: FBT003 - a default value
    """Whether the price rests on an estimated count or rate."""
    price_book: _Field[str | None] = _Field(None)
    """The hash of the price book, or name of the configuration, that the price is from."""
    price_rule: _Field[str | None] = _Field(None)
    price_reason: _Field[str | None] = _Field(None)
    """Why there is no price, or why it is estimated."""
    estimated: _Field[bool] = _Field(False)  # noqa: FBT003 - a default value
    """Whether the counts are an estimate, because the provider never said."""
    anomalies: _Field[Sequence[str]] = _Field(())
    """What the provider or caller said that cannot be, such as ``input_tokens: -3``."""

    def __init__(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        total_tokens: int | None = None,
        input_tokens_details: Any = None,
        output_tokens_details: Any = None,
        **fields: Unpack[RequestFields],
    ) -> None:
        unknown = fields.keys() - RequestFields.__annotations__.keys()
        if unknown:
            raise TypeError(f"RequestUsage has no {', '.join(sorted(unknown))}")
        anomalies = list(fields.pop("anomalies", ()))
        record: dict[str, Any] = {
            name: _json_safe(value) for name, value in fields.items() if value is not None
        }
        for name, value in (
            ("input_tokens", input_tokens),
            ("output_tokens", output_tokens),
            ("total_tokens", total_tokens),
        ):
            record[name] = known = count(value)
            if known is None and value is not None:
                anomalies.append(f"{name}: {shown(value)}")
        if record["total_tokens"] is None and total_tokens is None:
            record["total_tokens"] = _sum(record["input_tokens"], record["output_tokens"])
        record["input_tokens_details"] = Record(
            _read_counts(input_tokens_details, INPUT_DETAILS, anomalies)
        )
        record["output_tokens_details"] = Record(
            _read_counts(output_tokens_details, OUTPUT_DETAILS, anomalies)
        )
        if anomalies:
            record["anomalies"] = anomalies
        object.__setattr__(self, "record", Record(record))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a RequestUsage cannot be changed; use replace({name}=…)")

    @classmethod
    def _of(cls, record: Record) -> RequestUsage:
        """Make one from a record that is known to be clean."""
        self = object.__new__(cls)
        object.__setattr__(self, "record", record)
        return self

    @classmethod
    def from_known(cls, fields: Mapping[str, Any]) -> RequestUsage:
        """Make one from JSON-safe fields that are clean already, without reading them again.

        What is None is left out, but for the three counts, and details are mappings of counts.
        """
        record = {name: value for name, value in fields.items() if value is not None}
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            record.setdefault(name, None)
        if record["total_tokens"] is None:
            record["total_tokens"] = _sum(record["input_tokens"], record["output_tokens"])
        for name in ("input_tokens_details", "output_tokens_details"):
            record[name] = Record(record.get(name, _NO_DETAILS))
        for name in ("tags", "tool_requests", "modifiers", "provider_cost"):
            if name in record:
                record[name] = _json_safe(record[name])
        return cls._of(Record(record))

    def with_known(self, fields: Mapping[str, Any]) -> RequestUsage:
        """Return a copy with some JSON-safe fields set that are clean already."""
        known = {name: value for name, value in fields.items() if value is not None}
        return self._of(Record(self.record, **known))

    @classmethod
    def of(cls, other: Any) -> RequestUsage:
        """Return `other` as a `RequestUsage`: one already, the Agents SDK's, or a mapping."""
        if isinstance(other, RequestUsage):
            return other
        if isinstance(other, Mapping):
            known = RequestFields.__annotations__.keys() | _TOKEN_FIELDS
            return cls(**{name: value for name, value in other.items() if name in known})
        return cls(*(getattr(other, name, None) for name in _TOKEN_FIELDS))

    @property
    def input_tokens(self) -> int | None:
        """All tokens sent, cached ones included."""
        value: int | None = self.record["input_tokens"]
        return value

    @property
    def output_tokens(self) -> int | None:
        """All tokens received, reasoning included."""
        value: int | None = self.record["output_tokens"]
        return value

    @property
    def total_tokens(self) -> int | None:
        """The provider's total, else input plus output."""
        value: int | None = self.record["total_tokens"]
        return value

    @property
    def input_tokens_details(self) -> InputTokensDetails:
        """The named parts of `input_tokens`."""
        return InputTokensDetails._of(dict(self.record["input_tokens_details"]))

    @property
    def output_tokens_details(self) -> OutputTokensDetails:
        """The named parts of `output_tokens`."""
        return OutputTokensDetails._of(dict(self.record["output_tokens_details"]))

    @property
    def tool_requests(self) -> Mapping[str, int]:
        """How often the provider's own tools were used, such as ``{"web_search": 2}``."""
        value: Mapping[str, int] = self.record.get("tool_requests", _NO_DETAILS)
        return value

    @property
    def modifiers(self) -> Mapping[str, str]:
        """What else the response says that changes its price, such as ``inference_geo``."""
        value: Mapping[str, str] = self.record.get("modifiers", _NO_DETAILS)
        return value

    @property
    def tags(self) -> Mapping[str, str]:
        """The free attribution tags."""
        value: Mapping[str, str] = self.record.get("tags", _NO_DETAILS)
        return value

    @property
    def started_at(self) -> datetime | None:
        """When it was sent, as an aware UTC datetime."""
        text = self.record.get("started_at")
        return None if text is None else datetime.fromisoformat(text)

    @property
    def provider_cost(self) -> Decimal | None:
        """The cost that the provider itself reported, in its own currency or credits."""
        text = self.record.get("provider_cost")
        return None if text is None else Decimal(text)

    @property
    def cost(self) -> Cost:
        """The price: an amount, or one unpriced request."""
        if self.cost_nanodollars is None:
            return Cost(unpriced=1)
        return Cost(self.cost_nanodollars, estimated=int(self.cost_estimated))

    @property
    def unknown(self) -> tuple[str, ...]:
        """The counts that the provider did not say, of those that the Agents SDK has."""
        record = self.record
        return tuple(
            name for name in ("input_tokens", "output_tokens") if record[name] is None
        ) + tuple(
            name
            for details, names in _EXPECTED_DETAILS
            for name in names
            if name not in record[details]
        )

    def get(self, name: str) -> Any:
        """Return a field or a tag by its name, or None."""
        if name in RequestFields.__annotations__ or name in _TOKEN_FIELDS:
            return getattr(self, name)
        return self.tags.get(name)

    def replace(self, **changes: Any) -> RequestUsage:
        """Return a copy with some fields changed."""
        return RequestUsage(**{**self.record, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict: a copy of the record that can be changed."""
        return self.record.__deepcopy__({})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RequestUsage):
            return self.record == other.record
        if not hasattr(other, "input_tokens_details"):
            return NotImplemented
        # The Agents SDK's class knows no None: what was not said is zero to it.
        theirs = RequestUsage.of(other)
        return (
            (self.input_tokens or 0) == (theirs.input_tokens or 0)
            and (self.output_tokens or 0) == (theirs.output_tokens or 0)
            and (self.total_tokens or 0) == (theirs.total_tokens or 0)
            and self.input_tokens_details == theirs.input_tokens_details
            and self.output_tokens_details == theirs.output_tokens_details
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return (RequestUsage._of, (self.record,))

    def __copy__(self) -> RequestUsage:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> RequestUsage:
        return self

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.record.items() if value)
        return f"RequestUsage({shown})"


_TOKEN_FIELDS = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_tokens_details",
    "output_tokens_details",
)


def _sum(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


def _json_safe(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, Mapping):
        return Record(value)
    return value


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
        self._input_details = _sums(_read_counts(input_tokens_details, INPUT_DETAILS))
        self._output_details = _sums(_read_counts(output_tokens_details, OUTPUT_DETAILS))
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
        self._input_details = _sums(_read_counts(details, INPUT_DETAILS))

    @property
    def output_tokens_details(self) -> OutputTokensDetails:
        """The named parts of `output_tokens`, summed where they are known."""
        return OutputTokensDetails._of({"reasoning_tokens": 0, **self._output_details})

    @output_tokens_details.setter
    def output_tokens_details(self, details: Any) -> None:
        self._output_details = _sums(_read_counts(details, OUTPUT_DETAILS))

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
                RequestUsage.from_known(dict(zip(_TOKEN_FIELDS, kept, strict=True)))
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
            and _same(self._input_details, other._input_details)
            and _same(self._output_details, other._output_details)
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


_USAGE_FIELDS = ("requests", *_TOKEN_FIELDS, "request_usage_entries")

_EXPECTED_DETAILS = (
    ("input_tokens_details", ("cached_tokens", "cache_write_tokens")),
    ("output_tokens_details", ("reasoning_tokens",)),
)


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
