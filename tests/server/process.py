"""The service as an operator starts it: a real process of its own, always ended with all it started."""

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self

import asyncpg
import httpx2
import psutil

from service.platform.config import Settings
from service.platform.server.profiling import place
from tests.conftest import PLENTY, TEMPLATE, URL_VARIABLE, with_database
from tests.helpers.client import V1
from tests.helpers.waiting import PATIENCE_SECONDS, wait_until

REPOSITORY = Path(__file__).parents[2]
PASSWORD = "correct-horse-1"
FIRST_OF_THE_KERNEL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_numbers = count(1)


def get(url: str, **options: Any) -> httpx2.Response:
    """With more patience than the client's own 5 seconds: a busy machine may just be starting something."""
    return httpx2.get(url, **{"timeout": PATIENCE_SECONDS, **options})


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def free_port() -> int:
    """Free now, and outside of those that the kernel gives to connections.

    One of these could be taken by any connection of this machine before it is listened on.
    """
    while True:
        port = random.randrange(10_000, FIRST_OF_THE_KERNEL)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def statement(url: str, *statements: str) -> None:
    """Execute these on a connection of its own."""

    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            for text in statements:
                await connection.execute(text)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        runner.run(execute())


@contextmanager
def cloned_database(template: str | None = TEMPLATE) -> Iterator[str]:
    """A database of the caller's own, migrated unless `template` is None; its URL."""
    server, name = os.environ[URL_VARIABLE], f"own_{os.getpid()}_{next(_numbers)}"
    statement(server, f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    try:
        yield with_database(server, name)
    finally:
        statement(server, f"DROP DATABASE {name} WITH (FORCE)")


def environment(folder: Path, **settings: object) -> dict[str, str]:
    """Nothing of the machine's own settings comes through."""
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    base = {"PATH": os.environ["PATH"], "PYTHONPATH": path, "HOME": str(folder), "TZ": "UTC"}
    base |= {name.upper(): PLENTY for name in Settings.model_fields if name.startswith("rate_limit_")}
    # Tests order and cancel as often as they like.
    base["CANCELLED_ORDERS_LIMIT"] = "1000000"
    # However slow the machine, nobody is turned away while waiting for a connection.
    base["DATABASE_POOL_TIMEOUT"] = "60"
    base |= {"ENVIRONMENT": "test", "HOST": "127.0.0.1", "DATA_DIR": str(folder / "data")}
    return base | {name: str(value) for name, value in settings.items() if value is not None}


def tradepost(
    folder: Path, *arguments: str, stdin: str = "", **settings: object
) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself, run in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
        cwd=folder,
        env=environment(folder, **settings),
    )


@dataclass
class Service:
    """A running `tradepost serve` (or `dev`): `process` is Gunicorn's master."""

    process: subprocess.Popen[bytes]
    port: int
    metrics_port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Every line of standard output so far; each must be a JSON object."""
        complete = self.stdout.rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"] == name]

    def wait_for(self, event: str, times: int = 1) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.events(event)) >= times)
        return self.events(event)

    def metrics(self) -> str:
        """What the metrics' port says. The process behind it starts beside the workers."""
        self.wait_for("metrics.served")
        return get(f"http://127.0.0.1:{self.metrics_port}/metrics").text

    def descendants(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def workers(self) -> set[int]:
        """The processes that have started to serve, and have not ended."""
        serving = {int(line["event"].partition("[")[2][:-1]) for line in self.booted()}
        return {child.pid for child in self.descendants()} & serving

    def booted(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["event"].startswith("Started server process")]

    def answers(self, path: str = "/readyz") -> bool:
        try:
            return httpx2.get(f"{self.url}{path}", timeout=5).is_success
        except httpx2.TransportError:
            return False

    def wait_until_up(self, path: str = "/readyz") -> Self:
        def up() -> bool:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}: {self.stderr}"
            return self.answers(path)

        wait_until(up)
        return self

    def send(self, signal_: signal.Signals) -> None:
        self.process.send_signal(signal_)

    def ended(self, within: float = PATIENCE_SECONDS) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(within)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.ended()

    def client(self, token: str | None = None, **options: Any) -> httpx2.Client:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.Client(base_url=f"{self.url}{V1}", headers=headers, timeout=PATIENCE_SECONDS, **options)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx2.Response:
        form = {"grant_type": "password", "username": email, "password": password}
        with self.client() as client:
            return client.post("/auth/token", data=form)

    def register(self, email: str) -> str:
        """The access token of someone who has just registered."""
        body = {"email": email, "password": PASSWORD, "full_name": "Maria Anders"}
        with self.client() as client:
            assert client.post("/users", json=body).status_code == 201
        return str(self.sign_in(email).json()["access_token"])


@contextmanager
def started(
    folder: Path,
    *,
    module: tuple[str, ...] = ("service", "serve"),
    wrapper: tuple[str, ...] = (),
    **settings: object,
) -> Iterator[Service]:
    """The service on ports of its own, perhaps not up yet; whatever it left is killed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = {"PORT": free_port(), "METRICS_PORT": free_port(), "WEB_CONCURRENCY": 2}
    env = environment(folder, **{**ports, **settings})
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-m", *module],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=env,
            start_new_session=True,
        )
    service = Service(process, int(env["PORT"]), int(env["METRICS_PORT"]), folder)
    try:
        yield service
    finally:
        # Or what it started between a look at its children and its end would be nobody's.
        service.send(signal.SIGSTOP)
        descendants = service.descendants()
        process.kill()
        process.wait()
        for child in descendants:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(descendants, timeout=PATIENCE_SECONDS)
        shutil.rmtree(place.folder(service.port), ignore_errors=True)


@asynccontextmanager
async def locked_row(url: str, email: str) -> AsyncIterator[asyncpg.Connection]:
    """This account's row is locked, so that any change of it waits; closing the connection frees it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("BEGIN")
        assert await connection.fetchval("SELECT id FROM users WHERE email = $1 FOR UPDATE", email)
        yield connection
    finally:
        await connection.close()
