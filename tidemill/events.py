"""The events of a run: a file of JSON lines that many processes append to and one follows."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class EventLog:
    """Events in ``file``, which need not exist yet."""

    file: Path

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event, in one write call, so that lines never mix.

        A disk that takes no event does not fail the action.
        """
        data = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        with contextlib.suppress(OSError):
            descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, data)
            finally:
                os.close(descriptor)

    def since(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The events after byte ``offset``, and the offset to go on from.

        A line that is not whole yet is left for the next time; one that is broken is left out.
        """
        try:
            with self.file.open("rb") as stream:
                stream.seek(offset)
                lines = stream.read().split(b"\n")
        except FileNotFoundError:
            return [], offset
        lines[-1:] = []
        events = []
        for line in lines:
            with contextlib.suppress(ValueError):
                events.append(json.loads(line))
        return events, offset + sum(len(line) + 1 for line in lines)
