"""A hub on loopback: the part of the model hub's HTTP protocol that a download of files needs.

Two servers, because the real hub redirects large files to another host: ``hub.url`` answers
``/{repo}/resolve/{revision}/{path}`` and, below ``/api/models/{repo}``, ``/revision/{revision}``
and ``/tree/{revision}``; the other
serves ``/blob/{sha256}`` with ranges. Faults are scripted per method and path and are used up in
order; every request is kept in ``hub.seen``.
"""

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Any

_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>[^/]+)")
_TREE = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/tree/(?P<revision>[^/?]+)(\?.*)?")
_BLOB = re.compile(r"/blob/(?P<digest>[0-9a-f]{64})")
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Answer with this instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Promise the whole body, send ``after`` bytes, then close (``reset``: with a TCP reset)."""

    after: int
    reset: bool = False


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request. ``path`` is the repository's path of the file where there is one."""

    method: str
    server: str
    path: str
    range: str
    authorization: str
    status: int


class Hub:
    """The state that both servers share. ``linked`` paths redirect to the other host."""

    def __init__(self) -> None:
        self.url = self.cdn_url = ""
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.linked: set[str] = set()
        self.tokens: dict[str, set[str]] = {}
        self.headers: dict[str, str] = {}
        self.seen: list[Seen] = []
        self._paths: dict[str, str] = {}
        self._faults: dict[tuple[str, str], Iterator[Answer | Cut]] = {}
        self._lock = threading.Lock()

    def add(self, repo: str, revision: str, files: Mapping[str, bytes]) -> None:
        """Serve ``files`` as one commit."""
        self.files.update({(repo, revision, path): body for path, body in files.items()})
        self._paths.update({hashlib.sha256(body).hexdigest(): path for path, body in files.items()})

    def gate(self, repo: str, *, tokens: set[str]) -> None:
        """Let only these tokens read ``repo``."""
        self.tokens[repo] = tokens

    def script(self, method: str, path: str, *faults: Answer | Cut, forever: bool = False) -> None:
        """Answer the next requests for ``path`` like this; ``forever`` repeats the only fault."""
        self._faults[method, path] = repeat(faults[0]) if forever else iter(faults)

    def fault(self, method: str, path: str) -> Answer | Cut | None:
        """The next scripted fault."""
        with self._lock:
            return next(self._faults.get((method, path), iter(())), None)

    def requests(self, method: str, path: str) -> list[Seen]:
        """What was asked, in order."""
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, path)]

    def path_of_blob(self, digest: str) -> str:
        """The path of the file with this content, "" when there is none."""
        return self._paths.get(digest, "")

    def digest_of(self, path: str) -> str:
        """The sha256 of a file."""
        return next(digest for digest, named in self._paths.items() if named == path)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    server_name = "hub"

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """The request log is ``hub.seen``."""

    def _serve(self) -> None:
        found = self._route()
        path, answer = found or ("", _error(404, "EntryNotFound"))
        body_fault: Cut | None = None
        if (fault := self.hub.fault(self.command, path)) is not None:
            if isinstance(fault, Answer):
                answer = fault
            else:
                body_fault = fault
        self._note(path, answer.status)
        self._send(answer, cut=body_fault)

    def _route(self) -> tuple[str, Answer] | None:
        if match := _BLOB.fullmatch(self.path):
            path = self.hub.path_of_blob(match["digest"])
            body = next(b for (_, _, p), b in self.hub.files.items() if p == path)
            return path, self._ranged(body, {"ETag": f'"{match["digest"]}"'})
        if match := _TREE.fullmatch(self.path):
            return match["repo"], self._tree(match["repo"], match["revision"])
        if match := _API.fullmatch(self.path):
            return match["repo"], self._about(match["repo"], match["revision"])
        if match := _RESOLVE.fullmatch(self.path):
            return match["path"], self._resolve(**match.groupdict())
        return None

    def _about(self, repo: str, revision: str) -> Answer:
        files = [path for (r, v, path) in self.hub.files if (r, v) == (repo, revision)]
        if not files:
            return _error(404, "RevisionNotFound")
        about = {"id": repo, "sha": revision, "siblings": [{"rfilename": path} for path in files]}
        body = json.dumps(about).encode()
        return Answer(status=200, headers={"Content-Type": "application/json"}, body=body)

    def _tree(self, repo: str, revision: str) -> Answer:
        files = {
            p: body for (r, v, p), body in self.hub.files.items() if (r, v) == (repo, revision)
        }
        listed = [
            {"type": "file", "path": path, "size": len(body), "oid": "0" * 40}
            for path, body in files.items()
        ]
        body = json.dumps(listed).encode()
        return Answer(status=200, headers={"Content-Type": "application/json"}, body=body)

    def _resolve(self, repo: str, revision: str, path: str) -> Answer:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo in self.hub.tokens and token not in self.hub.tokens[repo]:
            return _error(403 if token else 401, "GatedRepo")
        if not any(r == repo for r, _, _ in self.hub.files):
            return _error(404 if token else 401, "RepoNotFound")
        if not any((r, v) == (repo, revision) for r, v, _ in self.hub.files):
            return _error(404, "RevisionNotFound")
        body = self.hub.files.get((repo, revision, path))
        if body is None:
            return _error(404, "EntryNotFound")
        headers = {"X-Repo-Commit": revision, **self.hub.headers}
        digest = self.hub.digest_of(path)
        if path not in self.hub.linked:
            return self._ranged(body, {**headers, "ETag": f'"{hashlib.sha1(body).hexdigest()}"'})  # noqa: S324  what git names blobs by
        headers |= {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(body))}
        return Answer(
            status=302, headers={**headers, "Location": f"{self.hub.cdn_url}/blob/{digest}"}
        )

    def _ranged(self, body: bytes, headers: dict[str, str]) -> Answer:
        headers = {**headers, "Accept-Ranges": "bytes"}
        match = _RANGE.fullmatch(self.headers.get("Range", ""))
        if match is None:
            return Answer(status=200, headers=headers, body=body)
        first, last = int(match[1]), int(match[2] or len(body) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        return Answer(status=206, headers=headers, body=body[first : last + 1])

    def _note(self, path: str, status: int) -> None:
        self.hub.seen.append(
            Seen(
                method=self.command,
                server=self.server_name,
                path=path,
                range=self.headers.get("Range", ""),
                authorization=self.headers.get("Authorization", ""),
                status=status,
            )
        )

    def _send(self, answer: Answer, *, cut: Cut | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if cut is None:
            self.wfile.write(answer.body)
            return
        self.wfile.write(answer.body[: cut.after])
        self.close_connection = True
        if cut.reset:
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()


class _CdnHandler(_Handler):
    server_name = "cdn"


def _error(status: int, code: str) -> Answer:
    headers = {"X-Error-Code": code, "X-Error-Message": f"scripted {code}"}
    return Answer(status=status, headers=headers)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub with no files, on two free ports of loopback, until the block ends."""
    hub = Hub()
    servers = []
    for handler in (_Handler, _CdnHandler):
        bound = type(handler.__name__, (handler,), {"hub": hub})
        server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        servers.append((server, thread))
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_port}" for server, _ in servers)
    try:
        yield hub
    finally:
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()
