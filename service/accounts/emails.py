"""Emails about accounts: to whom they go, whether there is still cause for them, and what they say.

A worker decides that, after the request was answered: neither the answer to a password reset nor its time
depends on whether there is an account.
"""

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from service.accounts.recovery import repository as tokens
from service.accounts.recovery.service import account_state
from service.errors import Unavailable
from service.platform.crypto import fingerprint, same
from service.platform.database import Record, Session
from service.platform.mail import repository as mails
from service.platform.mail.mailer import Composer, Draft, Emails, Withheld

TOKEN_LIFETIME: Final = timedelta(minutes=15)
#: One email with a token goes so often to one mailbox for one account, whichever client requests it: as
#: long as a token is good, so that there always is a good one, or another can be requested.
INTERVAL: Final = TOKEN_LIFETIME
#: A change of address costs an account nothing, and its email goes to any address named: so many a day.
MAX_CHANGES: Final = 8
DAY: Final = timedelta(days=1)
#: After that the user no longer waits for an email with a token: they have requested another.
MAX_AGE: Final = timedelta(hours=1)

_VERIFY: Final = {
    "page": "/verify-email",
    "call": "POST /api/v1/auth/verify-email/confirm",
    "body": '{"token": "%s"}',
}
_RESET: Final = {
    "page": "/reset-password",
    "call": "POST /api/v1/auth/password-reset/confirm",
    "body": '{"token": "%s", "new_password": "..."}',
}
#: What a token is for: a page of the storefront; without PUBLIC_URL, the call that the page would make.
ACTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "verify_email": _VERIFY,
    "change_email": _VERIFY,
    "reset_password": _RESET,
}


def token_values(kind: str, token: str) -> dict[str, Any]:
    """What the templates of this kind say of its token."""
    action = ACTIONS[kind]
    minutes = int(TOKEN_LIFETIME.total_seconds() // 60)
    return {**action, "body": action["body"] % token, "token": token, "minutes": minutes}


async def _notice(session: Session, mail: Record, address: str | None) -> Draft | Withheld:
    account = await tokens.get_account(session, mail.user_id)
    if account is None or account.erased:
        return _no_account(account)
    return Draft(account.id, address or account.email, mail.facts)


async def _with_token(session: Session, mail: Record, address: str | None) -> Draft | Withheld:
    """The account is locked until the transaction ends, for its state is part of the token."""
    resets = mail.kind == "reset_password"
    account = await (
        tokens.get_account_by_email(session, str(address), lock=True)
        if resets
        else tokens.get_account(session, mail.user_id, lock=True)
    )
    if account is None or not account.is_active:
        return _no_account(account)
    if outdated := _outdated(mail, account):
        return Withheld(outdated, account.id)
    # As it is stored: another spelling may be another person's mailbox.
    to = account.email if resets or address is None else address
    if await _too_many(session, mail, account, to):
        return Withheld("too many lately", account.id)
    token = secrets.token_urlsafe(32)
    await tokens.add_token(
        session,
        hash=fingerprint(token),
        user_id=account.id,
        purpose=mail.kind,
        email=to,
        account_state=account_state(account, mail.kind),
        mail_id=mail.id,
        lifetime=TOKEN_LIFETIME,
    )
    return Draft(account.id, to, token_values(mail.kind, token))


def _no_account(account: Record | None) -> Withheld:
    return Withheld("no such account", account.id if account is not None else None)


async def _too_many(session: Session, mail: Record, account: Record, to: str) -> bool:
    """Whether the account has had this email lately; its row is locked.

    Raises Unavailable while another is being sent: this one is needed if that one fails.
    """
    recent = await tokens.get_recent_mail(
        session, user_id=account.id, purpose=mail.kind, email=to, window=INTERVAL, but=mail.id
    )
    if recent == "sending":
        raise Unavailable("Another email of this kind is being sent.")
    if recent == "sent" or mail.kind != "change_email":
        return recent is not None
    return await mails.count(session, account.id, {mail.kind}, DAY, but=mail.id) >= MAX_CHANGES


def _outdated(mail: Record, account: Record) -> str | None:
    """Why an email that had cause when it was queued has none any more."""
    if mail.age > MAX_AGE.total_seconds():
        return "too late"
    if mail.kind == "verify_email" and account.email_verified:
        return "verified already"
    if mail.kind == "change_email":
        queued_for = bytes.fromhex(mail.facts["account_state"])
        if not same(queued_for, account_state(account, mail.kind)):
            return "the account has changed"
    return None


_NOTICES: Final = ("password_changed", "password_reset", "email_changed", "api_key_created")
_COMPOSERS: Final[dict[str, Composer]] = {
    **dict.fromkeys(ACTIONS, _with_token),
    **dict.fromkeys(_NOTICES, _notice),
}
EMAILS: Final = Emails("service.accounts", _COMPOSERS)
