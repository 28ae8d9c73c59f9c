"""What requests cost a worker of Tradepost, and one of a service as tutorials write it.

    python bench/compared.py [ROUNDS]

Starts PostgreSQL (durable, as in production), Tradepost as bench/costs.py does, and bench/tutorial.py under
the same Gunicorn, each with one worker and a database of its own, and asks both by turns, ROUNDS times (21)
for each kind of request, over five connections. What counts is the CPU time that the kernel has reckoned to
the processes, and not how long anything took; of the rounds the cheapest is taken, the one that other work
on the machine has disturbed least. It writes the figures of docs/benchmarks/requests.md and ends by itself.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import jwt
from compared_page import Found, Setting, write
from costs import HOME, ORDERS, Spent, database_in, running, started
from costs_shop import ADMIN, PASSWORD, V1, Client, Shop, customer, question
from processes import free_port

ROOT = Path(__file__).parents[1]
ITEMS = 64
#: As many orders in a round as there are customers, who pay before the next.
CUSTOMERS = ORDERS_A_ROUND = 40
SECRET = secrets.token_hex(32)


@dataclass(frozen=True)
class Side:
    """One of the two services, and what one needs to ask it."""

    name: str
    client: Client
    items: list[int]
    tokens: list[str]
    base: str = ""
    #: Where items are for those who are signed in.
    members: str = ""
    #: Of each item's answer, where it has one.
    tags: dict[int, str] = field(default_factory=dict)
    #: Where customers are signed in, and orders paid; the other side knows neither.
    shop: Shop | None = None

    def item(self, turn: int) -> int:
        return self.items[turn % len(self.items)]

    def token(self, turn: int) -> str:
        return f"Bearer {self.tokens[turn % len(self.tokens)]}"


@dataclass(frozen=True)
class Kind:
    """A kind of request: how many a round, how it is made, and what each side answers it with."""

    name: str
    count: int
    make: Callable[[Side, int], bytes]
    tradepost: bytes = b"200"
    tutorial: bytes = b"200"
    places_orders: bool = False


def conditional(side: Side, turn: int) -> bytes:
    """By the tag that Tradepost gave; the other side has none, and gets as long a header."""
    item = side.item(turn)
    return question("GET", f"{side.base}/items/{item}", If_None_Match=side.tags.get(item, '"1"'))


def order(side: Side, _: int) -> bytes:
    turn = next(ORDERS)
    lines = [{"product_id": side.item(turn + step), "quantity": 1, "unit_price": "12.50"} for step in (0, 7)]
    body = json.dumps({"lines": lines, "ship_to": HOME}).encode()
    headers = {"Content_Type": "application/json", "Idempotency_Key": secrets.token_hex(16)}
    return question("POST", f"{side.base}/orders", body, Authorization=side.token(turn), **headers)


KINDS = (
    Kind("an item", 200, lambda side, turn: question("GET", f"{side.base}/items/{side.item(turn)}")),
    Kind("an item that the client has", 200, conditional, tradepost=b"304"),
    Kind("a list of 20", 100, lambda side, _: question("GET", f"{side.base}/items?limit=20")),
    Kind(
        "an item, signed in",
        200,
        lambda side, turn: question(
            "GET", f"{side.members}/items/{side.item(turn)}", Authorization=side.token(turn)
        ),
    ),
    Kind(
        "a list of 20, signed in",
        100,
        lambda side, turn: question("GET", f"{side.members}/items?limit=20", Authorization=side.token(turn)),
    ),
    Kind("an order of two lines", ORDERS_A_ROUND, order, b"201", b"201", places_orders=True),
)


@contextmanager
def tutorial_started(folder: Path, database: str) -> Iterator[tuple[int, int]]:
    """Its process id and port. Gunicorn's settings are its own, but for what must be alike.

    Without --keep-alive it would close its connections while the other side is asked.
    """
    port = free_port()
    settings = {"DATABASE_URL": database, "SECRET_KEY": SECRET}
    command = ["-m", "gunicorn", "--chdir", str(ROOT / "bench"), "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "1", "--worker-class", "uvicorn_worker.UvicornWorker", "--keep-alive", "75"]
    command += ["--access-logfile", "-", "--no-control-socket", "tutorial:app"]
    with running(folder, command, settings, port, "/items?limit=1") as pid:
        yield pid, port


async def database_of(url: str) -> str:
    """A second database on the server, for the tutorial's service; and which version the server has."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE DATABASE tutorial")
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


async def fill(url: str, items: list[dict[str, str]]) -> None:
    """The same items, with the same texts, and as many customers."""
    connection = await asyncpg.connect(url)
    try:
        await connection.executemany(
            "INSERT INTO items (sku, name, description, category, price, stock, is_active)"
            " VALUES ($1, $2, $3, $4, 12.50, 1000000, true)",
            [(item["sku"], item["name"], item["description"], item["category"]) for item in items],
        )
        await connection.executemany(
            "INSERT INTO users (email, full_name, hashed_password) VALUES ($1, 'Maria Anders', 'none')",
            [(customer(number),) for number in range(CUSTOMERS)],
        )
    finally:
        await connection.close()


def both(ports: tuple[int, int], url: str) -> tuple[Side, Side]:
    ours, theirs = ports
    shop = Shop(ours, CUSTOMERS)
    items, tags = [], {}
    for item in shop.items:
        with urllib.request.urlopen(f"http://127.0.0.1:{ours}{V1}/items/{item}", timeout=60) as answer:
            items.append(json.loads(answer.read()))
            tags[item] = answer.headers["ETag"]
    asyncio.run(fill(url, items))
    # However slow the machine, they last.
    claims = [{"sub": customer(number), "exp": int(time.time()) + 86_400} for number in range(CUSTOMERS)]
    tokens = [jwt.encode(each, SECRET, "HS256") for each in claims]
    return (
        Side("tradepost", Client(ours), shop.items, shop.people, V1, V1, tags, shop),
        Side("tutorial", Client(theirs), list(range(1, ITEMS + 1)), tokens, members="/members"),
    )


def measure(sides: tuple[Side, Side], spent: Spent, rounds: int) -> list[Found]:
    """Microseconds of CPU a request, of each round."""
    found = []
    for kind in KINDS:
        each = Found(kind.name)
        found.append(each)
        for number in range(rounds + 1):
            for side in sides:
                status = kind.tradepost if side.shop else kind.tutorial
                if side.shop:
                    side.shop.stay_signed_in(side.client)
                questions = [kind.make(side, turn) for turn in range(kind.count)]
                before = spent.now()
                answers = side.client.ask(questions, status)
                after = spent.now()
                if side.shop and kind.places_orders:
                    side.shop.settle(answers)
                if number:  # the first of all warms up
                    each.add(
                        side.name,
                        worker=(after[side.name] - before[side.name]) / kind.count / 1_000,
                        postgres=(after["postgres"] - before["postgres"]) / kind.count / 1_000,
                    )
        print(each, flush=True)
    return found


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    rounds = max(2, int(sys.argv[1])) if len(sys.argv) > 1 else 21  # one alone has no quartiles
    load, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, ExitStack() as stack:
        folder = Path(name)
        url, postmaster = stack.enter_context(database_in(folder))
        version = asyncio.run(database_of(url))
        second = url.removesuffix("tradepost") + "tutorial"
        admin = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD}
        print("starting both services", flush=True)
        ours, port = stack.enter_context(started(folder / "tradepost", url, "serve", **admin))
        driver = second.replace("postgresql://", "postgresql+asyncpg://")
        theirs, other_port = stack.enter_context(tutorial_started(folder / "tutorial", driver))
        sides = both((port, other_port), second)
        for side in sides:
            stack.callback(side.client.close)
        found = measure(sides, Spent(tradepost=ours, tutorial=theirs, postgres=postmaster), rounds)
    seconds = time.monotonic() - began
    write(found, Setting(rounds, version, (load, os.getloadavg()[0]), seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
