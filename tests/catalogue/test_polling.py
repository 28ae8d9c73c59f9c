"""`updated_since` of items and posts: what a client that polls from its last mark learns, and no more."""

import asyncpg
import pytest

from service.container.api import Container
from service.platform.database import sequenced_changes as changes
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.polling import BEGINNING, MARK, Poller


class TestItems:
    async def test_each_change_comes_once_in_the_order_of_the_changes(self, api: Api, make: Make) -> None:
        chai, chang = await make.item(name="Chai"), await make.item(name="Chang")
        staff, poller = await make.admin(), Poller(api, "/items")
        assert await poller.names() == ["Chai", "Chang"]
        assert await poller.names() == []
        await staff.api.patch(f"/items/{chang.id}", json={"price": "19.50"})
        await staff.api.patch(f"/items/{chai.id}", json={"name": "Chai tea"})
        await staff.api.patch(f"/items/{chai.id}", json={"price": "18.50"})
        found = await poller.poll()
        assert [(item["name"], item["price"]) for item in found] == [
            ("Chang", "19.50"),
            ("Chai tea", "18.50"),
        ]
        assert await poller.names() == []

    async def test_pages_lead_to_all_of_them_by_mark_and_by_link(self, api: Api, make: Make) -> None:
        for name in ("Chai", "Chang", "Aniseed", "Boston", "Ikura"):
            await make.item(name=name)
        poller = Poller(api, "/items", limit=2)
        by_mark = [await poller.names() for _ in range(4)]
        assert by_mark == [["Chai", "Chang"], ["Aniseed", "Boston"], ["Ikura"], []]
        answer = await api.get("/items", params={"updated_since": BEGINNING, "limit": 2})
        by_link = [[item["name"] for item in answer.json()]]
        while "next" in answer.links:
            answer = await api.root(answer.links["next"]["url"])
            by_link.append([item["name"] for item in answer.json()])
        assert by_link == by_mark[:3]
        assert answer.headers[MARK] == poller.since

    async def test_a_change_between_two_pages_comes_after_them(self, api: Api, make: Make) -> None:
        first = await make.item(name="Chai")
        await make.item(name="Chang")
        poller = Poller(api, "/items", limit=1)
        assert await poller.names() == ["Chai"]
        await (await make.admin()).api.patch(f"/items/{first.id}", json={"price": "18.50"})
        assert [await poller.names() for _ in range(3)] == [["Chang"], ["Chai"], []]

    async def test_a_sale_is_a_change_only_where_the_availability_changes(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        chai, maria = await make.item(stock=3, reorder_level=1), await make.user()
        poller = Poller(api, "/items")
        await poller.poll()
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        assert await sql.fetchval("SELECT count(*) FROM pending_changes") == 0
        assert await poller.poll() == []
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        assert [item["availability"] for item in await poller.poll()] == ["low_stock"]

    async def test_what_changes_nothing_is_no_change(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        chai = await make.item()
        poller = Poller(api, "/items")
        await poller.poll()
        await (await make.admin()).api.patch(f"/items/{chai.id}", json={"name": "Chai"})
        await sql.execute("UPDATE items SET name = name")
        assert await poller.poll() == []

    async def test_a_filter_narrows_a_poll_and_the_mark_goes_on_all_the_same(
        self, api: Api, make: Make
    ) -> None:
        await make.item(name="Chai", category="Tea")
        answer = await api.get("/items", params={"updated_since": BEGINNING, "category": "Tea"})
        await make.item(name="Chang", category="Beer")
        next_poll = {"updated_since": answer.headers[MARK], "category": "Tea"}
        again = await api.get("/items", params=next_poll)
        assert (len(answer.json()), again.json()) == (1, [])
        assert again.headers[MARK] > answer.headers[MARK]

    @pytest.mark.parametrize("other", [{"sort": "name"}, {"search": "cha"}])
    async def test_where_another_order_is_asked_for_there_is_no_mark(
        self, api: Api, make: Make, other: dict[str, str]
    ) -> None:
        await make.item(name="Chang")
        answer = await api.get("/items", params={"updated_since": BEGINNING})
        await make.item(name="Chai")
        params = {"updated_since": answer.headers[MARK], **other}
        again = await api.get("/items", params=params)
        assert ([item["name"] for item in again.json()], MARK in again.headers) == (["Chai"], False)

    async def test_a_time_that_has_not_come_yet_leads_back_to_the_last_change(
        self, api: Api, make: Make
    ) -> None:
        poller = Poller(api, "/items", since="2999-01-01T00:00:00Z")
        assert await poller.poll() == []
        await make.item(name="Chai")
        assert await poller.names() == ["Chai"]


class TestWhatIsGone:
    async def test_a_withdrawn_item_is_listed_by_its_id_alone_and_comes_back_whole(
        self, api: Api, make: Make
    ) -> None:
        chai, staff = await make.item(), await make.admin()
        poller = Poller(api, "/items")
        await poller.poll()
        assert await poller.removed() == []
        await staff.api.delete(f"/items/{chai.id}")
        assert await poller.poll() == []
        gone = await api.get("/items/removed", params={"updated_since": poller.removed_since})
        [told] = gone.json()
        assert set(told) == {"id", "removed_at"}
        assert await poller.removed() == [chai.id]
        assert await poller.removed() == []
        await staff.api.patch(f"/items/{chai.id}", json={"is_active": True})
        assert [item["id"] for item in await poller.poll()] == [chai.id]
        assert await poller.removed() == []

    async def test_who_sees_withdrawn_items_gets_them_whole(self, make: Make) -> None:
        chai, staff = await make.item(), await make.admin()
        machine = await make.key("catalogue:write")
        for api in (staff.api, machine.api):
            await staff.api.patch(f"/items/{chai.id}", json={"is_active": True})
            poller = Poller(api, "/items")
            await poller.poll()
            await staff.api.delete(f"/items/{chai.id}")
            assert [item["is_active"] for item in await poller.poll()] == [False]
            assert await poller.removed() == []

    async def test_what_was_never_on_sale_is_not_listed(self, api: Api, make: Make) -> None:
        secret, staff = await make.item(name="Secret", is_active=False), await make.admin()
        await staff.api.patch(f"/items/{secret.id}", json={"name": "More secret"})
        poller = Poller(api, "/items")
        assert (await poller.poll(), await poller.removed()) == ([], [])

    async def test_a_deleted_post_and_an_unpublished_one_are_listed(self, api: Api, make: Make) -> None:
        maria, poller = await make.user(), Poller(api, "/posts")
        first, second = await make.post(maria, title="One"), await make.post(maria, title="Two")
        assert await poller.names() == ["One", "Two"]
        await maria.api.delete(f"/posts/{first}")
        await maria.api.patch(f"/posts/{second}", json={"title": "Too"})
        assert (await poller.poll(), await poller.removed()) == ([], [first, second])
        mine = Poller(maria.api, "/posts")
        assert (await mine.names(), await mine.removed()) == (["Too"], [first])

    async def test_a_pending_post_is_listed_for_its_author_and_administrators(
        self, api: Api, make: Make
    ) -> None:
        maria, staff = await make.user(), await make.admin()
        pending = (await maria.api.post("/posts", json={"title": "Mine", "body": "Hm."})).json()["id"]
        everyone, author, all_of_it = (Poller(each, "/posts") for each in (api, maria.api, staff.api))
        assert [await each.names() for each in (everyone, author, all_of_it)] == [[], ["Mine"], ["Mine"]]
        await maria.api.delete(f"/posts/{pending}")
        assert [await each.removed() for each in (everyone, author, all_of_it)] == [[], [], [pending]]

    async def test_rows_of_truncated_tables_are_listed_as_removed(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        post, poller = await make.post(await make.user()), Poller(api, "/posts")
        await poller.poll()
        await sql.execute("TRUNCATE posts")
        assert await poller.removed() == [post]


class TestPosts:
    async def test_each_change_comes_once(self, api: Api, make: Make) -> None:
        staff = await make.admin()
        first = (await staff.api.post("/posts", json={"title": "One", "body": "1"})).json()["id"]
        await staff.api.post("/posts", json={"title": "Two", "body": "2"})
        poller = Poller(api, "/posts")
        assert await poller.names() == ["One", "Two"]
        await staff.api.patch(f"/posts/{first}", json={"body": "I"})
        assert [await poller.names(), await poller.names()] == [["One"], []]

    async def test_a_new_name_of_the_author_is_a_change(self, api: Api, make: Make) -> None:
        maria, poller = await make.user(), Poller(api, "/posts")
        await make.post(maria)
        await poller.poll()
        await maria.api.patch("/users/profile", json={"full_name": "Maria Muster"})
        assert [post["author_name"] for post in await poller.poll()] == ["Maria Muster"]

    async def test_by_age_it_is_a_filter(self, api: Api, make: Make) -> None:
        maria = await make.user()
        await make.post(maria, title="One")
        mark = (await api.get("/posts", params={"updated_since": BEGINNING})).headers[MARK]
        await make.post(maria, title="Two")
        await make.post(maria, title="Three")
        answer = await api.get("/posts", params={"updated_since": mark, "order": "desc"})
        assert ([post["title"] for post in answer.json()], MARK in answer.headers) == (
            ["Three", "Two"],
            False,
        )


@pytest.mark.parametrize("path", ["/items/removed", "/posts/removed"])
async def test_what_is_gone_is_asked_for_from_a_mark(api: Api, path: str) -> None:
    assert_problem(await api.get(path), 422, "invalid_input", "?updated_since")
    assert_problem(
        await api.get(path, params={"updated_since": "yesterday"}), 422, "invalid_input", "?updated_since"
    )


async def test_an_answer_is_never_kept(api: Api, make: Make, sql: asyncpg.Connection) -> None:
    """The same address asked twice, with a change between of which no process here has heard."""
    first = await api.get("/items", params={"updated_since": BEGINNING})
    await make.item(name="Chai")
    second = await api.get("/items", params={"updated_since": BEGINNING})
    assert (first.json(), [item["name"] for item in second.json()]) == ([], ["Chai"])
    assert {answer.headers["cache-control"] for answer in (first, second)} == {"no-store"}


async def test_after_a_large_change_each_poll_gives_places_to_some(
    api: Api, make: Make, sql: asyncpg.Connection, container: Container
) -> None:
    await sql.execute(
        "INSERT INTO items (sku, name, price) SELECT 'S' || n, 'Item', 1 FROM generate_series(1, $1) AS n",
        changes.BATCH + 1,
    )
    waiting = "SELECT count(*) FROM pending_changes"
    assert await sql.fetchval(waiting) == changes.BATCH + 1
    poller = Poller(api, "/items", limit=1)
    await poller.poll()
    assert await sql.fetchval(waiting) == 1
    await poller.poll()
    assert await sql.fetchval(waiting) == 0
    places = await sql.fetchval("SELECT count(DISTINCT sequenced_at) FROM sequenced_changes")
    assert places == changes.BATCH + 1
