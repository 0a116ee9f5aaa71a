"""One entry of a channel as it lies in a store: three signed TUF files in one object. Pure.

``timestamp`` names ``snapshot`` by its sha256, ``snapshot`` names ``targets``, and ``targets``
names the release by digest and length, with what a person wants to know of the move. All three have
the entry's sequence as their version. Together in one object they are there or not there as one,
and one compare-and-swap publishes them. Format of the files:
https://theupdateframework.github.io/specification/
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import msgspec
from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from tidemill.digest import Digest, is_digest
from tidemill.errors import BlobDamaged, StoreError
from tidemill.records import ChannelEntry
from tidemill.store.layout import release_name
from tidemill.trust.keys import signing

FORMAT = 2
#: More than any entry needs; a bigger one is refused before it is read.
LARGEST_BYTES = 1 << 18
_COMPACT = JSONSerializer(compact=True)
_TOLD = ("channel", "sequence", "run", "moved_at", "reason", "pinned", "provenance")


class ChannelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """``channels/<name>/<sequence>.json``. The three files are kept as text, to the byte."""

    timestamp: str
    snapshot: str
    targets: str
    format: int = FORMAT


class _Formatted(msgspec.Struct):
    format: int


def now() -> datetime:
    """The time in UTC, to the second, as TUF writes it."""
    return datetime.now(UTC).replace(microsecond=0)


def sign_entry(
    entry: ChannelEntry, *, length: int, days: float, signers: Sequence[Signer]
) -> bytes:
    """The document of ``entry``; ``length`` is the size of its release in bytes.

    It expires ``days`` days from now. Every one of ``signers`` signs it. Raises CannotSign.
    """
    expires = now() + timedelta(days=days)
    version = entry.sequence
    path = release_name(entry.release)
    told = {name: getattr(entry, name) for name in _TOLD}
    target = TargetFile(length, {"sha256": entry.release}, path, {"custom": told})
    targets = _signed(Targets(version=version, expires=expires, targets={path: target}), signers)
    meta = {"targets.json": _meta(targets, version)}
    snapshot = _signed(Snapshot(version=version, expires=expires, meta=meta), signers)
    timestamp = _signed(
        Timestamp(version=version, expires=expires, snapshot_meta=_meta(snapshot, version)), signers
    )
    return msgspec.json.encode(
        ChannelDocument(
            timestamp=timestamp.decode(), snapshot=snapshot.decode(), targets=targets.decode()
        )
    )


def _signed(payload: Any, signers: Sequence[Signer]) -> bytes:
    metadata = Metadata(payload)
    with signing():
        for signer in signers:
            metadata.sign(signer, append=True)
    return metadata.to_bytes(_COMPACT)


def _meta(data: bytes, version: int) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": sha256(data).hexdigest()})


def decode(data: bytes, *, what: str) -> ChannelDocument:
    """The document in ``data``. Raises BlobDamaged, or StoreError for a newer format."""
    try:
        written = msgspec.json.decode(data, type=_Formatted).format
        if written == FORMAT:
            return msgspec.json.decode(data, type=ChannelDocument)
    except ValueError as error:  # msgspec's errors, and bytes that are not UTF-8
        raise damaged(what) from error
    if written > FORMAT:
        raise StoreError(
            f"{what} has format {written}; this tidemill reads up to {FORMAT}",
            hint="upgrade tidemill",
        )
    raise NotSigned(
        f"{what} is not signed: it was written by a tidemill before signed channels",
        hint="run its pipeline again: the next entry is signed",
    )


def verify(document: ChannelDocument, *, root: Root, what: str) -> None:
    """Check signatures, hashes and versions against ``root``; say nothing of freshness.

    Raises BlobDamaged for one that is not whole, NotSigned where ``root`` does not vouch for it.
    """
    parts = {
        "timestamp": document.timestamp.encode(),
        "snapshot": document.snapshot.encode(),
        "targets": document.targets.encode(),
    }
    try:
        read = {role: Metadata.from_bytes(data) for role, data in parts.items()}
        for role, metadata in read.items():
            root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
        timestamp, snapshot = read["timestamp"].signed, read["snapshot"].signed
        if not isinstance(timestamp, Timestamp) or not isinstance(snapshot, Snapshot):
            raise damaged(what)
        timestamp.snapshot_meta.verify_length_and_hashes(parts["snapshot"])
        snapshot.meta["targets.json"].verify_length_and_hashes(parts["targets"])
    except (RepositoryError, KeyError, ValueError) as error:
        raise NotSigned(
            f"{what} is not signed by a key that this store's channels are trusted to: {error}",
            hint="somebody without the key wrote it: look for the release that is right, and"
            " `tidemill channel promote` it",
        ) from error


class NotSigned(BlobDamaged):
    """Nobody whom the root names has signed this as it stands."""


def told(document: ChannelDocument, *, what: str) -> ChannelEntry:
    """What the document says, without checking any signature. Raises BlobDamaged."""
    try:
        targets = json.loads(document.targets)["signed"]
        ((path, target),) = targets["targets"].items()
        release = target["hashes"]["sha256"]
        entry = ChannelEntry(
            release=release, expires=targets["expires"], length=target["length"], **target["custom"]
        )
        entry = msgspec.convert(msgspec.to_builtins(entry), ChannelEntry)
        whole = is_digest(release) and path == release_name(Digest(release))
        whole = whole and entry.sequence == targets["version"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(what) from error
    if not whole:
        raise damaged(what)
    return entry


def damaged(what: str) -> BlobDamaged:
    """The error for an entry that cannot be read."""
    return BlobDamaged(
        f"{what} is damaged",
        hint="move the channel on with `tidemill channel promote` or `rollback`",
    )
