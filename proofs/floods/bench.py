"""A shop whose one worker has a core to itself, and what is measured of it."""

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proofs.cases import Context
from proofs.floods.generator import Generator, Measured, compiled, request
from proofs.shop import Shop, shop
from tests.helpers.client import V1
from tests.helpers.waiting import eventually

#: The client that behaves: so many requests a second, over so many connections.
GOOD_RATE: Final = 50
GOOD_CONNECTIONS: Final = 4
FILES: Final = 24_000


@dataclass
class Bench:
    shop: Shop
    generator: Generator
    worker: int
    #: The access token of a customer who behaves.
    token: str
    _log: Path = field(init=False)

    def __post_init__(self) -> None:
        self._log = self.shop.api.folder / "stdout"

    @property
    def port(self) -> int:
        return self.shop.api.port

    def cpu(self) -> float:
        """Seconds of the worker so far."""
        tasks = Path(f"/proc/{self.worker}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> float:
        """MiB that are the worker's now."""
        pages = int(Path(f"/proc/{self.worker}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    def log_size(self) -> int:
        return self._log.stat().st_size

    def log_lines(self, since: int) -> int:
        """Lines that were written after the log had this size."""
        with self._log.open("rb") as log:
            log.seek(since)
            return sum(piece.count(b"\n") for piece in iter(lambda: log.read(1 << 20), b""))

    def profile(self, token: str | None = None) -> list[bytes]:
        """The plain request: a customer's own profile, which is read from the database."""
        return [request("GET", f"{V1}/users/profile", {"Authorization": f"Bearer {token or self.token}"})]

    async def good(self, seconds: float, token: str | None = None) -> Measured:
        """A client that behaves, for so long."""
        requests = self.profile(token)
        return await self.generator.run(
            requests, rate=GOOD_RATE, seconds=seconds, connections=GOOD_CONNECTIONS, patience=10.0
        )

    def wrong(self) -> list[str]:
        """What is wrong with the service, whatever it was sent."""
        log = self._log.read_bytes()
        names = [name for name in ("request.failed", "process.crashed") if f'"{name}"'.encode() in log]
        found = [f"the log has {name}" for name in names]
        if self.worker not in self.shop.api.workers():
            found.append("the worker ended")
        return found

    async def register(self, email: str) -> str:
        return await asyncio.to_thread(self.shop.api.register, email)


@dataclass
class Memory:
    """The worker's memory in MiB by the time, while a block runs."""

    bench: Bench
    points: list[tuple[float, float]] = field(default_factory=list)

    @property
    def peak(self) -> float:
        return max(mib for _, mib in self.points)

    def at(self, moment: float) -> float:
        """The last before it."""
        return max([point for point in self.points if point[0] <= moment] or self.points[:1])[1]

    async def follow(self) -> None:
        while True:
            self.points.append((time.monotonic(), self.bench.memory()))
            await asyncio.sleep(0.2)


@asynccontextmanager
async def followed(bench: Bench) -> AsyncIterator[Memory]:
    memory = Memory(bench)
    memory.points.append((time.monotonic(), bench.memory()))
    following = asyncio.create_task(memory.follow())
    try:
        yield memory
        memory.points.append((time.monotonic(), bench.memory()))
    finally:
        following.cancel()


@asynccontextmanager
async def bench(context: Context, **settings: Any) -> AsyncIterator[Bench]:
    """One worker on the last core that this process may use; everything else on the first."""
    cores = sorted(os.sched_getaffinity(0))
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.sched_setaffinity(0, {cores[0]})
    _allow_files(*files)
    try:
        program = await compiled(context.folder)
        async with shop(context.folder, workers=1, **settings) as made:
            await eventually(lambda: len(made.api.workers()) == 1)
            [worker] = made.api.workers()
            _pin(worker, cores[-1])
            generator = Generator(program, made.api.port, cores[0])
            token = await asyncio.to_thread(made.api.register, "maria@shop.example")
            found = Bench(made, generator, worker, token)
            # What the first requests load stays loaded.
            await generator.run(found.profile(), rate=0, seconds=1, connections=8)
            yield found
    finally:
        os.sched_setaffinity(0, cores)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)


def _allow_files(soft: int, hard: int) -> None:
    """For ten thousand connections in one process, as far as this machine lets us."""
    most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def _pin(process: int, core: int) -> None:
    for task in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})
