"""A process that forks children which ask a provider, and kills them at any moment.

    python killed.py BASE_URL LEDGER CONFIG KILLS SEED NOTES

Half of the children are killed from outside at a random moment; the other half kill themselves at
a chosen step of the protocol, and write to NOTES at which, and of which entry.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from typing import Any

import httpx2

import tallystick
from tallystick.clock import Clock
from tallystick.integrations.http import instrument
from tallystick.ledger.sqlite_store import SqliteStore
from tallystick.pricing import Prices
from tallystick.request import Request

POINTS = ("held", "marked", "sending", "streaming", "answered", "settled")
TOGETHER = 3
"""How many children live at a time."""


def die_at(point: str, number: int, notes: str) -> None:
    """Have this process kill itself when it comes to a step for the n-th time."""
    left = number

    def reached(here: str, entry_id: str) -> None:
        nonlocal left
        if here != point:
            return
        left -= 1
        if left == 0:
            file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, f"{point} {entry_id}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    mark, forget = SqliteStore.mark_sent, SqliteStore.forget_sent
    settle, send = Request.settle, httpx2.AsyncClient.send

    def marking(self: SqliteStore, entry_id: str) -> None:
        reached("held", entry_id)
        mark(self, entry_id)
        reached("marked", entry_id)

    def forgetting(self: SqliteStore, entry_id: str) -> None:
        reached("settled", entry_id)
        forget(self, entry_id)

    def settling(self: Request, response: Any = None) -> Any:
        reached("answered", self.id)
        return settle(self, response)

    async def sending(self: Any, *arguments: Any, **options: Any) -> Any:
        waiting = asyncio.ensure_future(send(self, *arguments, **options))
        await asyncio.sleep(0.001)
        reached("sending", "-")
        return await waiting

    SqliteStore.mark_sent = marking  # type: ignore[method-assign]
    SqliteStore.forget_sent = forgetting  # type: ignore[method-assign]
    Request.settle = settling  # type: ignore[method-assign]
    httpx2.AsyncClient.send = sending  # type: ignore[method-assign]
    globals()["streaming"] = lambda: reached("streaming", "-")


def streaming() -> None:
    """Do nothing; `die_at` puts something else here."""


async def ask(tally: Any, client: httpx2.AsyncClient, name: str) -> None:
    """Ask for ever, in turn streamed and not, with a number of its own in header and ledger."""
    for number in range(10_000):
        case = f"{name}-{number}"
        path, body = (
            ("/responses", {"input": "Say some words.", "max_output_tokens": 40})
            if number % 3
            else ("/chat/completions", {"messages": [{"role": "user", "content": "Words."}]})
        )
        body |= {"model": "own-model", "stream": number % 2 == 0}
        if number % 4 == 0:
            body |= {"stream_options": {"include_usage": True}} if "messages" in body else {}
        async with (
            tally.run("case", case=case),
            client.stream("POST", path, json=body, headers={"x-tallystick-case": case}) as got,
        ):
            async for _ in got.aiter_bytes():
                streaming()


async def child(base_url: str, ledger: str, config: str, name: str) -> None:
    """Be a process of four tasks."""
    with tallystick.open(ledger, config=config) as tally:
        async with httpx2.AsyncClient(base_url=base_url, timeout=60) as client:
            instrument(client, None)
            await asyncio.gather(*(ask(tally, client, f"{name}-{task}") for task in range(4)))


def fork(chance: random.Random, number: int, arguments: list[str]) -> tuple[int, float]:
    """Start a child; return its id, and when to kill it."""
    point = chance.choice(POINTS) if chance.random() < 0.5 else None
    moment, at = chance.uniform(0.002, 0.25), chance.randint(1, 8)
    pid = os.fork()
    if pid == 0:
        base_url, ledger, config, notes = arguments
        if point is not None:
            die_at(point, at, notes)
        asyncio.run(child(base_url, ledger, config, f"c{number}"))
        os._exit(3)
    return pid, time.monotonic() + (1.0 if point is not None else moment)


def main(base_url: str, ledger: str, config: str, kills: int, seed: int, notes: str) -> None:
    """Fork and kill so often."""
    chance = random.Random(seed)
    # What every child would read anew is read once.
    Prices.load(config).warm()
    Clock().id("req")
    children: dict[int, float] = {}
    forked = 0
    while forked < kills or children:
        while forked < kills and len(children) < TOGETHER:
            pid, end = fork(chance, forked, [base_url, ledger, config, notes])
            children[pid] = end
            forked += 1
        for pid, end in list(children.items()):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
                    sys.exit(f"a child ended by itself: {status}")
                del children[pid]
        time.sleep(0.001)
    print("killed", forked)


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
