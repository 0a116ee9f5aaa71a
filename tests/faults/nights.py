"""One night in small: blobs, a record, a report, a release, its provenance and the channel.

Everything that a run writes, through the same functions. What is written for a number is always the
same, so a night that failed can be done again.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.signing import SIGNER
from tidemill.channels import follow, head, latest, put_release, read_release
from tidemill.digest import Digest, digest_bytes
from tidemill.errors import StoreError
from tidemill.moves import move
from tidemill.records import Artifact, ChannelEntry, Release
from tidemill.store.contract import Store
from tidemill.store.layout import action_name, run_name
from tidemill.trust.follow import Trust
from tidemill.trust.provenance import Making, put_statement, statement_of

CHANNEL = "nightly"
_MAKING = Making(
    run="r", builder="urn:test", started_at="2026-01-01", finished_at="2026-01-01", materials=()
)


def _artifacts(number: int) -> list[Artifact]:
    return [
        Artifact(
            address="m/c/f32/cpu",
            kind=kind,
            file=f"m/c/f32/cpu/model.{kind}",
            digest=digest_bytes(_bytes(number, kind)),
            size=len(_bytes(number, kind)),
            key="k",
            status="validated",
        )
        for kind in ("mlir", "vmfb")
    ]


def _bytes(number: int, kind: str) -> bytes:
    return f"{kind} of night {number} ".encode() * 40


def publish(store: Store, number: int, *, scratch: Path) -> ChannelEntry:
    """Do the night. Raises StoreError when the store gives too much trouble."""
    expecting = latest(store, CHANNEL)
    artifacts = _artifacts(number)
    for item in artifacts:
        source = scratch / f"out-{item.kind}"
        source.write_bytes(_bytes(number, item.kind))
        store.put_blob(source, digest=Digest(item.digest))
    log = store.put_bytes(b"log of night %d" % number)
    store.create(action_name("compile", digest_bytes(b"key %d" % number)), log.encode())
    release = Release(pipeline="night", toolchain=str(number), tools={}, artifacts=tuple(artifacts))
    digest = put_release(store, release)
    statement = statement_of(release, digest, _MAKING)
    entry = move(
        store,
        CHANNEL,
        release=digest,
        expecting=expecting,
        run=str(number),
        reason="night",
        signer=SIGNER,
        provenance=put_statement(store, digest, statement, signer=SIGNER),
    )
    store.replace(run_name(f"night-{number}", "report.json"), b"{}")
    return entry


@dataclass
class Reader:
    """Somebody who looks at the channel all the time and must only ever see whole releases."""

    store: Store
    trust: Trust
    seen: int = 0
    looks: int = 0

    def look(self, *, again: bool = False) -> str:
        """What is wrong with what is there now; "" when all is well.

        A release that was seen whole is read once more when asked to look ``again``.
        """
        self.looks += 1
        try:
            at = latest(self.store, CHANNEL)
            if at == self.seen and not (at and again):
                return ""
            if at < self.seen:
                return f"the channel went back from {self.seen} to {at}"
            entry = follow(self.store, CHANNEL, trust=self.trust)
            if entry is None or entry.sequence != at:
                return f"sequence {at} is listed and {entry} is what can be followed"
            for item in read_release(self.store, entry.release).artifacts:
                self.store.check_blob(Digest(item.digest))
        except StoreError as error:
            return f"a reader sees what is not whole: {error.message}"
        self.seen = at
        return ""


def after(store: Store, number: int, *, before: int) -> str:
    """What is wrong after a night that has come to its end; "" when all is as it must be."""
    entry = head(store, CHANNEL)
    if entry is None or entry.run != str(number):
        return f"night {number} is over and the head is {entry}"
    if entry.sequence != before + 1:
        return f"night {number} has the sequence {entry.sequence}, expected {before + 1}"
    return ""
