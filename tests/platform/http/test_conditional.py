"""Conditional requests (RFC 9110, section 13): nothing is sent twice, and nothing unread is overwritten."""

import asyncio
import re
from typing import Any

import asyncpg
import pytest

from service.catalogue.schemas import Item
from service.platform.http.etag.versions import tags_in, versions_in
from service.posts.schemas import Post
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.orders import placed

HOME = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}


async def tag(api: Api, path: str) -> str:
    answer = await api.get(path)
    assert answer.status_code == 200
    return answer.headers["etag"]


def weak(tag: str) -> str:
    """As a proxy that compresses leaves it."""
    return f"W/{tag}"


class TestReading:
    async def test_an_item_carries_its_version_in_a_strong_tag(self, api: Api, make: Make) -> None:
        chai = await make.item(stock=5)
        answer = await api.get(f"/items/{chai.id}")
        assert re.fullmatch(r'"1-[0-9a-f]{8}"', answer.headers["etag"])
        assert answer.headers["cache-control"] == "no-cache"

    @pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', 'W/"other" , W/{}', "*"])
    async def test_what_is_known_is_not_sent_again(self, api: Api, make: Make, form: str) -> None:
        chai = await make.item(stock=5)
        known = await tag(api, f"/items/{chai.id}")
        answer = await api.get(f"/items/{chai.id}", headers={"If-None-Match": form.format(known)})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == known
        assert answer.headers["cache-control"] == "no-cache"
        assert "content-type" not in answer.headers
        assert "content-length" not in answer.headers

    async def test_head_is_answered_as_get(self, api: Api, make: Make) -> None:
        chai = await make.item()
        known = await tag(api, f"/items/{chai.id}")
        assert (await api.head(f"/items/{chai.id}")).headers["etag"] == known
        answer = await api.head(f"/items/{chai.id}", headers={"If-None-Match": known})
        assert (answer.status_code, answer.headers["etag"]) == (304, known)

    @pytest.mark.parametrize("form", ['"1-00000000"', "1", "", '"unclosed'])
    async def test_anything_else_is_sent(self, api: Api, make: Make, form: str) -> None:
        chai = await make.item()
        answer = await api.get(f"/items/{chai.id}", headers={"If-None-Match": form})
        assert (answer.status_code, answer.json()["id"]) == (200, chai.id)

    async def test_a_refusal_carries_no_tag(self, api: Api, sql: asyncpg.Connection) -> None:
        answer = await api.get("/items/1", headers={"If-None-Match": "*"})
        assert_problem(answer, 404, "not_found")
        assert "etag" not in answer.headers

    async def test_a_sale_that_the_public_cannot_see_changes_no_tag(self, api: Api, make: Make) -> None:
        maria, chai = await make.user(), await make.item(stock=50, reorder_level=10)
        known, of_list = await tag(api, f"/items/{chai.id}"), await tag(api, "/items")
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 5})
        assert (await tag(api, f"/items/{chai.id}"), await tag(api, "/items")) == (known, of_list)
        await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 40})
        assert (await api.get(f"/items/{chai.id}")).json()["availability"] == "low_stock"
        assert await tag(api, f"/items/{chai.id}") != known
        assert await tag(api, "/items") != of_list

    @pytest.mark.parametrize("path", ["/items", "/items?search=chai", "/items/categories", "/posts"])
    async def test_lists_have_tags(self, api: Api, make: Make, path: str) -> None:
        author = await make.admin()
        await make.item(name="Chai", category="Tea")
        await make.post(author)
        known = await tag(api, path)
        answer = await api.get(path, headers={"If-None-Match": weak(known)})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", known)

    async def test_a_page_that_is_followed_by_another_is_another_page(self, api: Api, make: Make) -> None:
        await make.item(name="Chai")
        alone = await tag(api, "/items?limit=1")
        await make.item(name="Chang")
        answer = await api.get("/items?limit=1", headers={"If-None-Match": alone})
        assert (answer.status_code, "link" in answer.headers) == (200, True)

    async def test_what_staff_see_has_a_tag_of_its_own(self, api: Api, make: Make) -> None:
        admin = await make.admin()
        await make.item(name="Chai")
        both = await tag(admin.api, "/items")
        assert await tag(api, "/items") == both
        await make.item(name="Gone", is_active=False)
        assert await tag(api, "/items") == both
        assert await tag(admin.api, "/items") != both

    async def test_a_person_is_never_kept_by_a_cache(self, make: Make) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        placed = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        for path in ("/users/profile", f"/orders/{placed.json()['id']}"):
            known = await tag(maria.api, path)
            answer = await maria.api.get(path, headers={"If-None-Match": known})
            assert (answer.status_code, answer.headers["cache-control"]) == (304, "private, no-store")

    async def test_what_shows_more_than_its_row_has_no_tag(self, make: Make) -> None:
        maria = await make.user()
        for path in (f"/users/{maria.id}", "/orders", "/notifications"):
            assert "etag" not in (await maria.api.get(path)).headers


class TestVersions:
    """Whatever changes what is shown changes the tag."""

    async def test_of_the_profile(self, make: Make) -> None:
        maria, seen = await make.user(), set()
        for change in (
            {},
            {"full_name": "Maria A. Anders"},
            {"address": HOME},
            {"address": {"city": "Bonn"}},
            {"address": None},
        ):
            answer = await maria.api.patch("/users/profile", json=change)
            assert answer.headers["etag"] == await tag(maria.api, "/users/profile")
            seen.add(answer.headers["etag"])
        assert len(seen) == 5

    async def test_of_a_post_whose_author_has_another_name(self, api: Api, make: Make) -> None:
        maria = await make.user()
        post_id = await make.post(maria)
        known = await tag(api, f"/posts/{post_id}")
        await maria.api.patch("/users/profile", json={"full_name": "Maria A. Anders"})
        answer = await api.get(f"/posts/{post_id}", headers={"If-None-Match": known})
        assert (answer.status_code, answer.json()["author_name"]) == (200, "Maria A. Anders")

    async def test_of_an_order_whose_status_or_address_changes(self, make: Make) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        placed = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        path = f"/orders/{placed.json()['id']}"
        redirected = await maria.api.put(f"{path}/ship-to", json=HOME)
        cancelled = await maria.api.post(f"{path}/cancel")
        tags = [answer.headers["etag"] for answer in (placed, redirected, cancelled)]
        assert len(set(tags)) == 3
        assert await tag(maria.api, path) == tags[-1]


class TestWriting:
    async def test_a_patch_of_an_item_must_say_what_it_has_read(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, chai = await make.admin(), await make.item()
        admin.api.courteous = False
        answer = await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"})
        problem = assert_problem(answer, 428, "precondition_required")
        assert "If-Match" in problem["detail"]
        assert await sql.fetchval("SELECT version FROM items") == 1

    async def test_of_two_concurrent_patches_one_gets_412(self, make: Make, sql: asyncpg.Connection) -> None:
        """Both at once, and again through a proxy that compresses."""
        ada, bob, chai = await make.admin(), await make.admin(), await make.item()
        path = f"/items/{chai.id}"
        for spelled in (str, weak):
            read = await tag(ada.api, path)
            headers = {"If-Match": spelled(read)}
            answers = await asyncio.gather(
                ada.api.patch(path, json={"name": "Chai by Ada"}, headers=headers),
                bob.api.patch(path, json={"description": "By Bob"}, headers=headers),
            )
            assert sorted(answer.status_code for answer in answers) == [200, 412]
            [winner] = [answer for answer in answers if answer.status_code == 200]
            [loser] = [answer for answer in answers if answer.status_code == 412]
            assert_problem(loser, 412, "precondition_failed")
            assert (await ada.api.get(path)).json() == winner.json()
            assert winner.headers["etag"] == await tag(ada.api, path) != read
            await sql.execute("UPDATE items SET name = 'Chai', description = '', version = version + 1")

    async def test_a_stale_tag_is_refused_even_if_nothing_would_change(self, make: Make) -> None:
        admin, chai = await make.admin(), await make.item(price="18.00")
        read = await tag(admin.api, f"/items/{chai.id}")
        await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"}, headers={"If-Match": read})
        answer = await admin.api.patch(
            f"/items/{chai.id}", json={"price": "19.00"}, headers={"If-Match": read}
        )
        assert_problem(answer, 412, "precondition_failed")

    @pytest.mark.parametrize("form", ['"1-00000000"', '"x"', '""', '"99-{}"'])
    async def test_a_tag_of_another_build_or_of_nothing_is_refused(
        self, make: Make, sql: asyncpg.Connection, form: str
    ) -> None:
        admin, chai = await make.admin(), await make.item()
        schema = (await tag(admin.api, f"/items/{chai.id}")).split("-")[1][:-1]
        headers = {"If-Match": form.format(schema)}
        answer = await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"}, headers=headers)
        assert_problem(answer, 412, "precondition_failed")
        assert await sql.fetchval("SELECT version FROM items") == 1

    @pytest.mark.parametrize(
        "form",
        ["1-{}", "1", "", "'1-{}'", '"1-{}', '1-{}"', 'W/1-{}', '"1-{}" "2-{}"', '*, "1-{}"', '"1-{}";'],
    )  # fmt: skip
    async def test_a_tag_without_its_quotes_is_a_bad_request_that_shows_them(
        self, make: Make, sql: asyncpg.Connection, form: str
    ) -> None:
        """As a 412 it would have a client read again and again what has not changed."""
        admin, maria, chai = await make.admin(), await make.user(), await make.item()
        read = await tag(admin.api, f"/items/{chai.id}")
        headers = {"If-Match": form.format(*[read.split("-")[1][:-1]] * 2)}
        answer = await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"}, headers=headers)
        problem = assert_problem(answer, 400, "if_match_invalid")
        assert f"If-Match as {read}" in problem["detail"]
        assert await sql.fetchval("SELECT version FROM items") == 1
        own = await maria.api.patch("/users/profile", json={"full_name": "Ana"}, headers=headers)
        assert_problem(own, 400, "if_match_invalid")

    @pytest.mark.parametrize("form", ["{}", " {} ", '"x", {}', '{},"x"', ", {},", '"a,b" , {}', "W/{}"])
    async def test_a_list_of_tags_may_be_spelled_as_http_spells_lists(self, make: Make, form: str) -> None:
        admin, chai = await make.admin(), await make.item()
        headers = {"If-Match": form.format(await tag(admin.api, f"/items/{chai.id}"))}
        answer = await admin.api.patch(f"/items/{chai.id}", json={"price": "19.00"}, headers=headers)
        assert (answer.status_code, answer.json()["price"]) == (200, "19.00")

    async def test_several_tags_and_any(self, make: Make) -> None:
        admin, chai = await make.admin(), await make.item()
        path = f"/items/{chai.id}"
        for number, form in enumerate(('"0-00000000", {}', "*"), start=19):
            headers = {"If-Match": form.format(await tag(admin.api, path))}
            answer = await admin.api.patch(path, json={"price": f"{number}.00"}, headers=headers)
            assert (answer.status_code, answer.json()["price"]) == (200, f"{number}.00")

    async def test_every_other_change_honours_it_where_it_is_sent(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, maria, chai = await make.admin(), await make.user(address=HOME), await make.item(stock=5)
        placed = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        post = f"/posts/{await make.post(maria)}"
        order = f"/orders/{placed.json()['id']}"
        news = {"title": "Chai", "body": "Is back."}
        await maria.api.patch("/users/profile", json={"full_name": "Maria A."})
        erasing: dict[str, Any] = {"current_password": "correct-horse-1"}
        asked: list[tuple[Api, str, str, str, Any]] = [
            (admin.api, "DELETE", f"/items/{chai.id}", f"/items/{chai.id}", None),
            (maria.api, "PUT", f"{order}/ship-to", order, {**HOME, "city": "Bonn"}),
            (maria.api, "PATCH", post, post, {"title": "Chai"}),
            (maria.api, "PUT", post, post, news),
            (maria.api, "DELETE", post, post, None),
            (maria.api, "PATCH", "/users/profile", "/users/profile", {"full_name": "Maria"}),
            (admin.api, "PATCH", f"/admin/users/{maria.id}", "/users/profile", {"is_active": True}),
            (maria.api, "DELETE", "/users/profile", "/users/profile", erasing),
        ]
        for api, method, path, resource, body in asked:
            reader = maria.api if resource == "/users/profile" else api
            read = await tag(reader, resource)
            for matching in (False, True):
                sent = read if matching else read.replace('"', '"9', 1)
                answer = await api.request(method, path, json=body, headers={"If-Match": sent})
                if matching:
                    assert answer.status_code in (200, 204), (method, path, answer.text)
                else:
                    assert_problem(answer, 412, "precondition_failed")
                    assert await tag(reader, resource) == read

    async def test_what_is_not_there_is_not_found_whatever_is_expected(self, make: Make) -> None:
        admin = await make.admin()
        answer = await admin.api.patch("/items/1", json={"price": "19.00"}, headers={"If-Match": '"1-0"'})
        assert_problem(answer, 404, "not_found")


class TestMergePatch:
    @pytest.mark.parametrize("media", ["application/json", "application/merge-patch+json"])
    async def test_absent_stays_and_null_removes(self, make: Make, media: str) -> None:
        admin = await make.admin()
        chai = await make.item(name="Chai", description="Black tea", category="Tea")
        headers = {"Content-Type": media}
        content = b'{"description": null}'
        answer = await admin.api.patch(f"/items/{chai.id}", content=content, headers=headers)
        shown = answer.json()
        assert (shown["name"], shown["description"], shown["category"]) == ("Chai", "", "Tea")

    async def test_another_media_type_is_415_with_the_accepted_ones(self, make: Make) -> None:
        admin, chai = await make.admin(), await make.item()
        headers = {"Content-Type": "application/json-patch+json"}
        answer = await admin.api.patch(f"/items/{chai.id}", content=b"[]", headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")
        assert answer.headers["accept-patch"] == "application/json, application/merge-patch+json"

    async def test_a_post_takes_no_patch(self, make: Make) -> None:
        maria = await make.user()
        headers = {"Content-Type": "application/merge-patch+json"}
        answer = await maria.api.post("/posts", content=b"{}", headers=headers)
        assert_problem(answer, 415, "unsupported_media_type")
        assert "accept-patch" not in answer.headers


class TestTags:
    def test_weak_and_strong_are_read_alike(self) -> None:
        assert tags_in('W/"a", "b" ,"c"') == {'"a"', '"b"', '"c"'}
        assert tags_in("a, 'b'") == frozenset()

    def test_only_versions_of_this_schema_count(self, api: Api) -> None:
        of_item = tag_suffix(Item)
        assert versions_in(f'"3-{of_item}", W/"4-{of_item}", "5-{tag_suffix(Post)}"', Item) == frozenset(
            {3, 4}
        )
        assert versions_in(f'"03-{of_item}", "-{of_item}", "x-{of_item}"', Item) == frozenset()
        assert versions_in(" * ", Item) is None


def tag_suffix(model: type[Item] | type[Post]) -> str:
    from service.platform.http.etag import versions

    return versions._schema(model)


class TestAbsence:
    """`If-None-Match` with a change (RFC 9110, section 13.1.2): 412, and nothing is changed."""

    @pytest.mark.parametrize("condition", ["*", " * ", "{}", 'W/{}, "other"'])
    async def test_a_put_with_if_none_match_overwrites_nothing(self, make: Make, condition: str) -> None:
        maria = await make.user()
        path = f"/posts/{await make.post(maria, title='News')}"
        headers = {"If-None-Match": condition.format(await tag(maria.api, path))}
        for method, body in (
            ("PUT", {"title": "x", "body": "y"}),
            ("PATCH", {"title": "x"}),
            ("DELETE", None),
        ):
            answer = await maria.api.request(method, path, json=body, headers=headers)
            assert_problem(answer, 412, "precondition_failed")
        assert (await maria.api.get(path)).json()["title"] == "News"

    async def test_another_tag_than_the_present_one_lets_it_through(self, make: Make) -> None:
        maria = await make.user()
        path = f"/posts/{await make.post(maria)}"
        headers = {"If-None-Match": f'"99-{tag_suffix(Post)}"'}
        assert (await maria.api.patch(path, json={"title": "x"}, headers=headers)).status_code == 200

    async def test_both_conditions_must_hold(self, make: Make) -> None:
        admin, chai = await make.admin(), await make.item()
        path = f"/items/{chai.id}"
        known = await tag(admin.api, path)
        for unwanted in ("*", known):
            headers = {"If-Match": known, "If-None-Match": unwanted}
            answer = await admin.api.patch(path, json={"name": "x"}, headers=headers)
            assert_problem(answer, 412, "precondition_failed")

    async def test_the_address_of_an_order(self, make: Make) -> None:
        """Whose condition stands in the UPDATE."""
        maria, chai = await make.user(), await make.item(stock=5)
        path = f"/orders/{(await placed(maria, chai.id))['id']}"
        for unwanted in ("*", await tag(maria.api, path)):
            headers = {"If-None-Match": unwanted}
            answer = await maria.api.put(f"{path}/ship-to", json=HOME, headers=headers)
            assert_problem(answer, 412, "precondition_failed")
        headers = {"If-None-Match": '"99-00000000"'}
        assert (await maria.api.put(f"{path}/ship-to", json=HOME, headers=headers)).status_code == 200

    async def test_what_has_no_tag_is_there_all_the_same(self, make: Make) -> None:
        maria = await make.user()
        answer = await maria.api.delete("/auth/sessions", headers={"If-None-Match": "*"})
        assert_problem(answer, 412, "precondition_failed")
        assert len((await maria.api.get("/auth/sessions")).json()) == 1

    async def test_what_is_not_there_is_not_made(self, make: Make) -> None:
        maria = await make.user()
        answer = await maria.api.put("/posts/99", json=dict.fromkeys(("title", "body"), "x"))
        assert_problem(answer, 404, "not_found")
        headers = {"If-None-Match": "*"}
        answer = await maria.api.put("/posts/99", json=dict.fromkeys(("title", "body"), "x"), headers=headers)
        assert_problem(answer, 404, "not_found")


class TestCompressing:
    """What servers in front add to the tags of what they compress."""

    @pytest.mark.parametrize("suffix", ["-gzip", ";gzip", "--gzip", "-br", "-deflate", "-zstd"])
    async def test_their_tags_are_known_again(self, make: Make, suffix: str) -> None:
        """Apache's mod_deflate made every If-Match a 412, for ever."""
        admin, chai = await make.admin(), await make.item()
        path = f"/items/{chai.id}"
        for address in (path, "/items"):
            known = (await tag(admin.api, address))[:-1] + suffix + '"'
            answer = await admin.api.get(address, headers={"If-None-Match": f"W/{known}"})
            assert answer.status_code == 304
        headers = {"If-Match": (await tag(admin.api, path))[:-1] + suffix + '"'}
        answer = await admin.api.patch(path, json={"name": "Chang"}, headers=headers)
        assert answer.status_code == 200
        assert_problem(
            await admin.api.patch(path, json={"name": "x"}, headers=headers), 412, "precondition_failed"
        )

    @pytest.mark.parametrize("suffix", ["-gzip-gzip", "gzip", "-x", "-gzip "])
    async def test_other_endings_are_other_tags(self, api: Api, make: Make, suffix: str) -> None:
        path = f"/items/{(await make.item()).id}"
        known = (await tag(api, path))[:-1] + suffix + '"'
        assert (await api.get(path, headers={"If-None-Match": known})).status_code == 200
