"""How long the dearest requests hold a worker: CPU of one, each beside a plain request of the same size.

    python bench/worst.py [TRIES]

Starts PostgreSQL and the service with one worker, all on this machine, and sends each of the requests that
tests/contract/worst.py has TRIES times (3), one at a time. What counts is the CPU that the kernel has
reckoned to the worker, in a row of as many requests as take a fifth of a second; of the tries the cheapest.
It prints a table, and fails where a request takes longer than 50 ms.
"""

import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
from processes import free_port, wait_for
from timing import BIN, V1
from timing import settings as plain_settings

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.contract.worst import HEADERS, JSON, KIB, PLAIN_HEADER, PLAIN_QUERY, QUERIES, sized

GOAL_MS = 50.0
#: The kernel reckons in hundredths of a second.
LEAST_SECONDS = 0.2
MOST_REPEATS = 200
ADMIN, PASSWORD = "ada@shop.example", secrets.token_urlsafe(16) + "1"

Request = dict[str, Any]


def main() -> int:
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # the database runs under another account where this is root
        port = free_port()
        with (Path(folder) / "log").open("wb") as log:
            environment = plain_settings(port, folder) | {
                "WEB_CONCURRENCY": "1",
                "ADMIN_EMAIL": ADMIN,
                "ADMIN_PASSWORD": PASSWORD,
            }
            service = subprocess.Popen([f"{BIN}/tradepost", "serve"], env=environment, stdout=log)
            try:
                wait_for(service, port)
                return report(Bench(port, service.pid, tries))
            finally:
                service.send_signal(signal.SIGTERM)
                service.wait(60)


class Bench:
    """The worker, and one connection to it after the other: some answers close theirs."""

    def __init__(self, port: int, master: int, tries: int) -> None:
        self.port, self.tries = port, tries
        self.worker = self.busiest(master)
        form = f"grant_type=password&username={ADMIN}&password={PASSWORD}".encode()
        media = {"Content-Type": "application/x-www-form-urlencoded"}
        _, answer = self.send("POST", V1 + "/auth/token", headers=media, content=form)
        self.token = {"Authorization": f"Bearer {json.loads(answer)['access_token']}"}

    def busiest(self, master: int) -> psutil.Process:
        """Of the master's children the one that answers."""
        children = {child: sum(child.cpu_times()[:2]) for child in psutil.Process(master).children()}
        for _ in range(300):
            self.send("GET", V1 + "/nothing")
        return max(children, key=lambda child: sum(child.cpu_times()[:2]) - children[child])

    def send(
        self, method: str, url: str, *, headers: dict[str, str] | None = None, content: bytes | None = None
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, url, content, headers or {})
        answer = connection.getresponse()
        found = answer.status, answer.read()
        connection.close()
        return found

    def spent(self, request: Request) -> tuple[float, int]:
        """Milliseconds of the worker for one, and the status."""
        status, _ = self.send(**request)
        found = []
        for _ in range(self.tries):
            began, count = self.cpu(), 0
            while count < MOST_REPEATS and self.cpu() - began < LEAST_SECONDS:
                self.send(**request)
                count += 1
            found.append((self.cpu() - began) / count * 1000)
        return min(found), status

    def cpu(self) -> float:
        times = self.worker.cpu_times()
        return times.user + times.system


def requests(token: dict[str, str]) -> list[tuple[str, str, Request]]:
    """A group, a name, and the request; the plain one of a group comes first."""
    found: list[tuple[str, str, Request]] = []

    def group(name: str, base: Request, plain: Request, worst: dict[str, Request]) -> None:
        for each, request in {"plain": plain, **worst}.items():
            headers = {**base.get("headers", {}), **request.get("headers", {})}
            found.append((name, each, {**base, **request, "headers": headers}))

    for path, size, form in (
        ("/users", 127 * KIB, False),
        ("/orders", 127 * KIB, False),
        ("/items/batch", 1000 * KIB, False),
        ("/auth/token", 127 * KIB, True),
    ):
        base = {"method": "POST", "url": V1 + path, "headers": {} if form or path == "/users" else token}
        group(f"POST {path}, {size // KIB} KiB", base, *sized(size, form=form))
    for path in ("/items", "/users/profile"):
        base = {"method": "GET", "url": V1 + path, "headers": token if path != "/items" else {}}
        headers = {name: {"headers": header} for name, header in HEADERS.items()}
        group(f"GET {path}, 60 KiB of headers", base, {"headers": PLAIN_HEADER}, headers)
    queries = {name: {"url": f"{V1}/items?{query}"} for name, query in QUERIES.items()}
    plain = {"url": f"{V1}/items?{PLAIN_QUERY}"}
    group("GET /items, 7 KiB of query", {"method": "GET"}, plain, queries)
    bad = {"name": {}, "price": "x", "sku": [], "description": 1, "category": 2, "stock": "y"}
    batch = json.dumps([bad] * 1_000).encode()
    base = {"method": "POST", "url": V1 + "/items/batch", "headers": {**token, **JSON}}
    group(
        "POST /items/batch, 1,000 items", base, {"content": b"[]"}, {"all fields wrong": {"content": batch}}
    )
    return found


def report(bench: Bench) -> int:
    cpus = os.cpu_count()
    print(f"CPU of one worker for a request, in milliseconds; {cpus} CPUs, best of {bench.tries}\n")
    print("| request | what is bad about it | status | ms |\n| --- | --- | --- | --- |")
    over = []
    for group, name, request in requests(bench.token):
        milliseconds, status = bench.spent(request)
        print(f"| {group} | {name} | {status} | {milliseconds:.1f} |", flush=True)
        if milliseconds > GOAL_MS:
            over.append(f"{group}, {name}")
    print("\n" + (f"Over {GOAL_MS:.0f} ms: {'; '.join(over)}" if over else f"None takes {GOAL_MS:.0f} ms."))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
