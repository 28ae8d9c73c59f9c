"""The secrets that deliveries are signed with: made, sealed for the database, and used.

Signatures follow the Standard Webhooks specification, so that receivers can verify with its libraries.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.config import Settings
from service.security import derive

#: Of the key for the secrets of webhooks (service.security.derive).
WEBHOOKS: Final = "webhook-secrets"
PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 12


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def written(secret: bytes) -> str:
    """As its receiver needs it."""
    return PREFIX + base64.b64encode(secret).decode()


def signature_headers(message_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """One signature for each secret: during a rotation the receiver may know either."""
    message = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, message, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


class Unreadable(Exception):
    """Sealed under a key that this process does not have."""


@dataclass(frozen=True, slots=True)
class Opened:
    secret: bytes
    #: It was sealed under a key that is only accepted, and should be sealed anew while that is so.
    stale: bool


class Vault:
    """Seals secrets under a key derived from SECRET_KEY, for a copy of the database tells nothing then."""

    def __init__(self, secret: str, accepted: tuple[str, ...], *, label: str = WEBHOOKS) -> None:
        self._keys = tuple(AESGCM(derive(each, label)) for each in (secret, *accepted))

    @classmethod
    def of(cls, settings: Settings, *, label: str = WEBHOOKS) -> Self:
        accepted = tuple(key.get_secret_value() for key in settings.secret_keys_accepted)
        return cls(settings.secret_key.get_secret_value(), accepted, label=label)

    def seal(self, secret: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._keys[0].encrypt(nonce, secret, None)

    def open(self, sealed: bytes) -> Opened:
        """Raises Unreadable."""
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        for position, key in enumerate(self._keys):
            try:
                return Opened(key.decrypt(nonce, rest, None), stale=position > 0)
            except (InvalidTag, ValueError):  # the latter for what is too short
                continue
        raise Unreadable
