"""HTTP/1.1 on loopback: one thread a connection, kept alive, closed at once when the server stops.

`http.server` reads the requests; the accept loop and the sockets are our own, so that stopping
does not wait for a poll, a delay or a client.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol

__all__ = ["Channel", "ClientGone", "Server", "Stopped", "response_head"]

_BACKLOG = 4096
_STOP_SECONDS = 5.0
_MAX_BODY_BYTES = 64 * 1024 * 1024


class ClientGone(Exception):  # noqa: N818 - what happened, not a fault
    """The client closed the connection before it had its answer."""


class Stopped(Exception):  # noqa: N818
    """The server is stopping."""


class Service(Protocol):
    """What answers the requests. Each method returns whether the connection may be kept."""

    def get(self, channel: Channel, path: str) -> bool:
        """Answer a GET."""

    def post(self, channel: Channel, path: str, headers: Mapping[str, str], body: bytes) -> bool:
        """Answer a POST."""


class Channel:
    """The way back to one client, for one request."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection = connection
        self._stopping = stopping
        self.bytes_sent = 0

    def send(self, data: bytes) -> None:
        """Send bytes.

        Raises:
            ClientGone: the client is not there any more.
            Stopped: the server is stopping.
        """
        try:
            self._connection.sendall(data)
        except OSError as error:
            raise self._end() from error
        self.bytes_sent += len(data)

    def wait(self, seconds: float) -> None:
        """Wait, unless the client goes away or the server stops meanwhile; then raise as `send`.

        A closed connection is readable and reads as empty, which is how both are noticed.
        """
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            left = seconds
            while left > 0:
                if selector.select(left):
                    try:
                        early = self._connection.recv(1, socket.MSG_PEEK)
                    except OSError as error:
                        raise self._end() from error
                    if not early:
                        raise self._end()
                    # The client has sent its next request already: its leaving can't be seen.
                    if self._stopping.wait(max(0.0, deadline - time.monotonic())):
                        raise Stopped
                left = deadline - time.monotonic()

    def _end(self) -> Exception:
        return Stopped() if self._stopping.is_set() else ClientGone()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any  # a `Server`, which is no socketserver and need not be

    def do_GET(self) -> None:
        channel = Channel(self.connection, self.server.stopping)
        self._finish(self.server.service.get(channel, self.path))

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
            self._finish(keep=False)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self._finish(keep=False)  # The client left before it had asked anything.
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        channel = Channel(self.connection, self.server.stopping)
        self._finish(self.server.service.post(channel, self.path, headers, body))

    def _finish(self, keep: bool) -> None:  # noqa: FBT001 - the verdict of the service
        self.close_connection = self.close_connection or not keep

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: the ledger says it."""


class Server:
    """A listening socket, the thread that accepts, and a thread for each connection."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(
            target=self._accept, name=f"tallystick-provider-{self.port}", daemon=True
        )
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:
                # A client that was gone before it was accepted, or no file descriptor left:
                # both pass, and the listener is closed only after this loop has ended.
                if self.stopping.wait(0.01):
                    return
                continue
            if self.stopping.is_set():
                connection.close()
                return
            thread = threading.Thread(
                target=self._serve, args=(connection, address), name="connection", daemon=True
            )
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket, address: tuple[str, int]) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A client that is killed resets the connection wherever we are; nothing is lost by it.
            with contextlib.suppress(ConnectionError):
                _Handler(connection, address, self)  # type: ignore[arg-type]
        finally:
            with self._lock:
                del self._connections[connection]
                connection.close()

    def stop(self) -> None:
        """Close every connection and return when their threads have ended (at most 5 s).

        Requests in progress end as cut.
        """
        self.stopping.set()
        # The accept loop sees `stopping` when it next has something to accept.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        self._acceptor.join(_STOP_SECONDS)
        self._listener.close()
        with self._lock:
            open_ones = dict(self._connections)
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + _STOP_SECONDS
        for thread in open_ones.values():
            thread.join(max(0.0, deadline - time.monotonic()))


def response_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return the bytes before the body of a response."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1")
