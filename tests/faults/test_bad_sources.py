"""Model files that are not what they should be: under their own digest, or under another one."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.workbench import Workbench

pytestmark = pytest.mark.toolchain

WRONG = "ab" * 32
PINNED = "the digest is the declared one, so the pinned file itself is damaged"


def safetensors(tensors: Mapping[str, tuple[int, ...]]) -> bytes:
    """A file of float32 zeros: the header's length, the header, the data."""
    header, end = {}, 0
    for name, shape in tensors.items():
        size = 4
        for extent in shape:
            size *= extent
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


WHOLE = safetensors({"model.norm.weight": (16,), "lm_head.weight": (32, 16)})


def use(bench: Workbench, file: str, *, data: bytes) -> None:
    """Put ``data`` in place of a model file and pin it by its own digest."""
    path = bench.root / "manifests/models" / file
    manifest = f"manifests/models/{path.parent.name}.yaml"
    before = bench.sha(file)
    path.write_bytes(data)
    bench.edit(manifest, (before, hashlib.sha256(data).hexdigest()))


def use_safetensors(bench: Workbench, data: bytes) -> None:
    """Give the language model weights from a file."""
    (bench.root / "manifests/models/lm/model.safetensors").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    file = f"model.safetensors: {{path: model.safetensors, sha256: {digest}}}"
    source = f"from: file:lm\n    files:\n      {file}"
    bench.edit("manifests/models/lm.yaml", ("from: synthetic:seed=7\n    scale: 0.1", source))
    bench.edit("manifests/models/lm.yaml", ("[values]", "[values/model.safetensors]"))


def failure(bench: Workbench, stage: str) -> dict[str, Any]:
    """The one recorded failure of a stage."""
    (path,) = (bench.store / f"failures/{stage}").iterdir()
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def cut(data: bytes) -> bytes:
    return data[:-40]


def emptied(data: bytes) -> bytes:
    return data[:0]


def a_page_instead(data: bytes) -> bytes:
    return b"<html>" + data[:30]


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (cut, "ONNX: a field ends at byte 745, the file has 711"),
        (emptied, "not ONNX: the file is empty"),
        (a_page_instead, "not ONNX: unknown wire type 4 at byte 1"),
    ],
)
def test_an_onnx_file_that_is_not_whole_is_refused_when_it_is_fetched(
    fresh: Workbench, harm: Callable[[bytes], bytes], line: str
) -> None:
    path = fresh.root / "manifests/models/tiny/model.onnx"
    use(fresh, "tiny/model.onnx", data=harm(path.read_bytes()))
    done = fresh.run("small", "--model", "tiny", expect=3)
    found = failure(fresh, "fetch")
    expected = ("fetch", [f"source files: file model.onnx: {line}"], PINNED)
    assert (found["failure"], found["lines"], found["hint"]) == expected
    assert done.outcomes["export", "tiny/net/f32"] == "blocked"
    assert done.built == set()


def test_an_onnx_file_that_is_whole_and_wrong_is_refused_by_the_exporter(fresh: Workbench) -> None:
    data = (fresh.root / "manifests/models/tiny/model.onnx").read_bytes()
    use(fresh, "tiny/model.onnx", data=data.replace(b"MatMul", b"MatMud"))
    fresh.run("small", "--model", "tiny", "--stage", "export", expect=3)
    found = failure(fresh, "export")
    assert found["failure"] == "export"
    assert found["lines"] == [
        "model.onnx is not a readable ONNX model: No Op registered for MatMud with domain_version"
        " of 17"
    ]
    assert found["hint"] == "check the source and the manifest"


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (WHOLE[:-5], "safetensors: tensors need 2112 bytes, the file has 2107"),
        (WHOLE[:60], "not safetensors: a header of 162 bytes in a file of 60"),
        (WHOLE[:4], "not safetensors: 4 bytes are too few for a header"),
        (WHOLE.replace(b'"F32"', b'"F33"', 1),
            "safetensors: tensor model.norm.weight has the unknown dtype F33"),
        (WHOLE.replace(b"[16]", b"[17]", 1),
            "safetensors: tensor model.norm.weight of F32 [17] does not fill bytes 0 to 64"),
    ],
    ids=["cut", "cut in the header", "almost nothing", "unknown dtype", "another shape"],
)  # fmt: skip
def test_a_safetensors_file_that_is_not_whole_is_refused_when_it_is_fetched(
    fresh: Workbench, data: bytes, line: str
) -> None:
    use_safetensors(fresh, data)
    done = fresh.run("language", "--stage", "fetch", expect=3)
    found = failure(fresh, "fetch")
    expected = ("fetch", [f"source values: file model.safetensors: {line}"], PINNED)
    assert (found["failure"], found["lines"], found["hint"]) == expected
    assert done.built == {"fetch:lm/config"}


def test_a_safetensors_file_without_the_models_tensors_is_refused_when_it_is_packed(
    fresh: Workbench,
) -> None:
    use_safetensors(fresh, WHOLE)
    fresh.run("language", "--stage", "pack", expect=3)
    found = failure(fresh, "pack")
    assert found["failure"] == "export"
    assert found["lines"][0] == "the weights do not fit the model (10 problems):"
    assert sum("model.embed_tokens.weight" in line for line in found["lines"]) == 1
    assert not any("model.norm.weight" in line for line in found["lines"])


def test_a_wrong_digest_is_named_with_both_and_no_one_uses_the_file(fresh: Workbench) -> None:
    right = fresh.sha("tiny/model.onnx")
    fresh.edit("manifests/models/tiny.yaml", (right, WRONG))
    done = fresh.run("small", "--model", "tiny", expect=3)
    found = failure(fresh, "fetch")
    assert found["lines"] == [
        "source files: file model.onnx: another sha256 than declared",
        f"expected {WRONG}",
        f"got      {right}",
    ]
    assert found["hint"] == (
        "either upstream changed the bytes or the manifest is wrong: look at both; never edit the"
        " digest without looking"
    )
    assert done.built == set()
    names = {Path(name).name for name in fresh.files("blobs")}
    assert right not in names
    assert WRONG not in names


def test_a_fetch_that_failed_is_tried_again_since_the_world_may_have_changed(
    fresh: Workbench,
) -> None:
    path = fresh.root / "manifests/models/tiny/model.onnx"
    right = path.read_bytes()
    path.unlink()
    fresh.run("small", "--model", "tiny", "--stage", "fetch", expect=3)
    assert failure(fresh, "fetch")["lines"] == [
        "source files: file model.onnx: there is no file model.onnx in file:tiny"
    ]
    path.write_bytes(right)
    assert fresh.run("small", "--model", "tiny", "--stage", "fetch").built == {"fetch:tiny/files"}
    assert list((fresh.store / "failures/fetch").iterdir()) == []
