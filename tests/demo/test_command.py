"""`tallystick demo`, as it is typed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import typer
from typer.testing import CliRunner

from tallystick.cli.demo import demo
from tallystick.demo import local
from tallystick.errors import HostError, NotALedger

app = typer.Typer()
app.command("demo")(demo)


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def typed(*arguments):
    return CliRunner().invoke(app, arguments)


def test_it_says_what_happened_and_where_the_ledger_lies(tmp_path):
    place = tmp_path / "demo.db"
    result = typed("--testing", "--ledger", str(place))
    assert result.exit_code == 0, result.output
    text = result.output
    assert "the testing provider: no language model" in text
    for agent in ("Triage", "Billing", "Shipping", "Digest", "Writer"):
        assert f"{agent}:" in text
    assert "[cancelled]" in text
    assert "error 500" in text
    assert "in doubt" in text
    assert "unpriced" in text
    assert "Each of the 9 answers that the server ended is in the ledger" in text
    assert "not explained" not in text
    assert f"export TALLYSTICK_URL=sqlite:///{place.as_posix()}" in text
    assert place.exists()


def test_without_a_language_model_it_says_so_and_why(monkeypatch):
    monkeypatch.setattr(local, "SERVER_PACKAGE", "no_such_package")
    result = typed("--ledger", ":memory:")
    assert result.exit_code == 0, result.output
    assert "There is no language model here: no_such_package is not installed" in result.output
    assert "Model: the testing provider: no language model" in result.output


def test_without_the_agents_sdk_it_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("tallystick.demo.")]:
        if name != "tallystick.demo.conversation":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "agents", None)
    result = typed("--ledger", ":memory:")
    assert isinstance(result.exception, HostError)
    assert "pip install" in str(result.exception)


def test_its_json_is_alone_on_standard_output():
    result = typed("--testing", "--ledger", ":memory:", "--json")
    data = json.loads(result.stdout)
    assert data["differences"] == []
    assert data["ledger"] == ":memory:"
    counted = data["counted"]
    assert counted["tallystick"]["requests"] == counted["server"]["requests"] == 11
    assert counted["sdk"]["requests"] == 8
    assert "Triage" in result.stderr


def test_a_model_by_name_needs_a_key():
    result = typed("--model", "gpt-5-mini", "--ledger", ":memory:")
    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.output


def test_an_api_that_cannot_be_reached_is_one_line(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    result = typed("--model", "gpt-5-mini", "--ledger", ":memory:")
    assert result.exit_code == 1
    assert result.stderr.strip() == "tallystick: the conversation broke off: Connection error."


def test_a_ledger_that_is_none_is_refused_before_anything_runs(tmp_path):
    place = tmp_path / "letter.txt"
    place.write_text("Dear customer")
    result = typed("--testing", "--ledger", str(place))
    assert isinstance(result.exception, NotALedger)
    assert "Triage" not in result.output
    assert place.read_text() == "Dear customer"


def test_the_ledger_is_in_the_users_data_directory_unless_named(tmp_path, monkeypatch):
    import platformdirs

    monkeypatch.setattr(platformdirs, "user_data_dir", lambda *_, **__: str(tmp_path / "data"))
    result = typed("--testing")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "data" / "demo.db").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_quietly(tmp_path):
    """No traceback, no warning, and exit code 130."""
    program = "import tallystick.cli; tallystick.cli.main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "demo", "--testing", "--ledger", str(tmp_path / "x.db")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("3 "):
            break
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert output.endswith("Stopped. What was counted until then is in the ledger.\n")
    assert errors == ""
