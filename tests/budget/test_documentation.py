"""The examples of `docs/budgets.md` run as they stand, against the testing provider."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import agents
import openai
import pytest

import tallystick
from tallystick import Clock
from tallystick.budget.limit import DEFAULT_OUTPUT_TOKENS, FLOOR_TOKENS, Budget
from tallystick.cli.app import run as run_command
from tallystick.ledger import PERIODS
from tallystick.testing import Provider

PAGE = (Path(__file__).parents[2] / "docs" / "budgets.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
(CONSOLE,) = re.findall(r"^```console\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)

RATES = '[[rates]]\nmodel = "gpt-5-mini"\ninput_per_million = "0.25"\noutput_per_million = 2\n'


@pytest.fixture
def provider(monkeypatch, tmp_path):
    """A provider that every client of an example talks to, with rates for what it serves."""
    agents.set_tracing_disabled(disabled=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tallystick.toml").write_text(RATES)
    monkeypatch.setenv("TALLYSTICK_URL", str(tmp_path / "usage.db"))
    monkeypatch.setenv("TALLYSTICK_ON_FAULT", "raise")
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    # A client that another test made the SDK's default is closed by now.
    monkeypatch.setattr("agents.models._openai_shared._default_openai_client", None)
    with Provider() as started:
        monkeypatch.setenv("OPENAI_BASE_URL", started.base_url)
        yield started


def test_the_examples_run_in_their_order(provider, capsys):
    in_a_run, limited, standing, warned, estimated = PYTHON
    names = {"__name__": "__main__"}

    def run(code):
        exec(compile(code, "docs/budgets.md", "exec"), names)  # noqa: S102 - ours
        return capsys.readouterr().out

    try:
        assert run(in_a_run).startswith("$0.0000")
        ledger = names["tally"].ledger
        (asked,) = ledger.entries(ledger.runs(limit=1)[0].id)
        assert asked.output_limit == DEFAULT_OUTPUT_TOKENS
        # The loops are for clients that nothing else counts.
        names["tally"].untrack("openai-agents")
        with openai.OpenAI() as client:
            names["client"] = client
            run(limited)
            assert FLOOR_TOKENS < names["body"]["max_output_tokens"] < 90_000
            (asked,) = names["run"].usage.request_usage_entries
            assert asked.output_limit == names["body"]["max_output_tokens"]
            listed = run(standing)
            assert listed.startswith("acme 0E-9 0E-9 100.000000000 2")
            assert names["tally"].budgets.get("acme").limits.usd == 120
            assert run(warned) == "mine 50 %\n"
        told = run(estimated)
        assert "True 2000" in told
    finally:
        names["tally"].close()


def test_the_transcript_is_what_the_commands_print(provider, monkeypatch, capsys):
    monkeypatch.setattr(Clock, "now", lambda self: 1_795_000_000_000_000_000)
    listed = []
    for line in CONSOLE.splitlines():
        if line.startswith("$ "):
            _, *arguments = shlex.split(line[2:])
            if arguments == ["budget", "list"]:
                spend()
            capsys.readouterr()
            monkeypatch.setattr("sys.argv", ["tallystick", *arguments])
            assert run_command() == 0
        else:
            listed.append(line)
    assert capsys.readouterr().out.splitlines() == listed


def spend():
    """Use a cent for the customer of the transcript, and leave twenty in doubt."""
    with tallystick.open() as tally, tally.run("r", customer="acme") as run:
        for output, limit in ((5_000, 5_000), (None, 100_000)):
            with run.request(
                provider="openai",
                model="gpt-5-mini",
                max_input_tokens=0,
                max_output_tokens=limit,
            ) as request:
                if output is not None:
                    usage = {"input_tokens": 0, "output_tokens": output}
                    request.settle({"usage": usage})


def test_the_numbers_and_words_of_the_guide_are_those_of_a_budget():
    assert f"{DEFAULT_OUTPUT_TOKENS:,} tokens (`default_output_tokens`)" in PAGE
    assert f"down to {FLOOR_TOKENS} tokens" in PAGE
    assert f"At {Budget(usd=1).warn_at} % spent" in PAGE
    for per in PERIODS:
        assert f"`{per}`" in PAGE
