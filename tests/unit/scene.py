"""A store whose channel moves, and a reader who follows it: for tests of trust."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.faults.store_helpers import release_named
from tests.signing import SIGNER
from tidemill.channels import follow, latest, put_release
from tidemill.moves import move
from tidemill.records import ChannelEntry
from tidemill.store import Store
from tidemill.store.layout import channel_name, hint_name
from tidemill.trust.documents import ChannelDocument, decode
from tidemill.trust.follow import ChannelRefused, Trust


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
