"""Probes: what they may depend on is decided here."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, Generic, Literal, TypeVar

from service.errors import ReadOnly, ServiceError
from service.operations.schemas import DatabaseState, Readiness, Startup
from service.platform.config import Settings
from service.platform.database import Database, required_revision

PING_SECONDS: Final = 1.0
#: Anybody may ask, as often as they like: what the database has answered is told again for so long.
REMEMBERED_SECONDS: Final = 1.0

Found = TypeVar("Found")


class Shared(Generic[Found]):
    """A question to the database that runs once, however many ask, and whose answer is told for a moment.

    An answer is never older than that, and the question's own time. A fault is an answer too.
    """

    def __init__(self, ask: Callable[[], Coroutine[Any, Any, Found]]) -> None:
        self._ask = ask
        self._asking: asyncio.Task[Found] | None = None
        self._answered = 0.0

    async def answer(self) -> Found:
        known = self._asking
        if known is None or (known.done() and time.monotonic() - self._answered > REMEMBERED_SECONDS):
            known = self._asking = asyncio.create_task(self._run(), name="probe")
            # Whoever has asked may have left by the time of a fault.
            known.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Whoever leaves does not take the answer away from the others.
        return await asyncio.shield(known)

    async def _run(self) -> Found:
        try:
            return await self._ask()
        finally:
            self._answered = time.monotonic()

    async def aclose(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)


class Probes:
    """What a process says of itself to whoever asks."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._settings = settings
        self._state, self._revision = Shared(partial(_state, database)), Shared(database.revision)

    async def readiness(self, *, ending: bool = False) -> Readiness:
        """Soft by default: a database that is down takes no pod out, or it would take all at once.

        `ending` says that the process drains, drain file or not.
        """
        flag = self._settings.drain_file
        draining = ending or (flag is not None and os.path.exists(flag))  # noqa: ASYNC240, PTH110 - a stat of tmpfs does not block
        found = await self._state.answer()
        ready = not draining and (found == "up" or self._settings.readiness_database == "soft")
        state: Literal["ready", "not_ready"] = "ready" if ready else "not_ready"
        return Readiness(status=state, database=found, draining=draining)

    async def startup(self, *, listening: bool) -> Startup:
        """`listening` is whether this process hears what others do.

        Raises Unavailable without a database: then nothing can be said of its schema.
        """
        needed, _ = required_revision()
        found = await self._revision.answer()
        started = _is_enough(found) and listening
        return Startup(
            status="started" if started else "starting",
            schema_revision=found,
            required_revision=needed,
            listening=listening,
        )

    async def aclose(self) -> None:
        await self._state.aclose()
        await self._revision.aclose()


async def _state(database: Database) -> DatabaseState:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await database.ping()
    except ReadOnly:
        return "read_only"
    except (ServiceError, TimeoutError):
        return "down"
    return "up"


async def has_schema(database: Database) -> bool:
    """Whether the tables are those that this build works on. Raises Unavailable without a database."""
    return _is_enough(await database.revision())


def _is_enough(found: str | None) -> bool:
    """A revision that this build does not know was made by a newer one, which keeps ours working."""
    _, older = required_revision()
    return found is not None and found not in older
