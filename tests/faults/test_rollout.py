"""A rehearsal of a rollout: pods come and go under load as the chart has it, and nobody notices."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from service.platform.config import generate_key
from tests.conftest import PLENTY
from tests.faults.balancer import NEWS_SECONDS, PROBE_SECONDS, Balancer, answers, balanced
from tests.faults.shoppers import Shopper, Shopping, registered
from tests.helpers.waiting import wait_until
from tests.pods.rendered import Container, containers
from tests.pods.sandbox import entrypoint, environment_of_the_image
from tests.server.process import Service, alive, cloned_database, free_port, statement

pytestmark = pytest.mark.slow

SHOP = (
    """INSERT INTO items (id, sku, name, price, availability)
       SELECT id, 'TEA-' || id, 'Chai', 18, 'in_stock' FROM generate_series(1, 9) id""",
    "INSERT INTO stock (item_id, quantity) SELECT id, 1000000 FROM items",
)
RESTARTS = 20
#: What the chart is told instead of its ten, to be done within a minute: more than the second that it takes
#: until no new connection comes, and what is left is for clients to hear that they should go.
DRAIN_SECONDS = 3
#: Neither limits nor a machine that is busy with other things are rehearsed.
CONFIG = {f"RATE_LIMIT_{name}": PLENTY for name in ("DEFAULT", "SIGN_IN", "REGISTER")} | {
    # Each shopper orders and cancels all the time.
    "CANCELLED_ORDERS_LIMIT": "1000000"
}
CONFIG |= {f"DATABASE_{name}_TIMEOUT": "60" for name in ("POOL", "STATEMENT")}


@pytest.fixture
def database() -> Iterator[str]:
    with cloned_database() as url:
        statement(url, *SHOP)
        yield url


@pytest.fixture
def api(database: str, tmp_path: Path) -> Container:
    values = {
        "secrets": {"secretKey": generate_key(), "databaseUrl": database},
        "config": CONFIG,
        "api": {"workers": 2, "shutdown": {"drainSeconds": DRAIN_SECONDS}},
    }
    return containers(values, tmp_path)["api"]


class Instance:
    """What the container does, on this machine: its folders are the test's, its address is its own."""

    def __init__(self, container: Container, folder: Path) -> None:
        self._container, self._folder = container, folder
        self._mounts = [*container.folders, *{file.parent for file in container.secrets}]
        for mount in self._mounts:
            Path(self._here(str(mount))).mkdir(parents=True, exist_ok=True)
        for file, content in container.secrets.items():
            Path(self._here(str(file))).write_bytes(content)
        address = {"HOST": "127.0.0.1", "PORT": str(free_port()), "METRICS_PORT": str(free_port())}
        rendered = {**environment_of_the_image(), **container.environment}
        # Where programs are is this machine's affair, even if that is below a folder of the container's name.
        mapped = {name: self._here(value) for name, value in rendered.items() if name != "PATH"}
        self._environment = mapped | {"PATH": rendered["PATH"]} | address
        self.workers = int(rendered["WEB_CONCURRENCY"])
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = subprocess.Popen(
                [*(container.command or entrypoint()), *container.args],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self._environment,
                cwd=folder,
                start_new_session=True,
            )
        self.service = Service(process, int(address["PORT"]), int(address["METRICS_PORT"]), folder)
        self.address = ("127.0.0.1", self.service.port)

    def _here(self, value: str) -> str:
        """A path in one of the container's folders, in the test's."""
        path = Path(value)
        inside = any(path.is_relative_to(mount) for mount in self._mounts)
        return str(self._folder / path.relative_to("/")) if inside else value

    async def started(self) -> None:
        path = self._container.probes["startupProbe"].path
        while not await answers(self.address, path):
            assert self.service.process.poll() is None, self.service.stdout + self.service.stderr
            await asyncio.sleep(PROBE_SECONDS)

    async def terminate(self, *, hook: bool = True) -> None:
        """As a kubelet does it."""
        if hook:
            assert self._container.pre_stop is not None
            ran = await asyncio.create_subprocess_exec(*self._container.pre_stop, env=self._environment)
            assert await ran.wait() == 0
        self.service.send(signal.SIGTERM)
        assert await asyncio.to_thread(self.service.ended, self._container.grace_seconds) == 0

    def kill(self) -> None:
        for child in self.service.descendants():
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self.service.process.kill()
        self.service.process.wait()


class Rehearsal:
    """Instances behind a balancer, and customers in front of it."""

    def __init__(self, api: Container, folder: Path, balancer: Balancer) -> None:
        self._api, self._folder, self.balancer = api, folder, balancer
        self._url = f"http://127.0.0.1:{balancer.port}"
        self.instances: list[Instance] = []
        self._made: list[Instance] = []
        self._shoppers: list[Shopper] = []

    async def start(self) -> None:
        """One more, until it is ready and gets connections."""
        instance = Instance(self._api, self._folder / f"instance-{len(self._made)}")
        self._made.append(instance)
        await instance.started()
        self.balancer.watch(instance.address)
        await self.balancer.has(instance.address)
        self.instances.append(instance)

    @asynccontextmanager
    async def shopping(self, name: str) -> AsyncIterator[Shopping]:
        """What customers do meanwhile."""
        if not self._shoppers:
            self._shoppers = await registered(self._url)
        shopping = Shopping(self._url, name)
        async with shopping.of(self._shoppers):
            yield shopping

    async def roll_out(self, restarts: int) -> None:
        """The oldest goes when a new one is ready; while it ends, the next is started."""
        async with asyncio.TaskGroup() as ending:
            for _ in range(restarts):
                await self.start()
                ending.create_task(self.instances.pop(0).terminate())

    async def reload(self, times: int, shopping: Shopping) -> None:
        """The master starts new workers and ends the old ones, which share a socket. Whatever the machine's
        pace, something is ordered between two of these.
        """
        service, count = self.instances[0].service, self.instances[0].workers
        for _ in range(times):
            await shopping.goes_on()
            # One may still be starting: the next reload would not end with as many as this one began with.
            await asyncio.to_thread(wait_until, lambda: len(service.workers()) == count)
            old = service.workers()
            service.send(signal.SIGHUP)
            await asyncio.to_thread(wait_until, lambda: not any(map(alive, old)))  # noqa: B023 - awaited here

    def stop(self) -> None:
        for instance in self._made:
            instance.kill()


@asynccontextmanager
async def rehearsal(api: Container, folder: Path, instances: int) -> AsyncIterator[Rehearsal]:
    async with balanced() as balancer:
        made = Rehearsal(api, folder, balancer)
        try:
            for _ in range(instances):
                await made.start()
            yield made
        finally:
            made.stop()


async def kept(url: str) -> dict[str, int]:
    """How many orders there are of each reference."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT reference, count(*) FROM orders GROUP BY reference")
        return {str(reference): int(count) for reference, count in rows}
    finally:
        await connection.close()


async def assert_nothing_lost(shopping: Shopping, balancer: Balancer, database: str) -> None:
    assert shopping.faults == []
    assert set(shopping.answers) == {200, 201}
    assert shopping.sent == shopping.answers.total()
    assert (balancer.refused, balancer.broken) == (0, 0)
    assert await kept(database) == dict.fromkeys(shopping.orders, 1)
    assert len(shopping.orders) > RESTARTS


class TestRollout:
    async def test_twenty_restarts_lose_nothing(self, api: Container, database: str, tmp_path: Path) -> None:
        async with rehearsal(api, tmp_path, instances=2) as rehearsed:
            async with rehearsed.shopping("rollout") as shopping:
                await rehearsed.roll_out(RESTARTS)
            await assert_nothing_lost(shopping, rehearsed.balancer, database)
            # Told to stop without the hook, a single one is missed: the rehearsal would have noticed.
            async with rehearsed.shopping("at-once") as shopping:
                await rehearsed.instances.pop(0).terminate(hook=False)
                await asyncio.sleep(NEWS_SECONDS)
            assert shopping.faults != []
            assert rehearsed.balancer.refused > 0


class TestReload:
    async def test_twenty_in_a_row_lose_nothing(self, api: Container, database: str, tmp_path: Path) -> None:
        async with rehearsal(api, tmp_path, instances=1) as rehearsed:
            async with rehearsed.shopping("reload") as shopping:
                await rehearsed.reload(RESTARTS, shopping)
                await shopping.goes_on()
            await assert_nothing_lost(shopping, rehearsed.balancer, database)
