"""Damage in the store: each kind of file, harmed in each way, is rebuilt and never used."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.damage import HARMS, damage
from tests.workbench import Workbench
from tidemill.digest import Digest, digest_file
from tidemill.store import open_store
from tidemill.store.verified import Verified

pytestmark = pytest.mark.toolchain

#: Kind → the action that made it, and the name of its output.
KINDS = {
    "source": ("fetch:tiny/files", "model.onnx"),
    "mlir": ("export:tiny/net/f32", "model.mlir"),
    "irpa": ("pack:tiny/net/f32", "model.irpa"),
    "reference": ("reference:tiny/net/f32", "noise.expected0.npy"),
    "vmfb": ("compile:tiny/net/f32/cpu", "model.vmfb"),
    "verdict": ("validate:tiny/net/f32/cpu", "verdict.json"),
    "log": ("fetch:tiny/files", "log.txt"),
}


def record(bench: Workbench, node: str) -> dict[str, Any]:
    stage, _, address = node.partition(":")
    return bench.record(stage, address)


def blob_of(bench: Workbench, kind: str) -> Path:
    """The blob of one kind."""
    node, name = KINDS[kind]
    made = record(bench, node)
    (digest,) = (o["digest"] for o in (*made["outputs"], made["log"]) if o["name"] == name)
    return bench.blob(digest)


def other_blob(bench: Workbench, kind: str) -> Path:
    """A sound blob of another kind."""
    return blob_of(bench, "vmfb" if kind != "vmfb" else "irpa")


def action_of(bench: Workbench, node: str) -> Path:
    return bench.store / f"actions/{node.partition(':')[0]}/{record(bench, node)['key']}.json"


def deceive(bench: Workbench, blob: Path) -> None:
    """Make the workspace believe that it has hashed this blob and found it right."""
    memory = Verified(bench.root / ".tidemill/cache")
    memory.learn(open_store(str(bench.store)), Digest(blob.name))
    memory.save()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_blob_is_rebuilt_and_nothing_else(built: Workbench, kind: str) -> None:
    sound = built.files("blobs")
    for harm in HARMS:
        damage(blob_of(built, kind), harm, other=other_blob(built, kind))
        done = built.run("one")
        assert done.built == {KINDS[kind][0]}, harm
        assert sound.items() <= built.files("blobs").items(), harm
        assert built.torn() == [], harm
    assert built.run("one").built == set()


def test_what_is_damaged_is_kept_aside_for_a_look(built: Workbench) -> None:
    blob = blob_of(built, "vmfb")
    damage(blob, "flip", other=blob)
    harmed = blob.read_bytes()
    built.run("one")
    (aside,) = (built.store / "quarantine").iterdir()
    assert aside.name.startswith(blob.name)
    assert aside.read_bytes() == harmed


@pytest.mark.parametrize("kind", ["mlir", "irpa", "reference", "vmfb", "verdict"])
def test_a_pull_never_delivers_damaged_bytes(built: Workbench, tmp_path: Path, kind: str) -> None:
    blob, to = blob_of(built, kind), tmp_path / "out"
    right = blob.read_bytes()
    for harm in HARMS:
        damage(blob, harm, other=other_blob(built, kind))
        deceive(built, blob)
        done = built.call("pull", "--channel", "small", "tiny", "--to", str(to), expect=5)
        assert f"blob {blob.name[:12]}… " in done.err, harm
        assert "run the pipeline that made it again: it is rebuilt" in done.err, harm
        assert not (to / "tidemill-pull.json").exists(), harm
        delivered = [digest_file(path) for path in to.rglob("*") if path.is_file()]
        assert set(delivered) <= released(built), harm
        blob.write_bytes(right)
    built.call("pull", "--channel", "small", "tiny", "--to", str(to))
    assert right in [path.read_bytes() for path in to.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("kind", "forced", "consumer"),
    [
        ("source", "export", "export:tiny/net/f32"),
        ("mlir", "compile", "compile:tiny/net/f32/cpu"),
        ("vmfb", "validate", "validate:tiny/net/f32/cpu"),
        ("reference", "validate", "validate:tiny/net/f32/cpu"),
    ],
)
def test_damage_that_nobody_has_noticed_is_found_when_read_and_rebuilt_in_the_same_run(
    built: Workbench, kind: str, forced: str, consumer: str
) -> None:
    sound = built.files("blobs")
    for harm in ("flip", "lose"):
        blob = blob_of(built, kind)
        damage(blob, harm, other=other_blob(built, kind))
        if blob.exists():
            deceive(built, blob)
            assert built.states("one")[KINDS[kind][0]]["state"] == "up-to-date"
        done = built.run("one", "--stage", forced, "--target", "cpu", "--force")
        assert done.built == {KINDS[kind][0], consumer}, harm
        assert sound.items() <= built.files("blobs").items(), harm
        assert built.torn() == [], harm


@pytest.mark.parametrize("node", ["export:tiny/net/f32", "validate:tiny/net/f32/cpu"])
def test_a_damaged_record_is_written_again(built: Workbench, node: str) -> None:
    blobs, names = built.files("blobs"), list(built.files("actions"))
    for harm in HARMS:
        path, other = action_of(built, node), action_of(built, "pack:tiny/net/f32")
        damage(path, harm, other=other)
        done = built.run("one")
        assert done.built == {node}, harm
        assert list(built.files("actions")) == names, harm
        assert blobs.items() <= built.files("blobs").items(), harm
    assert built.run("one").built == set()


def test_no_flipped_byte_of_a_record_goes_unseen(built: Workbench) -> None:
    path = action_of(built, "compile:tiny/net/f32/cpu")
    right = path.read_bytes()
    for at in range(0, len(right), max(1, len(right) // 9)):
        path.write_bytes(right[:at] + bytes([right[at] ^ 4]) + right[at + 1 :])
        state = built.states("one")["compile:tiny/net/f32/cpu"]
        assert state["state"] == "build", at
        assert state["reasons"] == ["its record is damaged"], at


def test_a_damaged_release_is_refused_by_readers_and_written_again_by_the_next_run(
    built: Workbench,
) -> None:
    sound = built.files("releases")
    (name,) = sound
    for harm in HARMS:
        damage(built.store / name, harm, other=action_of(built, "export:tiny/net/f32"))
        assert f"error: release {name[9:21]}… " in built.call("ls", expect=5).err, harm
        done = built.run()
        assert done.built == set(), harm
        assert built.files("releases") == sound, harm
        assert built.call("verify", "--json").json["bad"] == [], harm
    assert [entry.sequence for entry in built.entries()] == [1]


def test_a_damaged_channel_is_refused_by_readers_and_moved_on_by_the_next_run(
    built: Workbench,
) -> None:
    (release,) = built.files("releases")
    for sequence, harm in enumerate((h for h in HARMS if h != "lose"), start=1):
        head = built.store / f"channels/small/{sequence:08}.json"
        damage(head, harm, other=action_of(built, "export:tiny/net/f32"))
        # A flipped bit is found by its signature; a record looks like an entry of old.
        words = {
            "flip": "channel 'small' of ",
            "swap": f"entry {sequence} of channel 'small' is not signed: it was written by",
        }
        said = words.get(harm, f"entry {sequence} of channel 'small' is damaged")
        assert said in built.call("ls", expect=5).err, harm
        built.run()
        (entry,) = built.call("channel", "list", "--json").json
        assert entry["sequence"] == sequence + 1, harm
        assert f"releases/{entry['release']}.json" == release, harm


def test_a_damaged_record_of_a_failure_is_no_failure(built: Workbench) -> None:
    built.model("twin", flags="{cpu: [--iree-input-type=stablehlo]}")
    built.run("small", expect=3)
    (path,) = (built.store / "failures/compile").iterdir()
    right = path.read_bytes()
    for harm in HARMS:
        damage(path, harm, other=action_of(built, "export:tiny/net/f32"))
        state = built.states()["compile:twin/net/f32/cpu"]
        assert state["state"] in ("build", "blocked"), harm
        if state["state"] == "blocked":
            assert json.loads(path.read_bytes())["failure"] == "compile", harm
        path.write_bytes(right)
    assert built.states()["compile:twin/net/f32/cpu"]["state"] == "blocked"


def test_damaged_local_indexes_cost_time_and_nothing_else(built: Workbench) -> None:
    built.run()
    files = [p for p in (built.root / ".tidemill/cache").iterdir() if p.is_file()]
    assert len(files) >= 3
    for harm in ("flip", "truncate", "empty", "swap"):
        for path in files:
            damage(path, harm, other=blob_of(built, "vmfb"))
        assert built.run().built == set(), harm


def released(bench: Workbench) -> set[str]:
    """The digests that the release names."""
    (path,) = (bench.store / "releases").iterdir()
    return {item["digest"] for item in json.loads(path.read_bytes())["artifacts"]}
