"""The book on disk: quick to read, safe to share, made anew where it is damaged."""

import os
import subprocess
import sys

import pytest
from genai_prices.data import providers

from tallystick.pricing import Book, cache, source


@pytest.fixture
def directory(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("TALLYSTICK_CACHE", str(path))
    return path


def test_the_second_process_reads_the_same_book_without_genai_prices(directory):
    first = cache.installed_book()
    code = (
        "import sys\n"
        "from tallystick.pricing import Prices\n"
        "from tallystick.usage import RequestUsage\n"
        "quote = Prices().quote(RequestUsage(1000, 500, provider='openai', model='gpt-5'))\n"
        "assert quote.nanodollars == 6_250_000, quote\n"
        "assert 'genai_prices' not in sys.modules\n"
        "assert 'pydantic' not in sys.modules\n"
        "print(quote.book)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=directory
    )
    assert told.stdout.strip() == first.hash


def test_a_book_that_was_kept_is_the_book_that_was_read(directory):
    read = Book(source.read())
    assert cache.installed_book().data == read.data
    kept = cache.installed_book()
    assert kept.data == read.data
    assert kept.hash == read.hash
    assert Book.of(read.content).hash == read.hash


def test_the_context_windows_of_the_data_are_kept(directory):
    cache.installed_book()
    kept = cache.installed_book()
    windows = {(name, model.id): model.context_window for name, model in kept.models()}
    assert windows == {
        (provider.id, model.id): model.context_window
        for provider in providers
        for model in provider.models
    }
    assert windows["openai", "gpt-4o"] == 128_000


def test_a_book_of_an_older_form_is_made_anew(directory, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(source, "FORMAT", source.FORMAT - 1)
        stale = cache.installed_book()
    assert cache.installed_book().data["format"] == source.FORMAT
    assert cache.installed_book().hash != stale.hash


@pytest.mark.parametrize("size", [0, 10, 100_000, -1])
def test_a_damaged_file_is_made_anew(directory, size):
    whole = cache.installed_book()
    (file,) = directory.iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:size] + b"\0" if size >= 0 else content[:200] + content[201:])
    assert cache._read(file) is None
    assert cache.installed_book().hash == whole.hash
    assert file.read_bytes() == content


def test_data_of_another_version_is_kept_apart(directory, monkeypatch):
    cache.installed_book()
    for number in range(6):
        monkeypatch.setattr(source, "installed", lambda number=number: f"version {number}")
        cache.installed_book()
    assert len(list(directory.iterdir())) == cache.KEPT


def test_a_cache_that_cannot_be_kept_costs_only_time(tmp_path, monkeypatch):
    blocked = tmp_path / "a file"
    blocked.write_text("no directory")
    monkeypatch.setenv("TALLYSTICK_CACHE", str(blocked / "cache"))
    assert cache.installed_book().hash == Book(source.read()).hash


def test_a_write_that_fails_leaves_no_file_behind(directory, monkeypatch):
    def broken(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", broken)
    cache.installed_book()
    assert list(directory.iterdir()) == []


def test_without_genai_prices_there_is_no_book_and_an_import_error(directory, monkeypatch):
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "genai_prices.data", None)
    with pytest.raises(ImportError):
        cache.installed_book()


def test_what_is_no_book_is_refused():
    for content in (b"[]", b"{}", b"7", b"not json", b'{"providers": 1}'):
        with pytest.raises(ValueError, match=r"book|Expecting"):
            Book.of(content)


def test_many_processes_that_start_at_once_read_one_book(directory):
    code = "from tallystick.pricing.cache import installed_book\nprint(installed_book().hash)"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ.copy()
        )
        for _ in range(4)
    ]
    told = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert told == {Book(source.read()).hash}
    assert len(list(directory.iterdir())) == 1
