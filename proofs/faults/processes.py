"""Processes of the service that are killed or stopped: API workers, Gunicorn's master, the job worker."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any, Final

from proofs.cases import Context, Result
from proofs.faults.load import Disturbance, under_load
from proofs.shop import Shop
from tests.helpers.waiting import eventually
from tests.server.process import Service, alive, started

WORKERS: Final = 3
KILLS: Final = 10
JOB_WORKER_KILLS: Final = 5
MASTERS: Final = 2
#: Shorter than clients wait.
STOPPED_SECONDS: Final = 5.0
#: After so long without a heartbeat, what a job worker had claimed is taken by another.
LEASE_SECONDS: Final = 30.0
#: How long a process may take to be gone, or to be there again.
PATIENCE_SECONDS: Final = 30.0
#: Gunicorn's line about a worker that did not end by itself, and a worker's about its master.
KILLED: Final = frozenset({"Worker (pid:", "master.lost"})


class Supervisor:
    """Starts the API or the job worker of a shop again when it has ended, as a kubelet does: at the same
    ports, with the same settings.
    """

    def __init__(
        self, shop: Shop, stack: ExitStack, *, worker: bool = False, wrapper: tuple[str, ...] = ()
    ) -> None:
        self._shop, self._stack, self._worker, self._wrapper = shop, stack, worker, wrapper
        self.restarts = 0

    @property
    def service(self) -> Service:
        return self._shop.worker if self._worker else self._shop.api

    def start(self) -> None:
        old, self.restarts = self.service, self.restarts + 1
        module = ("service", "worker" if self._worker else "serve")
        folder = old.folder.with_name(f"{'worker' if self._worker else 'api'}-{self.restarts}")
        # Whatever else the container had is gone with it.
        for child in old.descendants():
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        settings: dict[str, Any] = {"PORT": old.port, "METRICS_PORT": old.metrics_port}
        settings = {**self._shop.settings, **settings}
        new = self._stack.enter_context(started(folder, module=module, wrapper=self._wrapper, **settings))
        if self._worker:
            self._shop.worker = new
        else:
            self._shop.api = new

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            if self.service.process.poll() is not None:
                self.start()
            await asyncio.sleep(0.05)


@asynccontextmanager
async def supervised(
    shop: Shop, stack: ExitStack, *, worker: bool = False, wrapper: tuple[str, ...] = ()
) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(shop, stack, worker=worker, wrapper=wrapper)
    watching = asyncio.create_task(supervisor.watch())
    try:
        yield supervisor
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def complete(api: Service, workers: int = WORKERS) -> None:
    """Once all of its workers serve."""
    await eventually(lambda: len(api.workers()) == workers)


async def workers_killed(context: Context) -> Result:
    """A second apart, whichever it is."""
    chance = random.Random(context.seed)

    async def harm(it: Disturbance) -> None:
        async with it.outage(
            f"one API worker of {WORKERS} is killed each second, {KILLS} times", broken=True
        ):
            for _ in range(KILLS):
                await eventually(it.shop.api.workers)
                with suppress(ProcessLookupError):
                    os.kill(chance.choice(sorted(it.shop.api.workers())), signal.SIGKILL)
                await asyncio.sleep(1.0)
        await complete(it.shop.api)

    return await under_load(context, harm, explained=KILLED, workers=WORKERS)


async def master_killed(context: Context) -> Result:
    """Its workers must leave by themselves; a supervisor starts the service again."""
    found: list[str] = []

    async def harm(it: Disturbance) -> None:
        supervisor = Supervisor(it.shop, stack)
        for number in range(1, MASTERS + 1):
            api, workers = it.shop.api, it.shop.api.workers()
            async with it.outage(f"Gunicorn's master is killed, {number} of {MASTERS}", broken=True):
                api.process.kill()
                api.process.wait()
                if number == 1:
                    found.extend(await _left(workers))
                supervisor.start()
                await asyncio.to_thread(it.shop.api.wait_until_up)

    with ExitStack() as stack:
        result = await under_load(context, harm, explained=KILLED)
    result.faults.extend(found)
    return result


async def _left(workers: set[int]) -> list[str]:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(map(alive, workers)):
                await asyncio.sleep(0.05)
    except TimeoutError:
        return [f"{sum(map(alive, workers))} API workers outlived their master by {PATIENCE_SECONDS:g} s"]
    return []


async def stalled(context: Context) -> Result:
    """As on a machine that stalls: an API worker, then the job worker, for some seconds. Then the job worker
    is killed in the midst of its work, again and again; what it had claimed comes back.
    """
    found: list[str] = []
    with ExitStack() as stack:

        async def harm(it: Disturbance) -> None:
            supervisor = Supervisor(it.shop, stack, worker=True)
            await _stop(it)
            # An attempt that a kill has cut short counts, and after two that failed the next is in 5 minutes.
            it.load.receiver.fails = False
            async with it.outage(f"the job worker is killed {JOB_WORKER_KILLS} times"):
                for _ in range(JOB_WORKER_KILLS):
                    await asyncio.sleep(0.5)
                    it.shop.worker.process.kill()
                    it.shop.worker.process.wait()
                    supervisor.start()
                    await asyncio.to_thread(it.shop.worker.wait_until_up)
            found.extend(await _worked(it))

        result = await under_load(context, harm, workers=WORKERS)
    result.faults.extend(found)
    return result


async def _stop(it: Disturbance) -> None:
    pid = min(it.shop.api.workers())
    async with it.outage(f"an API worker of {WORKERS} is stopped for {STOPPED_SECONDS:g} s", broken=True):
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(STOPPED_SECONDS)
        os.kill(pid, signal.SIGCONT)
    async with it.outage(f"the job worker is stopped for {STOPPED_SECONDS:g} s"):
        it.shop.worker.send(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_SECONDS)
        it.shop.worker.send(signal.SIGCONT)


async def _worked(it: Disturbance) -> list[str]:
    """Once nothing is left of what had been claimed by a worker that is gone, and nothing has failed."""
    connection = await it.shop.postgresql.connect()
    try:
        last = await connection.fetchval("SELECT max(id) FROM pgqueuer_log")
        old = "SELECT count(*) FROM pgqueuer WHERE status = 'picked' AND heartbeat < now() - interval '15 s'"
        until = asyncio.get_running_loop().time() + LEASE_SECONDS + PATIENCE_SECONDS
        await asyncio.sleep(1.0)
        while left := await connection.fetchval(old):
            if asyncio.get_running_loop().time() > until:
                return [f"{left} jobs of workers that were killed were not claimed again"]
            await asyncio.sleep(0.2)
        failed = await connection.fetch("SELECT entrypoint FROM pgqueuer WHERE status = 'failed'")
    finally:
        await connection.close()
    it.context.say(f"what had been claimed was done (record {last})")
    return [f"a job has failed for good: {row['entrypoint']}" for row in failed]
