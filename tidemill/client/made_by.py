"""How released files were made and judged: their action records and verdicts, checked.

A record is believed when its parts give the key that the release names for it; the release is what
a channel vouches for. What an action measured is in no key: verdicts are read as released files.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tidemill.digest import digest_json
from tidemill.errors import StoreError
from tidemill.records import ActionResult, Artifact
from tidemill.store.contract import Store
from tidemill.store.layout import action_name, short
from tidemill.store.reading import read_many

#: Kind of a released file → the step that made it, as far as records are read here.
_STEPS = {"vmfb": "compile", "verdict": "validate"}


class Judged(msgspec.Struct, frozen=True):
    """What a verdict says of one output: the type that came, its limits, the largest magnitude."""

    name: str
    dtype: str
    limits: dict[str, float]
    scale: float | None = None


class _Sample(msgspec.Struct, frozen=True):
    name: str
    outputs: tuple[Judged, ...]


class _Verdict(msgspec.Struct, frozen=True):
    samples: tuple[_Sample, ...]


@dataclass(slots=True)
class Records:
    """The records of VMFBs and verdicts, as far as the store has them."""

    url: str
    _found: dict[str, ActionResult] = field(default_factory=dict)

    @staticmethod
    def read(store: Store, made: Iterable[Artifact]) -> "Records":
        """The records of ``made``. Raises StoreError for trouble and for one that is damaged."""
        records = Records(store.url)
        names = {action_name(_STEPS[one.kind], one.key): one for one in made}
        for name, data in read_many(store, sorted(names)):
            records._found[names[name].key] = _record(data, names[name])
        return records

    def fields(self, one: Artifact) -> Mapping[str, Any]:
        """The hashed fields of the action that made ``one``. Raises StoreError without a record."""
        fields: Mapping[str, Any] = self.of(one).parts["fields"]
        return fields

    def of(self, one: Artifact) -> ActionResult:
        """The record of the action that made ``one``. Raises StoreError when there is none."""
        if one.key not in self._found:
            raise StoreError(
                f"{one.file}: the record of its {_STEPS[one.kind]} ({short(one.key)}) is not in"
                f" {self.url}, and nothing else says how it was made",
                hint="build it again where it was built, with --force, and release that",
            )
        return self._found[one.key]

    def judges(self, verdict: Artifact, reference: Mapping[str, str]) -> bool:
        """Whether ``verdict`` is known to compare with these files (name → digest)."""
        record = self._found.get(verdict.key)
        return record is not None and record.parts["inputs"].get("reference") == reference


def read_verdict(path: Path, of: Artifact) -> dict[tuple[str, str], Judged]:
    """Sample and output → what the verdict ``of`` says of it. Raises StoreError if it is none."""
    try:
        verdict = msgspec.json.decode(path.read_bytes(), type=_Verdict)
    except ValueError as error:
        raise StoreError(
            f"{of.file}: the verdict cannot be read: {error}", hint="upgrade tidemill"
        ) from error
    return {(each.name, one.name): one for each in verdict.samples for one in each.outputs}


def _record(data: bytes, one: Artifact) -> ActionResult:
    try:
        record = msgspec.json.decode(data, type=ActionResult)
        if digest_json(record.parts) == one.key:
            return record
        why = "its parts give another key"
    except ValueError as error:
        why = str(error)
    raise StoreError(
        f"{one.file}: the record of its {_STEPS[one.kind]} ({short(one.key)}) is damaged: {why}",
        hint="run the pipeline that made it again: it is rebuilt",
    )
