"""What an export refuses, that it leaves nothing half-written, and its command."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.unit.exports import (
    CPU,
    FLAGS,
    GPU,
    OUT,
    VARIANT,
    add_module,
    add_variant,
    add_verdict,
    open_exports,
    written,
)
from tests.unit.puller import files, new_cache
from tests.unit.shop import Shop
from tests.unit.test_client_cli import call
from tests.unit.test_torch_models import BASE
from tidemill.client import lock_of, pull
from tidemill.errors import StoreError, TidemillError, ToolError, UsageError
from tidemill.store.layout import action_name


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_exports(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/artifacts/7",
        "http://mill.blob.core.windows.net/artifacts",
        "https://mill.blob.core.windows.net",
        "https://mill.blob.core.windows.net/",
        "https://mill.blob.core.windows.net/artifacts?sig=x",
        "https://mill.blob.core.windows.net/artifacts/other.net/7",
        "https://mill.blob.core.windows.net:443/artifacts",
    ],
)
def test_a_base_url_that_the_suite_cannot_use_is_refused(
    shop: Shop, tmp_path: Path, url: str
) -> None:
    with pytest.raises(UsageError) as caught:
        written(shop, CPU, to=tmp_path / "out", base_url=url)
    assert caught.value.message == (
        f"{url!r} is not the URL of a container in Azure Blob Storage, from where alone the suite"
        " downloads"
    )
    assert files(tmp_path / "out") == []


def test_a_record_that_is_gone_is_named_and_nothing_is_written(shop: Shop, tmp_path: Path) -> None:
    key = next(one.key for one in shop.artifacts if one.file == f"{CPU}/model.vmfb")
    (shop.root / action_name("compile", key)).unlink()
    with pytest.raises(StoreError) as caught:
        written(shop, CPU, to=tmp_path / "out")
    assert caught.value.message == (
        f"{CPU}/model.vmfb: the record of its compile ({key[:12]}…) is not in {shop.store.url}, and"
        " nothing else says how it was made"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_record_whose_parts_give_another_key_is_not_believed(shop: Shop, tmp_path: Path) -> None:
    key = next(one.key for one in shop.artifacts if one.file == f"{CPU}/model.vmfb")
    path = shop.root / action_name("compile", key)
    path.write_bytes(path.read_bytes().replace(b"llvm-cpu", b"evil-cpu"))
    with pytest.raises(StoreError, match="is damaged: its parts give another key"):
        written(shop, CPU, to=tmp_path / "out")
    path.write_bytes(b"{")
    with pytest.raises(StoreError, match="is damaged: Input data was truncated"):
        written(shop, CPU, to=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_is_missing_is_left_out_and_told(shop: Shop, tmp_path: Path) -> None:
    lost = shop.add(f"{VARIANT}/gfx90a", "vmfb", status="missing", reason="it failed", digest="")
    shop.publish()
    done = written(shop, f"{VARIANT}/*", to=tmp_path / "out")
    assert [one.address for one in done.modules] == [CPU, GPU]
    assert done.refused == (lost,)
    with pytest.raises(ToolError, match=r"gfx90a vmfb is missing \(it failed\)"):
        written(shop, f"{VARIANT}/gfx90a", to=tmp_path / "other")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("tiny/net/f16/vulkan", "nothing in channel 'smoke' (sequence 1) matches"),
        ("tiny/other", "nothing in channel 'smoke' (sequence 1) matches 'tiny/other'"),
    ],
)
def test_an_address_that_is_not_there_is_refused(
    shop: Shop, tmp_path: Path, pattern: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        written(shop, pattern, to=tmp_path / "out")
    assert caught.value.message.startswith(said)
    assert not (tmp_path / "out").exists()


def test_a_release_without_modules_is_refused(shop: Shop, tmp_path: Path) -> None:
    shop.artifacts = [one for one in shop.artifacts if one.kind == "mlir"]
    shop.publish()
    with pytest.raises(UsageError) as caught:
        written(shop, "tiny", to=tmp_path / "out")
    assert caught.value.message == (
        "channel 'smoke' (sequence 2) gives no VMFB for what is asked for"
    )


def test_a_folder_that_holds_something_is_left_alone(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    written(shop, CPU, to=tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match="is there already"):
        written(shop, CPU, to=tmp_path / "out")
    assert files(tmp_path / "out") == before
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already"):
        written(shop, CPU, to=tmp_path / "file")


def test_a_damaged_blob_leaves_nothing_behind(shop: Shop, tmp_path: Path) -> None:
    (one,) = (one for one in shop.artifacts if one.kind == "irpa")
    shop.blob(one).chmod(0o644)
    shop.blob(one).write_bytes(b"x" * one.size)
    with pytest.raises(TidemillError, match="is damaged"):
        written(shop, CPU, to=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_a_killed_export_left_is_swept(shop: Shop, tmp_path: Path) -> None:
    program = "from tidemill.store.scratch import temporary_name; print(temporary_name())"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    (tmp_path / done.stdout.strip() / "artifacts").mkdir(parents=True)
    written(shop, CPU, to=tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "store"]


def test_a_place_that_cannot_be_written_is_named(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        written(shop, CPU, to=tmp_path / "file/out")
    assert caught.value.message.startswith(f"{tmp_path}/file/out: cannot write the tests: ")


def test_a_verdict_that_cannot_be_read_is_named(shop: Shop, tmp_path: Path) -> None:
    (at,) = (n for n, one in enumerate(shop.artifacts) if one.kind == "verdict")
    digest = shop.store.put_bytes(b'{"samples": 3}')
    shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], digest=digest, size=14)
    shop.publish()
    with pytest.raises(
        StoreError, match=r"cpu/verdict\.json: the verdict cannot be read: Expected"
    ):
        written(shop, CPU, to=tmp_path / "out")


def test_no_test_is_written_outside_the_folder(shop: Shop, tmp_path: Path) -> None:
    samples = ("x/../../../../../../../outside",)
    reference = add_variant(shop, "tiny/net/f32", (OUT,), samples=samples)
    add_module(shop, "tiny/net/f32/cpu", FLAGS)
    add_verdict(shop, "tiny/net/f32/cpu", (OUT,), reference=reference, samples=samples)
    shop.publish()
    with pytest.raises(StoreError, match=r"names the file 'outside\.json', which may not be"):
        written(shop, "tiny/net/f32", to=tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_offline_it_is_written_from_what_was_seen_before(shop: Shop, tmp_path: Path) -> None:
    cache = new_cache(tmp_path)
    written(shop, CPU, to=tmp_path / "out", cache=cache)
    (shop.root).rename(tmp_path / "away")
    written(shop, CPU, to=tmp_path / "again", cache=cache, offline=True)
    assert files(tmp_path / "again") == files(tmp_path / "out")
    with pytest.raises(StoreError, match="offline"):
        written(shop, GPU, to=tmp_path / "more", cache=cache, offline=True)


def test_a_lock_of_all_kinds_gives_its_release_and_one_of_some_is_refused(
    shop: Shop, tmp_path: Path
) -> None:
    report = pull(shop.store, [CPU], to=tmp_path / "pulled", channel="smoke")
    lock = lock_of(report.resolved, report.copied, store="s", patterns=[CPU], kinds=())
    shop.artifacts = []
    shop.publish()
    done = written(shop, to=tmp_path / "out", channel="", locked=lock)
    assert [one.address for one in done.modules] == [CPU]
    assert done.resolved.sequence == 1
    some = msgspec.structs.replace(lock, kinds=("vmfb",))
    with pytest.raises(UsageError, match="the lock is for vmfb only"):
        written(shop, to=tmp_path / "more", channel="", locked=some)


def test_the_command_prints_what_runs_it_and_exits_as_pull_does(shop: Shop, tmp_path: Path) -> None:
    shop.add(f"{VARIANT}/gfx90a", "vmfb", status="missing", reason="it failed", digest="")
    add_module(shop, f"{VARIANT}/odd", [])
    shop.publish()
    command = ("torch-models", "tiny", "--channel", "smoke", "--any-runtime", "--store", "store")
    done = call(tmp_path, *command, "--to", "out", expect=3)
    out = tmp_path / "out"
    assert done.stdout.splitlines() == [
        f"channel 'smoke' (sequence 2): 3 modules and 7 tests in {out}",
        f"{VARIANT}/odd: no quality test and no benchmark: its compile flags name no device",
        f"not there: {VARIANT}/gfx90a/model.vmfb: missing: it failed",
        "In a checkout of iree-test-suites, with the tools of IREE in PATH:",
        f"  pytest torch_models --test-file-directory={out}/tests --module-directory={out}/modules"
        f" --external-file-directory={out} --artifact-directory={out}/artifacts"
        f" --job-summary-path={out} --cache-modules",
        "--cache-modules makes it test the published VMFB itself; without, it can do nothing.",
    ]
    assert "1 of what was asked for is not there" in done.stderr
    more = ("--base-url", BASE, "--allow-missing")
    lines = call(tmp_path, *command, *more, "--to", "web").stdout.splitlines()
    assert lines[-2].endswith(f"Upload {tmp_path}/web/artifacts/files to {BASE} first.")
    found = json.loads(call(tmp_path, *command, *more, "--to", "json", "--json").stdout)
    assert [one["address"] for one in found["modules"]] == [CPU, GPU, f"{VARIANT}/odd"]
    assert found["command"][:2] == ["pytest", "torch_models"]
    assert found["base_url"] == BASE
    assert [one["reason"] for one in found["refused"]] == ["it failed"]
