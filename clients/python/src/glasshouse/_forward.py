"""An address of this machine that leads to a session's browser, for tools that take nothing but `host:port`."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import ssl
import threading
from types import TracebackType
from urllib.parse import urlsplit

_HEAD = 64 * 1024
_CHUNK = 64 * 1024
_LARGEST = 16 * 1024 * 1024


class DebuggerAddress:
    """Listens on loopback and passes connections on to a session's DevTools, with the token; ends with its block.

    Whoever can connect to it can drive the session's browser: that is every program of this machine.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._is_secure = parts.scheme in ("wss", "https")
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._is_secure else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._path = parts.path.removesuffix("/cdp")
        self._query = parts.query
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_over = False

    def __enter__(self) -> str:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._is_over = True
            for one in [self._listener, *self._sockets]:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._accepting.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _keep(self, one: socket.socket) -> socket.socket:
        with self._lock:
            if self._is_over:
                one.close()
                raise OSError("it is over")
            self._sockets.add(one)
        return one

    def _connect(self) -> socket.socket:
        plain = socket.create_connection((self._host, self._port), 30)
        plain.settimeout(None)
        return ssl.create_default_context().wrap_socket(plain, server_hostname=self._host) if self._is_secure else plain

    def _serve(self, client: socket.socket) -> None:
        server: socket.socket | None = None
        with contextlib.suppress(OSError, ValueError):
            self._keep(client)
            head, rest = _read_head(client)
            server = self._keep(self._connect())
            server.sendall(self._led(head) + rest)
            if _is_upgrade(head):
                _relay(client, server)
            else:
                client.sendall(self._led_back(_read_all(server)))
        for one in (client, server):
            if one is not None:
                one.close()
                with self._lock:
                    self._sockets.discard(one)

    def _led(self, head: bytes) -> bytes:
        """The head of a request, as the session is to have it: its path, its host, the token; one request a connection."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, path, version = first.split(" ", 2)
        dropped = ("host:", "origin:") if _is_upgrade(head) else ("host:", "origin:", "connection:")
        kept = [line for line in lines if not line.lower().startswith(dropped)]
        if self._query:
            path += f"{'&' if '?' in path else '?'}{self._query}"
        own = [f"Host: {self._authority}"] + ([] if _is_upgrade(head) else ["Connection: close"])
        return "\r\n".join([f"{method} {self._path}{path} {version}", *own, *kept, "", ""]).encode("latin-1")

    def _led_back(self, answer: bytes) -> bytes:
        """An answer, with addresses that lead here: tools that take no address with a token take none with TLS either."""
        head, _, body = answer.partition(b"\r\n\r\n")
        here = f"ws://127.0.0.1:{self._listener.getsockname()[1]}".encode()
        for scheme in (b"ws", b"wss"):
            body = body.replace(scheme + f"://{self._authority}{self._path}/".encode(), here + b"/")
        body = body.replace(f"?{self._query}".encode(), b"") if self._query else body
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"content-length:", b"transfer-encoding:"))]
        return b"\r\n".join([*lines, f"Content-Length: {len(body)}".encode(), b"", body])


def _is_upgrade(head: bytes) -> bool:
    return b"\r\nupgrade:" in head.lower()


def _read_all(server: socket.socket) -> bytes:
    """An answer, which ends with its connection."""
    response = http.client.HTTPResponse(server)
    response.begin()
    body = response.read(_LARGEST)
    head = [f"HTTP/1.1 {response.status} {response.reason}", *(f"{name}: {value}" for name, value in response.getheaders())]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def _read_head(client: socket.socket) -> tuple[bytes, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(_CHUNK)
        if not more or len(data) > _HEAD:
            raise ValueError("no request")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def _relay(one: socket.socket, other: socket.socket) -> None:
    """Passes bytes on, both ways, until one of them ends."""
    ways = {one: other, other: one}
    while True:
        pending = [side for side in ways if isinstance(side, ssl.SSLSocket) and side.pending()]
        ready = pending or select.select(list(ways), [], [])[0]
        for side in ready:
            data = side.recv(_CHUNK)
            if not data:
                return
            ways[side].sendall(data)


def debugger_address(url: str) -> DebuggerAddress:
    """An address of this machine, `host:port`, for as long as its block, that leads to the browser at a CDP `url`.

    For Selenium's `debuggerAddress` and other tools that can send neither a path nor a token.
    """
    return DebuggerAddress(url)
