"""Idempotency-Key: a request that is sent again gets the first answer, and nothing happens twice."""

import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi.routing import iter_route_contexts

from service.container.api import Container
from service.errors import NotFound
from service.identity import Caller
from service.platform.http.idempotency import repository
from service.platform.http.idempotency.retries import Retries, canonical, read_key, slot_of
from service.platform.http.openapi.components import resolved
from service.platform.http.route import Route
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person

KEY = {"Idempotency-Key": "6f1c2d0a-8f5b-4a3c-9a51-3d6a2f0f5d11"}
#: Every operation that takes a key. What is not here works outside of the request's transaction: signing
#: in and out, registration, passwords and mails.
KEYED = {
    "POST /api/v1/api-keys",
    "POST /api/v1/items",
    "POST /api/v1/items/batch",
    "POST /api/v1/items/{item_id}/stock",
    "POST /api/v1/notifications/read",
    "POST /api/v1/notifications/{notification_id}/read",
    "POST /api/v1/orders",
    "POST /api/v1/orders/{order_id}/cancel",
    "POST /api/v1/orders/{order_id}/deliver",
    "POST /api/v1/orders/{order_id}/pay",
    "POST /api/v1/orders/{order_id}/refund",
    "POST /api/v1/orders/{order_id}/ship",
    "POST /api/v1/posts",
    "POST /api/v1/posts/{post_id}/publish",
    "POST /api/v1/webhooks",
    "POST /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    "POST /api/v1/webhooks/{webhook_id}/ping",
    "POST /api/v1/webhooks/{webhook_id}/rotate-secret",
}


#: Those that refuse one, and a body that they would take. /auth/token and /auth/revoke ignore it.
KEYLESS: dict[str, Any] = {
    "/auth/password-reset": {"email": "maria@shop.example"},
    "/auth/password-reset/confirm": {"token": "x", "new_password": "Southwind2"},
    "/auth/verify-email": None,
    "/auth/verify-email/confirm": {"token": "x"},
    "/notifications/stream-ticket": None,
    "/users": {"email": "maria@shop.example", "password": "Northwind1", "full_name": "Maria Anders"},
    "/users/profile/password": {"current_password": "Northwind1", "new_password": "Southwind2"},
}


async def place(
    person: Person, item_id: int, *, key: str = KEY["Idempotency-Key"], **more: Any
) -> httpx2.Response:
    body = {"product_id": item_id, "quantity": 1, **more}
    return await person.api.post("/orders", json=body, headers={"Idempotency-Key": key})


def told(answer: httpx2.Response) -> tuple[Any, ...]:
    """All of an answer that tells something."""
    names = ("content-type", "location", "etag")
    return answer.status_code, answer.content, *(answer.headers.get(name) for name in names)


async def test_every_operation_that_takes_a_key_is_listed_here(api: Api) -> None:
    document = api.app.openapi()
    taking = {
        f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for each in operation.get("parameters", ())
        if resolved(document["components"], each)["name"] == "Idempotency-Key"
    }
    assert taking == KEYED


async def test_every_route_of_the_api_is_of_the_class_that_sees_to_it(api: Api) -> None:
    classes = {
        context.path_format: type(context.original_route)
        for context in iter_route_contexts(api.app.routes)
        if (context.path_format or "").startswith("/api/")
    }
    assert set(classes) == {path for path in api.app.openapi()["paths"] if path.startswith("/api/")}
    assert all(issubclass(each, Route) for each in classes.values())


class TestReplay:
    async def test_an_order_sent_again_repeats_the_response_and_creates_nothing(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        first, second = await place(maria, chai.id), await place(maria, chai.id)
        assert first.status_code == 201
        assert first.headers["location"] == f"/api/v1/orders/{first.json()['id']}"
        assert told(second) == told(first)
        assert "idempotent-replayed" not in first.headers
        assert second.headers["idempotent-replayed"] == "true"
        assert second.headers["x-request-id"] != first.headers["x-request-id"]
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1
        assert await sql.fetchval("SELECT quantity FROM stock") == 4
        assert await sql.fetchval("SELECT count(*) FROM notifications") == 1

    async def test_bare_and_quoted_name_the_same_key(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        first = await place(maria, chai.id, key="my-key-1")
        second = await place(maria, chai.id, key='"my-key-1"')
        assert (second.content, second.headers["idempotent-replayed"]) == (first.content, "true")
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1

    async def test_the_spelling_of_the_json_does_not_count(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        headers = {**KEY, "Content-Type": "application/json"}
        texts = (
            f'{{"product_id": {chai.id}, "quantity": 1}}',
            f'{{"quantity":1,\n "product_id":{chai.id}}}',
        )
        answers = [await maria.api.post("/orders", content=text, headers=headers) for text in texts]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1

    async def test_another_body_is_refused_and_changes_nothing(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        await place(maria, chai.id)
        assert_problem(await place(maria, chai.id, quantity=2), 422, "idempotency_key_reused")
        assert await sql.fetchval("SELECT quantity FROM stock") == 4

    async def test_a_key_is_for_one_resource_too(self, make: Make, sql: asyncpg.Connection) -> None:
        admin = await make.admin()
        chai, chang = await make.item(), await make.item()
        body = {"delta": 3, "reason": "Delivery"}
        first = await admin.api.post(f"/items/{chai.id}/stock", json=body, headers=KEY)
        other = await admin.api.post(f"/items/{chang.id}/stock", json=body, headers=KEY)
        assert first.status_code == 200
        assert_problem(other, 422, "idempotency_key_reused")
        assert [row["quantity"] for row in await sql.fetch("SELECT quantity FROM stock ORDER BY 1")] == [0, 3]

    async def test_callers_and_routes_have_keys_of_their_own(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, hanna, chai = await make.user(), await make.user(), await make.item(stock=5)
        machine = await make.key("orders:write")
        body = {"product_id": chai.id, "quantity": 1}
        answers = [
            await maria.api.post("/orders", json=body, headers=KEY),
            await hanna.api.post("/orders", json=body, headers=KEY),
            await machine.api.post("/orders", json={**body, "user_id": maria.id}, headers=KEY),
        ]
        order_id = answers[0].json()["id"]
        answers.append(await maria.api.post(f"/orders/{order_id}/cancel", headers=KEY))
        assert [answer.status_code for answer in answers] == [201, 201, 201, 200]
        assert await sql.fetchval("SELECT count(*) FROM orders") == 3
        kept = await sql.fetch("SELECT caller, route FROM idempotency_keys ORDER BY caller, route")
        assert [tuple(row) for row in kept] == [
            (f"key:{machine.id}", "POST /api/v1/orders"),
            *sorted(
                [
                    (f"user:{hanna.id}", "POST /api/v1/orders"),
                    (f"user:{maria.id}", "POST /api/v1/orders"),
                    (f"user:{maria.id}", "POST /api/v1/orders/{order_id}/cancel"),
                ]
            ),
        ]

    async def test_a_transition_is_repeated_although_the_status_would_refuse_it_now(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        path = f"/orders/{(await place(maria, chai.id)).json()['id']}/cancel"
        first = await maria.api.post(path, json={"reason": "Too late"}, headers=KEY)
        second = await maria.api.post(path, json={"reason": "Too late"}, headers=KEY)
        assert (first.status_code, told(second)) == (200, told(first))
        assert await sql.fetchval("SELECT quantity FROM stock") == 5

    async def test_without_a_key_where_it_may_be_absent_everything_happens_twice(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin, chai = await make.admin(), await make.item()
        for _ in range(2):
            await admin.api.post(f"/items/{chai.id}/stock", json={"delta": 3, "reason": "Delivery"})
        assert await sql.fetchval("SELECT quantity FROM stock") == 6
        assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 0


class TestRefusals:
    async def test_an_order_without_a_key_is_refused_with_the_header_to_send(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        maria.api.courteous = False
        answer = await maria.api.post("/orders", json={"product_id": chai.id, "quantity": 1})
        problem = assert_problem(answer, 400, "idempotency_key_required")
        assert "Idempotency-Key" in problem["detail"]
        assert await sql.fetchval("SELECT count(*) FROM orders") == 0

    @pytest.mark.parametrize("key", ["", " ", "two words", '"open', 'in"side', "x" * 256, '""'])
    async def test_a_bad_key_is_refused(self, make: Make, sql: asyncpg.Connection, key: str) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        assert_problem(await place(maria, chai.id, key=key), 400, "idempotency_key_invalid")
        assert await sql.fetchval("SELECT count(*) FROM orders") == 0

    async def test_a_stranger_is_refused_before_the_key_is_looked_at(self, api: Api) -> None:
        assert_problem(await api.post("/orders", json={}, headers=KEY), 401, "unauthenticated")

    async def test_a_refused_request_may_be_tried_again_under_its_key(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, admin, chai = await make.user(), await make.admin(), await make.item(stock=0)
        assert_problem(await place(maria, chai.id), 409, "out_of_stock")
        assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 0
        await admin.api.post(f"/items/{chai.id}/stock", json={"delta": 1, "reason": "Delivery"})
        answer = await place(maria, chai.id)
        assert (answer.status_code, "idempotent-replayed" in answer.headers) == (201, False)

    async def test_while_the_first_is_running_the_second_is_sent_away_at_once(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        slot = slot_of(maria.caller, "POST /api/v1/orders", KEY["Idempotency-Key"])
        with suppress(NotFound):
            async with container.database.transaction() as running:
                await container.retries.take(running, maria.caller, slot, (b"another request's",))
                answer = await place(maria, chai.id)
                assert_problem(answer, 409, "idempotency_key_in_use")
                assert answer.headers["retry-after"] == "1"
                raise NotFound("It is rolled back.")
        assert (await place(maria, chai.id)).status_code == 201
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1

    async def test_a_caller_who_lost_the_rights_gets_no_repeated_response(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        """Another customer's order, which the one who entered it may see no longer."""
        admin, maria, chai = await make.admin(), await make.user(), await make.item(stock=5)
        assert (await place(admin, chai.id, user_id=maria.id)).status_code == 201
        customer = Caller(admin.id, admin.caller.session_id, is_admin=False)
        demoted = admin.api.signed_in(container.tokens.issue(customer, client_id="tests"))
        body = {"product_id": chai.id, "quantity": 1, "user_id": maria.id}
        assert_problem(await demoted.post("/orders", json=body, headers=KEY), 403, "forbidden")
        assert await sql.fetchval("SELECT count(*) FROM orders") == 1


class TestStorage:
    async def test_bodies_are_kept_as_a_fingerprint_alone(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        await place(maria, chai.id, reference="canary-reference-17")
        [row] = await sql.fetch("SELECT fingerprint, status, headers FROM idempotency_keys")
        assert (len(row["fingerprint"]), row["status"]) == (32, 201)
        assert sorted(json.loads(row["headers"])) == ["Content-Type", "ETag", "Location"]

    async def test_what_is_shown_once_is_neither_stored_nor_repeated(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        admin = await make.admin()
        body = {"name": "Till", "scopes": ["orders:read"]}
        first = await admin.api.post("/api-keys", json=body, headers=KEY)
        second = await admin.api.post("/api-keys", json=body, headers=KEY)
        secret = first.json()["key"]
        assert second.json() == {**first.json(), "key": None}
        assert second.headers["location"] == first.headers["location"]
        assert await sql.fetchval("SELECT count(*) FROM api_keys") == 1
        assert secret.encode() not in await sql.fetchval("SELECT body FROM idempotency_keys")

    async def test_after_its_time_a_key_is_as_new(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, chai = await make.user(), await make.item(stock=5)
        first = await place(maria, chai.id)
        await sql.execute("UPDATE idempotency_keys SET created_at = now() - interval '24 hours'")
        second = await place(maria, chai.id, quantity=2)
        assert (second.status_code, second.json()["id"] > first.json()["id"]) == (201, True)
        third = await place(maria, chai.id, quantity=2)
        assert told(third) == told(second)
        assert await sql.fetchval("SELECT count(*) FROM idempotency_keys") == 1

    async def test_expired_rows_are_purged_in_portions(
        self, container: Container, sql: asyncpg.Connection
    ) -> None:
        await sql.execute(
            "INSERT INTO idempotency_keys (caller, route, key, fingerprint, status, created_at)"
            " SELECT 'user:1', 'POST /x', number::text, '', 200, now() - number * interval '10 hours'"
            " FROM generate_series(1, 5) AS number"
        )
        purged = []
        for _ in range(3):
            async with container.database.transaction() as session:
                purged.append(await repository.purge(session, timedelta(hours=24), most=2))
        assert purged == [2, 1, 0]
        assert [row["key"] for row in await sql.fetch("SELECT key FROM idempotency_keys ORDER BY key")] == [
            "1",
            "2",
        ]

    async def test_a_person_who_leaves_takes_the_answers_along(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria, hanna, chai = await make.user(), await make.user(), await make.item(stock=5)
        await place(maria, chai.id)
        await place(hanna, chai.id)
        async with container.database.transaction() as session:
            await repository.forget(session, f"user:{maria.id}")
        kept = await sql.fetch("SELECT caller FROM idempotency_keys")
        assert [row["caller"] for row in kept] == [f"user:{hanna.id}"]


class TestFingerprints:
    def test_each_accepted_secret_knows_its_own(self) -> None:
        old, both = Retries((b"old",), timedelta(1)), Retries((b"new", b"old"), timedelta(1))
        assert old.fingerprints("/orders", "", b"{}")[0] == both.fingerprints("/orders", "", b"{}")[1]
        assert len(set(both.fingerprints("/orders", "", b"{}"))) == 2

    def test_path_query_and_body_each_count(self) -> None:
        retries = Retries((b"secret",), timedelta(1))
        asked = [("/a", "", b"1"), ("/b", "", b"1"), ("/a", "x", b"1"), ("/a", "", b"2")]
        assert len({retries.fingerprints(*each) for each in asked}) == 4

    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            (b'{"a": 1, "b": [1, 2]}', b'{"b":[1,2],"a":1}', True),
            (b'{"a": 1.50}', b'{"a": 1.5}', True),
            (b'{"a": "1.50"}', b'{"a": "1.5"}', False),
            (b'{"a": [1, 2]}', b'{"a": [2, 1]}', False),
            (b'{"a": 1}', b'{"a": true}', False),
            (b"", b"{}", False),
            (b"\xff", b"\xfe", False),
        ],
    )
    def test_a_body_is_known_by_what_it_means(self, one: bytes, other: bytes, same: bool) -> None:
        assert (canonical(one) == canonical(other)) is same

    def test_a_quoted_key_may_hold_what_is_escaped(self) -> None:
        assert read_key(r'"a\"b\\c d"') == r'a"b\c d'


@pytest.mark.parametrize(("path", "body"), KEYLESS.items())
async def test_where_a_key_would_be_ignored_it_is_refused(
    make: Make, sql: asyncpg.Connection, path: str, body: Any
) -> None:
    """Who registers under a key counts on it: a second account, or a 409 that is none, would surprise."""
    maria = await make.user()
    counts = "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM mails)"
    before = await sql.fetchrow(counts)
    answer = await maria.api.post(path, json=body, headers=KEY)
    problem = assert_problem(answer, 400, "idempotency_key_not_supported")
    assert problem["detail"].startswith("This operation takes no Idempotency-Key: leave it out.")
    assert await sql.fetchrow(counts) == before
    assert (await maria.api.post(path, json=body)).status_code != 400


async def test_every_post_takes_keys_refuses_or_ignores_them(api: Api) -> None:
    posts = {
        context.path
        for context in iter_route_contexts(api.app.routes)
        if "POST" in (context.methods or ()) and (context.path or "").startswith("/api/v1")
    }
    known = {operation.removeprefix("POST ") for operation in KEYED} | {f"/api/v1{path}" for path in KEYLESS}
    assert posts == known | {"/api/v1/auth/token", "/api/v1/auth/revoke"}
    form = {"grant_type": "password", "username": "maria@shop.example", "password": "Northwind1"}
    answer = await api.post("/auth/token", data=form, headers=KEY)
    assert answer.json()["error"] == "invalid_grant"
    assert (await api.post("/auth/revoke", data={"token": "x"}, headers=KEY)).status_code == 200
