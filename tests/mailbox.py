"""What the service has mailed, read from the files that it writes where there is no SMTP server."""

import email
import re
from email.message import EmailMessage
from email.policy import default

from service.dependencies.parts import Parts

TOKEN = re.compile(r'(?:"token": "|\?token=)([\w-]{43})\b')


async def mails_to(parts: Parts, address: str) -> list[EmailMessage]:
    """Every mail to this address, oldest first, once none is under way."""
    await parts.mail.idle()
    folder = parts.settings.data_dir / "mail"
    files = sorted(folder.glob("*.eml"), key=lambda file: file.stat().st_mtime_ns)
    found = [email.message_from_bytes(file.read_bytes(), policy=default) for file in files]
    return [mail for mail in found if mail["To"] == address]


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def token_of(mail: EmailMessage) -> str:
    (token,) = TOKEN.findall(text_of(mail))
    return str(token)


async def mailed_token(parts: Parts, address: str) -> str:
    """That of the last mail to this address."""
    return token_of((await mails_to(parts, address))[-1])
