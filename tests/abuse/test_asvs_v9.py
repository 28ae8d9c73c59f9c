"""ASVS 5.0, V9: tokens that a verifier somewhere has once believed."""

import base64
import hmac
import json
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jwt
from joserfc.jwk import ECKey

from service.identity.tokens import P256_ORDER, SigningKey
from service.platform.config import Settings
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person
from tests.identity.test_tokens import assert_void, decoded, encoded

BROUGHT: Final = ("jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256")
#: Names of keys that are paths, statements or commands elsewhere.
KEY_IDS: Final[tuple[Any, ...]] = (
    "", "../../../../dev/null", "/dev/null", "' UNION SELECT 'secret' --", "0", "|/bin/true", None, 0, True,
    ["a"], {"a": "b"}, "\x00", "x" * 10_000, "https://evil.example/key",
)  # fmt: skip
ALGORITHMS: Final[tuple[Any, ...]] = (
    "none", "None", "NONE", "nOnE", "HS256", "ES384", "RS256", "PS256", "ES256K", "EdDSA", "", None, 0, [],
)  # fmt: skip
#: What must be understood and is not, and types of other tokens.
HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {"crit": ["exp"]}, {"crit": ["b64"], "b64": False}, {"typ": "JWT"}, {"typ": "id+jwt"},
    {"typ": "logout+jwt"}, {"cty": "JWT", "typ": "JWT"},
)  # fmt: skip


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


@pytest.fixture
def secret(settings: Settings) -> str:
    return settings.secret_key.get_secret_value()


def es256(key: SigningKey, signed: str) -> str:
    """The signature, whatever header and claims say."""
    private = load_pem_private_key(key.key.as_pem(private=True), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    numbers = decode_dss_signature(private.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return encoded(b"".join(number.to_bytes(32, "big") for number in numbers))


async def refused(api: Api, token: str) -> None:
    client = api.signed_in(token)
    assert_void(await client.get("/users/profile"))
    assert_void(await client.get("/items"))


async def test_v9_1_1_signatures_that_verifiers_have_taken(api: Api, maria: Person) -> None:
    """Zeroes, the group's order, a signature as DER, one too long, and one with other letters at its end."""
    head, body, signature = maria.token.split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    r, s = raw[:32], raw[32:]
    zero, order = bytes(32), P256_ORDER.to_bytes(32, "big")
    der = b"\x30\x44\x02\x20" + r + b"\x02\x20" + s
    for forged in (
        zero * 2,
        order * 2,
        r + zero,
        zero + s,
        r + order,
        s + r,
        der,
        raw + b"\0",
        raw[:-1],
        b"",
    ):
        await refused(api, f"{head}.{body}.{encoded(forged)}")
    await refused(api, f"{head}.{body}.{signature}=")
    await refused(api, f"{head}.{body}. {signature}")
    await refused(api, f"{head}.{body}.{signature}.{signature}")


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=repr)
async def test_v9_1_2_another_algorithm(api: Api, maria: Person, secret: str, algorithm: Any) -> None:
    """With no signature, with the true one, and with MACs under what is public."""
    head, body, signature = maria.token.split(".")
    forged = encoded(json.dumps(decoded(head) | {"alg": algorithm}).encode())
    key = SigningKey(secret).key
    macs = [
        hmac.digest(text, f"{forged}.{body}".encode(), "sha256")
        for text in (key.as_pem(private=False), json.dumps(key.as_dict(private=False)).encode(), b"")
    ]
    for each in ("", signature, *map(encoded, macs)):
        await refused(api, f"{forged}.{body}.{each}")


@pytest.mark.parametrize("kid", KEY_IDS, ids=lambda kid: repr(kid)[:30])
async def test_v9_1_3_a_key_that_the_token_brings(api: Api, maria: Person, kid: Any) -> None:
    """Signed with a key of the attacker's, which the header has, or says where to find."""
    key = ECKey.generate_key("P-256", {"use": "sig"}, auto_kid=True)
    claims = decoded(maria.token.split(".")[1])
    public = key.as_dict(private=False)
    brought = {
        "jwk": public,
        "jku": "https://evil.example/jwks.json",
        "x5u": "https://evil.example/key.pem",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
        "x5t#S256": "AAAA",
    }
    head = {"alg": "ES256", "typ": "at+jwt", "kid": kid} | {name: brought[name] for name in BROUGHT}
    signed = jwt.encode({"alg": "ES256"}, claims, key)
    forged = encoded(json.dumps(head).encode())
    await refused(api, f"{forged}.{signed.split('.')[1]}.{signed.split('.')[2]}")
    empty = hmac.digest(b"", f"{forged}.{maria.token.split('.')[1]}".encode(), "sha256")
    await refused(api, f"{forged}.{maria.token.split('.')[1]}.{encoded(empty)}")


@pytest.mark.parametrize("header", HEADERS, ids=str)
async def test_v9_2_2_a_token_of_another_kind(
    api: Api, maria: Person, secret: str, header: dict[str, Any]
) -> None:
    """Signed with the right key, and meant for something else, or with what must be understood and is not."""
    key = SigningKey(secret)
    head, body, _ = maria.token.split(".")
    forged = encoded(json.dumps(decoded(head) | header).encode())
    await refused(api, f"{forged}.{body}.{es256(key, f'{forged}.{body}')}")
    # For its one difference alone:
    good = encoded(json.dumps(decoded(head)).encode())
    token = f"{good}.{body}.{es256(key, f'{good}.{body}')}"
    assert (await api.signed_in(token).get("/users/profile")).status_code == 200
