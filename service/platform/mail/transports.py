"""Transports of emails: to an SMTP server, into a file while developing, or nowhere.

What a server answers and what its library raises may quote the recipient's address, so neither is
logged or passed on: an `Undelivered` has the kind of fault and the server's code alone.
"""

import asyncio
import secrets
import socket
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.policy import default as plain
from email.utils import format_datetime, formataddr, parseaddr
from pathlib import Path
from typing import Final, Literal, Protocol
from urllib.parse import unquote, urlsplit

import aiosmtplib
import structlog
from email_validator import EmailNotValidError, validate_email

from service.platform.config import Settings
from service.platform.mail.rendering import Message
from service.platform.telemetry import upstream

log = structlog.get_logger(__name__)

#: Seconds for one answer of the server, and for a whole delivery.
ANSWER_SECONDS: Final = 10.0
DELIVERY_SECONDS: Final = 20.0
#: Of submission (RFC 6409), and of submission over TLS (RFC 8314).
SUBMISSION: Final = 587
SUBMISSIONS: Final = 465
#: Without its end (RFC 5322, section 2.1.1).
LONGEST_LINE: Final = 998
#: Of files, where MAIL_FROM is not set.
NO_SENDER: Final = "Tradepost <tradepost@development.example>"

#: Responses to the email. Others are responses to the client: to its connection or its password.
MESSAGE_FAULTS: Final = (
    aiosmtplib.SMTPSenderRefused,
    aiosmtplib.SMTPRecipientRefused,
    aiosmtplib.SMTPDataError,
)

Outcome = Literal["sent", "written", "not_configured"]


class Undelivered(Exception):
    """An email could not be delivered. `passing`: another attempt may succeed."""

    def __init__(self, reason: str, *, passing: bool) -> None:
        super().__init__(reason)
        self.passing = passing


class Transport(Protocol):
    async def deliver(self, message: Message) -> Outcome:
        """Raises Undelivered."""
        ...


def transport_for(settings: Settings) -> Transport:
    if settings.smtp_url is not None and settings.mail_from is not None:
        return Smtp(settings.smtp_url.get_secret_value(), settings.mail_from)
    if settings.environment == "production":
        return Nowhere()
    return Files(settings.data_dir / "mail", settings.mail_from or NO_SENDER)


class Smtp:
    """A connection for each email: there are few, and a kept one would be stale when it is needed.

    `smtps://` is TLS from the first byte. `smtp://` changes to TLS (STARTTLS) where the server offers
    it, and where the URL has a password refuses to go on without. Certificates are checked;
    SSL_CERT_FILE names other authorities.
    """

    def __init__(
        self, url: str, sender: str, *, answer: float = ANSWER_SECONDS, delivery: float = DELIVERY_SECONDS
    ) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._over_tls = parts.scheme == "smtps"
        self._port = parts.port or (SUBMISSIONS if self._over_tls else SUBMISSION)
        self._username = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._sender = sender
        self._answer, self._delivery = answer, delivery
        self._tls = ssl.create_default_context()

    async def deliver(self, message: Message) -> Outcome:
        mime = to_mime(message, self._sender)
        try:
            with upstream.call("smtp"):
                async with asyncio.timeout(self._delivery):
                    await self._send(mime)
        except (aiosmtplib.SMTPException, OSError) as fault:
            raise _undelivered(fault) from None
        return "sent"

    async def _send(self, mime: EmailMessage) -> None:
        start_tls = None if self._password is None else True
        await aiosmtplib.send(
            mime,
            hostname=self._host,
            port=self._port,
            username=self._username,
            password=self._password,
            use_tls=self._over_tls,
            start_tls=False if self._over_tls else start_tls,
            tls_context=self._tls,
            timeout=self._answer,
            # Otherwise it is looked up in the DNS, while the event loop waits.
            local_hostname=socket.gethostname(),
        )


class Files:
    """For development without a server: each email is a file that mail programs open."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder, self._sender = folder, sender

    async def deliver(self, message: Message) -> Outcome:
        mime = to_mime(message, self._sender)
        try:
            path = await asyncio.to_thread(self._write, mime.as_bytes(policy=plain.clone(utf8=True)))
        except OSError as fault:
            raise Undelivered(type(fault).__name__, passing=False) from None
        log.info("mail.written", kind=message.kind, path=str(path))
        return "written"

    def _write(self, content: bytes) -> Path:
        """For its owner alone: there are tokens in it. Under its name it is whole or not there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(8)}.eml"
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600, exist_ok=False)
        draft.write_bytes(content)
        return draft.rename(path)


class Nowhere:
    """Production without SMTP_URL: each email is logged as an error, and lost."""

    async def deliver(self, message: Message) -> Outcome:
        log.error("mail.not_configured", kind=message.kind, missing="SMTP_URL")
        return "not_configured"


def to_mime(message: Message, sender: str) -> EmailMessage:
    """The message as RFC 5322 has it. The policy refuses line breaks in headers, so nothing can add one.

    Raises:
        Undelivered: the recipient's address is none.
    """
    name, mailbox = parseaddr(sender)
    mime = EmailMessage(policy=SMTP)
    mime["From"] = formataddr((name, _on_the_wire(mailbox)))
    mime["To"] = _on_the_wire(message.to)
    mime["Subject"] = message.subject
    mime["Date"] = format_datetime(datetime.now(UTC))
    # The same for every attempt: who receives an email twice can know it by this.
    mime["Message-ID"] = f"<{message.message_id}@{_on_the_wire(mailbox).rpartition('@')[2]}>"
    # Keeps out-of-office programs from answering (RFC 3834).
    mime["Auto-Submitted"] = "auto-generated"
    mime.set_content(message.text, cte=_encoding(message.text))
    mime.add_alternative(message.html, subtype="html", cte=_encoding(message.html))
    return mime


def _encoding(text: str) -> str:
    """Left to itself, the library folds long lines: a link in a file could not be copied from it.

    Servers refuse lines longer than LONGEST_LINE.
    """
    plain_enough = text.isascii() and max(map(len, text.splitlines())) <= LONGEST_LINE
    return "7bit" if plain_enough else "quoted-printable"


def _on_the_wire(address: str) -> str:
    """The address with its domain in ASCII, as servers without SMTPUTF8 want it."""
    try:
        checked = validate_email(address, check_deliverability=False)
    except EmailNotValidError:
        raise Undelivered("not an address", passing=False) from None
    return checked.ascii_email or checked.normalized


def _undelivered(fault: aiosmtplib.SMTPException | OSError) -> Undelivered:
    """What is wrong with the email itself stays wrong; what is wrong with the server, or with our settings
    for it, an operator will put right, and the email waits for that.
    """
    if isinstance(fault, aiosmtplib.SMTPRecipientsRefused):
        fault = fault.recipients[0]
    kind = type(fault).__name__
    if isinstance(fault, aiosmtplib.SMTPResponseException):
        # RFC 5321, section 4.2.1: 4yz is transient, 5yz permanent.
        permanent = isinstance(fault, MESSAGE_FAULTS) and 500 <= fault.code < 600
        return Undelivered(f"{kind} {fault.code}", passing=not permanent)
    return Undelivered(kind, passing=True)
