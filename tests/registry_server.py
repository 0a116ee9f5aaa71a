"""A package registry on loopback that pip and npm really talk to: fixed answers by path.

pip: the simple index (packaging.python.org, "Simple repository API"). npm: the package document
and the tarball.
"""

import base64
import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Registry:
    """What is served: path → (status, content type, body)."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: dict[str, tuple[int, str, bytes]] = {}

    def add_python(self, name: str, archives: Mapping[str, bytes]) -> None:
        """Publish archives of one Python package by file name."""
        links = "".join(
            f'<a href="/files/{file}#sha256={sha256(body)}">{file}</a>\n'
            for file, body in archives.items()
        )
        page = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        self.pages[f"/simple/{name}/"] = (200, "text/html", page)
        for file, body in archives.items():
            self.pages[f"/files/{file}"] = (200, "application/octet-stream", body)

    def add_npm(self, name: str, version: str, tarball: bytes) -> None:
        """Publish one version of one npm package."""
        integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        path = f"/{name}/-/{name}-{version}.tgz"
        dist = {"tarball": self.url + path, "integrity": integrity}
        about = {
            "name": name,
            "dist-tags": {"latest": version},
            "versions": {version: {"name": name, "version": version, "dist": dist}},
        }
        self.pages[f"/{name}"] = (200, "application/json", json.dumps(about).encode())
        self.pages[path] = (200, "application/octet-stream", tarball)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def wheel(name: str, version: str, files: Mapping[str, bytes]) -> bytes:
    """The least that pip takes for a wheel, with ``files`` in it."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for path, body in files.items():
            archive.writestr(path, body)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
    return target.getvalue()


def tarball(files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None) -> bytes:
    """A tgz with plain ``files`` and symbolic ``links`` (path → target)."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for path, body in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
        for path, to in (links or {}).items():
            member = tarfile.TarInfo(path)
            member.type, member.linkname = tarfile.SYMTYPE, to
            archive.addfile(member)
    return gzip.compress(target.getvalue(), mtime=0)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        status, kind, body = self.registry.pages.get(
            self.path, (404, "application/json", b'{"error": "not found"}')
        )
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the clients log."""


@contextmanager
def running_registry() -> Iterator[Registry]:
    """A registry without packages on a free port of loopback, until the block ends."""
    registry = Registry()
    bound = type("Bound", (_Handler,), {"registry": registry})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    registry.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
