"""Access tokens and refresh tokens, and the pseudonyms of the audit log."""

import base64
import contextlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any, Final

from cachetools import FIFOCache
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from service.identity.callers import Caller
from service.platform.crypto import derive

ACCESS_TOKEN_SECONDS: Final = 600
LEEWAY_SECONDS: Final = 30
#: The order of P-256's base point (SEC 2, section 2.4.2).
P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
REMEMBERED_TOKENS: Final = 4_096
#: Ours have 500 characters; what is longer is not decoded at all.
LONGEST_TOKEN: Final = 4_096


class SigningKey:
    """The ES256 key pair that a secret yields.

    48 bytes reduced into the curve's order: so many that the bias of the reduction is under
    2^-128 (FIPS 186-5, A.2.1). `kid` is the key's thumbprint (RFC 7638).
    """

    def __init__(self, secret: str) -> None:
        number = int.from_bytes(derive(secret, "access-token-signing", 48)) % (P256_ORDER - 1) + 1
        pem = ec.derive_private_key(number, ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        self.key = ECKey.import_key(pem.decode(), {"alg": "ES256", "use": "sig"})
        self.kid: str = self.key.thumbprint()
        self.public: dict[str, Any] = {**self.key.as_dict(private=False), "kid": self.kid}


class AccessTokens:
    """Signs and verifies access tokens (RFC 9068), and remembers the verified ones.

    Verifying takes 63 microseconds, so a token that was good is kept until it ends, at most
    REMEMBERED_TOKENS of them. That says nothing of its session, which has to be asked each time.

    `clock` is the database's, for all processes: what has lost access is forgotten when no token from before
    can be good any more (revocation.py).
    """

    def __init__(
        self,
        secret: str,
        accepted: tuple[str, ...],
        *,
        issuer: str,
        audience: str,
        clock: Callable[[], float],
    ) -> None:
        self._signing = SigningKey(secret)
        self._keys = {key.kid: key for key in (self._signing, *map(SigningKey, accepted))}
        self._issuer, self._audience, self._clock = issuer, audience, clock
        self._verified: FIFOCache[str, tuple[float, Caller]] = FIFOCache(REMEMBERED_TOKENS)

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys (RFC 7517): the signing one first, then those still accepted."""
        return {"keys": [key.public for key in self._keys.values()]}

    def issue(self, caller: Caller, *, client_id: str) -> str:
        now = int(self._clock())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(caller.user_id),
            "client_id": client_id,
            "iat": now,
            "exp": now + ACCESS_TOKEN_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "sid": str(caller.session_id),
            "admin": caller.is_admin,
        }
        header = {"typ": "at+jwt", "alg": "ES256", "kid": self._signing.kid}
        return jwt.encode(header, claims, self._signing.key)

    def verify(self, token: str) -> Caller | None:
        """The caller that the token names, or None for a token that is bad in any way."""
        good = self._good(token)
        return good[1] if good else None

    def verified(self, token: str) -> Caller | None:
        """The same for a token that has been verified before; None for any other."""
        remembered = self._remembered(token)
        return remembered[1] if remembered else None

    def seconds_left(self, token: str) -> float:
        """How long the token still lasts, without the leeway; 0 for a bad one."""
        good = self._good(token)
        return max(0.0, good[0] - self._clock()) if good else 0.0

    def _good(self, token: str) -> tuple[float, Caller] | None:
        remembered = self._remembered(token)
        if remembered is not None:
            return remembered
        self._verified.pop(token, None)
        if len(token) > LONGEST_TOKEN:
            return None
        with contextlib.suppress(JoseError, ValueError, KeyError, TypeError):
            claims = self._claims(token)
            caller = Caller(int(claims["sub"]), int(claims["sid"]), claims["admin"] is True)
            good = self._verified[token] = (float(claims["exp"]), caller)
            return good
        return None

    def _remembered(self, token: str) -> tuple[float, Caller] | None:
        remembered = self._verified.get(token)
        return remembered if remembered is not None and remembered[0] > self._clock() else None

    def _claims(self, token: str) -> dict[str, Any]:
        decoded = jwt.decode(token, self._key_of, algorithms=["ES256"])
        if str(decoded.header.get("typ", "")).lower().removeprefix("application/") != "at+jwt":
            raise ValueError("not an access token")
        jwt.JWTClaimsRegistry(
            now=int(self._clock()),
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._audience},
            sub={"essential": True},
            exp={"essential": True},
        ).validate(decoded.claims)
        return decoded.claims

    def _key_of(self, token: Any) -> ECKey:
        return self._keys[token.headers()["kid"]].key


class Pseudonyms:
    """What the audit log has instead of e-mail addresses. Without the key it cannot be computed from one."""

    def __init__(self, secret: str) -> None:
        self._key = derive(secret, "audit-person")

    def of(self, email: str) -> str:
        """The same in any case."""
        return hmac.digest(self._key, email.lower().encode(), "sha256").hex()


class RefreshTokens:
    """Opaque tokens of 256 bits. The successor of each is derived from it: a lost one can be sent again."""

    def __init__(self, secret: str, accepted: tuple[str, ...]) -> None:
        self._keys = tuple(derive(each, "refresh-token") for each in (secret, *accepted))

    @staticmethod
    def first() -> str:
        return secrets.token_urlsafe(32)

    def successors(self, token: str) -> tuple[str, ...]:
        """By each key, the signing one's first.

        During a rotation of keys another process may sign with another key, and may have handed out its own.
        """
        digests = (hmac.digest(key, token.encode(), "sha256") for key in self._keys)
        return tuple(base64.urlsafe_b64encode(digest).rstrip(b"=").decode() for digest in digests)
