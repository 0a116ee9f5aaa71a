"""The root of a store: which keys may move its channels. Made on first use, renewed, rotated.

Roots lie in ``trust/<version>.root.json``, each signed by the keys of the one before and by its own
(TUF 5.3). A version is created once, by compare-and-swap. The producer trusts the newest root whose
chain is unbroken and that names the producer's own key.
"""

from datetime import timedelta
from pathlib import Path

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import TOP_LEVEL_ROLE_NAMES, Metadata, Root
from tuf.api.serialization.json import JSONSerializer

from tidemill.errors import BlobDamaged, StoreError
from tidemill.store.contract import Store
from tidemill.store.layout import root_name, short
from tidemill.trust.documents import now
from tidemill.trust.keys import from_environment, retired, signer_of, signing

ROOT_DAYS = 365
_RENEW_DAYS = 90
_COMPACT = JSONSerializer(compact=True)


class NotOurs(StoreError):  # noqa: N818 - named as BlobDamaged is
    """The store's channels are signed with a key that this process does not have."""


def read_root(store: Store) -> Metadata[Root] | None:
    """The newest root of the store, its chain from version 1 checked; None when it has none.

    Raises BlobDamaged for a chain that does not hold.
    """
    chain = _chain(store)
    return chain[-1] if chain else None


def read_roots(store: Store) -> tuple[Root, ...]:
    """Every root of the store, the newest first. Raises BlobDamaged as ``read_root``.

    What a key signed before it was changed is still the word of this store's owner.
    """
    return tuple(root.signed for root in reversed(_chain(store)))


def _chain(store: Store) -> list[Metadata[Root]]:
    chain: list[Metadata[Root]] = []
    while (data := store.read(root_name(len(chain) + 1))) is not None:
        before = chain[-1] if chain else None
        chain.append(_next(data, version=len(chain) + 1, before=before, url=store.url))
    return chain


def _next(data: bytes, *, version: int, before: Metadata[Root] | None, url: str) -> Metadata[Root]:
    try:
        root = Metadata[Root].from_bytes(data)
        for vouching in (root, before):
            if vouching is not None:
                vouching.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        if root.signed.version != version:
            raise RepositoryError(f"it says version {root.signed.version}")
    except (RepositoryError, ValueError) as error:
        raise BlobDamaged(
            f"root {version} of {url} cannot be trusted: {error}",
            hint="somebody else wrote it, or it is damaged: restore trust/ from a copy",
        ) from error
    return root


def root_for(store: Store, signer: Signer) -> Root:
    """The root under which ``signer`` may sign: made on first use, renewed before it expires.

    Raises NotOurs when the root names other keys.
    """
    root = read_root(store)
    if root is None:
        root = _create(store, Root(expires=now() + timedelta(days=ROOT_DAYS)), signer)
    if not may_sign(root.signed, signer):
        keys = ", ".join(short(key) for key in root.signed.roles["timestamp"].keyids)
        raise NotOurs(
            f"channels of {store.url} are signed with key {keys}, and this process has"
            f" {short(signer.public_key.keyid)}",
            hint="give the right key: TIDEMILL_SIGNING_KEY or TIDEMILL_SIGNER",
        )
    if root.signed.is_expired(now() + timedelta(days=_RENEW_DAYS)):
        root = _renew(store, root, signer)
    return root.signed


def signer_for(store: Store, state: Path) -> Signer:
    """The signer that this process has for ``store``.

    A workspace whose key was changed for one store still has the old one for its others. Raises as
    ``keys.signer_of``, and StoreError.
    """
    own = signer_of(state)
    others = [] if from_environment() else list(retired(state))
    # Who never changed a key has no choice, and need not ask the store.
    root = read_root(store) if others else None
    if root is None or may_sign(root.signed, own):
        return own
    return next((old for old in others if may_sign(root.signed, old)), own)


def may_sign(root: Root, signer: Signer) -> bool:
    """Whether ``root`` lets the signer move channels."""
    return signer.public_key.keyid in root.roles["timestamp"].keyids


def _create(store: Store, root: Root, signer: Signer) -> Metadata[Root]:
    for role in sorted(TOP_LEVEL_ROLE_NAMES):
        root.add_key(signer.public_key, role)
    return _publish(store, Metadata(root), signer)


def _renew(store: Store, root: Metadata[Root], signer: Signer) -> Metadata[Root]:
    root.signed.version += 1
    root.signed.expires = now() + timedelta(days=ROOT_DAYS)
    return _publish(store, root, signer)


def rotate(store: Store, *, old: Signer, new: Signer) -> Root:
    """Let ``new`` sign in place of ``old``: a root that both have signed.

    Raises NotOurs, also when somebody else has changed the key at the same time.
    """
    root_for(store, old)
    root = read_root(store)
    assert root is not None  # noqa: S101 - root_for has made it
    for role in sorted(TOP_LEVEL_ROLE_NAMES):
        for keyid in list(root.signed.roles[role].keyids):
            root.signed.revoke_key(keyid, role)
        root.signed.add_key(new.public_key, role)
    root.signed.version += 1
    root.signed.expires = now() + timedelta(days=ROOT_DAYS)
    held = _publish(store, root, old, new).signed
    if not may_sign(held, new):
        raise NotOurs(
            f"the key of {store.url} was changed by somebody else meanwhile",
            hint="ask whoever owns the store which key it is now",
        )
    return held


def _publish(store: Store, root: Metadata[Root], *signers: Signer) -> Metadata[Root]:
    """Write the root as its version. Should another writer have been first, take theirs."""
    root.signatures.clear()
    with signing():
        for signer in signers:
            root.sign(signer, append=True)
    store.create(root_name(root.signed.version), root.to_bytes(_COMPACT))
    held = read_root(store)
    assert held is not None  # noqa: S101 - one was written above
    return held
