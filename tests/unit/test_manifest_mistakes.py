"""One look at a manifest finds everything that is wrong with it, in the words a person needs."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, SHA, TARGETS, write_workspace
from tidemill.errors import ExitCode, ManifestError
from tidemill.manifest.load import load_manifests

MISTAKES = f"""\
name: tiny
title: A tiny model
license: MIT
license: BSD
colour: blue
sources:
  hub:
    from: hf:org/tiny@main
    files:
      model.safetensors: {{path: ../secret/model.safetensors, sha256: {SHA}}}
  package:
    from: pypi:tiny==1.0
    files:
      weights.pt: {{path: tiny/weights.pt, sha256: abc}}
components:
  encoder:
    exporter: sentence_encoder
    weights: [package/weights.pt, package/other]
    inputs:
      ids: {{dtype: i64, shape: [batch, 64]}}
    dtypes: [f32, f8]
    targets: [cpu, tpu]
    samples:
      - name: noise
        inputs:
          ids: {{kind: integers, seed: one, low: 0, high: 9}}
      - name: noise
        inputs: {{}}
"""
EXPECTED = """\
manifests/models/tiny.yaml:4: license: duplicate key, first written in line 3
manifests/models/tiny.yaml:5: colour: unknown key \
(known: components, fails_like, homepage, license, name, sources, title)
manifests/models/tiny.yaml:8: sources.hub.from: hf:org/tiny@main: revision must be a commit sha of \
40 hex digits, so that the bytes cannot change
manifests/models/tiny.yaml:10: sources.hub.files.model.safetensors.path: \
'../secret/model.safetensors' leaves its folder: give a plain relative path
manifests/models/tiny.yaml:11: sources.package: a pypi: package needs the sha256 of its archive
manifests/models/tiny.yaml:14: sources.package.files.weights.pt: is a pickle, which can run code \
when loaded: prefer safetensors, or say why it is trusted in 'pickle:' beside 'files:'
manifests/models/tiny.yaml:14: sources.package.files.weights.pt.sha256: \
expected a sha256 of 64 lower-case hexadecimal digits
manifests/models/tiny.yaml:18: components.encoder.weights[1]: \
source 'package' has no file 'other' (known: weights.pt)
manifests/models/tiny.yaml:20: components.encoder.inputs.ids.shape[0]: \
'batch' is neither a dimension nor a matrix axis of this component
manifests/models/tiny.yaml:21: components.encoder.dtypes[1]: \
unknown value 'f8' (known: 'f32', 'f16' or 'bf16')
manifests/models/tiny.yaml:22: components.encoder.targets[1]: \
unknown target 'tpu' (known: cpu, gfx942)
manifests/models/tiny.yaml:26: components.encoder.samples[0].inputs.ids.seed: \
expected a whole number, got str 'one'
manifests/models/tiny.yaml:27: components.encoder.samples[1]: says nothing about input 'ids'
manifests/models/tiny.yaml:27: components.encoder.samples[1].name: duplicate name 'noise'
"""


def message_of(root: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        load_manifests(root)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.hint == "Mend the lines above."
    return caught.value.message


def test_all_mistakes_of_a_manifest_are_reported_at_once(tmp_path: Path) -> None:
    root = write_workspace(tmp_path, model=MISTAKES)
    assert message_of(root) == f"{EXPECTED}14 problems in the manifests"


def test_mistakes_of_all_files_are_reported_together(tmp_path: Path) -> None:
    root = write_workspace(
        tmp_path,
        model=MODEL.replace("license: MIT\n", ""),
        targets=TARGETS.replace("device: hip", "device: warp"),
        expectations="expectations: 3\n",
    )
    (root / "manifests/models/other.yaml").write_bytes(b"\x89PNG\r\n")
    (root / "manifests/models/empty.yaml").write_bytes(b"")
    (root / "manifests/models/late.yml").write_text(MODEL)
    (root / "manifests/models/twin").mkdir()
    (root / "manifests/models/twin/tiny.yaml").write_text(MODEL)
    assert message_of(root).splitlines() == [
        "manifests/expectations.yaml:1: expectations: expected a list, got int 3",
        "manifests/models/empty.yaml:1: the file is empty",
        "manifests/models/late.yml:1: is not read: end its name in .yaml",
        "manifests/models/other.yaml:1: is not UTF-8 text: byte 0x89 at 0",
        "manifests/models/tiny.yaml:1: license: is missing",
        "manifests/models/twin/tiny.yaml:1: name: duplicate name 'tiny', also in"
        " manifests/models/tiny.yaml",
        "manifests/targets.yaml:9: targets.gfx942.device: unknown value 'warp'"
        " (known: 'local-task', 'hip', 'cuda' or 'vulkan')",
        "7 problems in the manifests",
    ]


def test_a_manifest_is_named_as_its_file_is(tmp_path: Path) -> None:
    root = write_workspace(tmp_path, model=MODEL.replace("name: tiny", "name: huge"))
    assert message_of(root).splitlines()[0] == (
        "manifests/models/tiny.yaml:1: name: 'huge' must be the file's own name, 'tiny'"
    )


def test_one_problem_is_counted_as_one(tmp_path: Path) -> None:
    root = write_workspace(tmp_path)
    (root / "manifests/targets.yaml").unlink()
    assert message_of(root) == (
        "manifests/targets.yaml:1: cannot be read: No such file or directory\n"
        "1 problem in the manifests"
    )


def test_a_treacherous_value_is_one_problem_and_no_second_one(tmp_path: Path) -> None:
    root = write_workspace(tmp_path, model=MODEL.replace("license: MIT", "license: !!binary MIT="))
    assert message_of(root) == (
        "manifests/models/tiny.yaml:3: license: tag tag:yaml.org,2002:binary is not read\n"
        "1 problem in the manifests"
    )


def test_an_alias_bomb_in_a_manifest_stops_nothing_else(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    root = write_workspace(tmp_path, model=bomb, targets=TARGETS.replace("chip:", "ship:"))
    assert message_of(root).splitlines() == [
        "manifests/models/tiny.yaml:1: expands to more than 50000 values (an alias bomb?)",
        "manifests/targets.yaml:11: targets.gfx942.ship: unknown key"
        " (did you mean 'chip'? known: chip, device, flags, needs, resources)",
        "2 problems in the manifests",
    ]


def test_a_sound_workspace_is_read(tmp_path: Path) -> None:
    manifests = load_manifests(write_workspace(tmp_path))
    assert sorted(manifests.models) == ["tiny"]
    assert manifests.models["tiny"].components["encoder"].dtypes == ("f32", "f16")
    assert manifests.folders == {"tiny": tmp_path / "manifests/models"}
    assert sorted(manifests.targets.targets) == ["cpu", "gfx942"]
    assert manifests.expectations == ()
