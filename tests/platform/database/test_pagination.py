"""Lists: every row exactly once, whatever happens meanwhile, and cursors that cannot be made up."""

import base64
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from service.errors import Unprocessable
from service.platform.database.pagination import MAX_SKIP, Cursors, Page
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


async def add(sql: asyncpg.Connection, author: Person, count: int, status: str = "published") -> None:
    await sql.execute(
        "INSERT INTO posts (title, body, author_id, status) SELECT 'News', 'x', $1, $2"
        " FROM generate_series(1, $3)",
        author.id,
        status,
        count,
    )


async def stored(sql: asyncpg.Connection) -> list[int]:
    return [row["id"] for row in await sql.fetch("SELECT id FROM posts ORDER BY id")]


def ids(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [post["id"] for post in answer.json()]


def next_of(answer: Any) -> str | None:
    link = answer.links.get("next")
    return link["url"].removeprefix("/api/v1") if link else None


def cursor_of(answer: Any) -> str:
    cursor: str = answer.links["next"]["url"].partition("cursor=")[2]
    return cursor


class TestPages:
    @pytest.mark.parametrize("limit", [1, 3, 4, 12, 100])
    async def test_every_row_once(self, api: Api, ada: Person, sql: asyncpg.Connection, limit: int) -> None:
        await add(sql, ada, 12)
        seen, sizes, path = list[int](), list[int](), f"/posts?limit={limit}"
        while path:
            answer = await api.get(path)
            seen += ids(answer)
            sizes.append(len(answer.json()))
            path = next_of(answer) or ""
        assert seen == (await stored(sql))[::-1]
        # No page but the last is short, and there is no empty one after it.
        assert sizes == [limit] * (12 // limit) + ([12 % limit] if 12 % limit else [])

    @pytest.mark.parametrize("order", ["asc", "desc"])
    async def test_rows_that_come_and_go_meanwhile_shift_nothing(
        self, api: Api, ada: Person, sql: asyncpg.Connection, order: str
    ) -> None:
        """Of those that are there all the time, none is skipped and none shown twice."""
        await add(sql, ada, 30)
        there = await stored(sql)
        seen, path = list[int](), f"/posts?limit=4&order={order}"
        while path:
            answer = await api.get(path)
            seen += ids(answer)
            path = next_of(answer) or ""
            if len(seen) <= 20:
                await add(sql, ada, 3)
            if len(seen) == 4:
                # One that has been shown, the last one shown, and one that has not.
                gone = [seen[0], seen[-1], there[15]]
                await sql.execute("DELETE FROM posts WHERE id = ANY($1)", gone)
        assert len(seen) == len(set(seen))
        assert seen == sorted(seen, reverse=order == "desc")
        assert set(there) - set(seen) == {there[15]}
        if order == "asc":
            assert set(await stored(sql)) <= set(seen)

    async def test_filters_stay_in_the_link(self, ada: Person, sql: asyncpg.Connection) -> None:
        await add(sql, ada, 3)
        await add(sql, ada, 3, status="pending")
        first = await ada.api.get("/posts?status=pending&limit=2&order=asc")
        path = next_of(first)
        assert path is not None
        assert path.startswith("/posts?status=pending&order=asc&limit=2&cursor=")
        second = await ada.api.get(path)
        assert ids(first) + ids(second) == (await stored(sql))[3:]
        assert next_of(second) is None

    async def test_the_link_of_a_trailing_slash_is_good(
        self, api: Api, ada: Person, sql: asyncpg.Connection
    ) -> None:
        await add(sql, ada, 2)
        path = next_of(await api.get("/posts/?limit=1"))
        assert path is not None
        assert ids(await api.get(path)) == (await stored(sql))[:1]

    async def test_skip_then_follow(self, api: Api, ada: Person, sql: asyncpg.Connection) -> None:
        await add(sql, ada, 5)
        first = await api.get("/posts?skip=1&limit=2")
        path = next_of(first)
        assert path is not None
        assert "skip" not in path
        assert ids(first) + ids(await api.get(path)) == (await stored(sql))[3::-1]
        assert ids(await api.get("/posts?skip=10000")) == []

    async def test_ten_are_shown_unless_asked_otherwise(
        self, api: Api, ada: Person, sql: asyncpg.Connection
    ) -> None:
        await add(sql, ada, 11)
        answer = await api.get("/posts")
        assert ids(answer) == (await stored(sql))[:0:-1]
        assert answer.headers["link"].endswith('>; rel="next"')

    async def test_an_empty_list_is_an_array(self, api: Api) -> None:
        answer = await api.get("/posts")
        assert (answer.status_code, answer.json(), "link" in answer.headers) == (200, [], False)


class TestBounds:
    @pytest.mark.parametrize(
        "query",
        [
            "limit=0",
            "limit=101",
            "limit=-1",
            "limit=ten",
            "limit=",
            "limit=1e2",
            "limit=" + "9" * 5_000,
            "skip=-1",
            "skip=x",
            "skip=" + "9" * 5_000,
            "cursor=" + "x" * 2_001,
        ],
    )
    async def test_out_of_bounds(self, api: Api, query: str) -> None:
        assert_problem(await api.get(f"/posts?{query}"), 422, "invalid_input", "?" + query.partition("=")[0])

    async def test_too_deep_a_skip_points_to_the_cursor(self, api: Api) -> None:
        problem = assert_problem(await api.get(f"/posts?skip={MAX_SKIP + 1}"), 422, "invalid_input", "?skip")
        assert problem["errors"][0]["detail"] == (
            "Send 10000 or less. To read further, follow the Link header instead."
        )

    async def test_a_parameter_twice_is_refused(self, api: Api) -> None:
        problem = assert_problem(await api.get("/posts?limit=1&limit=2"), 422, "invalid_input", "?limit")
        assert problem["errors"][0]["code"] == "repeated_parameter"


class TestForeignCursors:
    @pytest.fixture
    async def cursor(self, ada: Person, sql: asyncpg.Connection) -> str:
        await add(sql, ada, 3)
        await add(sql, ada, 3, status="pending")
        return cursor_of(await ada.api.get("/posts?status=published&limit=1"))

    async def refused(self, person: Person, path: str, **parameters: Any) -> None:
        problem = assert_problem(
            await person.api.get(path, params=parameters), 422, "invalid_input", "?cursor"
        )
        assert problem["errors"][0]["code"] == "bad_cursor"

    async def test_in_its_place_it_is_good_at_any_limit(
        self, ada: Person, cursor: str, sql: asyncpg.Connection
    ) -> None:
        answer = await ada.api.get(f"/posts?cursor={cursor}&status=published&limit=50")
        assert ids(answer) == (await stored(sql))[1::-1]

    async def test_with_other_filters(self, ada: Person, cursor: str) -> None:
        await self.refused(ada, "/posts", cursor=cursor)
        await self.refused(ada, "/posts", cursor=cursor, status="pending")
        await self.refused(ada, "/posts", cursor=cursor, status="published", order="asc")

    async def test_of_another_list(self, ada: Person, cursor: str) -> None:
        await self.refused(ada, "/admin/users", cursor=cursor)

    async def test_tampered_with(self, ada: Person, cursor: str) -> None:
        raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        for position in (0, 15, 16, len(raw) - 1):
            changed = bytearray(raw)
            changed[position] ^= 1
            text = base64.urlsafe_b64encode(changed).decode().rstrip("=")
            await self.refused(ada, "/posts", cursor=text, status="published")

    @pytest.mark.parametrize("made_up", ["", "x", "A" * 40, "\0", "\u00e9", "[5]", "../..", "%", "===="])
    async def test_made_up(self, ada: Person, made_up: str) -> None:
        await self.refused(ada, "/posts", cursor=made_up)

    async def test_with_skip(self, ada: Person, cursor: str) -> None:
        parameters: dict[str, str | int] = {"cursor": cursor, "status": "published", "skip": 1}
        problem = assert_problem(
            await ada.api.get("/posts", params=parameters), 422, "invalid_input", "?skip"
        )
        assert problem["errors"][0]["code"] == "skip_with_cursor"


class TestCursors:
    cursors = Cursors(b"k" * 32)

    @pytest.mark.parametrize("identifier", [5, 55, 555])  # Their cursors have four, two and no spare bits.
    def test_each_is_written_in_one_way(self, identifier: int) -> None:
        cursor = self.cursors.encode("/posts", (identifier,))
        others = [cursor + "=" * count for count in (1, 2, 3)]
        others += [cursor[:-1] + chr(code) for code in range(33, 127) if chr(code) != cursor[-1]]
        for other in others:
            with pytest.raises(Unprocessable):
                self.cursors.decode("/posts", other)

    @pytest.mark.parametrize(
        "values",
        [
            (),
            (1,),
            (2**63 - 1,),
            (None, True, "\u738b\0\U0001f375"),
            (Decimal("18.00"), 7),
            (datetime(2026, 11, 22, 10, 30, 0, 123456, UTC), 7),
            (datetime(2026, 11, 22, tzinfo=timezone(timedelta(hours=-5))),),
        ],
        ids=str,
    )
    def test_values_come_back_as_they_were(self, values: tuple[Any, ...]) -> None:
        back = self.cursors.decode("list?", self.cursors.encode("list?", values))
        assert back == values
        assert [type(value) for value in back] == [type(value) for value in values]

    def test_the_exponent_of_a_decimal_is_kept(self) -> None:
        (back,) = self.cursors.decode("list?", self.cursors.encode("list?", (Decimal("18.00"),)))
        assert str(back) == "18.00"

    def test_it_is_good_for_its_list_and_installation_alone(self) -> None:
        cursor = self.cursors.encode("list?", (1,))
        for cursors, scope in ((self.cursors, "list?x=1"), (self.cursors, ""), (Cursors(b"o" * 32), "list?")):
            with pytest.raises(Unprocessable) as refusal:
                cursors.decode(scope, cursor)
            assert [fault.pointer for fault in refusal.value.errors] == ["?cursor"]

    def test_one_of_an_accepted_key_is_good_and_none_is_made_with_it(self) -> None:
        new = Cursors(b"n" * 32, b"k" * 32, b"o" * 32)
        for key in (b"n", b"k", b"o"):
            assert new.decode("list?", Cursors(key * 32).encode("list?", (1,))) == (1,)
        assert new.encode("list?", (1,)) == Cursors(b"n" * 32).encode("list?", (1,))

    def test_a_scope_cannot_run_over_into_the_values(self) -> None:
        assert self.cursors.encode("a", ("b",)) != self.cursors.encode("ab", ())

    def test_it_needs_no_escaping_in_a_url(self) -> None:
        for number in range(100):
            cursor = self.cursors.encode("list?", (number,))
            assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class TestPage:
    class Row:
        def __init__(self, name: str, row_id: int) -> None:
            self.name, self.id = name, row_id

    def test_one_more_than_shown_means_a_next_page(self) -> None:
        page = Page(limit=2)
        rows = [self.Row("a", 1), self.Row("b", 2), self.Row("c", 3)]
        assert (page.fetch, page.cut(rows, "name", "id")) == (3, rows[:2])
        assert page.next == ("b", 2)

    @pytest.mark.parametrize("count", [0, 1, 2])
    def test_otherwise_there_is_none(self, count: int) -> None:
        page = Page(limit=2)
        rows = [self.Row("a", number) for number in range(count)]
        assert (page.cut(rows, "id"), page.next) == (rows, None)
