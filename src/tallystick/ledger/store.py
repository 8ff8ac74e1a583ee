"""What a ledger holds and what a store must do: the interface that every database implements.

A store knows two things: `commit` takes operations and makes them durable in one transaction,
and `query` reads. Each operation stands for itself: one that cannot be done fails alone, and
the others of its transaction are kept. Everything else (queues, threads, futures, the reading
of runs and entries) is built on these two, and is the same for every database.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

from tallystick.attribution import Attribution
from tallystick.errors import LedgerError, LedgerUnavailable
from tallystick.ledger.adjustment import Adjustment
from tallystick.ledger.balance import Amounts, Ask, BudgetRow, Claim, Ended, Granted
from tallystick.usage import RequestUsage

RunOutcome = Literal["completed", "failed", "cancelled", "interrupted"]
"""How a run ended. interrupted: its process died or closed the ledger before the run ended."""

RUN_OUTCOMES: tuple[RunOutcome, ...] = ("completed", "failed", "cancelled", "interrupted")


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the ledger keeps it. Moments are nanoseconds since 1970-01-01 UTC."""

    id: str
    parent_id: str | None
    """The run inside which it was started; None at the top."""
    root_id: str
    """The run at the top of its tree: its own id where `parent_id` is None."""
    name: str
    host: str | None
    """What runs the agent, such as ``openai-agents``."""
    started_at: int
    ended_at: int | None = None
    """When it ended. None while it is open, and where nobody was left to say."""
    outcome: RunOutcome | None = None
    """How it ended; None while it is open."""
    attribution: Attribution = field(default_factory=Attribution)


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What the requests of a run come to. Sums are of what is known, as in `Usage`."""

    requests: int = 0
    """Requests that are settled or in doubt: those that a `Usage` of the run counts."""
    released: int = 0
    """Requests that were never sent; in no other number here."""
    in_doubt: int = 0
    """How many of `requests` never said what they used."""
    estimated: int = 0
    """How many of `requests` have estimated counts."""
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    cost_nanodollars: int = 0
    cost_unpriced: int = 0
    """How many of `requests` have no price."""
    cost_estimated: int = 0
    """How many of `requests` have a price that rests on an estimate."""
    held: int = 0
    """Requests that are out and have not ended; in no other number here."""


TOTAL_COLUMNS = tuple(column.name for column in fields(RunTotals) if column.name != "held")
"""The columns of `run_totals` beside `run_id`, in the order of `RunTotals`. What is held is
counted when it is asked for."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """Write a run. Of a run that is there already nothing changes; its result is False."""

    run: RunRow


@dataclass(frozen=True, slots=True)
class CloseRun:
    """End a run. A run that has ended stays as it is; the result is False."""

    run_id: str
    ended_at: int
    outcome: RunOutcome
    unopened: tuple[RunRow, ...] = ()
    """Runs that may not be written yet, ancestors first; as in `Hold`."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Write an entry as held, before its request leaves."""

    entry: RequestUsage
    started_at: int
    unopened: tuple[RunRow, ...] = ()
    """Runs that may not be written yet, ancestors first: what could not be kept when the disk
    was full is kept with the first request that can be."""
    ask: Ask | None = None
    """What the request can come to at most; None where it falls under no budget."""
    claims: tuple[Claim, ...] = ()
    """The budgets that it falls under, each in its window."""
    version: int | None = None
    """The version of the standing budgets by which `claims` were made; None: it does not matter.
    Where it is not the newest, nothing is held, and the result is `BudgetsChanged`."""


@dataclass(frozen=True, slots=True)
class Finish:
    """End an entry as settled, released or in doubt; or settle or release one in doubt.

    The result is False, and nothing changes, where the entry has ended already. Where its hold
    could not be kept, the entry is written now: what was used is known only here.
    """

    entry: RequestUsage
    raw_usage: Mapping[str, Any] | None
    duration_nanoseconds: int | None
    finished_at: int
    unopened: tuple[RunRow, ...] = ()
    budgeted: bool = False
    """Whether it holds on budgets; then the result is `Ended`."""


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Settle or release an entry that is in doubt, and write how that came: both, or neither.

    The result is False, and nothing changes, where the entry is not in doubt any more.
    """

    entry: RequestUsage
    raw_usage: Mapping[str, Any] | None
    """None keeps what the entry has."""
    made_at: int
    source: str
    detail: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """End what processes that are gone left held, and end the runs they left open.

    An entry that was provably never sent is released, and any other put in doubt.
    """

    process_ids: tuple[str, ...]
    finished_at: int
    sent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Of processes of which that is known: the entries that may have been sent."""


@dataclass(frozen=True, slots=True)
class KeepBook:
    """Keep what prices are made from. Of a book that is kept already nothing changes."""

    hash: str
    content: bytes
    """As it is kept: compressed."""
    kept_at: int


@dataclass(frozen=True, slots=True)
class Adjust:
    """Append adjustments, all or none. The result is how many there were to append.

    One is left out where the entry has the price already, has another status than the
    adjustment is for, or was adjusted in the same batch.
    """

    adjustments: tuple[Adjustment, ...]


@dataclass(frozen=True, slots=True)
class SetBudget:
    """Set a standing budget by its name; one of the same scope and windows keeps its balances."""

    budget: BudgetRow
    by: str | None = None
    """Who sets it, as far as that is known."""


@dataclass(frozen=True, slots=True)
class RemoveBudget:
    """End a standing budget; False where it has ended. What it holds ends as it would."""

    budget_id: str
    made_at: int
    by: str | None = None


@dataclass(frozen=True, slots=True)
class TopUp:
    """Add to the limits of a budget in one window."""

    claim: Claim
    amounts: Amounts
    made_at: int
    by: str | None = None


Operation = (
    OpenRun
    | CloseRun
    | Hold
    | Finish
    | Reconcile
    | Abandon
    | KeepBook
    | Adjust
    | SetBudget
    | RemoveBudget
    | TopUp
)

Result = int | Granted | Ended | LedgerError
"""Whether, or how much, the operation changed, or what it was granted; or why it could not be
done."""

Query = Callable[..., list[tuple[Any, ...]]]
"""``query(sql, parameters=())`` returns all rows. Parameters are marked ``?``."""


class Busy(LedgerUnavailable):
    """Somebody else is writing, and the caller did not want to wait. Nothing was written."""


class Store(Protocol):
    """A database that keeps a ledger. Its methods may be called from any thread.

    Only one thread at a time calls `commit`; the writer sees to that.
    """

    @property
    def url(self) -> str:
        """Where the ledger is, in a form that `open_ledger` takes."""

    @property
    def process_id(self) -> str:
        """The name under which this process writes; it changes after a fork."""

    @property
    def untidy(self) -> int:
        """How many operations were committed since `tidy` began last."""

    @property
    def swift(self) -> bool:
        """Whether a commit waits for no disk and no network, and so takes some microseconds."""

    def commit(
        self, operations: Sequence[Operation], *, again: bool = False, patient: bool = True
    ) -> list[Result]:
        """Do operations in order and in one transaction; return when it is durable.

        Args:
            operations: what to write.
            again: these may have been committed already, by a call that was interrupted; what
                is found done counts as done by this call.
            patient: wait for others who write.

        Raises:
            Busy: others write, and the call is not patient. Nothing was written.
            LedgerUnavailable: nothing was written.
        """

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one statement that reads.

        Raises:
            LedgerUnavailable: the ledger cannot be read.
        """

    def snapshot(self) -> AbstractContextManager[Query]:
        """Return a context in which all queries see one state of the ledger."""

    def integrity(self) -> list[str]:
        """Return what the database itself finds wrong with its storage, its schema or keys."""

    def mark_sent(self, entry_id: str) -> None:
        """Note that an entry is about to be sent, so that a kill cannot make it unknown.

        It takes a microsecond or so, and never fails.
        """

    def forget_sent(self, entry_id: str) -> None:
        """Note that it is committed how an entry ended."""

    def sent_by(self, process_id: str) -> frozenset[str] | None:
        """Return what a process that is gone may have sent and not ended; None: not known."""

    def gone_processes(self) -> list[str]:
        """Return the processes that did not close the ledger and no longer run."""

    def sweep(self, process_ids: Sequence[str]) -> None:
        """Remove what shows whether these processes run: they do not, and that is written."""

    def tidy(self) -> None:
        """Do the housekeeping that may wait, without keeping `commit` from working."""

    def before_fork(self) -> None:
        """Let go of what must not be shared with a child. The next use takes it up again."""

    def after_fork_in_parent(self) -> None:
        """Go on as before."""

    def after_fork_in_child(self) -> None:
        """Become a store of the child's own."""

    def close(self) -> None:
        """Let go of everything, for good."""
