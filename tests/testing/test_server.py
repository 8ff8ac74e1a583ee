"""The HTTP server: kept connections, many at once, and a quick end."""

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tallystick.testing import Provider, Slow, count_tokens, read_ledger

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}]})


def post(connection, body=BODY, path="/v1/chat/completions", **headers):
    connection.request("POST", path, body, {"content-type": "application/json", **headers})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_one_connection_serves_many_requests_errors_included(provider):
    connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=5)
    connection.connect()
    kept = connection.sock
    statuses = [
        post(connection)[0],
        post(connection, "{broken")[0],
        post(connection, "[]")[0],
        post(connection, path="/v1/nothing")[0],
        post(connection)[0],
    ]
    assert statuses == [200, 400, 400, 404, 200]
    assert connection.sock is kept
    connection.request("GET", "/v1/nothing")
    response = connection.getresponse()
    assert (response.status, b"Unknown path" in response.read()) == (404, True)
    connection.close()
    assert provider.totals().requests == 5


def test_a_record_has_the_bytes_that_were_sent(provider):
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(BODY), BODY.encode())
        )
        received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert provider.served[0].bytes_sent == len(received)


def test_a_request_that_never_arrived_whole_is_not_served(provider):
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
    with socket.create_connection(("127.0.0.1", provider.port), timeout=5) as connection:
        connection.sendall(b"POST /v1/responses HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 411")
    assert provider.served == []


def test_many_connections_at_once_lose_nothing(provider):
    clients, each = 100, 5

    def talk(number):
        connection = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=30)
        tokens = 0
        for _ in range(each):
            status, answer = post(connection, **{"x-tallystick-client": str(number)})
            assert status == 200
            tokens += answer["usage"]["total_tokens"]
        connection.close()
        return tokens

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        told = sum(pool.map(talk, range(clients)))
    served = provider.served
    assert len(served) == clients * each
    assert [record.number for record in served] == list(range(1, clients * each + 1))
    assert len({record.request_id for record in served}) == clients * each
    assert len({record.response_id for record in served}) == clients * each
    assert provider.totals().total_tokens == told


def test_stopping_ends_delays_and_idle_connections_at_once():
    provider = Provider(slow=Slow(before=60)).start()
    idle = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=5)
    idle.connect()
    waiting = http.client.HTTPConnection("127.0.0.1", provider.port, timeout=5)
    waiting.request("POST", "/v1/chat/completions", BODY)
    for _ in range(1000):
        if provider.served:
            break
        time.sleep(0.005)
    threads = threading.active_count()
    began = time.monotonic()
    provider.stop()
    assert time.monotonic() - began < 1
    assert threading.active_count() <= threads - 3
    (record,) = provider.served
    assert (record.state, record.outcome, record.client_disconnected) == ("finished", "cut", False)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", provider.port), timeout=1)
    for connection in (idle, waiting):
        connection.close()


def test_a_provider_is_started_once_and_has_an_address_only_then():
    provider = Provider()
    with pytest.raises(RuntimeError, match="not started"):
        _ = provider.base_url
    with provider, pytest.raises(RuntimeError, match="once"):
        provider.start()
    provider.stop()


def test_a_taken_port_is_an_error(provider):
    second = Provider(port=provider.port)
    with pytest.raises(OSError, match="use"):
        second.start()
    second.stop()


@pytest.fixture
def serve(tmp_path):
    """Start the command; returns the process, its port and its ledger file."""
    running = []

    def serve(*arguments):
        ledger = tmp_path / "served.jsonl"
        process = subprocess.Popen(
            [sys.executable, "-m", "tallystick.testing", "--ledger", str(ledger), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        assert url.endswith("/v1")
        return process, int(url.split(":")[2].removesuffix("/v1")), ledger

    yield serve
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_interrupted(serve, number):
    process, port, ledger = serve("--model", "gpt-5=gpt-5-2025-08-07")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    status, answer = post(connection, BODY.replace('"m"', '"gpt-5"'))
    assert (status, answer["model"]) == (200, "gpt-5-2025-08-07")
    process.send_signal(number)
    assert process.wait(5) == 0
    connection.close()
    (record,) = read_ledger(ledger)
    assert record.total_tokens == answer["usage"]["total_tokens"]
    assert record.output_tokens == count_tokens(answer["choices"][0]["message"]["content"])


def test_a_request_in_progress_is_in_the_file_when_the_provider_is_killed(serve):
    process, port, ledger = serve("--before", "60")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/v1/chat/completions", BODY)
    deadline = time.monotonic() + 5
    while not read_ledger(ledger) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(5)
    connection.close()
    (record,) = read_ledger(ledger)
    assert (record.state, record.requested_model) == ("received", "m")


def test_the_command_says_what_is_wrong(provider):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "tallystick.testing", *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )

    taken = run("--port", str(provider.port))
    assert taken.returncode == 1
    assert "cannot serve" in taken.stderr
    assert run("--model", "gpt-5").returncode == 2
