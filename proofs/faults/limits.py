"""Limits that a pod runs into: memory, file descriptors, folders without room."""

import asyncio
import os
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import httpx2

from proofs.cases import Context, Result, memory_cgroups
from proofs.faults.load import Disturbance, under_load
from proofs.faults.names import CUT
from proofs.faults.processes import KILLED, complete, supervised
from proofs.shop import Shop

WORKERS: Final = 2
SECONDS: Final = 6.0
MIB: Final = 2**20
#: What is left to the processes when the limit falls: less than the process needs that draws invoices.
SPARE_BYTES: Final = 6 * MIB
#: Descriptors that a worker may open when the limit falls, and connections that want some.
SPARE_DESCRIPTORS: Final = 4
CONNECTIONS: Final = 120
ROOM: Final = "2M"
BLOCK: Final = 4096


class MemoryCgroup:
    """Of the API alone. By version 1 or 2, as the machine has it."""

    def __init__(self, parent: Path) -> None:
        self.folder = parent / f"tradepost-proof-{os.getpid()}"
        self._one = (parent / "memory.limit_in_bytes").exists()

    @property
    def wrapper(self) -> tuple[str, ...]:
        """Before the command of both processes; it is the API that it puts into the cgroup."""
        join = f'case "$*" in *serve) echo $$ > {self.folder}/cgroup.procs;; esac; exec "$@"'
        return ("sh", "-c", join, "sh")

    @property
    def needed(self) -> int:
        """What the kernel cannot take back: it drops what it has read of files before it kills anything."""
        lines = dict(line.split() for line in self._read("memory.stat").splitlines())
        names = ("rss", "shmem") if self._one else ("anon", "shmem", "kernel")
        return sum(int(lines.get(name, 0)) for name in names)

    @property
    def kills(self) -> int:
        """How often the kernel has killed a process of it."""
        lines = self._read("memory.oom_control" if self._one else "memory.events").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    def limit(self, size: int | None) -> None:
        name = "memory.limit_in_bytes" if self._one else "memory.max"
        text = str(size) if size is not None else ("-1" if self._one else "max")
        (self.folder / name).write_text(text)

    def _read(self, name: str) -> str:
        return (self.folder / name).read_text()


@contextmanager
def memory_cgroup() -> Iterator[MemoryCgroup]:
    parent = memory_cgroups()
    assert parent is not None
    made = MemoryCgroup(parent)
    made.folder.mkdir()
    try:
        yield made
    finally:
        # Its processes are gone by now.
        made.folder.rmdir()


async def memory(context: Context) -> Result:
    """The limit falls to what the API needs, and invoices are asked for, which a further process draws: the
    kernel kills one of them. Passwords would not do: a worker keeps the memory in which it has hashed one.
    """
    found: list[str] = []
    with memory_cgroup() as cgroup, ExitStack() as stack:

        async def harm(it: Disturbance) -> None:
            token = await it.shop.sign_in()
            async with supervised(it.shop, stack, wrapper=cgroup.wrapper) as supervisor:
                async with it.outage(
                    f"the API may use {SPARE_BYTES // MIB} MiB more, and needs it", broken=True
                ):
                    tightening = asyncio.create_task(_tighten(cgroup))
                    await _ask_for_invoices(it.shop, token)
                    tightening.cancel()
                    await asyncio.gather(tightening, return_exceptions=True)
                    cgroup.limit(None)
                await complete(it.shop.api, WORKERS)
                context.say(f"{cgroup.kills} processes were killed, the pod {supervisor.restarts} times")
            if not cgroup.kills:
                found.append("the kernel killed no process: the case shows nothing")

        result = await under_load(
            context,
            harm,
            explained=KILLED,
            workers=WORKERS,
            wrapper=cgroup.wrapper,
        )
    result.faults.extend(found)
    return result


async def _tighten(cgroup: MemoryCgroup) -> None:
    """To the least that was needed at any moment, until it was too little."""
    least = cgroup.needed
    while not cgroup.kills:
        least = min(least, cgroup.needed)
        with suppress(OSError):  # so much cannot be reclaimed
            cgroup.limit(least + SPARE_BYTES)
        await asyncio.sleep(0.02)


async def _ask_for_invoices(shop: Shop, token: str) -> None:
    """Of the newest order, as long as the limit holds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + SECONDS
    async with shop.client(token, timeout=5.0) as client:
        while loop.time() < until:
            with suppress(httpx2.TransportError):
                found = await client.get("/orders", params={"limit": 1})
                for order in found.json() if found.is_success else []:
                    await client.get(f"/orders/{order['id']}/invoice.pdf")
            await asyncio.sleep(0.1)


def _highest(pid: int) -> int:
    """Of its descriptors."""
    return max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir())


def _cpu(pid: int) -> float:
    """Seconds, of the process and of the kernel for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def _idle(it: Disturbance) -> AsyncIterator[None]:
    writers = []
    try:
        for _ in range(CONNECTIONS):
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", it.shop.api.port)
                writers.append(writer)
        yield
    finally:
        for writer in writers:
            writer.transport.abort()


@contextmanager
def small(folder: Path) -> Iterator[Path]:
    """A tmpfs of ROOM."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=1777", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """All that is left of its room."""
    file = folder / "other"
    with file.open("wb") as output, suppress(OSError):
        while os.write(output.fileno(), b"x" * BLOCK) == BLOCK:
            pass
    return file


async def exhausted(context: Context) -> Result:
    """First the room of folders, while a worker has to be started; then the descriptors of each worker."""
    found: list[str] = []

    async def harm(it: Disturbance) -> None:
        async with it.outage("/tmp and the folder of metrics are full; a worker is killed", broken=True):
            others = [fill(folder) for folder in (temporary, metrics)]
            os.kill(min(it.shop.api.workers()), signal.SIGKILL)
            await asyncio.sleep(1.0)
            await complete(it.shop.api, WORKERS)
            await asyncio.sleep(SECONDS)
            for other in others:
                other.unlink()
        found.extend(await _use_up_descriptors(it))

    with small(context.folder / "tmp") as temporary, small(context.folder / "metrics") as metrics:
        settings: dict[str, Any] = {"TMPDIR": temporary, "PROMETHEUS_MULTIPROC_DIR": metrics}
        result = await under_load(context, harm, explained=KILLED, workers=WORKERS, **settings)
    result.faults.extend(found)
    return result


async def _use_up_descriptors(it: Disturbance) -> list[str]:
    """Idle connections take the last of each worker: it can accept none, and open none to the database in
    place of those that are cut.
    """
    pids = it.shop.api.workers()
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in pids}
    spent = {pid: _cpu(pid) for pid in pids}
    async with it.outage(f"API workers may open {SPARE_DESCRIPTORS} descriptors more", broken=True):
        for pid, (_, hard) in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (_highest(pid) + 1 + SPARE_DESCRIPTORS, hard))
        async with _idle(it):
            await asyncio.sleep(SECONDS / 2)
            await it.shop.postgresql.execute(CUT)
            await asyncio.sleep(SECONDS / 2)
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    if lost := pids - it.shop.api.workers():
        return [f"{len(lost)} API workers ended for want of descriptors"]
    shares = [round((_cpu(pid) - spent[pid]) / SECONDS, 2) for pid in pids]
    it.context.say(f"share of a core of each worker meanwhile: {shares}")
    return []
