"""A worker process for test_killed_workers: the one that ships, with a handler of the test's own.

`python -m tests.faults.killed_worker` runs until it is told to stop, or is killed. The kind `event` is
handed on as it always is; a delivery is not sent anywhere but written down, once for each, and takes
SECONDS. Mails go where SMTP_URL says.
"""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import uvloop
from sqlalchemy import text

from service.job_kinds import KINDS
from service.platform.config import load_settings
from service.platform.jobs.worker import Worker
from service.platform.mail.mailer import Mailer
from service.platform.telemetry import logging
from service.worker_container import EMAILS, Attempt, Kind, WorkerParts

LOST_AFTER: Final = timedelta(seconds=1.5)
#: Of a mail: shorter than that, as in the worker that ships.
LEASE: Final = timedelta(seconds=1.2)

_TRIED = text("INSERT INTO tried (delivery_id, attempt) VALUES (:delivery_id, :attempt)")
_EFFECT = text("""
    INSERT INTO effects (delivery_id, event_id)
    SELECT id, event_id FROM webhook_deliveries WHERE id = :delivery_id
    ON CONFLICT (delivery_id) DO NOTHING
""")


async def deliver(parts: WorkerParts, payload: Mapping[str, Any], attempt: Attempt) -> None:
    delivery = {"delivery_id": payload["delivery_id"]}
    async with parts.database.transaction() as session:
        await session.execute(_TRIED, {**delivery, "attempt": attempt.number})
    await asyncio.sleep(float(os.environ["SECONDS"]))
    async with parts.database.transaction() as session:
        await session.execute(_EFFECT, delivery)


async def poison(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    settings = load_settings()
    logging.configure(settings.log_level, settings.log_format)
    parts = WorkerParts.of(settings)
    parts = replace(parts, mailer=Mailer(settings, parts.database, EMAILS, lease=LEASE))
    kinds = {
        "mail": KINDS["mail"],
        "event": KINDS["event"],
        "webhook": Kind(deliver, at_once=16),
        "poison": Kind(poison),
    }
    worker = Worker(parts, kinds=kinds, periods={}, lost_after=LOST_AFTER, look_seconds=0.2)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
    try:
        await worker.run()
    finally:
        await parts.stop()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
