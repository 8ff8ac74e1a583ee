"""What `docs/cli.md` shows is what the commands print."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tallystick.cli.exits import Exit
from tallystick.report import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ tallystick (.*)\n([\s\S]*?)```", PAGE)
SNAPSHOTS = {
    "show": "run-80",
    "runs": "runs-80",
    "report": "report-80",
    "reconcile": "reconcile-80",
}


@pytest.mark.parametrize(("command", "output"), SHOWN, ids=[command for command, _ in SHOWN])
def test_each_transcript_is_the_output_that_is_tested(tallystick, command, output):
    arguments = shlex.split(command)
    assert tallystick(*arguments).returncode == 0
    kept = Path(__file__).parent / "snapshots" / f"{SNAPSHOTS[arguments[0]]}.txt"
    assert output == kept.read_text(encoding="utf-8")


def test_there_is_a_transcript_of_each_table():
    assert {command.split()[0] for command, _ in SHOWN} == SNAPSHOTS.keys()


@pytest.mark.parametrize(
    ("row", "command"),
    [
        (r"\| `runs` \| (.*)", "runs"),
        (r"\| `show` \| (.*)", "show last"),
        (r"\| `report` \| (.*)", "report"),
        (r"\| `price` \| (.*)", "price gpt-5 --provider openai --input 1"),
        (r"\| `prices` \| (.*);", "prices gpt-5"),
        (r"with `--history`, (.*)", "prices --history gpt-5"),
        (r"\| `reprice` \| (.*)", "reprice --dry-run"),
        (r"\| `reconcile` \| (.*);", "reconcile"),
        (r"where it settles, (.*), and", "reconcile req_5 --never-sent --dry-run"),
        (r"with `--trail`, (.*) \|", "reconcile --trail"),
        (r"\| `verify` \| (.*)", "verify"),
    ],
)
def test_the_documented_keys_are_those_of_the_json(tallystick, row, command):
    (documented,) = re.findall(row, PAGE)
    printed = json.loads(tallystick(*command.split(), "--json").stdout)
    assert re.findall(r'"(\w+)"', documented) == list(printed)


def test_every_exit_code_and_key_is_documented():
    for code in Exit:
        assert f"\n| {code.value} | " in PAGE
    for key in KEYS:
        assert f"`{key}`" in PAGE
