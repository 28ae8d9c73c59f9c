"""Sessions and the pool of their connections: one that was closed while idle costs no request.

Servers and poolers close connections that are idle. Mostly the process knows by then, and the pool makes
another. Otherwise the first statement finds out: nothing has been done yet, so it is run again.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import Select, TextClause
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as SyncSession
from sqlalchemy.pool import AsyncAdaptedQueuePool

from service.platform.database import metrics
from service.platform.database.errors import is_lost, was_stale

log = structlog.get_logger(__name__)

_STARTED: Final = "begun"


class _RetryFirstStatement(SyncSession):
    """Of a transaction the first statement is run again where its connection was no good before."""

    def execute(self, statement: Any, *args: Any, **options: Any) -> Any:
        return self._run(super().execute, statement, args, options)

    def scalar(self, statement: Any, *args: Any, **options: Any) -> Any:
        return self._run(super().scalar, statement, args, options)

    def scalars(self, statement: Any, *args: Any, **options: Any) -> Any:
        return self._run(super().scalars, statement, args, options)

    def _run(self, run: Callable[..., Any], statement: Any, args: Any, options: Any) -> Any:
        if _STARTED in self.info:
            return run(statement, *args, **options)
        first, self.info[_STARTED] = not self.in_transaction(), True
        try:
            return run(statement, *args, **options)
        except (SQLAlchemyError, OSError) as fault:
            if not (first and was_stale(fault) and self._may_retry(statement)):
                raise
            log.info("database.connection_replaced", fault=type(fault).__name__)
        # What the server had begun has ended with its connection.
        self.rollback()
        return run(statement, *args, **options)

    def _may_retry(self, _statement: Any) -> bool:
        return True


class _RetryFirstRead(_RetryFirstStatement):
    """Without a transaction a write may have been done when its connection is lost."""

    def _may_retry(self, statement: Any) -> bool:
        if isinstance(statement, TextClause):
            return statement.text.lstrip().upper().startswith("SELECT")
        return isinstance(statement, Select)


class WriteSession(AsyncSession):
    sync_session_class = _RetryFirstStatement

    async def close(self) -> None:
        try:
            await super().close()
        except (SQLAlchemyError, OSError) as fault:
            # Its transaction has gone with it. An error that is being raised at this moment is still true.
            if not is_lost(fault):
                raise
            log.warning("rollback.connection_lost")


class ReadSession(WriteSession):
    sync_session_class = _RetryFirstRead


class Pool(AsyncAdaptedQueuePool):
    """Tells how long each waits for a connection; SQLAlchemy has events for having got one only."""

    def _do_get(self) -> Any:
        began = time.perf_counter()
        try:
            record = super()._do_get()
        finally:
            metrics.WAIT.observe(time.perf_counter() - began)
        connection = record.dbapi_connection
        if connection is not None and connection.driver_connection.is_closed():
            record.invalidate()
        return record


# SQLAlchemy logs under the name of the class, and would tell of every pool that is closed.
logging.getLogger(f"{__name__}.{Pool.__name__}").setLevel(logging.WARNING)
