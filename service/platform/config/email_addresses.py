"""E-mail addresses: one spelling for each mailbox, wherever an address comes in.

The domain is in Unicode and small letters (IDNA), the part before the @ in NFC, and there are no spaces
around. Case is kept as its owner wrote it: the database compares without it.
"""

import re
import unicodedata
from contextlib import suppress

from pydantic import validate_email
from pydantic_core import PydanticCustomError


def normalised(text: str) -> str:
    """Raises ValueError for what is no address, or is too long to be looked at (over 2,048 characters).

    A name before the address, as in a header of an email, is refused: the library would leave it out.
    """
    if "<" in text:
        raise PydanticCustomError("value_error", "value is not a valid email address: it has a name")
    return validate_email(text)[1]


def spellings(text: str) -> tuple[str, ...]:
    """How an account with this address may be stored: as it came, normalised, with its domain in ASCII.

    Every address is normalised before it is stored; another version of the rules may have done so. What is
    no address is the only spelling of itself.
    """
    plain = text.replace("\0", "").strip()
    with suppress(ValueError):
        address = normalised(plain)
        name, _, domain = address.rpartition("@")
        # IDNA is done: what is left is the encoding of each label.
        in_ascii = ".".join(map(_encoded, domain.split(".")))
        return tuple(dict.fromkeys((plain, address, f"{name}@{in_ascii}")))
    return (plain,)


def known_as(text: str) -> str:
    """What counts and limits go by: normalised, or as it came where it is no address."""
    with suppress(ValueError):
        return normalised(text.replace("\0", ""))
    return text.replace("\0", "").strip()


def readable(text: str) -> str:
    """A part of an address, or of a name, as it is stored: in NFC, with the labels of a domain in Unicode."""
    return unicodedata.normalize("NFC", re.sub(r"\bxn--([a-z0-9-]+)", _label, text, flags=re.IGNORECASE))


def _encoded(label: str) -> str:
    return label if label.isascii() else f"xn--{label.encode('punycode').decode()}"


def _label(match: re.Match[str]) -> str:
    try:
        return match[1].lower().encode().decode("punycode")
    except UnicodeError:
        return match[0]
