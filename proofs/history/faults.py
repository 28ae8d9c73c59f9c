"""Faults at random moments, from a seed: what is done to the service while the clients go on."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Final

from proofs.load import Load
from proofs.shop import Shop
from tests.helpers.proxy import Proxy
from tests.server.process import started

#: Seconds between the end of a fault and the next, from and to.
PAUSE: Final = (0.5, 3.0)
#: Gunicorn needs as long to replace its workers; a reload during a reload would do nothing more.
RELOAD_SECONDS: Final = 4.0


class Faults:
    """`database` stands between the service and PostgreSQL, `front` between the clients and the service."""

    def __init__(self, shop: Shop, database: Proxy, front: Proxy, seed: int, processes: ExitStack) -> None:
        self._shop, self._database, self._front = shop, database, front
        self._random = random.Random(f"{seed}-faults")
        self._processes = processes
        self._workers = 1
        self.done: Counter[str] = Counter()
        self._by_name: Mapping[str, Callable[[], Awaitable[None]]] = {
            "worker": self._kill_worker,
            "job-worker": self._kill_job_worker,
            "restart": self._restart_postgresql,
            "kill": self._kill_postgresql,
            "connections": self._break_connections,
            "clients": self._break_clients,
            "reload": self._reload,
        }

    async def run(self, names: tuple[str, ...], seconds: float, load: Load) -> None:
        """One after the other, until the time is over; then everything is whole again."""
        deadline = time.monotonic() + seconds
        while names and time.monotonic() < deadline:
            await asyncio.sleep(self._random.uniform(*PAUSE))
            name = self._random.choice(names)
            begin = time.monotonic()
            await self._by_name[name]()
            self.done[name] += 1
            load.history.write({"fault": name, "begin": begin, "end": time.monotonic()})
        if not names:
            await asyncio.sleep(seconds)

    async def _kill_worker(self) -> None:
        pids = sorted(await asyncio.to_thread(self._shop.api.workers))
        if pids:
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(pids), signal.SIGKILL)

    async def _kill_job_worker(self) -> None:
        """And start another, as Kubernetes does."""
        self._shop.worker.process.kill()
        await asyncio.to_thread(self._shop.worker.process.wait)
        self._workers += 1
        folder = self._shop.folder / f"worker-{self._workers}"
        self._shop.worker = self._processes.enter_context(
            started(folder, module=("service", "worker"), **self._shop.settings)
        )

    async def _restart_postgresql(self) -> None:
        await self._shop.postgresql.stop("fast")
        await asyncio.sleep(self._random.uniform(0.0, 3.0))
        await self._shop.postgresql.start()

    async def _kill_postgresql(self) -> None:
        await self._shop.postgresql.kill()
        await asyncio.sleep(self._random.uniform(0.0, 1.0))
        await self._shop.postgresql.start()

    async def _break_connections(self) -> None:
        await self._break(self._database)

    async def _break_clients(self) -> None:
        await self._break(self._front)

    async def _break(self, proxy: Proxy) -> None:
        """Close all that is there, each when it is next used, or let nothing pass for a while."""
        kind = self._random.choice(("reset", "spoil", "hang", "cut"))
        getattr(proxy, kind)()
        if kind in {"hang", "cut"}:
            await asyncio.sleep(self._random.uniform(0.3, 3.0))
            proxy.resume()

    async def _reload(self) -> None:
        self._shop.api.send(signal.SIGHUP)
        await asyncio.sleep(RELOAD_SECONDS)
