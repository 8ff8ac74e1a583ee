"""What an export leaves over for the requests in doubt.

An export is of buckets: what a provider billed for all requests of a model in a span of time.
What it billed there, less what the ledger has settled there, is what the requests in doubt used.
That holds only where the ledger sees all of the traffic that the export is of, which the caller
has to say, and where nothing else is open in the span. Wherever a figure contradicts it, nothing
in that span is settled, and each entry says why.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tallystick.clock import timestamp
from tallystick.ledger import Amounts
from tallystick.pricing import Prices
from tallystick.report.exports import (
    PARTS,
    UNSHARED,
    BilledBucket,
)
from tallystick.report.period import sent_at
from tallystick.report.reconciliation import (
    Left,
    Plan,
    Settlement,
    by_counts,
    not_billed,
)
from tallystick.report.sharing import share_out
from tallystick.usage import RequestUsage

LONGEST = 600 * 1_000_000_000
"""How long a request may take of which nobody saw the end: the ten minutes after which the
clients of OpenAI and Anthropic give up by default. In nanoseconds."""

LAG = 3_600 * 1_000_000_000
"""How long after its end a bucket may still grow, because usage is reported late. In nanoseconds;
a cautious guess."""

_VERSION = re.compile(r"-(\d{8}|\d{4}-\d{2}-\d{2}|latest)$")


@dataclass(frozen=True, slots=True)
class Scope:
    """What the caller says of an export."""

    exclusive: bool
    """The ledger sees every request that the export, or the owner's part of it, is of."""
    taken_at: int
    """When the export was made at the latest, in nanoseconds."""
    owner: str | None = None
    """Use only what is of this project, workspace or API key."""


@dataclass(slots=True)
class _Span:
    """One bucket, or several that requests reach across, of one model."""

    begins_at: int
    ends_at: int
    torn: bool = False
    """Whether a request reaches across its edge to where nothing is known."""
    buckets: list[BilledBucket] = field(default_factory=list)
    entries: list[RequestUsage] = field(default_factory=list)
    doubtful: list[RequestUsage] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{moment_text(self.begins_at)} to {moment_text(self.ends_at)} UTC"


class Account:
    """What one provider billed, and the requests that were sent to it."""

    def __init__(
        self,
        windows: Sequence[tuple[int, int]],
        buckets: Sequence[BilledBucket],
        entries: Sequence[RequestUsage],
        held: Mapping[str, Amounts],
        prices: Prices,
        scope: Scope,
    ) -> None:
        self._windows = windows
        self._begins = [begin for begin, _ in windows]
        self._ends = [end for _, end in windows]
        self._buckets = buckets
        self._within: dict[tuple[str | None, int], list[BilledBucket]] = defaultdict(list)
        for bucket in buckets:
            self._within[bucket.model, bucket.begins_at].append(bucket)
        self._held = held
        self._prices = prices
        self._scope = scope
        self._models = {bucket.model for bucket in buckets if bucket.model is not None}
        self._entries: dict[str, list[RequestUsage]] = defaultdict(list)
        self._unclear: list[RequestUsage] = []
        for entry in entries:
            model = self._model_of(entry)
            if entry.provider is not None and model is not None:
                self._entries[model].append(entry)
            elif entry.status == "settled" and entry.total_tokens == 0:
                continue
            elif entry.status != "released":
                self._unclear.append(entry)
        self._doubtful: dict[str, list[RequestUsage]] = defaultdict(list)
        self._left: list[Left] = []

    def doubt(self, entry: RequestUsage) -> None:
        """Take up an entry in doubt."""
        moment = sent_at(entry)
        place = None if moment is None else self._window(moment)
        if place is None:
            return
        model = self._model_of(entry)
        if not self._scope.exclusive:
            why = "a bucket is of many requests, and is used only where the ledger sees them all"
        elif model is not None:
            self._doubtful[model].append(entry)
            return
        elif any(bucket.model is None for bucket in self._buckets):
            why = "the export does not tell models apart; ask for it grouped by model"
        elif self._ambiguous(entry):
            why = f"the export has several models that {entry.model} may be"
        else:
            why = f"the export names no model {entry.model}"
        self._left.append(Left(entry, why))

    def settle(self, plan: Plan) -> None:
        """Settle what follows from what is left over, and say of the rest why it does not."""
        plan.left += self._left
        for model, doubtful in self._doubtful.items():
            for span in self._spans(model, doubtful):
                why = self._unusable(model, span)
                if why is None:
                    why = self._share_out(model, span, plan)
                if why is not None:
                    plan.left += (Left(entry, f"{span}: {why}") for entry in span.doubtful)

    def _window(self, moment: int) -> int | None:
        place = bisect_right(self._begins, moment) - 1
        return place if place >= 0 and moment < self._windows[place][1] else None

    def _model_of(self, entry: RequestUsage) -> str | None:
        """Return the model of the export that an entry is of, also where it has no version."""
        if entry.model in self._models:
            return entry.model
        named = self._candidates(entry)
        return named[0] if len(named) == 1 else None

    def _candidates(self, entry: RequestUsage) -> list[str]:
        if entry.model is None:
            return []
        version = _VERSION.search(entry.model)
        dated = version is not None and version[1] != "latest"
        base = _base(entry.model)
        return [
            model for model in self._models if _base(model) == base and (model == base or not dated)
        ]

    def _ambiguous(self, entry: RequestUsage) -> bool:
        return entry.model is None or len(self._candidates(entry)) > 1

    def _spans(self, model: str, doubtful: Sequence[RequestUsage]) -> list[_Span]:
        """Return the buckets with entries in doubt; those that a request reaches across are one."""
        joined, torn = [False] * len(self._windows), [False] * len(self._windows)
        starts: dict[int, list[RequestUsage]] = defaultdict(list)
        for entry in self._entries[model]:
            if entry.status == "released":
                continue
            start = sent_at(entry)
            if start is None:
                continue
            end = _end_of(entry, start)
            first, beyond = bisect_right(self._ends, start), bisect_right(self._begins, end)
            if first >= beyond:
                continue
            starts[first].append(entry)
            if self._covered(start, end, first, beyond):
                joined[first : beyond - 1] = [True] * (beyond - 1 - first)
            else:
                torn[first:beyond] = [True] * (beyond - first)
        in_doubt = {entry.id for entry in doubtful}
        spans: list[_Span] = []
        for place, (begin, end) in enumerate(self._windows):
            if not place or not joined[place - 1]:
                spans.append(_Span(begin, end))
            span = spans[-1]
            span.ends_at = end
            span.torn |= torn[place]
            span.buckets += self._within[model, begin]
            for entry in starts[place]:
                (span.doubtful if entry.id in in_doubt else span.entries).append(entry)
        return [span for span in spans if span.doubtful]

    def _covered(self, start: int, end: int, first: int, beyond: int) -> bool:
        """Return whether windows have all of the time of a request that reaches into them."""
        return (
            self._begins[first] <= start
            and end < self._ends[beyond - 1]
            and self._ends[first : beyond - 1] == self._begins[first + 1 : beyond]
        )

    def _may_be_of(self, entry: RequestUsage, model: str) -> bool:
        """Return whether an entry that is of no certain model of the export may be of one."""
        if entry.model is None or _base(entry.model) == _base(model):
            return True
        return all(_base(other) != _base(entry.model) for other in self._models)

    def _unusable(self, model: str, span: _Span) -> str | None:
        """Return why nothing follows from a span, before its figures are looked at."""
        if span.torn:
            return "a request reaches across the edge of what the export covers; export more"
        if span.ends_at + LAG > self._scope.taken_at:
            return "the export may be too early; make it an hour after the end of the bucket"
        unclear = {
            f"{entry.provider or 'an unknown provider'} {entry.model or 'an unknown model'}"
            for entry in self._unclear
            if self._may_be_of(entry, model) and _reaches_into(entry, span)
        }
        if unclear:
            named = ", ".join(sorted(unclear))
            return (
                f"the ledger has requests there ({named}) that may be of {model} "
                "or of another version of it"
            )
        held = sum(entry.status == "held" for entry in span.entries)
        if held:
            return f"{held} requests there have not ended"
        doubtful = sum(entry.status == "in_doubt" for entry in span.entries)
        if doubtful:
            return f"{doubtful} requests there stay in doubt for another reason"
        estimated = sum(entry.estimated for entry in span.entries)
        if estimated:
            return f"{estimated} settled requests there rest on estimates"
        unknown = sum(
            entry.input_tokens is None or entry.output_tokens is None for entry in span.entries
        )
        return f"{unknown} settled requests there have no counts" if unknown else None

    def _share_out(self, model: str, span: _Span, plan: Plan) -> str | None:
        """Share out what is left over in a span; return why not, where figures contradict."""
        settled = [entry for entry in span.entries if entry.total_tokens != 0]
        number = len(span.doubtful)
        billed, requests = _sum(span.buckets)
        over = {
            name: billed[name] - sum(value for value in _values(settled, name) if value is not None)
            for name in billed
            if name not in PARTS or None not in _values(settled, name)
        }
        more = None if requests is None else requests - len(settled)
        said = f"billed {billed['input_tokens']} in and {billed['output_tokens']} out"
        said += "" if requests is None else f" for {requests} requests"
        said += f", of which {len(settled)} are settled"
        for name in UNSHARED:
            if over.pop(name, 0):
                return f"{said}; {name.replace('_', ' ')} are left over, and cannot be shared out"
        fresh = over["input_tokens"] - sum(over.get(part, 0) for part in PARTS)
        if min(fresh, *over.values()) < 0:
            return f"{said}, and these used more than was billed"
        if more is not None and not 0 <= more <= number:
            return f"{said}, and {number} are in doubt: others used the account, or it is too early"
        nothing = not over["input_tokens"] and not over["output_tokens"]
        if more is not None and nothing != (more == 0):
            return f"{said}; the requests left over do not go with the tokens left over"
        where = span.buckets[0].where if span.buckets else f"no result for {model}"
        source = ", ".join(
            dict.fromkeys(bucket.where.partition(":")[0] for bucket in self._buckets)
        )
        said = f"{where}, {span}: {model}: {said}"
        if nothing:
            plan.settlements += (
                not_billed(entry, source=source, detail=f"{said}; nothing is left over")
                for entry in span.doubtful
            )
            return None
        left_over = f"{over['input_tokens']} in and {over['output_tokens']} out are left over"
        share = "for this one" if number == 1 else f"shared out between {number} by their estimates"
        holds = [self._held.get(str(entry.id), Amounts()).tokens for entry in span.doubtful]
        estimates = {
            name: _values(span.doubtful, name) for name in ("input_tokens", "output_tokens")
        }
        shares = share_out(over, estimates, holds)
        settlements: list[Settlement] = []
        for entry, counts in zip(span.doubtful, shares, strict=True):
            ended = by_counts(
                entry,
                counts,
                self._prices,
                source=source,
                detail=f"{said}; {left_over}, {share}",
                estimated=number > 1,
            )
            if isinstance(ended, Left):
                return ended.reason
            settlements.append(ended)
        plan.settlements += settlements
        return None


def _values(entries: Sequence[RequestUsage], name: str) -> list[int | None]:
    return [_value(entry, name) for entry in entries]


def _value(entry: RequestUsage, name: str) -> int | None:
    """Return a count of an entry by the name that exports give it here; None is not known."""
    if name in ("input_tokens", "output_tokens"):
        value: int | None = entry.record[name]
        return value
    details: Mapping[str, int] = entry.record["input_tokens_details"]
    match name:
        case "web_search_requests":
            return entry.tool_requests.get("web_search")
        case "input_audio_tokens":
            return details.get("audio_tokens")
        case "output_audio_tokens":
            return entry.output_tokens_details.audio_tokens
        case "cache_write_5m_tokens" | "cache_write_1h_tokens":
            return 0 if details.get("cache_write_tokens") == 0 else details.get(name)
    return details.get(name)


def _sum(buckets: Sequence[BilledBucket]) -> tuple[dict[str, int], int | None]:
    """Return what buckets come to: the counts that all of them say, and the requests."""
    names = {"input_tokens", "output_tokens"}
    if buckets:
        names |= set.intersection(*(set(bucket.counts) for bucket in buckets))
    # A count that some results leave out is unknown, but for what must not be left over.
    names |= {name for bucket in buckets for name in UNSHARED if name in bucket.counts}
    counts = {name: sum(bucket.counts.get(name, 0) for bucket in buckets) for name in names}
    requests = [bucket.requests for bucket in buckets if bucket.requests is not None]
    return counts, sum(requests) if len(requests) == len(buckets) else None


def _end_of(entry: RequestUsage, start: int) -> int:
    """Return until when a request may have been billed."""
    if entry.duration is None:
        return start + LONGEST
    taken = round(entry.duration * 1e9)
    return start + (taken if entry.status == "settled" else max(taken, LONGEST))


def _reaches_into(entry: RequestUsage, span: _Span) -> bool:
    start = sent_at(entry)
    return start is not None and start < span.ends_at and _end_of(entry, start) >= span.begins_at


def _base(model: str) -> str:
    """Return a model's name without its version."""
    return _VERSION.sub("", model)


def moment_text(nanoseconds: int) -> str:
    """Return a UTC moment to the minute."""
    return timestamp(nanoseconds).strftime("%Y-%m-%d %H:%M")
