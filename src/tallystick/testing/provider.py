"""`Provider`: the façade that tests hold."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from tallystick.clock import Clock
from tallystick.testing.cache import PromptCache
from tallystick.testing.reply import Slow
from tallystick.testing.request import Request
from tallystick.testing.script import Script, Scripts, Step
from tallystick.testing.served import Served, ServedLedger, Totals
from tallystick.testing.server import Server
from tallystick.testing.service import ApiService

__all__ = ["Provider"]


class Provider:
    """A model provider on loopback, for tests.

    It serves from ``start`` to ``stop``, or inside a ``with`` block::

        with Provider() as provider:
            client = OpenAI(base_url=provider.base_url, api_key="test")

    Args:
        port: the TCP port on 127.0.0.1; 0 takes a free one.
        models: the name under which a requested model is served, for example
            ``{"gpt-5": "gpt-5-2025-08-07"}``. Others are served under the name asked for.
        slow: delays of every reply that has none of its own.
        cache_threshold: the least number of prompt tokens that is cached; None caches nothing.
        bill_cache_writes: whether tokens newly written to the cache are counted and reported.
        minimum_output_tokens: the least `max_output_tokens` that Responses accepts. OpenAI's is
            16, and a smaller one is refused with HTTP 400.
        ledger_path: a file to which each record is also appended, as JSON lines.
        clock: time and ids.

    Raises:
        OSError: the port is taken, or the ledger file cannot be written.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        models: Mapping[str, str] | None = None,
        slow: Slow | None = None,
        cache_threshold: int | None = 1024,
        bill_cache_writes: bool = False,
        minimum_output_tokens: int = 16,
        ledger_path: str | os.PathLike[str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        clock = clock or Clock()
        self._port = port
        self._server: Server | None = None
        self._scripts = Scripts()
        self._ledger = ServedLedger(ledger_path, clock)
        self._service = ApiService(
            scripts=self._scripts,
            ledger=self._ledger,
            clock=clock,
            cache=PromptCache(cache_threshold),
            models=models or {},
            slow=slow or Slow(),
            minimum_output_tokens=minimum_output_tokens,
            bill_cache_writes=bill_cache_writes,
        )

    def script(
        self,
        *steps: Step,
        model: str | None = None,
        when: Callable[[Request], bool] | None = None,
        repeat: bool = False,
    ) -> Script:
        """Give the next matching requests these replies, one each, in order.

        Of several scripts, the first added that matches and has a reply left answers; where
        there is none, the provider makes a text from the request. Replies that were refused by a
        `Fail` are used up too, so ``script(Fail(500), Fail(500), "at last")`` tests two retries.

        Args:
            *steps: replies, parts of replies, lists of parts, or functions that make one from
                the request. A function may be called by several threads at once.
            model: only for requests for this model.
            when: only for requests of which this is true; called once a request and script.
            repeat: begin again at the end, for ever.

        Raises:
            TypeError: a step is no reply.
            ValueError: there is no step, or a reply contradicts itself.
        """
        script = Script(steps, model=model, when=when, repeat=repeat)
        self._scripts.add(script)
        return script

    @property
    def unused_replies(self) -> int:
        """How many scripted replies nobody has asked for yet."""
        return self._scripts.remaining

    @property
    def port(self) -> int:
        """The port it serves on.

        Raises:
            RuntimeError: it was not started.
        """
        if self._server is None:
            raise RuntimeError("the provider is not started; use `with Provider() as provider:`")
        return self._server.port

    @property
    def base_url(self) -> str:
        """What to give a client as its `base_url`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def served(self) -> list[Served]:
        """A copy of the provider's ledger: every request it received, in order of arrival."""
        return self._ledger.records()

    def totals(self, *, model: str | None = None) -> Totals:
        """Return what was served and billed in all, or for one model (as served)."""
        return Totals.of(
            record for record in self._ledger.records() if model is None or record.model == model
        )

    def wait(self, timeout: float = 5.0) -> bool:
        """Wait until no request is in progress; False if some still are after `timeout` seconds.

        Needed where a client went away: the provider notices that after the client.
        """
        return self._ledger.wait(timeout)

    def start(self) -> Self:
        """Begin to serve. A provider that was stopped cannot be started again.

        Raises:
            RuntimeError: it was started before.
            OSError: the port is taken.
        """
        if self._server is not None:
            raise RuntimeError("a provider is started once")
        try:
            self._server = Server(self._service, self._port)
        except OSError:
            self._ledger.close()
            raise
        return self

    def stop(self) -> None:
        """Stop at once: open connections are closed, requests in progress end as cut.

        The ledger stays readable.

        Raises:
            ExceptionGroup: functions of the script raised; the group holds what they raised.
        """
        if self._server is not None:
            self._server.stop()
        self._ledger.close()
        errors, self._service.errors[:] = list(self._service.errors), []
        if errors:
            raise ExceptionGroup("functions of the provider's script raised", errors)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
