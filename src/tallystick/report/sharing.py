"""Sharing counts out between requests, so that the shares add up to the count exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick.report.exports import PARTS


def share_out(
    over: Mapping[str, int],
    estimates: Mapping[str, Sequence[int | None]],
    holds: Sequence[int | None],
) -> list[dict[str, int]]:
    """Share out the counts that several requests have together.

    Args:
        over: `input_tokens`, `output_tokens` and any of `PARTS`, which are within the input.
        estimates: of input and of output, for each request; None is not known.
        holds: how many tokens each request holds, which is the most that it should get.

    Returns:
        The counts of each request. Parts are shared out within the input that it got.
    """
    sent = allocate(over["input_tokens"], _weights(estimates["input_tokens"]), holds)
    room = [
        None if hold is None else max(hold - share, 0)
        for hold, share in zip(holds, sent, strict=True)
    ]
    received = allocate(over["output_tokens"], _weights(estimates["output_tokens"]), room)
    shares = [
        {"input_tokens": one, "output_tokens": other}
        for one, other in zip(sent, received, strict=True)
    ]
    fresh = sent
    for part in PARTS:
        if part in over:
            parts = allocate(over[part], fresh, fresh)
            fresh = [left - taken for left, taken in zip(fresh, parts, strict=True)]
            for share, taken in zip(shares, parts, strict=True):
                share[part] = taken
    return shares


def allocate(total: int, weights: Sequence[int], most: Sequence[int | None]) -> list[int]:
    """Share a total out in proportion to weights, by largest remainders; the shares add up to it.

    No share is more than its `most` (None: no limit), unless the total is more than all of them
    together: then each has its most, and the rest is shared out by the weights.
    """
    shares = [0] * len(weights)
    limits = [limit for limit in most if limit is not None]
    if len(limits) == len(most) and sum(limits) < total:
        beyond = _proportional(total - sum(limits), weights)
        return [limit + extra for limit, extra in zip(limits, beyond, strict=True)]
    able = list(range(len(weights)))
    while able:
        given = _proportional(total, [weights[place] for place in able])
        full = {
            place: limit
            for place, share in zip(able, given, strict=True)
            if (limit := most[place]) is not None and share > limit
        }
        if not full:
            for place, share in zip(able, given, strict=True):
                shares[place] = share
            break
        for place, limit in full.items():
            shares[place] = limit
        total -= sum(full.values())
        able = [place for place in able if place not in full]
    return shares


def _proportional(total: int, weights: Sequence[int]) -> list[int]:
    whole = sum(weights)
    if not whole:
        weights, whole = [1] * len(weights), len(weights)
    shares = [total * weight // whole for weight in weights]
    by_rest = sorted(
        range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place)
    )
    for place in by_rest[: total - sum(shares)]:
        shares[place] += 1
    return shares


def _weights(estimates: Sequence[int | None]) -> list[int]:
    known = [value for value in estimates if value is not None]
    return known if len(known) == len(estimates) else [1] * len(estimates)
