"""Transactions that notify several users block few others, and never cause a deadlock."""

import asyncio
from contextlib import suppress

import asyncpg

from service import notifications
from service.container.api import Container
from service.platform.database import Session
from tests.helpers.factories import Make

ROUNDS = 25
AT_ONCE = 6


async def tell(session: Session, user_id: int, title: str) -> None:
    await notifications.notify(session, user_id, kind="x", title=title, body="", data={})


class TestTellingSeveral:
    async def test_no_order_of_users_causes_a_deadlock(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        """One administrator is the customer too: locks in the order of notifications would deadlock."""
        people = [await make.admin() for _ in range(3)]

        async def work(number: int) -> None:
            for _ in range(ROUNDS):
                async with container.database.transaction() as session:
                    for place in (number, number + 1 + number % 2):
                        await tell(session, people[place % 3].id, "to one")
                    await notifications.notify_administrators(session, kind="x", title="", body="", data={})

        await asyncio.gather(*(work(number) for number in range(AT_ONCE)))
        assert await sql.fetchval("SELECT count(*) FROM notifications") == AT_ONCE * ROUNDS * 5

    async def test_the_locks_are_taken_last_of_all(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        async with container.database.transaction() as first, container.database.transaction() as second:
            await tell(first, maria.id, "told first, committed last")
            await tell(second, maria.id, "told last, committed first")
        rows = await sql.fetch("SELECT title FROM notifications ORDER BY id")
        assert [row["title"] for row in rows] == ["told last, committed first", "told first, committed last"]

    async def test_one_users_notifications_are_in_the_order_of_their_ids(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        ada, maria = await make.admin(), await make.user()
        async with container.database.transaction() as session:
            for number in range(10):
                await tell(session, [ada, maria][number % 2].id, str(number))
            await notifications.notify_administrators(session, kind="x", title="10", body="", data={"a": [1]})
        query = "SELECT string_agg(title, ' ' ORDER BY id) FROM notifications WHERE user_id = $1"
        assert await sql.fetchval(query, ada.id) == "0 2 4 6 8 10"
        assert await sql.fetchval(query, maria.id) == "1 3 5 7 9"

    async def test_what_a_savepoint_undoes_notifies_no_user(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        async with container.database.transaction() as session:
            with suppress(RuntimeError):
                async with session.savepoint():
                    await tell(session, maria.id, "undone")
                    raise RuntimeError
            async with session.savepoint():
                await tell(session, maria.id, "done")
        assert [row["title"] for row in await sql.fetch("SELECT title FROM notifications")] == ["done"]
