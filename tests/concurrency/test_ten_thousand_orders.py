"""10,000 orders by 64 clients at once through real processes; afterwards every unit is accounted for."""

import asyncio
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
import pytest

from tests.helpers.client import V1
from tests.server.process import PASSWORD, Service, cloned_database, started, tradepost

ORDERS, CLIENTS, ITEMS = 10_000, 64, 50
#: Of an item; and of the two that soon run out.
STOCK, SCARCE = 1_200, 100
ADMIN = "ada@shop.example"
#: However slow the machine, nobody is turned away while waiting for a connection.
SETTINGS: dict[str, Any] = {"ADMIN_EMAIL": ADMIN, "ADMIN_PASSWORD": PASSWORD, "DATABASE_POOL_TIMEOUT": 60}
#: Of all orders: cancelled by the customer, cancelled after they were paid, sent twice under one key.
CANCELLED, CANCELLED_LATE, SENT_TWICE = 0.35, 0.1, 0.05


@dataclass
class Shop:
    """What the clients have been told, added up."""

    admin: httpx2.AsyncClient
    stock: dict[int, int]
    answers: Counter[tuple[str, int, str | None]] = field(default_factory=Counter)
    placed: set[int] = field(default_factory=set)
    sold: Counter[int] = field(default_factory=Counter)

    async def post(
        self, client: httpx2.AsyncClient, path: str, body: Any = None, key: str | None = None
    ) -> httpx2.Response:
        headers = {"Idempotency-Key": key} if key else {}
        answer = await client.post(path, json=body, headers=headers)
        kind = path if path.count("/") == 1 else path.rpartition("/")[2]
        self.answers[kind, answer.status_code, answer.json().get("code")] += 1
        return answer


async def shop_on(shop: Shop, client: httpx2.AsyncClient, chance: random.Random) -> None:
    """Order until there are enough orders; cancel some, have the others paid."""
    while len(shop.placed) < ORDERS:
        chosen = chance.sample(sorted(shop.stock), chance.randint(1, 4))
        lines = [{"product_id": item_id, "quantity": chance.randint(1, 3)} for item_id in chosen]
        key, times = str(uuid4()), 2 if chance.random() < SENT_TWICE else 1
        body = {"lines": lines}
        answers = await asyncio.gather(*(shop.post(client, "/orders", body, key) for _ in range(times)))
        made = [answer for answer in answers if answer.status_code == 201]
        if not made:
            continue
        order = made[0].json()
        assert {answer.json()["id"] for answer in made} == {order["id"]}
        assert order["id"] not in shop.placed
        shop.placed.add(order["id"])
        await settle(shop, client, order, chance.random())


async def settle(shop: Shop, client: httpx2.AsyncClient, order: dict[str, Any], chance: float) -> None:
    path = f"/orders/{order['id']}"
    cancelled = chance < CANCELLED
    if not cancelled:
        assert (await shop.post(shop.admin, f"{path}/pay", {"reference": "pi_3MtwBw"})).status_code == 200
        cancelled = chance > 1 - CANCELLED_LATE
    if cancelled:
        assert (await shop.post(client, f"{path}/cancel")).status_code == 200
    else:
        for line in order["lines"]:
            shop.sold[line["product_id"]] += line["quantity"]


async def show(shop: Shop) -> None:
    while True:
        end = "" if sys.stdout.isatty() else "\n"
        sys.stdout.write(f"\r{len(shop.placed):,} of {ORDERS:,} orders{end}")
        sys.stdout.flush()
        await asyncio.sleep(0.2 if sys.stdout.isatty() else 10)


def client_of(service: Service, token: str) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.AsyncClient(
        base_url=f"{service.url}{V1}", headers=headers, timeout=60, limits=limits, trust_env=False
    )


async def open_shop(service: Service, admin: httpx2.AsyncClient) -> Shop:
    new: list[dict[str, Any]] = [
        {"name": f"Tea {number}", "price": f"{number + 1}.95", "stock": stock, "reorder_level": 10}
        for number, stock in enumerate([SCARCE] * 2 + [STOCK] * (ITEMS - 2))
    ]
    items = await admin.post("/items/batch", json=new)
    assert items.status_code == 201, items.text
    return Shop(admin, {item["id"]: each["stock"] for item, each in zip(items.json(), new, strict=True)})


async def run(service: Service) -> tuple[Shop, float]:
    """The shop when all is done, and the seconds it took."""
    tokens = await asyncio.gather(
        *(asyncio.to_thread(service.register, f"buyer{number}@shop.example") for number in range(CLIENTS))
    )
    token = (await asyncio.to_thread(service.sign_in, ADMIN)).json()["access_token"]
    async with AsyncExitStack() as stack:
        shop = await open_shop(service, await stack.enter_async_context(client_of(service, token)))
        clients = [await stack.enter_async_context(client_of(service, token)) for token in tokens]
        showing, start = asyncio.create_task(show(shop)), time.monotonic()
        stack.callback(showing.cancel)
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(shop_on(shop, client, random.Random(number)))
        return shop, time.monotonic() - start


async def stock_of(url: str) -> dict[int, int]:
    connection = await asyncpg.connect(url)
    try:
        return {row["item_id"]: row["quantity"] for row in await connection.fetch("SELECT * FROM stock")}
    finally:
        await connection.close()


@pytest.mark.proof
def test_ten_thousand_orders_leave_nothing_to_find(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (
        cloned_database() as url,
        started(tmp_path, DATABASE_URL=url, **SETTINGS) as service,
        asyncio.Runner() as runner,
        capfd.disabled(),
    ):
        service.wait_until_up()
        shop, took = runner.run(run(service))
        requests = shop.answers.total()
        sys.stdout.write(f"\n{ORDERS / took:.0f} orders and {requests / took:.0f} requests a second\n")
        sys.stdout.writelines(
            f"{count:>7,}  {answer}\n" for answer, count in sorted(shop.answers.items(), key=str)
        )
        left = runner.run(stock_of(url))
        verified = tradepost(tmp_path, "verify", DATABASE_URL=url)
    refused = {answer for answer in shop.answers if answer[1] >= 400}
    assert refused <= {
        ("/orders", 409, "out_of_stock"),
        ("/orders", 409, "idempotency_key_in_use"),
    }
    assert len(shop.placed) >= ORDERS
    assert {item_id: left[item_id] + shop.sold[item_id] for item_id in left} == shop.stock
    assert (verified.returncode, verified.stderr) == (0, ""), verified.stdout
    assert verified.stdout.splitlines()[-1] == "No faults"
    [timelines] = [row.split() for row in verified.stdout.splitlines() if row.startswith("order_timelines")]
    assert timelines == ["order_timelines", str(len(shop.placed)), "0"]
