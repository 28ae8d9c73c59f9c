"""The application that ships, on a database and an event loop of its own."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from typing import Any, Self, TypeVar

import asyncpg
import httpx2
from pydantic import SecretStr

from service.container.api import Container
from service.errors import Unavailable
from service.platform.config import Settings
from service.verification import repository as verification
from service.verification.repository import CHECKS
from tests.conftest import for_sqlalchemy
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.factories import Make, Person
from tests.invariants.model import ADMIN, FEES, REORDER_LEVEL, Answer, Item, Request, Shop, dollars
from tests.invariants.requests import CUSTOMERS
from tests.server.process import cloned_database

Result = TypeVar("Result")
#: What people sign in with stays from one shop to the next.
KEPT = {"alembic_version", "users", "sessions"}
IN_USE = "idempotency_key_in_use"
#: As often as a client sends a request again that was cut off.
PATIENCE = 500

_ITEMS = """
    SELECT items.id, price::text, quantity, is_active, availability, items.version,
        (SELECT coalesce(sum(delta), 0) FROM stock_movements WHERE item_id = items.id) AS ledger,
        (SELECT count(*) FROM notifications
         WHERE kind = 'item.low_stock' AND data ->> 'item_id' = items.id::text) AS warnings
    FROM items JOIN stock ON stock.item_id = items.id
"""
_ORDERS = """
    SELECT id, user_id, refund_due, version, ship_to IS NOT NULL AS has_address,
        ARRAY[subtotal, discount, shipping_fee, total]::text[] AS amounts,
        ARRAY(SELECT event ->> 'status' FROM jsonb_array_elements(events) WITH ORDINALITY
              AS each (event, number) ORDER BY number) AS way,
        ARRAY(SELECT substring(kind FROM 7) FROM notifications
              WHERE kind LIKE 'order.%' AND data ->> 'order_id' = orders.id::text
              AND notifications.user_id = orders.user_id ORDER BY notifications.id) AS told,
        (SELECT count(*) FROM audit_log WHERE target_kind = 'order' AND target_id = orders.id) AS audited
    FROM orders
"""
_LINES = """
    SELECT order_id, product_id, quantity, unit_price::text, discount_pct::text, line_total::text
    FROM order_lines ORDER BY order_id, position
"""
_MOVEMENTS = """
    SELECT order_id, kind, item_id, abs(delta) FROM stock_movements WHERE order_id IS NOT NULL
    AND sign(delta) = CASE kind WHEN 'sale' THEN -1 ELSE 1 END ORDER BY order_id, kind, item_id
"""
_KILL = """
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'tradepost' AND state <> 'idle'
"""


class World:
    """Use it by `open_world`."""

    def __init__(self, runner: asyncio.Runner, stack: AsyncExitStack) -> None:
        self._runner, self._stack = runner, stack
        self.people: dict[str, Person] = {}

    def run(self, doing: Coroutine[Any, Any, Result]) -> Result:
        return self._runner.run(doing)

    async def start(self, settings: Settings, url: str) -> Self:
        own = SecretStr(for_sqlalchemy(url))
        fees = {shipping: dollars(fee) for shipping, fee in FEES.items()}
        values = settings.model_dump(exclude_unset=True) | {
            "database_url": own,
            "database_direct_url": own,
            "database_pool_size": 5,
            "database_max_overflow": 0,
            # However slow the machine, what is refused is refused for a reason.
            "database_pool_timeout": 60,
            "database_statement_timeout": 60,
            # The model knows of no hours, and its customers order much.
            "reserved_units_limit": 1_000_000,
            "reserved_units_limit_unverified": 1_000_000,
            "cancelled_orders_limit": 1_000_000,
            "shipping_rates": ",".join(f"{shipping}={fee}" for shipping, fee in fees.items()),
        }
        app = app_of(Settings(**values))
        self.container: Container = app.state.container
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        client = await self._stack.enter_async_context(Api.of(app))
        self.sql = await asyncpg.connect(url)
        self._stack.push_async_callback(self.sql.close)
        self._killer = await asyncpg.connect(url)
        self._stack.push_async_callback(self._killer.close)
        make = Make(client, self.container)
        self.people = {name: await make.user() for name in CUSTOMERS} | {ADMIN: await make.admin()}
        rows = await self.sql.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        self._tables = {row["tablename"] for row in rows} - KEPT
        return self

    @property
    def user_ids(self) -> dict[str, int]:
        return {name: person.id for name, person in self.people.items()}

    async def open_shop(self) -> Shop:
        """Everything that was there is gone, and three items are for sale."""
        async with self.sql.transaction():
            await self.sql.execute("SET LOCAL session_replication_role = replica")
            await self.sql.execute("; ".join(f"DELETE FROM {table}" for table in self._tables))
        for person in self.people.values():
            # Access tokens last ten minutes, which is less than many machines take.
            token = self.container.tokens.issue(person.caller, client_id="tests")
            person.api.headers["Authorization"] = f"Bearer {token}"
        shop, admin = Shop(), self.people[ADMIN].api
        for price, stock in ((18_00, 40), (19_99, 7), (1, 90)):
            new = {"name": "Chai", "price": dollars(price), "stock": stock, "reorder_level": REORDER_LEVEL}
            answer = await admin.post("/items", json=new)
            assert answer.status_code == 201, answer.text
            shop.items[answer.json()["id"]] = Item(price, stock)
            self._tag = answer.headers["ETag"].partition("-")[2]
        return shop

    async def ask(self, request: Request, *, cut_off: bool = False) -> Answer:
        """The answer, once there is one: under a key what is still running, or was cut off, is sent again."""
        for tries in count(1):
            answer = await self._send(request, tries)
            running = answer.code == IN_USE
            again = running or (cut_off and request.key is not None and answer.status == 503)
            if not again:
                return answer
            assert tries < PATIENCE, f"{request} is never done: {answer}"
            await asyncio.sleep(0.005)
        raise AssertionError

    async def _send(self, request: Request, tries: int) -> Answer:
        headers = {"Idempotency-Key": request.key} if request.key is not None else {}
        if request.if_match is not None:
            headers["If-Match"] = "*" if request.if_match == "*" else f'"{request.if_match}-{self._tag}'
        answer = await self.people[request.caller].api.request(
            request.method, f"http://shop.test{request.path}", json=request.body, headers=headers
        )
        replayed = answer.headers.get("Idempotent-Replayed") == "true"
        return Answer(answer.status_code, answer.content, replayed, tries, _object(answer))

    async def ask_all(
        self, requests: Sequence[Request], *, killing_after: float | None = None
    ) -> list[Answer]:
        """At once, each on a connection of its own; and all connections may be cut meanwhile."""
        asked = [self.ask(request, cut_off=killing_after is not None) for request in requests]
        if killing_after is None:
            return await asyncio.gather(*asked)
        killing = asyncio.create_task(self._kill(killing_after))
        answers = await asyncio.gather(*asked)
        await killing
        await self._recover()
        return answers

    async def _kill(self, pause: float) -> None:
        for _ in range(3):
            await asyncio.sleep(pause)
            await self._killer.fetchval(_KILL)

    async def _recover(self) -> None:
        """Each connection of the pool in turn is found to be there, or gone."""
        sound = 0
        while sound < self.container.settings.database_pool_size:
            try:
                await self.container.database.ping()
                sound += 1
            except Unavailable:
                sound = 0

    async def picture(self) -> dict[str, Any]:
        """What model.Shop.picture says, as it is in the database."""
        names = {person.id: name for name, person in self.people.items()}
        items = {row["id"]: tuple(row[name] for name in _SHOWN) for row in await self.sql.fetch(_ITEMS)}
        orders: dict[int, dict[str, Any]] = {}
        for row in await self.sql.fetch(_ORDERS):
            known = dict(row)
            order_id = known.pop("id")
            known["owner"], known["amounts"] = names[known.pop("user_id")], tuple(known["amounts"])
            orders[order_id] = {**known, "lines": [], "sold": [], "returned": []}
        for order_id, *line in await self.sql.fetch(_LINES):
            orders[order_id]["lines"].append(tuple(line))
        for order_id, kind, *moved in await self.sql.fetch(_MOVEMENTS):
            orders[order_id]["sold" if kind == "sale" else "returned"].append(tuple(moved))
        kept = await self.sql.fetchval("SELECT count(*) FROM idempotency_keys WHERE status < 400")
        return {"items": items, "orders": orders, "keys": kept}

    async def faults(self) -> list[tuple[str, str, str]]:
        """What `tradepost verify` finds."""
        async with self.container.database.transaction() as session:
            await verification.begin_snapshot(session)
            findings = [await verification.find_faults(session, check) for check in CHECKS]
        return [(finding.check, fault.place, fault.fault) for finding in findings for fault in finding.first]


_SHOWN = ("price", "quantity", "ledger", "is_active", "availability", "version", "warnings")


def _object(answer: httpx2.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    return body


@contextmanager
def open_world(settings: Settings) -> Iterator[World]:
    with cloned_database() as url, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            yield runner.run(World(runner, stack).start(settings, url))
        finally:
            runner.run(stack.aclose())
