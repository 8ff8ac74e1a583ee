"""Compares Tallystick's prices with an oracle's over every shared model and the eight usages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pricing.oracles.cases import CASES, Case
from pricing.oracles.difference import Difference, Explanation, Sides
from pricing.oracles.table import Row, price

CLASSES = ("missing rate", "fee", "tier", "region", "alias", "time", "stale", "rounding")


class Compared(NamedTuple):
    """One model and usage that both sides price, or should."""

    row: Row
    case: Case
    ours: int | None
    theirs: int | None
    explanations: tuple[Explanation, ...] = ()
    """Of each leaf whose rates differ and that is explained."""
    unexplained: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether the amounts are the same to the nanodollar, and nothing is wrong beside."""
        return self.ours == self.theirs and not self.unexplained

    @property
    def kind(self) -> str:
        """The class of a disagreement: of several, that of the plainest evidence."""
        if self.unexplained:
            return "unexplained"
        found = {explanation.kind for explanation in self.explanations}
        return next(name for name in CLASSES if name in found)

    def __str__(self) -> str:
        explained = (f"{one.kind}: {one.evidence}" for one in self.explanations)
        facts = "; ".join(dict.fromkeys((*self.unexplained, *explained)))
        return f"{self.row.name}, {self.case.name}: ours {self.ours}, theirs {self.theirs}; {facts}"


def compare_all(sides: Sides) -> list[Compared]:
    """Compare every shared model and usage."""
    return [compare(sides, row, case) for row in shared(sides) for case in cases_of(row)]


def shared(sides: Sides) -> Iterator[Row]:
    """Yield the rows of models that Tallystick's book has rates for."""
    for row in sides.oracle.rows:
        if "input_tokens" in sides.quote(row, CASES[0]).tariff.rates:
            yield row


def cases_of(row: Row) -> Sequence[Case]:
    """Return the usages that a model can have."""
    return CASES if row.has_output else [case.without_output() for case in CASES]


def compare(sides: Sides, row: Row, case: Case) -> Compared:
    """Compare one price."""
    quote = sides.quote(row, case)
    theirs = price(row.for_tier(case.tier), case.leaves, case.input_tokens)
    difference = Difference(sides, row, case, quote)
    explanations: list[Explanation] = []
    unexplained: list[str] = []
    own = price(difference.our_rates, case.leaves, case.input_tokens)
    if quote.nanodollars != own:
        # The rates are one thing, and what is made of them another.
        unexplained.append(f"our rates make {own}, and the quote is {quote.nanodollars}")
    elif quote.nanodollars != theirs:
        for leaf in difference.leaves():
            found = difference.explain(leaf)
            if found is None:
                unexplained.append(difference.described(leaf))
            else:
                explanations.append(found)
    return Compared(row, case, quote.nanodollars, theirs, tuple(explanations), tuple(unexplained))


def agreement(results: dict[str, list[Compared]]) -> str:
    """Return the table of agreement, a line for each oracle."""
    heads = ("oracle", "models", "prices", "equal", *CLASSES, "unexplained")
    lines: list[tuple[str, ...]] = [heads]
    for oracle, compared in results.items():
        kinds = Counter(one.kind for one in compared if not one.equal)
        lines.append(
            (
                oracle,
                str(len({one.row.name for one in compared})),
                str(len(compared)),
                str(sum(one.equal for one in compared)),
                *(str(kinds[kind]) for kind in (*CLASSES, "unexplained")),
            )
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.ljust(width) if index == 0 else text.rjust(width)
            for index, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
