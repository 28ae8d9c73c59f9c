"""The notifications of the queue, over a connection of its own that no pool may want for others."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from service.errors import ReadOnly, Unavailable
from service.platform.database import connections
from service.platform.database.change_feed import is_read_only
from service.platform.database.errors import FAULTS
from service.platform.jobs.queue import CHANNEL

#: A connection that has gone silent is noticed after so long; the worker polls meanwhile.
CHECK_SECONDS: Final = 5.0


async def listen(url: str, notify: Callable[[], None]) -> None:
    """Call `notify` whenever there may be new jobs, until the connection is lost: that is Unavailable."""

    def received(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if '"insert"' in str(payload):
            notify()

    try:
        async with connections.listening(
            url, name="tradepost jobs", connect_seconds=CHECK_SECONDS, answer_seconds=CHECK_SECONDS
        ) as raw:
            closed = asyncio.Event()
            raw.add_termination_listener(lambda _: closed.set())
            await raw.add_listener(CHANNEL, received)
            notify()
            while True:
                # Fails on one that is closed, and on one that is silent.
                await raw.execute("SELECT 1")
                if is_read_only(raw):
                    raise ReadOnly
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CHECK_SECONDS):
                        await closed.wait()
    except FAULTS as fault:
        raise Unavailable("The connection that listens for jobs was lost.") from fault
