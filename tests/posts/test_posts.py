import asyncio
from datetime import datetime
from typing import Any

import asyncpg
import pytest

from service.posts.service import MAX_PENDING
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person

NEWS: dict[str, Any] = {"title": "Chai is back", "body": "The first boxes of **Chai** have arrived."}
EDIT = {"title": "Chai is gone", "body": "Sold out within a day."}
BLANK = "Text must not be blank: send at least one visible character."


async def stored(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    rows = await sql.fetch("SELECT title, body, status, version FROM posts ORDER BY id")
    return [dict(row) for row in rows]


def titles(posts: Any) -> list[str]:
    return [post["title"] for post in posts.json()]


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user(full_name="Maria Anders")


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


class TestCreate:
    async def test_a_customers_post_is_pending(self, maria: Person) -> None:
        answer = await maria.api.post("/posts", json=NEWS)
        post = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/posts/{post['id']}"
        assert post.pop("created_at") == post.pop("updated_at")
        assert post == {
            "id": post["id"],
            **NEWS,
            "author_id": maria.id,
            "author_name": "Maria Anders",
            "status": "pending",
            "version": 1,
        }

    async def test_an_administrators_is_published_at_once(self, ada: Person, api: Api) -> None:
        created = await ada.api.post("/posts", json=NEWS)
        assert (created.status_code, created.json()["status"]) == (201, "published")
        assert (await api.get(f"/posts/{created.json()['id']}")).json() == created.json()

    async def test_a_customer_has_so_many_pending_posts_and_no_more(
        self, make: Make, maria: Person, ada: Person, sql: asyncpg.Connection
    ) -> None:
        public = await make.post(maria)
        pending = [(await maria.api.post("/posts", json=NEWS)).json()["id"] for _ in range(MAX_PENDING)]
        before = await stored(sql)
        for refused in (
            await maria.api.post("/posts", json=NEWS),
            await maria.api.put(f"/posts/{public}", json=EDIT),
            await maria.api.patch(f"/posts/{public}", json={"title": "Chai is gone"}),
        ):
            problem = assert_problem(refused, 409, "too_many_pending")
            assert problem["detail"] == (
                "You have 20 pending posts already. Wait until some are published, or delete one."
            )
        assert await stored(sql) == before
        # What is pending may be changed, others write, and whatever leaves the queue makes room for one.
        assert (await maria.api.put(f"/posts/{pending[0]}", json=EDIT)).status_code == 200
        assert (await (await make.user()).api.post("/posts", json=NEWS)).status_code == 201
        assert (await ada.api.post("/posts", json=NEWS)).status_code == 201
        await ada.api.post(f"/posts/{pending[0]}/publish")
        assert (await maria.api.post("/posts", json=NEWS)).status_code == 201
        assert_problem(await maria.api.post("/posts", json=NEWS), 409, "too_many_pending")
        await maria.api.delete(f"/posts/{pending[1]}")
        assert (await maria.api.patch(f"/posts/{public}", json={"title": "Chai is gone"})).status_code == 200

    async def test_markdown_is_kept_as_it_was_written(self, maria: Person) -> None:
        body = "\n    an indented block\r\n\n* a list \U0001f375\t<b>tag</b>  \n"
        post = (await maria.api.post("/posts", json={"title": "  Tea  ", "body": body})).json()
        assert (post["title"], post["body"]) == ("Tea", body)

    async def test_needs_a_token(self, api: Api, sql: asyncpg.Connection) -> None:
        assert_problem(await api.post("/posts", json=NEWS), 401, "unauthenticated")
        assert await stored(sql) == []

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("title", ""),
            ("title", " \t "),
            ("title", "x" * 201),
            ("title", "two\nlines"),
            ("title", "nul\0"),
            ("title", None),
            ("title", 7),
            ("body", ""),
            ("body", " \n\t "),
            ("body", "x" * 10_001),
            ("body", "nul\0"),
            ("body", ["list"]),
            ("status", "published"),
            ("author_id", 1),
        ],
    )
    async def test_bad_input_is_named(
        self, maria: Person, sql: asyncpg.Connection, field: str, value: object
    ) -> None:
        answer = await maria.api.post("/posts", json={**NEWS, field: value})
        assert_problem(answer, 422, "invalid_input", f"/{field}")
        assert await stored(sql) == []

    async def test_a_blank_body_is_explained(self, maria: Person) -> None:
        problem = assert_problem(
            await maria.api.post("/posts", json={**NEWS, "body": " "}), 422, "invalid_input", "/body"
        )
        assert problem["errors"][0]["detail"] == BLANK

    async def test_title_and_body_are_required(self, maria: Person) -> None:
        answer = await maria.api.post("/posts", json={})
        assert_problem(answer, 422, "invalid_input", "/title", "/body")


class TestList:
    @pytest.fixture(autouse=True)
    async def posts(self, make: Make, maria: Person, ada: Person) -> None:
        await make.post(ada, title="first")
        await make.post(maria, title="hers, pending", published=False)
        await make.post(maria, title="hers, published")
        await make.post(await make.user(), title="another's, pending", published=False)
        await make.post(ada, title="last")

    async def test_the_public_sees_what_is_published_newest_first(self, api: Api) -> None:
        answer = await api.get("/posts")
        assert titles(answer) == ["last", "hers, published", "first"]
        assert answer.headers["cache-control"] == "no-cache"
        assert "link" not in answer.headers

    async def test_authors_see_their_own_pending_ones_too(self, maria: Person) -> None:
        assert titles(await maria.api.get("/posts")) == ["last", "hers, published", "hers, pending", "first"]

    async def test_administrators_see_all(self, ada: Person) -> None:
        assert titles(await ada.api.get("/posts", params={"order": "asc"})) == [
            "first",
            "hers, pending",
            "hers, published",
            "another's, pending",
            "last",
        ]

    async def test_oldest_first(self, api: Api) -> None:
        assert titles(await api.get("/posts?order=asc")) == ["first", "hers, published", "last"]

    async def test_the_filter_by_status_only_narrows_what_is_visible(
        self, api: Api, maria: Person, ada: Person
    ) -> None:
        pending = {"status": "pending"}
        assert titles(await api.get("/posts", params=pending)) == []
        assert titles(await maria.api.get("/posts", params=pending)) == ["hers, pending"]
        assert titles(await ada.api.get("/posts", params=pending)) == ["another's, pending", "hers, pending"]
        published = await ada.api.get("/posts", params={"status": "published"})
        assert titles(published) == ["last", "hers, published", "first"]

    @pytest.mark.parametrize("order", ["asc", "desc"])
    async def test_pages_follow_each_other(self, api: Api, order: str) -> None:
        whole = titles(await api.get("/posts", params={"order": order}))
        first = await api.get("/posts", params={"order": order, "limit": 2})
        second = await api.get(first.links["next"]["url"].removeprefix("/api/v1"))
        assert titles(first) + titles(second) == whole
        assert second.links == {}

    async def test_skip_leaves_rows_out(self, api: Api) -> None:
        assert titles(await api.get("/posts?skip=1&limit=1")) == ["hers, published"]

    @pytest.mark.parametrize(
        "query", ["order=newest", "order=", "status=draft", "limit=0", "limit=101", "skip=-1"]
    )
    async def test_bad_parameters_are_named(self, api: Api, query: str) -> None:
        answer = await api.get(f"/posts?{query}")
        assert_problem(answer, 422, "invalid_input", "?" + query.partition("=")[0])

    async def test_a_bad_token_is_refused_though_the_list_is_public(self, api: Api) -> None:
        assert_problem(await api.signed_in("nonsense").get("/posts"), 401, "invalid_token")


class TestGet:
    async def test_a_published_post_is_public(self, api: Api, make: Make, maria: Person) -> None:
        post_id = await make.post(maria)
        answer = await api.get(f"/posts/{post_id}")
        assert (answer.status_code, answer.json()["author_name"]) == (200, "Maria Anders")
        assert answer.headers["cache-control"] == "no-cache"

    async def test_a_pending_one_is_seen_by_its_author_and_by_administrators(
        self, api: Api, make: Make, maria: Person, ada: Person
    ) -> None:
        path = f"/posts/{await make.post(maria, published=False)}"
        other = await make.user()
        for stranger in (api, other.api):
            assert_problem(await stranger.get(path), 404, "not_found")
        for reader in (maria, ada):
            assert (await reader.api.get(path)).json()["status"] == "pending"

    @pytest.mark.parametrize("post_id", [1, 2**63 - 1])
    async def test_an_unknown_id_is_404(self, api: Api, post_id: int) -> None:
        assert_problem(await api.get(f"/posts/{post_id}"), 404, "not_found")

    @pytest.mark.parametrize("post_id", ["0", "-1", "x", str(2**63), "1.5", "9" * 400])
    async def test_what_cannot_be_an_id_is_422(self, api: Api, post_id: str) -> None:
        assert_problem(await api.get(f"/posts/{post_id}"), 422, "invalid_input", "{post_id}")


class TestReplace:
    async def test_the_author_replaces_a_pending_post(self, make: Make, maria: Person) -> None:
        path = f"/posts/{await make.post(maria, published=False)}"
        before = (await maria.api.get(path)).json()
        after = (await maria.api.put(path, json=EDIT)).json()
        assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])
        assert after == {**before, **EDIT, "version": 2, "updated_at": after["updated_at"]}
        assert (await maria.api.get(path)).json() == after

    async def test_a_customers_change_of_a_published_post_waits_again(
        self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        path = f"/posts/{await make.post(maria)}"
        assert (await maria.api.put(path, json=EDIT)).json()["status"] == "pending"
        assert_problem(await api.get(path), 404, "not_found")
        assert await sql.fetchval("SELECT published_at FROM posts") is None

    async def test_an_administrators_change_leaves_it_published(
        self, api: Api, make: Make, maria: Person, ada: Person
    ) -> None:
        path = f"/posts/{await make.post(maria)}"
        after = (await ada.api.put(path, json=EDIT)).json()
        assert (after["status"], after["author_id"]) == ("published", maria.id)
        assert (await api.get(path)).json() == after

    async def test_an_administrators_change_publishes_nothing(
        self, make: Make, maria: Person, ada: Person
    ) -> None:
        path = f"/posts/{await make.post(maria, published=False)}"
        assert (await ada.api.put(path, json=EDIT)).json()["status"] == "pending"

    async def test_the_same_text_again_changes_nothing(self, make: Make, maria: Person) -> None:
        path = f"/posts/{await make.post(maria, **NEWS)}"
        before = (await maria.api.get(path)).json()
        assert (await maria.api.put(path, json=NEWS)).json() == before

    @pytest.mark.parametrize("missing", ["title", "body"])
    async def test_both_are_required(
        self, make: Make, maria: Person, sql: asyncpg.Connection, missing: str
    ) -> None:
        path = f"/posts/{await make.post(maria, **NEWS)}"
        body = {name: value for name, value in EDIT.items() if name != missing}
        assert_problem(await maria.api.put(path, json=body), 422, "invalid_input", f"/{missing}")
        assert await stored(sql) == [{**NEWS, "status": "published", "version": 1}]

    async def test_it_never_creates(self, maria: Person, ada: Person, sql: asyncpg.Connection) -> None:
        for person in (maria, ada):
            assert_problem(await person.api.put("/posts/1", json=EDIT), 404, "not_found")
        assert await stored(sql) == []


class TestUpdate:
    @pytest.mark.parametrize("field", ["title", "body"])
    async def test_what_is_absent_stays(self, make: Make, ada: Person, field: str) -> None:
        path = f"/posts/{await make.post(ada, **NEWS)}"
        after = (await ada.api.patch(path, json={field: EDIT[field]})).json()
        assert {name: after[name] for name in NEWS} == {**NEWS, field: EDIT[field]}
        assert (after["version"], after["status"]) == (2, "published")

    async def test_nothing_given_changes_nothing(self, make: Make, maria: Person) -> None:
        path = f"/posts/{await make.post(maria)}"
        before = (await maria.api.get(path)).json()
        answer = await maria.api.patch(path, json={})
        assert (answer.status_code, answer.json()) == (200, before)

    async def test_a_customers_change_waits_again(self, api: Api, make: Make, maria: Person) -> None:
        path = f"/posts/{await make.post(maria)}"
        after = (await maria.api.patch(path, json={"body": "Sold out."})).json()
        assert (after["status"], after["version"]) == ("pending", 2)
        assert_problem(await api.get(path), 404, "not_found")

    async def test_changes_at_once_all_count(self, make: Make, maria: Person) -> None:
        path = f"/posts/{await make.post(maria)}"
        answers = await asyncio.gather(
            *(maria.api.patch(path, json={"body": f"Box {number}"}) for number in range(5))
        )
        assert sorted(answer.json()["version"] for answer in answers) == [2, 3, 4, 5, 6]
        last = max(answers, key=lambda answer: answer.json()["version"]).json()
        assert (await maria.api.get(path)).json() == last

    @pytest.mark.parametrize("body", [{"title": None}, {"body": None}, {"title": ""}, {"body": " "}])
    async def test_nothing_can_be_removed(
        self, make: Make, maria: Person, sql: asyncpg.Connection, body: dict[str, object]
    ) -> None:
        path = f"/posts/{await make.post(maria, **NEWS)}"
        answer = await maria.api.patch(path, json=body)
        assert_problem(answer, 422, "invalid_input", *(f"/{name}" for name in body))
        assert await stored(sql) == [{**NEWS, "status": "published", "version": 1}]

    @pytest.mark.parametrize("field", ["status", "author_id", "version", "id"])
    async def test_other_fields_are_refused(self, make: Make, ada: Person, field: str) -> None:
        path = f"/posts/{await make.post(ada)}"
        answer = await ada.api.patch(path, json={field: 1})
        assert_problem(answer, 422, "invalid_input", f"/{field}")


class TestDelete:
    async def test_the_author_removes_it(self, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        path = f"/posts/{await make.post(maria)}"
        answer = await maria.api.delete(path)
        assert (answer.status_code, answer.content) == (204, b"")
        assert await stored(sql) == []
        assert_problem(await maria.api.delete(path), 404, "not_found")

    async def test_an_administrator_removes_any(self, make: Make, maria: Person, ada: Person) -> None:
        path = f"/posts/{await make.post(maria, published=False)}"
        assert (await ada.api.delete(path)).status_code == 204
        assert_problem(await ada.api.get(path), 404, "not_found")


class TestOfOthers:
    """Changing what is another's: refused, and told apart only where it is public anyway."""

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    @pytest.mark.parametrize(
        ("published", "status", "code"), [(True, 403, "forbidden"), (False, 404, "not_found")]
    )
    async def test_another_customer_is_refused(
        self,
        make: Make,
        maria: Person,
        sql: asyncpg.Connection,
        *,
        method: str,
        published: bool,
        status: int,
        code: str,
    ) -> None:
        path = f"/posts/{await make.post(maria, **NEWS, published=published)}"
        other = await make.user()
        before = await stored(sql)
        answer = await other.api.request(method, path, json=None if method == "DELETE" else EDIT)
        assert_problem(answer, status, code)
        assert await stored(sql) == before

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
    async def test_the_public_is_asked_to_sign_in(
        self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection, method: str
    ) -> None:
        path = f"/posts/{await make.post(maria, **NEWS)}"
        answer = await api.request(method, path, json=None if method == "DELETE" else EDIT)
        assert_problem(answer, 401, "unauthenticated")
        assert await stored(sql) == [{**NEWS, "status": "published", "version": 1}]


class TestPublish:
    async def test_a_pending_post_becomes_public(
        self, api: Api, make: Make, maria: Person, ada: Person, sql: asyncpg.Connection
    ) -> None:
        path = f"/posts/{await make.post(maria, published=False)}"
        before = (await ada.api.get(path)).json()
        answer = await ada.api.post(f"{path}/publish")
        after = answer.json()
        assert answer.status_code == 200
        assert datetime.fromisoformat(after["updated_at"]) > datetime.fromisoformat(before["updated_at"])
        assert after == {**before, "status": "published", "version": 2, "updated_at": after["updated_at"]}
        assert (await api.get(path)).json() == after
        assert await sql.fetchval("SELECT published_at = updated_at FROM posts")

    async def test_a_published_one_stays_as_it_is(self, make: Make, maria: Person, ada: Person) -> None:
        path = f"/posts/{await make.post(maria)}"
        before = (await ada.api.get(path)).json()
        answer = await ada.api.post(f"{path}/publish")
        assert (answer.status_code, answer.json()) == (200, before)

    async def test_authors_cannot_publish_their_own(
        self, make: Make, maria: Person, sql: asyncpg.Connection
    ) -> None:
        path = f"/posts/{await make.post(maria, **NEWS, published=False)}"
        assert_problem(await maria.api.post(f"{path}/publish"), 403, "forbidden")
        assert await stored(sql) == [{**NEWS, "status": "pending", "version": 1}]

    async def test_needs_a_token(self, api: Api, make: Make, maria: Person, sql: asyncpg.Connection) -> None:
        path = f"/posts/{await make.post(maria, **NEWS, published=False)}"
        assert_problem(await api.post(f"{path}/publish"), 401, "unauthenticated")
        assert await stored(sql) == [{**NEWS, "status": "pending", "version": 1}]

    async def test_an_unknown_one_is_404(self, ada: Person) -> None:
        assert_problem(await ada.api.post("/posts/1/publish"), 404, "not_found")
