from typing import Any

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


def titles(answer: Any) -> list[str]:
    return [notification["title"] for notification in answer.json()]


async def unread(sql: asyncpg.Connection) -> list[str]:
    rows = await sql.fetch("SELECT title FROM notifications WHERE read_at IS NULL ORDER BY id")
    return [row["title"] for row in rows]


async def id_of(sql: asyncpg.Connection, title: str) -> int:
    notification_id: int = await sql.fetchval("SELECT id FROM notifications WHERE title = $1", title)
    return notification_id


class TestList:
    async def test_one_notification_in_full(self, make: Make, maria: Person) -> None:
        await make.notification(maria, title="Order 1 has been shipped")
        answer = await maria.api.get("/notifications")
        (notification,) = answer.json()
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
        assert notification.pop("created_at").endswith("Z")
        assert notification.pop("id") > 0
        assert notification == {
            "kind": "order.shipped",
            "title": "Order 1 has been shipped",
            "body": "On its way.",
            "data": {"order_id": 1},
            "read_at": None,
        }

    async def test_ones_own_newest_first(self, make: Make, maria: Person) -> None:
        other = await make.user()
        for person, title in ((maria, "a"), (other, "b"), (maria, "c")):
            await make.notification(person, title=title)
        assert titles(await maria.api.get("/notifications")) == ["c", "a"]
        assert titles(await other.api.get("/notifications")) == ["b"]

    async def test_administrators_too_see_only_their_own(self, make: Make, maria: Person) -> None:
        await make.notification(maria)
        assert (await (await make.admin()).api.get("/notifications")).json() == []

    async def test_only_unread_ones(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        for title in ("a", "b", "c"):
            await make.notification(maria, title=title)
        await maria.api.post(f"/notifications/{await id_of(sql, 'b')}/read")
        assert titles(await maria.api.get("/notifications?unread=true")) == ["c", "a"]
        assert titles(await maria.api.get("/notifications?unread=false")) == ["c", "b", "a"]

    async def test_pages_follow_each_other(self, make: Make, maria: Person) -> None:
        for title in ("a", "b", "c"):
            await make.notification(maria, title=title)
        first = await maria.api.get("/notifications?unread=true&limit=2")
        second = await maria.api.get(first.links["next"]["url"].removeprefix("/api/v1"))
        assert (titles(first), titles(second), second.links) == (["c", "b"], ["a"], {})

    async def test_needs_a_token(self, api: Api) -> None:
        assert_problem(await api.get("/notifications"), 401, "unauthenticated")

    async def test_unread_is_true_or_false(self, maria: Person) -> None:
        answer = await maria.api.get("/notifications?unread=maybe")
        assert_problem(answer, 422, "invalid_input", "?unread")


class TestReadOne:
    async def test_it_is_read_and_the_others_are_not(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        for title in ("a", "b"):
            await make.notification(maria, title=title)
        answer = await maria.api.post(f"/notifications/{await id_of(sql, 'a')}/read")
        assert (answer.status_code, answer.json()["title"]) == (200, "a")
        assert answer.json()["read_at"].endswith("Z")
        assert await unread(sql) == ["b"]

    async def test_the_first_time_is_kept(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        await make.notification(maria, title="a")
        path = f"/notifications/{await id_of(sql, 'a')}/read"
        first, second = [await maria.api.post(path) for _ in range(2)]
        assert (second.status_code, second.json()) == (200, first.json())

    async def test_another_users_is_404_for_administrators_too(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        await make.notification(maria, title="a")
        path = f"/notifications/{await id_of(sql, 'a')}/read"
        for person in (await make.user(), await make.admin()):
            assert_problem(await person.api.post(path), 404, "not_found")
        assert await unread(sql) == ["a"]

    async def test_needs_a_token(self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        await make.notification(maria, title="a")
        answer = await api.post(f"/notifications/{await id_of(sql, 'a')}/read")
        assert_problem(answer, 401, "unauthenticated")
        assert await unread(sql) == ["a"]

    @pytest.mark.parametrize("notification_id", ["0", "x", str(2**63)])
    async def test_what_cannot_be_an_id_is_422(self, maria: Person, notification_id: str) -> None:
        answer = await maria.api.post(f"/notifications/{notification_id}/read")
        assert_problem(answer, 422, "invalid_input", "{notification_id}")


class TestReadAll:
    async def test_all_of_ones_own_are_read(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        other = await make.user()
        for person, title in ((maria, "a"), (other, "b"), (maria, "c")):
            await make.notification(person, title=title)
        first, second = [await maria.api.post("/notifications/read") for _ in range(2)]
        assert (first.status_code, first.json(), second.json()) == (200, {"read": 2}, {"read": 0})
        assert await unread(sql) == ["b"]

    async def test_needs_a_token(self, api: Api) -> None:
        assert_problem(await api.post("/notifications/read"), 401, "unauthenticated")
