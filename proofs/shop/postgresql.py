"""A PostgreSQL that keeps what it is given, on a port that stays, and can be stopped and started again.

The service's embedded server takes another port at each start, and tests run theirs without fsync: neither
would show what a restart loses.
"""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal, Self

import asyncpg
import psutil

from service.dev import embedded
from tests.helpers.waiting import PATIENCE_SECONDS
from tests.server.process import free_port

Mode = Literal["smart", "fast", "immediate"]

#: PostgreSQL's signals for its ways to shut down.
SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_POLL_SECONDS: Final = 0.02


class PostgreSQL:
    """One cluster in `folder`. Processes are started from the main thread: they end with it."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.host, self.port, self.options = folder, host, port or free_port(), options
        self.process: subprocess.Popen[bytes] | None = None
        # No process but ours may start a server in this folder, so that no lock is needed.
        self._nothing = os.open(os.devnull, os.O_RDONLY)
        self._place = embedded._Place(folder, embedded._binaries(), self._nothing, durable=True)

    @classmethod
    async def create(cls, folder: Path, **options: Any) -> Self:
        """A new, running one."""
        made = cls(folder, **options)
        await asyncio.to_thread(made._place.initialise)
        await made.start()
        return made

    @property
    def data(self) -> Path:
        """PostgreSQL's data folder."""
        return self._place.cluster

    @property
    def binaries(self) -> Path:
        return self._place.binaries

    @property
    def password(self) -> str:
        return self._place.password.read_text()

    @property
    def url(self) -> str:
        """postgresql://, with the password, for the database `tradepost`."""
        return self._place.url(self.port).replace("@127.0.0.1:", f"@{self.host}:")

    @property
    def log(self) -> str:
        return self._place.log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def start(self, *, listen: str | None = None) -> None:
        """Return once it takes connections."""
        settings = ["-c", f"listen_addresses={listen or self.host}", "-c", "unix_socket_directories="]
        settings += ["-c", "max_connections=200", *self.options]
        self.process = self._place.spawn("postgres", "-D", str(self.data), "-p", str(self.port), *settings)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await self.answers():
            if not self.running or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self.log[-2_000:]}")
            await asyncio.sleep(_POLL_SECONDS)

    async def answers(self) -> bool:
        """Whether it takes connections now."""
        with suppress(OSError, asyncpg.PostgresError, TimeoutError):
            await (await asyncpg.connect(self.url, timeout=5)).close()
            return True
        return False

    async def stop(self, mode: Mode = "fast") -> None:
        """Return once its process is gone. Does nothing where it does not run."""
        if self.process is not None:
            self.process.send_signal(SIGNALS[mode])
            await self._gone()

    async def kill(self) -> None:
        """SIGKILL to all of its processes at once, as when the machine fails. The next start recovers."""
        if self.process is not None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for process in children:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            await self._gone()

    async def _gone(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                self.process.send_signal(signal.SIGQUIT)
            await asyncio.sleep(_POLL_SECONDS)
        self.process = None

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.url)

    async def execute(self, *statements: str) -> None:
        """Each on its own, on a connection of its own."""
        connection = await self.connect()
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()
