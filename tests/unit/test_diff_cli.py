"""tidemill diff: which releases a person means, what their records say, what is shown."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from tests.unit.shop import Shop, open_shop
from tidemill.cache import Cache
from tidemill.channels import history
from tidemill.cli.compare import diff
from tidemill.compare import compare, find_release
from tidemill.digest import digest_bytes
from tidemill.errors import UsageError
from tidemill.records import ActionResult, Output
from tidemill.store.layout import action_name
from tidemill.store.verified import Verified

VMFB = "minilm/encoder/f16/cpu"
KEYS = {level: digest_bytes(level.encode()) for level in ("O2", "O3")}


def record(shop: Shop, level: str) -> None:
    """A compile's record with that optimisation level."""
    parts: dict[str, Any] = {
        "code": "c",
        "fields": {"flags": [f"--level={level}"]},
        "inputs": {},
        "tools": {},
        "salt": "",
    }
    log = Output(name="log.txt", kind="log", digest=shop.store.put_bytes(b"log"), size=3)
    result = ActionResult(
        key=KEYS[level], step="compile", address=VMFB, outputs=(), log=log, parts=parts,
        facts={"dispatch_count": int(level[1])}, seconds=1.0, peak_memory_bytes=1, host="h",
        finished_at="",
    )  # fmt: skip
    folder = shop.root / "cache"
    Cache(shop.store, Verified(folder), folder / "index").record(result, replacing=False)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Sequence 1 as it was; 2 with one module of level O2; 3 with it of level O3."""
    shop = open_shop(tmp_path)
    (at,) = (n for n, one in enumerate(shop.artifacts) if (one.address, one.kind) == (VMFB, "vmfb"))
    for level, size in (("O2", 10), ("O3", 20)):
        data = level.encode() * size
        shop.artifacts[at] = msgspec.structs.replace(
            shop.artifacts[at], key=KEYS[level], digest=shop.store.put_bytes(data), size=len(data)
        )
        shop.publish()
        record(shop, level)
    return shop


def test_a_release_is_named_by_digits_channel_or_sequence(shop: Shop) -> None:
    third, second, first = (entry.release for entry in history(shop.store, "smoke"))
    assert find_release(shop.store, "smoke") == third
    assert find_release(shop.store, "smoke@2") == second
    assert find_release(shop.store, first) == first
    assert find_release(shop.store, first[:8]) == first


def test_what_names_no_release_is_an_error_that_says_what_does(shop: Shop) -> None:
    first = history(shop.store, "smoke")[-1].release
    hint = "channels: smoke; or give the digits of a release, at least 8, or channel@sequence"
    for text in (first[:7], "0" * 12, "nightly"):
        with pytest.raises(UsageError) as caught:
            find_release(shop.store, text)
        assert caught.value.message == (
            f"{text!r} is neither a channel of {shop.store.url} nor a release in it"
        )
        assert caught.value.hint == hint
    with pytest.raises(UsageError) as caught:
        find_release(shop.store, "smoke@9")
    assert caught.value.message == "channel 'smoke' has no sequence 9"
    assert caught.value.hint == "its newest sequences are: 3, 2, 1"


def test_digits_that_several_releases_begin_with_are_too_few(shop: Shop) -> None:
    first = history(shop.store, "smoke")[-1].release
    shop.store.create(f"releases/{first[:10]}{'0' * 54}.json", b"{}")
    with pytest.raises(UsageError) as caught:
        find_release(shop.store, first[:9])
    assert caught.value.message == f"2 releases begin with {first[:9]}"


def test_flags_and_counts_come_from_sound_records(shop: Shop) -> None:
    three, two = (entry.release for entry in history(shop.store, "smoke")[:2])
    (one,) = compare(shop.store, two, three).artifacts
    names = {each.name: (each.was, each.now) for each in one.differences}
    assert names["flags"] == ("--level=O2", "--level=O3")
    assert names["dispatch_count"] == (2, 3)
    assert one.causes == ("flags",)
    name = action_name("compile", KEYS["O2"])
    for damage in (b"{", (shop.store.read(name) or b"").replace(b"O2", b"O1")):
        shop.store.replace(name, damage)
        assert compare(shop.store, two, three).unknown == (f"{VMFB}/model.vmfb",)
    shop.store.remove(name)
    assert compare(shop.store, two, three).unknown == (f"{VMFB}/model.vmfb",)
    assert compare(shop.store, "", three).before == ""


def test_it_is_shown_as_a_table_or_as_data(shop: Shop) -> None:
    three, two = (entry.release for entry in history(shop.store, "smoke")[:2])
    asked = ["smoke@2", "smoke", "--store", shop.store.url]
    done = CliRunner().invoke(diff, asked, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"from release {two[:12]} to {three[:12]}"
    assert lines[1] == f"Files: 1 changed, {len(shop.artifacts) - 1} as before."
    row = " ".join(lines[3].split())
    assert row.startswith(f"{VMFB} vmfb changed 20 B → 40 B (2.00)")
    assert row.endswith("flags without --level=O2; with --level=O3")
    assert [" ".join(line.split()) for line in lines[4:]] == [
        "dispatches 2 → 3",
        "because of flags",
    ]
    data = json.loads(CliRunner().invoke(diff, [*asked, "--json"]).stdout)
    assert (data["before"], data["after"]) == (two, three)
    assert [one["change"] for one in data["artifacts"]] == ["changed"]


def test_the_same_release_twice_has_no_table(shop: Shop) -> None:
    done = CliRunner().invoke(diff, ["smoke", "smoke@3", "--store", shop.store.url])
    head = history(shop.store, "smoke")[0].release[:12]
    assert done.stdout == (
        f"from release {head} to {head}\nNothing changed: it is the same release {head}.\n"
    )
