"""The tap: what a model's server says that it served, read from the wire by nobody else's code.

It stands under the HTTP client, below the place where Tallystick counts, and shares no code with
it: it copies each answer as it passes and looks for the usage block. It also answers one request
with HTTP 500 in the server's place when it is told to, so that the client has to send it again.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from tallystick.demo.comparison import Served


@dataclass
class Answer:
    """One answer of the server, as far as it has passed."""

    status: int
    body: bytearray
    whole: bool = False

    def served(self) -> Served:
        """Return what the server says it served, with None for what it did not say."""
        usage: dict[str, Any] = {}
        response_id = None
        for event in self._events():
            told = event.get("response") or event
            response_id = told.get("id") or response_id
            usage = told.get("usage") or usage
        sent = usage.get("prompt_tokens", usage.get("input_tokens"))
        details = usage.get("prompt_tokens_details", usage.get("input_tokens_details")) or {}
        return Served(
            response_id=response_id,
            status=self.status,
            input_tokens=sent,
            cached_tokens=details.get("cached_tokens"),
            output_tokens=usage.get("completion_tokens", usage.get("output_tokens")),
        )

    def _events(self) -> Iterator[dict[str, Any]]:
        if not self.body.startswith((b"data:", b"event:")):
            lines = [bytes(self.body)]
        else:
            lines = [
                bytes(line.removeprefix(b"data:"))
                for line in self.body.splitlines()
                if line.startswith(b"data:")
            ]
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # The end mark of a stream, or an answer that was left in the middle.
            if isinstance(event, dict):
                yield event


class _Copied(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, answer: Answer) -> None:
        self._stream = stream
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._answer.body += chunk
            yield chunk
        self._answer.whole = True

    async def aclose(self) -> None:
        await self._stream.aclose()


class Tap(httpx2.AsyncBaseTransport):
    """An HTTP transport that copies what passes, and fails once when told to."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        """What the server answered, in order."""
        self.failures = 0
        """How many requests were answered with HTTP 500 here and never reached the server."""
        self._failing = False
        self._transport = httpx2.AsyncHTTPTransport()

    def fail_once(self) -> None:
        """Answer the next request with HTTP 500."""
        self._failing = True

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send the request on, unless it is to fail."""
        if self._failing:
            self._failing = False
            self.failures += 1
            body = {"error": {"message": "the demo makes this request fail once", "code": 500}}
            headers = {"retry-after-ms": "200"}
            return httpx2.Response(500, json=body, headers=headers, request=request)
        # What is compressed could not be read in passing.
        request.headers["accept-encoding"] = "identity"
        response = await self._transport.handle_async_request(request)
        answer = Answer(response.status_code, bytearray())
        self.answers.append(answer)
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)  # noqa: S101 - it is an async transport's
        response.stream = _Copied(stream, answer)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()
