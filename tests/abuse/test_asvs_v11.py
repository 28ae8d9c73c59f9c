"""ASVS 5.0, V11: cryptography."""

import ast
import re

from argon2 import extract_parameters
from argon2.low_level import Type

from service.container.api import Container
from service.platform.mail import AddressCipher
from service.webhooks.signing import SecretCipher
from tests.abuse.source import ROOT, calls, files_that_import, imports
from tests.helpers.factories import PASSWORD


def labels() -> set[str]:
    """Of every key that is derived from SECRET_KEY."""
    derived = {
        ast.literal_eval(call.args[1])
        for _, name, call in calls()
        if name == "derive" and isinstance(call.args[1], ast.Constant)
    }
    return derived | {SecretCipher.label, AddressCipher.label}


def test_v11_1_2_the_page_lists_every_key() -> None:
    """The inventory has each derived key with its label, and no other."""
    page = (ROOT / "docs/security.md").read_text()
    table = page.partition("## Keys and algorithms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE)) == labels()


def test_v11_2_1_cryptography_is_that_of_known_libraries() -> None:
    """Few files, few primitives: HKDF and HMAC with SHA-256, AES-GCM, ES256, argon2id."""
    assert files_that_import("cryptography") == {"service/identity/tokens.py", "service/platform/crypto.py"}
    assert files_that_import("joserfc") == {"service/identity/tokens.py"}
    assert files_that_import("argon2") == {"service/identity/password_hashing.py"}
    assert files_that_import("Crypto", "nacl", "jwt", "passlib", "bcrypt", "crypt", "OpenSSL") == set()
    hashed = {name.partition("(")[0] for _, name, _ in calls() if name.startswith("hashlib.")}
    assert hashed == {"hashlib.sha256"}
    macs = {ast.unparse(call.args[2]) for _, name, call in calls() if name == "hmac.digest"}
    assert macs == {"'sha256'"}
    parts = {name for place, name in imports() if name.startswith("cryptography.")}
    assert parts == {
        "cryptography.exceptions",
        "cryptography.hazmat.primitives",
        "cryptography.hazmat.primitives.asymmetric",
        "cryptography.hazmat.primitives.ciphers.aead",
        "cryptography.hazmat.primitives.kdf.hkdf",
    }


async def test_v11_4_2_passwords_are_hashed_as_owasp_recommends(container: Container) -> None:
    """argon2id with 19 MiB, two passes and a salt of 128 bits, a new one each time."""
    first, second = [await container.passwords.hash(PASSWORD) for _ in range(2)]
    parameters = extract_parameters(first)
    assert (parameters.type, parameters.memory_cost, parameters.time_cost) == (Type.ID, 19_456, 2)
    assert (parameters.salt_len, parameters.hash_len) == (16, 32)
    assert first != second


def test_v11_5_1_what_must_not_be_guessed_is_from_secrets() -> None:
    """`random` spreads pauses and numbers traces, which are no secrets; nothing else uses it."""
    assert {(place, name) for place, name, _ in calls() if name.startswith("random.")} == {
        ("service/platform/database/change_feed.py", "random.uniform"),
        ("service/platform/http/route.py", "random.uniform"),
        ("service/platform/http/sse.py", "random.randint"),
        ("service/platform/jobs/worker.py", "random.uniform"),
        ("service/platform/telemetry/tracing.py", "random.getrandbits"),
        ("service/webhooks/deliveries/retries.py", "random.uniform"),
    }
    # It names a worker in the table of jobs.
    assert files_that_import("uuid") == {"service/platform/jobs/claims.py"}
