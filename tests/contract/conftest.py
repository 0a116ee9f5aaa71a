"""Each store that passes the contract suite; a new kind joins by one more parameter."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.servers import CREATING, GIVEN, WRITER, S3Server, rclone, s3_url, seaweedfs, use
from tidemill.store import Store, open_store
from tidemill.store.s3_address import parse_address

__all__ = ["rclone", "s3_url", "seaweedfs"]


@pytest.fixture(params=[*CREATING, "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store of each kind."""
    match request.param:
        case "folder":
            yield open_store((tmp_path / "store").as_uri())
        case "given":
            yield from _given()
        case kind:
            use(WRITER, request.getfixturevalue("monkeypatch"))
            server: S3Server = request.getfixturevalue(kind)
            yield open_store(server.store_url(os.urandom(6).hex()))


def _given() -> Iterator[Store]:
    address = parse_address(GIVEN)
    opened = open_store(replace(address, prefix=f"{address.root}{os.urandom(6).hex()}").url)
    yield opened
    for entry in opened.list(""):
        opened.remove(entry.name)
