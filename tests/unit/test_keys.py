"""Keys bind content; parts say what changed between two of them, in words a person can use."""

import dataclasses
from typing import Any

import pytest

from tidemill.address import Address
from tidemill.digest import digest_json
from tidemill.graph import Limits, Node
from tidemill.keys import KEY_FORMAT, bind, changed_parts

NODE = Node(
    stage="compile",
    address=Address("tiny", "encoder", "f32", "cpu"),
    fields={"flags": ["--device=local", "--opt=O2"]},
    tools=("iree-base-compiler",),
    limits=Limits(seconds=60, memory_bytes=1 << 30),
)
INPUTS = {"mlir": {"model.mlir": "a" * 64}}
TOOLS = {"iree-base-compiler": "3.13.0", "torch": "2.13.0"}


def parts(**changes: Any) -> dict[str, Any]:
    return dict(bind(NODE, inputs=INPUTS, tools=TOOLS, code="c" * 64).parts) | changes


def test_a_key_is_the_digest_of_its_parts() -> None:
    bound = bind(NODE, inputs=INPUTS, tools=TOOLS, code="c" * 64, salt="s")
    assert bound.parts == {
        "format": KEY_FORMAT,
        "step": "compile",
        "code": "c" * 64,
        "fields": {"flags": ["--device=local", "--opt=O2"]},
        "inputs": INPUTS,
        "tools": {"iree-base-compiler": "3.13.0"},
        "salt": "s",
    }
    assert bound.key == digest_json(bound.parts)
    assert bound.inputs == INPUTS


def test_a_tool_that_the_step_does_not_use_is_no_part_of_its_key() -> None:
    other = {**TOOLS, "torch": "9.9"}
    one = bind(NODE, inputs=INPUTS, tools=TOOLS, code="c")
    assert bind(NODE, inputs=INPUTS, tools=other, code="c").key == one.key


def test_a_tool_that_the_toolchain_lacks_is_an_error() -> None:
    with pytest.raises(KeyError, match="iree-base-compiler"):
        bind(NODE, inputs=INPUTS, tools={"torch": "2.13.0"}, code="c")


@pytest.mark.parametrize(
    "change",
    [
        {"limits": Limits(seconds=1, memory_bytes=1)},
        {"base": "/somewhere/else"},
        {"address": Address("tiny", "encoder", "f32", "other")},
        {"device": "gfx942"},
    ],
)
def test_limits_folders_and_names_never_change_a_key(change: dict[str, Any]) -> None:
    other = dataclasses.replace(NODE, **change)
    one = bind(NODE, inputs=INPUTS, tools=TOOLS, code="c").key
    assert bind(other, inputs=INPUTS, tools=TOOLS, code="c").key == one


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (parts(), []),
        (parts(code="d" * 64), [f"code: {'c' * 12}… → {'d' * 12}…"]),
        (parts(salt="pepper"), ["salt:  → pepper"]),
        (
            parts(tools={"iree-base-compiler": "3.12.0"}),
            ["tools.iree-base-compiler: 3.13.0 → 3.12.0"],
        ),
        (
            parts(tools={"iree-base-compiler": "3.13.0", "numpy": "2"}),
            ["tools.numpy: nothing → 2"],
        ),
        (parts(tools={}), ["tools.iree-base-compiler: 3.13.0 → nothing"]),
        (
            parts(inputs={"mlir": {"model.mlir": "b" * 64}}),
            [f"inputs.mlir.model.mlir: {'a' * 12}… → {'b' * 12}…"],
        ),
        (
            parts(fields={"flags": ["--device=local", "--opt=O3"]}),
            ["fields.flags[1]: --opt=O2 → --opt=O3"],
        ),
        (
            parts(fields={"flags": ["--device=local"]}),
            ["fields.flags: ['--device=local', '--opt=O2'] → ['--device=local']"],
        ),
        (parts(format=2, step="link"), ["format: 1 → 2", "step: compile → link"]),
    ],
)
def test_changed_parts_are_named_with_both_values(new: dict[str, Any], lines: list[str]) -> None:
    assert changed_parts(parts(), new) == lines


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"a": None}, {}, ["a: None → nothing"]),
        ({"a": 1}, {"a": True}, ["a: 1 → True"]),
        ({"a": 1}, {"a": 1.0}, ["a: 1 → 1.0"]),
        ({"a": {}}, {"a": None}, ["a: {} → None"]),
        ({"a": [1, [2, 3]]}, {"a": [1, [2, 4]]}, ["a[1][1]: 3 → 4"]),
        ({"a": (1, 2)}, {"a": [1, 2]}, []),
    ],
)
def test_values_that_only_look_alike_are_told_apart(
    old: dict[str, Any], new: dict[str, Any], lines: list[str]
) -> None:
    assert changed_parts(old, new) == lines


def test_two_long_values_are_shown_where_they_differ() -> None:
    old, new = {"a": "x" * 300 + "old" + "y" * 300}, {"a": "x" * 300 + "new" + "y" * 300}
    (line,) = changed_parts(old, new)
    assert line == f"a: …{'x' * 20}old{'y' * 137}… → …{'x' * 20}new{'y' * 137}…"


def test_a_long_value_that_differs_early_is_shown_from_its_start() -> None:
    (line,) = changed_parts({"a": "short"}, {"a": "z" * 200})
    assert line == f"a: short → {'z' * 160}…"
