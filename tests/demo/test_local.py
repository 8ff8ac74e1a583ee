"""The model on this machine: its weights, its server, and the demonstration on it."""

import hashlib
import importlib.util
import socket
import sys
import types
from urllib.parse import urlsplit

import pytest

from tallystick.demo import local, server
from tallystick.demo.conversation import Listener
from tallystick.demo.demonstration import demonstrate
from tallystick.demo.local import LocalSource
from tallystick.demo.models import Unavailable, serving

installed = all(
    importlib.util.find_spec(name) for name in (server.SERVER_PACKAGE, server.WEIGHTS_PACKAGE)
)
needs_model = pytest.mark.skipif(
    not installed, reason="xllamacpp and the model's weights are not installed"
)


@pytest.fixture
def weights_package(monkeypatch):
    """A package of weights like the real one, of a few bytes."""
    package = types.ModuleType("weights")
    package.MODEL_NAME = "small.gguf"
    content = b"the weights"
    digest = hashlib.sha256(content).hexdigest()
    package.fails = False

    def assemble(path):
        if path.exists():
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise FileExistsError(path)
            return path
        path.write_bytes(content[:4] if package.fails else content)
        if package.fails:
            raise ValueError("the SHA-256 is wrong")
        return path

    package.assemble = assemble
    monkeypatch.setitem(sys.modules, "weights", package)
    monkeypatch.setattr(server, "WEIGHTS_PACKAGE", "weights")
    return package


def test_weights_are_joined_once_and_a_damaged_file_is_replaced(tmp_path, weights_package, capsys):
    folder = tmp_path / "cache"
    path = server.weights(folder)
    assert path.read_bytes() == b"the weights"
    assert "joining" in capsys.readouterr().out
    assert server.weights(folder) == path
    assert "joining" not in capsys.readouterr().out
    path.write_bytes(b"the weigh")
    assert server.weights(folder).read_bytes() == b"the weights"
    assert [file.name for file in folder.iterdir()] == ["small.gguf"]


def test_weights_that_are_not_whole_never_have_the_name_of_whole_ones(tmp_path, weights_package):
    weights_package.fails = True
    with pytest.raises(ValueError, match="SHA-256"):
        server.weights(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(local, "SERVER_PACKAGE", "no_such_package")
    with pytest.raises(Unavailable, match=r"no_such_package is not installed.*pip install"):
        LocalSource()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ('print(\'{"error": "no room"}\')', "the model cannot be started: no room"),
        ("import os; os.kill(os.getpid(), 4)", "the model server ended with exit code -4"),
        ("import time; time.sleep(60)", "the model was not ready after 0 s"),
    ],
)
async def test_a_server_that_does_not_start_gives_way_to_the_testing_provider(
    tmp_path, monkeypatch, program, reason
):
    """Whatever it is that fails, a crash of the native code included, the demo goes on."""
    script = tmp_path / "server.py"
    script.write_text(program)
    monkeypatch.setattr(local, "SERVER_PACKAGE", "json")
    monkeypatch.setattr(local, "WEIGHTS_PACKAGE", "json")
    monkeypatch.setattr(local, "COMMAND", (sys.executable, str(script)))
    if "sleep" in program:
        monkeypatch.setattr(local, "START_SECONDS", 0.2)
        monkeypatch.setattr(local, "STOP_SECONDS", 0.2)
    async with serving(None, testing=False, on_progress=lambda _: None) as (source, why):
        assert "testing provider" in source.title
        assert why == reason


@needs_model
@pytest.mark.slow
async def test_the_ledger_equals_the_model_servers_own_counts(tmp_path, tally):
    """A real model: each answer as the server told it, and the sum as its own counters have it."""
    doing = []
    source = LocalSource(tmp_path, on_progress=doing.append)
    async with source:
        address = urlsplit(source._address)
        result = await demonstrate(tally, source, Listener())
        metrics = await source._metrics()
    (tmp_path / "gemma-3-270m-q4_k_m.gguf").unlink()  # 250 MB that pytest would keep
    assert result.differences == []
    entries = tally.ledger.entries(result.run_id)
    settled = [entry for entry in entries if entry.status == "settled"]
    assert (
        sum(entry.output_tokens for entry in settled) + result.server.untold.output_tokens
        == (metrics["tokens_predicted_total"])
    )
    assert sum(entry.input_tokens for entry in settled) + result.server.untold.input_tokens == (
        metrics["prompt_tokens_total"] + metrics["prompt_tokens_cached_total"]
    )
    assert len(settled) == len(result.server.told) + result.server.failures
    assert [entry.status for entry in entries].count("in_doubt") == 1
    assert result.server.untold.requests == 1
    assert result.server.untold.input_tokens > 0
    assert set(result.missed) == {"failed", "nested", "streamed", "cancelled"}
    assert any("joining" in what for what in doing)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address.hostname, address.port), timeout=1)
