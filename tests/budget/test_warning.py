"""Warnings: their words, and the messages that a webhook is sent."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tallystick.budget import warning
from tallystick.budget.warning import message, notify, worded
from tallystick.ledger import Amounts, Balance

NOTHING = Amounts(0, 0, 0)


LIMITS = Amounts(100 * 10**9)
SPENT = Amounts(81_200_000_000, 5, 1)


def balance(limits=LIMITS, spent=SPENT, **known):
    return Balance(
        **{
            "budget_id": "budget_1",
            "name": "acme",
            "window": "2026-11-01T00:00+00:00",
            "begins_at": 1_793_491_200_000_000_000,
            "ends_at": 1_796_083_200_000_000_000,
            "hard": True,
            "limits": limits,
            "spent": spent,
            "held": NOTHING,
            "debt": NOTHING,
            **known,
        }
    )


class Listener:
    """A server on loopback that answers as it is told and keeps what it was sent."""

    def __init__(self):
        self.answers = []
        self.got = []
        self.headers = []
        self.hold = threading.Event()
        self.hold.set()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.hold.wait(10)
                listener.got.append(json.loads(body))
                listener.headers.append(dict(self.headers))
                status = listener.answers.pop(0) if listener.answers else 204
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def do_GET(self):
                listener.got.append("a GET")
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?token=secret"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.hold.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def listener(monkeypatch):
    monkeypatch.setattr(warning, "PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    opened = Listener()
    yield opened
    done()
    opened.close()


def done():
    for thread in list(warning._out):
        thread.join(10)
    assert not warning._out


def test_a_webhook_is_sent_what_has_come_to_pass(listener):
    notify(balance(), listener.url, at=1_795_000_000_000_000_000, scope={"customer": "acme"})
    done()
    assert listener.got == [
        {
            "event": "budget.warning",
            "at": "2026-11-18T11:06Z",
            "budget": "acme",
            "scope": {"customer": "acme"},
            "window": {
                "name": "2026-11-01T00:00+00:00",
                "begins": "2026-11-01T00:00Z",
                "ends": "2026-12-01T00:00Z",
            },
            "limits": {
                "usd": "100.000000000",
                "nanodollars": 100_000_000_000,
                "tokens": None,
                "requests": None,
            },
            "spent": {
                "usd": "81.200000000",
                "nanodollars": 81_200_000_000,
                "tokens": 5,
                "requests": 1,
            },
            "held": {"usd": "0.000000000", "nanodollars": 0, "tokens": 0, "requests": 0},
            "used_percent": {"usd": 81, "tokens": None, "requests": None},
        }
    ]
    assert listener.headers[0]["Content-Type"] == "application/json"


def test_a_message_that_fails_is_sent_once_more(listener):
    listener.answers = [503, 200]
    failures = []
    notify(balance(), listener.url, failed=lambda *what: failures.append(what))
    done()
    assert len(listener.got) == 2
    assert failures == []


@pytest.mark.parametrize("status", [500, 404, 302])
def test_a_message_that_fails_twice_is_counted_and_logged_without_its_secret(
    listener, caplog, status
):
    listener.answers = [status] * 3
    failures = []
    notify(balance(), listener.url, failed=lambda *what: failures.append(what))
    done()
    assert len(listener.got) == 2
    ((doing, error),) = failures
    assert (doing, error.code) == ("telling a webhook", status)
    (logged,) = caplog.messages
    assert "127.0.0.1" in logged
    assert "'acme'" in logged
    assert "secret" not in logged


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://[::1", "https://"])
def test_a_url_where_nobody_is_raises_nothing(url, caplog, monkeypatch):
    monkeypatch.setattr(warning, "PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    failures = []
    notify(balance(), url, failed=lambda *what: failures.append(what))
    done()
    assert len(failures) == 1
    assert "was not told" in caplog.text


def test_no_more_messages_are_out_at_once_than_fit_the_queue(listener, monkeypatch):
    monkeypatch.setattr(warning, "MOST_QUEUED", 3)
    failures = []
    listener.hold.clear()
    for _ in range(5):
        notify(balance(), listener.url, failed=lambda *what: failures.append(what))
    assert len(failures) == 2
    listener.hold.set()
    done()
    assert len(listener.got) == 3
    assert len(failures) == 2


def test_a_program_that_ends_at_once_still_sends_its_message(listener):
    program = (
        "from tallystick.budget.warning import notify\n"
        "from tallystick.ledger import Amounts, Balance\n"
        "none = Amounts(0, 0, 0)\n"
        "notify(Balance('b', 'late', 'all', None, None, True, none, none, none, none), "
        f"{listener.url!r})\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert [got["budget"] for got in listener.got] == ["late"]


def test_a_message_names_nobody_beyond_the_scope():
    told = message(balance(), event="budget.exceeded", at=0)
    assert told["scope"] == {}
    assert set(told) == {
        "event", "at", "budget", "scope", "window", "limits", "spent", "held", "used_percent",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (balance(), "'acme': $81.20 of $100.00 spent (81 %), until 2026-12-01T00:00Z"),
        (
            balance(held=Amounts(2_000_000_500, 0, 0), ends_at=None),
            "'acme': $81.20 of $100.00 spent (81 %), $2.0000005 held",
        ),
        (
            balance(limits=Amounts(10**9, 100, None), spent=Amounts(10**8, 95, 3), ends_at=None),
            "'acme': 95 tokens of 100 tokens spent (95 %)",
        ),
        (
            balance(
                limits=Amounts(None, None, 2),
                spent=Amounts(0, 0, 3),
                debt=Amounts(0, 0, 1),
                ends_at=None,
            ),
            "'acme': 3 requests of 2 requests spent (150 %), 1 requests over the limit",
        ),
        (
            balance(limits=Amounts(0), spent=Amounts(0, 0, 0), ends_at=None),
            "'acme': $0.00 of $0.00 spent (100 %)",
        ),
    ],
)
def test_a_warning_in_words_is_about_the_tightest_limit(found, words):
    assert worded(found) == words
