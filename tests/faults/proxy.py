"""A proxy in front of an S3 server that spoils chosen requests.

Requests are counted from 0 as they come in. What a fault does is what networks, load balancers and
overloaded servers really do; the server behind it is real and whole.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

#: What may happen to one request. The first two and the last five end without a word to the server
#: or after it has acted; the statuses are answered in the server's name, which never hears of them.
FAULTS = (
    "request-lost",
    "response-lost",
    "403",
    "409",
    "412",
    "500",
    "503-slow-down",
    "slow-body",
    "cut-body",
    "empty-200",
    "wrong-bytes",
)
#: Not for schedules: half of the body comes, and then nothing until the proxy ends.
STALLED = "stalled-body"
_CODES = {
    "403": (403, "AccessDenied"),
    "409": (409, "ConditionalRequestConflict"),
    "412": (412, "PreconditionFailed"),
    "500": (500, "InternalError"),
    "503-slow-down": (503, "SlowDown"),
}
_SLOW_PIECES, _SLOW_SECONDS = 4, 0.002
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}

Observer = Callable[[str], None]


@dataclass
class Faults:
    """Which requests are to be spoiled, and what has come in: ``asked`` has method and path.

    ``after`` hears of every write.
    """

    plan: Mapping[int, str] = field(default_factory=dict)
    after: Observer = lambda _method: None
    count: int = 0
    asked: list[str] = field(default_factory=list)
    met: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, method: str, path: str) -> str:
        """The fault for the request that comes in now; "" for none."""
        with self._lock:
            self.asked.append(f"{method} {path}")
            fault = self.plan.get(self.count, "")
            self.count += 1
            if fault:
                self.met.append(f"{method} {fault}")
        return fault


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    backend: str
    faults: Callable[[], Faults]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        faults = self.faults()
        fault = faults.next(self.command, self.path)
        if fault == "request-lost":
            self.close_connection = True
            return
        if fault in _CODES:
            self._send(self._error(*_CODES[fault]))
            return
        if fault == "empty-200":
            self._send(_Answer(200, "OK", [], b""))
            return
        if fault == "wrong-bytes" and body:
            body = _spoiled(body)
        answer = self._ask(body)
        if self.command not in {"GET", "HEAD"}:
            faults.after(self.command)
        if fault == "response-lost":
            self.close_connection = True
        elif fault == "cut-body":
            self._send(answer, upto=len(answer.body) // 2)
            self.close_connection = True
        elif fault == STALLED:
            self._send(answer, upto=len(answer.body) // 2)
            faults.ended.wait()
            self.close_connection = True
        elif fault == "wrong-bytes":
            self._send(_Answer(answer.status, answer.reason, answer.headers, _spoiled(answer.body)))
        else:
            self._send(answer, pieces=_SLOW_PIECES if fault == "slow-body" else 1)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _ask(self, body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(self.backend, timeout=30)
        try:
            headers = {name: value for name, value in self.headers.items() if name != "Expect"}
            connection.request(self.command, self.path, body or None, headers)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.reason, answer.getheaders(), answer.read())
        finally:
            connection.close()

    def _error(self, status: int, code: str) -> _Answer:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>injected</Message></Error>"
        body = b"" if self.command == "HEAD" else text.encode()
        return _Answer(status, code, [("Content-Type", "application/xml")], body)

    def _send(self, answer: _Answer, *, upto: int | None = None, pieces: int = 1) -> None:
        self.send_response_only(answer.status, answer.reason)
        sized = False
        for name, value in answer.headers:
            if name.lower() == "content-length" and self.command == "HEAD":
                self.send_header(name, value)
                sized = True
            elif name.lower() not in _HOP:
                self.send_header(name, value)
        if not sized:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        data = answer.body[:upto]
        step = max(1, -(-len(data) // pieces))
        for start in range(0, len(data), step):
            if pieces > 1:
                time.sleep(_SLOW_SECONDS)
            self.wfile.write(data[start : start + step])
        self.wfile.flush()


def _spoiled(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data


@dataclass
class Proxy:
    """A running proxy. ``faults`` may be replaced at any time."""

    endpoint: str
    faults: Faults


@contextmanager
def running_proxy(backend: str) -> Iterator[Proxy]:
    """A proxy on loopback in front of the endpoint ``backend``, until the block ends."""
    proxy = Proxy(endpoint="", faults=Faults())
    handler = type(
        "Handler",
        (_Handler,),
        {"backend": urlsplit(backend).netloc, "faults": staticmethod(lambda: proxy.faults)},
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    proxy.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.faults.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
