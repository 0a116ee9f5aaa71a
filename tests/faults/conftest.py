"""Fixtures of the tests that drive a workbench."""

from tests.workbench_fixtures import built, fresh, template

__all__ = ["built", "fresh", "template"]
