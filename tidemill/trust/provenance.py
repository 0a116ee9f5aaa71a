"""Where a release comes from: an in-toto statement with SLSA provenance, signed as its channel is.

``provenance/<release>.json`` is a DSSE envelope. Its statement names every artifact of the release
by sha256, the pipeline that was run, and what went into it: sources and locked packages, by sha256,
and the commit of the checkout. A release is the same whenever it is made of the same; its statement
tells of the run that made it first. Formats: https://github.com/in-toto/attestation/tree/main/spec/v1,
https://slsa.dev/spec/v1.1/provenance, https://github.com/secure-systems-lab/dsse
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tidemill.digest import Digest, canonical_json, digest_bytes
from tidemill.errors import BlobDamaged, StoreError
from tidemill.records import Release
from tidemill.store.contract import Store
from tidemill.store.layout import provenance_name, release_name, short

if TYPE_CHECKING:
    from securesystemslib.signer import Signer
    from tuf.api.metadata import Root

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
BUILD = "urn:tidemill:pipeline:v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Making:
    """How a release was made. Times are UTC text; ``materials`` are resource descriptors."""

    run: str
    builder: str
    started_at: str
    finished_at: str
    materials: Sequence[Mapping[str, Any]]


def statement_of(release: Release, digest: str, making: Making) -> dict[str, Any]:
    """The statement about a release: its own document is the first subject."""
    files = [
        {"name": item.file, "digest": {"sha256": item.digest}}
        for item in release.artifacts
        if item.digest
    ]
    return {
        "_type": STATEMENT,
        "subject": [{"name": release_name(digest), "digest": {"sha256": digest}}, *files],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"pipeline": release.pipeline},
                "internalParameters": {"toolchain": release.toolchain, "tools": release.tools},
                "resolvedDependencies": [dict(item) for item in making.materials],
            },
            "runDetails": {
                "builder": {"id": making.builder},
                "metadata": {
                    "invocationId": making.run,
                    "startedOn": making.started_at,
                    "finishedOn": making.finished_at,
                },
            },
        },
    }


def put_statement(
    store: Store, release: str, statement: Mapping[str, Any], *, signer: "Signer"
) -> Digest:
    """Keep the first statement about a release; return the digest of the one that is kept.

    One that cannot be verified gives way. Raises CannotSign or StoreError.
    """
    from securesystemslib.dsse import Envelope  # noqa: PLC0415 - loads cryptography

    from tidemill.trust.keys import signing  # noqa: PLC0415 - loads cryptography

    envelope = Envelope(canonical_json(statement), PAYLOAD, {})
    with signing():
        envelope.sign(signer)
    data = canonical_json(envelope.to_dict())
    name = provenance_name(release)
    if store.create(name, data):
        return digest_bytes(data)
    if held := find_statement(store, release):
        return held
    store.replace(name, data)
    return digest_bytes(data)


def find_statement(store: Store, release: str) -> Digest | None:
    """The digest of the statement about a release, if there is one that can be verified."""
    data = store.read(provenance_name(release))
    try:
        if data is None or not _read(data, release, store=store):
            return None
    except BlobDamaged:
        return None
    return digest_bytes(data)


def read_statement(store: Store, release: str, *, expected: str) -> dict[str, Any]:
    """The statement about a release, signed with a key that a root of the store names or named.

    ``expected`` is the digest that the channel's signed entry gives. Raises StoreError.
    """
    what = _what(release)
    data = store.read(provenance_name(release))
    if data is None:
        raise StoreError(f"{what} is not in {store.url}", hint="releases made before have none")
    if digest_bytes(data) != expected:
        raise BlobDamaged(f"{what} is not what its channel has signed", hint="do not trust it")
    return _read(data, release, store=store)


def _what(release: str) -> str:
    return f"the provenance of release {short(release)}"


def _read(data: bytes, release: str, *, store: Store) -> dict[str, Any]:
    from securesystemslib.dsse import Envelope  # noqa: PLC0415 - loads cryptography
    from securesystemslib.exceptions import VerificationError  # noqa: PLC0415

    from tidemill.trust.authority import read_roots  # noqa: PLC0415 - loads tuf

    what = _what(release)
    roots = read_roots(store)
    keys = list({keyid: root.keys[keyid] for root in roots for keyid in _signers(root)}.values())
    try:
        envelope = Envelope.from_dict(json.loads(data))
        envelope.verify(keys, 1)
        statement: dict[str, Any] = json.loads(envelope.payload)
        named = statement["subject"][0]["digest"]["sha256"]
    except (ValueError, KeyError, TypeError, IndexError, VerificationError) as error:
        raise BlobDamaged(f"{what} cannot be verified: {error}", hint="do not trust it") from error
    if named != release:
        raise BlobDamaged(f"{what} is about release {short(named)}", hint="do not trust it")
    return statement


def _signers(root: "Root") -> list[str]:
    return root.roles["targets"].keyids
