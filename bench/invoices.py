"""Does a storm of invoices slow down who only looks at an item? Measure it against a service started for it.

    python bench/invoices.py [ROUNDS]

Each round (10) is a quiet phase and a stormy one, in turn, so that whatever else the machine does hits both
alike. One client asks for an item a hundred times a second, by the clock: what comes late counts from when
it should have been sent. In the storm, clients in another process ask for an invoice of 100 lines again
and again; when refused they wait 50 ms, far less than Retry-After. Everything stops by itself.

The first storm stands apart: it starts the processes that render.
"""

import asyncio
import http.client
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from processes import free_port, wait_for

BIN = Path(sys.executable).parent
V1 = "/api/v1"
ADMIN, PASSWORD = "ada@shop.example", "correct-horse-1"
WORKERS = 2
ROUNDS, PHASE_SECONDS, SETTLE_SECONDS = 10, 3.0, 0.5
READS_A_SECOND, READERS = 100, 8
STORM_CLIENTS = 16
PAUSE_SECONDS = 0.05
#: What the service says to those that it has no room for.
REFUSALS = (429, 503)
GOAL = 3.0
LIMITS = ("DEFAULT", "SIGN_IN", "REFRESH", "REGISTER", "RESET")
NAMES = (
    "Chai with honey, cardamom and orange peel from the gardens of the western slopes, 10 x 20 bags",
    "Ελληνικός καφές σκέτος, φρεσκοκομμένος, από την Αθήνα",
    "Чай чёрный байховый «Три слона», листовой, высший сорт",
    "日本の緑茶（煎茶）ティーバッグ、二〇個入り、宇治の老舗から直送される特別な一品",
    "서울 인삼차 선물 세트, 고급 홍삼 절편과 함께 드리는 명절 한정판",
)
#: Of the picture: upper ends of its rows in milliseconds.
ROWS = (2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100, 1000, math.inf)
WIDEST = 50


class Shop:
    """One connection to the service, for setting things up."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers: dict[str, str] = {}

    def post(self, path: str, body: Any, **headers: str) -> Any:
        form = isinstance(body, str)
        media = "application/x-www-form-urlencoded" if form else "application/json"
        sent = body if form else json.dumps(body)
        self.connection.request("POST", V1 + path, sent, {"Content-Type": media, **self.headers, **headers})
        answer = self.connection.getresponse()
        content = answer.read()
        if answer.status not in (200, 201):
            sys.exit(f"POST {path} answered {answer.status}: {content.decode()[:300]}")
        return json.loads(content)

    def order_of_a_hundred_lines(self) -> tuple[int, int, str]:
        """Ids of an item and of an order, and the token that may see its invoice."""
        form = urlencode({"grant_type": "password", "username": ADMIN, "password": PASSWORD})
        token = self.post("/auth/token", form)["access_token"]
        self.headers = {"Authorization": f"Bearer {token}"}
        new = [
            {"name": f"{n} {NAMES[n % len(NAMES)]}", "price": f"{n}.10", "stock": 9} for n in range(1, 101)
        ]
        items = self.post("/items/batch", new)
        lines = [{"product_id": item["id"], "quantity": 1} for item in items]
        order = self.post("/orders", {"lines": lines}, **{"Idempotency-Key": "bench-invoices"})
        return items[0]["id"], order["id"], token


class Client:
    """As little as speaks HTTP, so that the measuring takes nothing from what is measured."""

    def __init__(self, port: int, path: str, token: str = "") -> None:
        self.port = port
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        self.request = f"GET {V1}{path} HTTP/1.1\r\nHost: shop.example\r\n{authorization}\r\n".encode()

    async def connect(self) -> "Client":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def get(self) -> int:
        self.writer.write(self.request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        _, _, rest = head.partition(b"content-length:")
        await self.reader.readexactly(int(rest.partition(b"\r\n")[0]))
        return int(head[9:12])


async def read(clients: Sequence[Client], seconds: float) -> list[float]:
    """Milliseconds from when each request was due."""
    loop, took, free = asyncio.get_running_loop(), [], asyncio.Queue[Client]()
    for client in clients:
        free.put_nowait(client)

    async def one(due: float) -> None:
        client = await free.get()
        if await client.get() != 200:
            sys.exit("An item was refused.")
        took.append((loop.time() - due) * 1000)
        free.put_nowait(client)

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(int(seconds * READS_A_SECOND)):
            due = began + number / READS_A_SECOND
            await asyncio.sleep(max(0.0, due - loop.time()))
            group.create_task(one(due))
    return took


async def storm(port: int, path: str, token: str, seconds: float) -> Counter[int]:
    """How often each status was answered."""
    seen: Counter[int] = Counter()
    deadline = time.monotonic() + seconds

    async def one() -> None:
        client = await Client(port, path, token).connect()
        while time.monotonic() < deadline:
            status = await client.get()
            seen[status] += 1
            if status not in (200, *REFUSALS):
                sys.exit(f"An invoice was answered with {status}.")
            if status != 200:
                await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*(one() for _ in range(STORM_CLIENTS)))
    return seen


async def measured(port: int, rounds: int, item: int, order: int, token: str) -> dict[str, Any]:
    readers = [await Client(port, f"/items/{item}").connect() for _ in range(READERS)]
    await read(readers, 2.0)
    storming = (port, f"/orders/{order}/invoice.pdf", token)
    found: dict[str, Any] = {"quiet": [], "storm": [], "busy": [], "seen": Counter()}
    found["cold"], _ = await read_in_storm(readers, storming)
    for _ in range(rounds):
        await asyncio.sleep(SETTLE_SECONDS)
        idle = idle_seconds()
        found["quiet"].append(await read(readers, PHASE_SECONDS))
        found["busy"].append(1 - (idle_seconds() - idle) / PHASE_SECONDS / (os.cpu_count() or 1))
        took, seen = await read_in_storm(readers, storming)
        found["storm"].append(took)
        found["seen"].update(seen)
    return found


async def read_in_storm(
    readers: Sequence[Client], storming: tuple[int, str, str]
) -> tuple[list[float], Counter[int]]:
    """The storm begins before and ends after what is measured."""
    arguments = ["storm", *map(str, storming), str(PHASE_SECONDS + 2 * SETTLE_SECONDS)]
    clients = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *arguments, stdout=asyncio.subprocess.PIPE
    )
    await asyncio.sleep(SETTLE_SECONDS)
    took = await read(readers, PHASE_SECONDS)
    answered, _ = await clients.communicate()
    if clients.returncode:
        sys.exit("The storm ended before its time.")
    return took, Counter({int(status): count for status, count in json.loads(answered).items()})


def idle_seconds() -> float:
    """Of all CPUs since the machine was started: others may be at work here."""
    ticks = int(Path("/proc/stat").read_text().split(maxsplit=5)[4])
    return ticks / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], percent: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def report(found: dict[str, Any], rounds: int, load: Sequence[float]) -> float:
    each_way = f"{rounds} rounds of {PHASE_SECONDS:g} s each way"
    print(f"GET /items/{{id}}, {READS_A_SECOND} a second, milliseconds; {each_way}")
    print(f"{'':12}{'requests':>9}{'median':>9}{'90 %':>9}{'99 %':>9}{'longest':>9}")
    whole = {kind: [each for phase in found[kind] for each in phase] for kind in ("quiet", "storm")}
    for kind, values in whole.items():
        shown = [statistics.median(values), percentile(values, 90), percentile(values, 99), max(values)]
        print(f"{kind:12}{len(values):9}" + "".join(f"{value:9.2f}" for value in shown))
    print(f"\n{'round':12}{'quiet 99 %':>12}{'storm 99 %':>12}{'ratio':>9}   CPUs busy when quiet")
    ratios = []
    for number, (quiet, stormy, busy) in enumerate(
        zip(found["quiet"], found["storm"], found["busy"], strict=True), 1
    ):
        low, high = percentile(quiet, 99), percentile(stormy, 99)
        ratios.append(high / low)
        print(f"{number:<12}{low:12.2f}{high:12.2f}{high / low:9.2f}   {busy:.0%}")
    ratio = percentile(whole["storm"], 99) / percentile(whole["quiet"], 99)
    median = statistics.median(ratios)
    print(f"storm / quiet at 99 %: {ratio:.2f} of all, {median:.2f} in the median round; goal {GOAL:g}")
    print(f"the first storm, not counted: {percentile(found['cold'], 99):.2f}")
    seconds = rounds * (PHASE_SECONDS + 2 * SETTLE_SECONDS)
    done, refused = found["seen"][200], found["seen"].total() - found["seen"][200]
    print(f"{STORM_CLIENTS} clients got {done} invoices of 100 lines ({done / seconds:.1f}/s),", end=" ")
    print(f"{refused} refusals")
    print(f"{WORKERS} workers, {os.cpu_count()} CPUs, load before and after {load[0]:.2f}, {load[1]:.2f}")
    picture(whole)
    return ratio


def picture(whole: dict[str, list[float]]) -> None:
    """How many requests took how long, each # the same share of a kind."""
    print(f"\n{'ms, up to':>10}  {'quiet':{WIDEST}}  storm")
    low = 0.0
    for high in ROWS:
        shares = [sum(low < each <= high for each in values) / len(values) for values in whole.values()]
        quiet, stormy = ("#" * round(share * WIDEST) or ("." if share else "") for share in shares)
        print(f"{high:>10}  {quiet:{WIDEST}}  {stormy}")
        low = high


def settings(port: int, folder: str) -> dict[str, str]:
    ours = {
        "ENVIRONMENT": "development", "HOST": "127.0.0.1", "PORT": str(port), "LOG_LEVEL": "INFO",
        "METRICS_PORT": str(free_port()), "DATA_DIR": folder, "SAMPLE": "0", "WEB_CONCURRENCY": str(WORKERS),
        "ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD,
    }  # fmt: skip
    return os.environ | ours | {f"RATE_LIMIT_{each}": "1000000/second" for each in LIMITS}


def main() -> int:
    if sys.argv[1:2] == ["storm"]:
        port, path, token, seconds = sys.argv[2:]
        print(json.dumps(asyncio.run(storm(int(port), path, token, float(seconds)))))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is stopped then too
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        port, before = free_port(), os.getloadavg()[0]
        log = (Path(folder) / "log").open("wb")
        service = subprocess.Popen([f"{BIN}/tradepost", "serve"], env=settings(port, folder), stdout=log)
        try:
            wait_for(service, port)
            item, order, token = Shop(port).order_of_a_hundred_lines()
            found = asyncio.run(measured(port, rounds, item, order, token))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
            log.close()
    return 0 if report(found, rounds, (before, os.getloadavg()[0])) <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
