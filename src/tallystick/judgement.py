"""What can be said of a request whose response does not say it: how it ended, and its size."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import Literal

from tallystick.wire import identify

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


def is_of_a_model(error: BaseException) -> bool:
    """Whether an exception is of a request to a model, as far as it names a request at all.

    In a block of the user's own anything may be raised: a database refuses a connection, a page
    is not found. Those say nothing of the model's answer.
    """
    link: BaseException | None = error
    while link is not None:
        with suppress(Exception):
            # Some clients raise where there is none.
            if identify(str(link.request.url)) is not None:  # type: ignore[attr-defined]
                return True
        link = link.__cause__
    return False


def tokens_in(body: bytes) -> int:
    """Estimate the input tokens of a request's body; embedded media counts a fixed number each."""
    text, embedded = _EMBEDDED_DATA.subn(b"", body)
    return -(-len(text) // BYTES_PER_TOKEN) + embedded * _EMBEDDED_DATA_TOKENS
