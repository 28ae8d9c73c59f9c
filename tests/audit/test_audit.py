"""The audit log: what is noted, who may read it, and that nobody can change it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text

from service import audit
from service.container.api import Container
from service.platform.telemetry import request_facts
from service.platform.telemetry.request_facts import RequestFacts
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.identity import audited, last_entry

CLIENT = "127.0.0.1"
REQUEST_ID = "till-4711-of-the-client"
FIELDS = {
    "id", "at", "actor_id", "key_id", "action", "target_kind", "target_id", "data", "request_id",
    "caller_request_id", "address",
}  # fmt: skip


async def listed(admin: Person, query: str = "") -> list[dict[str, Any]]:
    answer = await admin.api.get(f"/admin/audit{query}")
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()
    return entries


async def deactivated(admin: Person, person: Person, **headers: str) -> str:
    """Deactivates a user; returns the request's id."""
    path = f"/admin/users/{person.id}"
    answer = await admin.api.patch(path, json={"is_active": False}, headers=headers)
    assert answer.status_code == 200
    return answer.headers["x-request-id"]


class TestList:
    async def test_an_entry_says_who_did_what_to_whom_from_where(self, make: Make) -> None:
        ada, maria = await make.admin(), await make.user()
        await deactivated(ada, maria, **{"X-Request-ID": REQUEST_ID})
        [entry] = await listed(ada, f"?target_kind=user&target_id={maria.id}")
        assert set(entry) == FIELDS
        at = datetime.fromisoformat(entry.pop("at"))
        assert timedelta() <= datetime.now(UTC) - at < timedelta(minutes=1)
        own_id = entry.pop("request_id")
        assert (len(own_id), own_id == REQUEST_ID) == (32, False)
        assert entry.pop("id") > 0
        assert entry == {
            "actor_id": ada.id,
            "key_id": None,
            "action": "user.deactivated",
            "target_kind": "user",
            "target_id": maria.id,
            "data": {"before": {"is_active": True}, "after": {"is_active": False}},
            "caller_request_id": REQUEST_ID,
            "address": CLIENT,
        }

    async def test_the_newest_stands_first_and_pages_follow_on(self, make: Make) -> None:
        ada = await make.admin()
        people = [await make.user() for _ in range(5)]
        for person in people:
            await deactivated(ada, person)
        seen: list[int] = []
        url: str | None = "/api/v1/admin/audit?action=user.deactivated&limit=2"
        sizes = []
        while url:
            answer = await ada.api.root(url)
            seen += [entry["target_id"] for entry in answer.json()]
            sizes.append(len(answer.json()))
            # What comes meanwhile shifts nothing.
            await deactivated(ada, await make.user())
            url = answer.links.get("next", {}).get("url")
        assert sizes == [2, 2, 1]
        assert seen == [person.id for person in reversed(people)]

    async def test_skip_is_for_people(self, make: Make) -> None:
        ada, maria, ana = await make.admin(), await make.user(), await make.user()
        await deactivated(ada, maria)
        await deactivated(ada, ana)
        [entry] = await listed(ada, "?action=user.deactivated&skip=1&limit=1")
        assert entry["target_id"] == maria.id

    async def test_filters(self, make: Make, sql: asyncpg.Connection) -> None:
        ada, grace, maria = await make.admin(), await make.admin(), await make.user()
        await make.item()
        first_id = await deactivated(ada, maria)
        await grace.api.patch(
            f"/admin/users/{maria.id}", json={"is_active": True}, headers={"X-Request-ID": REQUEST_ID}
        )
        await sql.execute(
            "INSERT INTO audit_log (action, at)"
            " VALUES ('order.placed', '2020-02-01Z'), ('x.y', '2020-03-01Z')"
        )
        for query, expected in (
            ("action=user.activated", ["user.activated"]),
            (f"actor_id={ada.id}", ["user.deactivated"]),
            (f"actor_id={grace.id}", ["user.activated"]),
            (f"target_id={maria.id}", ["user.activated", "user.deactivated"]),
            (f"target_kind=item&target_id={maria.id}", []),
            (f"target_kind=user&target_id={maria.id}&action=user.activated", ["user.activated"]),
            ("target_kind=item", ["item.created"]),
            (f"request_id={first_id}", ["user.deactivated"]),
            (f"request_id={REQUEST_ID}", ["user.activated"]),
            ("request_id=00000000", []),
            ("since=2020-02-01T00:00:00Z&until=2020-03-01T00:00:00Z", ["order.placed"]),
            ("until=2020-03-01T00:00:00%2B00:00", ["order.placed"]),
            ("until=2020-03-01T00:00:01Z", ["x.y", "order.placed"]),
            ("since=2020-02-01T00:00:01Z&until=2021-01-01T00:00:00Z", ["x.y"]),
        ):
            assert [entry["action"] for entry in await listed(ada, f"?{query}")] == expected, query

    async def test_an_address_that_is_no_longer_kept_is_null(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        await deactivated(ada, await make.user())
        await sql.execute("DELETE FROM audit_addresses")
        [entry] = await listed(ada, "?action=user.deactivated")
        assert entry["address"] is None

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("actor_id=0", "?actor_id"),
            ("actor_id=9223372036854775808", "?actor_id"),
            ("target_id=1_0", "?target_id"),
            ("target_id=x", "?target_id"),
            ("action=%00", "?action"),
            ("action=", "?action"),
            (f"target_kind={'x' * 101}", "?target_kind"),
            ("request_id=short", "?request_id"),
            (f"request_id={'x' * 129}", "?request_id"),
            ("since=2026-11-22", "?since"),
            ("since=2026-11-22T10:30:00", "?since"),
            ("until=1700000000", "?until"),
            ("until=0001-01-01T00:00:00%2B14:00", "?until"),
            ("limit=101", "?limit"),
            ("skip=10001", "?skip"),
            ("cursor=x", "?cursor"),
            ("address=127.0.0.1", "?address"),
        ],
    )
    async def test_bad_input_is_named(self, make: Make, query: str, pointer: str) -> None:
        ada = await make.admin()
        assert_problem(await ada.api.get(f"/admin/audit?{query}"), 422, "invalid_input", pointer)

    async def test_a_cursor_is_good_for_its_filters_only(self, make: Make) -> None:
        ada = await make.admin()
        for _ in range(2):
            await deactivated(ada, await make.user())
        answer = await ada.api.get("/admin/audit?action=user.deactivated&limit=1")
        url = answer.links["next"]["url"].replace("user.deactivated", "user.activated")
        assert_problem(await ada.api.root(url), 422, "invalid_input", "?cursor")

    async def test_is_for_administrators_alone(self, api: Api, make: Make) -> None:
        maria = await make.user()
        assert_problem(await api.get("/admin/audit"), 401, "unauthenticated")
        assert_problem(await maria.api.get("/admin/audit"), 403, "forbidden")


class TestAppendOnly:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_log SET action = 'nothing.done'",
            "UPDATE audit_log SET actor_id = NULL WHERE false",
            "DELETE FROM audit_log",
            "TRUNCATE audit_log",
            "TRUNCATE audit_log CASCADE",
            "MERGE INTO audit_log USING users ON false WHEN NOT MATCHED BY SOURCE THEN DELETE",
            "INSERT INTO audit_log (action) VALUES ('x.y') ON CONFLICT (id) DO UPDATE SET action = ''",
        ],
    )
    async def test_the_database_refuses_the_application(
        self, make: Make, container: Container, sql: asyncpg.Connection, statement: str
    ) -> None:
        await make.item()
        before = await sql.fetch("SELECT * FROM audit_log")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="audit_log is append-only"):
            async with container.database.transaction() as session:
                await session.execute(text(statement))
        assert await sql.fetch("SELECT * FROM audit_log") == before
        assert len(before) == 1


class TestIdentity:
    async def test_signing_in(self, api: Api, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        assert (await api.token(maria.email, PASSWORD)).status_code == 200
        session_id = await sql.fetchval("SELECT max(id) FROM sessions")
        assert await audited(sql) == [("session.started", maria.id, "session", session_id, {})]

    async def test_a_refused_sign_in_names_no_address(
        self, api: Api, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        """One entry each, whether or not there is such an account: equal work, equal time."""
        person = container.issuer.pseudonyms.of
        maria, gone = await make.user(), await make.user(is_active=False)
        assert (await api.token(maria.email.upper(), "wrong-horse-1")).status_code == 400
        assert (await api.token("nobody@shop.example", PASSWORD)).status_code == 400
        assert (await api.token(gone.email, PASSWORD)).status_code == 400
        assert await audited(sql) == [
            ("session.refused", None, "user", maria.id, {"person": person(maria.email)}),
            ("session.refused", None, None, None, {"person": person("nobody@shop.example")}),
            ("session.refused", None, "user", gone.id, {"person": person(gone.email)}),
        ]
        text = str(await sql.fetch("SELECT * FROM audit_log"))
        assert "shop.example" not in text.lower()
        assert await sql.fetchval("SELECT count(*) FROM audit_addresses") == 3

    async def test_registering(self, api: Api, make: Make, sql: asyncpg.Connection) -> None:
        body = {"email": "ana@shop.example", "password": "Northwind1", "full_name": "Ana Trujillo"}
        ana = (await api.post("/users", json=body)).json()["id"]
        ada = await make.admin()
        other = {**body, "email": "other@shop.example", "is_active": False}
        inactive = (await ada.api.post("/users", json=other)).json()["id"]
        assert (await api.post("/users", json=body)).status_code == 409
        assert await audited(sql) == [
            ("user.registered", None, "user", ana, {}),
            ("user.registered", ada.id, "user", inactive, {}),
        ]

    async def test_changing_the_password(self, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        for current, status in (("wrong-horse-1", 422), (PASSWORD, 204)):
            body = {"current_password": current, "new_password": "battery-staple-2"}
            assert (await maria.api.post("/users/profile/password", json=body)).status_code == status
        assert await audited(sql) == [("password.changed", maria.id, "user", maria.id, {})]

    async def test_administering_accounts(self, make: Make, sql: asyncpg.Connection) -> None:
        ada, maria = await make.admin(), await make.user()
        for change in (
            {"is_active": False, "is_admin": True},
            {"is_active": False},
            {"is_active": True},
            {},
            {"is_admin": False},
        ):
            assert (await ada.api.patch(f"/admin/users/{maria.id}", json=change)).status_code == 200
        on, off = {"is_active": True}, {"is_active": False}
        staff, customer = {"is_admin": True}, {"is_admin": False}
        assert await audited(sql) == [
            ("user.deactivated", ada.id, "user", maria.id, {"before": on, "after": off}),
            ("user.granted", ada.id, "user", maria.id, {"before": customer, "after": staff}),
            ("user.activated", ada.id, "user", maria.id, {"before": off, "after": on}),
            ("user.withdrawn", ada.id, "user", maria.id, {"before": staff, "after": customer}),
        ]

    async def test_what_is_refused_leaves_no_entry(self, make: Make, sql: asyncpg.Connection) -> None:
        ada, maria = await make.admin(), await make.user()
        for client, path, status in (
            (ada, f"/admin/users/{ada.id}", 409),
            (ada, f"/admin/users/{2**62}", 404),
            (maria, f"/admin/users/{maria.id}", 403),
        ):
            answer = await client.api.patch(path, json={"is_admin": False})
            assert answer.status_code == status
        assert await audited(sql) == []


class TestBusiness:
    async def test_orders(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, ada, chai = await make.user(), await make.admin(), await make.item(stock=5)
        last = await last_entry(sql)
        placed = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 2})
        order = placed.json()["id"]
        home = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        await maria.api.put(f"/orders/{order}/ship-to", json=home)
        await ada.api.post(f"/orders/{order}/cancel", json={"reason": "Maria has called"})
        assert (await maria.api.post(f"/orders/{order}/cancel")).status_code == 409
        assert (await maria.api.put(f"/orders/{order}/ship-to", json=home)).status_code == 409
        assert (
            await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 9})
        ).status_code == 409
        data = {"user_id": maria.id, "total": "36.00"}
        assert await audited(sql, last) == [
            ("order.placed", maria.id, "order", order, data),
            ("order.redirected", maria.id, "order", order, data),
            ("order.cancelled", ada.id, "order", order, data),
        ]

    async def test_the_catalogue(self, make: Make, sql: asyncpg.Connection) -> None:
        ada = await make.admin()
        new = {"name": "Chai", "price": "18.00", "sku": "NW-1", "description": "Boxes", "reorder_level": 2}
        item = (await ada.api.post("/items", json=new)).json()["id"]
        assert (await ada.api.post("/items", json=new)).status_code == 409
        path = f"/items/{item}"
        for change in (
            {"price": "19.50", "description": "Bags", "category": "Tea", "reorder_level": 5},
            {"price": "19.50"},
            {"is_active": False},
            {"is_active": True, "sku": "NW-2"},
        ):
            assert (await ada.api.patch(path, json=change)).status_code == 200
        for _ in range(2):
            assert (await ada.api.delete(path)).status_code == 204
        assert {(entry[1], entry[2], entry[3]) for entry in await audited(sql)} == {(ada.id, "item", item)}
        gone = {"before": {"is_active": True}, "after": {"is_active": False}, "changed": ["is_active"]}
        assert [(entry[0], entry[4]) for entry in await audited(sql)] == [
            ("item.created", {"sku": "NW-1", "price": "18.00"}),
            (
                "item.changed",
                {
                    "before": {"category": "", "price": "18.00", "reorder_level": 2},
                    "after": {"category": "Tea", "price": "19.50", "reorder_level": 5},
                    "changed": ["category", "description", "price", "reorder_level"],
                },
            ),
            ("item.withdrawn", gone),
            (
                "item.changed",
                {
                    "before": {"sku": "NW-1", "is_active": False},
                    "after": {"sku": "NW-2", "is_active": True},
                    "changed": ["sku", "is_active"],
                },
            ),
            ("item.withdrawn", gone),
        ]

    async def test_each_item_of_a_batch(self, make: Make, sql: asyncpg.Connection) -> None:
        ada = await make.admin()
        batch = [{"name": f"Tea {number}", "price": "2.00", "sku": f"T-{number}"} for number in range(300)]
        made = (await ada.api.post("/items/batch", json=batch)).json()
        assert (
            await ada.api.post("/items/batch", json=[{**batch[0], "sku": "new"}, batch[1]])
        ).status_code == 409
        assert await audited(sql) == [
            ("item.created", ada.id, "item", item["id"], {"sku": item["sku"], "price": "2.00"})
            for item in made
        ]
        assert await sql.fetchval("SELECT count(*) FROM audit_addresses") == 300
        assert len(await listed(ada, f"?target_kind=item&target_id={made[7]['id']}")) == 1

    async def test_stock(self, make: Make, sql: asyncpg.Connection) -> None:
        ada, chai = await make.admin(), await make.item(stock=5)
        last = await last_entry(sql)
        path = f"/items/{chai.id}/stock"
        await ada.api.post(path, json={"delta": -2, "reason": "Broken"})
        assert (await ada.api.post(path, json={"delta": -9, "reason": "Broken"})).status_code == 409
        data = {"before": {"stock": 5}, "after": {"stock": 3}}
        assert await audited(sql, last) == [("stock.adjusted", ada.id, "item", chai.id, data)]

    async def test_posts(self, make: Make, sql: asyncpg.Connection) -> None:
        """Of administrators; what authors do with their own posts is not noted."""
        ada, maria = await make.admin(), await make.user()
        body = {"title": "Chai", "body": "It is back."}
        news = (await ada.api.post("/posts", json=body)).json()["id"]
        praise = (await maria.api.post("/posts", json=body)).json()["id"]
        await maria.api.patch(f"/posts/{praise}", json={"title": "Good chai"})
        for _ in range(2):
            await ada.api.post(f"/posts/{praise}/publish")
            await ada.api.patch(f"/posts/{praise}", json={"title": "Very good chai"})
        await ada.api.patch(f"/posts/{news}", json={"title": "News"})
        await ada.api.delete(f"/posts/{praise}")
        own = (await maria.api.post("/posts", json=body)).json()["id"]
        assert (await maria.api.delete(f"/posts/{own}")).status_code == 204
        assert await audited(sql) == [
            ("post.published", ada.id, "post", news, {"author_id": ada.id}),
            ("post.published", ada.id, "post", praise, {"author_id": maria.id}),
            ("post.changed", ada.id, "post", praise, {"author_id": maria.id}),
            ("post.deleted", ada.id, "post", praise, {"author_id": maria.id}),
        ]


class TestAddresses:
    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("203.0.113.7", "203.0.113.7"),
            ("2001:DB8::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("", None),
            ("unix:/run/tradepost", None),
            ("203.0.113.0/24", None),
            (None, None),
        ],
    )
    async def test_of_whatever_the_server_takes_for_the_client(
        self, make: Make, container: Container, sql: asyncpg.Connection, given: str | None, kept: str | None
    ) -> None:
        ada, before = await make.admin(), request_facts.facts()
        request_facts.begin(RequestFacts("mine-0000", "own", given))
        try:
            async with container.database.transaction() as session:
                await audit.record(session, "session.started", by=ada.caller)
        finally:
            request_facts.begin(before)
        [entry] = await listed(ada)
        assert (entry["address"], entry["actor_id"]) == (kept, ada.id)
        assert (entry["request_id"], entry["caller_request_id"]) == ("own", "mine-0000")
        assert await sql.fetchval("SELECT count(*) FROM audit_addresses") == (kept is not None)
