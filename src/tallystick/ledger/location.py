"""Where a ledger is: what users write, read as a file, as memory, or as a server."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tallystick.errors import ConfigError, LedgerUnavailable

MEMORY = ":memory:"


@dataclass(frozen=True, slots=True)
class Location:
    """A ledger's place: a file, or memory where `path` is None."""

    path: Path | None

    @property
    def url(self) -> str:
        """The place in a form that `locate` reads."""
        return MEMORY if self.path is None else f"sqlite:///{self.path.as_posix()}"

    def __str__(self) -> str:
        return MEMORY if self.path is None else str(self.path)


def locate(url: str | os.PathLike[str] | None) -> Location:
    """Read a ledger's URL.

    Args:
        url: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, a plain path, ``:memory:``,
            or None for ``$TALLYSTICK_URL`` and, where that is not set, a file in the user's
            data directory, which is made.

    Raises:
        ConfigError: a URL of a kind that no ledger has.
        LedgerUnavailable: a PostgreSQL URL, or the user's data directory cannot be made.
    """
    if url is None:
        url = os.environ.get("TALLYSTICK_URL") or None
        if url is None:
            return Location(_default_file())
    text = os.fspath(url)
    if text in {MEMORY, "sqlite://", "sqlite:///:memory:"}:
        return Location(None)
    scheme, separator, rest = text.partition("://")
    if not separator:
        return Location(_absolute(text))
    if scheme == "sqlite":
        if not rest.startswith("/") or rest == "/":
            raise ConfigError(
                f"{text!r} names no file; write sqlite:///relative.db or sqlite:////absolute.db"
            )
        return Location(_absolute(rest[1:]))
    # What stands before a host may be a password, so the rest of the URL is not repeated.
    if scheme in {"postgres", "postgresql"}:
        raise LedgerUnavailable(
            f"a ledger on PostgreSQL ({scheme}://…) is not there yet; use a SQLite file"
        )
    raise ConfigError(
        f"a ledger's URL begins with sqlite:///, or is a path or :memory:; not {scheme}://…"
    )


def _absolute(text: str) -> Path:
    # Absolute from the start, because the host may change its working directory later.
    return Path(text).expanduser().absolute()


def _default_file() -> Path:
    import platformdirs

    folder = Path(platformdirs.user_data_dir("tallystick", appauthor=False))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise LedgerUnavailable(
            f"the folder for the ledger, {folder}, cannot be made ({error.strerror}); "
            "set TALLYSTICK_URL to a file that can be written"
        ) from error
    return folder / "usage.db"
