"""`Ledger`: what the rest of Tallystick writes to and reads from."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Self

from tallystick.clock import Clock
from tallystick.errors import LedgerError, LedgerUnavailable
from tallystick.ledger.adjustment import Adjustment, packed
from tallystick.ledger.balance import Amounts, Ask, BudgetRow, Claim
from tallystick.ledger.location import locate
from tallystick.ledger.reading import Reading
from tallystick.ledger.sqlite import Durability
from tallystick.ledger.sqlite_store import SqliteStore
from tallystick.ledger.store import (
    Abandon,
    Adjust,
    CloseRun,
    Finish,
    Hold,
    KeepBook,
    OpenRun,
    Reconcile,
    RemoveBudget,
    RunOutcome,
    RunRow,
    SetBudget,
    Store,
    TopUp,
)
from tallystick.ledger.writer import Writer
from tallystick.usage import RequestUsage

_logger = logging.getLogger("tallystick")

_FORK_PATIENCE_SECONDS = 10.0

_ENDED = frozenset({"settled", "released", "in_doubt"})


def open_ledger(
    url: str | os.PathLike[str] | None = None,
    *,
    durability: Durability = "normal",
    clock: Clock | None = None,
    read_only: bool = False,
) -> Ledger:
    """Open a ledger, and make it where there is none.

    Entries that processes left behind that have ended since are put in doubt.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, a plain path, ``:memory:``,
            or None for ``$TALLYSTICK_URL`` and else a file in the user's data directory.
        durability: what a committed row survives: ``normal`` a killed process, ``full`` also
            a power cut.
        clock: where time and ids come from.
        read_only: refuse to write, also to make or to migrate the ledger.

    Raises:
        ConfigError: the URL is of a kind that no ledger has.
        LedgerUnavailable: it cannot be opened; the message says what to do.
        LedgerTooNew: a newer version of Tallystick wrote it.
        NotALedger: the file is something else; it was left as it is.
    """
    clock = clock or Clock()
    store = SqliteStore(locate(url), durability=durability, clock=clock, read_only=read_only)
    ledger = Ledger(store, clock=clock)
    if not read_only:
        try:
            ledger.recover()
        except LedgerError as error:
            _logger.warning("tallystick: what other processes left is not yet in doubt: %s", error)
    return ledger


class Ledger(Reading):
    """The runs and requests of all time, in one database.

    Each method that writes returns a future that is done when the row is committed. It has
    failed with `LedgerUnavailable` where the ledger could not be written, and with another
    `LedgerError` where that row was refused. A caller that runs no event loop finds it done,
    unless other threads are writing. All methods may be called from any thread.
    """

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._writer = Writer(store)
        self._closed = False
        self._after_fork_in_child()
        self._unopened: dict[str, RunRow] = {}
        _open_ledgers.add(self)

    def _after_fork_in_child(self) -> None:
        """Be a ledger to which this process has written nothing."""
        self._closing = threading.Lock()
        self._wrote = False
        self._keeping: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Writing

    def open_run(self, run: RunRow) -> Future[bool]:
        """Write a run that begins. A parent has to be opened before its children.

        Where this fails because the ledger is unavailable, the run is written together with
        the first of its requests that can be.
        """
        self._begin_to_write()
        self._unopened[run.id] = run
        future: Future[bool] = self._writer.submit(OpenRun(run), soon=False)
        future.add_done_callback(lambda done: self._opened(run.id, done))
        return future

    def _begin_to_write(self) -> None:
        if self._wrote:
            return
        self._wrote = True
        processes = sys.modules.get("multiprocessing.process")
        if processes is not None and processes.parent_process() is not None:
            # Such a process may end without running what is registered with atexit.
            from multiprocessing.util import Finalize

            Finalize(None, _close_if_open, args=(weakref.ref(self),), exitpriority=0)

    def _opened(self, run_id: str, done: Future[bool]) -> None:
        # One that was refused may have a parent that is not written yet, and goes with that.
        if done.exception() is None:
            self._unopened.pop(run_id, None)

    def _missing(self, run_id: str | None) -> tuple[RunRow, ...]:
        """Return the runs from the top down to this one that may not be written yet."""
        missing: list[RunRow] = []
        while run_id is not None and (run := self._unopened.get(run_id)) is not None:
            missing.insert(0, run)
            run_id = run.parent_id
        return tuple(missing)

    def close_run(self, run_id: str, ended_at: int, outcome: RunOutcome) -> Future[bool]:
        """Write how and when (nanoseconds) a run ended; False where it had ended already."""
        self._begin_to_write()
        missing = self._missing(run_id)
        future: Future[bool] = self._writer.submit(CloseRun(run_id, ended_at, outcome, missing))
        if missing:
            future.add_done_callback(lambda _: self._unopened.pop(run_id, None))
        return future

    def hold(
        self,
        entry: RequestUsage,
        *,
        started_ns: int,
        ask: Ask | None = None,
        claims: tuple[Claim, ...] = (),
        version: int | None = None,
    ) -> Future[Any]:
        """Write an entry as held, before its request leaves, and hold on all of its budgets.

        Args:
            entry: it needs an `id` and a `run_id`.
            started_ns: when it is sent, in nanoseconds since 1970-01-01 UTC.
            ask: what it can come to at most; None where it falls under no budget.
            claims: the budgets that it falls under.
            version: the version of the standing budgets by which that was found.

        Returns:
            A future of what is granted where there is an `ask`, and else of True. It fails with
            `HoldRefused` where a budget has no room, and with `BudgetsChanged` where the version
            is not the newest; then nothing is held.
        """
        if entry.id is None or entry.run_id is None:
            return _failed(LedgerError("an entry needs an id and a run to be held"))
        self._begin_to_write()
        missing = self._missing(entry.run_id)
        return self._writer.submit(Hold(entry, started_ns, missing, ask, claims, version))

    def mark_sent(self, entry_id: str) -> None:
        """Note that a held entry is about to be sent.

        If the process is killed, an entry without this note is released by the next that opens
        the ledger, and one with it is put in doubt.
        """
        self._store.mark_sent(entry_id)

    def finish(
        self,
        entry: RequestUsage,
        *,
        raw_usage: Mapping[str, Any] | None = None,
        duration_ns: int | None = None,
        budgeted: bool = False,
    ) -> Future[Any]:
        """Write how a request ended: all of the entry, by its `status`.

        The future's result is False where the entry had ended already; then nothing changed.
        An entry in doubt may still be settled or released. An entry whose hold could not be
        kept is written now.

        Args:
            entry: its status is settled, released or in_doubt.
            raw_usage: the provider's usage block. Long text in it is left out.
            duration_ns: nanoseconds from sending to the last byte.
            budgeted: whether it holds on budgets. Then the future's result is an `Ended`, which
                names those that are to be warned of.
        """
        if entry.id is None or entry.run_id is None or entry.status not in _ENDED:
            return _failed(
                LedgerError(f"an entry of id {entry.id!r} cannot end as {entry.status!r}")
            )
        if duration_ns is not None and duration_ns < 0:
            duration_ns = None
        self._begin_to_write()
        missing = self._missing(entry.run_id)
        operation = Finish(entry, raw_usage, duration_ns, self._clock.now(), missing, budgeted)
        future: Future[Any] = self._writer.submit(operation, soon=False)
        identity = entry.id
        future.add_done_callback(lambda done: self._ended(identity, done))
        return future

    def reconcile(
        self,
        entry: RequestUsage,
        *,
        source: str,
        detail: str,
        raw_usage: Mapping[str, Any] | None = None,
    ) -> Future[bool]:
        """Settle or release an entry that is in doubt, and write how that came, in one step.

        What it holds on budgets becomes spent, or free. The future's result is False where the
        entry is not in doubt any more; then nothing changed.

        Args:
            entry: all of it, with the status settled or released.
            source: who or what says so, such as ``by hand`` or the name of an export.
            detail: what they went by, in words.
            raw_usage: what the provider said of this request; None keeps what the entry has.
        """
        if entry.id is None or entry.status not in {"settled", "released"}:
            return _failed(
                LedgerError(f"an entry of id {entry.id!r} is not reconciled as {entry.status!r}")
            )
        self._begin_to_write()
        operation = Reconcile(entry, raw_usage, self._clock.now(), source, detail)
        return self._writer.submit(operation)

    def _ended(self, entry_id: str, done: Future[Any]) -> None:
        if done.exception() is None:
            self._store.forget_sent(entry_id)

    def keep_book(self, name: str, content: Callable[[], bytes]) -> Future[bool]:
        """Keep what prices are made from, so that whoever reads an entry finds its book.

        Reading and compressing a book takes some 30 ms, so a thread of its own does it, and only
        where the ledger does not hold the book yet. `flush` and `close` wait for it.

        Args:
            name: the book's hash, or the name of a configuration file with its hash.
            content: gives the content.
        """
        future: Future[bool] = Future()
        future.set_running_or_notify_cancel()

        def keep() -> None:
            try:
                found = self.query("SELECT 1 FROM books WHERE hash = ?", name)
                if found:
                    future.set_result(False)
                    return
                self._begin_to_write()
                operation = KeepBook(name, packed(content()), self._clock.now())
                future.set_result(self._writer.submit(operation).result())
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the future's
                future.set_exception(error)

        thread = threading.Thread(target=keep, name="tallystick-ledger-books")
        with self._closing:
            closed = self._closed
            if not closed:
                thread.start()
                self._keeping.append(thread)
        return _failed(LedgerUnavailable(f"{self.url} is closed")) if closed else future

    def adjust(self, adjustments: Sequence[Adjustment]) -> Future[int]:
        """Append prices made later, in one transaction; return how many there were to append.

        Left out is what changes nothing: where the entry has that price already, has by now
        another status than the adjustment is for, or was adjusted in the same batch. So doing it
        again appends nothing. The entries stay as they are.
        """
        self._begin_to_write()
        return self._writer.submit(Adjust(tuple(adjustments)))

    def set_budget(self, budget: BudgetRow, *, by: str | None = None) -> Future[bool]:
        """Set a standing budget by its name, and note `by` whom; see `SetBudget`."""
        self._begin_to_write()
        return self._writer.submit(SetBudget(budget, by))

    def remove_budget(self, budget_id: str, *, by: str | None = None) -> Future[bool]:
        """End a standing budget; False where it has ended already."""
        self._begin_to_write()
        return self._writer.submit(RemoveBudget(budget_id, self._clock.now(), by))

    def top_up(self, claim: Claim, amounts: Amounts, *, by: str | None = None) -> Future[bool]:
        """Add to the limits of a budget in one window."""
        self._begin_to_write()
        return self._writer.submit(TopUp(claim, amounts, self._clock.now(), by))

    def recover(self) -> int:
        """End what ended processes left held, and the runs that they left open.

        What may have been sent may be billed, so it is put in doubt; what provably never was is
        released. Rows of processes that still run are not touched. `open_ledger` does this by
        itself.

        Returns:
            How many processes had ended without closing the ledger.
        """
        gone = tuple(self._store.gone_processes())
        if gone:
            marks = {process_id: self._store.sent_by(process_id) for process_id in gone}
            sent = {
                process_id: marked for process_id, marked in marks.items() if marked is not None
            }
            self._writer.submit(Abandon(gone, self._clock.now(), sent)).result()
            self._store.sweep(gone)
        return len(gone)

    def flush(self, timeout: float | None = None) -> None:
        """Return when all that was asked before is committed, or has failed.

        Raises:
            LedgerUnavailable: that took longer than `timeout` seconds.
        """
        self._keep_books(timeout)
        self._writer.flush(timeout)

    def _keep_books(self, timeout: float | None = None) -> None:
        """Wait until no book is being kept any more."""
        for thread in self._keeping:
            thread.join(timeout)
        self._keeping = [thread for thread in self._keeping if thread.is_alive()]

    def close(self) -> None:
        """Write what is asked, and let go of the ledger. Closing it again does nothing.

        What this process still holds is put in doubt: nobody will finish it any more. Python
        calls this when it exits.
        """
        with self._closing:
            if self._closed:
                return
            self._closed = True
            self._keep_books()
            _open_ledgers.discard(self)
            if self._wrote:
                self._writer.submit(Abandon((self._store.process_id,), self._clock.now()))
            self._writer.close()
            self._store.close()


def _failed(error: LedgerError) -> Future[bool]:
    future: Future[bool] = Future()
    future.set_exception(error)
    return future


# A ledger that nobody closes is closed when Python exits, and none is carried across a fork.
# Until then it is kept, also where nobody else refers to it: it may have something to write.

_open_ledgers: set[Ledger] = set()
_forking: list[tuple[Ledger, bool]] = []
_unusable: list[Ledger] = []


def _close_if_open(reference: weakref.ref[Ledger]) -> None:
    ledger = reference()
    if ledger is not None:
        ledger.close()


@atexit.register
def _close_all() -> None:
    for ledger in list(_open_ledgers):
        ledger.close()


def _before_fork() -> None:
    for ledger in list(_open_ledgers):
        quiet = ledger._writer.before_fork(_FORK_PATIENCE_SECONDS)
        if quiet:
            ledger._store.before_fork()
        _forking.append((ledger, quiet))


def _after_fork_in_parent() -> None:
    for ledger, quiet in _forking:
        if quiet:
            ledger._store.after_fork_in_parent()
        ledger._writer.after_fork_in_parent()
    _forking.clear()


def _after_fork_in_child() -> None:
    for ledger, quiet in _forking:
        ledger._writer.after_fork_in_child()
        ledger._after_fork_in_child()
        if quiet:
            ledger._store.after_fork_in_child()
        else:
            # The parent was in the midst of a transaction that would not end. What the child
            # inherited of it can be neither used nor closed, so it is kept as it is.
            ledger._writer.refuse()
            ledger._closed = True
            _unusable.append(ledger)
            _logger.warning("tallystick: %s was busy during a fork; not used here", ledger.url)
    _forking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
