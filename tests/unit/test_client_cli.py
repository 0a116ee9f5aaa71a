"""ls, show and pull as scripts call them, outside any checkout."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.unit.shop import Shop, open_shop

GPU = "minilm/encoder/f16/gfx90a"
LOST = f"{GPU}/model.vmfb"
MODULE = "stories/decode/f32/cpu/model.vmfb"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(tmp_path)


def call(
    folder: Path, *arguments: str, store: str = "", expect: int = 0
) -> subprocess.CompletedProcess[str]:
    """``tidemill …`` in ``folder``; TIDEMILL_STORE is ``store``."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "TIDEMILL_STORE": store, "PYTHONPATH": root, "COLUMNS": "160"}
    done = subprocess.run(
        [sys.executable, "-m", "tidemill", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    return done


def test_the_environment_or_the_option_names_a_store_outside_a_checkout(
    shop: Shop, tmp_path: Path
) -> None:
    url = str(shop.root)
    by_environment = call(tmp_path, "ls", "stories", "--json", store=url)
    by_option = call(tmp_path, "ls", "stories", "--json", "--store", url)
    assert by_environment.stdout == by_option.stdout
    assert len(json.loads(by_option.stdout)) == 5
    assert call(tmp_path, "ls", expect=2).stderr == (
        f"error: {tmp_path} is not in a tidemill workspace (no folder above it holds manifests/)\n"
        "  Name a store (--store URL), or change into a checkout, or give --workspace.\n"
    )


def test_what_is_not_released_is_told_with_the_closest_addresses(
    shop: Shop, tmp_path: Path
) -> None:
    url = str(shop.root)
    closest = "the closest of its 7 addresses: "
    call(tmp_path, "ls", store=url)  # what is said when a store is first seen is not said again
    listed = call(tmp_path, "ls", "minilmm/*", store=url)
    assert listed.stdout == ""
    assert listed.stderr.splitlines() == [
        "nothing released matches 'minilmm/*'",
        f"  {closest}minilm/encoder/f32, minilm/encoder/f16, minilm/encoder/f32/cpu,"
        " minilm/encoder/f16/cpu",
    ]
    data = call(tmp_path, "ls", "minilmm/*", "--json", store=url)
    assert (data.stdout, data.stderr) == ("[]\n", listed.stderr)
    shown = call(tmp_path, "show", "minilm/encodr/f16/cpu", store=url, expect=2)
    assert shown.stdout == ""
    assert shown.stderr.splitlines() == [
        "error: nothing released has the address minilm/encodr/f16/cpu",
        f"  {closest}minilm/encoder/f16/cpu, minilm/encoder/f32/cpu, minilm/encoder/f16,"
        " minilm/encoder/f16/gfx942",
    ]


def test_sizes_are_spelled_as_in_the_report_of_a_run(shop: Shop, tmp_path: Path) -> None:
    data = bytes(1_234_567)
    shop.add("stories/decode/f16/cpu", "vmfb", digest=shop.store.put_bytes(data), size=len(data))
    shop.publish()
    table = call(tmp_path, "ls", "stories/decode/f16", store=str(shop.root)).stdout
    assert " 1.2 MB " in table.splitlines()[1]


def test_ls_show_and_pull_say_what_a_module_holds_for(shop: Shop, tmp_path: Path) -> None:
    verdict = {"holds": True, "kind": "full", "holds_for": "rows of equal length"}
    (at,) = (n for n, one in enumerate(shop.artifacts) if one.file == MODULE)
    shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], verdict=verdict)
    shop.publish()
    url = str(shop.root)
    table = call(tmp_path, "ls", "stories/*/*/cpu", store=url).stdout
    assert "validated, for rows of equal length" in table
    shown = call(tmp_path, "show", "stories/*/*/cpu", store=url).stdout
    assert "verdict  full, holds for rows of equal length\n" in shown
    arguments = ("pull", "stories/*/*/cpu", "--channel", "smoke", "--to", "out")
    pulled = call(tmp_path, *arguments, store=url).stdout
    assert f"note: {MODULE} holds for rows of equal length only\n" in pulled


def test_what_channels_have_alike_is_listed_once_with_both(shop: Shop, tmp_path: Path) -> None:
    url = str(shop.root)
    (at,) = (n for n, one in enumerate(shop.artifacts) if one.file == MODULE)
    shop.artifacts[at] = msgspec.structs.replace(shop.artifacts[at], status="carried")
    shop.publish("nightly")
    for command in ("ls", "show"):
        listed = json.loads(call(tmp_path, command, "stories", "--json", store=url).stdout)
        assert [(one["kind"], one["status"], one["channel"]) for one in listed] == [
            ("irpa", "validated", "nightly,smoke"),
            ("mlir", "validated", "nightly,smoke"),
            ("reference", "validated", "nightly,smoke"),
            ("verdict", "validated", "nightly,smoke"),
            ("vmfb", "carried", "nightly"),
            ("vmfb", "validated", "smoke"),
        ]
        arguments = (command, "stories", "--json", "--channel", "smoke")
        one_channel = json.loads(call(tmp_path, *arguments, store=url).stdout)
        assert {one["channel"] for one in one_channel} == {"smoke"}
    table = call(tmp_path, "ls", "stories", store=url).stdout.splitlines()
    assert [table[0].split()[-1], table[1].split()[-1]] == ["channel", "nightly,smoke"]
    shown = call(tmp_path, "show", "stories/*/*/cpu", store=url).stdout
    assert "  channel  nightly\n" in shown
    assert "  channel  nightly,smoke\n" in shown


def test_a_pull_that_lacks_something_copies_the_rest_and_exits_three(
    shop: Shop, tmp_path: Path
) -> None:
    shop.add(GPU, "vmfb", status="missing", reason="no compile", digest="", size=0)
    shop.publish()
    pull = ("pull", "minilm/*/f16/gfx*", "--channel", "smoke", "--to", "out", "--store", "store")
    done = call(tmp_path, *pull, expect=3)
    assert done.stdout == (
        "channel 'smoke' (sequence 2): 4 copied, 0 unchanged\n"
        f"not there: {LOST}: missing: no compile\n"
    )
    assert done.stderr.splitlines()[-2:] == [
        f"error: 1 of what was asked for is not there: {LOST}",
        "  Give --allow-missing to accept that, or ask for other addresses.",
    ]
    assert (tmp_path / "out/minilm/encoder/f16/gfx942/model.vmfb").is_file()
    found = json.loads(call(tmp_path, *pull, "--json", expect=3).stdout)
    assert [(one["file"], one["reason"]) for one in found["refused"]] == [(LOST, "no compile")]
    allowed = call(tmp_path, *pull, "--allow-missing")
    assert f"not there: {LOST}: missing: no compile\n" in allowed.stdout
    assert "error" not in allowed.stderr


def test_a_pull_of_nothing_but_what_is_missing_exits_three(shop: Shop, tmp_path: Path) -> None:
    shop.add(GPU, "vmfb", status="expected-failure", reason="known", digest="", size=0)
    shop.publish()
    pull = ("pull", GPU, "--channel", "smoke", "--to", "out", "--store", "store")
    done = call(tmp_path, *pull, "--allow-missing", expect=3)
    assert done.stderr.partition("\n")[2] == (
        "error: channel 'smoke' (sequence 2) cannot give what is asked for: "
        f"{GPU} vmfb is expected-failure (known)\n"
        "  ask for other addresses, or see the run's report\n"
    )
    assert not (tmp_path / "out").exists()


def test_a_pull_says_what_it_removed_and_what_it_left(shop: Shop, tmp_path: Path) -> None:
    pull = ("pull", "--channel", "smoke", "--to", "out", "--store", "store", "--kind")
    call(tmp_path, *pull, "vmfb", "stories", "minilm/*/f32")
    shop.artifacts = [one for one in shop.artifacts if one.file != MODULE]
    shop.publish()
    kept = "minilm/encoder/f32/cpu/model.vmfb"
    found = json.loads(call(tmp_path, *pull, "verdict", "stories", "--json").stdout)
    assert (found["removed"], found["left_over"], found["refused"]) == ([MODULE], [kept], [])
    shop.artifacts = [one for one in shop.artifacts if one.kind != "verdict"]
    shop.publish()
    assert call(tmp_path, *pull, "mlir", "stories").stdout == (
        "channel 'smoke' (sequence 3): 1 copied, 0 unchanged\n"
        "removed: stories/decode/f32/cpu/model.verdict: pulled earlier, and this release does not"
        " have it\n"
        f"left over: {kept}: pulled earlier, and not asked for now\n"
    )


def test_a_terminal_shows_a_bar_and_anything_else_plain_lines(shop: Shop, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as screen:
        command = [sys.executable, "-m", "tidemill", "pull", "stories", "--store", str(shop.root)]
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
        with subprocess.Popen(
            [*command, "--channel", "smoke", "--to", "out"],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # its end of the terminal is closed
                while data := screen.read(65536):
                    shown += data
            assert process.wait() == 0
    assert b"pulling 5/5" in shown
    assert b"] copied" not in shown
    pull = ("pull", "stories", "--channel", "smoke", "--store", str(shop.root), "--to")
    lines = call(tmp_path, *pull, "other", "--jobs", "1").stderr.splitlines()
    assert lines[-1].startswith("[5/5] copied stories/")
    again = call(tmp_path, *pull, "other").stderr.splitlines()
    assert [line.split()[1] for line in again] == ["kept"] * 5


def test_the_cache_is_where_it_is_said_to_be(shop: Shop, tmp_path: Path) -> None:
    pull = ("pull", "stories", "--channel", "smoke", "--store", str(shop.root), "--to")
    call(tmp_path, *pull, "out", "--cache", "mine")
    assert len([path for path in (tmp_path / "mine/blobs").rglob("*") if path.is_file()]) == 5
    call(tmp_path, *pull, "other", "--no-cache")
    shop.root.rename(tmp_path / "unplugged")
    call(tmp_path, *pull, "third", "--cache", "mine", "--offline")
    done = call(tmp_path, *pull, "fourth", "--offline", expect=5)
    said = re.sub("[0-9a-f]{64}", "RELEASE", done.stderr)
    assert said == (
        f"error: offline: releases/RELEASE.json of {shop.store.url} was never read on this"
        " machine\n  pull once without --offline, with the same cache\n"
    )
