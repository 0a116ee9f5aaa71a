"""What holds for the key of any action, not only for the golden ones."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.address import Address
from tidemill.digest import canonical_json, is_digest
from tidemill.graph import Limits, Node
from tidemill.keys import Bound, bind, changed_parts

NAMES = st.text("abc._-é", min_size=1, max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(NAMES, VALUES, max_size=4)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
INPUTS = st.dictionaries(NAMES, st.dictionaries(NAMES, DIGESTS, max_size=2), max_size=3)
TOOLS = st.dictionaries(NAMES, st.text("0123456789.", min_size=1, max_size=6), max_size=3)


def key(fields: Any, inputs: Any, tools: Any, *, seconds: int = 1, base: str = "") -> Bound:
    node = Node(
        stage="export",
        address=Address("m", "c", "f32"),
        fields=fields,
        tools=tuple(sorted(tools)),
        limits=Limits(seconds=seconds, memory_bytes=seconds),
        base=base,
    )
    return bind(node, inputs=inputs, tools=tools, code="code")


def shuffled(value: Any, *, seed: int) -> Any:
    """The same value with the keys of every mapping in another order."""
    if isinstance(value, dict):
        items = [(name, shuffled(item, seed=seed)) for name, item in value.items()]
        random.Random(seed).shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, seed=seed) for item in value]
    return value


def places(value: Any, *, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside ``value``."""
    pairs = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for name, item in pairs:
        yield (*at, name)
        yield from places(item, at=(*at, name))


def replaced(value: Any, path: tuple[Any, ...], /, new: Any) -> Any:
    changed = copy.deepcopy(value)
    inner = changed
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = new
    return changed


def shown(path: tuple[Any, ...]) -> str:
    """A path as ``changed_parts`` writes it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


@given(FIELDS, INPUTS, TOOLS, st.integers())
def test_field_order_never_changes_a_key(fields: Any, inputs: Any, tools: Any, seed: int) -> None:
    one = key(fields, inputs, tools)
    other = key(*(shuffled(part, seed=seed) for part in (fields, inputs, tools)))
    assert is_digest(one.key)
    assert one.key == other.key
    assert changed_parts(one.parts, other.parts) == []


@given(FIELDS, INPUTS, TOOLS, VALUES, st.data())
def test_any_change_of_any_part_changes_the_key_and_is_named(
    fields: Any, inputs: Any, tools: Any, new: Any, data: st.DataObject
) -> None:
    old = dict(key(fields, inputs, tools).parts)
    path = data.draw(st.sampled_from(list(places(old))))
    changed = replaced(old, path, new)
    lines = changed_parts(old, changed)
    if canonical_json(changed) == canonical_json(old):
        assert lines == []
    else:
        assert lines
        assert all(line.startswith(shown(path)) for line in lines)


@given(FIELDS, INPUTS, TOOLS, st.data())
def test_taking_a_part_away_is_named(
    fields: Any, inputs: Any, tools: Any, data: st.DataObject
) -> None:
    old = dict(key(fields, inputs, tools).parts)
    maps = [path for path in places(old) if isinstance(path[-1], str)]
    path = data.draw(st.sampled_from(maps))
    changed = copy.deepcopy(old)
    inner: Any = changed
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    (line,) = changed_parts(old, changed)
    assert line.startswith(f"{shown(path)}: ")
    assert line.endswith(" → nothing")


@given(FIELDS, FIELDS, INPUTS)
def test_two_actions_share_a_key_only_if_nothing_changed(one: Any, other: Any, inputs: Any) -> None:
    first, second = key(one, inputs, {}), key(other, inputs, {})
    assert (first.key == second.key) == (changed_parts(first.parts, second.parts) == [])


@given(FIELDS, INPUTS, TOOLS, st.integers(2, 10**6), st.text())
def test_limits_and_folders_never_change_a_key(
    fields: Any, inputs: Any, tools: Any, seconds: int, base: str
) -> None:
    one = key(fields, inputs, tools)
    assert key(fields, inputs, tools, seconds=seconds, base=base).key == one.key


@given(FIELDS, INPUTS, TOOLS)
def test_parts_that_were_written_and_read_back_give_the_same_key(
    fields: Any, inputs: Any, tools: Any
) -> None:
    bound = key(fields, inputs, tools)
    read = json.loads(canonical_json(bound.parts))
    assert changed_parts(read, bound.parts) == []
    assert canonical_json(read) == canonical_json(bound.parts)


@given(VALUES)
def test_canonical_json_has_one_spelling(value: Any) -> None:
    data = canonical_json(value)
    assert canonical_json(json.loads(data)) == data
    assert b"\n" not in data


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_canonical_json_refuses_what_json_cannot_say(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": [value]})
