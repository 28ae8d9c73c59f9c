"""Letters: the templates of this folder, each as text and as HTML, filled in.

A value is one line, whatever it was, and in HTML it is escaped: what somebody has called an item or
themself is neither markup nor a header nor another paragraph. To an address that nobody has proven to be
theirs no letter carries the account's own words, or anybody could have the shop send theirs to anybody;
that is held where the values come from (services/mails).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Template as Line
from typing import Any, Final, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from service.platform.config import Settings

TOKEN_MINUTES: Final = 15

Kind = Literal[
    "verify_email",
    "reset_password",
    "change_email",
    "password_changed",
    "password_reset",
    "email_changed",
    "api_key_created",
    "order_placed",
    "order_shipped",
    "order_cancelled",
]


@dataclass(frozen=True, slots=True)
class Letter:
    kind: Kind
    to: str
    subject: str
    text: str
    html: str
    #: What stands before the @ of the Message-ID.
    message_id: str


@dataclass(frozen=True, slots=True)
class Action:
    """What a token is for: a page of the storefront; where there is none, the call that it would make."""

    page: str
    call: str
    body: str = '{"token": "$token"}'


SUBJECTS: Final[Mapping[Kind, str]] = {
    "verify_email": "Confirm your e-mail address",
    "reset_password": "Reset your password",
    "change_email": "Confirm your new e-mail address",
    "password_changed": "Your password has been changed",
    "password_reset": "Your password has been reset",
    "email_changed": "The e-mail address of your account has been changed",
    "api_key_created": "A new API key",
    "order_placed": "We have your order $order_id",
    "order_shipped": "Your order $order_id is on its way",
    "order_cancelled": "Your order $order_id has been cancelled",
}
_VERIFYING: Final = Action("/verify-email", "/api/v1/auth/verify-email/confirm")
ACTIONS: Final[Mapping[Kind, Action]] = {
    "verify_email": _VERIFYING,
    "change_email": _VERIFYING,
    "reset_password": Action(
        "/reset-password",
        "/api/v1/auth/password-reset/confirm",
        '{"token": "$token", "new_password": "..."}',
    ),
}
#: What parts that a letter does not have leave between those that it has.
_GAPS: Final = re.compile(r"\n{3,}")


class Letters:
    """Writes the mails of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._shop = one_line(settings.seller.strip().partition("\n")[0]) or "the shop"
        self._public_url = settings.public_url
        self._environment = Environment(
            loader=PackageLoader("service.platform.mail"),
            autoescape=select_autoescape(["html"]),
            # A value that is missing is a fault, not a gap in somebody's letter.
            undefined=StrictUndefined,
            finalize=_finalized,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def write(self, kind: Kind, to: str, message_id: str, **values: Any) -> Letter:
        """The letter of this kind. `values` are what its templates name, beside the shop."""
        subject = Line(SUBJECTS[kind]).substitute(
            {name: one_line(str(each)) for name, each in values.items()}
        )
        known = {**values, "subject": subject, "shop": self._shop, "site": self._public_url}
        known |= self._action(kind, values)
        text, html = (
            self._environment.get_template(f"{kind}.{form}").render(known, minutes=TOKEN_MINUTES)
            for form in ("txt", "html")
        )
        return Letter(kind, to, subject, _GAPS.sub("\n\n", text.strip()) + "\n", html, message_id)

    def page(self, path: str) -> str | None:
        """That of the storefront's, where PUBLIC_URL says where that is."""
        return f"{self._public_url}{path}" if self._public_url else None

    def _action(self, kind: Kind, values: Mapping[str, Any]) -> dict[str, str | None]:
        action = ACTIONS.get(kind)
        if action is None:
            return {}
        token = values["token"]
        link = self.page(f"{action.page}?token={token}")
        return {
            "link": link,
            "call": f"POST {action.call}",
            "body": Line(action.body).substitute(token=token),
        }


def one_line(value: str) -> str:
    """Without line breaks, control characters, and those that turn around what follows them."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in value).split())


def _finalized(value: object) -> object:
    # What the templates have put together themselves is markup already.
    return value if hasattr(value, "__html__") else one_line(str(value))
