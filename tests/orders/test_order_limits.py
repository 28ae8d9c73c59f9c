"""Stock is not held for nothing: what a customer may reserve without paying, and how often give it up."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import httpx2
import pytest

from tests.helpers.client import assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import placed


async def order(person: Person, item_id: int, quantity: int, **more: Any) -> httpx2.Response:
    body = {"product_id": item_id, "quantity": quantity, **more}
    return await person.api.post("/orders", json=body)


async def verified(make: Make, sql: asyncpg.Connection) -> Person:
    person = await make.user()
    await sql.execute("UPDATE users SET email_verified = true WHERE id = $1", person.id)
    return person


async def left(sql: asyncpg.Connection) -> int:
    quantity: int = await sql.fetchval("SELECT quantity FROM stock")
    return quantity


class TestReservedUnits:
    async def test_an_unverified_account_cannot_take_the_whole_stock(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=3_000)
        problem = assert_problem(await order(maria, chai.id, 201), 409, "too_many_reserved")
        assert problem["detail"] == (
            "Unpaid orders may reserve 200 units together; yours reserve 0, and this one would add 201. Order"
            " fewer, or pay or cancel an order first. Verify your e-mail address (POST /auth/verify-email)"
            " to order more."
        )
        assert [problem[name] for name in ("limit", "reserved", "requested")] == [200, 0, 201]
        assert await left(sql) == 3_000
        await placed(maria, chai.id, 150)
        assert_problem(await order(maria, chai.id, 51), 409, "too_many_reserved")
        await placed(maria, chai.id, 50)
        assert await left(sql) == 2_800

    async def test_all_lines_of_all_unpaid_orders_count(self, make: Make) -> None:
        maria, items = await make.user(), [await make.item(stock=500) for _ in range(3)]
        lines = [{"product_id": item.id, "quantity": 60} for item in items]
        answer = await maria.api.post("/orders", json={"lines": lines})
        assert answer.status_code == 201
        problem = assert_problem(await order(maria, items[0].id, 21), 409, "too_many_reserved")
        assert problem["reserved"] == 180
        await placed(maria, items[0].id, 20)

    async def test_a_verified_address_may_hold_more(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await verified(make, sql), await make.item(stock=3_000)
        for _ in range(2):
            await placed(maria, chai.id, 1_000)
        problem = assert_problem(await order(maria, chai.id, 1), 409, "too_many_reserved")
        assert problem["detail"] == (
            "Unpaid orders may reserve 2000 units together; yours reserve 2000, and this one would add 1."
            " Order fewer, or pay or cancel an order first."
        )
        assert await left(sql) == 1_000

    @pytest.mark.parametrize("release", ["pay", "cancel"])
    async def test_paying_and_cancelling_make_room(self, make: Make, release: str) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=3_000)
        first = await placed(maria, chai.id, 200)
        assert_problem(await order(maria, chai.id, 1), 409, "too_many_reserved")
        body = {"reference": "pi_1"} if release == "pay" else {}
        person = admin if release == "pay" else maria
        answer = await person.api.post(f"/orders/{first['id']}/{release}", json=body)
        assert answer.status_code == 200
        await placed(maria, chai.id, 200)

    async def test_staff_and_keys_may_exceed_it(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=3_000)
        machine = await make.key("orders:write")
        for api in (admin.api, machine.api):
            answer = await api.post(
                "/orders", json={"product_id": chai.id, "quantity": 1_000, "user_id": maria.id}
            )
            assert answer.status_code == 201
        assert await left(sql) == 1_000
        # What others have entered for a customer is reserved all the same.
        problem = assert_problem(await order(maria, chai.id, 1), 409, "too_many_reserved")
        assert problem["reserved"] == 2_000

    async def test_twenty_orders_at_once_do_not_exceed_it(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=3_000)

        async def decided() -> httpx2.Response:
            # On a slow machine the lock of the nineteenth before it may be waited for too long.
            while (answer := await order(maria, chai.id, 30)).status_code == 503:
                pass
            return answer

        answers = await asyncio.gather(*(decided() for _ in range(20)))
        outcomes = Counter((answer.status_code, answer.json().get("code")) for answer in answers)
        assert outcomes == {(201, None): 6, (409, "too_many_reserved"): 14}
        assert await left(sql) == 3_000 - 180


class TestCancelledOrders:
    async def test_ordering_and_cancelling_in_a_loop_ends(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        for _ in range(10):
            made = await placed(maria, chai.id, 5)
            assert (await maria.api.post(f"/orders/{made['id']}/cancel")).status_code == 200
        answer = await order(maria, chai.id, 1)
        problem = assert_problem(answer, 429, "too_many_cancelled")
        wait = int(answer.headers["retry-after"])
        assert problem["detail"] == (
            f"10 orders of the last hour were cancelled before they were paid. Order again in {wait} s."
        )
        assert 3_500 < wait <= 3_600
        assert await left(sql) == 5
        # Others may order, and so may she when the first of them is an hour old.
        await placed(await make.user(), chai.id)
        oldest = "(SELECT min(id) FROM orders WHERE status = 'cancelled')"
        await sql.execute(f"UPDATE orders SET placed_at = placed_at - interval '1 hour' WHERE id = {oldest}")
        await placed(maria, chai.id)

    async def test_what_was_paid_or_cancelled_by_the_shop_does_not_count(self, make: Make) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        for number in range(11):
            made = await placed(maria, chai.id)
            by = admin
            if number % 2:
                by = maria
                await admin.api.post(f"/orders/{made['id']}/pay", json={"reference": "pi_1"})
            assert (await by.api.post(f"/orders/{made['id']}/cancel")).status_code == 200
        await placed(maria, chai.id)

    async def test_staff_may_order_for_the_customer(self, make: Make) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5)
        for _ in range(10):
            made = await placed(maria, chai.id)
            await maria.api.post(f"/orders/{made['id']}/cancel")
        answer = await order(admin, chai.id, 1, user_id=maria.id)
        assert answer.status_code == 201


class TestLowStock:
    async def test_is_notified_once_an_hour_however_often_it_is_crossed(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=5, reorder_level=3)

        async def crossed() -> None:
            made = await placed(maria, chai.id, 2)
            assert (await maria.api.post(f"/orders/{made['id']}/cancel")).status_code == 200

        async def told() -> tuple[int, int]:
            row = await sql.fetchrow(
                "SELECT (SELECT count(*) FROM notifications WHERE kind = 'item.low_stock' AND user_id = $1),"
                " (SELECT count(*) FROM events WHERE type = 'item.low_stock')",
                admin.id,
            )
            assert row is not None
            return tuple(row)

        for _ in range(3):
            await crossed()
        assert await told() == (1, 1)
        await sql.execute("UPDATE stock SET low_stock_notified_at = now() - interval '1 hour'")
        for _ in range(3):
            await crossed()
        assert await told() == (2, 2)

    async def test_each_item_has_its_own_hour(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, _ = await make.user(), await make.admin()
        items = [await make.item(stock=5, reorder_level=3) for _ in range(2)]
        for item in items:
            await placed(maria, item.id, 2)
        await placed(maria, items[0].id, 2)
        told = await sql.fetch("SELECT object_id FROM events WHERE type = 'item.low_stock' ORDER BY id")
        assert [row["object_id"] for row in told] == [item.id for item in items]
