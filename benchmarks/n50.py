"""N50: fifty concurrent calls of $0.10 on a budget of $1.00, where ten are right.

    make bench ARGS=n50

Each package runs in an interpreter and an empty folder of its own, used as its own documentation
says; see `benchmarks/peers`, one file for each. They are installed from PyPI, for this alone, into
an environment inside the project's, the first time.
"""

import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

PEERS = Path(__file__).with_name("peers")
ENVIRONMENT = Path(sys.prefix) / "peers"
PACKAGES = (
    "agentbudget",
    "agent-budget-guard-py",
    "agentcap-guard",
    "litellm",
    "pydantic-ai-slim",
    "pydantic-ai-harness",
)
ADAPTERS = {
    "agentbudget": "agentbudget_session.py",
    "agent-budget-guard-py": "agent_budget_guard_client.py",
    "agentcap-guard": "agentcap_guard_budget.py",
    "litellm": "litellm_budget_manager.py",
    "pydantic-ai-slim": "pydantic_ai_usage_limits.py",
    "pydantic-ai-harness": "pydantic_ai_harness_spend_limits.py",
}
IN_TURN = "in-turn"
ALL = ("0:50",)
SHARES = ("0:13", "13:26", "26:38", "38:50")
"""Which calls each of four processes makes."""

COLUMNS = ("package", "version", "in turn", "at once", "spent", "over", "it says")
RIGHT = 10
SECONDS = 120


class PeerError(Exception):
    """A program did not do what it was run for; the text is the last that it said."""


@dataclass(frozen=True)
class Outcome:
    """What came of the fifty calls. Amounts are USD."""

    version: str
    sent: int
    told: float
    """What the package says was spent."""
    in_turn: int | None = None
    """How many were sent where each call waited for the one before; None where nobody tried."""

    def cells(self) -> tuple[str, ...]:
        """The line as text."""
        over = max(self.sent - RIGHT, 0) / RIGHT
        spent = f"${self.sent / RIGHT:.2f}"
        in_turn = "" if self.in_turn is None else str(self.in_turn)
        return self.version, in_turn, str(self.sent), spent, f"+{over:.0%}", f"${self.told:.2f}"


def n50() -> tuple[Table, bool]:
    """Run them side by side; met where Tallystick sends ten, alone and from four processes."""
    title = "Calls of $0.10 that were sent on a budget of $1.00, of 50 in turn or at once"
    table = Table(title=title, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "package" else "right")
    mine = "tallystick_budget.py"
    rows = {
        "Tallystick": _both(sys.executable, mine),
        "  from 4 processes": _run(sys.executable, mine, SHARES),
    }
    for name, outcome in rows.items():
        table.add_row(name, *outcome.cells())
    table.add_section()
    try:
        python = _environment()
    except PeerError as why:
        table.add_row("the others", "skipped")
        table.caption = f"They could not be installed: {why}"
    else:
        for name, adapter in ADAPTERS.items():
            try:
                table.add_row(name, *_both(python, adapter).cells())
            except PeerError as why:
                table.add_row(name, f"failed: {why}")
    return table, all(outcome.sent == RIGHT for outcome in rows.values())


def _both(python: str, adapter: str) -> Outcome:
    """Run an adapter with its calls in turn, which shows that it limits them, and at once."""
    in_turn = _run(python, adapter, (IN_TURN,))
    return replace(_run(python, adapter, ALL), in_turn=in_turn.sent)


def _run(python: str, adapter: str, arguments: Sequence[str]) -> Outcome:
    """Run an adapter in a new folder, in a process for each argument.

    Raises:
        PeerError: one of them ended badly.
    """
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            subprocess.Popen(  # noqa: S603 - our own adapters
                [python, str(PEERS / adapter), argument],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for argument in arguments
        ]
        ended = [(process, *process.communicate(timeout=SECONDS)) for process in processes]
    outcomes = []
    for process, output, errors in ended:
        if process.returncode:
            raise PeerError(_last_line(errors))
        outcomes.append(Outcome(**json.loads(_last_line(output))))
    return Outcome(
        outcomes[0].version,
        sum(outcome.sent for outcome in outcomes),
        sum(outcome.told for outcome in outcomes),
    )


def _environment() -> str:
    """Return the interpreter that has the packages, making its environment where it is missing.

    Raises:
        PeerError: they cannot be installed, for example without a network.
    """
    python = ENVIRONMENT / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    installed = ENVIRONMENT / "installed.txt"
    wanted = "\n".join(PACKAGES)
    with suppress(OSError):
        if installed.read_text() == wanted:
            return str(python)
    started = time.perf_counter()
    print(f"Installing {len(PACKAGES)} packages into {ENVIRONMENT} (once)")
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(  # noqa: S603 - our own environment
        [*command, *PACKAGES], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PeerError(_last_line(done.stderr))
    installed.write_text(wanted)
    print(f"That took {time.perf_counter() - started:.0f} s")
    return str(python)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


TABLES = {"n50": n50}
