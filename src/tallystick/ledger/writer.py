"""Group commit: what concurrent callers ask for is written in one transaction.

Every operation goes into one queue, and whoever holds the commit lock writes all that is
queued, in order. A caller takes the lock itself where it is free, so that a lone caller pays
for no change of threads, and otherwise wakes the writer's thread and waits its turn. The thread
is started when it is first needed.

A caller on an event loop does so only while commits are known to be quick: they wait for no
disk, nobody else writes, few operations are queued, and none took long of late. A change of
threads costs more than such a commit, in time and in work. Otherwise it leaves the commit to
the thread, so that a slow disk or a busy file holds up no loop.

What nobody waits for may linger: it is written with the next operation that somebody waits for,
or by the thread, which looks every few hundredths of a second for as long as things happen.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from itertools import islice
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

from tallystick.errors import LedgerError, LedgerUnavailable
from tallystick.ledger.store import Busy, Operation, Result, Store

_logger = logging.getLogger("tallystick")

CAPACITY = 65_536
"""How many operations may wait. More than that are never in flight in a sane process."""

LARGEST_BATCH = 512
"""How many operations one transaction takes, so that other processes get their turn."""

IDLE_SECONDS = 0.02
"""How often the thread looks while things happen, and how long nothing must have happened before
the housekeeping is done."""

QUIET_SECONDS = 1.0
"""How long nothing must have happened before the thread looks no more and sleeps."""

TIDY_AFTER = 1_000
"""How many operations make it worth to tidy when nothing else happens."""

TIDY_AT_LATEST = 2_000
"""How many operations may come before it is tidied although something else happens."""

TIDY_PASSES = 2
"""How often it is done beside the writing first; each time less is left to do."""

LONGEST_LENT_SECONDS = 0.002
"""How long a commit on an event loop may take before loops are spared for a while."""

SPARED_SECONDS = 0.25
"""How long that is."""

LARGEST_LENT = 16
"""How many queued operations a commit on an event loop takes at most."""

_WORK = "work"
_END = "end"


class _Item:
    """An operation that waits, or the mark of a flush where there is none."""

    __slots__ = ("again", "done", "future", "operation")

    def __init__(self, operation: Operation | None) -> None:
        self.operation = operation
        self.future: Future[Any] = Future()
        # A future that runs cannot be cancelled: a task that is cancelled while it waits does
        # not take the row with it.
        self.future.set_running_or_notify_cancel()
        self.done = False
        """Whether its future has been given its result."""
        self.again = False
        """Whether it may have been committed already, by a call that was interrupted."""

    def end(self, answer: Result | None) -> None:
        """Give the future its result, or the reason why there is none."""
        # An interrupt may have come between the two, so the future decides.
        if not self.future.done():
            if isinstance(answer, LedgerError):
                self.future.set_exception(answer)
            else:
                self.future.set_result(answer)
        self.done = True


class Writer:
    """The queue in front of a store, and the thread that empties it."""

    def __init__(self, store: Store, *, capacity: int = CAPACITY) -> None:
        self._store = store
        self._capacity = capacity
        self._closed = False
        self._queue: deque[_Item] = deque()
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Have nothing queued, no lock held and no thread: at the start, and in a child."""
        self._queue.clear()
        self._forking = False
        self._gate = threading.Lock()
        self._committing = threading.Lock()
        self._space = threading.Condition(self._gate)
        self._waiting = 0
        self._spared_until = 0.0
        self._asked = 0
        self._signals: SimpleQueue[str] = SimpleQueue()
        self._signalled = False
        self._watching = False
        self._thread: threading.Thread | None = None
        self._tidying: threading.Thread | None = None

    def submit(self, operation: Operation, *, soon: bool = True) -> Future[Any]:
        """Queue an operation; the future has its result when it is committed.

        The operation is committed before this returns where nobody else is committing, on an
        event loop only while that is quick. Where the queue is full, a caller off a loop waits
        for room, and one on a loop gets a future that has failed: a loop is never blocked.

        Args:
            operation: what to write.
            soon: if not, it may linger on an event loop, for twice `IDLE_SECONDS` at most.
        """
        item = _Item(operation)
        may_block = not _on_event_loop()
        lingers = False
        with self._gate:
            if len(self._queue) >= self._capacity and may_block:
                self._waiting += 1
                self._space.wait_for(lambda: self._closed or len(self._queue) < self._capacity)
                self._waiting -= 1
            if self._closed:
                refusal = "is closed"
            elif len(self._queue) >= self._capacity:
                refusal = f"is behind: {self._capacity:,} operations wait to be written"
            else:
                refusal = ""
                self._queue.append(item)
                self._asked += 1
                lingers = not (soon or may_block) and self._watching and self._is_quick()
        if lingers:
            return item.future
        if refusal:
            item.future.set_exception(LedgerUnavailable(f"{self._store.url} {refusal}"))
        elif (may_block or self._is_quick()) and self._committing.acquire(blocking=False):
            began = monotonic()
            try:
                self._commit_queued(until=item, patient=may_block)
            finally:
                self._committing.release()
                if not may_block and monotonic() - began > LONGEST_LENT_SECONDS:
                    self._spared_until = monotonic() + SPARED_SECONDS
                lingering = not (soon or may_block)
                if self._queue or (not self._watching and (lingering or self._due(TIDY_AFTER))):
                    self._wake()
        else:
            self._wake()
        return item.future

    def _is_quick(self) -> bool:
        """Whether an event loop may be lent for a commit."""
        return (
            self._store.swift
            and len(self._queue) <= LARGEST_LENT
            and monotonic() >= self._spared_until
        )

    def flush(self, timeout: float | None = None) -> None:
        """Return when all that was queued before is committed, or has failed.

        Raises:
            LedgerUnavailable: that took longer than `timeout` seconds.
        """
        item = _Item(None)
        with self._gate:
            if self._closed:
                return
            self._queue.append(item)
        self._wake()
        try:
            item.future.result(timeout)
        except FutureTimeoutError as error:
            raise LedgerUnavailable(
                f"{self._store.url}: {len(self._queue)} operations still wait to be written "
                f"after {timeout} seconds"
            ) from error

    def refuse(self) -> None:
        """Take no more operations."""
        with self._gate:
            self._closed = True
            self._space.notify_all()

    def close(self) -> None:
        """Write what is queued, refuse what comes later, and end the thread."""
        self.refuse()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._signals.put(_END)
            thread.join()
        with self._committing:
            self._commit_queued(closing=True)
        tidying = self._tidying
        if tidying is not None and tidying is not threading.current_thread():
            tidying.join()

    def _wake(self) -> None:
        if self._signalled:
            return
        self._signalled = True
        with self._gate:
            if self._thread is None:
                thread = threading.Thread(
                    target=self._run, name="tallystick-ledger-writer", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    # The interpreter is ending and starts no threads; closing writes the rest.
                    self._signalled = False
                    return
                self._thread = thread
        self._signals.put(_WORK)

    def _run(self) -> None:
        seen = asked = quiet = 0
        oldest: _Item | None = None
        while True:
            quiet = quiet + 1 if self._asked == asked else 0
            asked = self._asked
            with self._gate:
                # Decided under the gate, so that nothing lingers with nobody to look after it.
                self._watching = (
                    bool(self._queue)
                    or quiet * IDLE_SECONDS < QUIET_SECONDS
                    or self._due(TIDY_AFTER)
                )
            try:
                signal = self._signals.get(timeout=IDLE_SECONDS if self._watching else None)
            except Empty:
                # Callers that commit by themselves send no signal, so quiet is when nothing
                # was committed either.
                if self._due(TIDY_AFTER) and self._store.untidy == seen:
                    self._tidy(pressing=False)
                seen = self._store.untidy
                # What has come since the last look may go with what somebody waits for.
                before, oldest = oldest, self._oldest()
                lingered = oldest is not None and oldest is before
            else:
                if signal is _END:
                    return
                self._signalled = False
                lingered = True
            if self._queue and lingered:
                with self._committing:
                    self._commit_queued()
            if self._due(TIDY_AT_LATEST):
                self._tidy(pressing=True)

    def _oldest(self) -> _Item | None:
        with self._gate:
            return self._queue[0] if self._queue else None

    def _commit_queued(
        self, *, until: _Item | None = None, closing: bool = False, patient: bool = True
    ) -> None:
        """Commit what is queued, batch by batch. The caller holds the commit lock.

        An item leaves the queue only after its future is done. So an interrupt in the caller's
        own thread loses nothing: what it cut short is found here again.

        Args:
            until: stop when this item is done, because a caller should not go on writing for
                as long as others have something to write.
            closing: give up on all that is left where one batch cannot be written.
            patient: wait for other processes. If not, all stays queued when one writes.
        """
        failed: LedgerError | None = None
        while self._queue:
            with self._gate:
                batch = list(islice(self._queue, LARGEST_BATCH))
            waiting = [item for item in batch if not item.done]
            try:
                if closing and failed is not None:
                    _fail(waiting, failed)
                else:
                    failed = self._commit(waiting, patient=patient)
            except Busy:
                self._spared_until = monotonic() + SPARED_SECONDS
                return
            except BaseException:
                # Whether it came before or after the commit is not known here, so these are
                # done again, knowingly.
                for item in waiting:
                    item.again = True
                raise
            with self._gate:
                for _ in batch:
                    self._queue.popleft()
                if self._waiting:
                    self._space.notify_all()
            if until is not None and until.done:
                return

    def _commit(self, items: list[_Item], *, patient: bool) -> LedgerError | None:
        """Commit one batch and settle its futures; return what kept all of it from the store."""
        operations = [item.operation for item in items if item.operation is not None]
        results: Sequence[Result] = ()
        try:
            if operations:
                again = any(item.again for item in items)
                results = self._store.commit(operations, again=again, patient=patient)
        except Busy:
            raise
        except LedgerError as error:
            _fail(items, error)
            return error
        except Exception as error:
            # A fault of ours. Whatever it is, callers must not wait for ever.
            _logger.exception("tallystick: the ledger's writer failed")
            failed = LedgerError(f"{self._store.url}: the writer failed: {error!r}")
            failed.__cause__ = error
            _fail(items, failed)
            return failed
        answers = iter(results)
        for item in items:
            answer = None if item.operation is None else next(answers)
            item.end(answer)
        return None

    def _due(self, operations: int) -> bool:
        return self._store.untidy >= operations

    def _tidy(self, *, pressing: bool) -> None:
        """Start the housekeeping in a thread of its own, so that no write waits for it."""
        if self._tidying is not None and self._tidying.is_alive():
            return
        thread = threading.Thread(
            target=self._tidy_all if pressing else self._store.tidy,
            name="tallystick-ledger-tidy",
            daemon=True,
        )
        with contextlib.suppress(RuntimeError):
            # The interpreter is ending and starts no threads; closing tidies as well.
            thread.start()
            self._tidying = thread

    def _tidy_all(self) -> None:
        """Tidy in the midst of writing: most of it meanwhile, and the rest with nobody writing.

        Without that rest the log of a ledger that is never idle would grow for ever.
        """
        for _ in range(TIDY_PASSES):
            self._store.tidy()
        with self._committing:
            self._store.tidy()

    def before_fork(self, patience_seconds: float) -> bool:
        """Write what is queued, and keep everything still until after the fork.

        The child must not find a transaction half done. Returns whether that was possible in
        time.
        """
        self._forking = self._committing.acquire(timeout=patience_seconds)
        if self._forking:
            self._commit_queued()
        tidying = self._tidying
        if tidying is None:
            return self._forking
        tidying.join(patience_seconds)
        return self._forking and not tidying.is_alive()

    def after_fork_in_parent(self) -> None:
        """Go on as before."""
        if self._forking:
            self._forking = False
            self._committing.release()


def _fail(items: list[_Item], error: LedgerError) -> None:
    for item in items:
        item.end(None if item.operation is None else error)


def _on_event_loop() -> bool:
    """Whether the caller's thread runs an event loop. asyncio is looked at, never imported."""
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None
