"""Which toolchains ``tidemill toolchain sync`` builds. Those that are built here are stand-ins."""

from pathlib import Path

import pytest

from tests.unit.made import MODEL, SHA, TARGETS
from tests.unit.test_client_cli import call
from tidemill.toolchain.environment import STAMP, folder_of
from tidemill.toolchain.lock import read_lock

PIPELINE = """\
from pipelines.base import Pipeline

PIPELINE = Pipeline(name="one", about="for a test", models=("tiny",))
"""
REPO = Path(__file__).parents[2]


def named(model: str, toolchain: str) -> str:
    """A manifest whose one component is made with ``toolchain``."""
    text = MODEL.replace("name: tiny\n", f"name: {model}\n")
    exporter = "    exporter: sentence_encoder\n"
    return text.replace(exporter, f"{exporter}    toolchain: {toolchain}\n")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models with toolchains of their own, ``llm`` and ``night``; pipeline ``one`` has one."""
    monkeypatch.delenv("TIDEMILL_TOOLCHAINS", raising=False)
    for folder in ("manifests/models", "toolchains", "pipelines"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "manifests/targets.yaml").write_text(TARGETS)
    for model, toolchain in (("tiny", "llm"), ("other", "night")):
        (tmp_path / f"manifests/models/{model}.yaml").write_text(named(model, toolchain))
    for name in ("__init__", "base"):
        (tmp_path / f"pipelines/{name}.py").symlink_to(REPO / f"pipelines/{name}.py")
    (tmp_path / "pipelines/one.py").write_text(PIPELINE)
    for name in ("default", "llm", "night", "unused"):
        (tmp_path / f"toolchains/{name}.lock").write_text(
            f"iree-{name}==1.0 \\\n    --hash=sha256:{SHA}\n"
        )
    return tmp_path


def built(workspace: Path, *names: str) -> list[str]:
    """Have these toolchains here; their folders."""
    folders = []
    for name in names:
        lock = read_lock(workspace / f"toolchains/{name}.lock")
        root = folder_of(workspace / ".tidemill") / f"{name}-{lock.digest[:12]}"
        (root / "bin").mkdir(parents=True)
        (root / "bin/python").touch()
        (root / STAMP).touch()
        folders.append(str(root))
    return folders


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((), ["default"]),
        (("--for", "one"), ["default", "llm"]),
        (("night", "llm"), ["night", "llm"]),
        (("night", "--for", "one"), ["night", "llm"]),
        (("llm", "--for", "one"), ["llm"]),
    ],
)
def test_those_that_are_named_are_there_and_their_folders_are_printed(
    workspace: Path, arguments: tuple[str, ...], wanted: list[str]
) -> None:
    # Only these are here: pip would be asked, in vain, for any other.
    folders = built(workspace, *wanted)
    done = call(workspace, "toolchain", "sync", *arguments)
    assert done.stdout.splitlines() == folders


def test_a_lock_that_is_not_there_is_named_before_anything_is_built(workspace: Path) -> None:
    done = call(workspace, "toolchain", "sync", "default", "lm", expect=2)
    assert done.stdout == ""
    assert done.stderr == (
        f"error: no toolchain lm in {workspace}/toolchains\n  known: default, llm, night, unused\n"
    )
    assert not (workspace / ".tidemill/toolchains").exists()


def test_a_pipeline_that_is_not_there_is_named(workspace: Path) -> None:
    built(workspace, "default")
    done = call(workspace, "toolchain", "sync", "--for", "two", expect=2)
    assert "two" in done.stderr
    assert done.stdout == ""


def test_a_component_with_an_unknown_toolchain_is_a_problem_of_its_manifest(
    workspace: Path,
) -> None:
    built(workspace, "default")
    (workspace / "manifests/models/tiny.yaml").write_text(named("tiny", "lm"))
    done = call(workspace, "toolchain", "sync", "--for", "one", expect=2)
    assert "components.encoder.toolchain: unknown toolchain 'lm'" in done.stderr
