"""A plain web server on loopback over a folder, as a public bucket or nginx would be.

It gives files by name, with ranges and ETags, lists nothing, and keeps every request in ``seen``.
Faults are scripted per path and used up in order.
"""

import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_RANGE = re.compile(r"bytes=(\d+)-")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer with this instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Promise the whole body, send ``after`` bytes of it, then close."""

    after: int


@dataclass(frozen=True, kw_only=True)
class Stall:
    """Promise the whole body, send ``after`` bytes of it, then nothing until the server ends."""

    after: int


@dataclass(frozen=True, kw_only=True)
class Lie:
    """Send other bytes of the same length."""


Fault = Answer | Cut | Stall | Lie


@dataclass(frozen=True)
class Seen:
    """One request. ``path`` is the file's, below the root; ``start`` that of the range."""

    method: str
    path: str
    start: int
    headers: Mapping[str, str]


class Web:
    """What is served, and how. Without ``ranges`` every answer is the whole file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""
        self.ranges = True
        self.etags = True
        self.connections = 0
        self.ended = threading.Event()
        self.seen: list[Seen] = []
        self._faults: dict[str, Iterator[Fault]] = {}
        self._lock = threading.Lock()

    def script(self, path: str, *faults: Fault, forever: bool = False) -> None:
        """Answer the next requests for ``path`` like this; ``forever`` repeats the only fault."""
        self._faults[path] = repeat(faults[0]) if forever else iter(faults)

    @property
    def asked(self) -> list[tuple[str, str, int]]:
        """Method, path and start of every request so far; they are forgotten then."""
        with self._lock:
            found = [(one.method, one.path, one.start) for one in self.seen]
            self.seen.clear()
        return found

    def note(self, seen: Seen) -> Fault | None:
        """Keep a request; the fault that it is to meet."""
        with self._lock:
            self.seen.append(seen)
            return next(self._faults.get(seen.path, iter(())), None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def setup(self) -> None:
        super().setup()
        self.web.connections += 1

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        found = _RANGE.fullmatch(self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        fault = self.web.note(Seen(self.command, path, start, dict(self.headers)))
        if isinstance(fault, Answer):
            self._send(fault.status, fault.headers, fault.body)
            return
        file = self.web.root / path
        if not file.is_file():
            self._send(404, {}, b"no such file")
            return
        status, data = file.stat(), file.read_bytes()
        if isinstance(fault, Lie):
            data = bytes(byte ^ 1 for byte in data)
        headers = {"Last-Modified": formatdate(status.st_mtime, usegmt=True)}
        if self.web.etags:
            headers["ETag"] = f'"{status.st_mtime_ns}-{status.st_ino}"'
        code = 200
        if found and self.web.ranges:
            if start >= len(data):
                self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
                return
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            code, data = 206, data[start:]
        cut = fault.after if isinstance(fault, Cut | Stall) else None
        self._send(code, headers, data, cut=cut)
        if isinstance(fault, Stall):
            self.web.ended.wait()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def _send(
        self, status: int, headers: Mapping[str, str], body: bytes, *, cut: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(body if cut is None else body[:cut])
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are in ``seen``."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: clients hang up, and refuse our certificate."""


@contextmanager
def running_web(root: Path, *, certificate: Path | None = None) -> Iterator[Web]:
    """A server of ``root`` on a free port of loopback, until the block ends.

    ``certificate`` (PEM, with its key) makes it speak TLS.
    """
    web = Web(root)
    bound = type("Bound", (_Handler,), {"web": web})
    server = _Server(("127.0.0.1", 0), bound)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    scheme = "http" if certificate is None else "https"
    web.url = f"{scheme}://127.0.0.1:{server.server_port}"
    try:
        yield web
    finally:
        web.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
