"""The connections of a process, and the two ways to use them: a transaction, or reading without one.

Other modules use `Session`; only `transaction()` commits.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from sqlalchemy import text

from service.errors import OutcomeUnknown, ServiceError
from service.platform.config import Settings
from service.platform.database import change_feed as changes
from service.platform.database import connections, metrics
from service.platform.database.errors import FAULTS, is_lost, meaning_of, translate
from service.platform.database.metrics import Outcome
from service.platform.database.pool import Connect, Pool
from service.platform.database.pooler import PooledConnections
from service.platform.database.sessions import Record, Session
from service.platform.database.statements import any_of, none_of

__all__ = ("Database", "Record", "Session", "after_commit", "any_of", "before_commit", "none_of")

log = structlog.get_logger(__name__)

#: Waiting for a row lock longer than this is a fault of ours, not of the client.
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
#: How much longer than a statement may take an answer may be under way.
SILENCE_SECONDS = 2
#: From "no typo" (1.0) down: 0.4 finds "Chocolade" for "choklade". Words of few letters find
#: neighbours too, ranked below what really matches.
WORD_SIMILARITY = "0.4"
_NOTIFY = text("SELECT pg_notify(:channel, :payload)")
READ_ONLY = "SELECT current_setting('transaction_read_only')"

UNKNOWN = (
    "The service lost its database connection while it saved the change."
    " Check whether the change was made before you retry."
)


def session_settings(settings: Settings) -> dict[str, str]:
    """What every session has, as PostgreSQL shows it."""
    return {
        "statement_timeout": str(int(settings.database_statement_timeout * 1000)),
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
        "pg_trgm.word_similarity_threshold": WORD_SIMILARITY,
        "jit": "off",
    }


class Database:
    """One pool for a process, and the two ways to use it: `transaction()` and `reading()`.

    It leads through `settings.database_pooler` if `pooled`, and else to the address itself.
    """

    def __init__(self, url: str, settings: Settings, *, pooled: bool = False) -> None:
        options: dict[str, Any] = {
            "record_class": Record,
            "timeout": 5,
            # For a database that has gone silent: it cannot time out its own statements.
            "command_timeout": settings.database_statement_timeout + SILENCE_SECONDS,
        }
        named, session = {"application_name": "tradepost"}, session_settings(settings)
        connect: Connect = partial(connections.connect, url, **options, server_settings=named | session)
        if pooled and settings.database_pooler:
            through = connections.through_pooler(url, settings.database_pooler)
            connect = PooledConnections(
                through, settings.database_pooler_prepares, session, options | {"server_settings": named}
            ).connect
        self._pool = Pool(
            connect,
            size=settings.database_pool_size,
            overflow=settings.database_max_overflow,
            timeout=settings.database_pool_timeout,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """One transaction: committed at the end, rolled back on any exception.

        An error whose class says `commit` is committed too and then goes on. Raises
        OutcomeUnknown when the connection is lost during COMMIT.
        """
        outcome: Outcome = "rolled_back"
        try:
            async with self._session(transactional=True) as session:
                try:
                    yield session
                except ServiceError as refusal:
                    if refusal.commit:
                        await self._commit(session)
                        outcome = "committed"
                    raise
                await self._commit(session)
                outcome = "committed"
        except OutcomeUnknown:
            outcome = "unknown"
            raise
        finally:
            metrics.TRANSACTIONS.inc(outcome)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        """A session without a transaction: a plain read saves BEGIN and ROLLBACK."""
        async with self._session(transactional=False) as session:
            yield session

    @asynccontextmanager
    async def _asking(self) -> AsyncIterator[Session]:
        """For what is asked again and again, also without a database. The caller says what it found."""
        async with self._session(transactional=False, meaning=meaning_of) as session:
            yield session

    @asynccontextmanager
    async def _session(
        self, *, transactional: bool, meaning: Callable[[BaseException], BaseException] = translate
    ) -> AsyncIterator[Session]:
        """Given back at the end, rolled back unless it was committed; faults are service errors outside."""
        session, cut_short = Session(self._pool, transactional=transactional), False
        try:
            try:
                yield session
            except BaseException as fault:
                cut_short = not isinstance(fault, Exception)
                raise
            finally:
                await session.close(cut_short=cut_short)
        except FAULTS as fault:
            raise meaning(fault) from fault

    @staticmethod
    async def _commit(session: Session) -> None:
        while session.before_commit:
            await session.before_commit.pop(0)()
        session.require_connection()
        try:
            await session.commit()
        except asyncio.CancelledError:
            # The process ends, and does not wait. A COMMIT that waits for a standby is made already.
            log.warning("commit.cut_short")
            raise OutcomeUnknown(UNKNOWN) from None
        except FAULTS as fault:
            if is_lost(fault):
                log.warning("commit.connection_lost")
                raise OutcomeUnknown(UNKNOWN) from fault
            raise
        finally:
            changes.mark_committed()
        for act in session.after_commit:
            act()

    @property
    def pool_usage(self) -> tuple[int, int]:
        """How many connections are in use, and how many there may be."""
        return self._pool.in_use, self._pool.most

    async def ping(self) -> None:
        """Raises Unavailable unless the database answers, and ReadOnly where it takes no changes."""
        async with self._asking() as session:
            if await session.value(READ_ONLY) == "on":
                # As a write would: the connections are given up, for what they lead to was demoted.
                await session.execute("DO $$ BEGIN RAISE read_only_sql_transaction; END $$")

    async def notify(self, channel: str, payload: str) -> None:
        """Publish to a channel. Changes of rows are published by triggers."""
        async with self._asking() as session:
            await session.rows(_NOTIFY, {"channel": channel, "payload": payload})

    async def revision(self) -> str | None:
        """The schema's revision, or None before the first migration."""
        async with self._asking() as session:
            if await session.value("SELECT to_regclass('alembic_version')") is None:
                return None
            revision: str | None = await session.value("SELECT version_num FROM alembic_version")
            return revision

    async def close(self) -> None:
        await self._pool.close()


def before_commit(session: Session, write: Callable[[], Awaitable[None]]) -> None:
    """Have this written last of all in the session's transaction; never when that is rolled back.

    For what takes locks that many others want: they are held for one statement and the COMMIT, by a session
    that waits for nothing else any more.
    """
    session.before_commit.append(write)


def after_commit(session: Session, act: Callable[[], None]) -> None:
    """Have this done when the session's transaction is committed, before the answer; never when it is not.

    For what cannot be taken back, such as a count. `act` must be quick, and must not raise.
    """
    session.after_commit.append(act)
