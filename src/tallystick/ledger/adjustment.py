"""`Adjustment`: a price made later for an entry that stays as it is; and the names of books."""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import Literal, NamedTuple


class Adjustment(NamedTuple):
    """The price that an entry has from here on, until the next adjustment of it."""

    entry_id: str
    status: Literal["settled", "in_doubt"]
    """The status that the entry had. An entry in doubt that has settled since has other counts
    and a price of its own, so that what was made for it in doubt counts no more."""
    book: str | None
    """What the price is from, as `RequestUsage.price_book`."""
    rule: str | None
    reason: str | None
    """Why there is no price, or why it is estimated."""
    cost_nanodollars: int | None
    """The price, or None where there is none."""
    cost_estimated: bool
    batch: str
    """What was appended together, such as by one command; once for each entry."""
    made_at: int
    """When, in nanoseconds since 1970-01-01 UTC."""
    previous_nanodollars: int | None = None
    """What it was before, which the ledger fills in."""
    number: int | None = None
    """Its place among all adjustments, which the ledger gives."""


COLUMNS = Adjustment._fields
"""The columns of `adjustments`, in the order of `Adjustment`."""

_BOOK_AND_MORE = re.compile(r"([0-9a-f]{16})\+(.+)", re.DOTALL)


def books_of(price_book: str) -> tuple[str, ...]:
    """Return the books that the `price_book` of an entry names.

    A price by the list less a discount names two, as ``<hash of the book>+<file:hash>``.
    """
    both = _BOOK_AND_MORE.fullmatch(price_book)
    return (price_book,) if both is None else (both[1], both[2])


def packed(content: bytes) -> bytes:
    """Return a book's content as it is kept."""
    return zlib.compress(content)


def unpacked(kept: bytes) -> bytes:
    """Return a book's content.

    Raises:
        ValueError: what is kept is damaged.
    """
    try:
        return zlib.decompress(kept)
    except zlib.error as error:
        raise ValueError(f"the content of a book is damaged: {error}") from error


def is_named(content: bytes, book: str) -> bool:
    """Whether content is what the book's name says: the name is its hash, or ends with it."""
    return hashlib.sha256(content).hexdigest()[:16] == book.rpartition(":")[2]
