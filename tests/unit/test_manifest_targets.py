"""targets.yaml and expectations.yaml: their rules, and which flags a compiler version gets."""

from pathlib import Path

import pytest

from tests.unit.made import TARGETS, parts_of, write_workspace
from tidemill.errors import ManifestError
from tidemill.manifest.load import load_manifests

EXPECTATION = """\
expectations:
  - address: "*/*/*/gfx942"
    stage: compile
    class: compile
    match: uses 81920 bytes of shared memory
    reason: The compiler asks for more shared memory than there is.
    issue: https://github.com/iree-org/iree/issues/1
    owner: somebody
    expires: 2027-01-31
"""


def problems_of(root: Path, **files: str) -> list[str]:
    write_workspace(root, **files)
    try:
        load_manifests(root)
    except ManifestError as error:
        return [line.removeprefix("manifests/") for line in error.message.splitlines()[:-1]]
    return []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("device: hip", "device: vulcan", "targets.yaml:9: targets.gfx942.device: unknown value"
         " 'vulcan'"
         " (known: 'local-task', 'hip', 'cuda' or 'vulkan')"),
        ("needs: amdgpu", "needs: gpu", "targets.yaml:10: targets.gfx942.needs: unknown value 'gpu'"
         " (known: 'none', 'amdgpu', 'nvidia' or 'vulkan')"),
        ("    needs: amdgpu\n", "", "targets.yaml:8: targets.gfx942.needs: is missing"),
        ("chip: gfx942", "chip: 942", "targets.yaml:11: targets.gfx942.chip: expected text, got"
         " int 942"),
        ('">=3.9"', "new", "targets.yaml:6: targets.cpu.flags[0].versions: 'new' is not a version"
         " range"
         " like '>=3.11,<3.14'"),
        ("[--device=local]", "[]", "targets.yaml:7: targets.cpu.flags[0].flags: must not be empty"),
        ("[--device=local]", "[1]", "targets.yaml:7: targets.cpu.flags[0].flags[0]: expected"
         " text, got int 1"),
        ("targets:\n  cpu:", "target:\n  cpu:", "targets.yaml:1: target: unknown key"
         " (did you mean 'targets'? known: renames, targets)"),
    ],
)  # fmt: skip
def test_a_wrong_target_says_where(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert TARGETS.count(old) == 1
    found = problems_of(tmp_path, targets=TARGETS.replace(old, new))
    assert problem in found
    assert len(found) == (2 if "unknown key" in problem else 1)


def test_no_targets_at_all_is_a_mistake(tmp_path: Path) -> None:
    assert problems_of(tmp_path, targets="targets: {}\n") == [
        "targets.yaml:1: targets: must not be empty"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("2027-01-31", "soon", "9: expectations[0].expires: 'soon' is not a date like 2027-01-31"),
        ("2027-01-31", "2027-02-31", "9: expectations[0].expires: '2027-02-31' is not a date like"
         " 2027-01-31"),
        ("2027-01-31", "20270131", "9: expectations[0].expires: expected text, got int 20270131"),
        ("class: compile", "class: slow", "4: expectations[0].class: unknown failure class 'slow'"
         " (known:"
         " fetch, export, compile, numerics, crash, timeout, out-of-memory, host, infrastructure)"),
        ("stage: compile", "stage: link", "3: expectations[0].stage: unknown value 'link' (known:"
         " 'fetch',"
         " 'quantize', 'export', 'pack', 'reference', 'compile', 'validate', 'benchmark',"
         " 'conformance' or 'compare')"),
        ("https://github.com/iree-org/iree/issues/1", "see chat", "7: expectations[0].issue: give"
         " the https"
         " address of the issue that tracks this failure"),
        ("    issue: https://github.com/iree-org/iree/issues/1\n", "", "2: expectations[0].issue:"
         " is missing"),
        ("owner: somebody", 'owner: ""', "8: expectations[0].owner: must not be empty"),
        ("match: uses 81920 bytes of shared memory", 'match: ""', "5: expectations[0].match: must"
         " not be"
         " empty"),
        ("reason: The compiler asks for more shared memory than there is.", "reason: flaky", "6:"
         " expectations[0].reason: a reason is a sentence that somebody else can judge"),
        ('"*/*/*/gfx942"', "a//b", "2: expectations[0].address: 'a//b' has an empty part: write"
         " model/component/variant/target; * stands for any one part"),
        ('"*/*/*/gfx942"', "a/b/c/d/e", "2: expectations[0].address: 'a/b/c/d/e' has more than"
         " four parts:"
         " write model/component/variant/target"),
        ("class:", "failure:", "2: expectations[0].class: is missing"),
    ],
)  # fmt: skip
def test_a_wrong_expectation_says_where(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert EXPECTATION.count(old) == 1
    found = problems_of(tmp_path, expectations=EXPECTATION.replace(old, new))
    assert f"expectations.yaml:{problem}" in found
    assert len(found) == (2 if new == "failure:" else 1)


def test_a_sound_expectation_is_read(tmp_path: Path) -> None:
    write_workspace(tmp_path, expectations=EXPECTATION)
    (found,) = load_manifests(tmp_path).expectations
    assert (found.address, found.stage, found.failure) == ("*/*/*/gfx942", "compile", "compile")
    assert found.expires == "2027-01-31"


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("3.13.0", ("--device=hip", "--rocm-target=gfx942")),
        ("3.11.0", ("--device=hip", "--rocm-target=gfx942")),
        ("3.10.0", ("--device=hip", "--hip-target=gfx942")),
        ("3.12.0rc20260101", ("--device=hip", "--rocm-target=gfx942")),
    ],
)
def test_flags_follow_the_compiler(tmp_path: Path, compiler: str, flags: tuple[str, ...]) -> None:
    _, targets = parts_of(write_workspace(tmp_path))
    assert targets["gfx942"].flags_for(compiler, name="gfx942") == flags


def test_a_compiler_that_no_range_covers_is_refused(tmp_path: Path) -> None:
    _, targets = parts_of(write_workspace(tmp_path))
    with pytest.raises(ManifestError) as caught:
        targets["cpu"].flags_for("3.8.0", name="cpu")
    assert caught.value.message == (
        "manifests/targets.yaml: targets.cpu: no flags for compiler 3.8.0"
    )
    assert caught.value.hint == "Add a range that covers this version."
