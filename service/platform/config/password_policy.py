"""The rules that a new password is held to, in the API, in ADMIN_PASSWORD and at `create-admin` alike."""

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from service.platform.config.secret_key_policy import forms

MIN_LENGTH: Final = 8
MAX_LENGTH: Final = 128
#: What is longer can be no password, in whatever form, and is not normalised: that takes time which grows
#: with the square of a run of combining characters.
LONGEST_INPUT: Final = 8 * MAX_LENGTH
#: Those of this repository: its sample, its examples, its development environment and its tests.
PUBLISHED: Final = frozenset(
    (
        "northwind1", "southwind2", "correct-horse-1", "correct horse 1", "battery-staple-2", "battery-2-x",
        "another-word-2", "something-else-3", "wrong-horse-1", "wrong-1-horse", "canary-pass-9x1",
        "at-least-8-with-a-1",
    )
)  # fmt: skip


def normalised(password: str) -> str:
    """NFC, by which a password is set and compared (NIST SP 800-63B, 3.1.1.2).

    Keyboards differ in how they write the same character: `é` is one code point or two.
    """
    return unicodedata.normalize("NFC", password) if len(password) <= LONGEST_INPUT else password


@cache
def common_passwords() -> frozenset[str]:
    """Those of the 10,000 most common passwords that the other rules would let through."""
    text = files("service.platform.config").joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


class Rule(NamedTuple):
    """One that is broken: the word that the API has for it, and what it demands."""

    code: str
    demand: str


def fault(password: str) -> Rule | None:
    """The first rule that a normalised password breaks; None for a good one."""
    if len(password) < MIN_LENGTH:
        return Rule("password_too_short", f"Password must be at least {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        return Rule("password_too_long", f"Password must be at most {MAX_LENGTH} characters")
    if not re.search("[0-9]", password):
        return Rule("password_without_digit", "Password must contain at least one digit")
    if password.lower() in common_passwords():
        return Rule("password_too_common", "Password is one of the most common ones; choose another")
    if "\0" in password:
        return Rule("forbidden_characters", "Password must not contain NUL characters")
    return None


def is_published(password: str) -> bool:
    """Whether it is in this repository, in any case or in base64: then it is public."""
    return any(normalised(form).casefold() in PUBLISHED for form in forms(password))
