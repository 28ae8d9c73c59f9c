"""How what requests take grows with a shop: the same requests at several sizes, in one run.

    python bench/growth.py [SIZES]

Makes a shop of each size (10000,100000,1000000 items; five times as many orders, a tenth as many users) in a
database of its own, starts a worker for each, and asks them by turns, one request at a time, past all caches.
A row is the median of the times and of PostgreSQL's CPU. It writes docs/benchmarks/growth.md, .json and .png,
for other sizes than its own only the table, and ends by itself. A million items take about 8 GB of disk while
it runs; without twice that it does not start.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import growth_data
from costs import Spent, started
from costs_shop import ADMIN, PASSWORD, V1, Client, form, question
from growth_page import Row, write

from service.cli import migrate
from service.dev import embedded

SIZES = (10_000, 100_000, 1_000_000)
#: Of disk, twice what they take.
BYTES_PER_ITEM = 16_000
ROUNDS, BATCH = 11, 5
CUSTOMER = "user1@shop.example"
#: Name, who asks, path; of one kind each. `{deep}` is the cursor of a page after 9,000 entries.
LISTS = [
    ("an item", "customer", "/items/4711"),
    ("list of 20", "customer", "/items?limit=20"),
    ("its page after 9,000 entries", "customer", "{deep}"),
    ("newest first", "customer", "/items?limit=20&sort=-created_at"),
    ("cheapest first", "customer", "/items?limit=20&sort=price"),
    ("own orders", "customer", "/orders?limit=20"),
    ("all orders", "admin", "/orders?limit=20"),
    ("orders with a status", "admin", "/orders?limit=20&status=paid"),
    ("orders of a customer", "admin", "/orders?limit=20&user_id=7"),
    ("orders of a day", "admin", "/orders?limit=20&placed_from=2025-03-01&placed_until=2025-03-01"),
    ("users", "admin", "/admin/users?limit=20"),
    ("users by a part of the address", "admin", "/admin/users?limit=20&search=user999%40"),
]
FACETS = [
    ("category", "customer", "/items?limit=20&category=Kitchen"),
    ("category, cheapest first", "customer", "/items?limit=20&category=Kitchen&sort=price"),
    ("category and price range", "customer",
     "/items?limit=20&category=Kitchen&min_price=20&max_price=25&sort=price"),
    ("price range", "customer", "/items?limit=20&min_price=20&max_price=25"),
    ("in stock", "customer", "/items?limit=20&in_stock=true"),
    ("out of stock", "customer", "/items?limit=20&in_stock=false"),
    ("withdrawn", "admin", "/items?limit=20&is_active=false"),
    ("categories", "customer", "/items/categories"),
]  # fmt: skip
SEARCHES = [
    ("a word in 9 % of names", "customer", "/items?limit=20&search=chair"),
    ("two common words", "customer", "/items?limit=20&search=classic%20chair"),
    ("three words", "customer", "/items?limit=20&search=folding%20oak%20desk"),
    ("a seldom word", "customer", "/items?limit=20&search=wheelbarrow"),
    ("a word with a typo", "customer", "/items?limit=20&search=choclate"),
    ("a part of a word", "customer", "/items?limit=20&search=hocol"),
    ("a word in a category", "customer", "/items?limit=20&search=classic&category=Kitchen"),
    ("what is not there", "customer", "/items?limit=20&search=xylophone"),
]
#: The kind, its goal, and its rows.
KINDS = (("lists", 1.3, LISTS), ("filters and categories", 2.0, FACETS), ("search", 2.0, SEARCHES))


@dataclass
class Side:
    """A shop of one size, and the worker that serves it."""

    size: int
    client: Client
    tokens: dict[str, str]
    deep: str
    at: float = field(default_factory=time.monotonic)

    def asked(self, who: str, path: str) -> bytes:
        path = V1 + path if path != "{deep}" else self.deep
        return question("GET", path, Authorization=f"Bearer {self.tokens[who]}", Cache_Control="no-cache")

    def stay_signed_in(self) -> None:
        if not self.tokens or time.monotonic() - self.at > 240:
            self.tokens = {"customer": sign_in(self.client, CUSTOMER), "admin": sign_in(self.client, ADMIN)}
            self.at = time.monotonic()


def sign_in(client: Client, email: str) -> str:
    asked = question(
        "POST", f"{V1}/auth/token", form(email), Content_Type="application/x-www-form-urlencoded"
    )
    return str(json.loads(client.ask([asked], b"200")[0])["access_token"])


async def made(server: str, size: int) -> str:
    """The address of a database with a shop of this size."""
    connection = await asyncpg.connect(server)
    await connection.execute(f"CREATE DATABASE growth_{size}")
    await connection.close()
    url = f"{server.rpartition('/')[0]}/growth_{size}"
    await asyncio.to_thread(migrate.upgrade, url.replace("postgresql://", "postgresql+asyncpg://"))
    connection = await asyncpg.connect(url)
    try:
        growth_data.progress(f"{size:,} items")
        await growth_data.fill(connection, size)
        growth_data.progress("VACUUM")
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return url


async def become_customer(url: str) -> None:
    """The first user gets the password of the administrator, whom the service has made when it started."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "UPDATE users SET password_hash = (SELECT password_hash FROM users WHERE email = $1)"
            " WHERE email = $2",
            ADMIN, CUSTOMER,
        )  # fmt: skip
    finally:
        await connection.close()


def page_after(port: int, token: str, count: int) -> str:
    """The path of the page after so many items, by its cursor."""
    headers = {"Authorization": f"Bearer {token}"}
    address = f"http://127.0.0.1:{port}{V1}/items?limit=20&skip={count}"
    with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
        return str(answer.headers["Link"]).partition("<")[2].partition(">")[0]


def measure(sides: list[Side], spent: Spent) -> list[Row]:
    rows = []
    for kind, goal, asked in KINDS:
        for name, who, path in asked:
            row = Row(kind, name, path, goal)
            rows.append(row)
            for number in range(ROUNDS + 1):
                for side in sides:
                    side.stay_signed_in()
                    request = side.asked(who, path)
                    before, times = spent.now()["postgres"], []
                    for _ in range(BATCH):
                        began = time.perf_counter()
                        side.client.ask([request], b"200")
                        times.append((time.perf_counter() - began) * 1_000)
                    cpu = (spent.now()["postgres"] - before) / BATCH / 1_000_000
                    if number:  # the first of all warms up
                        row.add(side.size, times, cpu)
            print(row, flush=True)
    return rows


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    sizes = [int(size) for size in sys.argv[1].split(",")] if len(sys.argv) > 1 else list(SIZES)
    folder = Path(tempfile.mkdtemp(prefix="tradepost-growth-"))
    if (free := shutil.disk_usage(folder).free) < sum(sizes) * BYTES_PER_ITEM:
        sys.exit(f"{folder} has {free / 1e9:.0f} GB free, and these sizes need twice what they take")
    load, began = os.getloadavg()[0], time.monotonic()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        # It is read and never written while it is measured: what is not durable is made faster.
        server = stack.enter_context(embedded.start(folder / "database", durable=False))
        lock = folder / "database" / "postgres" / "postmaster.pid"
        # All of them first: connections that wait for the next shop would be closed.
        urls = {size: asyncio.run(made(server.url, size)) for size in sizes}
        sides = []
        for size, url in urls.items():
            admin = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
            _, port = stack.enter_context(started(folder / f"api-{size}", url, "serve", **admin))
            asyncio.run(become_customer(url))
            client = Client(port)
            stack.callback(client.close)
            side = Side(size, client, {}, "")
            side.stay_signed_in()
            side.deep = page_after(port, side.tokens["customer"], 9_000)
            sides.append(side)
        spent = Spent(postgres=int(lock.read_text().split()[0]))
        rows = measure(sides, spent)
    loads = (load, os.getloadavg()[0])
    write(rows, sizes, loads, time.monotonic() - began, into_docs=sizes == [*SIZES])
    return 0


if __name__ == "__main__":
    sys.exit(main())
