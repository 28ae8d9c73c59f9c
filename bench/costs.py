"""What requests cost: CPU of a worker and of PostgreSQL, and what an order writes. For docs/scaling.md.

    python bench/costs.py [ROUNDS]

Starts PostgreSQL (durable, as in production), the service with one worker and `tradepost worker`, all on this
machine, and asks ROUNDS times (7) for each kind of request, over five connections. What counts is the CPU
time that the kernel has reckoned to the processes, and not how long anything took; of the rounds the
cheapest is taken, the one that other work on the machine has disturbed least. It writes
bench/scaling.toml and ends by itself.
"""

import asyncio
import itertools
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil
from costs_shop import ADMIN, PASSWORD, V1, Client, Shop, customer, form, question
from processes import free_port, wait_for

from service.cli import migrate
from service.dev import embedded

TARGET = Path(__file__).with_name("scaling.toml")
CUSTOMERS = 100
WITHIN = 120
PLENTY = {
    f"RATE_LIMIT_{name}": "1000000/minute" for name in ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")
}
ORDERS = itertools.count()
HOME = {"street": "1 Bench Street", "city": "Berlin", "postal_code": "12209", "country": "DE"}


class Spent:
    """The CPU of these processes, by name, each with whatever has come of it.

    What has ended meanwhile counts with what it had when it was last looked at: PostgreSQL's processes
    come and go.
    """

    def __init__(self, **roots: int) -> None:
        self._roots = roots
        self._seen: dict[str, dict[int, int]] = {name: {} for name in roots}

    def now(self) -> dict[str, int]:
        for name, pid in self._roots.items():
            root = psutil.Process(pid)
            for each in [root, *root.children(recursive=True)]:
                with suppress(FileNotFoundError, ProcessLookupError):
                    self._seen[name][each.pid] = cpu_ns(each.pid)
        return {name: sum(seen.values()) for name, seen in self._seen.items()}


def cpu_ns(pid: int) -> int:
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


@contextmanager
def started(folder: Path, database: str, command: str, **more: str) -> Iterator[tuple[int, int]]:
    """Its process id and port."""
    port = free_port()
    env = PLENTY | {
        "ENVIRONMENT": "test", "HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(free_port()),
        "DATA_DIR": str(folder), "DATABASE_URL": database, "WEB_CONCURRENCY": "1",
        "SECRET_KEY": secrets.token_urlsafe(48), "PUBLIC_URL": "http://127.0.0.1",
        # As the chart has it.
        "DATABASE_POOL_SIZE": "7", "DATABASE_MAX_OVERFLOW": "0", **more,
    }  # fmt: skip
    with running(folder, ["-m", "service", command], env, port, "/readyz") as pid:
        yield pid, port


@contextmanager
def running(
    folder: Path, command: list[str], settings: dict[str, str], port: int, path: str
) -> Iterator[int]:
    """Start a Python program and wait until `path` answers; its process id. It is stopped in the end."""
    folder.mkdir()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command], env=os.environ | settings, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_for(process, port, path)
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@contextmanager
def database_in(folder: Path) -> Iterator[tuple[str, int]]:
    """PostgreSQL, durable as in production, with the schema; its URL and process id."""
    folder.chmod(0o755)  # the database runs under another account where this is root
    with embedded.start(folder / "database", durable=True) as server:
        migrate.upgrade(server.url.replace("postgresql://", "postgresql+asyncpg://"))
        lock = folder / "database" / "postgres" / "postmaster.pid"
        yield server.url, int(lock.read_text().split()[0])


def kinds(shop: Shop) -> dict[str, tuple[int, bytes, Callable[[int], bytes]]]:
    """For each: how many a round, the status, and the request."""

    def token(turn: int) -> str:
        return f"Bearer {shop.people[turn % len(shop.people)]}"

    def item(turn: int) -> str:
        return f"{V1}/items/{shop.items[turn % len(shop.items)]}"

    def order(_: int) -> bytes:
        turn = next(ORDERS)
        lines = [
            {"product_id": shop.items[(turn + step) % len(shop.items)], "quantity": 1, "unit_price": "12.50"}
            for step in (0, 7)
        ]
        body = json.dumps({"lines": lines, "ship_to": HOME}).encode()
        headers = {"Content_Type": "application/json", "Idempotency_Key": secrets.token_hex(16)}
        return question("POST", f"{V1}/orders", body, Authorization=token(turn), **headers)

    def signing_in(turn: int) -> bytes:
        body = form(customer(turn % len(shop.people)))
        return question("POST", f"{V1}/auth/token", body, Content_Type="application/x-www-form-urlencoded")

    return {
        "item_from_memory": (1_600, b"200", lambda turn: question("GET", item(turn))),
        "item_signed_in": (
            1_600, b"200", lambda turn: question("GET", item(turn), Authorization=token(turn)),
        ),
        "list_of_20": (
            800, b"200", lambda turn: question("GET", f"{V1}/items?limit=20", Authorization=token(turn)),
        ),
        "item": (
            400, b"200",
            lambda turn: question("GET", item(turn), Authorization=token(turn), Cache_Control="no-cache"),
        ),
        "profile": (
            400, b"200", lambda turn: question("GET", f"{V1}/users/profile", Authorization=token(turn)),
        ),
        "order": (80, b"201", order),
        "sign_in": (25, b"200", signing_in),
    }  # fmt: skip


def measure(client: Client, spent: Spent, shop: Shop, rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds of CPU a request."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, (count, status, make) in kinds(shop).items():
        for number in range(rounds + 1):
            shop.stay_signed_in(client)
            questions = [make(turn) for turn in range(count)]
            before = spent.now()
            answers = client.ask(questions, status)
            after = spent.now()
            if name == "order":
                shop.settle(answers)
            if not number:  # the first of all warms up
                continue
            for part in ("api", "postgres"):
                costs = found.setdefault(name, {}).setdefault(part, [])
                costs.append((after[part] - before[part]) / count / 1_000)
        print(name, {part: round(min(costs)) for part, costs in found[name].items()}, flush=True)
    return {name: {part: min(costs) for part, costs in parts.items()} for name, parts in found.items()}


async def jobs_done(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        deadline = time.monotonic() + WITHIN
        while await connection.fetchval("SELECT count(*) FROM pgqueuer WHERE status IN ('queued', 'picked')"):
            if time.monotonic() > deadline:
                sys.exit("the jobs were not done in time")
            await asyncio.sleep(0.5)
    finally:
        await connection.close()


async def written(database: str) -> tuple[int, int]:
    """Bytes of the log of changes so far, and of the database."""
    connection = await asyncpg.connect(database)
    try:
        log = await connection.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
        size = await connection.fetchval("SELECT pg_database_size(current_database())")
        return int(log), int(size)
    finally:
        await connection.close()


def follow(client: Client, spent: Spent, shop: Shop, database: str) -> dict[str, float]:
    """What follows from an order: the worker's events, jobs and mails; and bytes, all of it included."""
    count, status, make = kinds(shop)["order"]
    shop.stay_signed_in(client)
    asyncio.run(jobs_done(database))
    before, bytes_before = spent.now(), asyncio.run(written(database))
    client.ask([make(turn) for turn in range(count)], status)
    asyncio.run(jobs_done(database))
    after, bytes_after = spent.now(), asyncio.run(written(database))
    whole = {part: (after[part] - before[part]) / count / 1_000 for part in before}
    wal, size = ((b - a) / count for a, b in zip(bytes_before, bytes_after, strict=True))
    return {"worker": whole["jobs"], "postgres": whole["postgres"], "wal_bytes": wal, "stored_bytes": size}


def write(costs: dict[str, dict[str, float]], after: dict[str, float], load: float) -> None:
    loads = f"load {load:.0f} to {os.getloadavg()[0]:.0f}"
    where = f"{cpu_name()}, Python {sys.version.split()[0]}, {loads}"
    old = tomllib.loads(TARGET.read_text()) if TARGET.exists() else {}
    lines = [
        "# Measured by bench/costs.py: microseconds of CPU for one request, of a worker and of PostgreSQL.",
        "[measured]",
        f'date = "{datetime.now(UTC):%Y-%m-%d}"',
        f'where = "{where}"',
        "",
    ]
    for name, parts in costs.items():
        lines += [f"[measured.{name}]"] + [f"{part} = {value:.0f}" for part, value in parts.items()] + [""]
    lines += ["# With all that follows from an order: its events, jobs, mails and notifications."]
    lines += ["[measured.order_and_what_follows]"]
    lines += [f"{part} = {value:.0f}" for part, value in after.items()] + [""]
    if assumed := old.get("assumed"):
        text = TARGET.read_text()
        lines += [text[text.index("# Assumed") :].rstrip("\n")] if assumed else []
    TARGET.write_text("\n".join(lines) + "\n")


def cpu_name() -> str:
    text = Path("/proc/cpuinfo").read_text()
    name = next(
        (line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")), "CPU"
    )
    return f"{os.cpu_count()} CPUs of a virtual machine ({name.strip()})"


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        url, postmaster = stack.enter_context(database_in(folder))
        admin = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
        api, port = stack.enter_context(started(folder / "api", url, "serve", **admin))
        jobs, _ = stack.enter_context(started(folder / "worker", url, "worker"))
        shop, client = Shop(port, CUSTOMERS), Client(port)
        stack.callback(client.close)
        spent = Spent(api=api, postgres=postmaster, jobs=jobs)
        costs = measure(client, spent, shop, rounds)
        after = follow(client, spent, shop, url)
        print("order_and_what_follows", {part: round(value) for part, value in after.items()})
    write(costs, after, load)
    return 0


if __name__ == "__main__":
    sys.exit(main())
