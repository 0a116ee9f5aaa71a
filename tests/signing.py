"""A key for tests: always the same one, so that several processes are one producer."""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.signer import CryptoSigner


def signer_number(number: int) -> CryptoSigner:
    """One of 256 keys."""
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


def public_pem(number: int) -> bytes:
    """The public half of one of them."""
    key = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


SIGNER = signer_number(1)
