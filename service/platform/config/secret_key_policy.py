"""Which secret keys are refused, because an attacker could guess or look them up.

The public half of the signing key is published, so that anyone can test guesses at the secret at leisure.
"""

import base64
import binascii
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import Final
from urllib.parse import unquote

from pydantic import SecretStr

MIN_BYTES: Final = 32
ADVICE: Final = "make one with `tradepost generate-key`"
#: Found in keys that people type, copy from tutorials or forget to replace; a random key holds one
#: of them with a probability of about one in ten million.
_WELL_KNOWN: Final = re.compile(
    "change-?me|change-?this|secret|passwor|insecure|example|placeholder|replace|default|generate|tradepost|"
    "northwind|qwerty|qazwsx|asdfgh|zxcvbn|1q2w3e|letmein|correct.?horse|"
    "09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    re.IGNORECASE,
)
#: Every key of this repository, and every text in it that could be taken for one: examples of tokens, ids
#: of traces. A test finds them by reading the repository; production refuses them, also in parts.
PUBLISHED: Final = (
    "6vcE62zJfTa6fD0WE9cuB0js2FqhOq9r3RPgqzUK0Hx_6K-tHj8i0_9l0bVvztlV",
    "Kt0GgeWd0M7FNUOEFw6EHtycYFa50jYcLZFLPsA5WL21m78pmQMBZcA2QtNMqHWI",
    "IYHjtQRrVfAbneZvlqRt-8OChM6fXsinzix7G2iIWx3h7Ao3TyEZdWtSswa9U8PX",
    "tQ4vJr1Z-mXo7Lw9_uBnE2yHs6KdPf3c",
    "Zr8kWq2N_vYt5Jb1-xGmC7uLs4HdQf9e",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "OidIYgLPvpg6dGVxCa+8aLMGWoGdFOIiAHpS1xHSFaY=",
    "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    "wq5hRvJ1cFZzqC9rOj2mHqzVn0mQm2eYcXW1m0u8sLk",
    "kG2l9q0Vd3mYt7Wc5xR8sB1nZ4pJ6hF0aEuTiLoXyQw",
    "dVnwk5dYX8uN4zDRXqJZ9sSBLUpZkWqHhLkZ2fO6xUc",
    "L79lAGAi1iXB8al0XYxaDl13ivezJw9yY0ybbzAvpFY",
    "-XBXm3sFy4RZhRfSCinuUrrFI5tuMXM9uDfnz59G6oQ",
    "bd2d17c9f5214d84be140b80d6116333",
    "2d4b521cbf10476da41c7a4c304e44a1",
    "0af7651916cd43dd8448eb211c80319c",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "8f14e45fceea167a5a36dedd4bea2543",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
)
#: So much of a published key in a row, letters and digits alone, is no accident.
_PIECE: Final = 14
#: A period or a step of a sequence is looked for up to this distance.
_FARTHEST: Final = 16
#: What is left of a key when repetitions are packed; 32 random hexadecimal digits have 30 and more.
_LEAST_PACKED: Final = 26


def strong_key(key: SecretStr) -> SecretStr:
    """Raises ValueError for a key that can be guessed, as it is or decoded."""
    value = key.get_secret_value()
    if len(value.encode()) < MIN_BYTES:
        raise ValueError(f"is shorter than {MIN_BYTES} bytes; {ADVICE}")
    packed = len(zlib.compress(value.encode(), 9)) - 8
    if packed < _LEAST_PACKED or any(map(_is_guessable, forms(value))):
        raise ValueError(f"is well known or easily guessed; {ADVICE}")
    return key


def is_published(key: SecretStr) -> bool:
    """Whether it holds a piece of a text of this repository: as it is, encoded, or backwards, in any case."""
    return any(
        not _pieces(each).isdisjoint(_published_pieces())
        for form in forms(key.get_secret_value())
        for each in (form, form[::-1])
    )


def forms(value: str) -> Iterator[str]:
    """The value, and what it says when it is decoded, up to three times."""
    found = [value]
    for _ in range(3):
        yield from found
        found = [decoded for text in found for decoded in _decoded(text)]


def _decoded(value: str) -> Iterator[str]:
    text = "".join(value.split())
    if (plain := unquote(text)) != value:
        yield plain
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    for decode, given in (
        (bytes.fromhex, text),
        (base64.b64decode, padded),
        (base64.urlsafe_b64decode, padded),
        (base64.b32decode, text.upper()),
    ):
        try:
            decoded = decode(given).decode("ascii")
        except (ValueError, binascii.Error):
            continue
        # Random bytes are no text, but for what has few of them.
        if len(decoded) >= _PIECE and decoded.isprintable():
            yield decoded


def _is_guessable(text: str) -> bool:
    return len(set(text)) < 10 or bool(_WELL_KNOWN.search(text)) or _is_regular(text)


def _is_regular(text: str) -> bool:
    """Whether most characters follow from those before: a repetition, a sequence, or several interleaved."""
    for distance in range(1, min(len(text) // 2, _FARTHEST) + 1):
        steps = [ord(text[place + distance]) - ord(text[place]) for place in range(len(text) - distance)]
        [(_, most)] = Counter(steps).most_common(1)
        if most > len(steps) // 2:
            return True
    return any(text[size:] == text[:-size] for size in range(1, min(len(text) // 2, 64) + 1))


def _pieces(text: str) -> frozenset[str]:
    plain = re.sub("[^a-z0-9]", "", text.casefold())
    return frozenset(plain[start : start + _PIECE] for start in range(len(plain) - _PIECE + 1))


@cache
def _published_pieces() -> frozenset[str]:
    return frozenset().union(*map(_pieces, PUBLISHED))
