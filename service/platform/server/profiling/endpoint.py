"""Waits for `tradepost profile`. Until it is asked, a process has a listening socket more, and no thread."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import structlog
from pydantic import BaseModel, ValidationError

from service.platform.server.profiling import place
from service.platform.server.profiling.document import Profile, Refusal, Request, profile_of
from service.platform.server.profiling.sampler import Sampler

log = structlog.get_logger(__name__)

MAX_SECONDS: Final = 300
#: For a client that sends no request, or does not read the answer.
TIMEOUT_SECONDS: Final = 5.0
#: For answers that are on their way when the process ends.
END_SECONDS: Final = 1.0


class Endpoint:
    """One profile at a time; the end of the process ends it, and its client gets what there is until then."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._busy = False
        self._ending = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def end(self) -> None:
        self._ending.set()

    async def finished(self) -> None:
        self.end()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=END_SECONDS)

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a callback that is a coroutine runs in one
        self._tasks.add(task)
        try:
            with suppress(OSError, ValueError, TimeoutError):
                answer = await self._answer(reader)
                if answer is not None:
                    # So that `drain` waits for all of it: the process may end soon after.
                    writer.transport.set_write_buffer_limits(0)
                    writer.write(answer.model_dump_json().encode())
                    async with asyncio.timeout(TIMEOUT_SECONDS):
                        await writer.drain()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> BaseModel | None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            line = await reader.readline()
        try:
            seconds = Request.model_validate_json(line).seconds
        except ValidationError:
            return Refusal(refused="the request is not understood; use the same version")
        if not 1 <= seconds <= MAX_SECONDS:
            return Refusal(refused=f"a profile takes 1 to {MAX_SECONDS} seconds")
        if self._ending.is_set():
            return Refusal(refused="the process is ending")
        if self._busy:
            return Refusal(refused="another profile is being taken; wait until it has ended")
        return await self._profile(reader, seconds)

    async def _profile(self, reader: asyncio.StreamReader, seconds: int) -> Profile | None:
        """None if the client has gone meanwhile."""
        log.info("profile.started", seconds=seconds)
        sampler = Sampler()
        self._busy = True
        gone, ending = asyncio.ensure_future(reader.read(1)), asyncio.ensure_future(self._ending.wait())
        try:
            sampler.start()
            await asyncio.wait({gone, ending}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sampler.stop()
            self._busy = False
            left = gone.done()
            gone.cancel()
            ending.cancel()
            log.info("profile.ended", samples=sampler.samples, client_left=left)
        return None if left else profile_of(sampler, os.getpid(), self._process)


@asynccontextmanager
async def served(port: int, process: str) -> AsyncIterator[Endpoint]:
    """Wait for `tradepost profile` while the context lasts. It is no fault if there is no place for it."""
    endpoint = Endpoint(process)
    pid = os.getpid()
    try:
        server = await asyncio.start_unix_server(endpoint.connected, sock=place.bound(port, pid))
    except OSError as fault:
        log.warning("profile.not_served", reason=str(fault))
        yield endpoint
        return
    try:
        yield endpoint
    finally:
        server.close()
        place.remove(port, pid)
        await endpoint.finished()
