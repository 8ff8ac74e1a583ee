"""One request to a model: held before it leaves, then settled, released or in doubt.

A `Request` ends exactly once. How it ends decides what is charged:

settled
    The provider said what was used, or refused the request and bills nothing.
released
    It was provably never sent.
in doubt
    It was sent and the provider never said what was used. Its counts are an estimate, marked as
    one, until they are reconciled.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from tallystick.clock import timestamp
from tallystick.usage import Outcome, RequestUsage, Status
from tallystick.wire import Reading, read_object

if TYPE_CHECKING:
    from tallystick.run import Run

UNSENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
        "LocalProtocolError",
        "InvalidURL",
        "ClientConnectorError",
        "ConnectionRefusedError",
        "gaierror",
    }
)
"""Exceptions of HTTP clients that are raised before a byte of the request has left."""

UNSURE = frozenset({408, 499, 502, 504, 520, 524})
"""HTTP statuses of something between us and the model: the model may have answered, and billed."""

BYTES_PER_TOKEN = 4
"""What a token of English or JSON takes, for estimates only; bounds are another matter."""

_EMBEDDED_DATA = re.compile(rb"data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]+")
_EMBEDDED_DATA_TOKENS = 1000


class Request:
    """One billable attempt at a model. Made by `Run.request`, or by an integration.

    As a context manager it is held on entry; leaving it without `settle` puts it in doubt, or
    releases it where the exception shows that nothing was sent.
    """

    def __init__(
        self,
        run: Run,
        *,
        provider: str | None = None,
        model: str | None = None,
        agent: str | None = None,
        turn: int | None = None,
        body: bytes | None = None,
        max_output_tokens: int | None = None,
    ) -> None:
        self.run = run
        self.provider = provider
        self.model = model
        self.agent = agent
        self.turn = turn
        self.body_tokens = None if body is None else tokens_in(body)
        self.max_output_tokens = max_output_tokens
        self.entry: RequestUsage | None = None
        """What the request came to, once it has ended; None before, and if it was released."""
        self.ended = False
        self._recorder = run.recorder
        self._attribution = run.attribution_now()
        clock = self._recorder.clock
        self.id = clock.id("req")
        self._started = clock.now()
        self._started_at = timestamp(self._started).isoformat()
        self._started_monotonic = clock.monotonic()
        self._announced = False
        self._lock = threading.Lock()

    # Holding.

    def _begin(self) -> Future[Any] | None:
        """Ask the ledger for the row; the request may leave when the future is done."""
        ledger = self._recorder.ledger
        if ledger is None:
            return None
        try:
            # The row has the estimate already, in case nobody is left to end the request.
            entry = self._recorder.price(self._entry("held", self._expected()))
            return ledger.hold(entry, started_ns=self._started)
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            self._recorder.fault("holding a request", error)
            return None

    def _expected(self) -> dict[str, Any]:
        """Return the counts that an answer of which nothing is known may come to."""
        guess = self._recorder.typical_output(self.model)
        if self.max_output_tokens is not None:
            guess = min(guess, self.max_output_tokens)
        return {"input_tokens": self.body_tokens, "output_tokens": guess, "estimated": True}

    def hold(self) -> None:
        """Commit the row that says that this request is about to be sent."""
        future = self._begin()
        if future is None:
            return
        try:
            future.result()
        except Exception as error:  # noqa: BLE001 - as above
            self._recorder.fault("holding a request", error)

    async def hold_async(self) -> None:
        """`hold`, without blocking the event loop."""
        future = self._begin()
        if future is None:
            return
        try:
            # The row is written whether or not somebody waits for it: the future of a ledger
            # cannot be cancelled.
            if not future.done():
                await asyncio.wrap_future(future)
            future.result()
        except asyncio.CancelledError:
            # The caller went away before anything was sent.
            self.release("CancelledError")
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._recorder.fault("holding a request", error)

    # Ending.

    def settle(self, response: Any = None) -> RequestUsage | None:
        """End the request with what the provider's response says was used.

        Args:
            response: an SDK's response object, its dict, a usage, or a `wire.Reading`. If it
                does not say what was used, the request is in doubt with an estimate.

        Returns:
            The entry, or None where the request had ended already; then nothing changes.
        """
        try:
            reading = response if isinstance(response, Reading) else read_object(response)
        except Exception as error:  # noqa: BLE001 - a response that cannot be read is counted
            self._recorder.fault("reading a response", error)
            return self.doubt(error_type="unreadable_response")
        if not reading.has_usage:
            return self.doubt(
                reading,
                outcome=reading.outcome or "completed",
                error_type=reading.error_type or "usage_not_reported",
            )
        entry = self._end("settled", {**reading.fields(), "raw_usage": reading.raw_usage})
        if entry is not None:
            for other in reading.others:
                # Another model worked inside this request, at a price of its own.
                inside = Request(
                    self.run,
                    provider=self.provider,
                    model=other.model,
                    agent=self.agent,
                    turn=self.turn,
                )
                other.note(f"inside: {self.id}")
                inside.settle(other)
        return entry

    def reject(self, error_type: str) -> RequestUsage | None:
        """End the request as refused by the provider, which bills nothing for it."""
        return self._end(
            "settled",
            {
                "input_tokens": 0,
                "output_tokens": 0,
                "total_tokens": 0,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
                "outcome": "error",
                "error_type": error_type,
                "cost_nanodollars": 0,
                "price_rule": "a refused request is not billed",
            },
        )

    def release(self, error_type: str | None = None) -> None:
        """End the request as never sent. It keeps its row, and is no request in any total."""
        self._end("released", {"outcome": "error", "error_type": error_type})

    def doubt(
        self,
        reading: Reading | None = None,
        *,
        outcome: Outcome = "error",
        error_type: str | None = None,
    ) -> RequestUsage | None:
        """End the request as sent, with what it used not known: an estimate stands for it.

        Args:
            reading: what was seen of the response before it broke off, if anything.
            outcome: how the request ended.
            error_type: why its usage is not known.
        """
        fields = self._expected()
        if reading is not None:
            said = {**reading.fields(), "raw_usage": reading.raw_usage}
            said.pop("total_tokens", None)
            if reading.text_bytes or reading.output_events:
                by_size = -(-reading.text_bytes // BYTES_PER_TOKEN)
                fields["output_tokens"] = max(reading.output_events, by_size)
            said["output_tokens"] = max(fields["output_tokens"], reading.output_tokens or 0)
            fields.update(said)
        fields.update(outcome=outcome, error_type=error_type)
        return self._end("in_doubt", fields)

    def fail(self, error: BaseException, reading: Reading | None = None) -> RequestUsage | None:
        """End the request as its exception tells: refused, never sent, or in doubt."""
        verdict, error_type = judge(error)
        if verdict == "rejected":
            return self.reject(error_type)
        if verdict == "unsent" and reading is None:
            self.release(error_type)
            return None
        outcome: Outcome = "cancelled" if verdict == "cancelled" else "error"
        return self.doubt(reading, outcome=outcome, error_type=error_type)

    def _end(self, status: Status, fields: Mapping[str, Any]) -> RequestUsage | None:
        with self._lock:
            if self.ended:
                return None
            self.ended = True
        recorder = self._recorder
        duration = max(recorder.clock.monotonic() - self._started_monotonic, 0)
        try:
            entry = self._entry(status, fields, duration)
        except Exception as error:  # noqa: BLE001 - count it whatever the response held
            recorder.fault("reading a response", error)
            entry = self._entry("in_doubt", {"error_type": "unreadable_response"}, duration)
        if status != "released":
            if "cost_nanodollars" not in fields:
                entry = recorder.price(entry)
            if status == "settled":
                recorder.learn(entry)
            self.run.count(entry)
            self.entry = entry
        raw_usage = fields.get("raw_usage")
        self._keep(entry, raw_usage, duration)
        return self.entry

    def _keep(
        self, entry: RequestUsage, raw_usage: Mapping[str, Any] | None, duration: int
    ) -> None:
        ledger = self._recorder.ledger
        if ledger is None:
            self._recorder.not_kept()
            return
        try:
            # Where the hold could not be kept, the ledger writes the whole row now.
            self._recorder.watch(
                "keeping a request",
                ledger.finish(entry, raw_usage=raw_usage, duration_ns=duration),
            )
        except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
            self._recorder.fault("keeping a request", error)

    def _entry(
        self, status: Status, fields: Mapping[str, Any] | None = None, duration: int | None = None
    ) -> RequestUsage:
        who = self._attribution
        record: dict[str, Any] = {
            "id": self.id,
            "run_id": self.run.id,
            "status": status,
            "provider": self.provider,
            "model": self.model,
            "requested_model": self.model,
            "agent": self.agent,
            "turn": self.turn,
            "customer": who.customer,
            "user": who.user,
            "project": who.project,
            "session": who.session,
            "tags": who.tags or None,
            "started_at": self._started_at,
            "duration": None if duration is None else duration / 1e9,
        }
        if fields:
            record.update(fields)
            record.pop("raw_usage", None)
        response_id = record.get("response_id")
        if response_id is not None and self.run.has_seen(response_id):
            record["anomalies"] = [
                *record.get("anomalies", ()),
                f"response_id: {response_id} again",
            ]
        return RequestUsage.from_known(record)

    # As a context manager, for a loop of the user's own.

    async def start(self) -> None:
        """Tell the hooks, which may refuse, and hold the request."""
        try:
            await self.run.emit("on_llm_start", self)
        except BaseException:
            # Nothing was held and nothing is sent.
            self.ended = True
            raise
        await self.hold_async()

    def start_sync(self) -> None:
        """`start` from plain code."""
        try:
            self.run.emit_sync("on_llm_start", self)
        except BaseException:
            self.ended = True
            raise
        self.hold()

    async def announce(self) -> None:
        """Tell the hooks what the request came to, once."""
        if self.entry is not None and not self._announced:
            self._announced = True
            await self.run.emit("on_llm_end", self.entry)

    def announce_sync(self) -> None:
        """`announce` from plain code."""
        if self.entry is not None and not self._announced:
            self._announced = True
            self.run.emit_sync("on_llm_end", self.entry)

    def __enter__(self) -> Self:
        self.start_sync()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)
        self.announce_sync()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)
        await self.announce()

    def _leave(self, error: BaseException | None) -> None:
        if self.ended:
            return
        if error is not None:
            self.fail(error)
        else:
            self.doubt(outcome="completed", error_type="not_settled")


Verdict = Literal["rejected", "unsent", "cancelled", "broken"]


def judge(error: BaseException) -> tuple[Verdict, str]:
    """Say what an exception means for the request that raised it.

    Returns:
        rejected: the provider answered with an error, which it does not bill; unsent: nothing
        left this machine; cancelled: the caller went away; broken: anything else, so that what
        was used is not known. And the error's type: an HTTP status or the exception's name.
    """
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__
    for link in chain:
        status = getattr(link, "status_code", None)
        if isinstance(status, int) and status >= 400:
            return ("broken" if status in UNSURE else "rejected"), str(status)
    names = {parent.__name__ for link in chain for parent in type(link).__mro__}
    name = type(error).__name__
    if names & UNSENT:
        return "unsent", name
    if isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt):
        return "cancelled", name
    return "broken", name


def tokens_in(body: bytes) -> int:
    """Estimate the input tokens of a request's body; embedded media counts a fixed number each."""
    text, embedded = _EMBEDDED_DATA.subn(b"", body)
    return -(-len(text) // BYTES_PER_TOKEN) + embedded * _EMBEDDED_DATA_TOKENS
