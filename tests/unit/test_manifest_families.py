"""A model that fails like another: what is expected of that one, and what is wrong with it."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, write_workspace
from tidemill.errors import ManifestError
from tidemill.manifest.load import Manifests, load_manifests
from tidemill.manifest.targets import InheritedExpectation

EXPECTATIONS = """\
expectations:
  - address: tiny/encoder/*/gfx942
    stage: compile
    class: compile
    match: shared memory
    reason: The compiler asks for too much.
    issue: https://example.org/issues/1
    owner: somebody
    expires: "2027-01-31"
    rung: {name: no-igemm, flags: [--iree-codegen-llvmgpu-use-igemm=false]}
"""


def workspace(root: Path, **likes: str) -> Path:
    """The model ``tiny``, and copies of it that say what they fail like."""
    write_workspace(root, expectations=EXPECTATIONS)
    for name, like in likes.items():
        text = MODEL.replace("name: tiny", f"name: {name}\nfails_like: {like}", 1)
        (root / f"manifests/models/{name}.yaml").write_text(text, encoding="utf-8")
    return root


def problems(root: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load_manifests(root)
    return caught.value.message.splitlines()[:-1]


def test_a_new_checkpoint_takes_over_what_is_expected_with_its_rung(tmp_path: Path) -> None:
    manifests: Manifests = load_manifests(workspace(tmp_path, tuned="tiny"))
    own, inherited = manifests.expectations
    assert isinstance(inherited, InheritedExpectation)
    assert (inherited.address, inherited.of) == ("tuned/encoder/*/gfx942", "tiny")
    assert inherited.rung == own.rung
    assert inherited.rung is not None


def test_the_model_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    root = workspace(tmp_path, tuned="tinny", odd="odd")
    assert problems(root) == [
        "manifests/models/odd.yaml:2: fails_like: 'odd' is this model: name another",
        "manifests/models/tuned.yaml:2: fails_like: unknown model 'tinny'"
        " (did you mean 'tiny'? known: odd, tiny)",
    ]


def test_a_model_whose_file_is_wrong_elsewhere_is_there_all_the_same(tmp_path: Path) -> None:
    root = workspace(tmp_path, tuned="tiny")
    path = root / "manifests/models/tiny.yaml"
    path.write_text(MODEL.replace("license: MIT", "license: 3"), encoding="utf-8")
    assert problems(root) == ["manifests/models/tiny.yaml:3: license: expected text, got int 3"]


def test_a_chain_is_refused_with_its_first(tmp_path: Path) -> None:
    root = workspace(tmp_path, tuned="tiny", twice="tuned")
    assert problems(root) == [
        "manifests/models/twice.yaml:2: fails_like: 'tuned' itself fails like 'tiny': name that one"
    ]
