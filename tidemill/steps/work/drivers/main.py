"""The driver of a module with one function: a sample is one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tidemill.steps.work import greedy
from tidemill.steps.work.dtypes import Array
from tidemill.steps.work.greedy import Plan
from tidemill.steps.work.runner import Session, Value


class MainDriver:
    """See ``Driver``."""

    def __init__(self, session: Session, *, function: str) -> None:
        self._session = session
        self._function = session.function(function)

    def call(self, arguments: Sequence[Value]) -> list[Value]:
        """The results of the function."""
        return self._session.call(self._function, arguments)

    def decode(self, arguments: Sequence[Value], *, plan: Plan) -> Array:
        """The whole text once for each token: see ``greedy``."""
        dtypes = [item.dtype for item in arguments]

        def program(arrays: Sequence[Array]) -> list[Array]:
            given = [Value(array=a, dtype=d) for a, d in zip(arrays, dtypes, strict=True)]
            return [result.array for result in self.call(given)]

        return greedy.decode(program, [item.array for item in arguments], plan=plan)


def open_driver(
    session: Session,
    *,
    fields: Mapping[str, Any],
    config: Mapping[str, Path],  # noqa: ARG001 - there is nothing to know beside the module
) -> MainDriver:
    """The driver of the function that ``fields`` name."""
    return MainDriver(session, function=fields["function"])
