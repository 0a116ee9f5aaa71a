"""Drivers: how the arguments of a sample become calls of a compiled module.

Most modules have one function, ``main``, that takes a sample's inputs and gives its outputs. A
language model has several, and a cache between them; its sample is a conversation, and its driver
holds it. Which driver a program needs is said by its exporter (``ExporterInfo.driver``).
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tidemill.steps.work.dtypes import Array
from tidemill.steps.work.greedy import Plan
from tidemill.steps.work.runner import Session, Value

MAIN = "main"


class Driver(Protocol):
    """One module that answers samples. Raises WorkError as ``Session`` does."""

    def call(self, arguments: Sequence[Value]) -> list[Value]:
        """The outputs of a sample, as the exporter's eager program gives them."""
        ...

    def decode(self, arguments: Sequence[Value], *, plan: Plan) -> Array:
        """The ``plan.tokens`` best next tokens of each row, [batch, tokens] i64."""
        ...


def open_driver(
    session: Session, *, fields: Mapping[str, Any], config: Mapping[str, Path]
) -> Driver:
    """The driver that a validation's fields name; ``config`` are the files beside the MLIR."""
    module = importlib.import_module(f"tidemill.steps.work.drivers.{fields.get('driver', MAIN)}")
    driver: Driver = module.open_driver(session, fields=fields, config=config)
    return driver
