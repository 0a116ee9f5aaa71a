"""How the orchestrator and the child process of a step talk: two JSON files in an empty folder.

The child is started in the action's work folder. It reads ``request.json``, writes its files below
``out/`` and then ``response.json``. Its standard output and error are the log. Standard library
only.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tidemill.errors import FailureClass

REQUEST = "request.json"
RESPONSE = "response.json"
OUT = "out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One action as its child sees it.

    ``fields`` are exactly the hashed fields of the action; ``inputs`` maps role → name → a path
    relative to the work folder.
    """

    step: str
    fields: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def files(self, role: str) -> dict[str, Path]:
        """The input files of one role by name; empty when the action has no such role."""
        return {name: Path(path) for name, path in self.inputs.get(role, {}).items()}

    def to_json(self) -> str:
        """The text of ``request.json``."""
        return json.dumps(
            {"step": self.step, "fields": self.fields, "inputs": self.inputs}, indent=1
        )

    @staticmethod
    def from_json(text: str) -> "Request":
        """Read back what ``to_json`` wrote. Raises KeyError or ValueError on anything else."""
        raw = json.loads(text)
        return Request(step=raw["step"], fields=raw["fields"], inputs=raw["inputs"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A file that the child made: ``name`` below ``out/`` and its artifact kind."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What a step made, and what it measured. ``facts`` is JSON: no NaN, no infinity."""

    made: tuple[Made, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of ``response.json``. Raises ValueError on NaN or infinity in the facts."""
        made = [{"name": item.name, "kind": item.kind} for item in self.made]
        return json.dumps({"made": made, "facts": dict(self.facts)}, indent=1, allow_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildError:
    """Why a child gave up. ``message`` is the diagnostic, ``hint`` what to do (may be empty)."""

    failure: FailureClass
    message: str
    hint: str = ""

    def to_json(self) -> str:
        """The text of ``response.json``."""
        error = {"failure": str(self.failure), "message": self.message, "hint": self.hint}
        return json.dumps({"error": error}, indent=1)


def write_response(folder: Path, answer: Response | ChildError) -> None:
    """Write ``response.json``, whole or not at all. Raises OSError, ValueError."""
    text = answer.to_json()
    unfinished = folder / f".{RESPONSE}.part"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(folder / RESPONSE)


def read_response(folder: Path) -> Response | ChildError:
    """What the child of ``folder`` answered.

    Raises FileNotFoundError when it ended without an answer (killed, crashed), and ValueError on
    text that no child writes.
    """
    raw = json.loads((folder / RESPONSE).read_text(encoding="utf-8"))
    try:
        if "error" in raw:
            error = raw["error"]
            return ChildError(
                failure=FailureClass(error["failure"]),
                message=error["message"],
                hint=error["hint"],
            )
        made = tuple(Made(name=item["name"], kind=item["kind"]) for item in raw["made"])
        return Response(made=made, facts=raw["facts"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{RESPONSE} is not an answer of a child: {error!r}") from error
