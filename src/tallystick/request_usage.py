"""`RequestUsage`: what one request consumed, for whom, and what it cost. An immutable value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    NoReturn,
    Self,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from tallystick.counts import (
    INPUT_DETAILS,
    OUTPUT_DETAILS,
    InputTokensDetails,
    OutputTokensDetails,
    Record,
    count,
    read_counts,
    shown,
)
from tallystick.money import Cost

if TYPE_CHECKING:
    from tallystick.pricing import Prices, Quote

T = TypeVar("T")

Status = Literal["held", "settled", "released", "in_doubt"]
"""held: committed, not yet finished. settled: the provider said what was used, or refused.
released: provably never sent. in_doubt: sent, and what was used is not known."""

Outcome = Literal["completed", "incomplete", "failed", "cancelled", "error"]
"""How the request ended. incomplete: cut by a limit or a filter; failed: the provider gave up on
it; cancelled: the caller went away; error: an HTTP error, a broken connection or body."""

_EXPECTED_DETAILS = (
    ("input_tokens_details", ("cached_tokens", "cache_write_tokens")),
    ("output_tokens_details", ("reasoning_tokens",)),
)


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
    provider_cost_currency: str | None
    estimated: bool
    output_limit: int | None
    limited_by: str | None
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
    provider_cost_currency: _Field[str | None] = _Field(None)
    """What `provider_cost` is in: an ISO 4217 code such as ``USD``, or ``credits``; None where
    that is not known of the provider."""
    estimated: _Field[bool] = _Field(False)  # noqa: FBT003 - a default value
    """Whether the counts are an estimate, because the provider never said."""
    output_limit: _Field[int | None] = _Field(None)
    """The limit on the answer that a budget set in place of the one asked for, if one did."""
    limited_by: _Field[str | None] = _Field(None)
    """The name of that budget."""
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
            read_counts(input_tokens_details, INPUT_DETAILS, anomalies)
        )
        record["output_tokens_details"] = Record(
            read_counts(output_tokens_details, OUTPUT_DETAILS, anomalies)
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
            known = RequestFields.__annotations__.keys() | TOKEN_FIELDS
            return cls(**{name: value for name, value in other.items() if name in known})
        return cls(*(getattr(other, name, None) for name in TOKEN_FIELDS))

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

    def explain(self, prices: Prices | None = None) -> Quote:
        """Return the quote behind the cost, with its line items; see `pricing.explain`.

        Args:
            prices: what to price by; None for the default configuration.

        Raises:
            ConfigError: the default configuration cannot be used.
        """
        # Bound by name when it is called, because a usage stands above the prices: this is a
        # convenience for who holds one, and nothing here depends on what it gives.
        quote: Quote = import_module("tallystick.pricing").explain(self, prices)
        return quote

    def get(self, name: str) -> Any:
        """Return a field or a tag by its name, or None."""
        if name in RequestFields.__annotations__ or name in TOKEN_FIELDS:
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


TOKEN_FIELDS = (
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
