"""The provider's own ledger: what it served and what it billed, the truth that tests compare to.

A record is written when a request has arrived, in state ``received``, and completed when the
request ends, whatever way it ends. It is completed before the last byte of an answer is sent, so a
client that has its answer finds it in the ledger.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from threading import Condition
from typing import Any, Literal

from tallystick.clock import Clock
from tallystick.testing.generation import Billed

__all__ = ["Outcome", "Served", "ServedLedger", "Totals", "read_ledger"]

Outcome = Literal["completed", "incomplete", "failed", "refused", "cut", "abandoned"]
"""completed, incomplete, failed: the answer was delivered, with that status. refused: an HTTP
error. cut: the provider closed the connection too early. abandoned: the client went away."""


@dataclass(frozen=True)
class Served:
    """One request that reached the provider.

    Token counts are what it *billed*, whether or not the client was told (`usage_reported`): of a
    stream that ended early, the input and what was generated until then; of an HTTP error,
    nothing. They are None while the request is in progress.
    """

    request_id: str
    """Unique over providers; the client has it as the header `x-request-id`."""
    number: int
    """Counts the requests of one provider, from 1, in the order of arrival."""
    received_at: int
    """Nanoseconds since 1970-01-01 UTC, as is `finished_at`."""
    api: str
    """responses, responses.compact, chat, or unknown."""
    path: str
    requested_model: str | None
    model: str | None
    """The model that served it, as the answer names it."""
    stream: bool
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the request, those that tests ask for: `x-stainless-retry-count`, `x-tallystick-…`,
    `user-agent`, `idempotency-key` and `x-client-request-id`."""
    state: Literal["received", "finished"] = "received"
    finished_at: int | None = None
    status: int | None = None
    """The HTTP status that was sent; None if no byte of a response was."""
    outcome: Outcome | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    usage_reported: bool = False
    """Whether a whole usage block was sent to the client."""
    response_id: str | None = None
    service_tier: str | None = None
    client_disconnected: bool = False
    """Whether the client was seen to go away before the end of the answer."""
    events_sent: int = 0
    bytes_sent: int = 0
    """Bytes of the response, HTTP headers included."""

    @property
    def billed(self) -> bool:
        """Whether there is anything to pay for."""
        return bool(self.total_tokens)


@dataclass(frozen=True)
class Totals:
    """Sums over records. `requests` counts them all, `billed_requests` those with tokens to pay.

    Tokens of requests still in progress (`unfinished`) are not in the sums.
    """

    requests: int = 0
    billed_requests: int = 0
    unfinished: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0

    @classmethod
    def of(cls, served: Iterable[Served]) -> Totals:
        """Return the totals of any records, for example those of one model."""
        sums: Counter[str] = Counter()
        for record in served:
            sums["requests"] += 1
            if record.state == "received":
                sums["unfinished"] += 1
                continue
            sums["billed_requests"] += record.billed
            for name in _TOKENS:
                sums[name] += getattr(record, name) or 0  # None is "in progress", excluded above
        return cls(**sums)


_TOKENS = (*(part.name for part in fields(Billed)), "total_tokens")
_KEPT_HEADERS = ("x-stainless-retry-count", "user-agent", "idempotency-key", "x-client-request-id")


class ServedLedger:
    """The records of one provider, safe for its threads; also in a file where a path is given.

    The file has one JSON object a line, written as a whole before the answer goes on. A request
    has two lines, received and finished, and a third where the client then turns out to be gone;
    `read_ledger` keeps the last.
    """

    def __init__(self, path: str | os.PathLike[str] | None, clock: Clock) -> None:
        self._clock = clock
        self._records: dict[int, Served] = {}
        self._unfinished = 0
        self._changed = Condition()
        self._file: int | None = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def receive(
        self,
        *,
        api: str,
        path: str,
        requested_model: str | None,
        stream: bool,
        headers: Mapping[str, str],
    ) -> Served:
        """Enter a request that has just arrived and return its record."""
        kept = {
            name: value
            for name, value in headers.items()
            if name in _KEPT_HEADERS or name.startswith("x-tallystick-")
        }
        with self._changed:
            record = Served(
                request_id=self._clock.id("req"),
                number=len(self._records) + 1,
                received_at=self._clock.now(),
                api=api,
                path=path,
                requested_model=requested_model,
                model=None,
                stream=stream,
                headers=kept,
            )
            self._records[record.number] = record
            self._unfinished += 1
            self._write(record)
        return record

    def finish(self, number: int, outcome: Outcome, billed: Billed, **changes: Any) -> None:
        """Complete a record. A second time corrects it, when the client was gone after all."""
        with self._changed:
            before = self._records[number]
            record = replace(
                before,
                state="finished",
                finished_at=self._clock.now(),
                outcome=outcome,
                input_tokens=billed.input_tokens,
                cached_tokens=billed.cached_tokens,
                cache_write_tokens=billed.cache_write_tokens,
                output_tokens=billed.output_tokens,
                reasoning_tokens=billed.reasoning_tokens,
                total_tokens=billed.total_tokens,
                **changes,
            )
            self._records[number] = record
            self._write(record)
            if before.state == "received":
                self._unfinished -= 1
                self._changed.notify_all()

    def records(self) -> list[Served]:
        """Return all records in the order of arrival."""
        with self._changed:
            return list(self._records.values())

    def wait(self, timeout: float) -> bool:
        """Wait until no request is in progress; return False if that takes over `timeout` s."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._unfinished:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def close(self) -> None:
        """Close the file. Records stay readable."""
        with self._changed:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _write(self, record: Served) -> None:
        if self._file is not None:
            os.write(self._file, json.dumps(asdict(record)).encode() + b"\n")


def read_ledger(path: str | os.PathLike[str]) -> list[Served]:
    """Return the records in a ledger file, in the order of arrival.

    A last line that was not written to its end, because the provider was killed, is left out.

    Raises:
        ValueError: a line before the last is no record.
    """
    records: dict[str, Served] = {}
    lines = Path(path).read_bytes().split(b"\n")
    for line in lines[:-1]:
        record = Served(**json.loads(line))
        records[record.request_id] = record
    return list(records.values())
