"""Fixtures that every kind of test may use."""

import os
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def toolchain_python() -> Path:
    """The interpreter of the toolchain's environment: the one that child processes run under."""
    return Path(os.environ.get("TIDEMILL_TEST_TOOLCHAIN") or sys.executable)
