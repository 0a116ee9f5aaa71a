"""YAML as tidemill reads it: plain data with lines, or problems; never a surprise, never slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.manifest.yaml_source import MAX_VALUES, read_yaml

LAUGHS = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


def problems(text: str) -> list[str]:
    return [str(problem) for problem in read_yaml(text, file="m.yaml").problems]


def test_plain_yaml_becomes_plain_data_with_the_line_of_every_value() -> None:
    document = read_yaml("name: x\nlist:\n  - 1\n  - {deep: true}\n", file="m.yaml")
    assert document.data == {"name": "x", "list": [1, {"deep": True}]}
    assert document.problems == []
    assert document.lines == {
        (): 1,
        ("name",): 1,
        ("list",): 2,
        ("list", 0): 3,
        ("list", 1): 4,
        ("list", 1, "deep"): 4,
    }
    assert document.line_of(("list", 1, "not there")) == 4
    assert document.line_of(("list", 7)) == 2


def test_an_alias_bomb_is_refused_quickly() -> None:
    begun = time.monotonic()
    assert problems(LAUGHS) == [
        f"m.yaml:1: expands to more than {MAX_VALUES} values (an alias bomb?)"
    ]
    assert time.monotonic() - begun < 5  # expanded, it would be 10 ** 12 values


def test_a_plain_alias_is_read() -> None:
    assert read_yaml("a: &x [1]\nb: *x\n", file="m.yaml").data == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "m.yaml:1: the file is empty"),
        ("# a comment\n", "m.yaml:1: the file is empty"),
        ("a: [1\n", "m.yaml:2: not YAML: did not find expected ',' or ']'"),
        ("a:\n\t- b\n", "m.yaml:2: not YAML: found character that cannot start any token"),
        ("a: b: c", "m.yaml:1: not YAML: mapping values are not allowed in this context"),
        ("a: 1\n--- \nb: 1\n", "m.yaml:2: not YAML: but found another document"),
        ("a: *nowhere", "m.yaml:1: not YAML: found undefined alias"),
        ("a: 1\nb: \x00", "m.yaml:2: not YAML: character 0x00 is not allowed"),
        ("a: &a [*a]", "m.yaml:1: nests deeper than 40 levels"),
        ("[" * 100 + "]" * 100, "m.yaml:1: nests deeper than 40 levels"),
        ("b: 1\na: 2\nb: 3", "m.yaml:3: b: duplicate key, first written in line 1"),
        ("x: {b: 1, b: 1}", "m.yaml:1: x.b: duplicate key, first written in line 1"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "m.yaml:3: c: keys must be plain text; merge keys are"
         " not read"),
        ("? [a]\n: b", "m.yaml:1: keys must be plain text; merge keys are not read"),
        ("a: !!python/name:os.system x", "m.yaml:1: a: tag"
         " tag:yaml.org,2002:python/name:os.system is not read"),
        ("a: !!python/object:os.x {b: 1}", "m.yaml:1: a: tag tag:yaml.org,2002:python/object:os.x"
         " is not read"),
        ("a: !!binary aGk=", "m.yaml:1: a: tag tag:yaml.org,2002:binary is not read"),
        ("a: !!set {b}", "m.yaml:1: a: tag tag:yaml.org,2002:set is not read"),
        ("a: [1, !mine x]", "m.yaml:1: a[1]: tag !mine is not read"),
        ("a: !!bool perhaps", "m.yaml:1: a: 'perhaps' is not of type bool"),
        ("a: !!int ''", "m.yaml:1: a: '' is not of type int"),
        ("a: .nan", "m.yaml:1: a: '.nan' is not a finite number"),
        ("a: -.inf", "m.yaml:1: a: '-.inf' is not a finite number"),
        ("a: 1e999999", None),
        ("a: 9223372036854775808", "m.yaml:1: a: '9223372036854775808' has more than 64 bits"),
        ("a: -9223372036854775808", None),
    ],
)  # fmt: skip
def test_treacherous_yaml_is_a_problem_with_a_line(text: str, problem: str | None) -> None:
    assert problems(text) == ([problem] if problem else [])


def test_a_date_stays_text() -> None:
    assert read_yaml("a: 2027-01-31\n", file="m.yaml").data == {"a": "2027-01-31"}


def test_many_nested_brackets_do_not_end_the_process() -> None:
    assert len(problems("[" * 50_000)) == 1


def test_all_problems_of_a_file_are_found_in_one_pass() -> None:
    assert problems("a: !x 1\nb: 1\nb: 2\nc: .nan\n") == [
        "m.yaml:1: a: tag !x is not read",
        "m.yaml:3: b: duplicate key, first written in line 2",
        "m.yaml:4: c: '.nan' is not a finite number",
    ]


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!<'\"|>#%@\n\t 01.~\x00é"), max_size=40))
def test_no_text_makes_the_reader_raise(text: str) -> None:
    document = read_yaml(text, file="m.yaml")
    assert document.problems or document.data is not None or text.strip()
