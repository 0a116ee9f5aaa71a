"""The key that signs channels: from a key service, from the environment, or made on first use.

$TIDEMILL_SIGNER       a key service's URI as securesystemslib spells it (awskms:, gcpkms:, hv:, …),
                       with $TIDEMILL_SIGNER_PUBLIC, a file with its public key (PEM)
$TIDEMILL_SIGNING_KEY  a private key itself (PEM, PKCS 8, not encrypted), as CI keeps secrets
neither                ``keys/channels.pem`` in the workspace's state: ed25519, made on first use
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key
from securesystemslib.exceptions import Error as SSLibError
from securesystemslib.signer import CryptoSigner, Signer, SSlibKey

from tidemill.errors import StoreError, TidemillError, UsageError
from tidemill.store.scratch import temporary_name
from tidemill.store.trouble import disk_error

SIGNER = "TIDEMILL_SIGNER"
PUBLIC = "TIDEMILL_SIGNER_PUBLIC"
PRIVATE = "TIDEMILL_SIGNING_KEY"
_TRIAL = b"tidemill tries its key"


class CannotSign(StoreError):  # noqa: N818 - named as BlobDamaged is
    """The key is known, and whoever holds it did not sign."""


@contextmanager
def signing() -> Iterator[None]:
    """Around every use of a signer. Raises CannotSign for whatever a key service raises."""
    try:
        yield
    except TidemillError:
        raise
    except Exception as error:
        raise CannotSign(
            f"the key that signs channels could not be used: {error}",
            hint=f"see to the key service of ${SIGNER} and to its credentials, then run again:"
            " `tidemill release` publishes what is built",
        ) from error


def signer_of(state: Path, environment: Mapping[str, str] = os.environ) -> Signer:
    """The signer that this process has. Raises UsageError for one that cannot be used."""
    if uri := environment.get(SIGNER):
        return _service(uri, public=environment.get(PUBLIC, ""))
    if text := environment.get(PRIVATE):
        return private_signer(text.encode(), where=f"${PRIVATE}")
    return local_signer(state)


def local_signer(state: Path) -> CryptoSigner:
    """The workspace's own key, made when there is none; readable by its owner only."""
    return _made(key_file(state), doing="keep the key that signs channels")


def _made(file: Path, *, doing: str) -> CryptoSigner:
    """The key in ``file``, which is made when there is none. Raises StoreError."""
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            made = write_key(file.with_name(temporary_name()), CryptoSigner.generate_ed25519())
            with suppress(FileExistsError):  # another process was first: its key it is
                os.link(made, file)
            made.unlink()
        return private_signer(file.read_bytes(), where=str(file))
    except OSError as error:
        raise disk_error(error, doing=doing, where=file) from error


def key_file(state: Path) -> Path:
    """Where the workspace's own key lies."""
    return state / "keys" / "channels.pem"


def write_key(file: Path, signer: CryptoSigner) -> Path:
    """Write a private key that only its owner can read, and return its path. Raises OSError."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(signer.private_bytes)
        stream.flush()
        os.fsync(stream.fileno())
    return file


def next_signer(state: Path) -> CryptoSigner:
    """The key that is to follow the workspace's own: the one that was begun with, else made.

    It is kept before any root names it: one that is lost after that would lock everybody out.
    """
    return _made(_next_file(state), doing="keep the next key")


def adopt(state: Path, signer: CryptoSigner) -> None:
    """Let ``next_signer``'s key be the workspace's own, and keep the old one as retired."""
    own = key_file(state)
    try:
        if own.exists():
            old = private_signer(own.read_bytes(), where=str(own)).public_key.keyid
            if old != signer.public_key.keyid:
                with suppress(FileExistsError):  # this was broken off before
                    os.link(own, own.with_name(f"retired-{old[:12]}.pem"))
        _next_file(state).replace(own)
    except OSError as error:
        raise disk_error(error, doing="keep the new key", where=own) from error


def retired(state: Path) -> Iterator[CryptoSigner]:
    """The keys that were the workspace's own once."""
    for file in sorted(key_file(state).parent.glob("retired-*.pem")):
        with suppress(OSError, UsageError):
            yield private_signer(file.read_bytes(), where=str(file))


def _next_file(state: Path) -> Path:
    return key_file(state).with_name("next.pem")


def from_environment(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment names a key, so that the workspace's own is not used."""
    return bool(environment.get(SIGNER) or environment.get(PRIVATE))


def private_signer(data: bytes, *, where: str) -> CryptoSigner:
    """The signer of a private key in PEM; ``where`` is for the message. Raises UsageError."""
    try:
        return CryptoSigner(load_pem_private_key(data, password=None))
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{where} holds no private key that can be used: {error}",
            hint="give a PEM of PKCS 8, not encrypted: openssl genpkey -algorithm ed25519",
        ) from error


def _service(uri: str, *, public: str) -> Signer:
    if not public:
        raise UsageError(
            f"${SIGNER} names a key, and ${PUBLIC} does not name the file with its public half",
            hint=f"set {PUBLIC} to a PEM file",
        )
    try:
        key = SSlibKey.from_crypto(load_pem_public_key(Path(public).read_bytes()))
        signer = Signer.from_priv_key_uri(uri, key)
    except Exception as error:
        raise UsageError(
            f"the key of ${SIGNER} ({uri.partition(':')[0]}:…) cannot be used: {error}",
            hint=f"check {SIGNER} and {PUBLIC}; a key service needs its own package",
        ) from error
    _try_out(signer)
    return signer


def _try_out(signer: Signer) -> None:
    """Sign something: a root that is signed wrongly would lock everybody out of the store."""
    with signing():
        signature = signer.sign(_TRIAL)
    try:
        signer.public_key.verify_signature(signature, _TRIAL)
    except SSLibError as error:
        raise UsageError(
            f"what the key of ${SIGNER} signs does not fit the public key in ${PUBLIC}",
            hint=f"give {PUBLIC} the public half of that very key",
        ) from error
