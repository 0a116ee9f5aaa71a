"""Fixtures that every kind of test may use."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toolchain_python() -> Path:
    """The interpreter of the toolchain's environment: the one that child processes run under."""
    return Path(os.environ.get("TIDEMILL_TEST_TOOLCHAIN") or sys.executable)


@pytest.fixture(autouse=True)
def own_memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test, and each command that it starts, has an empty cache and has seen no store."""
    memory = tmp_path_factory.getbasetemp() / f"memory-{os.urandom(6).hex()}"
    monkeypatch.setenv("TIDEMILL_CACHE", str(memory / "cache"))
    monkeypatch.setenv("TIDEMILL_TRUST", str(memory / "trust"))
