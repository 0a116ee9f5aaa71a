"""Each store that passes the contract suite; a new kind joins by one more parameter."""

from pathlib import Path

import pytest

from tidemill.store import Store, open_store


@pytest.fixture(params=["folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    assert request.param == "folder"
    return open_store((tmp_path / "store").as_uri())
