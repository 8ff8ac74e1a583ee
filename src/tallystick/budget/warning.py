"""Warnings: what is said, and sent to a webhook, when a budget is nearly or wholly used."""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

from tallystick.budget.guard import amount_text, moment_text, shown
from tallystick.clock import Clock, timestamp
from tallystick.ledger import UNITS, Balance, Unit

logger = logging.getLogger("tallystick")

Event = Literal["budget.warning", "budget.exceeded"]

Failed = Callable[[str, Exception], object]
"""Told what was being done, and why it could not be."""

TIMEOUT_SECONDS = 5.0
PAUSE_SECONDS = 1.0
"""Before a message is sent a second time, which is the last."""

MOST_QUEUED = 16
"""Messages that are out at once. One more is not sent, and counted as failed."""

PATIENCE_SECONDS = 3.0
"""How long the end of the program waits for messages that are out."""


def worded(balance: Balance) -> str:
    """Return a balance in words, such as ``'acme': $81.20 of $100.00 spent (81 %), $2.00 held``."""
    unit = _tightest(balance)
    if unit is None:
        return f"{balance.name!r} has no limit"
    limit, spent, held = (
        getattr(amounts, unit) for amounts in (balance.limits, balance.spent, balance.held)
    )

    def text(amount: int) -> str:
        return amount_text(unit, shown(unit, amount))

    percent = 100 if limit == 0 else spent * 100 // limit
    said = f"{balance.name!r}: {text(spent)} of {text(limit)} spent ({percent} %)"
    if held:
        said += f", {text(held)} held"
    debt = getattr(balance.debt, unit)
    if debt:
        said += f", {text(debt)} over the limit"
    if balance.ends_at is not None:
        said += f", until {moment_text(timestamp(balance.ends_at))}"
    return said


def message(
    balance: Balance, *, event: Event, at: int, scope: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return what a webhook is sent: JSON-safe, without prompts, and of whom only the scope.

    Args:
        balance: the budget in its window.
        event: what has come to pass.
        at: when, in nanoseconds.
        scope: what the budget is for.
    """
    return {
        "event": event,
        "at": moment_text(timestamp(at)),
        "budget": balance.name,
        "scope": dict(scope or {}),
        "window": {
            "name": balance.window,
            "begins": None
            if balance.begins_at is None
            else moment_text(timestamp(balance.begins_at)),
            "ends": None if balance.ends_at is None else moment_text(timestamp(balance.ends_at)),
        },
        "limits": balance.limits.to_dict(),
        "spent": balance.spent.to_dict(),
        "held": balance.held.to_dict(),
        "used_percent": {
            "usd" if unit == "nanodollars" else unit: balance.used(unit) for unit in UNITS
        },
    }


def notify(
    balance: Balance,
    url: str,
    *,
    event: Event = "budget.warning",
    at: int | None = None,
    scope: Mapping[str, str] | None = None,
    failed: Failed | None = None,
) -> None:
    """Send a webhook a message, in a thread of its own. It never raises and never waits.

    A message that cannot be delivered is sent once more, then logged and given up.

    Args:
        balance: the budget in its window.
        url: where to, by http or https; the message is a POST of JSON.
        event: what has come to pass.
        at: when, in nanoseconds; None for now.
        scope: what the budget is for.
        failed: is told of a message that was not delivered, from that thread.
    """
    now = Clock().now() if at is None else at
    body = json.dumps(message(balance, event=event, at=now, scope=scope)).encode()

    def deliver() -> None:
        try:
            _deliver(url, body)
        except (OSError, ValueError) as error:
            _give_up(balance, url, error, failed)
        finally:
            with _lock:
                _out.discard(threading.current_thread())

    thread = threading.Thread(target=deliver, name="tallystick-webhook", daemon=True)
    with _lock:
        # A fork leaves behind what it does not carry on.
        _out.intersection_update([each for each in _out if each.is_alive()])
        full = len(_out) >= MOST_QUEUED
        if not full:
            _out.add(thread)
            thread.start()
    if full:
        _give_up(balance, url, TimeoutError(f"{MOST_QUEUED} messages are out already"), failed)


_lock = threading.Lock()
_out: set[threading.Thread] = set()


def _deliver(url: str, body: bytes) -> None:
    """Send a message, at most twice.

    Raises:
        OSError: it was not accepted, or nobody is there.
        ValueError: the URL cannot be used.
    """
    # Imported here, because a program without a webhook does without.
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        """Takes a redirect for a refusal: what follows it would be a GET without the message."""

        def redirect_request(self, *_: object) -> None:
            return None

    headers = {"Content-Type": "application/json", "User-Agent": "tallystick"}
    # `Budget` takes no other scheme than http and https.
    request = Request(url, body, headers, method="POST")  # noqa: S310
    opener = build_opener(NoRedirects)

    def post() -> None:
        try:
            opener.open(request, timeout=TIMEOUT_SECONDS).close()
        except HTTPError as error:
            error.close()
            raise
        except HTTPException as error:
            raise ConnectionError(f"the answer is no HTTP: {error}") from error

    try:
        post()
    except OSError:
        time.sleep(PAUSE_SECONDS)
        post()


def _give_up(balance: Balance, url: str, error: Exception, failed: Failed | None) -> None:
    # What comes before and after the host may be a secret.
    host = url.partition("//")[2].partition("/")[0].rpartition("@")[2]
    logger.warning(
        "tallystick: the webhook at %s was not told of budget %r: %s", host, balance.name, error
    )
    if failed is not None:
        failed("telling a webhook", error)


@atexit.register
def _finish() -> None:
    """Wait a moment for messages that are out: a short program may end right after a warning."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    for thread in list(_out):
        thread.join(max(0.0, deadline - time.monotonic()))


def _tightest(balance: Balance) -> Unit | None:
    """Return the unit of which the largest part is spent."""

    def part(unit: Unit) -> float:
        limit: int = getattr(balance.limits, unit)
        spent: int = getattr(balance.spent, unit)
        return spent / limit if limit else float("inf")

    limited = [unit for unit in UNITS if getattr(balance.limits, unit) is not None]
    return max(limited, key=part, default=None)
