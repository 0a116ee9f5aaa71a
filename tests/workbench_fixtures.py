"""Fixtures over a workbench: made and built once a session, and copied for every test."""

from pathlib import Path

import pytest

from tests.workbench import Workbench


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    """A workspace in which pipeline ``small`` has run. Look, don't touch: copy it."""
    bench = Workbench.make(tmp_path_factory.mktemp("template") / "work")
    done = bench.run()
    assert set(done.outcomes.values()) == {"built", "unvalidated"}
    return bench


@pytest.fixture
def built(template: Workbench, tmp_path: Path) -> Workbench:
    """A workspace of its own in which pipeline ``small`` is up to date."""
    return template.copy(tmp_path / "work")


@pytest.fixture
def fresh(template: Workbench, tmp_path: Path) -> Workbench:
    """A workspace of its own without a store."""
    return template.copy(tmp_path / "work", state=False)


__all__ = ["built", "fresh", "template"]
