"""A store whose channel moves, and a reader who follows it: for tests of trust."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults.store_helpers import release_named
from tests.signing import SIGNER, signer_number
from tidemill.channels import follow, latest, put_release
from tidemill.moves import move, resign
from tidemill.records import ChannelEntry
from tidemill.store import Store, open_store
from tidemill.store.layout import channel_name, hint_name
from tidemill.trust.authority import rotate
from tidemill.trust.documents import ChannelDocument, decode
from tidemill.trust.follow import ChannelRefused, Trust

OTHER = signer_number(2)


@dataclass
class Scene:
    """A store whose channel "nightly" moves, and a reader who follows it."""

    store: Store
    folder: Path
    said: list[str] = field(default_factory=list)

    @property
    def reader(self) -> Trust:
        return Trust(self.folder, said=self.said.append)

    def move(self, name: str, *, channel: str = "nightly") -> ChannelEntry:
        release = put_release(self.store, release_named(name))
        at = latest(self.store, channel)
        told: dict[str, Any] = {"run": "r", "reason": name, "signer": SIGNER}
        return move(self.store, channel, release=release, expecting=at, **told)

    def follow(self) -> ChannelEntry | None:
        return follow(self.store, "nightly", trust=self.reader)

    def refusal(self) -> str:
        with pytest.raises(ChannelRefused) as caught:
            self.follow()
        assert caught.value.hint
        return caught.value.message

    def document(self, sequence: int, *, channel: str = "nightly") -> ChannelDocument:
        return decode(self.store.read(channel_name(channel, sequence)) or b"", what="it")

    def plant(self, sequence: int, document: ChannelDocument | bytes) -> None:
        data = document if isinstance(document, bytes) else msgspec.json.encode(document)
        self.store.replace(channel_name("nightly", sequence), data)

    def plant_hint(self, sequence: int) -> None:
        self.store.replace(hint_name("nightly"), b'{"sequence":%d}' % sequence)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A store whose channel has moved twice."""
    made = Scene(open_store(str(tmp_path / "store")), tmp_path / "trust")
    made.move("a")
    made.move("b")
    return made


def change_key(scene: Scene) -> None:
    """Let OTHER sign from now on, as ``channel rotate-key`` does."""
    resign(scene.store, "nightly", signer=SIGNER, successor=OTHER, reason="new key")
    rotate(scene.store, old=SIGNER, new=OTHER)
