"""What changed between two releases: the pure part."""

from typing import Any

import msgspec

from tidemill.diff import first_release, release_diff, wanted_records
from tidemill.records import ActionResult, Artifact, Difference, Output, Release, ReleaseDiff

ADDRESS = "m/c/f16/cpu"
LOG = Output(name="log.txt", kind="log", digest="1" * 64, size=1)


def artifact(address: str = ADDRESS, kind: str = "vmfb", **fields: Any) -> Artifact:
    one = Artifact(
        address=address, kind=kind, file=f"{address}/model.{kind}", digest="a" * 64, size=100,
        key="k1", status="validated",
    )  # fmt: skip
    return msgspec.structs.replace(one, **fields)


def release(*artifacts: Artifact, **fields: Any) -> Release:
    made = Release(pipeline="p", toolchain="default", tools={"torch": "2.12"}, artifacts=artifacts)
    return msgspec.structs.replace(made, **fields)


def record(key: str, *, facts: dict[str, Any] | None = None, **parts: Any) -> ActionResult:
    common = {"code": "c", "salt": "", "format": 1, "fields": {}, "inputs": {}, "tools": {}}
    return ActionResult(
        key=key, step="compile", address=ADDRESS, outputs=(), log=LOG, facts=facts or {},
        parts={**common, **parts}, seconds=1.0, peak_memory_bytes=1, host="h", finished_at="",
    )  # fmt: skip


def diff(before: Release, after: Release, *records: ActionResult) -> ReleaseDiff:
    known = {("compile", one.key): one for one in records}
    return release_diff(before, after, digests=("b" * 64, "d" * 64), records=known)


def only(found: ReleaseDiff) -> dict[str, tuple[Any, Any]]:
    """The differences of the one artifact that changed."""
    (one,) = found.artifacts
    return {each.name: (each.was, each.now) for each in one.differences}


def test_the_same_release_has_no_changes() -> None:
    one = release(artifact(), artifact("m/c/f16", "mlir"))
    found = diff(one, one)
    assert found == ReleaseDiff(before="b" * 64, after="d" * 64, unchanged=2)


def test_digest_size_and_status_are_told() -> None:
    changed = artifact(digest="b" * 64, size=90, status="unvalidated", reason="no such host")
    found = diff(release(artifact()), release(changed))
    assert only(found) == {
        "digest": ("a" * 64, "b" * 64),
        "size": (100, 90),
        "status": ("validated", "unvalidated"),
    }
    assert found.unchanged == 0
    assert found.unknown == ()


def test_files_that_came_and_went_are_told_with_what_they_are() -> None:
    new, old = artifact("m/c/f32/cpu", size=7), artifact("m/c/f8/cpu")
    found = diff(release(old), release(new))
    assert [(one.address, one.change) for one in found.artifacts] == [
        ("m/c/f32/cpu", "added"),
        ("m/c/f8/cpu", "removed"),
    ]
    assert found.artifacts[0].differences[0] == Difference(name="size", was=None, now=7)
    assert found.artifacts[1].differences[0] == Difference(name="size", was=100, now=None)


def test_a_file_that_was_not_there_and_is_not_there_is_no_news() -> None:
    lost = artifact("m/c/f16", "reference", digest="", size=0, status="missing", key="")
    there = [artifact("m/c/f16", "reference", file=f"m/c/f16/reference/{name}") for name in "ab"]
    found = diff(release(lost), release(*there))
    assert [one.change for one in found.artifacts] == ["added", "added"]
    back = diff(release(*there), release(lost))
    assert [one.change for one in back.artifacts] == ["added", "removed", "removed"]
    assert back.artifacts[0].differences == (Difference(name="status", was=None, now="missing"),)


def test_flags_counts_and_causes_come_from_the_records() -> None:
    changed = artifact(digest="b" * 64, key="k2")
    was = record(
        "k1", facts={"dispatch_count": 172, "transient_bytes": 9},
        fields={"flags": ["--a", "--level=O2"]}, inputs={"mlir": {"model.mlir": "x"}},
        tools={"iree-base-compiler": "3.12"},
    )  # fmt: skip
    now = record(
        "k2", facts={"dispatch_count": 170, "transient_bytes": 9}, code="other",
        fields={"flags": ["--a", "--level=O3", "--new"]}, inputs={"mlir": {"model.mlir": "y"}},
        tools={"iree-base-compiler": "3.13"},
    )  # fmt: skip
    found = diff(release(artifact()), release(changed), was, now)
    differences = only(found)
    assert differences["flags"] == ("--level=O2", "--level=O3 --new")
    assert differences["dispatch_count"] == (172, 170)
    assert "transient_bytes" not in differences
    assert found.artifacts[0].causes == (
        "flags",
        "input mlir/model.mlir",
        "tool iree-base-compiler",
        "code",
    )


def test_flags_in_another_order_are_told_whole() -> None:
    was, now = (record(key, fields={"flags": flags}) for key, flags in
                (("k1", ["--a", "--b"]), ("k2", ["--b", "--a"])))  # fmt: skip
    found = diff(release(artifact()), release(artifact(key="k2")), was, now)
    assert only(found) == {"flags": ("--a --b", "--b --a")}


def test_records_that_are_gone_are_told_and_harm_nothing() -> None:
    changed = artifact(digest="b" * 64, key="k2")
    for records in ((), (record("k1"),), (record("k2"),)):
        found = diff(release(artifact()), release(changed), *records)
        assert found.unknown == (changed.file,)
        assert only(found) == {"digest": ("a" * 64, "b" * 64)}


def test_a_record_is_wanted_only_where_it_can_say_something() -> None:
    shared = "m/c/f16"
    before = release(
        artifact(), artifact(shared, "mlir"), artifact(shared, "irpa"), artifact(kind="verdict")
    )
    after = release(
        artifact(key="k2"),
        artifact(shared, "mlir", key="k2"),
        artifact(shared, "irpa", key="k2", digest="b" * 64),
        artifact(kind="verdict", key="k2", digest="b" * 64),
    )
    # Another export of the same bytes changes nothing; flags may, where the module is the same.
    assert wanted_records(before, after) == {
        ("compile", "k1"), ("compile", "k2"), ("pack", "k1"), ("pack", "k2"),
    }  # fmt: skip
    assert wanted_records(before, before) == frozenset()


def test_numbers_of_a_verdict_are_told_of_its_module_once() -> None:
    def judged(max_abs: float, equal: int) -> dict[str, Any]:
        return {"summary": {"max_abs": max_abs, "cosine": 1.0}, "greedy": {"equal": equal}}

    def both(**fields: Any) -> Release:
        return release(artifact(**fields), artifact(kind="verdict", **fields))

    found = diff(both(verdict=judged(1e-6, 8)), both(verdict=judged(2e-6, 7)))
    assert only(found) == {"max_abs": (1e-6, 2e-6), "greedy_equal": (8, 7)}
    assert found.unchanged == 1


def test_a_verdict_of_an_odd_shape_is_no_number() -> None:
    odd = release(artifact(verdict={"summary": None, "greedy": [1]}))
    assert diff(odd, release(artifact())).artifacts == ()


def test_tools_and_toolchain_are_told() -> None:
    after = release(toolchain="next", tools={"torch": "2.13", "onnx": "1.20"})
    assert diff(release(), after).tools == (
        Difference(name="toolchain", was="default", now="next"),
        Difference(name="onnx", was=None, now="1.20"),
        Difference(name="torch", was="2.12", now="2.13"),
    )


def test_of_a_first_release_everything_is_new() -> None:
    found = first_release(release(artifact()), digest="d" * 64)
    assert (found.before, found.after, found.unchanged) == ("", "d" * 64, 0)
    assert [one.change for one in found.artifacts] == ["added"]


def test_the_record_of_a_table_is_that_of_its_suite() -> None:
    was, now = artifact(kind="table"), artifact(kind="table", key="k2", digest="b" * 64)
    assert set(wanted_records(release(was), release(now))) == {
        ("conformance", "k1"),
        ("conformance", "k2"),
    }
