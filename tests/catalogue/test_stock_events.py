"""stock.changed: published by the worker, for an item once however often its stock has changed."""

import json
from typing import Any

import asyncpg
import pytest

from service.catalogue.stock import changes as stock_changes
from service.container.api import Container
from service.platform.database import sequenced_changes
from tests.helpers.events import Follower, end_of_feed
from tests.helpers.factories import Make


async def publish(container: Container) -> None:
    """As the worker does."""
    async with container.database.reading() as session:
        await sequenced_changes.sequence(session)
    await stock_changes.publish_all(container.database)


@pytest.fixture
async def begun(make: Make, container: Container) -> None:
    """From here on stock is followed."""
    await publish(container)


async def published(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    rows = await sql.fetch("SELECT data FROM events WHERE type = 'stock.changed' ORDER BY id")
    return [json.loads(row["data"]) for row in rows]


@pytest.mark.usefixtures("begun")
class TestPublishing:
    async def test_several_orders_are_one_event(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, ada = await make.user(), await make.admin()
        chai, chang = await make.item(stock=9, reorder_level=8), await make.item(name="Chang", stock=5)
        await publish(container)
        start = await end_of_feed(ada.api)
        for _ in range(3):
            await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        await publish(container)
        [event] = await Follower(ada.api, after=start, types="stock.*").poll()
        assert (event["type"], event["data"]) == (
            "stock.changed",
            {
                "id": chai.id, "sku": chai.sku, "name": "Chai", "availability": "low_stock", "quantity": 6,
                "reorder_level": 8, "version": 2,
            },
        )  # fmt: skip
        assert [data["id"] for data in await published(sql)] == [chai.id, chang.id, chai.id]

    async def test_each_kind_of_change(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, ada, chai = await make.user(), await make.admin(), await make.item(stock=9)
        order = (await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})).json()
        await publish(container)
        await maria.api.post(f"/orders/{order['id']}/cancel", json={})
        await publish(container)
        await ada.api.post(f"/items/{chai.id}/stock", json={"delta": -4, "reason": "Broken"})
        await publish(container)
        assert [data["quantity"] for data in await published(sql)] == [7, 9, 5]

    async def test_a_batch_is_an_event_for_each_item_that_it_changes(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada, chai, chang = await make.admin(), await make.item(stock=9), await make.item(stock=5)
        await publish(container)
        before = len(await published(sql))
        for _ in range(2):
            rows = [{"item_id": chai.id, "stock": 3}, {"item_id": chang.id, "stock": 5}]
            assert (await ada.api.put("/stock/batch", json=rows)).status_code == 200
        again = [{"item_id": chai.id, "stock": 4}, {"item_id": chang.id, "reorder_level": 7}]
        assert (await ada.api.put("/stock/batch", json=again)).status_code == 200
        await publish(container)
        shown = [
            (data["id"], data["quantity"], data["reorder_level"]) for data in (await published(sql))[before:]
        ]
        assert sorted(shown) == [(chai.id, 4, 0), (chang.id, 5, 7)]

    async def test_nothing_has_changed(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada, chai = await make.admin(), await make.item(stock=9)
        await publish(container)
        await ada.api.patch(f"/items/{chai.id}", json={"price": "19.00"})
        await publish(container)
        assert len(await published(sql)) == 1

    async def test_batch_by_batch(
        self, make: Make, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stock_changes, "BATCH", 2)
        items = [await make.item(stock=1) for _ in range(5)]
        await publish(container)
        assert [data["id"] for data in await published(sql)] == [item.id for item in items]

    async def test_each_has_a_job_as_any_event(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        await make.item(stock=1)
        await publish(container)
        waiting = await sql.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = 'event'")
        event_id = await sql.fetchval("SELECT id FROM events")
        assert [json.loads(row["payload"]) for row in waiting] == [{"event_id": event_id}]


class TestBeginning:
    async def test_what_was_there_before_is_no_change(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        await make.item(stock=1)
        await publish(container)
        assert await published(sql) == []

    async def test_while_places_are_given_to_what_was_there(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        await publish(container)
        await sql.execute(
            "INSERT INTO change_backfills (kind, id_column, done_until) VALUES ('stock', 'item_id', 1000000)"
        )
        await make.item(stock=1)
        async with container.database.reading() as session:
            await sequenced_changes.sequence(session)
        await sql.execute(
            "INSERT INTO change_backfills (kind, id_column, done_until) VALUES ('stock', 'item_id', 1000000)"
            " ON CONFLICT DO NOTHING"
        )
        await stock_changes.publish_all(container.database)
        assert await published(sql) == []
