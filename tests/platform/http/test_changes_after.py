"""`changes_after` of the lists that clients keep a copy of: what holds for each of them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from service.platform.database import positions
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.following import POSITION, Follower
from tests.helpers.orders import placed

ADD_ITEM = "INSERT INTO items (sku, name, price) VALUES (gen_random_uuid()::text, 'Chai', 1) RETURNING id"


@dataclass(frozen=True)
class List:
    """`add` makes an entry and returns its id, `change` changes it; `parameter` is one that it has beside."""

    path: str
    kind: str
    add: Callable[[Make, Person], Awaitable[int]]
    change: str
    parameter: str

    def __str__(self) -> str:
        return self.path


async def add_item(make: Make, _: Person) -> int:
    return (await make.item()).id


async def add_order(make: Make, admin: Person) -> int:
    order: int = (await placed(admin, (await make.item(stock=1)).id))["id"]
    return order


async def add_post(make: Make, admin: Person) -> int:
    return await make.post(admin)


async def add_user(make: Make, _: Person) -> int:
    return (await make.user()).id


LISTS = (
    List("/items", "items", add_item, "UPDATE items SET name = 'New' WHERE id = $1", "sku=NW-1"),
    List("/orders", "orders", add_order, "UPDATE orders SET reference = 'New' WHERE id = $1", "status=paid"),
    List("/posts", "posts", add_post, "UPDATE posts SET title = 'New' WHERE id = $1", "order=asc"),
    List("/stock", "stock", add_item, "UPDATE stock SET quantity = 7 WHERE item_id = $1", "ids=1"),
    List("/admin/users", "users", add_user, "UPDATE users SET full_name = 'New' WHERE id = $1", "search=ada"),
)
each = pytest.mark.parametrize("listed", LISTS, ids=str)


def numbers(rows: list[dict[str, Any]]) -> list[int]:
    return [row.get("id") or row["item_id"] for row in rows]


@each
class TestEachList:
    async def test_a_copy_begins_with_everything_and_each_change_comes_once_in_order(
        self, make: Make, sql: asyncpg.Connection, listed: List
    ) -> None:
        admin = await make.admin()
        first, second, third = [await listed.add(make, admin) for _ in range(3)]
        follower = Follower(admin.api, listed.path)
        await follower.catch_up()
        assert {first, second, third} <= follower.copy.keys()
        assert await follower.catch_up() == []
        for number in (third, first, third):
            await sql.execute(listed.change, number)
            await sql.execute("UPDATE stock SET reorder_level = reorder_level + 1 WHERE item_id = $1", number)
        assert numbers(await follower.catch_up()) == [third, first] or listed.kind == "stock"
        assert await follower.catch_up() == []

    async def test_the_first_copy_is_what_the_list_has(self, make: Make, listed: List) -> None:
        admin = await make.admin()
        for _ in range(3):
            await listed.add(make, admin)
        follower = Follower(admin.api, listed.path, limit=2)
        await follower.catch_up()
        there = (await admin.api.get(listed.path, params={"limit": 100})).json()
        assert sorted(follower.copy.values(), key=str) == sorted(there, key=str)
        assert follower.removed == []

    async def test_pages_lead_on_by_link_and_by_position(self, make: Make, listed: List) -> None:
        admin = await make.admin()
        follower = Follower(admin.api, listed.path, after="now", limit=2)
        assert await follower.page() == ([], False)
        added = [await listed.add(make, admin) for _ in range(5)]
        pages = [await follower.page() for _ in range(4)]
        assert [numbers(rows) for rows, _ in pages] == [added[:2], added[2:4], added[4:], []]
        assert [more for _, more in pages] == [True, True, False, False]

    async def test_a_row_that_changes_between_two_pages_comes_after_them(
        self, make: Make, sql: asyncpg.Connection, listed: List
    ) -> None:
        admin = await make.admin()
        follower = Follower(admin.api, listed.path, after="now", limit=1)
        await follower.page()
        first, second = [await listed.add(make, admin) for _ in range(2)]
        assert numbers((await follower.page())[0]) == [first]
        await sql.execute(listed.change, first)
        assert [numbers((await follower.page())[0]) for _ in range(3)] == [[second], [first], []]

    async def test_an_empty_answer_has_a_position_and_no_link(self, make: Make, listed: List) -> None:
        admin = await make.admin()
        await listed.add(make, admin)
        after = (await admin.api.get(listed.path, params={"changes_after": "now"})).headers[POSITION]
        answer = await admin.api.get(listed.path, params={"changes_after": after})
        assert (answer.json(), answer.headers[POSITION], "link" in answer.headers) == ([], after, False)

    async def test_a_deleted_row_is_named_by_its_id_alone(
        self, make: Make, sql: asyncpg.Connection, listed: List
    ) -> None:
        admin = await make.admin()
        number = await listed.add(make, admin)
        follower = Follower(admin.api, listed.path)
        await follower.catch_up()
        async with sql.transaction():
            await sql.execute("SET LOCAL session_replication_role = replica")  # without what refuses it
            await sql.execute(
                "INSERT INTO pending_changes (kind, row_id, public) VALUES ($1, $2, false)",
                listed.kind,
                number,
            )
            column = "item_id" if listed.kind == "stock" else "id"
            await sql.execute(f"DELETE FROM {listed.kind} WHERE {column} = {number}")
        [gone] = [row for row in await follower.catch_up() if "removed_at" in row]
        assert (gone["id"], set(gone)) == (number, {"id", "removed_at"})
        assert number not in follower.copy

    async def test_no_other_parameter_goes_with_it(self, make: Make, listed: List) -> None:
        admin = await make.admin()
        for other in ("skip=1", listed.parameter):
            answer = await admin.api.get(f"{listed.path}?changes_after=start&{other}")
            problem = assert_problem(answer, 422, "invalid_input", "?" + other.partition("=")[0])
            assert problem["errors"][0]["code"] == "contradiction"

    @pytest.mark.parametrize(
        "position", ["", "yesterday", "1970-01-01T00:00:00Z", "AAAAAAAAAAAAAAAA", "x" * 100]
    )
    async def test_a_position_that_was_made_up_is_410_and_says_how_to_start_anew(
        self, make: Make, listed: List, position: str
    ) -> None:
        admin = await make.admin()
        answer = await admin.api.get(listed.path, params={"changes_after": position})
        problem = assert_problem(answer, 410, "position_unknown")
        assert "`changes_after=start`" in problem["detail"]

    async def test_a_position_longer_than_any_is_422(self, make: Make, listed: List) -> None:
        admin = await make.admin()
        answer = await admin.api.get(listed.path, params={"changes_after": "x" * 101})
        assert_problem(answer, 422, "invalid_input", "?changes_after")

    async def test_a_position_of_another_list_is_410(self, make: Make, listed: List) -> None:
        admin = await make.admin()
        for other in LISTS:
            after = (await admin.api.get(other.path, params={"changes_after": "now"})).headers[POSITION]
            answer = await admin.api.get(listed.path, params={"changes_after": after})
            assert answer.status_code == (200 if other is listed else 410)

    @pytest.mark.parametrize("place", [2**63 - 1, -(2**63), 2**60])
    async def test_a_position_that_no_time_has_is_410(self, make: Make, listed: List, place: int) -> None:
        """One that a client has put together: positions are no secret."""
        admin = await make.admin()
        after = positions.encode(f"{listed.kind}:all", place)
        assert_problem(
            await admin.api.get(listed.path, params={"changes_after": after}), 410, "position_unknown"
        )

    async def test_a_position_of_changes_that_a_restore_took_away_is_410(
        self, make: Make, sql: asyncpg.Connection, listed: List
    ) -> None:
        admin = await make.admin()
        await listed.add(make, admin)
        before = Follower(admin.api, listed.path)
        await before.catch_up()
        last = await sql.fetchval(
            "SELECT max(sequenced_at) FROM sequenced_changes WHERE kind = $1", listed.kind
        )
        place = (last - positions_epoch(last)) // timedelta(microseconds=1)
        lost = positions.encode(f"{listed.kind}:all", place + 5)
        answer = await admin.api.get(listed.path, params={"changes_after": lost})
        assert_problem(answer, 410, "position_unknown")
        await sql.execute("INSERT INTO lost_changes VALUES ($1, $2, clock_timestamp())", listed.kind, last)
        number = await listed.add(make, admin)
        answer = await admin.api.get(listed.path, params={"changes_after": lost})
        assert_problem(answer, 410, "position_unknown")
        assert number in numbers(await before.catch_up())


def positions_epoch(moment: Any) -> Any:
    return moment.replace(year=1970, month=1, day=1, hour=0, minute=0, second=0, microsecond=0)


async def test_rows_from_before_the_triggers_come_a_batch_at_a_time(
    make: Make, sql: asyncpg.Connection
) -> None:
    admin = await make.admin()
    await sql.execute("SET session_replication_role = replica")
    added = [await sql.fetchval(ADD_ITEM) for _ in range(3)]
    await sql.executemany("INSERT INTO stock (item_id) VALUES ($1)", [(number,) for number in added])
    await sql.execute("SET session_replication_role = origin")
    await sql.execute("INSERT INTO change_backfills VALUES ('stock', 'item_id', NULL, 0)")
    follower = Follower(admin.api, "/stock")
    while await sql.fetchval("SELECT count(*) FROM change_backfills"):
        await follower.catch_up()
    await follower.catch_up()
    assert sorted(follower.copy) == added


async def test_a_private_entry_of_a_stream_is_not_for_the_public(api: Api, make: Make) -> None:
    for path in ("/orders", "/stock", "/admin/users"):
        answer = await api.get(path, params={"changes_after": "start"})
        assert_problem(answer, 401, "unauthenticated")
    maria = await make.user()
    for path in ("/stock", "/admin/users"):
        assert_problem(await maria.api.get(path, params={"changes_after": "start"}), 403, "forbidden")
