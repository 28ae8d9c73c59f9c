import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import until_answered, until_void


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin(email="ada@shop.example")


async def names(person: Person, **filters: str | int) -> list[str]:
    answer = await person.api.get("/admin/users", params=filters)
    assert answer.status_code == 200, answer.text
    return [user["full_name"] for user in answer.json()]


async def flags(sql: asyncpg.Connection, person: Person) -> tuple[bool, bool]:
    row = await sql.fetchrow("SELECT is_active, is_admin FROM users WHERE id = $1", person.id)
    assert row is not None
    return row["is_active"], row["is_admin"]


class TestList:
    @pytest.fixture(autouse=True)
    async def people(self, make: Make, ada: Person) -> None:
        await make.user(full_name="Maria Anders", email="maria@north.example")
        await make.user(full_name="J\u00f6rg 100%", email="joerg@south.example")
        await make.user(full_name="Under_score", email="gone@north.example", is_active=False)

    async def test_all_users_in_the_order_of_registration(self, ada: Person) -> None:
        assert await names(ada) == ["Ada Admin", "Maria Anders", "J\u00f6rg 100%", "Under_score"]

    async def test_a_user_in_full(self, make: Make, ada: Person) -> None:
        address = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        otto = await make.user(full_name="Otto", email="otto@shop.example", address=address)
        (user,) = (await ada.api.get("/admin/users?search=otto")).json()
        assert user == (await otto.api.get("/users/profile")).json()

    @pytest.mark.parametrize(
        ("search", "found"),
        [
            ("maria", ["Maria Anders"]),
            ("NORTH.example", ["Maria Anders", "Under_score"]),
            ("J\u00d6RG", ["J\u00f6rg 100%"]),
            ("  anders ", ["Maria Anders"]),
            ("%", ["J\u00f6rg 100%"]),
            ("_", ["Under_score"]),
            ("\\", []),
            ("'; DROP TABLE users; --", []),
        ],
    )
    async def test_searches_names_and_addresses(self, ada: Person, search: str, found: list[str]) -> None:
        assert await names(ada, search=search) == found

    async def test_filters(self, ada: Person) -> None:
        assert await names(ada, is_admin="true") == ["Ada Admin"]
        assert await names(ada, is_active="false") == ["Under_score"]
        assert await names(ada, is_active="true", is_admin="false") == ["Maria Anders", "J\u00f6rg 100%"]
        assert await names(ada, is_active="false", search="south") == []

    async def test_pages_follow_each_other(self, ada: Person) -> None:
        first = await ada.api.get("/admin/users?limit=1&search=north")
        assert first.links["next"]["url"].startswith("/api/v1/admin/users?search=north&limit=1&cursor=")
        second = await ada.api.get(first.links["next"]["url"].removeprefix("/api/v1"))
        shown = [user["full_name"] for answer in (first, second) for user in answer.json()]
        assert (shown, second.links) == (["Maria Anders", "Under_score"], {})
        assert await names(ada, skip=1, limit=2) == ["Maria Anders", "J\u00f6rg 100%"]

    @pytest.mark.parametrize(
        "query", ["search=", "search=+", "search=%00", "search=" + "x" * 201, "is_active=2", "is_admin="]
    )
    async def test_bad_filters_are_named(self, ada: Person, query: str) -> None:
        answer = await ada.api.get(f"/admin/users?{query}")
        assert_problem(answer, 422, "invalid_input", "?" + query.partition("=")[0])

    async def test_is_for_administrators(self, api: Api, make: Make) -> None:
        assert_problem(await api.get("/admin/users"), 401, "unauthenticated")
        assert_problem(await (await make.user()).api.get("/admin/users"), 403, "forbidden")


class TestAdminister:
    @pytest.fixture
    async def maria(self, make: Make) -> Person:
        return await make.user()

    async def test_grant_and_withdraw(self, ada: Person, maria: Person, sql: asyncpg.Connection) -> None:
        path = f"/admin/users/{maria.id}"
        for is_admin in (True, False):
            answer = await ada.api.patch(path, json={"is_admin": is_admin})
            assert (answer.status_code, answer.json()["is_admin"]) == (200, is_admin)
            assert await flags(sql, maria) == (True, is_admin)

    async def test_deactivate_and_activate(self, ada: Person, maria: Person, sql: asyncpg.Connection) -> None:
        path = f"/admin/users/{maria.id}"
        answer = await ada.api.patch(path, json={"is_active": False})
        assert (answer.status_code, answer.json()["is_active"]) == (200, False)
        assert (await ada.api.patch(path, json={"is_active": True})).json()["is_active"] is True
        assert await flags(sql, maria) == (True, False)
        # The sessions from before stay ended.
        await until_void(maria.api)

    async def test_nothing_given_changes_nothing(self, ada: Person, maria: Person) -> None:
        answer = await ada.api.patch(f"/admin/users/{maria.id}", json={})
        assert (answer.status_code, answer.json()["id"]) == (200, maria.id)
        assert (await maria.api.get("/users/profile")).json() == answer.json()

    async def test_one_of_two_administrators_may_go(
        self, make: Make, ada: Person, sql: asyncpg.Connection
    ) -> None:
        grace = await make.admin()
        answer = await ada.api.patch(f"/admin/users/{ada.id}", json={"is_admin": False})
        assert (answer.status_code, await flags(sql, ada)) == (200, (True, False))
        assert_problem(await until_answered(ada.api, "/admin/users", 403), 403, "forbidden")
        assert await names(grace, is_admin="true") == ["Ada Admin"]

    @pytest.mark.parametrize("change", [{"is_admin": False}, {"is_active": False}])
    async def test_the_last_administrator_stays(
        self, make: Make, ada: Person, sql: asyncpg.Connection, change: dict[str, bool]
    ) -> None:
        gone = await make.admin(is_active=False)
        answer = await ada.api.patch(f"/admin/users/{ada.id}", json=change)
        assert_problem(answer, 409, "last_administrator")
        assert (await flags(sql, ada), await flags(sql, gone)) == ((True, True), (False, True))
        assert (await ada.api.get("/users/profile")).status_code == 200

    async def test_an_inactive_administrator_may_lose_the_role(
        self, make: Make, ada: Person, sql: asyncpg.Connection
    ) -> None:
        gone = await make.admin(is_active=False)
        answer = await ada.api.patch(f"/admin/users/{gone.id}", json={"is_admin": False})
        assert (answer.status_code, await flags(sql, gone)) == (200, (False, False))

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"is_active": None}, "/is_active"),
            ({"is_admin": None}, "/is_admin"),
            ({"is_admin": "perhaps"}, "/is_admin"),
            ({"email": "x@shop.example"}, "/email"),
        ],
    )
    async def test_bad_input_is_named(
        self, ada: Person, maria: Person, sql: asyncpg.Connection, body: dict[str, object], pointer: str
    ) -> None:
        answer = await ada.api.patch(f"/admin/users/{maria.id}", json=body)
        assert_problem(answer, 422, "invalid_input", pointer)
        assert await flags(sql, maria) == (True, False)

    @pytest.mark.parametrize("body", [{}, {"is_admin": True}, {"is_active": False}])
    async def test_an_unknown_user_is_404(self, ada: Person, body: dict[str, bool]) -> None:
        assert_problem(await ada.api.patch(f"/admin/users/{2**63 - 1}", json=body), 404, "not_found")

    async def test_is_for_administrators(self, api: Api, maria: Person, sql: asyncpg.Connection) -> None:
        path, body = f"/admin/users/{maria.id}", {"is_admin": True}
        assert_problem(await api.patch(path, json=body), 401, "unauthenticated")
        assert_problem(await maria.api.patch(path, json=body), 403, "forbidden")
        assert await flags(sql, maria) == (True, False)
