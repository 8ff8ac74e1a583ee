"""Runs, requests and attribution, for users without a host."""

import asyncio
import contextvars
import logging
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

import tallystick
from tallystick import Clock, Usage
from tallystick.errors import LedgerError, LedgerTooNew, LedgerUnavailable, NotALedger
from tallystick.wire import Reading

ANSWER = {
    "id": "resp_1",
    "object": "response",
    "model": "gpt-5-2025-08-07",
    "status": "completed",
    "output": [],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 15,
    },
}


@pytest.fixture
def tally(tmp_path):
    with tallystick.open(tmp_path / "usage.db", on_fault="raise") as opened:
        yield opened
        assert opened.ledger.verify().ok


def test_a_loop_of_ones_own_is_three_lines(tally):
    with tally.run("mine", customer="acme") as run:
        with run.request(model="gpt-5", provider="openai", agent="me", turn=1) as request:
            request.settle(ANSWER)
    (entry,) = run.usage.request_usage_entries
    assert (entry.model, entry.requested_model) == ("gpt-5-2025-08-07", "gpt-5")
    assert (entry.input_tokens, entry.input_tokens_details.cached_tokens) == (10, 4)
    assert (entry.customer, entry.agent, entry.turn) == ("acme", "me", 1)
    assert (entry.status, entry.outcome, entry.response_id) == ("settled", "completed", "resp_1")
    assert entry.cost.complete
    assert entry.cost.nanodollars > 0
    assert tally.usage(run) == run.usage


async def test_the_same_in_async_code(tally):
    async with tally.run("mine") as run, run.request(model="gpt-5", provider="openai") as request:
        request.settle(ANSWER)
    assert tally.usage(run) == run.usage
    assert run.usage.requests == 1


def test_a_second_settlement_changes_nothing(tally):
    """Each hold ends exactly once (I3)."""
    with tally.run("mine") as run, run.request(model="gpt-5", provider="openai") as request:
        assert request.settle(ANSWER) is not None
        before = run.usage.snapshot()
        assert request.settle(ANSWER) is None
        assert request.doubt() is None
        assert request.reject("500") is None
        request.release()
    assert run.usage == before == tally.usage(run)


def test_a_request_that_is_not_settled_is_in_doubt(tally):
    with tally.run("mine") as run:
        with run.request(model="gpt-5", max_output_tokens=50):
            pass
        with pytest.raises(ZeroDivisionError), run.request(model="gpt-5"):
            raise ZeroDivisionError
    forgotten, broken = run.usage.request_usage_entries
    assert (forgotten.status, forgotten.error_type) == ("in_doubt", "not_settled")
    assert forgotten.output_tokens == 50
    assert forgotten.input_tokens is None
    assert (broken.status, broken.error_type) == ("in_doubt", "ZeroDivisionError")
    assert run.usage.in_doubt == 2
    assert run.usage.unknown["input_tokens"] == 2
    assert not run.usage.cost.complete


class _Answered(Exception):  # noqa: N818 - what clients raise for an HTTP error
    def __init__(self, status_code):
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "status", "tokens"),
    [
        (_Answered(429), "settled", 0),
        (_Answered(500), "settled", 0),
        (_Answered(400), "settled", 0),
        (_Answered(504), "in_doubt", 256),
        (_Answered(502), "in_doubt", 256),
        (TimeoutError(), "in_doubt", 256),
        (KeyboardInterrupt(), "in_doubt", 256),
        (type("ReadError", (Exception,), {})(), "in_doubt", 256),
        (type("ConnectError", (Exception,), {})(), "released", None),
    ],
)
def test_how_an_exception_ends_a_request(tally, error, status, tokens):
    """Refused costs nothing, never sent is no request, and all else is in doubt (I4)."""
    error.request = SimpleNamespace(url="https://api.openai.com/v1/responses")
    with tally.run("mine") as run, pytest.raises(type(error)), run.request(model="gpt-5"):
        raise error
    tally.flush()
    (entry,) = tally.ledger.entries(run.id)
    assert entry.status == status
    assert run.usage.requests == (status != "released")
    if tokens is not None:
        assert entry.output_tokens == tokens


@pytest.mark.parametrize(
    ("error", "url"),
    [
        (_Answered(404), None),
        (_Answered(404), "https://crm.example/customers/1"),
        (ConnectionRefusedError(), None),
        (type("ConnectError", (Exception,), {})(), "http://localhost:5432/"),
    ],
)
def test_an_exception_of_something_else_says_nothing_of_the_request(tally, error, url):
    """I4: the model may have answered before the user's database was away."""
    if url is not None:
        error.request = SimpleNamespace(url=url)
    with tally.run("mine") as run, pytest.raises(type(error)), run.request(model="gpt-5"):
        raise error
    (entry,) = run.usage.request_usage_entries
    assert entry.status == "in_doubt"


def test_runs_nest_and_count_once_in_each(tally):
    """A child's requests count once in the child and once in each ancestor (I8)."""
    with tally.run("outer", customer="acme") as outer:
        _ask(outer)
        with tally.run("inner", user="u1") as inner:
            _ask(inner)
            with tally.run("innermost") as innermost:
                _ask(innermost)
    assert [run.usage.requests for run in (outer, inner, innermost)] == [3, 2, 1]
    assert innermost.parent is inner
    for run in (outer, inner, innermost):
        assert tally.usage(run) == run.usage
        assert {entry.customer for entry in run.usage.request_usage_entries} == {"acme"}
    assert [entry.user for entry in outer.usage.request_usage_entries] == [None, "u1", "u1"]


def _ask(run, answer=ANSWER):
    with run.request(model="gpt-5", provider="openai") as request:
        request.settle(answer)


def test_attribution_holds_inside_and_not_outside(tally):
    with (
        tallystick.attribute(customer="acme", project="p", team="red"),
        tally.run("r", customer="other") as run,
    ):
        _ask(run)
        with tallystick.attribute(customer=None, team="blue", shift=2):
            _ask(run)
        _ask(run)
    first, second, third = run.usage.request_usage_entries
    assert (first.customer, first.project, first.tags) == ("other", "p", {"team": "red"})
    assert (second.customer, second.tags) == (None, {"team": "blue", "shift": "2"})
    assert third.get("team") == "red"
    assert set(run.usage.by("team")) == {"red", "blue"}


def test_what_cannot_be_an_attribution_is_left_out_and_said(tally, caplog):
    """A reserved name, or a value that is no text, stops nobody's run."""
    with tally.run("r", customer=3.5, model="mine", note="a" * 999, null="a\0b\ud800") as run:
        _ask(run)
    (entry,) = run.usage.request_usage_entries
    assert entry.customer is None
    assert entry.model == "gpt-5-2025-08-07"
    assert len(entry.tags["note"]) == 256
    assert entry.tags["null"] == "ab?"
    assert "attribution left out" in caplog.text


def test_threads_see_the_run_where_their_context_was_copied(tally):
    with tally.run("r", customer="acme") as run:
        context = contextvars.copy_context()
        seen = []
        thread = threading.Thread(target=lambda: seen.append(context.run(tallystick.current_run)))
        thread.start()
        thread.join()
        bare = threading.Thread(target=lambda: seen.append(tallystick.current_run()))
        bare.start()
        bare.join()
        # A run that is handed over by hand still knows whom it is for.
        other = threading.Thread(target=lambda: _ask(run))
        other.start()
        other.join()
    assert seen == [run, None]
    assert run.usage.request_usage_entries[0].customer == "acme"


def test_many_threads_on_one_run_lose_nothing(tally):
    with tally.run("r") as run, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: _ask(run), range(200)))
    assert run.usage.requests == 200
    assert run.usage.input_tokens == 2000
    assert tally.usage(run) == run.usage


def test_a_run_closed_twice_is_closed(tally):
    with tally.run("r") as run:
        _ask(run)
    assert run.close("failed") is None
    run.__exit__(None, None, None)
    assert run.outcome == "completed"
    _ask(run)
    assert run.usage.requests == 2
    assert tally.usage(run) == run.usage
    assert tally.ledger.run(run.id).outcome == "completed"


def test_how_a_run_ended_is_kept(tally):
    for error, outcome in ((ValueError, "failed"), (asyncio.CancelledError, "cancelled")):
        with pytest.raises(error), tally.run("r") as run:
            raise error
        assert tally.ledger.run(run.id).outcome == outcome


def test_a_run_left_in_another_context_ends_all_the_same(tally):
    """As an async generator does that somebody else closes."""
    run = tally.run("r")
    contextvars.copy_context().run(run.__enter__)
    run.__exit__(None, None, None)
    assert run.outcome == "completed"
    assert tallystick.current_run() is None


def test_a_response_id_that_comes_twice_is_counted_and_noted(tally):
    """Both requests were sent; that the provider repeats itself is an anomaly."""
    with tally.run("r") as run:
        _ask(run)
        _ask(run)
    first, second = run.usage.request_usage_entries
    assert run.usage.requests == 2
    assert not first.anomalies
    assert list(second.anomalies) == ["response_id: resp_1 again"]


def test_clocks_that_jump_do_no_harm(tmp_path):
    """The wall clock going back makes no duration negative, and monotonic time is measured."""

    class Jumping(Clock):
        wall = 1_800_000_000_000_000_000
        steady = 0

        def now(self):
            Jumping.wall -= 3_600_000_000_000
            return Jumping.wall

        def monotonic(self):
            Jumping.steady += 250_000_000
            return Jumping.steady

    with tallystick.open(tmp_path / "x.db", clock=Jumping(), on_fault="raise") as tally:
        with tally.run("r") as run:
            _ask(run)
        (entry,) = run.usage.request_usage_entries
        assert entry.duration == 0.25
        assert tally.usage(run) == run.usage
        assert tally.ledger.verify().ok


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -5, "output_tokens": 3},
        {"input_tokens": "many", "output_tokens": 3},
        {"input_tokens": None, "output_tokens": 3},
        {"input_tokens": 10**30, "output_tokens": 3},
        {"input_tokens": [1], "output_tokens": 3, "total_tokens": {}},
        {"input_tokens": 5, "output_tokens": 3, "input_tokens_details": "none"},
        {"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": -1}},
    ],
)
def test_a_providers_nonsense_is_counted_as_unknown(tally, usage):
    with tally.run("r") as run:
        _ask(run, {**ANSWER, "usage": usage})
    (entry,) = run.usage.request_usage_entries
    assert entry.output_tokens == 3
    assert entry.status == "settled"
    if usage["input_tokens"] != 5:
        assert entry.input_tokens is None
        assert run.usage.unknown["input_tokens"] == 1
        assert not run.usage.cost.complete
    if usage["input_tokens"] is not None and entry.input_tokens is None:
        assert entry.anomalies
    assert tally.usage(run) == run.usage


@pytest.mark.parametrize("response", [None, 3, "text", b"\xff", [], {}, object(), {"usage": None}])
def test_a_response_that_says_nothing_is_in_doubt(tally, response):
    with tally.run("r") as run:
        _ask(run, response)
    (entry,) = run.usage.request_usage_entries
    assert (entry.status, entry.estimated) == ("in_doubt", True)


def test_another_model_inside_a_request_has_an_entry_of_its_own(tally):
    """Its tokens have another price, so they are not in the counts of the first."""
    inside = Reading(model="gpt-image-1", input_tokens=5, output_tokens=7)
    with tally.run("r") as run:
        with run.request(model="gpt-5", provider="openai", agent="A") as request:
            request.settle(Reading(model="gpt-5", input_tokens=1, output_tokens=2, others=[inside]))
    first, second = run.usage.request_usage_entries
    assert (first.model, first.input_tokens) == ("gpt-5", 1)
    assert (second.model, second.output_tokens, second.agent) == ("gpt-image-1", 7, "A")
    assert list(second.anomalies) == [f"inside: {first.id}"]
    assert tally.usage(run) == run.usage


def test_a_process_that_dies_leaves_its_estimate(tmp_path):
    """What is held has the counts that it may come to, and is in doubt when nobody ends it."""
    program = (
        "import os, tallystick\n"
        f"tally = tallystick.open({str(tmp_path / 'x.db')!r})\n"
        "run = tally.run('r').__enter__()\n"
        "request = run.request(model='gpt-5', provider='openai', max_output_tokens=40)\n"
        "request.__enter__()\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 9
    with tallystick.open(tmp_path / "x.db", on_fault="raise") as tally:
        (row,) = tally.ledger.runs()
        assert row.outcome == "interrupted"
        (entry,) = tally.ledger.entries(row.id)
        assert (entry.status, entry.estimated, entry.output_tokens) == ("in_doubt", True, 40)
        assert tally.ledger.verify().ok


def test_estimates_learn_from_the_models_earlier_answers(tally):
    with tally.run("r") as run:
        _ask(run)
        with run.request(model="gpt-5-2025-08-07"):
            pass
    assert run.usage.request_usage_entries[1].output_tokens == 5


class Hooks:
    def __init__(self):
        self.events = []

    def on_run_start(self, run):
        self.events.append(("start", run.name))

    async def on_llm_start(self, run, request):
        await asyncio.sleep(0)
        self.events.append(("ask", run.name, request.model))

    def on_llm_end(self, run, entry):
        self.events.append(("answer", run.name, entry.total_tokens, run.usage.requests))

    async def on_run_end(self, run):
        self.events.append(("end", run.name, run.outcome))


EVENTS = [
    ("start", "outer"),
    ("start", "inner"),
    ("ask", "inner", "gpt-5"),
    ("answer", "inner", 15, 1),
    ("end", "inner", "completed"),
    ("end", "outer", "completed"),
]


def test_hooks_are_told_plain_or_async_of_children_too(tally):
    hooks = Hooks()
    with tally.run("outer", hooks=hooks), tally.run("inner") as inner:
        _ask(inner)
    assert hooks.events == EVENTS


async def test_hooks_in_async_code(tally):
    hooks = Hooks()
    async with tally.run("outer", hooks=hooks), tally.run("inner") as inner:
        async with inner.request(model="gpt-5") as request:
            request.settle(ANSWER)
    assert hooks.events == EVENTS


def test_an_async_hook_in_plain_code_leaves_the_threads_loop_alone(tally):
    """The thread may keep a loop for a host's own runs; a hook runs on another."""

    def inside():
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        with tally.run("r", hooks=Hooks()) as run:
            _ask(run)
        kept = asyncio.get_event_loop_policy().get_event_loop()
        loop.close()
        return kept is loop

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result()


def test_a_hook_can_refuse_a_request_before_it_is_sent(tally):
    def refuse(run, request):
        raise PermissionError("no")

    sent = []
    with tally.run("r", hooks=SimpleNamespace(on_llm_start=refuse)) as run:
        with pytest.raises(PermissionError), run.request(model="gpt-5"):
            sent.append(1)
    assert sent == []
    assert run.usage.requests == 0
    assert tally.ledger.entries(run.id) == []


def test_any_other_hook_that_raises_is_a_fault_and_the_run_goes_on(tmp_path, caplog):
    def broken(run, *_):
        raise ZeroDivisionError

    hooks = SimpleNamespace(on_llm_end=broken, on_run_end=broken)
    with tallystick.open(tmp_path / "x.db", on_fault="continue") as tally:
        with tally.run("r", hooks=hooks) as run:
            _ask(run)
            _ask(run)
        assert run.usage.requests == 2
        assert tally.faults == 3
    assert caplog.text.count("fault while calling on_llm_end") == 1


# The ledger that cannot be kept.


def _newer(path):
    with tallystick.open(path, on_fault="raise"):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 9999")
    connection.close()


def _other(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (_newer, LedgerTooNew),
        (_other, NotALedger),
        (
            lambda path: path.write_bytes(b"not a database, but a text of some length" * 99),
            NotALedger,
        ),
        (lambda path: path.mkdir(), LedgerUnavailable),
    ],
)
def test_a_ledger_that_cannot_be_opened_is_said_so_and_the_run_goes_on(
    tmp_path, caplog, make, error
):
    path = tmp_path / "usage.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error, match=r"usage\.db"):
        tallystick.open(path, on_fault="raise")
    with tallystick.open(path, on_fault="continue") as tally:
        assert "usage.db" in caplog.text
        assert tally.faults == 1
        with tally.run("r") as run:
            _ask(run)
        assert run.usage.requests == 1
        assert run.usage.cost.complete
        assert tally.faults > 1
        with pytest.raises(error):
            _ = tally.ledger
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_full_disk_in_the_middle_loses_no_count(tmp_path, caplog):
    """What could not be kept is counted as a fault; the usage in memory is whole."""
    path = tmp_path / "usage.db"
    with tallystick.open(path, on_fault="continue") as tally:
        with tally.run("before") as run:
            _ask(run)
        tally.flush()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("DROP TABLE entries")
        other.execute("COMMIT")
        other.close()
        with tally.run("after") as run:
            _ask(run)
        assert run.usage.requests == 1
        assert tally.faults > 0
    assert "the run goes on" in caplog.text


def test_the_environment_names_the_ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("TALLYSTICK_URL", f"sqlite:///{tmp_path / 'from-env.db'}")
    with tallystick.open(on_fault="raise") as tally, tally.run("r") as run:
        _ask(run)
    assert (tmp_path / "from-env.db").stat().st_mode & 0o777 == 0o600


def test_a_broken_configuration_is_said_so_and_prices_go_on(tmp_path, caplog):
    config = tmp_path / "tallystick.toml"
    config.write_text("[[rates]]\nmodel = 3\n")
    with pytest.raises(tallystick.ConfigError, match=r"tallystick\.toml"):
        tallystick.open(":memory:", config=config, on_fault="raise")
    with tallystick.open(":memory:", config=config, on_fault="continue") as tally:
        with tally.run("r") as run:
            _ask(run)
        assert run.usage.cost.complete
        assert tally.faults == 1


def test_a_closed_tally_still_counts_in_memory(tmp_path):
    tally = tallystick.open(tmp_path / "x.db", on_fault="continue")
    tally.close()
    tally.close()
    with tally.run("late") as run:
        _ask(run)
    assert run.usage.requests == 1
    assert tally.faults > 0


def test_the_price_of_an_estimate_is_one(tally):
    with tally.run("r") as run:
        with run.request(model="gpt-5", provider="openai") as request:
            request.doubt(Reading(input_tokens=10))
    assert run.usage.cost.nanodollars > 0
    assert run.usage.cost.estimated == 1
    assert run.usage.request_usage_entries[0].cost_estimated


async def test_a_caller_that_leaves_while_its_request_is_held_sent_nothing(tally):
    """The row is committed all the same, and is released: it holds nobody's money."""
    tally.ledger._writer._spared_until = float("inf")
    with tally.run("r") as run:
        task = asyncio.create_task(run.request(model="gpt-5").hold_async())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    tally.flush()
    assert [entry.status for entry in tally.ledger.entries(run.id)] == ["released"]
    assert run.usage.requests == 0


def test_a_snapshot_of_a_run_stays_as_it_was(tally):
    with tally.run("r") as run:
        before = run.snapshot()
        _ask(run)
    assert before.requests == 0
    assert (run.usage - before).requests == 1


def test_what_is_exported_is_there():
    for name in tallystick.__all__:
        assert getattr(tallystick, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tallystick.nonsense
    assert isinstance(tallystick.Usage(), Usage)
    assert issubclass(LedgerTooNew, LedgerError)


def test_an_unknown_host_is_an_error_that_says_what_is_known(tally):
    with pytest.raises(tallystick.HostError, match='known is "openai-agents"'):
        tally.track("langchain")
    with pytest.raises(tallystick.HostError, match="cannot be tracked"):
        tally.track(object())
    tally.untrack("langchain")
    tally.untrack(object())


def test_no_prompt_or_answer_is_ever_stored(tally, tmp_path):
    secret = "the secret of the answer"
    answer = {
        **ANSWER,
        "output": [{"type": "message", "content": [{"type": "output_text", "text": secret}]}],
        "usage": {**ANSWER["usage"], "note": secret * 9},
    }
    with tally.run("r") as run:
        _ask(run, answer)
    tally.flush()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert secret.encode() not in file.read_bytes()


def test_the_log_is_quiet_when_all_is_well(tally, caplog):
    caplog.set_level(logging.DEBUG, logger="tallystick")
    with tally.run("r") as run:
        _ask(run)
    assert caplog.text == ""
