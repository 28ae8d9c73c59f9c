"""The engine and its transactions.

Other modules use `Session`; only `transaction()` commits.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from sqlalchemy import Row, event, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.pool import QueuePool

from service.errors import OutcomeUnknown, ServiceError
from service.platform.config import Settings
from service.platform.database import change_feed as changes
from service.platform.database import connections, metrics, sessions
from service.platform.database.errors import invalidate, is_lost, translate
from service.platform.database.metrics import Outcome

log = structlog.get_logger(__name__)

Session = AsyncSession
#: A row of a result; its attributes are the selected columns.
Record = Row[*tuple[Any, ...]]

#: Waiting for a row lock longer than this is a fault of ours, not of the client.
LOCK_TIMEOUT_MS = 3_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
#: How much longer than a statement may take an answer may be under way.
SILENCE_SECONDS = 2
#: From "no typo" (1.0) down: 0.4 finds "Chocolade" for "choklade". Words of few letters find
#: neighbours too, ranked below what really matches.
WORD_SIMILARITY = "0.4"
#: The labels of statements, by the first four letters.
OPERATIONS = {name[:4].upper(): name for name in ("select", "insert", "update", "delete", "with")}
READ_ONLY = "SELECT current_setting('transaction_read_only')"

UNKNOWN = (
    "The service lost its database connection while it saved the change."
    " Check whether the change was made before you retry."
)
_BEFORE_COMMIT, _AFTER_COMMIT = "before_commit", "after_commit"


def _measure(engine: AsyncEngine) -> None:
    """How long statements take, those that fail too. Their text goes nowhere.

    This stands in for what the dialect would do. An engine that has events of its connections pays for
    them at every checkout: a read without a transaction costs a fifteenth more then.
    """

    @event.listens_for(engine.sync_engine, "do_execute")
    def execute(cursor: Any, statement: str, values: Any, _context: Any) -> bool:
        return timed(cursor.execute, statement, values)

    @event.listens_for(engine.sync_engine, "do_executemany")
    def execute_many(cursor: Any, statement: str, values: Any, _context: Any) -> bool:
        return timed(cursor.executemany, statement, values)

    def timed(run: Callable[[str, Any], None], statement: str, values: Any) -> bool:
        began = time.perf_counter()
        try:
            run(statement, values)
        finally:
            operation = OPERATIONS.get(statement.lstrip()[:4].upper(), "other")
            metrics.QUERIES.observe(time.perf_counter() - began, operation)
        return True


class Database:
    """One pool for a process, and the two ways to use it: `transaction()` and `reading()`."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.engine = connections.engine(
            url,
            poolclass=sessions.Pool,
            pool_size=settings.database_pool_size,
            max_overflow=settings.database_max_overflow,
            pool_timeout=settings.database_pool_timeout,
            pool_recycle=1800,
            # A bound value in an exception's text would end up in a log line.
            hide_parameters=True,
            connect_args={
                "timeout": 5,
                # For a database that has gone silent: it cannot time out its own statements.
                "command_timeout": settings.database_statement_timeout + SILENCE_SECONDS,
                "server_settings": {
                    "application_name": "tradepost",
                    "statement_timeout": str(int(settings.database_statement_timeout * 1000)),
                    "lock_timeout": str(LOCK_TIMEOUT_MS),
                    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_TIMEOUT_MS),
                    "pg_trgm.word_similarity_threshold": WORD_SIMILARITY,
                    "jit": "off",
                },
            },
        )
        event.listen(self.engine.sync_engine, "handle_error", invalidate)
        self._connections = settings.database_pool_size + settings.database_max_overflow
        _measure(self.engine)
        self._writing = async_sessionmaker(self.engine, class_=sessions.WriteSession, expire_on_commit=False)
        reading = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._reading = async_sessionmaker(reading, class_=sessions.ReadSession)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """One transaction: committed at the end, rolled back on any exception.

        An error whose class says `commit` is committed too and then goes on. Raises
        OutcomeUnknown when the connection is lost during COMMIT.
        """
        async with self._writing() as session:
            outcome: Outcome = "rolled_back"
            try:
                try:
                    yield session
                except ServiceError as refusal:
                    if refusal.commit:
                        await self._commit(session)
                        outcome = "committed"
                    raise
                except (SQLAlchemyError, OSError) as fault:
                    raise translate(fault) from fault
                await self._commit(session)
                outcome = "committed"
            except OutcomeUnknown:
                outcome = "unknown"
                raise
            finally:
                metrics.TRANSACTIONS.inc(outcome)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Session]:
        """A session without a transaction (AUTOCOMMIT): a plain read saves BEGIN and ROLLBACK."""
        async with self._reading() as session:
            try:
                yield session
            except (SQLAlchemyError, OSError) as fault:
                raise translate(fault) from fault

    @staticmethod
    async def _commit(session: Session) -> None:
        try:
            for write in session.info.pop(_BEFORE_COMMIT, ()):
                await write()
        except (SQLAlchemyError, OSError) as fault:
            raise translate(fault) from fault
        try:
            await session.commit()
        except asyncio.CancelledError:
            # The process ends, and does not wait. A COMMIT that waits for a standby is made already.
            log.warning("commit.cut_short")
            raise OutcomeUnknown(UNKNOWN) from None
        except (SQLAlchemyError, OSError) as fault:
            if is_lost(fault):
                log.warning("commit.connection_lost")
                raise OutcomeUnknown(UNKNOWN) from fault
            raise translate(fault) from fault
        finally:
            changes.mark_committed()
        for act in session.info.pop(_AFTER_COMMIT, ()):
            act()

    @property
    def pool_usage(self) -> tuple[int, int]:
        """How many connections are in use, and how many there may be."""
        pool = self.engine.pool
        return (pool.checkedout() if isinstance(pool, QueuePool) else 0), self._connections

    async def ping(self) -> None:
        """Raises Unavailable unless the database answers, and ReadOnly where it takes no changes."""
        async with self.reading() as session:
            if await session.scalar(text(READ_ONLY)) == "on":
                # As a write would: the connections are given up, for what they lead to was demoted.
                await session.execute(text("DO $$ BEGIN RAISE read_only_sql_transaction; END $$"))

    async def notify(self, channel: str, payload: str) -> None:
        """Publish to a channel. Changes of rows are published by triggers."""
        async with self.reading() as session:
            await session.execute(select(func.pg_notify(channel, payload)))

    async def revision(self) -> str | None:
        """The schema's revision, or None before the first migration."""
        async with self.reading() as session:
            known = await session.scalar(text("SELECT to_regclass('alembic_version')"))
            if known is None:
                return None
            revision: str | None = await session.scalar(text("SELECT version_num FROM alembic_version"))
            return revision

    async def close(self) -> None:
        await self.engine.dispose()


def before_commit(session: Session, write: Callable[[], Awaitable[None]]) -> None:
    """Have this written last of all in the session's transaction; never when that is rolled back.

    For what takes locks that many others want: they are held for one statement and the COMMIT, by a session
    that waits for nothing else any more.
    """
    session.info.setdefault(_BEFORE_COMMIT, []).append(write)


def after_commit(session: Session, act: Callable[[], None]) -> None:
    """Have this done when the session's transaction is committed, before the answer; never when it is not.

    For what cannot be taken back, such as a count. `act` must be quick, and must not raise.
    """
    session.info.setdefault(_AFTER_COMMIT, []).append(act)
