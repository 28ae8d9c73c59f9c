"""From COMMIT to delivery: how soon a webhook gets an event, at a steady rate.

    python bench/deliveries.py [RATE] [SECONDS] [WORKERS]

Starts the service with a database of its own and WORKERS workers (2), registers a webhook whose receiver
is this process, and raises RATE events a second (200) for SECONDS (15), each in a transaction of its own.
A second webhook of the same events hangs: it must not hold the first one up. Ends by itself.
"""

import asyncio
import json
import os
import re
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from processes import free_port, wait_for

from service import events
from service.dev import embedded
from service.platform.config import Settings
from service.platform.database import Database

BIN = Path(sys.executable).parent
EMAIL = "bench@tradepost.example"
#: When the last has to have arrived.
WITHIN = 60.0
WEBHOOK_ID = re.compile(rb"^webhook-id: *evt_(\d+)", re.IGNORECASE | re.MULTILINE)
LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


class Receiver:
    """Answers 204 and notes when each event has first arrived."""

    def __init__(self) -> None:
        self.arrived: dict[int, float] = {}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length, event = LENGTH.search(head), WEBHOOK_ID.search(head)
        await reader.readexactly(int(length[1]) if length else 0)
        if event:
            self.arrived.setdefault(int(event[1]), time.perf_counter())
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()


async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    writer.close()


def main(rate: float, seconds: float, workers: int) -> None:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        port, password = free_port(), secrets.token_urlsafe(24) + "1"
        env = settings(port, folder, password)
        log = stack.enter_context((Path(folder) / "log").open("wb"))
        serve = process(stack, ["serve"], env, log)  # has a worker of its own
        wait_for(serve, port)
        url = embedded.start(Path(folder)).url
        for _ in range(workers - 1):
            own = {"DATABASE_URL": url, "PORT": str(free_port()), "METRICS_PORT": str(free_port())}
            process(stack, ["worker"], env | own, log)
        asyncio.run(measure(port, password, url, folder, (rate, seconds, workers)))


async def measure(port: int, password: str, url: str, folder: str, asked: tuple[float, float, int]) -> None:
    rate, seconds, workers = asked
    receiver = Receiver()
    good = await asyncio.start_server(receiver.connected, "127.0.0.1", 0, backlog=1024)
    bad = await asyncio.start_server(hang, "127.0.0.1", 0, backlog=1024)
    for server in (good, bad):
        target = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        await asyncio.to_thread(register, port, password, target)
    database = Database(
        url.replace("postgresql://", "postgresql+asyncpg://"),
        Settings(environment="test", data_dir=Path(folder), database_pool_size=8, database_pool_timeout=60),
    )
    await raised(database, 20, 10.0)  # what is loaded once does not count
    await arrived(receiver, 20)
    receiver.arrived.clear()
    committed = await raised(database, int(rate * seconds), rate)
    await arrived(receiver, len(committed))
    await database.close()
    waits = [receiver.arrived[event] - at for event, at in committed.items()]
    span = max(receiver.arrived.values()) - min(committed.values())
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores for everything, load {os.getloadavg()[0]:.1f}"
    )
    row("workers", f"{workers}")
    row("events raised a second", f"{rate:.0f}")
    row("delivered a second", f"{len(waits) / span:.0f}")
    row("COMMIT to delivery, ms: median", f"{statistics.median(waits) * 1000:.0f}")
    row("  p99", f"{statistics.quantiles(waits, n=100)[98] * 1000:.0f}")
    row("  the last", f"{max(waits) * 1000:.0f}")


async def raised(database: Database, count: int, rate: float) -> dict[int, float]:
    """Publish events by the clock, however busy the service is; when each was committed, by its id."""
    committed: dict[int, float] = {}

    async def one(number: int) -> None:
        async with database.transaction() as session:
            data = {"id": number, "name": "Chai", "price": "18.00", "version": 1}
            event = await events.publish(session, "item.updated", object_id=number, data=data)
        committed[event] = time.perf_counter()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(1, count + 1):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(one(number))
    return committed


async def arrived(receiver: Receiver, count: int) -> None:
    deadline = time.monotonic() + WITHIN
    while len(receiver.arrived) < count:
        if time.monotonic() > deadline:
            sys.exit(f"{count - len(receiver.arrived)} events have not arrived within {WITHIN:.0f} s.")
        await asyncio.sleep(0.05)


def register(port: int, password: str, target: str) -> None:
    form = {"grant_type": "password", "username": EMAIL, "password": password}
    token = ask(port, "/auth/token", urllib.parse.urlencode(form).encode(), {})["access_token"]
    body = json.dumps({"url": target, "events": ["item.updated"]}).encode()
    ask(port, "/webhooks", body, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})


def ask(port: int, path: str, body: bytes, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1{path}", body, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def settings(port: int, folder: str, password: str) -> dict[str, str]:
    ours = {
        "ENVIRONMENT": "development", "HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": folder,
        "METRICS_PORT": str(free_port()), "SECRET_KEY": secrets.token_urlsafe(48), "SAMPLE": "0",
        "WEB_CONCURRENCY": "1", "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": password,
        "WEBHOOK_ALLOW_PRIVATE": "true", "LOG_LEVEL": "warning",
    }  # fmt: skip
    return os.environ | ours


def process(stack: ExitStack, command: list[str], env: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
    started = subprocess.Popen([f"{BIN}/tradepost", *command], env=env, stdout=log, stderr=log)

    def end() -> None:
        started.send_signal(signal.SIGTERM)
        started.wait(60)

    stack.callback(end)
    return started


def row(what: str, value: str) -> None:
    print(f"| {what:40} | {value:>8} |")


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    main(*(given[:2] + [200.0, 15.0][len(given[:2]) :]), int(given[2]) if given[2:] else 2)
