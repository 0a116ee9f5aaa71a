"""Which action a person means: by key, by its first digits, by an address and a stage near it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from tests.reports import node, sample_report
from tests.unit.made import failure_of, graph_of
from tidemill.cli.finding import key_of
from tidemill.cli.records import log
from tidemill.errors import UsageError
from tidemill.records import NodeReport, Output, encode
from tidemill.store import Store, open_store
from tidemill.store.contract import Unlistable
from tidemill.store.layout import failure_name
from tidemill.workspace import Workspace, find_workspace

CPU = "tiny/encoder/f32/cpu"
EXPORT, COMPILE, FETCH = ("1" * 64, "2" * 64, "3" * 64)
NODES = (
    node("tiny/package", "fetch", "reused", key=FETCH),
    node("tiny/encoder/f32", "export", "built", key=EXPORT),
    node(CPU, "compile", "built", key=COMPILE),
    node("tiny/encoder/f32/gfx942", "compile", "built", key="4" * 64),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "work/manifests").mkdir(parents=True)
    workspace = find_workspace(start=tmp_path / "work")
    ran(workspace, "20261121T021003Z-smoke", *NODES)
    return workspace


def ran(workspace: Workspace, run: str, *nodes: NodeReport) -> None:
    folder = workspace.run_folder(run)
    folder.mkdir(parents=True)
    report = sample_report(run=run, nodes=nodes)
    (folder / "report.json").write_bytes(msgspec.json.encode(report))


def recorded(workspace: Workspace, tmp_path: Path, *keys: str, **fields: Any) -> Store:
    """A store with a failed compile under each of ``keys``."""
    compiled = graph_of(tmp_path / f"graph-{keys[0]}").nodes[f"compile:{CPU}"]
    store = open_store(workspace.store_url)
    for key in keys:
        record = msgspec.structs.replace(failure_of(compiled, key=key), **fields)
        store.create(failure_name("compile", key), encode(record))
    return store


def found(workspace: Workspace, text: str, *, stage: str | None = None) -> str:
    return key_of(workspace, open_store(workspace.store_url), text, stage=stage)


def refused(workspace: Workspace, text: str, *, stage: str | None = None) -> tuple[str, str]:
    with pytest.raises(UsageError) as error:
        found(workspace, text, stage=stage)
    return error.value.message, error.value.hint


def test_the_first_digits_of_a_key_are_enough(workspace: Workspace, tmp_path: Path) -> None:
    one, other = f"{'a' * 11}0{'c' * 52}", f"{'a' * 11}1{'d' * 52}"
    recorded(workspace, tmp_path, one, other)
    assert found(workspace, one[:12]) == one
    assert found(workspace, other[:20]) == other
    assert found(workspace, one) == one
    assert refused(workspace, "a" * 8) == (
        "2 keys begin with aaaaaaaa",
        f"{one} compile {CPU}\n  {other} compile {CPU}",
    )
    assert refused(workspace, "b" * 12) == (
        f"the store has no action with a key that begins with {'b' * 12}",
        "",
    )


def test_seven_digits_are_no_key(workspace: Workspace, tmp_path: Path) -> None:
    recorded(workspace, tmp_path, "a" * 64)
    assert refused(workspace, "a" * 7)[0].startswith("aaaaaaa is neither a key nor an address")


def test_a_store_that_cannot_list_has_the_keys_of_this_machine_s_runs(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = recorded(workspace, tmp_path, "a" * 64)

    def unlistable(_prefix: str) -> None:
        raise Unlistable("no")

    monkeypatch.setattr(store, "list", unlistable)
    assert key_of(workspace, store, "2" * 8, stage=None) == COMPILE


@pytest.mark.parametrize(
    ("stage", "key", "where"),
    [("export", EXPORT, "tiny/encoder/f32"), ("fetch", FETCH, "tiny/package")],
)
def test_a_stage_that_targets_share_is_found_and_told(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], stage: str, key: str, where: str
) -> None:
    assert found(workspace, CPU, stage=stage) == key
    assert capsys.readouterr().err == f"{stage} belongs to {where}\n"
    assert found(workspace, where, stage=stage) == key
    assert capsys.readouterr().err == ""


def test_a_stage_of_several_addresses_is_not_guessed(workspace: Workspace) -> None:
    assert refused(workspace, "tiny/encoder/f32", stage="compile") == (
        "compile is no stage of tiny/encoder/f32 itself, but of several addresses near it",
        f"name one of {CPU}, tiny/encoder/f32/gfx942",
    )


def test_an_address_that_is_not_there_is_told_with_the_closest(workspace: Workspace) -> None:
    assert refused(workspace, "tiny/encodr/f32/cpu") == (
        "tiny/encodr/f32/cpu is neither a key nor an address with a known key in a run on this"
        " machine",
        "its addresses: tiny/encoder/f32/cpu, tiny/encoder/f32, tiny/encoder/f32/gfx942,"
        " tiny/package. `tidemill explain ADDRESS` shows keys.",
    )


def called(workspace: Workspace, *arguments: str) -> Result:
    root = str(workspace.root)
    return CliRunner().invoke(log, [*arguments, "--workspace", root], catch_exceptions=False)


def test_an_empty_log_is_said_to_be_empty(workspace: Workspace, tmp_path: Path) -> None:
    store = open_store(workspace.store_url)
    logs = {text: store.put_bytes(text) for text in (b"", b"words\n")}
    for key, text in (("e" * 64, b""), ("f" * 64, b"words\n")):
        kept = Output(name="log.txt", kind="log", digest=logs[text], size=len(text))
        recorded(workspace, tmp_path, key, log=kept)
    empty, words = called(workspace, "e" * 8), called(workspace, "f" * 8)
    assert (empty.stdout, empty.stderr) == ("", f"the log of compile {CPU} is empty\n")
    assert (words.stdout, words.stderr) == ("words\n", "")
