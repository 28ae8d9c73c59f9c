"""A thousand streams in one worker: what each costs, and how soon a notification arrives.

    python bench/streams.py [N] [SECONDS]

Starts the service with one worker and a database of its own, opens N streams (1,000) of as many people in
one client process, waits through SECONDS (20) of silence, then notifies 20 people a second for SECONDS, one
COMMIT each, and then all at once. Ends by itself.
"""

import asyncio
import json
import os
import resource
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil
from processes import free_port, wait_for

from service.dev import embedded
from service.identity import AccessTokens, Caller

BIN = Path(sys.executable).parent
V1 = "/api/v1"
#: Notifications a second while latency is measured: what a shop with a busy day has.
RATE = 20
#: Streams that are opened at the same time.
OPENING = 20
#: When the last notification of those that are written at once has to have arrived.
WITHIN = 60.0


class Listener:
    """One stream: when each notification has arrived, by its title."""

    def __init__(self) -> None:
        self.arrived: dict[str, float] = {}
        self.pings = 0

    async def open(self, port: int, token: str) -> asyncio.Task[None]:
        # Without a reference to the writer the connection is closed.
        reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        request = (
            f"GET {V1}/notifications/stream HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {token}\r\n\r\n"
        )
        self._writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            sys.exit(f"A stream was refused: {head.decode()}")
        await reader.readuntil(b"id: ")
        return asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            now = time.perf_counter()
            if line.startswith(b"data: "):
                self.arrived[json.loads(line[6:])["title"]] = now
            elif line.startswith(b": "):
                self.pings += 1


def main(count: int, seconds: float) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        port, secret = free_port(), secrets.token_urlsafe(48)
        with (Path(folder) / "log").open("wb") as log:
            service = subprocess.Popen(
                [f"{BIN}/tradepost", "serve"], env=settings(port, folder, secret), stdout=log, stderr=log
            )
            try:
                shop = Shop(started(service, port), port, embedded.start(Path(folder)).url, secret)
                asyncio.run(measure(shop, count, seconds))
            finally:
                service.send_signal(signal.SIGTERM)
                service.wait(60)


@dataclass(frozen=True)
class Shop:
    """The service that was started: its one worker, and its embedded database."""

    worker: psutil.Process
    port: int
    database: str
    secret: str


async def measure(shop: Shop, count: int, seconds: float) -> None:
    worker, sql = shop.worker, await asyncpg.connect(shop.database)
    people = await registered(sql, shop.secret, count)
    # One stream opened and closed first: what is loaded once does not count.
    (await Listener().open(shop.port, people[0][1])).cancel()
    await asyncio.sleep(2)
    empty = memory(worker)
    listeners = [Listener() for _ in people]
    began, reading = time.perf_counter(), []
    for start in range(0, count, OPENING):
        some = zip(listeners[start : start + OPENING], people[start : start + OPENING], strict=True)
        reading += await asyncio.gather(*(listener.open(shop.port, token) for listener, (_, token) in some))
    opening = time.perf_counter() - began
    await asyncio.sleep(2)
    full = memory(worker)
    idle = await share_of_a_core(worker, seconds)
    used = await sql.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tradepost' AND state <> 'idle'"
    )
    one = await notify_one_by_one(sql, people, listeners, seconds)
    everyone = await notify_at_once(sql, people, listeners)
    for task in reading:
        task.cancel()
    await sql.close()
    print(f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, shared with PostgreSQL and the client")
    row(f"{count} streams in one worker", "")
    row("memory of the worker without any, MiB", f"{empty / 2**20:.0f}")
    row("memory of a stream, KiB", f"{(full - empty) / count / 1024:.1f}")
    row("memory of the worker at the end, MiB", f"{memory(worker) / 2**20:.0f}")
    row("opening one, ms", f"{opening / count * 1000:.1f}")
    row(f"CPU while {seconds:.0f} s of silence, % of a core", f"{idle:.1f}")
    row("database connections in use meanwhile", str(used))
    row("comments sent", str(sum(each.pings for each in listeners)))
    row(f"COMMIT to arrival, {RATE} a second, ms: median", f"{quantile(one, 50):.1f}")
    row("  p99", f"{quantile(one, 99):.1f}")
    row("all notified by one COMMIT, ms: median", f"{quantile(everyone, 50):.0f}")
    row("  the last", f"{max(everyone) * 1000:.0f}")


async def notify_one_by_one(
    sql: asyncpg.Connection, people: Sequence[tuple[int, str]], listeners: Sequence[Listener], seconds: float
) -> list[float]:
    committed: list[tuple[Listener, str, float]] = []
    for number in range(int(RATE * seconds)):
        place = secrets.randbelow(len(people))
        title = f"one {number}"
        await notify(sql, people[place : place + 1], title)
        committed.append((listeners[place], title, time.perf_counter()))
        await asyncio.sleep(1 / RATE)
    await arrived([(listener, title) for listener, title, _ in committed])
    return [listener.arrived[title] - at for listener, title, at in committed]


async def notify_at_once(
    sql: asyncpg.Connection, people: Sequence[tuple[int, str]], listeners: Sequence[Listener]
) -> list[float]:
    # Each person's lock stands in PostgreSQL's table of locks: in one transaction not more than fit there.
    at: dict[int, float] = {}
    for start in range(0, len(people), 1_000):
        await notify(sql, people[start : start + 1_000], "all")
        at |= dict.fromkeys(range(start, start + 1_000), time.perf_counter())
    await arrived([(listener, "all") for listener in listeners])
    return [listener.arrived["all"] - at[place] for place, listener in enumerate(listeners)]


async def arrived(awaited: Sequence[tuple[Listener, str]]) -> None:
    deadline = time.monotonic() + WITHIN
    while missing := sum(title not in listener.arrived for listener, title in awaited):
        if time.monotonic() > deadline:
            sys.exit(f"{missing} notifications have not arrived within {WITHIN:.0f} s.")
        await asyncio.sleep(0.05)


async def notify(sql: asyncpg.Connection, people: Sequence[tuple[int, str]], title: str) -> None:
    """One COMMIT; the statement returns when it is done."""
    await sql.execute(
        "INSERT INTO notifications (user_id, kind, title, body) SELECT unnest($1::bigint[]), 'bench', $2, ''",
        sorted(user_id for user_id, _ in people),
        title,
    )


async def registered(sql: asyncpg.Connection, secret: str, count: int) -> list[tuple[int, str]]:
    """Ids and access tokens: signing in a thousand times would only measure the hashing of passwords."""
    users = await sql.fetch(
        "INSERT INTO users (email, full_name, password_hash)"
        " SELECT 'bench' || n || '@shop.example', 'Bench', 'x' FROM generate_series(1, $1) n RETURNING id",
        count,
    )
    sessions = await sql.fetch(
        "INSERT INTO sessions (user_id) SELECT unnest($1::bigint[]) RETURNING id, user_id",
        [user["id"] for user in users],
    )
    tokens = AccessTokens(secret, (), issuer="tradepost", audience="tradepost", clock=time.time)
    return [
        (row["user_id"], tokens.issue(Caller(row["user_id"], row["id"], is_admin=False), client_id="bench"))
        for row in sessions
    ]


async def share_of_a_core(worker: psutil.Process, seconds: float) -> float:
    before = sum(worker.cpu_times()[:2])
    await asyncio.sleep(seconds)
    return (sum(worker.cpu_times()[:2]) - before) / seconds * 100


def memory(worker: psutil.Process) -> int:
    """What is this process's alone, so nothing that it shares with the master."""
    size: int = worker.memory_full_info().uss
    return size


def quantile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100)[percent - 1] * 1000


def row(what: str, value: str) -> None:
    print(f"| {what:52} | {value:>8} |")


def settings(port: int, folder: str, secret: str) -> dict[str, str]:
    ours = {
        "ENVIRONMENT": "development", "HOST": "127.0.0.1", "PORT": str(port), "SECRET_KEY": secret,
        "METRICS_PORT": str(free_port()), "DATA_DIR": folder, "SAMPLE": "0", "WEB_CONCURRENCY": "1",
        "RATE_LIMIT_DEFAULT": "1000000/second",
    }  # fmt: skip
    return os.environ | ours


def started(service: subprocess.Popen[bytes], port: int) -> psutil.Process:
    """The one worker, once it is ready."""
    wait_for(service, port)
    master = psutil.Process(service.pid)
    # The others (metrics, jobs, PostgreSQL) have command lines of their own.
    [worker] = [each for each in master.children() if each.cmdline() == master.cmdline()]
    return worker


if __name__ == "__main__":
    given = [float(each) for each in sys.argv[1:]]
    main(int(given[0]) if given else 1_000, given[1] if given[1:] else 20.0)
