"""Environments are built by the real pip, from small wheels in a folder and in a local index."""

import base64
import hashlib
import os
import re
import threading
import time
import zipfile
from pathlib import Path

import pytest

from tidemill.errors import ToolError, UsageError
from tidemill.toolchain.environment import (
    STAMP,
    Environment,
    explain_import_failure,
    folder_of,
    locate,
    require,
    sync,
)
from tidemill.toolchain.lock import Lock, parse_lock, read_lock

WORKSPACE = Path(__file__).parents[2]


def wheel(folder: Path, name: str, version: str, **files: str) -> str:
    """Write a wheel that holds ``files`` (dots for slashes in the keys); return its sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    members = {key.replace(".", "/") + ".py": text for key, text in files.items()}
    members[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    members[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        record = []
        for member, text in members.items():
            archive.writestr(member, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
            record.append(f"{member},sha256={digest.decode()},{len(text)}")
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,"]))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish(index: Path, wheel_file: Path) -> None:
    """Put a wheel into a simple index that tells its hash, as registries do."""
    project = index / wheel_file.name.partition("-")[0]
    project.mkdir(parents=True)
    digest = hashlib.sha256(wheel_file.read_bytes()).hexdigest()
    link = f'<a href="{wheel_file.as_uri()}#sha256={digest}">{wheel_file.name}</a>'
    (project / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A registry with a torch, a folder with its CPU build and with IREE; their hashes."""
    hashes = {
        "torch": wheel(tmp_path / "files", "torch", "2.13.0", torch="BUILD = 'public'"),
        "torch+cpu": wheel(tmp_path / "links", "torch", "2.13.0+cpu", torch="BUILD = 'cpu'"),
        "iree": wheel(
            tmp_path / "links",
            "iree",
            "3.13.0",
            **{"iree.compiler.__init__": "", "iree.runtime.__init__": ""},
        ),
    }
    publish(tmp_path / "index", next((tmp_path / "files").glob("torch-*")))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.delenv("TIDEMILL_TOOLCHAINS", raising=False)
    return hashes


def lock_of(*, torch: list[str], iree: str) -> Lock:
    hashes = " ".join(f"--hash=sha256:{sha}" for sha in torch)
    text = f"torch==2.13.0 {hashes}\niree==3.13.0 --hash=sha256:{iree}\n"
    return parse_lock(text, name="tiny", file="tiny.lock")


def test_sync_builds_once_takes_the_local_build_and_then_costs_nothing(
    tmp_path: Path, registry: dict[str, str]
) -> None:
    lock = lock_of(torch=[registry["torch"], registry["torch+cpu"]], iree=registry["iree"])
    assert locate(tmp_path / "state", lock) is None
    lines: list[str] = []
    built = sync(tmp_path / "state", lock, report=lines.append)
    assert built.root == tmp_path / "state" / "toolchains" / f"tiny-{lock.digest[:12]}"
    assert lines[0] == f"building toolchain tiny: 2 packages into {built.root}"
    assert lines[-1] == "toolchain tiny is ready"
    installed = next(built.root.glob("lib/*/site-packages/torch.py"))
    assert installed.read_text() == "BUILD = 'cpu'"

    lines.clear()
    start = time.perf_counter()
    assert sync(tmp_path / "state", lock, report=lines.append) == built
    assert time.perf_counter() - start < 0.05
    assert lines == []
    assert require(tmp_path / "state", lock) == built

    (built.root / STAMP).unlink()
    (built.root / "bin" / "half-built").write_text("")
    assert locate(tmp_path / "state", lock) is None
    again = sync(tmp_path / "state", lock, report=lines.append)
    assert lines[0] == f"{built.root} is incomplete or unwanted: building it again"
    assert not (again.root / "bin" / "half-built").exists()


def test_two_syncs_at_once_build_one_environment(tmp_path: Path, registry: dict[str, str]) -> None:
    lock = lock_of(torch=[registry["torch+cpu"]], iree=registry["iree"])
    lines: list[str] = []
    roots: list[Path] = []

    def build() -> None:
        roots.append(sync(tmp_path / "state", lock, report=lines.append).root)

    threads = [threading.Thread(target=build) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(roots) == 2
    assert len(set(roots)) == 1
    assert sum(line.startswith("building toolchain") for line in lines) == 1
    assert "another process is building this toolchain: waiting for it" in lines


def test_a_build_that_the_lock_does_not_list_is_refused_and_leaves_nothing(
    tmp_path: Path, registry: dict[str, str]
) -> None:
    lock = lock_of(torch=[registry["torch"], "a" * 64], iree=registry["iree"])
    with pytest.raises(ToolError) as caught:
        sync(tmp_path / "state", lock, report=lambda _: None)
    assert caught.value.message == (
        f"toolchain tiny: pip finds torch 2.13.0+cpu with sha256 {registry['torch+cpu']},"
        " which the lock does not list"
    )
    assert locate(tmp_path / "state", lock) is None


def test_a_wrong_hash_stops_the_build_with_what_pip_said(
    tmp_path: Path, registry: dict[str, str]
) -> None:
    lock = lock_of(torch=[registry["torch+cpu"]], iree="b" * 64)
    with pytest.raises(ToolError) as caught:
        sync(tmp_path / "state", lock, report=lambda _: None)
    assert re.match(
        r"cannot build toolchain tiny: .*/bin/python ended with 1\n", caught.value.message
    )
    assert f"Got        {registry['iree']}" in caught.value.message
    assert caught.value.hint.startswith("the lock holds the files for CPython 3.11 on Linux x86_64")
    assert locate(tmp_path / "state", lock) is None


def test_a_torch_without_its_cuda_libraries_says_how_to_get_the_cpu_build() -> None:
    lock = read_lock(WORKSPACE / "toolchains" / "default.lock")
    stderr = (
        "Traceback …\nImportError: libcudnn.so.9: cannot open shared object file: No such file\n"
    )
    error = explain_import_failure(stderr, lock=lock)
    assert error.message == (
        "toolchain default was installed but does not import: ImportError: libcudnn.so.9:"
        " cannot open shared object file: No such file"
    )
    assert error.hint == (
        "pip found only the CUDA build of torch, and its libraries are not here. Make the CPU build"
        " (2.13.0+cpu) reachable for pip: set PIP_FIND_LINKS to a folder that holds its wheel,"
        " or PIP_EXTRA_INDEX_URL to an index that has it; then sync again."
    )


def test_other_import_failures_do_not_blame_torch() -> None:
    lock = read_lock(WORKSPACE / "toolchains" / "default.lock")
    error = explain_import_failure("ModuleNotFoundError: No module named 'iree'", lock=lock)
    assert error.hint == ""


def test_several_clones_can_share_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEMILL_TOOLCHAINS", raising=False)
    assert folder_of(tmp_path) == tmp_path / "toolchains"
    monkeypatch.setenv("TIDEMILL_TOOLCHAINS", str(tmp_path / "shared"))
    assert folder_of(tmp_path) == tmp_path / "shared"


def test_a_toolchain_that_is_not_built_says_how_to_build_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIDEMILL_TOOLCHAINS", raising=False)
    lock = read_lock(WORKSPACE / "toolchains" / "default.lock")
    with pytest.raises(UsageError) as caught:
        require(tmp_path, lock)
    assert caught.value.message == "toolchain default is not built here"
    assert caught.value.hint == "build it: tidemill toolchain sync default"


def test_a_program_that_is_not_there_names_the_environment(tmp_path: Path) -> None:
    lock = read_lock(WORKSPACE / "toolchains" / "default.lock")
    environment = Environment(lock=lock, root=tmp_path)
    with pytest.raises(ToolError) as caught:
        environment.tool("iree-frobnicate")
    assert caught.value.message == f"toolchain default has no program iree-frobnicate in {tmp_path}"
    assert caught.value.hint == "rebuild it: tidemill toolchain sync default --force"
