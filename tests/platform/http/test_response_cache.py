"""Public reads from memory: what is kept, for whom, and that nobody reads what is no more."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY

from service.catalogue import repository
from service.container.api import Container
from service.platform.config import Settings
from service.platform.http import response_cache
from service.platform.http.public_reads import PublicRead
from service.platform.http.response_cache import CachedResponse, ResponseCache
from tests.helpers.application import app_of
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.statements import statements

pytestmark = pytest.mark.usefixtures("lease")


#: Statements, however they come about, and the answers that they make untrue.
ITEMS, POSTS = {"one", "other", "list"}, {"post", "posts"}
DROPPED: dict[str, set[str]] = {
    "UPDATE items SET price = 19, version = version + 1 WHERE name = 'Chai'": ITEMS - {"other"},
    "UPDATE items SET price = 19, version = version + 1": ITEMS,
    "INSERT INTO items (sku, name, price, availability) VALUES ('N', 'New', 1, 'in_stock')": ITEMS,
    "INSERT INTO items (sku, name, price, category) VALUES ('N', 'New', 1, 'Tea')": {*ITEMS, "categories"},
    "UPDATE items SET category = 'Tea'": {*ITEMS, "categories"},
    "UPDATE items SET is_active = false WHERE category = ''": ITEMS,
    "UPDATE items SET price = 19 WHERE false": set(),
    "UPDATE stock SET quantity = quantity + 1": set(),
    "UPDATE posts SET title = 'x' WHERE status = 'published'": POSTS,
    "UPDATE posts SET title = 'x' WHERE status = 'pending'": set(),
    "UPDATE posts SET status = 'published', published_at = now() WHERE status = 'pending'": {"posts"},
    "UPDATE posts SET status = 'pending', published_at = NULL WHERE status = 'published'": POSTS,
    "DELETE FROM posts WHERE status = 'published'": POSTS,
    "DELETE FROM posts WHERE status = 'pending'": set(),
    "TRUNCATE posts": POSTS,
    "INSERT INTO posts (author_id, title, body, status, published_at)"
    " SELECT id, 'a', 'b', 'published', now() FROM users LIMIT 1": POSTS,
    "INSERT INTO posts (author_id, title, body, status)"
    " SELECT id, 'a', 'b', 'pending' FROM users LIMIT 1": set(),
    "UPDATE users SET full_name = 'Ada Byron'": POSTS,
    "UPDATE users SET full_name = full_name, version = version + 1": set(),
}


@pytest.fixture
def asked(container: Container) -> Iterator[list[str]]:
    """What the application's requests ask the database."""
    with statements(container.database) as seen:
        yield seen


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"response_cache_{name}", labels) or 0


async def heard(container: Container, since: int) -> None:
    """Wait until a change that was made past the application is known to it."""
    for _ in range(6_000):
        if container.response_cache.changes > since:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it was not heard")


async def kept(api: Api, asked: list[str], path: str) -> bool:
    """Whether this is answered from memory."""
    asked.clear()
    assert (await api.get(path)).status_code == 200
    return asked == []


class TestHit:
    @pytest.mark.parametrize(
        "path",
        [
            "/items/{item}",
            "/items",
            "/items?search=chai&limit=1",
            "/items/categories",
            "/posts",
            "/posts/{post}",
        ],
    )
    async def test_says_what_the_database_said(
        self, api: Api, make: Make, asked: list[str], path: str
    ) -> None:
        item = await make.item(category="Tea")
        await make.item(name="Chai extra", category="Tea")
        path = path.format(item=item.id, post=await make.post(await make.admin()))
        outcomes = [counted("requests_total", outcome=each) for each in ("hit", "miss", "bypass")]
        first = await api.get(path)
        asked.clear()
        again = await api.get(path)
        assert asked == []
        assert again.content == first.content
        differing = {"x-request-id", "ratelimit", "ratelimit-policy"}
        assert {n: v for n, v in again.headers.items() if n not in differing} == {
            n: v for n, v in first.headers.items() if n not in differing
        }
        found = [counted("requests_total", outcome=each) for each in ("hit", "miss", "bypass")]
        assert found == [outcomes[0] + 1, outcomes[1] + 1, outcomes[2]]

    async def test_is_the_same_for_every_anonymous_caller(
        self, api: Api, make: Make, asked: list[str]
    ) -> None:
        chai = await make.item()
        path = f"/items/{chai.id}"
        tag = (await api.get(path)).headers["etag"]
        asked.clear()
        head = await api.head(path)
        assert (head.status_code, head.content, int(head.headers["content-length"]) > 0) == (200, b"", True)
        known = await api.get(path, headers={"If-None-Match": tag})
        assert (known.status_code, known.content) == (304, b"")
        assert (known.headers["etag"], known.headers["cache-control"]) == (tag, "no-cache")
        assert "content-length" not in known.headers
        for accept in ("*/*", "application/json", "text/html, application/*;q=0.5"):
            assert (await api.get(path, headers={"Accept": accept})).status_code == 200
        assert (await api.get(path + "/")).json()["id"] == chai.id
        assert asked == []

    async def test_is_kept_of_who_has_it_already_too(self, api: Api, make: Make, asked: list[str]) -> None:
        """Shops' caches always ask so."""
        chai = await make.item()
        known = {"If-None-Match": (await make.api.get(f"/items/{chai.id}")).headers["etag"]}
        make.container.response_cache.clear()
        assert (await api.get(f"/items/{chai.id}", headers=known)).status_code == 304
        assert await kept(api, asked, f"/items/{chai.id}")

    async def test_counts_under_no_limit_and_is_logged_like_any_other(
        self, api: Api, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        chai = await make.item()
        assert "ratelimit" in (await api.get(f"/items/{chai.id}")).headers
        caplog.clear()
        assert "ratelimit" not in (await api.get(f"/items/{chai.id}")).headers
        [line] = [record.msg for record in caplog.records if record.name == "access"]
        assert isinstance(line, dict)
        assert (line["route"], line["status"], line["user_id"]) == ("/api/v1/items/{item_id}", 200, None)


class TestSignedIn:
    """A customer sees of the catalogue what everyone sees."""

    @pytest.mark.parametrize("path", ["/items/{item}", "/items", "/items/categories"])
    async def test_gets_the_same_from_memory(
        self, api: Api, make: Make, asked: list[str], path: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        item, maria = await make.item(category="Tea"), await make.user()
        path = path.format(item=item.id)
        first = await api.get(path)
        assert (await maria.api.get("/users/profile")).status_code == 200
        hits = counted("requests_total", outcome="hit")
        asked.clear()
        caplog.clear()
        again = await maria.api.get(path)
        assert asked == []
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        assert "ratelimit" not in again.headers
        assert counted("requests_total", outcome="hit") == hits + 1
        [line] = [record.msg for record in caplog.records if record.name == "access"]
        assert isinstance(line, dict)
        assert line["user_id"] == maria.id
        tag = {"If-None-Match": first.headers["etag"]}
        assert (await maria.api.get(path, headers=tag)).status_code == 304
        assert asked == []

    async def test_is_who_a_response_is_stored_for_too(self, api: Api, make: Make, asked: list[str]) -> None:
        item, maria, john = await make.item(), await make.user(), await make.user()
        for person in (maria, john):
            assert (await person.api.get("/users/profile")).status_code == 200
        first = await maria.api.get(f"/items/{item.id}")
        asked.clear()
        for client in (api, maria.api, john.api):
            assert (await client.get(f"/items/{item.id}")).content == first.content
        assert asked == []

    async def test_what_administrators_get_is_stored_for_no_one(self, api: Api, make: Make) -> None:
        withdrawn, ada = await make.item(is_active=False), await make.admin()
        for _ in range(2):
            assert [each["id"] for each in (await ada.api.get("/items")).json()] == [withdrawn.id]
            tag = {"If-None-Match": (await ada.api.get("/items")).headers["etag"]}
            assert (await ada.api.get("/items", headers=tag)).status_code == 304
        assert (await api.get("/items")).json() == []
        assert [each["id"] for each in (await ada.api.get("/items")).json()] == [withdrawn.id]

    async def test_a_key_gets_the_same_unless_its_scope_shows_more(
        self, api: Api, make: Make, asked: list[str]
    ) -> None:
        withdrawn = await make.item(is_active=False)
        assert (await api.get("/items")).json() == []
        for key, seen, queries in (
            (await make.key("orders:read"), [], 0),
            (await make.key("catalogue:write"), [withdrawn.id], 1),
        ):
            assert [each["id"] for each in (await key.api.get("/items")).json()] == seen
            asked.clear()
            assert [each["id"] for each in (await key.api.get("/items")).json()] == seen
            assert len(asked) == queries

    async def test_gets_their_own_pending_posts(self, api: Api, make: Make) -> None:
        maria = await make.user()
        post = await make.post(maria, published=False)
        assert (await api.get("/posts")).json() == []
        assert (await maria.api.get("/users/profile")).status_code == 200
        assert [each["id"] for each in (await maria.api.get("/posts")).json()] == [post]
        assert (await maria.api.get(f"/posts/{post}")).status_code == 200
        assert_problem(await api.get(f"/posts/{post}"), 404, "not_found")

    async def test_whose_access_has_ended_gets_nothing_from_memory(self, api: Api, make: Make) -> None:
        item, maria, ada = await make.item(), await make.user(), await make.admin()
        path = f"/items/{item.id}"
        for client in (api, maria.api, maria.api):
            assert (await client.get(path)).status_code == 200
        assert (await ada.api.patch(f"/admin/users/{maria.id}", json={"is_active": False})).status_code == 200
        await make.container.feed.sync()
        assert_problem(await maria.api.get(path), 401, "invalid_token")
        assert (await api.get(path)).status_code == 200


class TestPast:
    """What is not answered from memory though it is kept."""

    async def test_who_sees_more(self, api: Api, make: Make, asked: list[str]) -> None:
        ada, chai = await make.admin(), await make.item(is_active=False)
        path = f"/items/{chai.id}"
        assert (await ada.api.get(path)).status_code == 200
        assert_problem(await api.get(path), 404, "not_found")
        before = counted("requests_total", outcome="bypass")
        asked.clear()
        assert (await ada.api.get(path)).status_code == 200
        assert len(asked) == 1
        assert counted("requests_total", outcome="bypass") == before + 1
        assert_problem(await api.signed_in("x.y.z").get(path), 401, "invalid_token")

    @pytest.mark.parametrize("control", ["no-cache", "max-age=0, No-Cache", "no-store"])
    async def test_who_wants_no_cache(self, api: Api, make: Make, asked: list[str], control: str) -> None:
        chai, maria = await make.item(), await make.user()
        path = f"/items/{chai.id}"
        for client in (api, maria.api):
            assert (await client.get(path)).status_code == 200
            assert (await client.get(path)).status_code == 200
            asked.clear()
            assert (await client.get(path, headers={"Cache-Control": control})).status_code == 200
            assert len(asked) == 1
            assert (await client.get(path, headers={"Cache-Control": "max-age=0"})).status_code == 200
            assert len(asked) == 1

    async def test_who_takes_no_json(self, api: Api, make: Make, asked: list[str]) -> None:
        await make.item()
        assert (await api.get("/items")).status_code == 200
        assert_problem(await api.get("/items", headers={"Accept": "text/html"}), 406, "not_acceptable")

    @pytest.mark.parametrize("name", ["Accept", "If-None-Match"])
    async def test_requests_with_uncommon_headers(
        self, api: Api, make: Make, asked: list[str], name: str
    ) -> None:
        await make.item()
        assert (await api.get("/items")).status_code == 200
        asked.clear()
        assert (await api.get("/items", headers={name: "*/*, " * 250})).status_code == 200
        assert len(asked) == 1

    async def test_who_sends_a_body_that_is_to_be_measured(
        self, api: Api, make: Make, asked: list[str]
    ) -> None:
        await make.item()
        assert (await api.get("/items")).status_code == 200
        asked.clear()
        assert (await api.request("GET", "/items", content=b"x")).status_code == 200
        assert len(asked) == 1

    async def test_refusals(self, api: Api, sql: asyncpg.Connection, asked: list[str]) -> None:
        for path, status in (
            ("/items/1", 404),
            ("/items/x", 422),
            ("/items/٣", 422),
            ("/items?colour=red", 422),
        ):
            for _ in range(2):
                assert (await api.get(path)).status_code == status
        assert counted("entries") == 0

    @pytest.mark.parametrize("current", [True, False])
    async def test_while_the_change_feed_is_out_of_sync(
        self,
        container: Container,
        api: Api,
        make: Make,
        asked: list[str],
        monkeypatch: pytest.MonkeyPatch,
        *,
        current: bool,
    ) -> None:
        async def catch_up(_: object) -> bool:
            return current

        chai = await make.item()
        assert (await api.get(f"/items/{chai.id}")).status_code == 200
        asked.clear()
        monkeypatch.setattr(type(container.feed), "in_sync", False)
        monkeypatch.setattr(type(container.feed), "sync", catch_up)
        assert (await api.get(f"/items/{chai.id}")).status_code == 200
        assert len(asked) == (0 if current else 1)

    async def test_where_it_is_switched_off(self, settings: Settings, make: Make) -> None:
        app = app_of(settings.model_copy(update={"response_cache_bytes": 0}))
        await make.item()
        async with app.router.lifespan_context(app), Api.of(app) as api:
            tag = (await api.get("/items")).headers["etag"]
            assert (await api.get("/items", headers={"If-None-Match": tag})).status_code == 304
            assert "ratelimit" in (await api.get("/items")).headers
            assert app.state.container.response_cache.find(("/api/v1/items", b"")) is None


class TestChanges:
    async def test_who_has_an_answer_and_asks_again_gets_nothing_older(self, api: Api, make: Make) -> None:
        ada, chai = await make.admin(), await make.item()
        for cents in range(100):
            price = f"18.{cents:02}"
            assert (await ada.api.patch(f"/items/{chai.id}", json={"price": price})).status_code == 200
            one, many = await asyncio.gather(api.get(f"/items/{chai.id}"), api.get("/items"))
            assert (one.json()["price"], many.json()[0]["price"]) == (price, price)

    @pytest.mark.parametrize("change", DROPPED)
    async def test_invalidate_what_depends_on_them_and_nothing_else(
        self, make: Make, sql: asyncpg.Connection, asked: list[str], *, change: str
    ) -> None:
        api, container, dropped = make.api, make.container, DROPPED[change]
        chai, chang, ada = await make.item(name="Chai"), await make.item(name="Chang"), await make.admin()
        post, _ = await make.post(ada), await make.post(ada, published=False)
        paths = {
            "one": f"/items/{chai.id}",
            "other": f"/items/{chang.id}",
            "list": "/items",
            "categories": "/items/categories",
            "post": f"/posts/{post}",
            "posts": "/posts",
        }
        for path in paths.values():
            await api.get(path)
        entries, since = len(container.response_cache), container.response_cache.changes
        assert entries == 6
        await sql.execute(change)
        if dropped:
            await heard(container, since)
        # All that was committed before this is heard after it: of a statement, row by row, or nothing.
        await make.notification(ada)
        assert (await container.feed.sync(), len(container.response_cache)) == (
            True,
            entries - len(dropped),
        )
        asked.clear()
        for path in paths.values():
            await api.get(path)
        assert len(asked) == len(dropped)

    async def test_are_one_word_however_many_items_one_statement_changes(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        await asyncio.gather(*(make.item() for _ in range(20)))
        await container.feed.sync()
        since = container.response_cache.changes
        await sql.execute("UPDATE items SET price = price * 1.05, version = version + 1")
        await heard(container, since)
        await sql.execute("DELETE FROM items WHERE id IN (SELECT id FROM items LIMIT 2)")
        await heard(container, since + 1)
        assert (await container.feed.sync(), container.response_cache.changes) == (True, since + 2)

    async def test_a_sale_drops_an_answer_only_if_it_changes_what_is_shown(
        self, api: Api, make: Make, asked: list[str]
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=50, reorder_level=10)
        path = f"/items/{chai.id}"
        await api.get(path)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 5})
        assert await kept(api, asked, path)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 40})
        assert (await api.get(path)).json()["availability"] == "low_stock"

    async def test_while_it_was_read_keep_it_from_being_kept(
        self,
        api: Api,
        make: Make,
        container: Container,
        sql: asyncpg.Connection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        chai = await make.item(name="Chai")
        real: Callable[..., Awaitable[Any]] = repository.get_document

        async def slow(*arguments: Any, **options: Any) -> Any:
            row = await real(*arguments, **options)
            since = container.response_cache.changes
            await sql.execute("UPDATE items SET name = 'Chai extra', version = version + 1")
            await heard(container, since)
            return row

        monkeypatch.setattr(repository, "get_document", slow)
        assert (await api.get(f"/items/{chai.id}")).json()["name"] == "Chai"
        monkeypatch.undo()
        assert (await api.get(f"/items/{chai.id}")).json()["name"] == "Chai extra"

    async def test_are_counted_by_what_has_changed(self, api: Api, make: Make, container: Container) -> None:
        ada, chai = await make.admin(), await make.item()
        await api.get(f"/items/{chai.id}")
        await api.get("/items?limit=5")
        await api.get("/posts")
        assert (counted("entries"), counted("bytes") > 3_000) == (3, True)
        before = {of: counted("invalidations_total", of=of) for of in ("items", "posts", "everything")}
        await ada.api.patch(f"/items/{chai.id}", json={"price": "19.00"})
        await container.feed.sync()
        assert counted("invalidations_total", of="items") == before["items"] + 2
        await container.response_cache.load()
        assert counted("invalidations_total", of="everything") == before["everything"] + 1
        assert counted("invalidations_total", of="posts") == before["posts"]
        assert (counted("entries"), counted("bytes")) == (0, 0)


class TestRoom:
    """The memory by itself."""

    @pytest.fixture
    async def memory(self) -> AsyncIterator[ResponseCache]:
        memory = ResponseCache(10_000)
        yield memory
        memory.clear()

    @staticmethod
    def answer(size: int, row: int | None = None) -> CachedResponse:
        route = SimpleNamespace(path_format="/items", public_read=PublicRead("items", None, frozenset()))
        return CachedResponse(route, ("items", row), [], [], '"1"', b"", size, time.monotonic())

    def test_what_was_not_asked_for_the_longest_goes_first(self, memory: ResponseCache) -> None:
        for number in range(16):
            memory.store((str(number), b""), self.answer(625, number + 1), changes=0)
        assert len(memory) == 16
        memory.find(("0", b""))
        memory.store(("new", b""), self.answer(600), changes=0)
        assert [memory.find((name, b"")) is None for name in ("0", "1", "2", "new")] == [
            False,
            True,
            False,
            False,
        ]

    def test_the_same_again_takes_no_more(self, memory: ResponseCache) -> None:
        for _ in range(100):
            memory.store(("0", b""), self.answer(600, 1), changes=0)
        assert (len(memory), memory.currsize) == (1, 600)

    def test_one_that_is_too_large_evicts_no_other(self, memory: ResponseCache) -> None:
        memory.store(("small", b""), self.answer(600), changes=0)
        memory.store(("large", b""), self.answer(626), changes=0)
        assert (len(memory), memory.currsize) == (1, 600)

    def test_nothing_is_older_than_a_minute(
        self, memory: ResponseCache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory.store(("0", b""), self.answer(600), changes=0)
        assert memory.find(("0", b"")) is not None
        monkeypatch.setattr(response_cache, "MAX_AGE_SECONDS", -1.0)
        assert memory.find(("0", b"")) is None
        assert (len(memory), memory.currsize) == (0, 0)

    def test_what_was_read_before_a_change_comes_too_late(self, memory: ResponseCache) -> None:
        heard = memory.changes
        memory.on_change({"of": "posts"})
        memory.store(("0", b""), self.answer(600), changes=heard)
        assert len(memory) == 0

    def test_changes_of_what_no_answer_shows_are_passed_over(self, memory: ResponseCache) -> None:
        memory.store(("0", b""), self.answer(600, 7), changes=0)
        for change in ({"of": "sessions", "id": 7}, {"of": "users", "id": 7}, {"of": "items", "id": 8}):
            memory.on_change(change)
        assert len(memory) == 1
