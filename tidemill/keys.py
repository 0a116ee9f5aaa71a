"""A node + the digests of its inputs → the action key. Pure.

The key is the sha256 of canonical JSON over named parts. The parts are kept in the record, so that
``explain`` can name what changed. A change of this format needs a new KEY_FORMAT and an ADR; golden
keys in tests/golden hold it still.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.digest import Digest, canonical_json, digest_json, is_digest
from tidemill.graph import Node

KEY_FORMAT = 1

_ABSENT = object()
_DIGEST_SHOWN = 12
_SHOWN = 160
_CONTEXT = 20

InputDigests = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """An action: a node whose inputs have digests. ``parts`` is everything that the key hashes."""

    node: Node
    key: Digest
    parts: Mapping[str, Any]

    @property
    def inputs(self) -> InputDigests:
        """Role → name → digest."""
        inputs: InputDigests = self.parts["inputs"]
        return inputs


def bind(
    node: Node,
    *,
    inputs: InputDigests,
    tools: Mapping[str, str],
    code: str,
    salt: str = "",
) -> Bound:
    """Bind a node. ``tools`` may hold more than the node uses; only those it uses are hashed.

    Raises KeyError if the toolchain lacks a tool that the node names.
    """
    parts = {
        "format": KEY_FORMAT,
        "step": node.stage,
        "code": code,
        "fields": node.fields,
        "inputs": {role: dict(files) for role, files in inputs.items()},
        "tools": {name: tools[name] for name in node.tools},
        "salt": salt,
    }
    return Bound(node=node, key=digest_json(parts), parts=parts)


def changed_parts(old: Mapping[str, Any], new: Mapping[str, Any], *, at: str = "") -> list[str]:
    """The paths at which two keys' parts differ, as ``path: old → new`` lines.

    Empty only when both give the same key. Lists of the same length are compared item by item.
    """
    lines: list[str] = []
    for name in sorted({*old, *new}):
        path = f"{at}.{name}" if at else name
        lines += _changed(old.get(name, _ABSENT), new.get(name, _ABSENT), at=path)
    return lines


def _changed(before: object, after: object, *, at: str) -> list[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        return changed_parts(before, after, at=at)
    if isinstance(before, list | tuple) and isinstance(after, list | tuple):
        if len(before) == len(after):
            lines: list[str] = []
            for index, (one, other) in enumerate(zip(before, after, strict=True)):
                lines += _changed(one, other, at=f"{at}[{index}]")
            return lines
    elif _same(before, after):
        return []
    return [f"{at}: {_short(before, after)} → {_short(after, before)}"]


def _same(before: object, after: object) -> bool:
    # As a key sees them: there True is not 1, and 1.0 is not 1.
    if before is _ABSENT or after is _ABSENT:
        return before is after
    return canonical_json(before) == canonical_json(after)


def _short(value: object, other: object) -> str:
    """The value, or the part of a long one from a little before where it differs from ``other``."""
    text, against = _text(value), _text(other)
    if is_digest(text):
        return text[:_DIGEST_SHOWN] + "…"
    if len(text) <= _SHOWN:
        return text
    pairs = enumerate(zip(text, against, strict=False))
    alike = next((at for at, (one, other) in pairs if one != other), min(len(text), len(against)))
    start = alike - _CONTEXT if alike > _SHOWN - _CONTEXT else 0
    cut = text[start : start + _SHOWN]
    return f"{'…' if start else ''}{cut}{'…' if start + _SHOWN < len(text) else ''}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else "nothing" if value is _ABSENT else repr(value)
