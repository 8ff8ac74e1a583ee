"""`tallystick prices`: what models cost, since when, and newer data on request alone."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from genai_prices import update_prices

from tallystick.pricing import Book, Prices, cache, source
from tallystick.pricing.update import UpdateError, update
from tallystick.usage import RequestUsage


@pytest.fixture
def directory(tmp_path, monkeypatch):
    path = tmp_path / "prices"
    monkeypatch.setenv("TALLYSTICK_CACHE", str(path))
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TALLYSTICK_CACHE", str(tmp_path_factory.getbasetemp() / "prices"))
    # No test of these reaches the address that the data is published at.
    monkeypatch.setattr(update_prices, "DEFAULT_UPDATE_URL", "http://127.0.0.1:9/none")


def newer(models=2400, price=3):
    """Data as genai-prices publishes it: one provider with as many models as there are now."""
    listed = [
        {
            "id": f"model-{number}",
            "match": {"equals": f"model-{number}"},
            "prices": {"input_mtok": price, "output_mtok": 12.5},
        }
        for number in range(models)
    ]
    return [{"id": "openai", "name": "OpenAI", "api_pattern": "x", "models": listed}]


@pytest.fixture
def server(monkeypatch):
    """Serve what `answer` holds on loopback, where the updater looks for it."""
    answer = {"status": 200, "body": json.dumps(newer()).encode(), "asked": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer["asked"] += 1
            self.send_response(answer["status"])
            self.send_header("content-length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"])

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{listening.server_port}/data.json"
        monkeypatch.setattr(update_prices, "DEFAULT_UPDATE_URL", url)
        yield answer
        listening.shutdown()
        thread.join()


def row(done, start):
    words = start.split()
    lines = [line.split() for line in done.stdout.splitlines()]
    (found,) = [line for line in lines if line[: len(words)] == words]
    return found


def test_a_search_lists_models_with_their_rates_of_now(tallystick):
    done = tallystick("prices", "gpt-5.4", "--provider", "openai")
    assert (done.returncode, done.stderr) == (0, "")
    assert row(done, "openai gpt-5.4")[2:6] == ["$2.50", "$0.25", "\N{EN DASH}", "$15.00"]
    assert "above 272,000 in: out $22.50" in done.stdout
    assert "web searches $10.00 a thousand" in done.stdout
    assert "github-copilot" not in done.stdout
    assert "book " in done.stdout


def test_a_search_finds_a_model_by_another_of_its_names(tallystick):
    done = tallystick("prices", "gpt-5.4-2026-03-05", "--provider", "openai")
    assert row(done, "openai gpt-5.4")
    assert "1 model; " in done.stdout


def test_without_a_search_every_model_is_listed(tallystick):
    told = json.loads(tallystick("prices", "--json").stdout)
    assert len(told["models"]) == sum(1 for _ in Book(source.read()).models())
    (found,) = [
        model
        for model in told["models"]
        if (model["provider"], model["model"]) == ("openai", "gpt-5.4")
    ]
    assert found["rates"]["output_tokens"] == {
        "usd": "15",
        "per": 1_000_000,
        "above": [{"input_tokens": 272_000, "usd": "22.5"}],
    }


def test_free_and_unknown_rates_do_not_look_the_same(tallystick):
    told = json.loads(tallystick("prices", "--json").stdout)["models"]
    without = {f"{model['provider']}/{model['model']}" for model in told if not model["rates"]}
    free = {f"{model['provider']}/{model['model']}" for model in told if model["free"]}
    assert "google/gemma-3" in free
    (unknown, *_) = sorted(without - free)
    provider, _, name = unknown.partition("/")
    listed = tallystick("prices", name, "--provider", provider)
    assert "?" in row(listed, f"{provider} {name}")
    assert "$0" in row(tallystick("prices", "gemma-3", "--provider", "google"), "google gemma-3")


def test_the_history_has_dates_tiers_and_hours(tallystick):
    done = tallystick("prices", "--history", "gpt-5.4", "--provider", "openai")
    assert row(done, "2026-10-12 all flex")[3:5] == ["$1.25", "$0.13"]
    assert row(done, "2026-10-14 all batch")
    hours = tallystick("prices", "--history", "deepseek-v4-flash", "--provider", "deepseek").stdout
    assert "01:00 to 04:00 UTC" in hours
    assert "2026-09-10" in hours
    told = json.loads(tallystick("prices", "--history", "gpt-5.4", "--json").stdout)
    (openai,) = [model for model in told["models"] if model["provider"] == "openai"]
    (flex,) = [rates for rates in openai["rates"] if rates["for"] == {"service_tier": "flex"}]
    assert flex["from"] == "2026-10-12"
    # What the tier does not say is as in the standard rates.
    assert flex["rates"]["web_searches"]["usd"] == "10"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gpt-5.44"], "did you mean gpt-5.4"),
        (["--history", "gpt-5.44"], "did you mean gpt-5.4"),
        (["--provider", "opnai"], "did you mean openai?"),
    ],
)
def test_what_there_is_not_ends_with_4_and_names_what_is_close(tallystick, arguments, said):
    done = tallystick("prices", *arguments)
    assert done.returncode == 4
    assert done.stdout == ""
    assert said in done.stderr


def test_an_update_is_another_book_that_prices_what_comes_after(tallystick, directory, server):
    before = cache.installed_book()
    done = tallystick("prices", "--update", TALLYSTICK_CACHE=str(directory))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"takes the place of {before.hash}" in done.stdout
    assert "2,400 new: openai/model-0, " in done.stdout
    after = cache.installed_book()
    assert after.hash != before.hash
    usage = RequestUsage(1_000_000, 0, provider="openai", model="model-7")
    assert Prices(book=after).quote(usage).nanodollars == 3_000_000_000
    assert Prices(book=before).quote(usage).nanodollars is None
    assert sorted(file.name.partition("-")[0] for file in directory.iterdir()) == [
        "prices",
        "updated",
    ]
    again = tallystick("prices", "--update", TALLYSTICK_CACHE=str(directory))
    assert again.stdout == f"Nothing newer: book {after.hash} is the newest.\n"
    Path(update_file(directory)).unlink()
    assert cache.installed_book().hash == before.hash


def update_file(directory):
    (file,) = directory.glob("updated-*.json")
    return file


def test_nothing_is_fetched_unless_it_is_asked_for(tallystick, directory, server):
    for arguments in (["prices"], ["prices", "--history", "gpt-5"]):
        assert tallystick(*arguments, TALLYSTICK_CACHE=str(directory)).returncode == 0
    tallystick("price", "gpt-5", "--provider", "openai", "--input", "1")
    assert server["asked"] == 0


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, b"busy", "503"),
        (200, b"not json", "could not be fetched"),
        (200, b"{}", "provider array"),
        (200, json.dumps([{"id": "x"}]).encode(), "could not be fetched"),
        (200, json.dumps(newer(models=3)).encode(), "has 3 models where"),
    ],
)
def test_a_failing_update_says_why_and_changes_nothing(
    tallystick, directory, server, status, body, said
):
    before = cache.installed_book()
    kept = {file: file.read_bytes() for file in directory.iterdir()}
    server.update(status=status, body=body)
    done = tallystick("prices", "--update", TALLYSTICK_CACHE=str(directory))
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert "the prices are unchanged" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert cache.installed_book().hash == before.hash
    assert {file: file.read_bytes() for file in directory.iterdir()} == kept


def test_offline_it_fails_in_one_line(tallystick, directory):
    done = tallystick("prices", "--update", TALLYSTICK_CACHE=str(directory))
    assert done.returncode == 1
    assert "newer prices could not be fetched" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_update_that_cannot_be_kept_changes_nothing(directory, server, monkeypatch):
    before = cache.installed_book()
    monkeypatch.setattr(cache.os, "fdopen", fail)
    with pytest.raises(UpdateError, match="cannot be kept: no space"):
        update()
    monkeypatch.undo()
    monkeypatch.setenv("TALLYSTICK_CACHE", str(directory))
    assert [file.name.partition("-")[0] for file in directory.iterdir()] == ["prices"]
    assert cache.installed_book().hash == before.hash


def fail(*_, **__):
    raise OSError("no space left on the device")


def test_a_damaged_update_is_as_if_there_were_none(directory, server):
    before = cache.installed_book()
    update()
    file = update_file(directory)
    file.write_bytes(file.read_bytes()[:1000])
    assert cache.installed_book().hash == before.hash


def test_an_update_holds_until_another_version_is_installed(directory, server, monkeypatch):
    before = cache.installed_book()
    update()
    assert cache.installed_book().hash != before.hash
    monkeypatch.setattr(source, "installed", lambda: "another version")
    assert cache.installed_book().hash == before.hash


def test_an_update_leaves_the_snapshot_of_the_process_alone(directory, server):
    from genai_prices import data_snapshot

    update()
    assert data_snapshot._custom_snapshot is None
