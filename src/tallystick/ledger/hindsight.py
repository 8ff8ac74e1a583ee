"""Budgets looked at afterwards: their changes, and how holds compared with what they came to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from tallystick.clock import timestamp
from tallystick.ledger.balance import Amounts


@dataclass(frozen=True, slots=True)
class BudgetChange:
    """That a budget was set, topped up or removed."""

    made_at: int
    """Nanoseconds."""
    change: str
    """``set``, ``top up`` or ``remove``."""
    by: str | None
    """The user of the system who did it; None where that is not known."""
    limits: Amounts | None
    """Those that were set; None of what sets none."""
    added: Amounts | None
    """What was topped up."""
    window: str | None
    """In which window."""
    scope: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def at(self) -> datetime:
        """When, in UTC."""
        return timestamp(self.made_at)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "at": self.at.isoformat(),
            "change": self.change,
            "by": self.by,
            "limits": None if self.limits is None else self.limits.to_dict(),
            "added": None if self.added is None else self.added.to_dict(),
            "window": self.window,
        }


def change_of(made_at: int, change: str, detail: Mapping[str, Any]) -> BudgetChange:
    """Return the change that a row of `budget_changes` holds."""
    limits, added = detail.get("limits"), detail.get("amounts")
    return BudgetChange(
        made_at,
        change,
        detail.get("by"),
        None if limits is None else Amounts(*limits),
        None if added is None else Amounts(*added),
        detail.get("window"),
        MappingProxyType(detail.get("scope", {})),
    )


class OpenHold(NamedTuple):
    """A request that holds on a budget: it is out, or in doubt."""

    entry_id: str
    run_id: str
    status: str
    """``held`` or ``in_doubt``."""
    model: str | None
    started_at: int
    """Nanoseconds."""
    amounts: Amounts

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {
            "entry_id": self.entry_id,
            "run_id": self.run_id,
            "status": self.status,
            "model": self.model,
            "started_at": timestamp(self.started_at).isoformat(),
            "held": self.amounts.to_dict(),
        }


class Comparison(NamedTuple):
    """What was held against what it came to, in one unit, over requests of which both are known."""

    requests: int
    held: int
    actual: int
    median: float | None
    """Of what each held, in multiples of what it came to; None without any."""

    @property
    def mean(self) -> float | None:
        """All that was held, in multiples of all that it came to."""
        return self.held / self.actual if self.actual else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        return {**self._asdict(), "mean": self.mean}


class ModelHolds(NamedTuple):
    """How the holds of requests to a model compared with what they came to."""

    provider: str | None
    model: str | None
    holds: int
    """Requests that held on a budget; each once, on however many."""
    settled: int
    held: int
    """Those that are out."""
    in_doubt: int
    released: int
    limited: int
    """Of all: those to which a budget gave a limit on the answer, or a lower one than asked."""
    overrun: int
    """Of the settled: those that came to more than they held, in money or tokens."""
    nanodollars: Comparison
    tokens: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-safe dict."""
        own = self._asdict()
        return {
            **own,
            "nanodollars": self.nanodollars.to_dict(),
            "tokens": self.tokens.to_dict(),
        }


HOLDS: Final = (
    "SELECT provider, model, entries.status, rest, cost_nanodollars, total_tokens, "
    "max(kept.nanodollars), max(kept.tokens) "
    "FROM entries JOIN holds AS kept ON kept.entry_id = entries.id "
    "WHERE started_at >= ? GROUP BY entries.id"
)
"""What `compared` reads. A request holds the same on each of its budgets, or nothing."""


def compared(rows: Iterable[Sequence[Any]]) -> list[ModelHolds]:
    """Return the holds of each model, the most used first, from the rows of `HOLDS`."""
    groups: dict[tuple[str | None, str | None], list[tuple[Any, ...]]] = defaultdict(list)
    for provider, model, status, rest, *amounts in rows:
        # By what a request was limited is a rarer field, and has no column of its own.
        limited = rest is not None and '"limited_by"' in rest
        groups[provider, model].append((status, limited, *amounts))
    found = [_of_model(key, group) for key, group in groups.items()]
    return sorted(found, key=lambda each: (-each.holds, str(each.provider), str(each.model)))


def _of_model(key: tuple[str | None, str | None], group: Sequence[tuple[Any, ...]]) -> ModelHolds:
    states = [row[0] for row in group]
    settled = [row[2:] for row in group if row[0] == "settled"]
    return ModelHolds(
        *key,
        holds=len(group),
        settled=len(settled),
        held=states.count("held"),
        in_doubt=states.count("in_doubt"),
        released=states.count("released"),
        limited=sum(row[1] for row in group),
        overrun=sum(
            _exceeds(cost, held_cost) or _exceeds(tokens, held_tokens)
            for cost, tokens, held_cost, held_tokens in settled
        ),
        nanodollars=_comparison((held, actual) for actual, _, held, _ in settled),
        tokens=_comparison((held, actual) for _, actual, _, held in settled),
    )


def _exceeds(actual: int | None, held: int | None) -> bool:
    return actual is not None and held is not None and actual > held


def _comparison(pairs: Iterable[tuple[int | None, int | None]]) -> Comparison:
    """Compare pairs of a hold and its actual. What came to nothing has no ratio, and is left out.

    That is a request which the provider refused.
    """
    # Imported here, because only who looks back needs it, and it takes a while.
    from statistics import median

    known = [(held, actual) for held, actual in pairs if held is not None and actual]
    return Comparison(
        len(known),
        sum(held for held, _ in known),
        sum(actual for _, actual in known),
        median(held / actual for held, actual in known) if known else None,
    )
