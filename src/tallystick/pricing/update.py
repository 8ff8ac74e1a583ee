"""Newer price data, fetched when a person asks for it and never otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tallystick.errors import TallystickError
from tallystick.pricing import cache, source
from tallystick.pricing.book import Book

LEAST_PART = 2
"""Data with less than 1/this of the models that are known already is taken for broken."""


class UpdateError(TallystickError):
    """Newer data could not be fetched, read or kept. The prices are those of before."""


class Update(NamedTuple):
    """What an update changed."""

    before: Book
    after: Book
    added: tuple[str, ...]
    """Models as ``provider/model``."""
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    """Those whose rates, dates or names are not what they were."""
    file: Path | None
    """Where it is kept; None where there was nothing new."""


def update(url: str | None = None) -> Update:
    """Fetch the newest data and keep it as a book of its own beside the installed one.

    Processes that run already keep the book they have; entries keep the book that priced them.

    Args:
        url: where from; None for where genai-prices publishes it.

    Raises:
        UpdateError: it failed; nothing has changed.
    """
    try:
        before = cache.installed_book()
    except (ImportError, ValueError) as error:
        raise UpdateError(f"the installed price data cannot be read: {error}") from error
    try:
        fetched = Book(source.fetch(url))
    except Exception as error:
        # A network, a server, a proxy or the data: the updater is a third party's, and raises
        # what its HTTP client and its validation do.
        told = " ".join(str(error).split()) or type(error).__name__
        raise UpdateError(
            f"newer prices could not be fetched: {told:.300}; the prices are unchanged"
        ) from error
    old, new = _models(before), _models(fetched)
    if len(new) * LEAST_PART < len(old):
        raise UpdateError(
            f"the data that was fetched has {len(new)} models where {len(old)} are known, so it "
            "is taken for broken; the prices are unchanged"
        )
    added = tuple(sorted(new.keys() - old.keys()))
    removed = tuple(sorted(old.keys() - new.keys()))
    changed = tuple(sorted(name for name in old.keys() & new.keys() if old[name] != new[name]))
    file = None
    if fetched.hash != before.hash:
        try:
            file = cache.keep_update(fetched)
        except OSError as error:
            raise UpdateError(
                f"newer prices were fetched and cannot be kept: {error}; the prices are unchanged"
            ) from error
    return Update(before, fetched, added, removed, changed, file)


def _models(book: Book) -> dict[str, object]:
    return {f"{provider}/{model.id}": model.data for provider, model in book.models()}
