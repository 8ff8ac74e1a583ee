"""The examples of the README and the guides run as they stand, against the testing provider."""

import asyncio
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import agents
import openai
import pytest

import tallystick
from tallystick.pricing import rates
from tallystick.testing import Provider

ROOT = Path(__file__).parents[1]


def examples(name, language="python"):
    text = (ROOT / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def provider(monkeypatch, tmp_path):
    """A provider that every client of an example talks to, and a ledger of the test's own."""
    agents.set_tracing_disabled(disabled=True)
    monkeypatch.setenv("TALLYSTICK_URL", str(tmp_path / "usage.db"))
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    # A client that another test made the SDK's default is closed by now.
    monkeypatch.setattr("agents.models._openai_shared._default_openai_client", None)
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    with Provider() as started:
        monkeypatch.setenv("OPENAI_BASE_URL", started.base_url)
        yield started


def run(code, **names):
    exec(compile(code, "example", "exec"), {"__name__": "__main__", **names})  # noqa: S102 - ours


def test_the_example_of_the_readme_counts_a_run(provider):
    first, *_ = examples("README.md")
    done = subprocess.run(
        [sys.executable, "-c", first], capture_output=True, text=True, timeout=60, check=True
    )
    (record,) = provider.served
    summary, request = done.stdout.splitlines()
    assert summary == f"1 {record.total_tokens} $0.000000 + 1 unpriced"
    assert request.startswith("Planner 1 gpt-5-mini settled")


def test_the_two_lines_of_the_readme_stop_a_run(provider, tmp_path):
    """At a price of a dollar for a token, fifty cents buy nothing."""
    _, two_lines, _ = examples("README.md")
    config = tmp_path / "tallystick.toml"
    config.write_text(
        '[[rates]]\nmodel = "*"\noutput_per_million = 1000000\ninput_per_million = 0\n'
    )
    body = "\n".join(f"    {line}" for line in two_lines.splitlines())
    names = {"tallystick": tallystick, "Runner": agents.Runner}
    names["agent"] = agents.Agent("Planner", model="gpt-5-mini")
    code = f"async def example():\n{body}\n"
    exec(compile(code, "README.md", "exec"), names)  # noqa: S102 - ours
    with tallystick.open(config=config, on_fault="raise") as tally:
        tally.track("openai-agents")
        names["tally"] = tally
        with pytest.raises(tallystick.BudgetExceeded):
            asyncio.run(names["example"]())
        tally.untrack("openai-agents")
    assert provider.served == []


def test_the_loop_of_ones_own_of_the_readme(provider, capsys):
    *_, loop = examples("README.md")
    with tallystick.open(on_fault="raise") as tally, openai.OpenAI() as client:
        run(loop, tally=tally, client=client)
    assert capsys.readouterr().out.startswith("$0.0000")
    assert len(provider.served) == 1


def test_the_example_of_the_price_guide(capsys):
    (example,) = examples("docs/prices.md")
    run(example)
    assert "10000 input_tokens at" in capsys.readouterr().out


def test_the_configuration_of_the_price_guide_is_read(tmp_path):
    (example,) = examples("docs/prices.md", "toml")
    path = tmp_path / "tallystick.toml"
    path.write_text(example)
    assert rates.load(path)


async def test_the_examples_of_the_agents_guide(provider):
    track, explicit, budgeted = examples("docs/openai-agents.md")
    names = {}
    exec(compile(track, "docs", "exec"), names)  # noqa: S102 - ours
    tally = names["tally"]
    tally.untrack("openai-agents")
    body = "\n".join(f"    {line}" for line in explicit.splitlines())
    names |= {"Runner": agents.Runner, "agent": agents.Agent("A", model="gpt-5")}
    exec(compile(f"async def example():\n{body}\n    return run\n", "docs", "exec"), names)  # noqa: S102
    async with openai.AsyncOpenAI() as client:
        agents.set_default_openai_client(client, use_for_tracing=False)
        done = await names["example"]()
    assert done.usage.requests == 1
    compile(f"async def example():\n{textwrap.indent(budgeted, '    ')}", "docs", "exec")
    tally.close()


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "ARCHITECTURE.md",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
    ],
)
def test_every_link_to_a_file_leads_somewhere(name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
