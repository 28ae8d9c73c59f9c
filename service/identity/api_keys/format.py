"""How an API key is written."""

import secrets
import zlib
from typing import Final

PREFIX: Final = "tp_"
RANDOM_DIGITS: Final = 43  # 62 ** 43 is just above 2 ** 256
CHECK_DIGITS: Final = 6  # as many as a CRC-32 needs
LENGTH: Final = len(PREFIX) + RANDOM_DIGITS + CHECK_DIGITS
BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _base62(number: int, width: int) -> str:
    digits = ""
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return digits


def _checked(text: str) -> str:
    return text + _base62(zlib.crc32(text.encode()), CHECK_DIGITS)


def new_key() -> str:
    """The prefix, 256 random bits and a checksum, in letters and digits.

    By prefix and checksum a scanner of repositories knows a key for what it is.
    """
    return _checked(PREFIX + _base62(secrets.randbits(256), RANDOM_DIGITS))


def can_be_key(text: str) -> bool:
    """Whether the text has the form of a key. A typing error or a cut line costs no query."""
    return len(text) == LENGTH and text.isascii() and text == _checked(text[:-CHECK_DIGITS])
