"""Pulls through a cache from the shop: a store that counts what it is asked, and a client."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.shop import Shop
from tidemill.client import Cache, PullReport, pull
from tidemill.client.trusting import open_trust
from tidemill.digest import Digest
from tidemill.records import Artifact
from tidemill.store.folder import FolderStore

LIMIT = 1 << 30
ONE = "stories/decode/f32/cpu"
MODULE = f"{ONE}/model.vmfb"


def new_cache(folder: Path, *, limit_bytes: int = LIMIT) -> Cache:
    return Cache(folder / "cache", limit_bytes=limit_bytes)


class Counting(FolderStore):
    """Keeps a list of what it was asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def stat(self, name: str) -> Any:
        self.asked.append(f"stat {name}")
        return super().stat(name)

    def read(self, name: str) -> bytes | None:
        self.asked.append(f"read {name}")
        return super().read(name)

    def list(self, prefix: str) -> Any:
        self.asked.append(f"list {prefix}")
        return super().list(prefix)

    def stream_blob(self, digest: Digest, *, offset: int = 0) -> Iterator[bytes]:
        self.asked.append(f"blob {digest} {offset}")
        return super().stream_blob(digest, offset=offset)

    @property
    def blobs(self) -> tuple[str, ...]:
        return tuple(line for line in self.asked if line.startswith("blob "))


@dataclass
class Client:
    """Pulls below one folder, with a cache of its own."""

    folder: Path
    store: Any
    cache: Cache | None = field(init=False)

    def __post_init__(self) -> None:
        self.cache = new_cache(self.folder)

    def __call__(self, *patterns: str, to: str = "out", **options: Any) -> PullReport:
        options.setdefault("channel", "smoke")
        options.setdefault("cache", self.cache)
        trust = open_trust(lambda _: None)
        return pull(self.store, patterns, to=self.folder / to, trust=trust, **options)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def module_of(shop: Shop) -> Artifact:
    return next(one for one in shop.artifacts if one.file == MODULE)
