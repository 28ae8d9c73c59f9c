"""What the mails say. Each is written twice from one text: plain, and as HTML with every value escaped.

No mail carries a person's name or other words of a customer's, for anybody may register anybody's
address: such a mail would be a stranger's advertisement under the shop's name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Final, Literal

from service.config import Settings

TOKEN_MINUTES: Final = 15

Kind = Literal[
    "verify_email",
    "reset_password",
    "change_email",
    "password_changed",
    "password_reset",
    "email_changed",
    "api_key_created",
]


@dataclass(frozen=True, slots=True)
class Letter:
    kind: Kind
    to: str
    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Draft:
    """Paragraphs with `$names` to be filled in. A paragraph `$action` is what its token is for.

    `page` is the storefront's page for the token; `call` is the API's route, and `body` what it takes.
    """

    subject: str
    paragraphs: tuple[str, ...]
    page: str = ""
    call: str = ""
    body: str = '{"token": "$token"}'


_GOOD_ONCE: Final = f"This is good once, for {TOKEN_MINUTES} minutes."
_NOT_YOU: Final = (
    "If this was not you, reset your password now and tell us: somebody else may have got into your account."
)
DRAFTS: Final[Mapping[Kind, Draft]] = {
    "verify_email": Draft(
        "Confirm your e-mail address",
        (
            "Please confirm that this is the e-mail address of your account at $shop.",
            "$action",
            _GOOD_ONCE,
            "If you have no account at $shop, somebody has mistyped an address: you need not do anything.",
        ),
        page="/verify-email",
        call="/api/v1/auth/verify-email/confirm",
    ),
    "reset_password": Draft(
        "Reset your password",
        (
            "Somebody, probably you, asked to reset the password of your account at $shop.",
            "$action",
            f"{_GOOD_ONCE} A new password signs you out everywhere.",
            "If this was not you, you need not do anything: your password stays as it is.",
        ),
        page="/reset-password",
        call="/api/v1/auth/password-reset/confirm",
        body='{"token": "$token", "new_password": "..."}',
    ),
    "change_email": Draft(
        "Confirm your new e-mail address",
        (
            "Somebody, probably you, wants this to be the e-mail address of an account at $shop.",
            "$action",
            f"{_GOOD_ONCE} Until then the account keeps its old address.",
            "If this was not you, you need not do anything.",
        ),
        page="/verify-email",
        call="/api/v1/auth/verify-email/confirm",
    ),
    "password_changed": Draft(
        "Your password has been changed",
        (
            "The password of your account at $shop has been changed. Other devices have been signed out.",
            _NOT_YOU,
        ),
    ),
    "password_reset": Draft(
        "Your password has been reset",
        (
            "The password of your account at $shop has been reset. All devices have been signed out.",
            _NOT_YOU,
        ),
    ),
    "email_changed": Draft(
        "The e-mail address of your account has been changed",
        (
            "The account at $shop that had this e-mail address has another one now.",
            "If this was not you, tell us at once: mails of the account no longer come here.",
        ),
    ),
    "api_key_created": Draft(
        "A new API key",
        (
            'A new API key for $shop, "$name" ($hint...), has been made with your account.',
            "If this was not you, revoke it, change your password and tell the other administrators.",
        ),
    ),
}


class Letters:
    """Writes the mails of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._shop = _line(settings.seller.strip().partition("\n")[0]) or "the shop"
        self._public_url = settings.public_url

    def write(self, kind: Kind, to: str, **values: str) -> Letter:
        """The letter of this kind. `values` are what its draft names, beside `shop`."""
        draft = DRAFTS[kind]
        facts = {"shop": self._shop, **{name: _line(value) for name, value in values.items()}}
        escaped = {name: escape(value) for name, value in facts.items()}
        text, html = [], []
        for paragraph in draft.paragraphs:
            if paragraph == "$action":
                as_text, as_html = self._action(draft, facts["token"])
                text.append(as_text)
                html.append(as_html)
            else:
                text.append(Template(paragraph).substitute(facts))
                html.append(f"<p>{Template(escape(paragraph, quote=False)).substitute(escaped)}</p>")
        return Letter(kind, to, draft.subject, "\n\n".join(text) + "\n", _page(draft.subject, html))

    def _action(self, draft: Draft, token: str) -> tuple[str, str]:
        """The storefront's page; where no PUBLIC_URL says where that is, the call to make."""
        if self._public_url is not None:
            link = f"{self._public_url}{draft.page}?token={token}"
            shown = escape(link)
            return link, f'<p><a href="{shown}">{shown}</a></p>'
        call = f"POST {draft.call}\n{Template(draft.body).substitute(token=token)}"
        return call, f"<pre>{escape(call, quote=False)}</pre>"


def _line(value: str) -> str:
    """In one line, whatever it was."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())


def _page(title: str, paragraphs: list[str]) -> str:
    head = f'<head><meta charset="utf-8"><title>{escape(title)}</title></head>'
    body = "\n".join(paragraphs)
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>\n{body}\n</body></html>\n'
