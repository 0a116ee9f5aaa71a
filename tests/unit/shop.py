"""A small shop: a store, one channel, and artifacts to pull."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.signing import SIGNER
from tidemill.channels import head, put_release
from tidemill.moves import move
from tidemill.records import Artifact, Release
from tidemill.store import Store, open_store
from tidemill.store.layout import blob_name

SHARED = ("mlir", "irpa", "reference")


@dataclass
class Shop:
    """A store with the channel "smoke", and a way to publish there or elsewhere."""

    store: Store
    root: Path
    artifacts: list[Artifact] = field(default_factory=list)
    tools: dict[str, str] = field(default_factory=dict)

    def add(self, address: str, kind: str, **fields: Any) -> Artifact:
        data = f"{address} {kind}".encode() * 100
        one = Artifact(
            address=address,
            kind=kind,
            file=f"{address}/model.{kind}",
            digest=self.store.put_bytes(data),
            size=len(data),
            key="k",
            status="validated",
        )
        self.artifacts.append(msgspec.structs.replace(one, **fields))
        return self.artifacts[-1]

    def publish(self, channel: str = "smoke") -> str:
        release = Release(
            pipeline="smoke", toolchain="t", tools=self.tools, artifacts=tuple(self.artifacts)
        )
        digest = put_release(self.store, release)
        entry = head(self.store, channel)
        at = entry.sequence if entry else 0
        move(
            self.store,
            channel,
            release=digest,
            expecting=at,
            run="r",
            reason="test",
            signer=SIGNER,
        )
        return digest

    def blob(self, artifact: Artifact) -> Path:
        return self.root / blob_name(artifact.digest)


def open_shop(folder: Path) -> Shop:
    """minilm/encoder in two dtypes for two targets, and stories/decode for one."""
    shop = Shop(open_store(str(folder / "store")), folder / "store")
    for variant in ("minilm/encoder/f16", "minilm/encoder/f32", "stories/decode/f32"):
        for kind in SHARED:
            shop.add(variant, kind)
        shop.add(f"{variant}/cpu", "vmfb")
        shop.add(f"{variant}/cpu", "verdict")
    shop.add("minilm/encoder/f16/gfx942", "vmfb", status="unvalidated", reason="no such host")
    shop.publish()
    return shop
