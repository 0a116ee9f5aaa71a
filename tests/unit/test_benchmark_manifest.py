"""The benchmark that a manifest asks for: one edit gives exactly the problems expected."""

from pathlib import Path

import pytest

from tests.unit.edits import COMPONENT, Case, after_dtypes, edited, problems_of

AT = f"{COMPONENT}.benchmark"
FIRST = f"{AT}.functions[0]"


def asking(function: str, more: str = "") -> tuple[str, str]:
    return after_dtypes(f"benchmark: {{functions: [{{name: main, {function}}}]{more}}}")


CASES: dict[str, Case] = {
    "no function": (
        [after_dtypes("benchmark: {functions: []}")],
        [f"23: {AT}.functions: must not be empty"],
    ),
    "nothing to call it with": (
        [asking("tokens: 4")],
        [f"23: {FIRST}: say with one of sample, dims, inputs what 'main' is called with"],
    ),
    "two ways to call it": (
        [asking("sample: noise, dims: {batch: 1}")],
        [f"23: {FIRST}: say with one of sample, dims, inputs what 'main' is called with"],
    ),
    "a sample that is not there": (
        [asking("sample: loud")],
        [f"23: {FIRST}.sample: no sample 'loud' (known: noise)"],
    ),
    "a dimension without a size": (
        [asking("dims: {}")],
        [f"23: {FIRST}: gives no size for dimension 'batch'"],
    ),
    "a size beyond its bounds": (
        [asking("dims: {batch: 9}")],
        [f"23: {FIRST}.dims.batch: 9 is not within 1 to 8"],
    ),
    "an unknown dimension": (
        [asking("dims: {batch: 1, seq: 2}")],
        [f"23: {FIRST}.dims.seq: is no dimension of this component"],
    ),
    "an input that the tool could not read": (
        [asking("inputs: [4 by 64 i64]")],
        [
            f"23: {FIRST}.inputs: '4 by 64 i64' is no input: write it as 4x128xi64=1 or"
            " {bs}x64xf32"
        ],
    ),
    "an input from a file of this machine": (
        [asking("inputs: ['4x64xi64=@/etc/passwd']")],
        [
            f"23: {FIRST}.inputs: '4x64xi64=@/etc/passwd' is no input: write it as 4x128xi64=1 or"
            " {bs}x64xf32"
        ],
    ),
    "a size that nothing gives": (
        [asking("inputs: ['{bs}x64xi64']")],
        [f"23: {FIRST}.inputs[0]: 'bs' is no matrix axis and no dimension here (known: none)"],
    ),
    "tokens that nothing gives": (
        [asking("sample: noise, tokens: seq * 64")],
        [f"23: {FIRST}.tokens: 'seq' is no matrix axis and no dimension here (known: batch)"],
    ),
    "no tokens at all": (
        [asking("sample: noise, tokens: 0")],
        [f"23: {FIRST}.tokens: a call is about at least one token"],
    ),
    "an unknown peer": (
        [asking("sample: noise", ", peers: [tensorrt]")],
        [
            f"23: {AT}.peers[0]: unknown value 'tensorrt' (known: 'torch_eager',"
            " 'torch_inductor' or 'onnxruntime')"
        ],
    ),
    "too few repetitions for a spread": (
        [asking("sample: noise", ", repetitions: 2")],
        [f"23: {AT}.repetitions: must be greater than or equal to 3, got int 2"],
    ),
    "a target of another component": (
        [asking("sample: noise", ", targets: [tpu], dtypes: [bf16]")],
        [
            f"23: {AT}.dtypes[0]: 'bf16' is none of this component's dtypes",
            f"23: {AT}.targets[0]: 'tpu' is none of this component's targets",
        ],
    ),
    "a name twice": (
        [
            after_dtypes(
                "benchmark: {functions: [{name: a, sample: noise}, {name: a, dims: {batch: 1}}]}"
            )
        ],
        [f"23: {AT}.functions[1].name: duplicate name 'a'"],
    ),
    "a sample of a program that is called otherwise": (
        [
            ("exporter: sentence_encoder", "exporter: cached_lm"),
            ("options: {pooling: mean}", "options: {positions: 64}"),
            asking("sample: noise"),
        ],
        [f"23: {FIRST}.sample: the functions of exporter 'cached_lm' take others: give 'inputs'"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_mistake_says_where_it_is(tmp_path: Path, case: str) -> None:
    edits, expected = CASES[case]
    assert problems_of(tmp_path, model=edited(*edits)) == expected


def test_what_is_right_has_no_problem(tmp_path: Path) -> None:
    right = asking("sample: noise, tokens: batch * 64", ", peers: [torch_eager], seconds: 1")
    assert problems_of(tmp_path, model=edited(right)) == []
