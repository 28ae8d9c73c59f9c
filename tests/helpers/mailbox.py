"""The emails of the service, read from the files that it writes where there is no SMTP server.

A worker's jobs are done here and now, in this process, by the worker's own code: no test waits for one.
"""

import asyncio
import email
import re
from datetime import timedelta
from email.message import EmailMessage
from email.policy import default
from typing import Any

from service.container.api import Container
from service.container.worker import CONSUMERS, EMAILS
from service.events.fan_out import FanOut
from service.platform.jobs.kinds import JobKind
from service.platform.jobs.worker import Worker
from service.platform.mail.mailer import Mailer
from service.platform.mail.transports import Transport

TOKEN = re.compile(r'(?:"token": "|\?token=)([\w-]{43})\b')
NEVER_LOST = timedelta(days=1)


async def send_mails(container: Container, transport: Transport | None = None, **settings: Any) -> None:
    """Do the jobs that are due until there are none. What is to be retried later waits."""
    ours = container.settings.model_copy(update=settings)
    mailer = Mailer(ours, container.database, EMAILS, transport=transport)
    kinds = {
        "event": JobKind(FanOut(container.database, CONSUMERS).run),
        "mail": JobKind(mailer.run, attempts=40),
    }
    worker = Worker(container.database, "", kinds, graceful_timeout=1, lease=NEVER_LOST)
    while jobs := await worker._claims.claim(dict.fromkeys(kinds, 10), 20):
        await asyncio.gather(*map(worker._start, jobs))
        if worker._claims._done:
            await worker._claims.record_finished()


async def mails_to(container: Container, address: str) -> list[EmailMessage]:
    """Every mail to this address, oldest first, once all that are due have been sent."""
    await send_mails(container)
    folder = container.settings.data_dir / "mail"
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


async def mailed_token(container: Container, address: str) -> str:
    """That of the last mail to this address that has one."""
    return [token_of(mail) for mail in await mails_to(container, address) if TOKEN.search(text_of(mail))][-1]
