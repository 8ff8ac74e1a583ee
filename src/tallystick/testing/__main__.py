"""``python -m tallystick.testing``: serve until interrupted.

Prints the base URL as its first line, so that a script can read it.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from tallystick.testing.provider import Provider
from tallystick.testing.reply import Slow

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM. Return 0, or 1 if it cannot serve."""
    parser = argparse.ArgumentParser(
        prog="python -m tallystick.testing",
        description="An OpenAI-compatible model provider on loopback, to test against. "
        "Prints its base URL and serves until interrupted.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--ledger", metavar="FILE", help="append what is served, as JSON lines")
    parser.add_argument(
        "--model",
        metavar="NAME=SERVED",
        action="append",
        default=[],
        help="serve a model under another name, for example gpt-5=gpt-5-2025-08-07",
    )
    parser.add_argument("--before", type=float, default=0.0, help="seconds before the first byte")
    parser.add_argument("--between", type=float, default=0.0, help="seconds between two events")
    options = parser.parse_args(arguments)
    pairs = [pair.partition("=") for pair in options.model]
    if not all(name and equals and served for name, equals, served in pairs):
        parser.error("--model takes NAME=SERVED")
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    try:
        provider = Provider(
            port=options.port,
            ledger_path=options.ledger,
            models={name: served for name, _, served in pairs},
            slow=Slow(options.before, options.between),
        ).start()
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot serve: {error}\n")
        return 1
    try:
        sys.stdout.write(provider.base_url + "\n")
        sys.stdout.flush()
        interrupted.wait()
    finally:
        provider.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
