import asyncio
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from service import notifications, orders
from service.container.api import Container
from service.customers.dashboard import repository as dashboard
from service.errors import Unavailable
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.orders import recorded
from tests.helpers.waiting import eventually

EMPTY = {
    "orders_count": 0,
    "orders_by_status": {
        "placed": 0,
        "paid": 0,
        "shipped": 0,
        "delivered": 0,
        "cancelled": 0,
        "refunded": 0,
    },
    "unpaid_count": 0,
    "total_spent": "0.00",
    "first_order_at": None,
    "last_order_at": None,
    "posts_count": 0,
    "unread_notifications_count": 0,
}


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


def in_use(container: Container) -> int:
    connections: int = container.database.pool_usage[0]
    return connections


async def order(
    sql: asyncpg.Connection, person: Person, *, status: str = "placed", total: int = 10, day: int = 1
) -> int:
    """An order that was placed on this day of January 2026."""
    noon = datetime(2026, 1, day, 12, tzinfo=UTC)
    return await recorded(sql, person, status=status, total=total, placed_at=noon)


class TestCallers:
    async def test_a_new_customer_has_an_empty_one(self, maria: Person) -> None:
        answer = await maria.api.get(f"/dashboard/{maria.id}")
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
        assert answer.json() == {
            "user_id": maria.id,
            "stats": EMPTY,
            "orders": [],
            "notifications": [],
        }

    async def test_an_administrator_sees_anybodys(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        await order(sql, maria)
        own = await maria.api.get(f"/dashboard/{maria.id}")
        seen = await (await make.admin()).api.get(f"/dashboard/{maria.id}")
        assert (seen.status_code, seen.json()) == (200, own.json())

    async def test_another_persons_is_404(self, make: Make, maria: Person) -> None:
        answer = await (await make.user()).api.get(f"/dashboard/{maria.id}")
        assert_problem(answer, 404, "not_found")

    async def test_nobodys_is_404_for_administrators_too(self, make: Make) -> None:
        assert_problem(await (await make.admin()).api.get(f"/dashboard/{2**63 - 1}"), 404, "not_found")

    async def test_needs_a_token(self, api: Api, maria: Person) -> None:
        assert_problem(await api.get(f"/dashboard/{maria.id}"), 401, "unauthenticated")

    @pytest.mark.parametrize("user_id", ["0", "me", str(2**63)])
    async def test_what_cannot_be_an_id_is_422(self, maria: Person, user_id: str) -> None:
        assert_problem(await maria.api.get(f"/dashboard/{user_id}"), 422, "invalid_input", "{user_id}")


class TestFigures:
    async def test_counts_ones_own(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        other = await make.user()
        for day, (status, total) in enumerate(
            [("placed", 1), ("placed", 2), ("paid", 4), ("shipped", 8), ("delivered", 16)], start=3
        ):
            await order(sql, maria, status=status, total=total, day=day)
        for status, day in (("cancelled", 2), ("refunded", 9)):
            await order(sql, maria, status=status, total=1000, day=day)
        await order(sql, other, day=30)
        for person in (maria, maria, other):
            await make.notification(person)
        await maria.api.post("/notifications/read")
        await make.notification(maria)
        await make.post(maria, published=False)
        await make.post(maria)
        await make.post(other)
        assert (await maria.api.get(f"/dashboard/{maria.id}")).json()["stats"] == {
            "orders_count": 7,
            "orders_by_status": {
                "placed": 2,
                "paid": 1,
                "shipped": 1,
                "delivered": 1,
                "cancelled": 1,
                "refunded": 1,
            },
            "unpaid_count": 2,
            "total_spent": "31.00",
            "first_order_at": "2026-01-02T12:00:00Z",
            "last_order_at": "2026-01-09T12:00:00Z",
            "posts_count": 2,
            "unread_notifications_count": 1,
        }

    async def test_the_last_ten_orders_newest_first(self, maria: Person, sql: asyncpg.Connection) -> None:
        ids = [await order(sql, maria, day=day) for day in range(1, 13)]
        shown = (await maria.api.get(f"/dashboard/{maria.id}")).json()["orders"]
        assert [one["id"] for one in shown] == ids[:1:-1]
        assert (shown[0]["total"], shown[0]["lines"][0]["name"]) == ("10.00", "Chai")

    async def test_the_last_ten_unread_notifications(self, make: Make, maria: Person) -> None:
        await make.notification(maria, title="read")
        await maria.api.post("/notifications/read")
        for number in range(12):
            await make.notification(maria, title=str(number))
        shown = (await maria.api.get(f"/dashboard/{maria.id}")).json()["notifications"]
        assert [one["title"] for one in shown] == [str(number) for number in range(11, 1, -1)]


class TestConcurrency:
    async def test_the_parts_are_read_at_the_same_time(
        self, maria: Person, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each part holds a connection and waits for the two others: one by one they would never end."""
        together, held = asyncio.Barrier(3), []

        def waiting(read: Any) -> Any:
            async def wait_and_read(session: Any, *arguments: Any, **options: Any) -> Any:
                await session.execute("SELECT 1")
                async with asyncio.timeout(60), together:
                    held.append(in_use(container))
                return await read(session, *arguments, **options)

            return wait_and_read

        monkeypatch.setattr(dashboard, "statistics", waiting(dashboard.statistics))
        monkeypatch.setattr(orders, "get_latest", waiting(orders.get_latest))
        monkeypatch.setattr(notifications, "find", waiting(notifications.find))
        answer = await maria.api.get(f"/dashboard/{maria.id}")
        assert (answer.status_code, answer.json()["stats"]) == (200, EMPTY)
        assert (held, in_use(container)) == ([3, 3, 3], 0)

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            (Unavailable("The database does not answer."), 503, "unavailable"),
            (RuntimeError("a secret"), 500, "internal_error"),
        ],
        ids=["refusal", "surprise"],
    )
    async def test_a_part_that_fails_ends_the_others(
        self,
        maria: Person,
        container: Container,
        monkeypatch: pytest.MonkeyPatch,
        *,
        fault: Exception,
        status: int,
        code: str,
    ) -> None:
        running, ended = asyncio.Barrier(3), []

        async def fails(*_: Any) -> None:
            await running.wait()
            raise fault

        async def hangs(session: Any, *_: Any, **__: Any) -> None:
            try:
                await session.execute("SELECT 1")
                await running.wait()
                await asyncio.sleep(60)
            finally:
                ended.append(True)

        monkeypatch.setattr(dashboard, "statistics", fails)
        monkeypatch.setattr(orders, "get_latest", hangs)
        monkeypatch.setattr(notifications, "find", hangs)
        answer = await maria.api.get(f"/dashboard/{maria.id}")
        assert_problem(answer, status, code)
        assert "secret" not in answer.text
        assert ended == [True, True]
        await eventually(lambda: in_use(container) == 0)

    async def test_two_parts_that_fail_are_one_answer(
        self, maria: Person, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*_: Any) -> None:
            raise Unavailable("The database does not answer.")

        monkeypatch.setattr(dashboard, "statistics", fails)
        monkeypatch.setattr(orders, "get_latest", fails)
        assert_problem(await maria.api.get(f"/dashboard/{maria.id}"), 503, "unavailable")
        await eventually(lambda: in_use(container) == 0)

    async def test_a_statement_cut_short_gives_its_connection_back(
        self, maria: Person, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The client leaves while all three statements run on the server."""
        running = asyncio.Barrier(4)

        async def sleeps(session: Any, *_: Any, **__: Any) -> None:
            await session.execute("SELECT 1")
            await running.wait()
            await session.execute("SELECT pg_sleep(60)")

        for module, name in ((dashboard, "statistics"), (orders, "get_latest"), (notifications, "find")):
            monkeypatch.setattr(module, name, sleeps)
        request = asyncio.create_task(maria.api.get(f"/dashboard/{maria.id}"))
        async with asyncio.timeout(60):
            await running.wait()
        request.cancel()
        await asyncio.wait([request])
        await eventually(lambda: in_use(container) == 0)
