"""The book of the installed data, kept on disk in its plain form.

Importing the data of genai-prices takes some 200 ms and 36 MB; reading this file takes a tenth of
that. A file is written whole under another name and then renamed, so that any number of processes
may start at once; it carries its own checksum, and one that is damaged is made anew. Where it
cannot be kept, nothing is lost but the time.

Data that was fetched on request lies beside it, and is used in its place until another version of
genai-prices is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from tallystick.pricing import source
from tallystick.pricing.book import Book

CACHE_VARIABLE = "TALLYSTICK_CACHE"
"""A directory for the cache, in place of the one that the system has for such."""

KEPT = 4
"""How many files are kept: one for each installation that is in use at a time, and some more."""


def installed_book() -> Book:
    """Return the book of the installed data, or of its update; from the cache where it is there.

    Raises:
        ImportError: genai-prices is not installed.
        ValueError: its data has a form that this version does not know.
    """
    path = _path()
    if path is not None:
        book = _read(_updated(path)) or _read(path)
        if book is not None:
            return book
    book = Book(source.read())
    if path is not None:
        # A cache that cannot be written is no fault: the next process reads the data again.
        with contextlib.suppress(OSError):
            _write(path, book.content)
    return book


def keep_update(book: Book) -> Path:
    """Keep a book that is newer than the installed one, for every process from now on.

    Returns:
        The file, which can be deleted to go back to the installed data.

    Raises:
        OSError: it cannot be kept; nothing has changed.
    """
    path = _path()
    if path is None:
        raise FileNotFoundError("genai-prices is not installed")
    _write(_updated(path), book.content)
    return _updated(path)


def _updated(path: Path) -> Path:
    """Return where the update of an installation's book is kept."""
    return path.with_name(path.name.replace("prices-", "updated-", 1))


def _path() -> Path | None:
    """Return where the book of the installed data is kept, or None where it cannot be."""
    name = source.installed()
    if name is None:
        return None
    directory = os.environ.get(CACHE_VARIABLE)
    if directory is None:
        import platformdirs

        directory = platformdirs.user_cache_dir("tallystick", appauthor=False)
    return Path(directory) / f"prices-{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Book | None:
    """Return the book in a file, or None where it is missing or damaged."""
    try:
        checksum, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != checksum:
            return None
        return Book.of(content)
    except (OSError, ValueError, KeyError):
        return None


def _write(path: Path, content: bytes) -> None:
    # Imported here because most processes only read, and it takes as long as reading does.
    import tempfile

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".prices-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    kind = path.name.partition("-")[0]
    files = sorted(path.parent.glob(f"{kind}-*.json"), key=lambda file: file.stat().st_mtime)
    for stale in files[:-KEPT]:
        stale.unlink(missing_ok=True)
