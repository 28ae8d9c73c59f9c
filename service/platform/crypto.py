"""Keys for each use, signatures and encryption.

All keys come from SECRET_KEY, one HKDF label a use, so that one secret configures everything and
none of the derived keys tells anything of another (RFC 5869).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.platform.config import Settings

NONCE_BYTES: Final = 12


def derive(secret: str, label: str, length: int = 32) -> bytes:
    """The key for one use. `label` names the use and must never be used for another."""
    hkdf = HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=f"tradepost/{label}".encode())
    return hkdf.derive(secret.encode())


def sign(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256, cut to 128 bits: enough against forgery, short enough for a cursor in a URL."""
    return hmac.digest(key, message, "sha256")[:16]


def same(a: bytes, b: bytes) -> bool:
    """Whether both are equal, in time that does not tell where they differ."""
    return hmac.compare_digest(a, b)


def fingerprint(token: str) -> bytes:
    """SHA-256, under which a token of 256 random bits is stored: there is nothing to guess or to salt."""
    return hashlib.sha256(token.encode()).digest()


class Undecryptable(Exception):
    """Encrypted under a key that this process does not have."""


@dataclass(frozen=True, slots=True)
class Decrypted:
    secret: bytes
    #: It was encrypted under a key that is only accepted: it should be encrypted anew.
    stale: bool


class Cipher:
    """Encrypts under a key derived from SECRET_KEY (AES-256-GCM): a copy of the database tells nothing.

    A subclass for each use names the label of its key.
    """

    label: ClassVar[str]

    def __init__(self, secret: str, accepted: tuple[str, ...]) -> None:
        self._keys = tuple(AESGCM(derive(each, self.label)) for each in (secret, *accepted))

    @classmethod
    def of(cls, settings: Settings) -> Self:
        accepted = tuple(key.get_secret_value() for key in settings.secret_keys_accepted)
        return cls(settings.secret_key.get_secret_value(), accepted)

    def encrypt(self, secret: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, secret, None)

    def decrypt(self, encrypted: bytes) -> Decrypted:
        """Raises Undecryptable."""
        nonce, rest = encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:]
        for position, key in enumerate(self._keys):
            try:
                return Decrypted(key.decrypt(nonce, rest, None), stale=position > 0)
            except (InvalidTag, ValueError):  # the latter for what is too short
                continue
        raise Undecryptable
