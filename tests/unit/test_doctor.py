"""What doctor says of a host: all targets always, what it is ready for, what else is wanted."""

from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.unit.made import MODEL, write_workspace
from tidemill.cli import doctor as module
from tidemill.errors import ExitCode
from tidemill.toolchain.environment import STAMP
from tidemill.toolchain.lock import read_lock
from tidemill.toolchain.probe import probe

OWN_TOOLCHAIN = ("exporter: sentence_encoder", "exporter: sentence_encoder\n    toolchain: llm")
TARGETS = [
    "targets",
    "  cpu        can be validated here",
    "  gfx942     no gfx942 device on this host (no /dev/kfd)",
]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``tiny`` is made with the default toolchain, ``large`` with another; neither is built."""
    root = write_workspace(tmp_path / "work")
    large = MODEL.replace("name: tiny", "name: large").replace(*OWN_TOOLCHAIN)
    (root / "manifests/models/large.yaml").write_text(large)
    (root / "toolchains").mkdir()
    for name, digit in (("default", "1"), ("llm", "2")):
        pin = f"iree-base-compiler==3.13.0 --hash=sha256:{digit * 64}\n"
        (root / f"toolchains/{name}.lock").write_text(pin)
    monkeypatch.setenv("TIDEMILL_TOOLCHAINS", str(tmp_path / "toolchains"))
    monkeypatch.setattr(module, "probe", partial(probe, root=tmp_path, environ={}))
    return root


def build(root: Path, *names: str) -> None:
    """As far as doctor looks: an interpreter, and the stamp."""
    for name in names:
        digest = read_lock(root / f"toolchains/{name}.lock").digest
        folder = root.parent / f"toolchains/{name}-{digest[:12]}"
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/python").touch()
        (folder / STAMP).touch()


def said(root: Path, *, expect: int) -> list[str]:
    """What it prints from the targets on; ``expect`` is what the command returns to main."""
    done = CliRunner().invoke(
        module.doctor, ["--workspace", str(root)], standalone_mode=False, catch_exceptions=False
    )
    assert done.return_value == expect
    lines = done.stdout.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("targets")]
    return lines[start:]


# The pipelines are those of this checkout: only nightly takes all models, so ``large`` too.


def test_a_host_with_the_default_toolchain_is_good_and_told_what_else_is_wanted(root: Path) -> None:
    build(root, "default")
    assert said(root, expect=ExitCode.GOOD) == [
        *TARGETS,
        "ready for pictures, presubmit, smoke; nightly also needs: tidemill toolchain sync --for"
        " nightly",
    ]


def test_a_host_with_all_toolchains_is_ready_for_everything(root: Path) -> None:
    build(root, "default", "llm")
    assert said(root, expect=ExitCode.GOOD)[-1] == "ready for nightly, pictures, presubmit, smoke"


def test_a_host_without_the_default_toolchain_is_ready_for_nothing(root: Path) -> None:
    build(root, "llm")
    assert said(root, expect=ExitCode.STORE) == [
        "targets    unknown: toolchain default is not built here",
        "ready for nothing yet: tidemill toolchain sync default",
    ]


def test_a_bad_manifest_hides_no_target_and_is_told_in_short(root: Path) -> None:
    build(root, "default")
    file = root / "manifests/models/large.yaml"
    file.write_text(file.read_text().replace("title:", "titel:"))
    assert said(root, expect=ExitCode.USAGE) == [
        *TARGETS,
        "manifests  2 problems, shown by: tidemill manifest check",
    ]


def test_targets_that_cannot_be_read_are_unknown(root: Path) -> None:
    build(root, "default")
    (root / "manifests/targets.yaml").write_text("targets: 3\n")
    assert said(root, expect=ExitCode.USAGE) == [
        "targets    unknown: manifests/targets.yaml cannot be used",
        "manifests  1 problem, shown by: tidemill manifest check",
    ]
