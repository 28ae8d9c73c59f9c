"""Sessions: a connection from the first statement to the end, in a transaction or without one.

Servers and poolers close connections that are idle. Mostly the process knows by then, and the pool makes
another. Otherwise the first statement finds out: nothing has been done yet, so it is run again.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import asyncpg
import structlog
from sqlalchemy import Executable

from service.platform.database import metrics
from service.platform.database.errors import (
    FAULTS,
    LOST,
    READ_ONLY,
    SPOILT,
    is_lost,
    is_unfit,
    sqlstate,
    was_stale,
)
from service.platform.database.pool import Pool
from service.platform.database.statements import Shape, prepare

log = structlog.get_logger(__name__)

Parameters = Mapping[str, Any]
_NONE: Final[Parameters] = {}
#: The driver's methods, looked up at each call: tracing replaces them.
_Run = Literal["fetch", "execute"]


class Record(asyncpg.Record):
    """A row of a result: its columns are its items and its attributes. A column that is called `items`,
    `keys`, `values` or `get` is an item only.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the row has no column {name}") from None


class Session:
    """Runs statements of SQLAlchemy, or text. One task at a time."""

    __slots__ = ("_connection", "_lost", "_pool", "_savepoints", "_transactional", "after_commit",
                 "before_commit", "info")  # fmt: skip

    def __init__(self, pool: Pool, *, transactional: bool) -> None:
        self._pool, self._transactional = pool, transactional
        self._connection: asyncpg.Connection | None = None
        self._lost, self._savepoints = False, 0
        self.info: dict[str, Any] = {}
        self.before_commit: list[Callable[[], Awaitable[None]]] = []
        self.after_commit: list[Callable[[], None]] = []

    async def rows(self, statement: Executable | str, parameters: Parameters = _NONE) -> list[Record]:
        found: list[Record] = await self._run(statement, parameters, "fetch")
        return found

    async def one(self, statement: Executable | str, parameters: Parameters = _NONE) -> Record | None:
        """The only row, or None. Raises LookupError where there are more."""
        found = await self.rows(statement, parameters)
        if len(found) > 1:
            raise LookupError("one row was expected, and there are more")
        return found[0] if found else None

    async def value(self, statement: Executable | str, parameters: Parameters = _NONE) -> Any:
        """The first column of the first row, or None."""
        found = await self._run(statement, parameters, "fetch")
        return found[0][0] if found else None

    async def values(self, statement: Executable | str, parameters: Parameters = _NONE) -> list[Any]:
        """The first column of each row."""
        return [row[0] for row in await self._run(statement, parameters, "fetch")]

    async def execute(self, statement: Executable | str, parameters: Parameters = _NONE) -> int:
        """How many rows were changed, for a statement that returns none."""
        status: str = await self._run(statement, parameters, "execute")
        count = status.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    @property
    def in_savepoint(self) -> bool:
        return self._savepoints > 0

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What is done inside is undone alone when it raises."""
        self._savepoints += 1
        name = f"savepoint_{self._savepoints}"
        try:
            await self.execute(f"SAVEPOINT {name}")
            try:
                yield
            except Exception:
                if not self._lost:
                    await self.execute(f"ROLLBACK TO SAVEPOINT {name}")
                raise
            await self.execute(f"RELEASE SAVEPOINT {name}")
        finally:
            self._savepoints -= 1

    def require_connection(self) -> None:
        """Raises InterfaceError when the connection has been lost, and all that was done over it."""
        if self._lost:
            raise asyncpg.InterfaceError("the connection of this session has been lost")

    async def commit(self) -> None:
        if self._connection is not None:
            status = await self._guarded("execute", "COMMIT", ())
            if status != "COMMIT":
                raise RuntimeError("the transaction had failed, and was rolled back")

    async def close(self, *, cut_short: bool) -> None:
        """Give the connection back, rolled back where it was not committed. `cut_short`: there is no time
        for that, as a task is cancelled; the server does it when the connection is closed. No statement runs:
        the connection would have been given up with it.
        """
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if cut_short:
            (self._pool.cut if connection.is_in_transaction() else self._pool.release)(connection)
            return
        try:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
        except FAULTS as fault:
            self._pool.discard(connection)
            # Its transaction has gone with it. An error that is being raised at this moment is still true.
            if not is_lost(fault):
                raise
            log.warning("rollback.connection_lost")
        except BaseException:
            self._pool.cut(connection)
            raise
        else:
            self._pool.release(connection)

    async def _run(self, statement: Executable | str, parameters: Parameters, run: _Run) -> Any:
        prepared = prepare(statement)
        shape, arguments = prepared.shape, prepared.arguments(parameters)
        first = self._connection is None and not self._lost
        try:
            return await self._run_on_connection(shape, arguments, run)
        except FAULTS as fault:
            # Where none could be made, there is none to replace.
            replaceable = first and self._lost and was_stale(fault)
            if not (replaceable and (self._transactional or shape.reads)):
                raise
            log.info("database.connection_replaced", fault=type(fault).__name__)
        # What the server had begun has ended with its connection. So have, as a rule, the others that idle.
        self._pool.expire()
        self._lost = False
        return await self._run_on_connection(shape, arguments, run)

    async def _run_on_connection(self, shape: Shape, arguments: Sequence[Any], run: _Run) -> Any:
        if self._connection is None:
            await self._begin()
        began = time.perf_counter()
        try:
            return await self._guarded(run, shape.text, arguments)
        finally:
            metrics.QUERIES.observe(time.perf_counter() - began, shape.operation)

    async def _begin(self) -> None:
        self.require_connection()
        self._connection = await self._pool.acquire()
        if self._transactional:
            try:
                await self._guarded("execute", "BEGIN", ())
            except Exception:
                # Whatever comes next would be done without a transaction.
                self._lose(self._pool.discard)
                raise

    async def _guarded(self, run: _Run, text: str, arguments: Sequence[Any]) -> Any:
        """Take a connection out of the pool that the driver may take for a good one.

        Where it has gone silent, this one alone. When the server says that it ends or has been demoted, all
        that were made before go too.
        """
        assert self._connection is not None  # noqa: S101 - `_begin` has set it
        try:
            return await getattr(self._connection, run)(text, *arguments)
        except FAULTS as fault:
            if is_unfit(fault):
                # The driver's message has the value in it, and would end up in a log line.
                raise TypeError("the driver does not take this value for its parameter") from None
            if is_lost(fault) or sqlstate(fault) in SPOILT:
                self._lose(self._pool.cut if isinstance(fault, TimeoutError) else self._pool.discard)
                if sqlstate(fault).startswith((READ_ONLY, *LOST)):
                    self._pool.expire()
            raise
        except BaseException:
            # Cancelled: the driver does not say whether the statement has been sent, and BEGIN may be it.
            self._lose(self._pool.cut)
            raise

    def _lose(self, end: Callable[[asyncpg.Connection], None]) -> None:
        connection, self._connection, self._lost = self._connection, None, True
        if connection is not None:
            end(connection)
