"""Fetch requests for tests, and the failure that one gives."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from tidemill.errors import WorkError
from tidemill.sources.retry import Patience
from tidemill.steps.work.fetch import run
from tidemill.steps.work.protocol import Request, Response

HASTY = Patience(attempts=3, first=0.01, longest=0.02, asked=5.0)
DIGEST_HINT = (
    "either upstream changed the bytes or the manifest is wrong: look at both; "
    "never edit the digest without looking"
)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def declared(files: Mapping[str, bytes], *, below: str = "") -> dict[str, dict[str, str]]:
    """The ``files`` field that declares these bytes, at their name below a folder."""
    return {name: {"path": below + name, "sha256": sha256(body)} for name, body in files.items()}


def fetch(source: str, files: Mapping[str, Mapping[str, str]], **more: str) -> Response:
    fields = {"from": source, "sha256": "", "files": files, **more}
    return run(Request(step="fetch", fields=fields), patience=HASTY)


def failure(source: str, files: Mapping[str, Mapping[str, str]], **more: str) -> WorkError:
    """The error of a fetch that must fail and leave nothing in out/."""
    with pytest.raises(WorkError) as caught:
        fetch(source, files, **more)
    assert arrived() == {}
    return caught.value


def arrived() -> dict[str, bytes]:
    """What lies in out/ of the current folder."""
    out = Path("out")
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


def unlike(what: str, expected: str, got: str) -> str:
    """What is said of bytes that are not those that were declared; each digest can be copied."""
    return f"{what}: another sha256 than declared\nexpected {expected}\ngot      {got}"
