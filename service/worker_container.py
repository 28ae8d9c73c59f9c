"""What handlers of jobs are given."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from service.accounts import emails as account_emails
from service.orders import emails as order_emails
from service.platform.config import Settings
from service.platform.database import Database
from service.platform.mail.mailer import Mailer
from service.webhooks.deliveries.service import Deliveries

#: What domains send by email.
EMAILS: Final = (account_emails.EMAILS, order_emails.EMAILS)


@dataclass(frozen=True)
class WorkerParts:
    """What a worker process is made of, put together once."""

    settings: Settings
    database: Database
    #: Past a pooler, which would not keep a connection that listens. A worker needs few: it takes no other.
    direct_url: str
    deliveries: Deliveries
    mailer: Mailer

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The parts for these settings, which name a database. Nothing is connected yet."""
        url = settings.database_direct_url or settings.database_url
        assert url is not None  # noqa: S101 - the command sees to it
        direct_url = url.get_secret_value()
        # As many as the API's processes may have, but kept: a worker under load would close and open the
        # overflow's for every job.
        most = settings.database_pool_size + settings.database_max_overflow
        kept = settings.model_copy(update={"database_pool_size": most, "database_max_overflow": 0})
        database = Database(direct_url, kept)
        return cls(
            settings,
            database,
            direct_url,
            Deliveries.of(settings, database),
            Mailer(settings, database, EMAILS),
        )

    async def stop(self) -> None:
        await self.deliveries.aclose()
        await self.database.close()


@dataclass(frozen=True, slots=True)
class Attempt:
    """Which one this is: from 1 to `most`, those that a worker did not survive included."""

    number: int
    most: int
    job_id: int

    @property
    def last(self) -> bool:
        return self.number >= self.most


#: Does the job, or raises: then it is tried again, until its attempts are used up.
Handler = Callable[[WorkerParts, Mapping[str, Any], Attempt], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Kind:
    handler: Handler
    #: At the same time in one worker.
    at_once: int = 4
    #: Over how many attempts it fails for good, and the longest pause between two in seconds.
    attempts: int = 12
    longest_pause: float = 3600.0
    #: An attempt that takes longer is ended, and counts as failed.
    seconds: float = 60.0
