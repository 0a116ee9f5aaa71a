"""The client: which artifacts an address glob means, and what lies in the folder after a pull."""

from pathlib import Path

import msgspec
import pytest

from tests.unit.shop import Shop, open_shop
from tidemill.client import Progress, PullRecord, PullReport, pull
from tidemill.records import encode
from tidemill.store.scratch import temporary_name, writer_of


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


def files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in found}


def record_of(folder: Path) -> PullRecord:
    return msgspec.json.decode((folder / "tidemill-pull.json").read_bytes(), type=PullRecord)


def test_a_target_glob_brings_what_its_variant_needs(shop: Shop, tmp_path: Path) -> None:
    report = pull(shop.store, ["minilm/*/f16/gfx942"], to=tmp_path / "out", channel="smoke")
    assert files(tmp_path / "out") == {
        "minilm/encoder/f16/model.mlir",
        "minilm/encoder/f16/model.irpa",
        "minilm/encoder/f16/model.reference",
        "minilm/encoder/f16/gfx942/model.vmfb",
        "tidemill-pull.json",
    }
    assert [(one.kind, one.status, one.reason) for one in report.copied if one.kind == "vmfb"] == [
        ("vmfb", "unvalidated", "no such host")
    ]
    assert (report.kept, report.refused, report.left_over) == ((), (), ())
    for one in report.copied:
        assert (tmp_path / "out" / one.file).read_bytes() == shop.blob(one).read_bytes()


def test_kinds_restrict_what_a_glob_brings(shop: Shop, tmp_path: Path) -> None:
    pull(shop.store, ["*/*/*/cpu"], to=tmp_path / "out", channel="smoke", kinds=["vmfb"])
    assert files(tmp_path / "out") == {
        "minilm/encoder/f16/cpu/model.vmfb",
        "minilm/encoder/f32/cpu/model.vmfb",
        "stories/decode/f32/cpu/model.vmfb",
        "tidemill-pull.json",
    }


def test_shared_kinds_come_through_a_target(shop: Shop, tmp_path: Path) -> None:
    pull(shop.store, ["stories/*/*/cpu"], to=tmp_path / "out", channel="smoke", kinds=["mlir"])
    assert files(tmp_path / "out") == {"stories/decode/f32/model.mlir", "tidemill-pull.json"}


def test_the_record_says_what_the_folder_holds(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    release = shop.publish()
    report = pull(shop.store, ["stories"], to=out, channel="smoke")
    record = record_of(out)
    assert (record.store, record.channel, record.sequence, record.release) == (
        shop.store.url,
        "smoke",
        1,
        release,
    )
    assert record.artifacts == report.copied
    assert len(record.artifacts) == 5


def test_a_second_pull_keeps_everything_and_the_same_bytes(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = pull(shop.store, ["minilm"], to=out, channel="smoke")
    before = (out / "tidemill-pull.json").read_bytes()
    second = pull(shop.store, ["minilm"], to=out, channel="smoke")
    assert second.copied == ()
    assert second.copied_bytes == 0
    assert second.kept == first.copied
    assert (out / "tidemill-pull.json").read_bytes() == before


def test_a_changed_file_is_copied_again_though_its_size_is_right(
    shop: Shop, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pull(shop.store, ["stories"], to=out, channel="smoke")
    path = out / "stories/decode/f32/cpu/model.vmfb"
    right = path.read_bytes()
    path.write_bytes(b"!" * len(right))
    report = pull(shop.store, ["stories"], to=out, channel="smoke")
    assert [one.file for one in report.copied] == ["stories/decode/f32/cpu/model.vmfb"]
    assert path.read_bytes() == right


def test_a_release_is_pulled_by_its_digest(shop: Shop, tmp_path: Path) -> None:
    release = shop.publish()
    report = pull(shop.store, ["stories"], to=tmp_path / "out", release=release)
    assert (report.resolved.channel, report.resolved.sequence) == ("", 0)
    assert len(report.copied) == 5


def test_progress_counts_files_and_bytes(shop: Shop, tmp_path: Path) -> None:
    out, seen = tmp_path / "out", list[Progress]()
    pull(shop.store, ["stories/*/*/cpu"], to=out, channel="smoke", kinds=["vmfb"])
    report = pull(shop.store, ["stories"], to=out, channel="smoke", progress=seen.append)
    assert [one.files for one in seen] == [1, 2, 3, 4, 5]
    assert {one.files_total for one in seen} == {5}
    assert [one.artifact.kind for one in seen if not one.copied] == ["vmfb"]
    assert seen[-1].bytes == seen[-1].bytes_total == report.copied_bytes + report.kept[0].size


MODULE = "minilm/encoder/f32/cpu/model.vmfb"


def pull_module(shop: Shop, pattern: str, out: Path) -> PullReport:
    return pull(shop.store, [pattern], to=out, channel="smoke", kinds=["vmfb"])


def test_files_of_an_earlier_pull_that_the_release_has_are_kept_and_named(
    shop: Shop, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    pull_module(shop, "minilm/*/f32/cpu", out)
    for _ in range(2):
        report = pull_module(shop, "stories/*/*/cpu", out)
        assert (report.left_over, report.removed) == ((MODULE,), ())
        assert (out / MODULE).is_file()
        assert [one.file for one in record_of(out).artifacts] == [
            "stories/decode/f32/cpu/model.vmfb",
            MODULE,
        ]


@pytest.mark.parametrize("change", ["missing", "other bytes", "gone"])
def test_files_of_an_earlier_pull_that_the_release_does_not_have_are_removed(
    shop: Shop, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out"
    pull_module(shop, "minilm/*/f32/cpu", out)
    (at,) = (n for n, one in enumerate(shop.artifacts) if one.file == MODULE)
    if change == "missing":
        lost = {"status": "missing", "digest": "", "size": 0}
        shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], **lost)
    elif change == "other bytes":
        other = shop.store.put_bytes(b"other")
        shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], digest=other, size=5)
    else:
        del shop.artifacts[at]
    shop.publish()
    report = pull_module(shop, "stories/*/*/cpu", out)
    assert (report.left_over, report.removed) == ((), (MODULE,))
    assert files(out) == {"stories/decode/f32/cpu/model.vmfb", "tidemill-pull.json"}
    assert not (out / "minilm").exists(), "a folder that became empty is removed"
    assert [one.file for one in record_of(out).artifacts] == ["stories/decode/f32/cpu/model.vmfb"]


def test_a_stale_file_that_somebody_changed_is_kept_and_named(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pull_module(shop, "minilm/*/f32/cpu", out)
    shop.artifacts = [one for one in shop.artifacts if one.file != MODULE]
    shop.publish()
    (out / MODULE).write_bytes(b"mine")
    report = pull_module(shop, "stories/*/*/cpu", out)
    assert (report.left_over, report.removed) == ((MODULE,), ())
    assert (out / MODULE).read_bytes() == b"mine"


def test_other_files_beside_a_stale_one_are_left_alone(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pull_module(shop, "minilm/*/f32/cpu", out)
    shop.artifacts = [one for one in shop.artifacts if one.file != MODULE]
    shop.publish()
    note = out / "minilm/encoder/note.txt"
    note.write_text("mine", encoding="utf-8")
    pull_module(shop, "stories/*/*/cpu", out)
    assert [path.name for path in (out / "minilm").rglob("*")] == ["encoder", "note.txt"]


def test_a_record_that_points_out_of_the_folder_removes_nothing(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = pull_module(shop, "minilm/*/f32/cpu", out)
    (tmp_path / "precious").write_bytes((out / MODULE).read_bytes())
    evil = msgspec.structs.replace(report.copied[0], file="../precious")
    record = msgspec.structs.replace(record_of(out), artifacts=(evil,))
    (out / "tidemill-pull.json").write_bytes(encode(record))
    report = pull_module(shop, "stories/*/*/cpu", out)
    assert (report.left_over, report.removed) == ((), ())
    assert (tmp_path / "precious").is_file()


def test_leftovers_of_a_killed_pull_are_swept(shop: Shop, tmp_path: Path) -> None:
    me = writer_of(temporary_name())
    assert me is not None
    leftover = (
        tmp_path
        / "out/stories/decode/f32/cpu"
        / me.file_name("x").replace(f".{me.started}.", ".1.")
    )
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    pull(shop.store, ["stories"], to=tmp_path / "out", channel="smoke")
    assert not leftover.exists()
