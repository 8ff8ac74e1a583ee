"""`HostUsage`: the usage of a run context, the Agents SDK's own class filled by Tallystick."""

# Both bases declare the same names, one as fields and one as properties; which wins is the point.
# mypy: disable-error-code="override,misc"

from __future__ import annotations

from typing import Any

import agents
from agents.usage import RequestUsage as AgentsRequestUsage
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from tallystick.request import Request
from tallystick.run import Run
from tallystick.usage import RequestUsage, Usage
from tallystick.wire import Reading, read_object


class HostEntry(RequestUsage, AgentsRequestUsage):
    """A `RequestUsage` that is the Agents SDK's too: with its types, and 0 where it knows no None.

    What the provider did not say is in `unknown`, and None in the record.
    """

    @classmethod
    def sharing(cls, entry: RequestUsage) -> HostEntry:
        """Return one that shares the record of an entry."""
        if isinstance(entry, HostEntry):
            return entry
        shared: HostEntry = cls._of(entry.record)  # type: ignore[assignment]
        return shared

    @property
    def input_tokens(self) -> int:
        """All tokens sent, 0 where unknown: the SDK's own code adds and restores it."""
        return self.record["input_tokens"] or 0

    @property
    def output_tokens(self) -> int:
        """All tokens received, 0 where unknown."""
        return self.record["output_tokens"] or 0

    @property
    def total_tokens(self) -> int:
        """The provider's total, 0 where unknown."""
        return self.record["total_tokens"] or 0

    @property
    def input_tokens_details(self) -> InputTokensDetails:
        """The named parts of `input_tokens`, in openai's own type."""
        return _input_details(self.record["input_tokens_details"])

    @property
    def output_tokens_details(self) -> OutputTokensDetails:
        """The named parts of `output_tokens`, in openai's own type."""
        return _output_details(self.record["output_tokens_details"])

    @property
    def __dict__(self) -> dict[str, Any]:
        # Pydantic serialises a dataclass by what it finds here.
        return {name: getattr(self, name) for name in _ENTRY_FIELDS}

    def __reduce__(self) -> tuple[Any, ...]:
        return (HostEntry._of, (self.record,))


class HostUsage(Usage, agents.Usage):
    """The `Usage` of a run context: the Agents SDK's own class, filled by Tallystick.

    Requests are counted here when they end. When the SDK adds the usage of a response afterwards,
    it is recognised and not counted again; a usage that nothing was counted for (from a tool that
    runs models by itself, say) is counted and kept as reported.
    """

    _expected: list[tuple[Any, tuple[int, int, int]]]
    _origin: Any
    _owner: Run | None

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        super().__init__(*arguments, **fields)
        self._expected = []
        self._origin = None
        self._owner = None

    @classmethod
    def carrying(cls, other: Any) -> HostUsage:
        """Return one that starts from what `other` holds, and keeps `other` up to date."""
        usage = cls()
        usage._add(Usage.of(other))
        usage._origin = other
        return usage

    def __getattr__(self, name: str) -> Any:
        # A usage of the user's own class keeps what that class has beside the SDK's.
        origin = object.__getattribute__(self, "_origin")
        if origin is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(origin, name)

    @property
    def owner(self) -> Run | None:
        """The run that reports to it are kept in, as long as that run goes on."""
        return self._owner if self._owner is not None and self._owner.outcome is None else None

    def belong_to(self, run: Run) -> None:
        """Keep what is reported in this run, unless a run that goes on has it already."""
        if self.owner is None:
            self._owner = run

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has been counted and nobody holds it yet."""
        return self._owner is None and self._origin is None and not self.requests

    @property
    def input_tokens_details(self) -> InputTokensDetails:
        """The named parts of `input_tokens`, in openai's own type."""
        return _input_details(self._input_details)

    @input_tokens_details.setter
    def input_tokens_details(self, details: Any) -> None:
        Usage.input_tokens_details.fset(self, details)  # type: ignore[attr-defined]

    @property
    def output_tokens_details(self) -> OutputTokensDetails:
        """The named parts of `output_tokens`, in openai's own type."""
        return _output_details(self._output_details)

    @output_tokens_details.setter
    def output_tokens_details(self, details: Any) -> None:
        Usage.output_tokens_details.fset(self, details)  # type: ignore[attr-defined]

    @property
    def _entries(self) -> list[RequestUsage]:
        entries = super()._entries
        for index in range(len(entries) - 1, -1, -1):
            # What came last is plain, and from where it is not, all is converted already.
            if isinstance(entries[index], HostEntry):
                break
            entries[index] = HostEntry.sharing(entries[index])
        return entries

    @property
    def __dict__(self) -> dict[str, Any]:
        # Pydantic serialises a dataclass by what it finds here.
        return {name: getattr(self, name) for name in _USAGE_FIELDS}

    def expect(self, response_usage: Any, *, same: bool) -> None:
        """The SDK is about to add the usage of a response that has been counted.

        Args:
            response_usage: the response's usage, or None where it had none.
            same: whether the SDK will add that very object, or one made from its counts.
        """
        self._expected.append((response_usage if same else None, counts_of(response_usage)))

    def _is_expected(self, other: Any) -> bool:
        for index, (known, _) in enumerate(self._expected):
            if known is not None and known is other:
                del self._expected[index]
                return True
        counts = counts_of(other)
        for index, (known, expected) in enumerate(self._expected):
            if known is None and expected == counts:
                del self._expected[index]
                return True
        return False

    def add(self, other: Any) -> None:
        """Add a usage, unless it is that of a response which has been counted already."""
        if self._origin is not None:
            self._origin.add(other)
        if self._is_expected(other):
            return
        if self.owner is None or isinstance(other, Usage) or not other.requests:
            self._add(Usage.of(other))
            return
        for reading in readings_of(other):
            request = Request(self.owner)
            request.hold()
            request.settle(reading)

    def _add(self, other: Usage) -> None:
        Usage.add(self, other)

    def snapshot(self) -> HostUsage:
        """Return a copy that later adds do not change."""
        copy: HostUsage = super().snapshot()  # type: ignore[assignment]
        copy._expected = []
        copy._origin = None
        copy._owner = None
        return copy

    __copy__ = snapshot

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (self.to_dict(),))


_ENTRY_FIELDS = tuple(AgentsRequestUsage.__dataclass_fields__)
_USAGE_FIELDS = tuple(agents.Usage.__dataclass_fields__)


def _restored(data: dict[str, Any]) -> HostUsage:
    usage = HostUsage()
    usage._add(Usage.from_dict(data))
    return usage


def _input_details(counts: Any) -> InputTokensDetails:
    return InputTokensDetails(**{"cached_tokens": 0, "cache_write_tokens": 0, **counts})


def _output_details(counts: Any) -> OutputTokensDetails:
    return OutputTokensDetails(**{"reasoning_tokens": 0, **counts})


def counts_of(usage: Any) -> tuple[int, int, int]:
    """Return the three counts by which the SDK's copy of a usage is recognised."""

    def number(name: str) -> int:
        value = getattr(usage, name, None)
        return value if isinstance(value, int) else 0

    return number("input_tokens"), number("output_tokens"), number("total_tokens")


def readings_of(usage: Any) -> list[Reading]:
    """Return a reading for each request of one of the SDK's usages.

    Where it names more requests than it has entries, what the entries leave is in the last one,
    and the others are at zero: their counts are in those of another.
    """
    entries = list(usage.request_usage_entries)
    readings = [read_object(entry) for entry in entries] if entries else [read_object(usage)]
    return readings + [
        Reading(input_tokens=0, output_tokens=0) for _ in range(usage.requests - len(readings))
    ]
