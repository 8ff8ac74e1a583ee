"""`Budget`: a limit that requests are held against, as users write it."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from tallystick.attribution import MAX_LENGTH
from tallystick.budget.window import zone_named
from tallystick.errors import ConfigError
from tallystick.ledger import PERIODS, Amounts, BudgetRow, Per
from tallystick.money import nanodollars, usd

Allowance = Literal["unpriced", "unbounded", "unkept"]

ALLOWANCES: tuple[Allowance, ...] = get_args(Allowance)

MOST = 10**18
"""The largest limit, in nanodollars (a billion USD), tokens or requests."""

FLOOR_TOKENS = 256
"""How short an answer a budget cuts to by default, before it refuses the request."""

DEFAULT_OUTPUT_TOKENS = 16_384
"""The limit that a request is given which sets none: without one nobody knows what it costs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on what requests may cost, use or number, over a window.

    A request is held against every budget that it falls under before it is sent, at the most
    that it can come to, and never sent where that does not fit.

    Raises:
        ConfigError: a value cannot be used; the message says which and what can.
    """

    usd: Decimal | int | str | None = None
    """USD. No float: 0.1 is no amount of money."""
    tokens: int | None = None
    """Input and output together."""
    requests: int | None = None
    """Attempts that are sent, refused ones and retries included."""
    per: Per = "run"
    """The window: ``run`` for a run and all inside it, ``hour``, ``day``, ``week``, ``month`` or
    ``all``."""
    zone: str = "UTC"
    """The time zone by whose clocks windows begin."""
    name: str | None = None
    """What it is called in messages and reports."""
    on_exceeded: str = "stop"
    """What becomes of a request that does not fit: ``stop`` refuses it, ``warn`` lets it pass and
    says so, and the name of a cheaper model sends it there, if it fits then."""
    warn_at: int | None = 80
    """At how many percent of a limit to warn, once a window; None for never."""
    min_output_tokens: int = FLOOR_TOKENS
    """A limit on the answer is lowered to what the budget affords, down to this; a request that
    cannot have that is refused."""
    default_output_tokens: int = DEFAULT_OUTPUT_TOKENS
    """The limit on the answer that is given to a request which sets none."""
    allow: Collection[Allowance] = ()
    """What to let pass although it cannot be held: ``unpriced`` models, ``unbounded`` input (such
    as a web search), and requests that are ``unkept`` because the ledger cannot be written."""
    webhook: str | None = None
    """A URL that is sent a JSON message, without any prompt, on warnings and refusals."""

    def __post_init__(self) -> None:
        _check_limits(self)
        if self.per not in PERIODS:
            raise ConfigError(f"per={self.per!r}: a window is one of {', '.join(PERIODS)}")
        if not isinstance(self.zone, str):
            raise ConfigError(f"zone={self.zone!r}: give an IANA name such as 'Europe/Berlin'")
        zone_named(self.zone)
        if not isinstance(self.on_exceeded, str) or not self.on_exceeded:
            raise ConfigError('on_exceeded is "stop", "warn" or the name of a cheaper model')
        _check_count("warn_at", self.warn_at, 1, 100)
        _check_count("min_output_tokens", self.min_output_tokens, 1, MOST)
        _check_count("default_output_tokens", self.default_output_tokens, 1, MOST)
        if isinstance(self.allow, str):
            raise ConfigError(f"allow={self.allow!r}: give a list, such as [{self.allow!r}]")
        unknown = sorted(set(self.allow) - set(ALLOWANCES))
        if unknown:
            raise ConfigError(f"allow={unknown[0]!r}: can be {', '.join(ALLOWANCES)}")
        # The floor that nobody gave says nothing about answers that are to be short anyway.
        if FLOOR_TOKENS != self.min_output_tokens > self.default_output_tokens:
            raise ConfigError(
                f"min_output_tokens={self.min_output_tokens} is more than "
                f"default_output_tokens={self.default_output_tokens}, which it is a floor of"
            )
        if self.webhook is not None and not _is_web_address(self.webhook):
            raise ConfigError(f"webhook={self.webhook!r} is no http or https URL")

    @property
    def limits(self) -> Amounts:
        """The limits in the ledger's units."""
        dollars = None if self.usd is None else nanodollars(self.usd)
        return Amounts(dollars, self.tokens, self.requests)

    def row(
        self,
        identity: str,
        now: int,
        *,
        name: str,
        run_id: str | None = None,
        scope: Mapping[str, str] | None = None,
    ) -> BudgetRow:
        """Return this budget as the ledger keeps it.

        Raises:
            ConfigError: the name of a standing budget cannot be used. That of a run may be the
                run's own, which never stops it, and loses what cannot be read.
        """
        if run_id is None:
            check_name(name)
        else:
            name = "".join(map(_readable, name[:MAX_LENGTH]))
        policy: dict[str, Any] = {
            "on_exceeded": self.on_exceeded,
            "min_output_tokens": self.min_output_tokens,
            "default_output_tokens": self.default_output_tokens,
            "allow": sorted(self.allow),
        }
        if self.webhook is not None:
            policy["webhook"] = self.webhook
        return BudgetRow(
            id=identity,
            name=name,
            per=self.per,
            limits=self.limits,
            created_at=now,
            run_id=run_id,
            scope=scope or {},
            zone=self.zone,
            hard=self.on_exceeded != "warn",
            warn_at=self.warn_at,
            policy=policy,
        )

    @classmethod
    def of(cls, row: BudgetRow) -> Budget:
        """Return the budget that a row of the ledger holds."""
        policy = row.policy
        dollars = row.limits.nanodollars
        return cls(
            usd=None if dollars is None else usd(dollars),
            tokens=row.limits.tokens,
            requests=row.limits.requests,
            per=row.per,
            zone=row.zone,
            name=row.name,
            on_exceeded=policy.get("on_exceeded", "stop"),
            warn_at=row.warn_at,
            min_output_tokens=policy.get("min_output_tokens", FLOOR_TOKENS),
            default_output_tokens=policy.get("default_output_tokens", DEFAULT_OUTPUT_TOKENS),
            allow=tuple(policy.get("allow", ())),
            webhook=policy.get("webhook"),
        )


def check_name(name: str) -> None:
    """Check that people can read and type the name of a budget.

    Raises:
        ConfigError: it is too long, or has characters that a line or a database has no place for.
    """
    if len(name) > MAX_LENGTH:
        raise ConfigError(
            f"{name[:20]!r}… is no name of a budget; give at most {MAX_LENGTH} characters"
        )
    if any(char != _readable(char) for char in name):
        raise ConfigError(
            f"{name!r} is no name of a budget; give a text on one line, without control characters"
        )


_UNREADABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Control characters, lone surrogates, and what ends a line or a paragraph."""


def _readable(char: str) -> str:
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(char) in _UNREADABLE else char


def _is_web_address(url: object) -> bool:
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
        return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # such as half of an IPv6 address
        return False


def _check_limits(budget: Budget) -> None:
    if budget.usd is None and budget.tokens is None and budget.requests is None:
        raise ConfigError("a budget needs a limit: usd, tokens or requests")
    if budget.usd is not None:
        try:
            amount = nanodollars(budget.usd)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"usd={budget.usd!r}: give a Decimal, an int or a text such as '0.50'"
            ) from error
        if not 0 <= amount <= MOST:
            raise ConfigError(f"usd={budget.usd!r}: a limit is from 0 to {MOST // 10**9:,} USD")
        if usd(amount) != Decimal(budget.usd):
            raise ConfigError(f"usd={budget.usd!r}: an amount is a multiple of 10⁻⁹ USD")
    _check_count("tokens", budget.tokens, 0, MOST)
    _check_count("requests", budget.requests, 0, MOST)


def _check_count(name: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name}={value!r}: give a whole number from {least} to {most:,}")
