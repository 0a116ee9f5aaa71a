"""What a store may try on a reader: the attacks of TUF, each refused with words that name it.

After the list of python-tuf's own tests of its updater: rollback, freeze, mix-and-match,
fast-forward, oversized files, wrong hashes, wrong keys, broken roots.
"""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tuf.api.metadata import Metadata, Root

from tests.faults.store_helpers import release_named
from tests.signing import SIGNER
from tests.unit.scene import OTHER, Scene, change_key, scene
from tests.web_server import running_web
from tidemill.channels import follow, head, history, latest, put_release
from tidemill.errors import BlobDamaged, StoreError
from tidemill.moves import move, resign
from tidemill.records import ChannelEntry
from tidemill.store import open_store
from tidemill.store.layout import channel_name, release_name, root_name
from tidemill.trust.authority import NotOurs, read_root
from tidemill.trust.documents import LARGEST_BYTES, sign_entry
from tidemill.trust.follow import ChannelRefused, Trust

__all__ = ["scene"]


def changed(text: str, **fields: Any) -> str:
    """Signed metadata with other fields, and the old signature."""
    document = json.loads(text)
    document["signed"].update(fields)
    return json.dumps(document)


def test_a_reader_believes_what_was_signed_and_says_whom_it_trusts(scene: Scene) -> None:
    entry = scene.follow()
    assert entry is not None
    assert (entry.sequence, entry.reason) == (2, "b")
    assert len(scene.said) == 1
    assert scene.said[0].startswith(f"trusting {scene.store.url} on first use (root ")
    scene.move("c")
    later = scene.follow()
    assert later is not None
    assert (later.sequence, len(scene.said)) == (3, 1)


def test_nothing_new_is_one_request(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    before = scene.follow()
    asked: list[str] = []
    for name in ("read", "stat", "list"):
        call: Callable[[str], Any] = getattr(scene.store, name)

        def counted(what: str, call: Callable[[str], Any] = call) -> Any:
            asked.append(what)
            return call(what)

        monkeypatch.setattr(scene.store, name, counted)
    assert scene.follow() == before
    assert asked == ["channels/nightly"]


def test_a_channel_that_never_moved_is_none(scene: Scene) -> None:
    assert follow(scene.store, "unheard-of", trust=scene.reader) is None


def test_rollback_an_older_head_is_offered(scene: Scene) -> None:
    scene.move("c")
    scene.follow()
    scene.store.remove(channel_name("nightly", 3))
    assert "an older state is offered than was seen before (a rollback)" in scene.refusal()


def test_rollback_everything_is_gone(scene: Scene) -> None:
    scene.follow()
    for number in (1, 2):
        scene.store.remove(channel_name("nightly", number))
    assert "it was at sequence 2, and now it is not there at all" in scene.refusal()


def test_rollback_an_older_document_under_a_newer_name(scene: Scene) -> None:
    scene.follow()
    scene.plant(3, scene.document(1))
    assert "(a rollback)" in scene.refusal()


def test_another_history_of_a_sequence_that_was_seen_changes_nothing(scene: Scene) -> None:
    before = scene.follow()
    assert before is not None
    entry = msgspec.structs.replace(before, reason="another truth")
    scene.plant(2, sign_entry(entry, length=before.length, days=1, signers=[SIGNER]))
    assert scene.follow() == before


def test_freeze_a_channel_that_nobody_signs_expires(scene: Scene) -> None:
    entry = head(scene.store, "nightly")
    assert entry is not None
    scene.plant(2, sign_entry(entry, length=entry.length, days=-1, signers=[SIGNER]))
    assert "has expired (nobody has signed it anew)" in scene.refusal()


def test_freeze_what_was_seen_expires_too(scene: Scene) -> None:
    entry = head(scene.store, "nightly")
    assert entry is not None
    entry = msgspec.structs.replace(entry, sequence=3)
    soon = 2 / 86_400
    scene.plant(3, sign_entry(entry, length=entry.length, days=soon, signers=[SIGNER]))
    seen = scene.follow()
    assert seen is not None
    while datetime.fromisoformat(seen.expires) > datetime.now(UTC):
        time.sleep(0.1)
    assert "has expired" in scene.refusal()


def test_mix_and_match_files_of_two_entries(scene: Scene) -> None:
    scene.move("c")
    first, third = scene.document(1), scene.document(3)
    scene.plant(3, msgspec.structs.replace(third, targets=first.targets))
    assert "its files do not belong together" in scene.refusal()
    scene.plant(3, msgspec.structs.replace(third, snapshot=first.snapshot))
    assert "its files do not belong together" in scene.refusal()


def test_mix_and_match_another_channels_head(scene: Scene) -> None:
    scene.move("x", channel="smoke")
    scene.plant(3, scene.document(1, channel="smoke"))
    with pytest.raises(StoreError) as caught:
        scene.follow()
    assert "what is there was signed for channel 'smoke'" in caught.value.message


def test_fast_forward_is_healed_by_new_keys(scene: Scene) -> None:
    entry = head(scene.store, "nightly")
    assert entry is not None
    far = msgspec.structs.replace(entry, sequence=90_000_000)
    scene.plant(90_000_000, sign_entry(far, length=entry.length, days=1, signers=[SIGNER]))
    scene.follow()  # whoever has the key can do this: the reader is far ahead now
    scene.store.remove(channel_name("nightly", 90_000_000))
    assert "(a rollback)" in scene.refusal()
    change_key(scene)
    healed = scene.follow()
    assert healed is not None
    assert healed.sequence == 3
    resign(scene.store, "nightly", signer=OTHER, reason="again")
    scene.follow()
    scene.store.remove(channel_name("nightly", 4))
    assert "(a rollback)" in scene.refusal()  # and from here on nothing goes back again


def test_fast_forward_is_healed_where_a_store_cannot_list(scene: Scene) -> None:
    entry = head(scene.store, "nightly")
    assert entry is not None
    far = msgspec.structs.replace(entry, sequence=90_000_000)
    scene.plant(90_000_000, sign_entry(far, length=entry.length, days=3650, signers=[SIGNER]))
    scene.plant_hint(90_000_000)
    with running_web(Path(scene.store.url.removeprefix("file://"))) as web:
        reader = open_store(web.url)
        ahead = follow(reader, "nightly", trust=scene.reader)
        assert ahead is not None
        assert ahead.sequence == 90_000_000
        scene.store.remove(channel_name("nightly", 90_000_000))
        change_key(scene)
        healed = follow(reader, "nightly", trust=scene.reader)
    assert healed is not None
    assert healed.sequence == 3


def test_oversized(scene: Scene) -> None:
    scene.plant(3, b" " * (LARGEST_BYTES + 1))
    with pytest.raises(BlobDamaged) as caught:
        scene.follow()
    assert f"({LARGEST_BYTES + 1} bytes, more than any entry has) is damaged" in (
        caught.value.message
    )


def test_wrong_hash_a_release_that_was_changed(scene: Scene) -> None:
    entry = scene.follow()
    assert entry is not None
    document = scene.document(2)
    other = "0" * 64
    planted = document.targets.replace(entry.release, other)
    scene.move("c")
    scene.plant(3, msgspec.structs.replace(scene.document(3), targets=planted))
    assert "its files do not belong together" in scene.refusal()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_wrong_key_what_is_changed_is_not_signed_any_more(scene: Scene, role: str) -> None:
    document = scene.document(2)
    text = changed(getattr(document, role), expires="2099-01-01T00:00:00Z")
    scene.plant(2, msgspec.structs.replace(document, **{role: text}))
    assert scene.refusal()
    with pytest.raises(BlobDamaged):
        head(scene.store, "nightly")


def test_wrong_key_somebody_else_signs(scene: Scene) -> None:
    entry = head(scene.store, "nightly")
    assert entry is not None
    entry = msgspec.structs.replace(entry, sequence=3)
    scene.plant(3, sign_entry(entry, length=entry.length, days=9, signers=[OTHER]))
    assert "not signed by a key that this machine trusts" in scene.refusal()
    assert [one.sequence for one in history(scene.store, "nightly")] == [2, 1]


def test_wrong_key_a_producer_without_the_key_cannot_move(scene: Scene) -> None:
    release = put_release(scene.store, release_named("c"))
    told: dict[str, Any] = {"run": "r", "reason": "", "signer": OTHER}
    with pytest.raises(NotOurs) as caught:
        move(scene.store, "nightly", release=release, expecting=2, **told)
    assert "and this process has" in caught.value.message
    assert "TIDEMILL_SIGNING_KEY" in caught.value.hint
    assert latest(scene.store, "nightly") == 2


def test_wrong_root_a_store_made_anew_by_somebody_else(scene: Scene, tmp_path: Path) -> None:
    scene.follow()
    other = Scene(open_store(str(tmp_path / "other")), tmp_path / "theirs")
    release = put_release(other.store, release_named("z"))
    told: dict[str, Any] = {"run": "r", "reason": "", "signer": OTHER}
    for at in range(5):
        move(other.store, "nightly", release=release, expecting=at, pinned=str(at), unpin=True,
             **told)  # fmt: skip
    for name in (root_name(1), channel_name("nightly", 5)):
        scene.store.replace(name, other.store.read(name) or b"")
    assert "not signed by a key that this machine trusts" in scene.refusal()
    scene.reader.forget(scene.store)
    anew = scene.follow()
    assert anew is not None
    assert anew.sequence == 5


def test_wrong_root_a_version_that_the_one_before_does_not_vouch_for(scene: Scene) -> None:
    scene.follow()
    held = read_root(scene.store)
    assert held is not None
    forged = Metadata(Root(version=2, expires=held.signed.expires))
    for role in ("root", "timestamp", "snapshot", "targets"):
        forged.signed.add_key(OTHER.public_key, role)
    forged.sign(OTHER)
    scene.store.create(root_name(2), forged.to_bytes())
    entry = head_of(scene)
    scene.plant(3, sign_entry(entry, length=entry.length, days=9, signers=[OTHER]))
    assert scene.refusal()
    with pytest.raises(BlobDamaged) as caught:
        read_root(scene.store)
    assert f"root 2 of {scene.store.url} cannot be trusted" in caught.value.message


def head_of(scene: Scene) -> ChannelEntry:
    entry = scene.reader.held(scene.store, "nightly")
    assert entry is not None
    return msgspec.structs.replace(entry, sequence=3)


def test_an_expired_root_is_refused_and_the_next_move_renews_it(scene: Scene) -> None:
    held = read_root(scene.store)
    assert held is not None
    held.signed.expires = (datetime.now(UTC) - timedelta(days=1)).replace(microsecond=0)
    held.sign(SIGNER)
    scene.store.replace(root_name(1), held.to_bytes())
    assert "has expired" in scene.refusal()
    scene.move("c")
    assert scene.store.read(root_name(2)) is not None
    entry = scene.follow()
    assert entry is not None
    assert entry.sequence == 3


def test_after_a_rotation_readers_follow_and_the_old_key_is_out(scene: Scene) -> None:
    scene.follow()
    change_key(scene)
    entry = scene.follow()
    assert entry is not None
    assert (entry.sequence, entry.release) == (3, head_release(scene))
    release = put_release(scene.store, release_named("d"))
    with pytest.raises(NotOurs):
        move(scene.store, "nightly", release=release, expecting=3, run="r", reason="",
             signer=SIGNER)  # fmt: skip


def head_release(scene: Scene) -> str:
    entry = head(scene.store, "nightly")
    assert entry is not None
    assert scene.store.stat(release_name(entry.release)) is not None
    return entry.release


def test_a_store_without_a_root_is_not_trusted(scene: Scene) -> None:
    scene.store.remove(root_name(1))
    with pytest.raises(StoreError) as caught:
        scene.follow()
    assert caught.value.message == (
        f"{scene.store.url} has no root that says who signs its channels"
    )


def test_a_root_that_a_person_gives_is_the_one_that_counts(scene: Scene, tmp_path: Path) -> None:
    theirs = tmp_path / "root.json"
    theirs.write_bytes(scene.store.read(root_name(1)) or b"")
    strict = Trust(tmp_path / "strict", root=theirs)
    assert follow(scene.store, "nightly", trust=strict) is not None
    forged = Metadata(Root(expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)))
    for role in ("root", "timestamp", "snapshot", "targets"):
        forged.signed.add_key(OTHER.public_key, role)
    forged.sign(OTHER)
    theirs.write_bytes(forged.to_bytes())
    with pytest.raises(ChannelRefused):
        follow(scene.store, "nightly", trust=Trust(tmp_path / "stricter", root=theirs))
