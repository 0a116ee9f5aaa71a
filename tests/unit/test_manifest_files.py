"""Files that a ``file:`` source declares are looked at when manifests are checked."""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.made import MODEL, SHA, write_workspace
from tidemill.cli.workspace import manifest
from tidemill.errors import ExitCode, ManifestError
from tidemill.manifest.load import load_manifests

FILE = "manifests/models/tiny.yaml"
NAMES = ("config.json", "tokenizer.json", "model.safetensors")


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def sound(folder: str) -> str:
    """The small manifest with its files, each of which holds its own name, in a folder."""
    model = MODEL.replace(f"pypi:tiny==1.0\n    sha256: {SHA}", f"file:{folder}")
    for name in NAMES:
        pinned = f"{{path: tiny/{name}, sha256: {digest(name)}}}"
        model = model.replace(f"{{path: tiny/{name}, sha256: {SHA}}}", pinned)
    return model


def written(root: Path, *edits: tuple[str, str], folder: str = "parts") -> Path:
    """A workspace whose files lie in ``folder`` beside the manifest."""
    model = sound(folder)
    for old, new in edits:
        assert model.count(old) == 1
        model = model.replace(old, new)
    write_workspace(root, model=model)
    place = root / "manifests/models" / folder / "tiny"
    place.mkdir(parents=True)
    for name in NAMES:
        (place / name).write_text(name, encoding="utf-8")
    return root


def problems(root: Path) -> list[str]:
    try:
        load_manifests(root, files=True)
    except ManifestError as error:
        return [line.removeprefix(f"{FILE}:") for line in error.message.splitlines()[:-1]]
    return []


def test_files_that_are_what_is_declared_are_no_problem(tmp_path: Path) -> None:
    assert problems(written(tmp_path)) == []


def test_a_wrong_digest_is_answered_with_the_right_one_in_full(tmp_path: Path) -> None:
    root = written(tmp_path, (digest("config.json"), SHA))
    assert problems(root) == [
        "8: sources.package.files.config.json.sha256: 'tiny/config.json' in file:parts has sha256"
        f" {digest('config.json')}: either the file or the manifest is wrong, look at both"
    ]


def test_a_missing_file_is_answered_with_near_names(tmp_path: Path) -> None:
    root = written(tmp_path, ("path: tiny/config.json", "path: tiny/confg.json"))
    assert problems(root) == [
        "8: sources.package.files.config.json.path: there is no file 'tiny/confg.json' in"
        " file:parts (did you mean 'tiny/config.json'? known: tiny/config.json,"
        " tiny/model.safetensors, tiny/tokenizer.json)"
    ]


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("tiny/confg.json", "file:parts (did you mean 'tiny/config.json'?)"),
        ("unet.bin", "file:parts"),
    ],
)
def test_of_many_files_only_a_near_one_is_told(tmp_path: Path, path: str, end: str) -> None:
    root = written(tmp_path, ("path: tiny/config.json", f"path: {path}"))
    for index in range(20):
        (root / f"manifests/models/parts/{index}").touch()
    (line,) = problems(root)
    assert line.endswith(f"there is no file '{path}' in {end}")


def test_a_missing_folder_is_one_problem(tmp_path: Path) -> None:
    assert problems(written(tmp_path, ("file:parts", "file:part"))) == [
        "6: sources.package.from: there is no folder 'part' beside the manifest (did you mean"
        " 'parts'? known: parts)"
    ]


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    root = written(tmp_path)
    inner = root / "manifests/models/parts/tiny/config.json"
    inner.rename(tmp_path / "config.json")
    inner.symlink_to(tmp_path / "config.json")
    assert problems(root) == [
        "8: sources.package.files.config.json.path: 'tiny/config.json' is a link that leaves"
        " file:parts"
    ]


@pytest.mark.parametrize("path", ["/etc/passwd", "../../targets.yaml", "tiny/..", '"a\\0b"'])
def test_a_path_that_leaves_the_folder_is_not_read(tmp_path: Path, path: str) -> None:
    found = problems(written(tmp_path, ("path: tiny/config.json", f"path: {path}")))
    assert found
    assert not any("sha256" in line for line in found)


def test_only_the_check_looks_at_files(tmp_path: Path) -> None:
    """Another host of a run may not have them, and needs what was fetched only."""
    root = written(tmp_path, (digest("config.json"), SHA))
    assert load_manifests(root).models.keys() == {"tiny"}
    done = CliRunner().invoke(manifest, ["check", "--json", "--workspace", str(root)])
    (line,) = json.loads(done.output)["problems"]
    assert digest("config.json") in line
    raised = CliRunner().invoke(manifest, ["check", "--workspace", str(root)]).exception
    assert isinstance(raised, ManifestError)
    assert raised.exit_code == ExitCode.USAGE


def test_a_folder_outside_the_workspace_is_looked_at_too(tmp_path: Path) -> None:
    root = written(tmp_path / "work", ("file:parts", f"file:{tmp_path}/there"))
    assert problems(root) == [
        f"6: sources.package.from: there is no folder 'there' at {tmp_path}/there (known: work)"
    ]


def test_a_folder_that_is_a_loop_of_links_is_no_folder(tmp_path: Path) -> None:
    root = written(tmp_path, ("file:parts", "file:loop"))
    loop = root / "manifests/models/loop"
    loop.symlink_to(loop)
    (line,) = problems(root)
    assert line.startswith("6: sources.package.from: ")
