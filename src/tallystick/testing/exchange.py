"""How one answer is delivered, well or badly, and what the ledger is told about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tallystick.testing.generation import Billed, Event
from tallystick.testing.reply import Cut, Fail, Malformed, Reply, Slow
from tallystick.testing.responses import error_body
from tallystick.testing.served import Outcome, Served, ServedLedger
from tallystick.testing.server import Channel, ClientGone, Stopped, response_head

__all__ = ["Exchange"]

_BATCH_BYTES = 16_384
"""Events that need not wait for one another are sent together up to this size."""

_ERRORS = {
    400: ("invalid_request_error", None, "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Not permitted."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", "server_overloaded", "The server is currently overloaded."),
}


class Exchange:
    """One request and its answer. Used by one thread.

    What is true so far (`billed` and the rest) is kept up to date, so that the record is right
    wherever the exchange ends.
    """

    def __init__(self, channel: Channel, ledger: ServedLedger, record: Served) -> None:
        self._channel = channel
        self._ledger = ledger
        self._record = record
        self._status: int | None = None
        self._events_sent = 0
        self._usage_reported = False
        self._finished: Outcome | None = None
        self.billed = Billed()
        self.model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None

    def _finish(self, outcome: Outcome, *, ahead: int = 0, disconnected: bool = False) -> None:
        """Complete the record; `ahead` bytes are about to be sent."""
        self._finished = outcome
        self._ledger.finish(
            self._record.number,
            outcome,
            self.billed,
            model=self.model,
            status=self._status,
            usage_reported=self._usage_reported,
            response_id=self.response_id,
            service_tier=self.service_tier,
            client_disconnected=disconnected,
            events_sent=self._events_sent,
            bytes_sent=self._channel.bytes_sent + ahead,
        )

    def end_early(self, error: ClientGone | Stopped) -> None:
        """Complete the record of an exchange that the client, or stopping, broke off."""
        if self._channel.bytes_sent == 0:
            self._status = None
            self._usage_reported = False
        gone = isinstance(error, ClientGone)
        self._finish("abandoned" if gone else "cut", disconnected=gone)

    def _headers(self, **more: str) -> dict[str, str]:
        headers = {"x-request-id": self._record.request_id, "openai-version": "2020-10-01"}
        return headers | {name.replace("_", "-"): value for name, value in more.items()}

    def refuse(
        self,
        status: int,
        message: str,
        kind: str = "invalid_request_error",
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        outcome: Outcome = "refused",
    ) -> bool:
        """Send an HTTP error."""
        more: dict[str, str] = {}
        if retry_after is not None:
            more = {
                "retry_after": f"{retry_after:g}",
                "retry_after_ms": f"{retry_after * 1000:g}",
            }
        self._send_body(status, error_body(message, kind, code, param), outcome, more)
        return True

    def fail(self, fail: Fail, slow: Slow) -> bool:
        """Send the HTTP error of the script."""
        kind, code, message = _ERRORS.get(fail.status, ("api_error", None, "It failed."))
        self._channel.wait(slow.before)
        return self.refuse(
            fail.status,
            fail.message or message,
            kind,
            code=fail.code or code,
            retry_after=fail.retry_after,
        )

    def _send_body(
        self, status: int, body: dict[str, Any], outcome: Outcome, more: dict[str, str]
    ) -> None:
        payload = json.dumps(body, separators=(",", ":")).encode()
        self._send_bytes(status, payload, outcome, more)

    def _send_bytes(
        self, status: int, payload: bytes, outcome: Outcome, more: dict[str, str]
    ) -> None:
        headers = self._headers(
            content_type="application/json", content_length=str(len(payload)), **more
        )
        data = response_head(status, headers) + payload
        self._status = status
        self._finish(outcome, ahead=len(data))
        self._channel.send(data)

    def _cut_before_response(self, cut: Cut) -> bool:
        if not cut.billed:
            self.billed = Billed()
        self._finish("cut")
        return False

    def deliver_body(
        self, body: dict[str, Any], outcome: Outcome, reply: Reply, slow: Slow, billed: Billed
    ) -> bool:
        """Send an answer that is not streamed. It is generated, and billed, before it is sent."""
        cut = reply.fault(Cut)
        self.billed = billed
        self._channel.wait(slow.before)
        if cut is not None and cut.before_response:
            return self._cut_before_response(cut)
        payload = json.dumps(body, separators=(",", ":")).encode()
        if reply.fault(Malformed) is not None:
            payload = payload[: len(payload) // 2]
        elif cut is None or cut.at_end:
            self._usage_reported = isinstance(body.get("usage"), dict)
        if cut is None:
            self._send_bytes(200, payload, outcome, {})
            return True
        if not cut.billed:
            self.billed = Billed()
        self._status = 200
        if cut.at_end:
            headers = self._headers(content_type="application/json", transfer_encoding="chunked")
            data = response_head(200, headers) + _chunk(payload)
        else:
            headers = self._headers(
                content_type="application/json", content_length=str(len(payload))
            )
            data = response_head(200, headers) + payload[: len(payload) // 2]
        self._finish("cut", ahead=len(data))
        self._channel.send(data)
        return False

    def deliver_stream(
        self, events: Sequence[Event], outcome: Outcome, reply: Reply, slow: Slow, billed: Billed
    ) -> bool:
        """Send an answer as a stream of events, billed up to the last event that is sent."""
        cut = reply.fault(Cut)
        self.billed = billed.up_to(0)
        self._channel.wait(slow.before)
        if cut is not None and cut.before_response:
            return self._cut_before_response(cut)
        if cut is not None and cut.after_events is not None:
            events = events[: cut.after_events]
        bad = _malformed_event(events, reply.fault(Malformed))
        headers = self._headers(
            content_type="text/event-stream; charset=utf-8", transfer_encoding="chunked"
        )
        self._status = 200
        batch = [response_head(200, headers)]
        size = 0
        for index, event in enumerate(events):
            if index and (slow.between or size >= _BATCH_BYTES):
                self._channel.send(b"".join(batch))
                batch, size = [], 0
                self._channel.wait(slow.between)
            data = event.data
            if index == bad:
                data = data[: len(data) // 2] + b"\n\n"
            elif event.has_usage:
                self._usage_reported = True
            batch.append(_chunk(data))
            size += len(data)
            self.billed = billed.up_to(event.output_tokens)
            self._events_sent += 1
        if cut is None:
            batch.append(b"0\r\n\r\n")
        elif not cut.billed:
            self.billed = Billed()
        data = b"".join(batch)
        self._finish(outcome if cut is None else "cut", ahead=len(data))
        self._channel.send(data)
        return cut is None


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _malformed_event(events: Sequence[Event], malformed: Malformed | None) -> int | None:
    """Return the index of the event that is to be broken."""
    if malformed is None:
        return None
    whole = [index for index, event in enumerate(events) if event.data != b"data: [DONE]\n\n"]
    return min(malformed.after_events, whole[-1]) if whole else None
