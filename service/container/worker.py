"""The components of `tradepost worker`: the kinds of jobs and their handlers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self

from service import audit, notifications
from service.accounts import emails as account_emails
from service.accounts import purge_mail_tokens, purge_sessions
from service.events import repository as events
from service.events.fan_out import Consumer, FanOut
from service.orders import emails as order_emails
from service.orders import expiry
from service.platform.config import Settings, direct_setting
from service.platform.database import Database
from service.platform.http.idempotency import repository as idempotency
from service.platform.jobs import metrics as job_metrics
from service.platform.jobs import queue
from service.platform.jobs.clean_up import Step, clean_up, in_batches
from service.platform.jobs.kinds import JobKind
from service.platform.jobs.worker import Worker
from service.platform.mail import repository as mail_repository
from service.platform.mail.mailer import Mailer
from service.platform.server.health.health_metrics import ProcessMonitor
from service.platform.server.health.probes import Probes
from service.platform.server.health.startup import Listener, Startup, StartupRecord
from service.verification import job as invariants
from service.webhooks import metrics as webhook_metrics
from service.webhooks.deliveries import service as deliveries
from service.webhooks.deliveries.service import Deliveries

#: Expired sessions and email tokens are kept for so long, to answer requests that still use them.
TOKENS_KEPT: Final = timedelta(days=1)
CONSUMERS: Final[tuple[Consumer, ...]] = (order_emails.enqueue_for_event, deliveries.fan_out)
#: The emails of each domain.
EMAILS: Final = (account_emails.EMAILS, order_emails.EMAILS)


@dataclass(frozen=True)
class WorkerContainer:
    database: Database
    deliveries: Deliveries
    kinds: Mapping[str, JobKind]
    worker: Worker
    startup: Startup
    probes: Probes
    monitor: ProcessMonitor

    @classmethod
    def build(cls, settings: Settings) -> Self:
        """The container for these settings, which name a database. Nothing is connected yet."""
        address = settings.database_direct_url or settings.database_url
        assert address is not None  # noqa: S101 - the command sees to it
        # The address that bypasses a pooler, which would not keep a connection for LISTEN.
        url = address.get_secret_value()
        # As many connections as a process of the API may have, but all kept open: under load, overflow
        # connections would be opened and closed for every job.
        most = settings.database_pool_size + settings.database_max_overflow
        kept = {"database_pool_size": most, "database_max_overflow": 0}
        database = Database(url, settings.model_copy(update=kept))
        deliveries = Deliveries.of(settings, database)
        kinds = job_kinds(settings, database, url, deliveries)
        worker = Worker(database, url, kinds, graceful_timeout=settings.graceful_timeout)
        setting = direct_setting(settings)
        listener = Listener(setting, lambda: worker.listening, lambda: worker.cause)
        startup = Startup("worker.held_up", database.revision, setting, listener, StartupRecord())
        return cls(
            database=database,
            deliveries=deliveries,
            kinds=kinds,
            worker=worker,
            startup=startup,
            probes=Probes(database, settings, startup),
            monitor=ProcessMonitor(database),
        )

    async def start(self) -> None:
        job_metrics.begin(self.kinds)
        webhook_metrics.begin()
        invariants.begin()
        await self.monitor.start()
        await self.startup.start()

    async def stop(self) -> None:
        await self.monitor.stop()
        await self.probes.aclose()
        await self.startup.stop()
        await self.deliveries.aclose()
        await self.database.close()


def job_kinds(
    settings: Settings, database: Database, url: str, deliveries: Deliveries
) -> Mapping[str, JobKind]:
    """Every kind of job, the most urgent first. Add new kinds here.

    A person waits for an email, a machine for a webhook, neither for the clean-up.
    """
    minute, hour = timedelta(minutes=1), timedelta(hours=1)
    steps = clean_up_steps(settings)
    return {
        # Enough attempts for a mail server that is down for a day; more connections at once may be refused.
        "mail": JobKind(Mailer(settings, database, EMAILS).run, at_once=10, attempts=40),
        "event": JobKind(FanOut(database, CONSUMERS).run, at_once=8),
        # Many: they wait for receivers, and hold no database connection meanwhile.
        "webhook": JobKind(deliveries.run, at_once=200),
        "tend_deliveries": JobKind(lambda _: deliveries.maintain(), at_once=1, attempts=3, every=minute),
        "cancel_unpaid": JobKind(
            lambda _: expiry.cancel_unpaid(database, settings.payment_window),
            at_once=1,
            attempts=3,
            seconds=600,
            every=minute,
        ),
        "clean_up": JobKind(
            lambda _: clean_up(database, steps), at_once=1, attempts=3, seconds=600, every=hour
        ),
        "verify": JobKind(
            lambda _: invariants.verify(url, settings),
            at_once=1,
            attempts=2,
            seconds=invariants.JOB_SECONDS,
            every=hour,
        ),
    }


def clean_up_steps(settings: Settings) -> Mapping[str, Step]:
    """The clean-up of each table whose rows expire. Add new tables here."""
    kept = settings.retention_events
    return {
        "sessions": in_batches(purge_sessions, TOKENS_KEPT),
        "mail_tokens": in_batches(purge_mail_tokens, TOKENS_KEPT),
        "idempotency_keys": in_batches(idempotency.purge, settings.retention_keys),
        "stream_tickets": in_batches(notifications.purge_stream_tickets, timedelta(0)),
        "events": in_batches(events.purge, kept),
        "mails": in_batches(mail_repository.purge, kept),
        "records_of_jobs": in_batches(queue.purge, kept),
        "audit_addresses": lambda database: audit.keep_addresses(database, settings.retention_audit),
    }
