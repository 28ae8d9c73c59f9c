"""What a further worker costs in memory, and how long the service takes to start.

    python bench/workers.py [ROUNDS [CHECKOUT]]

Starts `tradepost serve` as a pod does (production, the schema is there) with 1, 2 and 4 workers, ROUNDS times
each (3), and takes the best round for each figure: other work on the machine only adds to it. With the path
of a checkout of another commit, that one's service is started by turns with this one's. Each round stops the
clock when /readyz answers, and when every worker serves; then each worker gets 1,000 mixed requests, and
the kernel says how much memory the processes have (PSS: a page that n processes share counts as an nth).
It writes the figures to docs/benchmarks/processes.md and build/workers.json, and ends by itself.
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
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import psutil
from costs import cpu_name
from costs_shop import ADMIN, PASSWORD, V1, Client, Shop, question
from processes import START_WITHIN, free_port

from service.dev import embedded

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "benchmarks" / "processes.md"
TARGET = REPOSITORY / "build" / "workers.json"
BEGIN, END = "<!-- figures: written by `make bench-processes` -->", "<!-- end of figures -->"
BEFORE = {"other": " before"}
ROWS = {
    "ready": "seconds until `/readyz` answers",
    "all_ready": "seconds until every worker serves",
    "cpu": "seconds of CPU until then, of master and workers",
    "memory": "MiB of memory (PSS) after the requests, of all processes",
    "master": "of it the master's",
    "workers": "of it the workers'",
}
MIB = ("memory", "master", "workers")
WORKERS = (1, 2, 4)
#: Between these the memory of a further worker is taken.
FEW, MANY = 1, 4
REQUESTS = 1_000
#: After so many, connections are made anew: the kernel deals them out among the workers.
BATCH = 20
CUSTOMERS = 10
#: After the requests: memory of hashed passwords goes back to the kernel when none was hashed for 5 s.
IDLE_SECONDS = 6.0
POLL_SECONDS = 0.01
HOME = {"street": "1 Bench Street", "city": "Berlin", "postal_code": "12209", "country": "DE"}


@dataclass(frozen=True)
class Start:
    """Seconds until /readyz answers, until every worker serves, and of CPU time until then; MiB of memory
    of all processes, of the master and of the workers, after the requests.
    """

    ready: float
    all_ready: float
    cpu: float
    memory: float
    master: float
    workers: float


@dataclass(frozen=True)
class Service:
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def processes(self) -> list[psutil.Process]:
        master = psutil.Process(self.process.pid)
        return [master, *master.children(recursive=True)]

    def serving(self) -> list[int]:
        """The workers that have begun to serve."""
        lines = [
            json.loads(line)["event"] for line in self.log.read_text().splitlines() if '"Started' in line
        ]
        return [int(line.partition("[")[2].partition("]")[0]) for line in lines]

    def complete(self) -> int:
        return self.log.read_text().count('"Application startup complete.')

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
            return True
        return False


def environment(folder: Path, url: str, workers: int) -> dict[str, str]:
    limits = ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")
    return {f"RATE_LIMIT_{name}": "1000000/minute" for name in limits} | {
        "PATH": os.environ["PATH"], "HOME": str(folder), "ENVIRONMENT": "production", "HOST": "127.0.0.1",
        "PORT": str(free_port()), "METRICS_PORT": str(free_port()), "DATA_DIR": str(folder),
        "DATABASE_URL": url, "WEB_CONCURRENCY": str(workers), "SECRET_KEY": secrets.token_urlsafe(48),
        # As the chart has it.
        "DATABASE_POOL_SIZE": "7", "DATABASE_MAX_OVERFLOW": "0",
    }  # fmt: skip


@contextmanager
def started(checkout: Path, folder: Path, settings: dict[str, str]) -> Iterator[Service]:
    folder.mkdir()
    log = folder / "log"
    command = [python_of(checkout), "-m", "service", "serve"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=checkout, env=settings, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Service(process, int(settings["PORT"]), log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def prepare(checkout: Path, folder: Path, url: str) -> None:
    """The schema and the administrator, as `tradepost migrate` of that commit makes them."""
    # Production would refuse the password, which is published.
    settings = environment(folder, url, 1) | {"ENVIRONMENT": "test"}
    settings |= {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
    command = [python_of(checkout), "-m", "service", "migrate"]
    subprocess.run(command, cwd=checkout, env=settings, check=True, stdout=subprocess.DEVNULL)


async def copied(url: str, name: str) -> str:
    """A database of its own for each service, so that each has the same shop."""
    server = url.rpartition("/")[0]
    connection = await asyncpg.connect(server.replace("+asyncpg", "") + "/postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE tradepost")
    finally:
        await connection.close()
    return f"{server}/{name}"


def python_of(checkout: Path) -> str:
    own = checkout / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def mixed(shop: Shop, turn: int) -> tuple[bytes, bytes]:
    """A request and the status of its answer: mostly reads, half of them signed in, and an order in ten."""
    token = f"Bearer {shop.people[turn % len(shop.people)]}"
    item = f"{V1}/items/{shop.items[turn % len(shop.items)]}"
    reads = (item, f"{V1}/items?limit=20", f"{V1}/items?search=sentence", f"{V1}/posts")
    own = (
        item,
        f"{V1}/users/profile",
        f"{V1}/orders?limit=20",
        f"{V1}/notifications",
        f"{V1}/items?limit=20",
    )
    match turn % 10:
        case 0:
            line = {"product_id": shop.items[turn % len(shop.items)], "quantity": 1, "unit_price": "12.50"}
            body = json.dumps({"lines": [line], "ship_to": HOME}).encode()
            headers = {"Content_Type": "application/json", "Idempotency_Key": secrets.token_hex(16)}
            return question("POST", f"{V1}/orders", body, Authorization=token, **headers), b"201"
        case kind if kind % 2:
            return question("GET", reads[turn // 10 % len(reads)]), b"200"
        case _:
            return question("GET", own[turn // 10 % len(own)], Authorization=token), b"200"


def visit(shop: Shop, requests: int) -> None:
    for first in range(0, requests, BATCH):
        client = Client(int(shop.url.rpartition(":")[2].partition("/")[0]))
        for turn in range(first, first + BATCH):
            request, status = mixed(shop, turn)
            answer = client.ask([request], status)
            if status == b"201":
                shop.settle(answer)
        client.close()


def memory(pid: int) -> float:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) / 1024


def measured(checkout: Path, folder: Path, settings: dict[str, str], workers: int) -> Start:
    began = time.monotonic()
    with started(checkout, folder, settings) as service:
        ready = all_ready = 0.0
        while not (ready and all_ready):
            if service.process.poll() is not None or time.monotonic() - began > START_WITHIN:
                sys.exit(f"a service did not become ready: {service.log.read_text()[-2000:]}")
            if not ready and service.answers():
                ready = time.monotonic() - began
            if service.complete() == workers:
                all_ready = time.monotonic() - began
            time.sleep(POLL_SECONDS)
        cpu = sum(sum(each.cpu_times()[:4]) for each in service.processes()[:1])
        cpu += sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in service.serving())
        shop = Shop(service.port, CUSTOMERS)
        visit(shop, REQUESTS * workers)
        time.sleep(IDLE_SECONDS)
        each = {process.pid: memory(process.pid) for process in service.processes()}
        own = sum(each[pid] for pid in service.serving())
        return Start(ready, all_ready, cpu, sum(each.values()), each[service.process.pid], own)


def best_of(starts: dict[int, list[Start]]) -> dict[int, Start]:
    """The best of the rounds, for each figure."""
    return {
        count: Start(*(min(values) for values in zip(*map(astuple, some), strict=True)))
        for count, some in starts.items()
    }


def further_worker(best: dict[int, Start]) -> float:
    return (best[MANY].memory - best[FEW].memory) / (MANY - FEW)


def table(best: dict[str, dict[int, Start]]) -> list[str]:
    sides = [(name, count) for name in best for count in WORKERS]
    heads = [f"{count}{'' if name == 'this' else ', before'}" for name, count in sides]
    lines = [f"| workers | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for field, words in ROWS.items():
        cells = [f"{getattr(best[name][count], field):.{1 if field in MIB else 2}f}" for name, count in sides]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    further = [f"**{further_worker(each):.1f} MiB**" + BEFORE.get(name, "") for name, each in best.items()]
    return [*lines, "", f"A further worker: {', '.join(further)}."]


def write(lines: list[str], rounds: int, load: float) -> None:
    when = f"{datetime.now(UTC):%Y-%m-%d}: {cpu_name()}, Python {sys.version.split()[0]}"
    where = f"Measured on {when}, load {load:.0f} to {os.getloadavg()[0]:.0f}; the best of {rounds} rounds."
    head, _, rest = PAGE.read_text().partition(BEGIN)
    text = "\n".join([BEGIN, "", *lines, "", where, "", END])
    PAGE.write_text(head + text + rest.partition(END)[2])


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    load = os.getloadavg()[0]
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    checkouts = {"this": REPOSITORY} | ({"other": Path(sys.argv[2]).resolve()} if len(sys.argv) > 2 else {})
    starts: dict[str, dict[int, list[Start]]] = {name: defaultdict(list) for name in checkouts}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)  # the database runs under another account where this is root
        urls = {}
        for which, checkout in checkouts.items():
            # Each has a database: the schemas may differ.
            server = stack.enter_context(embedded.start(folder / which, durable=False))
            urls[which] = server.url.replace("postgresql://", "postgresql+asyncpg://")
            prepare(checkout, folder, urls[which])
        for number, workers, which in itertools.product(range(rounds), WORKERS, checkouts):
            place = folder / f"{which}-{number}-{workers}"
            settings = environment(
                place, asyncio.run(copied(urls[which], f"shop_{number}_{workers}")), workers
            )
            start = measured(checkouts[which], place, settings, workers)
            starts[which][workers].append(start)
            print(which, workers, start, flush=True)
    best = {name: best_of(each) for name, each in starts.items()}
    lines = table(best)
    print(*lines, sep="\n")
    write(lines, rounds, load)
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps({n: {c: asdict(s) for c, s in each.items()} for n, each in best.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
