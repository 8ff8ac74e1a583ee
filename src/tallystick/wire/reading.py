"""`Reading`: what a provider's response said was used, and `RequestReading`: what was asked.

A reading holds counts and names, never prompt or completion text. Counts are inclusive, whatever
the provider's own convention is: `input_tokens` includes cached and cache-written tokens,
`output_tokens` includes reasoning. None means that the provider did not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal

from tallystick.usage import Outcome, count, shown

__all__ = ["Reading", "RequestReading", "shown", "text"]

MAX_ANOMALIES = 20
"""More than these say nothing new, and a hostile body must not fill a ledger with them."""


@dataclass(slots=True)
class Reading:
    """What one response said about itself and about what it used.

    A stream's reading grows while the stream is read; `StreamReader.reading` gives copies of it.
    """

    model: str | None = None
    response_id: str | None = None
    outcome: Outcome | None = None
    error_type: str | None = None
    """The reason of an outcome that is not "completed": the provider's word for it, such as
    "max_output_tokens", "length" or "rate_limit_exceeded", or "malformed_body"."""
    service_tier: str | None = None
    """The tier that served it. A tier that only repeats a wish ("auto") is None."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    """The provider's own total, else input plus output."""
    input_details: dict[str, int] = field(default_factory=dict)
    output_details: dict[str, int] = field(default_factory=dict)
    tool_requests: dict[str, int] = field(default_factory=dict)
    """How often each of the provider's own tools ran, such as ``{"web_search": 2}``."""
    modifiers: dict[str, str] = field(default_factory=dict)
    """What else the response says that changes its price, such as ``{"inference_geo": "us"}``."""
    provider_cost: Decimal | None = None
    """The cost that the provider reported, in its own currency or credits."""
    raw_usage: dict[str, Any] | None = None
    """The provider's own usage block: JSON-safe, without text content. Of a stream, the largest
    value that each field took."""
    anomalies: list[str] = field(default_factory=list)
    """What was said that cannot be, such as ``prompt_tokens: -3``, and what was made of it."""
    text_bytes: int = 0
    """UTF-8 bytes of the text, arguments and reasoning received: what an estimate can rest on."""
    output_events: int = 0
    """How many events of a stream carried output: about one token each at some providers."""
    others: list[Reading] = field(default_factory=list)
    """What other models used inside this request, at their own rates. It is not in the counts
    above."""

    @property
    def has_usage(self) -> bool:
        """Whether the provider said how many tokens were used, at least in part."""
        return self.input_tokens is not None or self.output_tokens is not None

    def fields(self) -> dict[str, Any]:
        """Return the keyword arguments for `RequestUsage`, without what is unknown or empty."""
        fields = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "total_tokens": self.total_tokens,
            "input_tokens_details": self.input_details,
            "output_tokens_details": self.output_details,
            "model": self.model,
            "response_id": self.response_id,
            "outcome": self.outcome,
            "error_type": self.error_type,
            "service_tier": self.service_tier,
            "tool_requests": self.tool_requests,
            "modifiers": self.modifiers,
            "provider_cost": self.provider_cost,
            "anomalies": self.anomalies,
        }
        return {name: value for name, value in fields.items() if value not in (None, {}, [])}

    def copy(self) -> Reading:
        """Return a copy that later events do not change."""
        return replace(
            self,
            input_details=self.input_details.copy(),
            output_details=self.output_details.copy(),
            tool_requests=self.tool_requests.copy(),
            modifiers=self.modifiers.copy(),
            anomalies=self.anomalies.copy(),
            others=self.others.copy(),
        )

    def note(self, anomaly: str) -> None:
        """Add an anomaly, once."""
        if anomaly not in self.anomalies and len(self.anomalies) < MAX_ANOMALIES:
            self.anomalies.append(anomaly)

    def count(self, block: Any, *names: str) -> int | None:
        """Return the first count that `block` holds under one of `names`, or None.

        What is there and cannot be a count is unknown, and noted; digits written as text are
        believed, and noted.
        """
        if not isinstance(block, Mapping):
            return None
        for name in names:
            value = block.get(name)
            if value is None:
                continue
            known = count(value)
            if known is None or isinstance(value, str):
                self.note(f"{name}: {shown(value)}")
            if known is not None:
                return known
        return None

    def finish_counts(self) -> None:
        """Fill in a total that was not given, and drop parts that are larger than their whole."""
        sent, received = self.input_tokens, self.output_tokens
        if self.total_tokens is None and sent is not None and received is not None:
            self.total_tokens = sent + received
        for details, whole, name in (
            (self.input_details, self.input_tokens, "input_tokens"),
            (self.output_details, self.output_tokens, "output_tokens"),
        ):
            if whole is None:
                continue
            for part in [part for part, number in details.items() if number > whole]:
                # It would be priced with a negative rest.
                self.note(f"{part}: {details.pop(part)} of {whole} {name}")

    def include(self, other: Reading) -> None:
        """Add the counts of what the same model did beside, under the same rates."""
        self.input_tokens = _sum(self.input_tokens, other.input_tokens)
        self.output_tokens = _sum(self.output_tokens, other.output_tokens)
        for mine, theirs in (
            (self.input_details, other.input_details),
            (self.output_details, other.output_details),
        ):
            for name, number in theirs.items():
                mine[name] = mine.get(name, 0) + number

    def ran(self, tool: str, times: int | None) -> None:
        """Set how often a tool ran; the largest number that was said counts."""
        if times:
            self.tool_requests[tool] = max(times, self.tool_requests.get(tool, 0))


@dataclass(frozen=True, slots=True)
class RequestReading:
    """What a request asks for, as far as its cost depends on it."""

    model: str | None = None
    stream: bool = False
    asks_usage: bool = False
    """Whether a Chat Completions stream asks for usage (`stream_options.include_usage`)."""
    max_output_tokens: int | None = None
    input_bytes: int = 0
    """The length of the whole body."""
    n: int = 1
    """How many choices are asked for."""
    service_tier: str | None = None
    modifiers: Mapping[str, str] = field(default_factory=dict)
    """What else is asked for that changes the price, such as ``speed``."""
    cache_write: Literal["none", "5m", "1h"] | None = None
    """The longest life of what is asked to be kept in a cache; None where the API has no say."""
    audio_output: bool = False
    """Whether the answer may be spoken."""


def mark_error(reading: Reading, status: int) -> None:
    """Mark a reading as an HTTP error: by the provider's code if it gave one, else the status."""
    reading.outcome = "error"
    if reading.error_type in (None, "error", "malformed_body"):
        reading.error_type = str(status)


def _sum(left: int | None, right: int | None) -> int | None:
    if left is None or right is None:
        return right if left is None else left
    return left + right


def text(value: Any) -> str | None:
    """Return a name that a provider gave, or None where there is none that can be one."""
    return value if isinstance(value, str) and 0 < len(value) <= 300 else None
