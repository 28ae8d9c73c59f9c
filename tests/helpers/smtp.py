"""A real SMTP server on loopback for tests, with or without TLS."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Tls = Literal["none", "starttls", "implicit"]


@dataclass
class Inbox:
    """What the server has taken. `answers` are given to RCPT TO one after the other, then it says 250;
    `data_answers` to DATA, whose content is kept only where that is the 250.
    """

    answers: list[str] = field(default_factory=list)
    data_answers: list[str] = field(default_factory=list)
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    recipients_offered: int = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.recipients_offered += 1
        answer = self.answers.pop(0) if self.answers else "250 OK"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        if self.data_answers:
            return self.data_answers.pop(0)
        self.mails.append(BytesParser(policy=default).parsebytes(envelope.content))
        self.recipients.append(envelope.rcpt_tos)
        transport = server.transport
        self.encrypted.append(transport is not None and transport.get_extra_info("ssl_object") is not None)
        return "250 OK"

    def login(self, server: SMTP, session: Session, envelope: Envelope, kind: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        good = data.password == b"pass word"
        return AuthResult(success=good, handled=good)


@dataclass(frozen=True)
class Certificate:
    """Self-signed, for 127.0.0.1."""

    file: Path
    context: ssl.SSLContext


def certificate(folder: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.shop.example")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    public = key.public_key()
    made = (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file, chain = folder / "authority.pem", folder / "server.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    chain.write_bytes(private + file.read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return Certificate(file, context)


@asynccontextmanager
async def serving(
    inbox: Inbox, tls: Tls = "none", context: ssl.SSLContext | None = None, *, asks_who: bool = False
) -> AsyncIterator[int]:
    """Answers with the port."""
    loop = asyncio.get_running_loop()

    def connected() -> SMTP:
        return SMTP(
            inbox,
            hostname="mail.shop.example",
            tls_context=context if tls == "starttls" else None,
            authenticator=inbox.login if asks_who else None,
            # The server does not know of TLS that was there before it.
            auth_require_tls=tls == "starttls",
            loop=loop,
        )

    server = await loop.create_server(connected, "127.0.0.1", 0, ssl=context if tls == "implicit" else None)
    async with server:
        yield server.sockets[0].getsockname()[1]
