"""What a process tells of itself and of what it stands on, whether anybody asks it for something or not."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from service import __version__
from service.errors import ServiceError
from service.platform.database import Database, metrics
from service.platform.telemetry.runtime import Pulse

#: How often the database is asked whether it is there, and how long it may take to answer.
ASK_SECONDS: Final = 5.0
ANSWER_SECONDS: Final = 2.0


class Vitals:
    """`listening` says whether the change feed is heard, where the process has one."""

    def __init__(self, database: Database, listening: Callable[[], bool] | None = None) -> None:
        self._database, self._listening = database, listening
        self._pulse = Pulse(self._look)
        self._asking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        metrics.begin()
        self._pulse.start(__version__)
        self._asking = asyncio.create_task(self._ask_always(), name="vitals")

    async def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._pulse.stop()

    def _look(self) -> None:
        metrics.pool_seen(*self._database.use)
        if self._listening is not None:
            metrics.feed_seen(listening=self._listening())

    async def _ask_always(self) -> None:
        while True:
            in_use, size = self._database.use
            # When all connections are lent out there is no answer to be had, and no fault of the database.
            if in_use < size:
                metrics.database_seen(up=await self._answers())
            await asyncio.sleep(ASK_SECONDS)

    async def _answers(self) -> bool:
        with contextlib.suppress(ServiceError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._database.ping()
                return True
        return False
