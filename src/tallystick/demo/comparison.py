"""What three parties counted: the Agents SDK, Tallystick, and the model's own server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tallystick.usage import RequestUsage


@dataclass(frozen=True)
class Served:
    """One request as the server has it. None is what the server did not say."""

    response_id: str | None
    status: int | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True)
class Count:
    """What one party counted in all."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    unknown: int = 0
    """How many of the requests have no token counts here."""

    def __add__(self, other: Count) -> Count:
        return Count(*(left + right for left, right in zip(self._all(), other._all(), strict=True)))

    def __sub__(self, other: Count) -> Count:
        return Count(*(left - right for left, right in zip(self._all(), other._all(), strict=True)))

    def _all(self) -> tuple[int, ...]:
        return (
            self.requests,
            self.input_tokens,
            self.cached_tokens,
            self.output_tokens,
            self.unknown,
        )

    @property
    def tokens(self) -> tuple[int, int, int]:
        """Tokens in, of them cached, and out."""
        return (self.input_tokens, self.cached_tokens, self.output_tokens)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe form."""
        return asdict(self)


@dataclass(frozen=True)
class ServerCount:
    """What the model's server counted, by its own means."""

    source: str
    """Where the figures are from, in words."""
    told: tuple[Served, ...]
    """The requests that it answered to their end, with what it told the client."""
    untold: Count
    """What it served to clients that went away before they were told."""
    failures: int = 0
    """How many requests failed on purpose before they reached it."""

    @property
    def total(self) -> Count:
        """All that it served."""
        return count_of_served(self.told) + self.untold


def count_of_served(served: Iterable[Served]) -> Count:
    """Add up what a server says of single requests; what it does not say is counted as unknown."""
    return _sum((one.input_tokens, one.cached_tokens, one.output_tokens) for one in served)


def count_of_entries(entries: Iterable[RequestUsage]) -> Count:
    """Add up entries of the ledger. Those without counts are counted as unknown."""
    return _sum(told(entry) for entry in entries)


def told(entry: RequestUsage) -> tuple[int | None, int | None, int | None]:
    """Return an entry's tokens in, of them cached, and out."""
    return (entry.input_tokens, entry.input_tokens_details.cached_tokens, entry.output_tokens)


def _sum(counts: Iterable[tuple[int | None, int | None, int | None]]) -> Count:
    total = Count()
    for sent, cached, received in counts:
        if sent is None or received is None:
            total += Count(requests=1, unknown=1)
        else:
            total += Count(1, sent, 0 if cached is None else cached, received)
    return total


def differences(entries: Iterable[RequestUsage], server: ServerCount) -> list[str]:
    """Return where the ledger and the server disagree, request for request; nothing if nowhere.

    Every answer that the server ended is looked for among the settled entries by its response
    id, and the other way round. A refusal has no id; those are compared by their number.
    """
    settled = [entry for entry in entries if entry.status == "settled"]
    ours = {entry.response_id: told(entry) for entry in settled if entry.outcome != "error"}
    theirs = {
        one.response_id: (one.input_tokens, one.cached_tokens, one.output_tokens)
        for one in server.told
        if one.status == 200
    }
    found = [
        f"{name}: the ledger has {ours.get(name)}, the server {theirs.get(name)}"
        for name in ours.keys() | theirs.keys()
        if ours.get(name) != theirs.get(name)
    ]
    refused = sum(entry.outcome == "error" for entry in settled)
    refusals = sum(one.status != 200 for one in server.told) + server.failures
    if refused != refusals:
        found.append(f"refused requests: the ledger has {refused}, the server {refusals}")
    return found


def count_of_sdk(usage: Any, *, told_tokens: bool) -> Count:
    """Return what one of the Agents SDK's `Usage` objects says.

    Args:
        usage: the object that the SDK added to.
        told_tokens: False for a streamed run in which the SDK would not have asked for usage. The
            server tells it because Tallystick asks; by itself the SDK counts the request, and no
            token of it.
    """
    if not told_tokens:
        return Count(requests=usage.requests, unknown=usage.requests)
    cached = usage.input_tokens_details.cached_tokens
    return Count(
        usage.requests,
        usage.input_tokens,
        0 if cached is None else cached,
        usage.output_tokens,
    )
