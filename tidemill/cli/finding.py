"""The action that a person means by a key, by the first digits of one, or by an address."""

from collections.abc import Iterator

import msgspec

from tidemill.address import closest
from tidemill.cli.inspect import reports
from tidemill.cli.output import complain
from tidemill.digest import is_digest
from tidemill.errors import StoreError, UsageError
from tidemill.records import STAGES, ActionResult, Failure, NodeReport
from tidemill.store.contract import Store, Unlistable
from tidemill.store.layout import action_name, failure_name
from tidemill.workspace import Workspace

Record = ActionResult | Failure

#: With fewer digits chance decides which key is meant.
LEAST_DIGITS = 8
_HEX = frozenset("0123456789abcdef")
_SHOWN = 6


def find_record(store: Store, key: str) -> Record:
    """The failure or result under a key. Raises UsageError when there is neither.

    Where both are there, the failure is of a later try.
    """
    try:
        for stage in STAGES:
            if data := store.read(failure_name(stage, key)):
                return msgspec.json.decode(data, type=Failure)
            if data := store.read(action_name(stage, key)):
                return msgspec.json.decode(data, type=ActionResult)
    except ValueError as error:
        raise StoreError(
            f"the record of key {key[:12]} is damaged: {error}", hint="Run its pipeline again."
        ) from error
    raise UsageError(f"the store has no action with the key {key[:12]}")


def key_of(workspace: Workspace, store: Store, text: str, *, stage: str | None) -> str:
    """The key that a person means: itself, the one that begins so, or that of an address.

    An address is looked up in the newest run that has it. A ``stage`` that belongs to another one,
    as an export belongs to what all targets share, is found there. Raises UsageError.
    """
    if is_digest(text) or (len(text) >= LEAST_DIGITS and _HEX.issuperset(text)):
        if stage:
            raise UsageError("a key is that of one stage", hint="Leave out --stage.")
        return text if is_digest(text) else _by_digits(workspace, store, text)
    for nodes in _runs(workspace, stage):
        if own := [node for node in nodes if node.address == text]:
            failed = [node for node in own if node.failure]
            return (failed or own)[-1].key
    if stage and (key := _nearby(workspace, text, stage=stage)):
        return key
    known = {node.address for nodes in _runs(workspace, None) for node in nodes}
    raise UsageError(
        f"{text} is neither a key nor an address with a known key in a run on this machine",
        hint=f"{closest(text, known)}. `tidemill explain ADDRESS` shows keys.",
    )


def _runs(workspace: Workspace, stage: str | None) -> Iterator[list[NodeReport]]:
    """The nodes with a key of each run on this machine, the newest run first."""
    for report in reports(workspace):
        yield [node for node in report.nodes if node.key and stage in (None, node.stage)]


def _nearby(workspace: Workspace, text: str, *, stage: str) -> str:
    """The key of the one node of ``stage`` that shares with ``text``; "" where there is none."""
    for nodes in _runs(workspace, stage):
        near = {node.address: node.key for node in nodes if _belongs(node, text)}
        if len(near) > 1:
            raise UsageError(
                f"{stage} is no stage of {text} itself, but of several addresses near it",
                hint=f"name one of {', '.join(sorted(near))}",
            )
        for address, key in near.items():
            complain(f"{stage} belongs to {address}")
            return key
    return ""


def _belongs(node: NodeReport, text: str) -> bool:
    if node.stage == "fetch":  # its address ends with a source, which all components share
        return node.address.partition("/")[0] == text.partition("/")[0]
    return f"{text}/".startswith(f"{node.address}/") or node.address.startswith(f"{text}/")


def _by_digits(workspace: Workspace, store: Store, digits: str) -> str:
    """The one key that begins with ``digits``. Raises UsageError that lists them when several do.

    A store that cannot list has those of the runs on this machine.
    """
    try:
        found = {key for key in _listed(store) if key.startswith(digits)}
    except Unlistable:
        known = (node.key for nodes in _runs(workspace, None) for node in nodes)
        found = {key for key in known if key.startswith(digits)}
    if not found:
        raise UsageError(f"the store has no action with a key that begins with {digits}")
    if len(found) > 1:
        several = sorted(found)
        records = [find_record(store, key) for key in several[:_SHOWN]]
        lines = [f"{record.key} {record.step} {record.address}" for record in records]
        lines += ["…"] * (len(several) > _SHOWN)
        raise UsageError(f"{len(several)} keys begin with {digits}", hint="\n  ".join(lines))
    return found.pop()


def _listed(store: Store) -> Iterator[str]:
    for room in ("actions", "failures"):
        for entry in store.list(room):
            yield entry.name.rpartition("/")[2].removesuffix(".json")
