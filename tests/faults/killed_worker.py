"""A worker process for test_killed_workers: the one that ships, with a handler of the test's own.

`python -m tests.faults.killed_worker` runs until it is asked to stop, or is killed. The kind `event` is
handed on as it always is; a delivery is not sent anywhere but written down, once for each, and takes
SECONDS. Mails go where SMTP_URL says.
"""

import asyncio
import os
import signal
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

import uvloop
from sqlalchemy import text

from service.container.worker import EMAILS, WorkerContainer
from service.platform.config import load_settings
from service.platform.database import Database
from service.platform.jobs.kinds import Attempt, JobKind
from service.platform.jobs.worker import Worker
from service.platform.mail.mailer import Mailer
from service.platform.telemetry import logging

LEASE: Final = timedelta(seconds=1.5)
#: Of a mail: shorter than that, as in the worker that ships.
EMAIL_LEASE: Final = timedelta(seconds=1.2)

_TRIED = text("INSERT INTO tried (delivery_id, attempt) VALUES (:delivery_id, :attempt)")
_EFFECT = text("""
    INSERT INTO effects (delivery_id, event_id)
    SELECT id, event_id FROM webhook_deliveries WHERE id = :delivery_id
    ON CONFLICT (delivery_id) DO NOTHING
""")


async def deliver(database: Database, attempt: Attempt) -> None:
    delivery = {"delivery_id": attempt.payload["delivery_id"]}
    async with database.transaction() as session:
        await session.execute(_TRIED, {**delivery, "attempt": attempt.number})
    await asyncio.sleep(float(os.environ["SECONDS"]))
    async with database.transaction() as session:
        await session.execute(_EFFECT, delivery)


async def poison(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    settings = load_settings()
    logging.configure(settings.log_level, settings.log_format)
    container, url = WorkerContainer.build(settings), settings.database_url
    assert url is not None
    database = container.database
    mailer = Mailer(settings, database, EMAILS, lease=EMAIL_LEASE)
    kinds = {
        "mail": replace(container.kinds["mail"], handler=mailer.run),
        "event": container.kinds["event"],
        "webhook": JobKind(partial(deliver, database), at_once=16),
        "poison": JobKind(poison),
    }
    worker = Worker(
        database,
        url.get_secret_value(),
        kinds,
        graceful_timeout=settings.graceful_timeout,
        lease=LEASE,
        poll_seconds=0.2,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    try:
        await worker.run()
    finally:
        await container.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
