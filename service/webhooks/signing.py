"""Signing secrets of webhooks, and the signatures of deliveries.

Both follow the Standard Webhooks specification, so that receivers can verify with its libraries.
"""

import base64
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

from service.platform.crypto import Cipher

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


class SecretCipher(Cipher):
    """Encrypts the secrets of webhooks."""

    label = "webhook-secrets"


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def encode_secret(secret: bytes) -> str:
    """As the specification's libraries take it: `whsec_...`."""
    return PREFIX + base64.b64encode(secret).decode()


def signature_headers(message_id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """One signature for each key: during a rotation the receiver may have either."""
    message = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, message, "sha256")).decode() for key in keys)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
