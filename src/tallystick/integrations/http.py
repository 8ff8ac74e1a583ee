"""HTTP clients: the one layer that sees every attempt, hidden retries and broken bodies included.

httpx and httpx2 clients send everything through `Client.send` and `AsyncClient.send`. Those are
wrapped, on one client (`instrument`) or for the whole process (`patch`). A request to a model's
API is held before it is sent and ended by what comes back: the body where it was read, or what
its stream said as it passed by. Requests to anything else pass untouched.

A host's model call sets `call_of` to say on whose behalf requests leave (`Call`); without one
they belong to the current run, or are runs of their own.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, Protocol, runtime_checkable

from tallystick.errors import BudgetRefused, BudgetUncertain
from tallystick.judgement import UNSURE
from tallystick.recorder import Recorder
from tallystick.request import Request, open_request
from tallystick.run import Run, current_run
from tallystick.wire import (
    API,
    StreamReader,
    identify,
    model_of,
    provider_of,
    read_request,
    read_response,
)
from tallystick.wire.rewrite import with_output_limit

_MARK = "tallystick"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared, not bound

_EARLY = ("anthropic.", "bedrock.invoke", "gemini.")
"""APIs whose streams say what was used from the beginning on, and not only at their end."""

_IN_ORDER = frozenset({"completed", "incomplete"})
"""How a stream ends whose usage is whole."""


State = Literal["new", "told", "held"]
"""How far a request is that is about to leave: the hooks know of it, or it is held already."""


class Call(Protocol):
    """A host's call of a model, on whose behalf HTTP requests leave."""

    run: Run
    over: bool

    def attempt(self, about: dict[str, Any]) -> tuple[Request, State]:
        """Return the request to count an attempt as, and how far it is."""
        ...


@runtime_checkable
class Expecting(Protocol):
    """A usage that a host adds to as well, and that knows what has been counted already."""

    def expect(self, response_usage: Any, *, same: bool) -> None:
        """The host is about to add a usage of these counts."""
        ...


call_of: ContextVar[Call | None] = ContextVar("tallystick_call", default=None)


class Attempt:
    """One HTTP request to a model, from before it leaves until its body has been seen."""

    def __init__(self, request: Request, api: API, *, called: bool, own_run: Run | None) -> None:
        self.request = request
        self.api = api
        self._called = called
        self._own_run = own_run
        self._reader: StreamReader | None = None

    def sent(
        self, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of `send` with the request as a budget lets it leave.

        Raises:
            BudgetUncertain: the limit on the answer that the hold rests on cannot be set.
        """
        held = self.request
        body, held.body = held.body, None
        if held.output_limit is None and held.replaced_model is None:
            return arguments, options
        if held.output_limit is not None and body is not None:
            body = with_output_limit(
                self.api, body, held.output_limit, model=held.model, provider=held.provider
            )
        if body is None:
            held.release("limit_not_set")
            held.refusal = BudgetUncertain(
                f"a request to {held.model or 'a model'} was not sent: no limit can be set on its "
                f"answer, and the budget {held.limited_by!r} affords {held.output_limit} tokens; "
                "set one in the request",
                budget=held.limited_by,
                usage=held.run.snapshot(),
                setting="the request's own limit",
            )
            raise held.refusal
        request = _with_body(_request_of(arguments, options), body)
        if "request" in options:
            return arguments, {**options, "request": request}
        return (*arguments[:-1], request), options

    def refuse(self, refusal: BudgetRefused, request: Any) -> Any:
        """Raise the refusal so that it reaches the caller at once.

        Clients that Stainless makes (openai, anthropic) take an exception of the HTTP client for
        a broken connection, wait and try again. They are given a response in place of it, which
        raises the refusal when they look at its status; that they do not catch.
        """
        self._done()
        if "x-stainless-lang" not in request.headers:
            raise refusal
        module = sys.modules[type(request).__module__.partition(".")[0]]
        return _refused(module.Response, refusal, request)

    def fail(self, error: BaseException) -> None:
        """End it by an exception of the client."""
        self.request.fail(error)
        self._done()

    def answer(self, response: Any, streamed: bool) -> None:  # noqa: FBT001 - as httpx has it
        """Read a response that has arrived, or follow it while the caller reads it."""
        status = response.status_code
        if status >= 400:
            if status in UNSURE:
                self.request.doubt(error_type=str(status))
            else:
                self.request.reject(str(status))
            self._done()
        elif not streamed or hasattr(response, "_content"):
            body = response.content
            self.request.settle(read_response(self.api, status, response.headers, body))
            self._done()
        else:
            self._reader = StreamReader(self.api, response.headers, status)
            _follow(response, self)

    def feed(self, chunk: bytes) -> None:
        """Take a piece of the decoded body as it passes to the caller."""
        if self._reader is not None:
            self._reader.feed(chunk)

    def finish(self, error: BaseException | None = None, *, at_end: bool = False) -> None:
        """End it: the body has been read to its end, was left early, or broke off."""
        if self._reader is None or self.request.ended:
            return
        reading = self._reader.close()
        partial = self.api.startswith(_EARLY) and reading.outcome not in _IN_ORDER
        if (at_end or self._reader.finished) and not partial:
            # The provider has said all that it was going to say.
            self.request.settle(reading)
        elif error is None or isinstance(error, GeneratorExit):
            self.request.doubt(reading, outcome="cancelled", error_type="stream_left_early")
        else:
            self.request.fail(error, reading)
        self._done()

    def _done(self) -> None:
        if self._called:
            # The call of the host tells the hooks and the host's usage, when it is over.
            return
        for usage in self.request.run.usages():
            # A host that sends by itself (to compact a session) adds the usage afterwards.
            if self.request.entry is not None and isinstance(usage, Expecting):
                usage.expect(self.request.entry, same=False)
        self.request.announce_sync()
        if self._own_run is not None:
            self._own_run.close("completed")


def _refused(kind: Any, refusal: BudgetRefused, request: Any) -> Any:
    class Refused(kind):  # type: ignore[misc]
        def raise_for_status(self) -> Any:
            raise refusal

    return Refused(402, request=request, json={"error": {"message": str(refusal)}})


class _Body:
    """Shows an attempt the body of a response while the caller reads it, whatever happens."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self.awaiting = False
        """Whether a chunk is being awaited. Then it is the reading that closes the response, or
        it will see what closing does to it, so that closing says nothing of its own."""

    def saw(self, chunk: bytes) -> None:
        _guard(self._attempt, self._attempt.feed, chunk)

    def ended(self) -> None:
        _guard(self._attempt, self._end)

    def _end(self) -> None:
        self._attempt.finish(at_end=True)

    def broke(self, error: BaseException) -> None:
        _guard(self._attempt, self._attempt.finish, error)

    def left(self) -> None:
        if not self.awaiting:
            _guard(self._attempt, self._attempt.finish)


def _follow(response: Any, attempt: Attempt) -> None:
    """Let the attempt see the body while the caller reads it, however the caller reads it.

    Every reader of httpx (lines, text, whole) reads through `aiter_bytes` or `iter_bytes`, after
    decompression. They and the closing are overridden on this one response.
    """
    body = _Body(attempt)
    if hasattr(response.stream, "__aiter__"):
        _follow_async(response, body)
    else:
        _follow_sync(response, body)


def _follow_async(response: Any, body: _Body) -> None:
    aiter_bytes, aclose = response.aiter_bytes, response.aclose

    async def follow(chunk_size: int | None = None) -> AsyncIterator[bytes]:
        chunks = aiter_bytes(chunk_size)
        try:
            while True:
                body.awaiting = True
                try:
                    chunk = await chunks.__anext__()
                except StopAsyncIteration:
                    break
                finally:
                    body.awaiting = False
                body.saw(chunk)
                yield chunk
        except BaseException as error:
            body.broke(error)
            await chunks.aclose()
            raise
        body.ended()

    async def close() -> None:
        body.left()
        await aclose()

    response.aiter_bytes = follow
    response.aclose = close


def _follow_sync(response: Any, body: _Body) -> None:
    iter_bytes, plain_close = response.iter_bytes, response.close

    def follow(chunk_size: int | None = None) -> Iterator[bytes]:
        chunks = iter_bytes(chunk_size)
        try:
            while True:
                body.awaiting = True
                try:
                    chunk = next(chunks)
                except StopIteration:
                    break
                finally:
                    body.awaiting = False
                body.saw(chunk)
                yield chunk
        except BaseException as error:
            body.broke(error)
            raise
        body.ended()

    def close() -> None:
        body.left()
        plain_close()

    response.iter_bytes = follow
    response.close = close


def _begin(request: Any, recorder: Recorder | None) -> tuple[Attempt, State] | None:
    """Return the attempt that an HTTP request is, and how far it is; None if it is none."""
    if request.method != "POST" or _MARK in request.extensions:
        return None
    url = str(request.url)
    api = identify(url)
    if api is None:
        return None
    call = call_of.get()
    if call is not None and call.over:
        call = None
    run = current_run()
    if call is None and run is None and recorder is None:
        return None
    body = _body_of(request)
    asked = read_request(api, body)
    model = asked.model or model_of(url)
    if call is None and model is None:
        # Something of the user's own whose path ends like a model's.
        return None
    request.extensions[_MARK] = True
    host = request.url.host
    about: dict[str, Any] = {
        "provider": provider_of(url, api) or ("local" if host in _LOOPBACK else host),
        "model": model,
        "api": api,
        "asked": asked,
        "body": body,
    }
    if call is not None:
        request_of_call, state = call.attempt(about)
        return Attempt(request_of_call, api, called=True, own_run=None), state
    mine = open_request()
    if mine is not None:
        if not (mine.taken or mine.ended):
            mine.taken = True
            # The block tells the hooks, when it is left.
            attempt = Attempt(mine, api, called=True, own_run=None)
            return attempt, "held" if mine.take_over(about) else "told"
        # The client tries again.
        run, about = mine.run, {**about, "agent": mine.agent, "turn": mine.turn}
    own_run: Run | None = None
    if run is None:
        assert recorder is not None  # noqa: S101 - returned above; for the type checker
        run = own_run = Run(recorder, model or api, host=api).start()
    return Attempt(Request(run, **about), api, called=False, own_run=own_run), "new"


def _body_of(request: Any) -> bytes:
    try:
        content: bytes = request.content
    except Exception:  # noqa: BLE001 - a body that is itself streamed cannot be read ahead
        return b""
    return content


def _send_async(
    original: Callable[..., Awaitable[Any]], recorder: Recorder | None
) -> Callable[..., Awaitable[Any]]:
    async def send(*arguments: Any, **options: Any) -> Any:
        begun = _begin_safely(arguments, options, recorder)
        if begun is None:
            return await original(*arguments, **options)
        attempt, state = begun
        seen = _request_of(arguments, options)
        try:
            if state == "new":
                await attempt.request.start()
            elif state == "told":
                await attempt.request.hold_async()
            arguments, options = attempt.sent(arguments, options)
        except BudgetRefused as refusal:
            # It may be sent again, by who changes the budget.
            seen.extensions.pop(_MARK, None)
            return attempt.refuse(refusal, seen)
        try:
            response = await original(*arguments, **options)
        except BaseException as error:
            _guard(attempt, attempt.fail, error)
            raise
        finally:
            seen.extensions.pop(_MARK, None)
        _guard(attempt, attempt.answer, response, options.get("stream", False))
        return response

    send.__wrapped__ = original  # type: ignore[attr-defined]
    return send


def _send(original: Callable[..., Any], recorder: Recorder | None) -> Callable[..., Any]:
    def send(*arguments: Any, **options: Any) -> Any:
        begun = _begin_safely(arguments, options, recorder)
        if begun is None:
            return original(*arguments, **options)
        attempt, state = begun
        seen = _request_of(arguments, options)
        try:
            if state == "new":
                attempt.request.start_sync()
            elif state == "told":
                attempt.request.hold()
            arguments, options = attempt.sent(arguments, options)
        except BudgetRefused as refusal:
            # It may be sent again, by who changes the budget.
            seen.extensions.pop(_MARK, None)
            return attempt.refuse(refusal, seen)
        try:
            response = original(*arguments, **options)
        except BaseException as error:
            _guard(attempt, attempt.fail, error)
            raise
        finally:
            seen.extensions.pop(_MARK, None)
        _guard(attempt, attempt.answer, response, options.get("stream", False))
        return response

    send.__wrapped__ = original  # type: ignore[attr-defined]
    return send


def _begin_safely(
    arguments: tuple[Any, ...], options: dict[str, Any], recorder: Recorder | None
) -> tuple[Attempt, State] | None:
    try:
        return _begin(_request_of(arguments, options), recorder)
    except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
        run = current_run()
        known = run.recorder if run is not None else recorder
        if known is not None:
            known.fault("reading a request", error)
        return None


def _request_of(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    # The last positional argument is the request: bound methods give it alone, functions of a
    # class give the client before it.
    return options["request"] if "request" in options else arguments[-1]


def _with_body(request: Any, body: bytes) -> Any:
    """Return the request with another body, and all else as it was."""
    headers = [
        (name, value)
        for name, value in request.headers.raw
        if name.lower() not in {b"content-length", b"transfer-encoding"}
    ]
    return type(request)(
        request.method,
        request.url,
        headers=headers,
        content=body,
        extensions=request.extensions,
    )


def _guard(attempt: Attempt, action: Callable[..., None], *arguments: Any) -> None:
    """Do what recording takes; if it fails, the request is in doubt and the run goes on."""
    try:
        action(*arguments)
    except Exception as error:  # noqa: BLE001 - recording never breaks the run; counted
        attempt.request.run.recorder.fault("reading a response", error)
        attempt.request.doubt(error_type="unreadable_response")


def _is_async(client: Any) -> bool:
    return hasattr(client, "aclose")


def instrument(client: Any, recorder: Recorder | None) -> None:
    """Count what one httpx client sends. The second time, nothing.

    Args:
        client: the client.
        recorder: what counts its requests outside any run; None leaves those alone.
    """
    if hasattr(client.__dict__.get("send"), "__wrapped__"):
        return
    wrap = _send_async if _is_async(client) else _send
    client.send = wrap(client.send, recorder)


def restore(client: Any) -> None:
    """Undo `instrument`."""
    if hasattr(client.__dict__.get("send"), "__wrapped__"):
        del client.send


_patched: dict[Any, Callable[..., Any]] = {}


def patch() -> None:
    """Count what any httpx or httpx2 client sends inside a run. The second time, nothing.

    Only modules that are imported already are patched; a host that imports one later calls again.
    """
    for name in ("httpx", "httpx2"):
        module = sys.modules.get(name)
        if module is None:
            continue
        for client, wrap in ((module.AsyncClient, _send_async), (module.Client, _send)):
            if client not in _patched:
                _patched[client] = client.send
                client.send = wrap(client.send, None)


def unpatch() -> None:
    """Undo `patch`, where nobody has patched over it since."""
    for client, original in list(_patched.items()):
        if getattr(client.send, "__wrapped__", None) is original:
            client.send = original
            del _patched[client]


def sees(client: Any) -> bool:
    """Whether what this client sends is counted, here or for the whole process."""
    return hasattr(getattr(client, "send", None), "__wrapped__")
