import json
import re
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI

from service.container.api import Container
from service.identity.models import SCOPES
from service.webhooks import service
from service.webhooks.address_ranges import Address
from service.webhooks.signing import encode_secret
from service.webhooks.targets import Targets
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.identity import audited, last_entry

ERP = {"url": "https://erp.example.com/hooks", "events": ["order.placed", "order.paid"], "description": "ERP"}
SHOWN = {
    "is_active": True,
    "failing_since": None,
    "previous_until": None,
    "disabled_at": None,
    "disabled_reason": None,
}


class Dns:
    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {"erp.example.com": ["93.184.216.34", "2606:4700::1"]}

    async def __call__(self, host: str) -> list[Address]:
        return [ip_address(each) for each in self.addresses.get(host, ())]


@pytest.fixture(autouse=True)
def dns(app: FastAPI, container: Container) -> Iterator[Dns]:
    made = Dns()
    app.state.container = replace(container, targets=Targets(made))
    yield made
    app.state.container = container


@pytest.fixture
async def ada(make: Make) -> Person:
    return await make.admin()


async def created(admin: Person, **change: Any) -> dict[str, Any]:
    answer = await admin.api.post("/webhooks", json={**ERP, **change})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def stored(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    return [dict(row) for row in await sql.fetch("SELECT * FROM webhooks ORDER BY id")]


class TestCreate:
    async def test_the_answer_has_the_secret(self, ada: Person, sql: asyncpg.Connection) -> None:
        before = await last_entry(sql)
        answer = await ada.api.post("/webhooks", json=ERP)
        made = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"/api/v1/webhooks/{made['id']}"
        assert answer.headers["cache-control"] == "private, no-store"
        assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made.pop("secret"))
        assert made == (await ada.api.get(f"/webhooks/{made['id']}")).json()
        webhook_id = made.pop("id")
        assert made.pop("created_at").endswith("Z")
        assert made == {**ERP, **SHOWN}
        assert await audited(sql, before) == [
            ("webhook.created", ada.id, "webhook", webhook_id, {"events": ERP["events"]})
        ]

    async def test_it_is_kept_sealed(
        self, ada: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        secret = (await created(ada))["secret"]
        [row] = await stored(sql)
        assert encode_secret(container.secret_cipher.decrypt(row["secret"]).secret) == secret
        assert secret.removeprefix("whsec_") not in str(row)

    async def test_for_every_event_and_without_a_description(self, ada: Person) -> None:
        made = await created(ada, events=["*"], description=None)
        assert (made["events"], made["description"]) == (["*"], "")

    async def test_the_address_in_its_usual_form(self, ada: Person) -> None:
        assert (await created(ada, url="https://ERP.example.com:443"))["url"] == "https://erp.example.com/"

    @pytest.mark.parametrize(
        ("change", "pointer"),
        [
            ({"url": ""}, "/url"),
            ({"url": None}, "/url"),
            ({"url": "erp.example.com"}, "/url"),
            ({"url": "ftp://erp.example.com/"}, "/url"),
            ({"url": "https://user:secret@erp.example.com/"}, "/url"),
            ({"url": "https://erp.example.com/#x"}, "/url"),
            ({"url": "https://erp.example.com/\0"}, "/url"),
            ({"url": "https://0x7f.1/"}, "/url"),
            ({"url": "https://2130706433/"}, "/url"),
            ({"url": "https://erp.example.com/" + "x" * 10_000}, "/url"),
            ({"url": 1}, "/url"),
            ({"events": []}, "/events"),
            ({"events": None}, "/events"),
            ({"events": "order.placed"}, "/events"),
            ({"events": ["order.placed", "order.placed"]}, "/events"),
            ({"events": ["*", "order.placed"]}, "/events"),
            ({"events": ["order.refunded"]}, "/events/0"),
            ({"events": ["ping"]}, "/events/0"),
            ({"description": ""}, "/description"),
            ({"description": "nul\0"}, "/description"),
            ({"description": "x" * 10_000}, "/description"),
            ({"secret": "whsec_mine"}, "/secret"),
            ({"is_active": True}, "/is_active"),
        ],
    )
    async def test_bad_input(
        self, ada: Person, sql: asyncpg.Connection, change: dict[str, Any], pointer: str
    ) -> None:
        answer = await ada.api.post("/webhooks", json={**ERP, **change})
        problem = assert_problem(answer, 422, "invalid_input", pointer)
        assert "secret@" not in str(problem)
        assert await stored(sql) == []

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://erp.example.com/", "plain_http"),
            ("https://erp.example.com:80/", "bad_port"),
            ("https://nobody.example.com/", "unresolvable"),
            ("https://inner.example.com/", "private_address"),
            ("https://half.example.com/", "private_address"),
            ("https://localhost/", "private_address"),
            ("https://127.0.0.1/", "private_address"),
            ("https://169.254.169.254/latest/meta-data", "private_address"),
            ("https://[::1]/", "private_address"),
            ("https://[::ffff:10.0.0.1]/", "private_address"),
            ("https://[64:ff9b::7f00:1]/", "private_address"),
        ],
    )
    async def test_where_it_may_not_go(
        self, ada: Person, sql: asyncpg.Connection, dns: Dns, url: str, reason: str
    ) -> None:
        dns.addresses |= {
            "inner.example.com": ["10.0.0.1"],
            "half.example.com": ["93.184.216.34", "fd00::1"],
            "localhost": ["127.0.0.1"],
        }
        answer = await ada.api.post("/webhooks", json={**ERP, "url": url})
        problem = assert_problem(answer, 422, "invalid_input", "/url")
        assert problem["errors"][0]["code"] == reason
        assert "10.0.0.1" not in problem["detail"]
        assert await stored(sql) == []

    async def test_there_are_not_too_many(
        self, ada: Person, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "MAX_WEBHOOKS", 2)
        for _ in range(2):
            await created(ada)
        assert_problem(await ada.api.post("/webhooks", json=ERP), 409, "too_many_webhooks")
        assert len(await stored(sql)) == 2

    async def test_who_may_not(self, make: Make, sql: asyncpg.Connection) -> None:
        maria, machine = await make.user(), await make.key(*SCOPES)
        assert_problem(await make.api.post("/webhooks", json=ERP), 401, "unauthenticated")
        assert_problem(await maria.api.post("/webhooks", json=ERP), 403, "forbidden")
        assert_problem(await machine.api.post("/webhooks", json=ERP), 403, "insufficient_scope")
        assert await stored(sql) == []


class TestRead:
    async def test_newest_first_and_without_secrets(self, ada: Person) -> None:
        made = [(await created(ada))["id"] for _ in range(3)]
        first = await ada.api.get("/webhooks?limit=2")
        second = await ada.api.get(first.headers["link"].partition(">")[0].removeprefix("</api/v1"))
        listed = [*first.json(), *second.json()]
        assert [each["id"] for each in listed] == made[::-1]
        assert [set(each) for each in listed] == [{"id", "created_at", *ERP, *SHOWN}] * 3

    async def test_an_unknown_one_is_404(self, ada: Person) -> None:
        unknown = "/webhooks/9223372036854775807"
        for method, path, body in (
            ("GET", unknown, None),
            ("PATCH", unknown, {"is_active": False}),
            ("DELETE", unknown, None),
            ("GET", f"{unknown}/deliveries", None),
            ("POST", f"{unknown}/ping", None),
            ("POST", f"{unknown}/rotate-secret", None),
            ("POST", f"{unknown}/deliveries/1/redeliver", None),
        ):
            assert_problem(await ada.api.request(method, path, json=body), 404, "not_found")

    async def test_only_administrators(self, make: Make, ada: Person) -> None:
        webhook = await created(ada)
        maria = await make.user()
        for path in ("/webhooks", f"/webhooks/{webhook['id']}", f"/webhooks/{webhook['id']}/deliveries"):
            assert_problem(await maria.api.get(path), 403, "forbidden")


class TestChange:
    async def test_what_is_absent_stays(self, ada: Person, sql: asyncpg.Connection, dns: Dns) -> None:
        dns.addresses["new.example.com"] = ["93.184.216.35"]
        webhook = await created(ada)
        path = f"/webhooks/{webhook['id']}"
        before = await last_entry(sql)
        for patch, shown in (
            ({"url": "https://new.example.com/?token=x"}, None),
            ({"events": ["*"]}, None),
            ({"description": None}, {"description": ""}),
            ({"description": "Orders"}, None),
            ({"description": "Orders", "events": ["*"]}, {}),
            ({}, {}),
            ({"is_active": False}, None),
        ):
            was = (await ada.api.get(path)).json()
            answer = await ada.api.patch(path, json=patch)
            assert (answer.status_code, answer.json()) == (
                200,
                {**was, **(patch if shown is None else shown)},
            )
        noted = [(action, data) for action, _, _, _, data in await audited(sql, before)]
        assert noted == [
            ("webhook.changed", {"changed": ["url"]}),
            ("webhook.changed", {"changed": ["events"], "events": ["*"]}),
            ("webhook.changed", {"changed": ["description"]}),
            ("webhook.changed", {"changed": ["description"]}),
            ("webhook.changed", {"changed": ["is_active"], "is_active": False}),
        ]

    async def test_stopped_it_gives_up_what_is_pending(self, ada: Person, sql: asyncpg.Connection) -> None:
        webhook = await created(ada)
        await sql.execute(
            "INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, message_id, body, next_try_at)"
            " VALUES ($1, 1, 'order.placed', 'evt_1', '', now())",
            webhook["id"],
        )
        await ada.api.patch(f"/webhooks/{webhook['id']}", json={"is_active": False})
        [row] = await sql.fetch("SELECT status, fault, next_try_at FROM webhook_deliveries")
        assert tuple(row) == ("failed", "disabled", None)

    @pytest.mark.parametrize(
        ("patch", "pointer"),
        [
            ({"url": None}, "/url"),
            ({"url": "http://erp.example.com/"}, "/url"),
            ({"url": "https://inner.example.com/"}, "/url"),
            ({"events": []}, "/events"),
            ({"events": None}, "/events"),
            ({"description": ""}, "/description"),
            ({"is_active": None}, "/is_active"),
            ({"is_active": "on"}, "/is_active"),
            ({"secret": "whsec_mine"}, "/secret"),
        ],
    )
    async def test_bad_input(
        self, ada: Person, sql: asyncpg.Connection, patch: dict[str, Any], pointer: str
    ) -> None:
        webhook = await created(ada)
        before = await stored(sql)
        assert_problem(
            await ada.api.patch(f"/webhooks/{webhook['id']}", json=patch), 422, "invalid_input", pointer
        )
        assert await stored(sql) == before


class TestDelete:
    async def test_with_its_deliveries(self, ada: Person, sql: asyncpg.Connection) -> None:
        webhook = await created(ada)
        await ada.api.post(f"/webhooks/{webhook['id']}/ping")
        before = await last_entry(sql)
        answer = await ada.api.delete(f"/webhooks/{webhook['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
        assert await stored(sql) == []
        assert await sql.fetchval("SELECT count(*) FROM webhook_deliveries") == 0
        assert await audited(sql, before) == [("webhook.deleted", ada.id, "webhook", webhook["id"], {})]


class TestRotation:
    async def test_answers_with_another_secret(self, ada: Person, sql: asyncpg.Connection) -> None:
        webhook = await created(ada)
        [was] = await stored(sql)
        before = await last_entry(sql)
        answer = await ada.api.post(f"/webhooks/{webhook['id']}/rotate-secret")
        rotated = answer.json()
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "private, no-store")
        assert rotated["secret"] != webhook["secret"]
        [row] = await stored(sql)
        assert (row["previous_secret"], row["secret"] == was["secret"]) == (was["secret"], False)
        left = await sql.fetchval("SELECT previous_until - now() FROM webhooks")
        assert 23.9 < left.total_seconds() / 3600 <= 24
        assert await audited(sql, before) == [
            ("webhook.secret_rotated", ada.id, "webhook", webhook["id"], {})
        ]


class TestPing:
    async def test_is_queued(self, ada: Person, sql: asyncpg.Connection) -> None:
        webhook = await created(ada)
        before = await last_entry(sql)
        answer = await ada.api.post(f"/webhooks/{webhook['id']}/ping", headers={"X-Request-ID": "ping-0001"})
        made = answer.json()
        assert answer.status_code == 202
        assert made == (await ada.api.get(f"/webhooks/{webhook['id']}/deliveries")).json()[0]
        assert (made["event_id"], made["event_type"], made["status"]) == (None, "ping", "pending")
        assert made["message_id"] == f"ping_{made['id']}"
        payloads = await sql.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = 'webhook'")
        assert [json.loads(row["payload"]) for row in payloads] == [
            {"delivery_id": made["id"], "webhook_id": webhook["id"]}
        ]
        assert await sql.fetchval("SELECT request_id FROM webhook_deliveries") == "ping-0001"
        data = {"delivery_id": made["id"]}
        assert await audited(sql, before) == [("webhook.pinged", ada.id, "webhook", webhook["id"], data)]


class TestDeliveries:
    @pytest.fixture
    async def webhook(self, ada: Person, sql: asyncpg.Connection) -> dict[str, Any]:
        """With one delivery in each state."""
        webhook = await created(ada)
        for number, status in enumerate(("pending", "succeeded", "failed")):
            await sql.execute(
                "INSERT INTO webhook_deliveries (webhook_id, event_id, event_type, message_id, body, status,"
                " attempts, next_try_at) VALUES ($1, $2, 'order.placed', 'evt', '', $3, 4,"
                " CASE WHEN $3 = 'pending' THEN now() + interval '1 hour' END)",
                webhook["id"],
                number,
                status,
            )
        return webhook

    async def test_newest_first_and_by_status(self, ada: Person, webhook: dict[str, Any]) -> None:
        path = f"/webhooks/{webhook['id']}/deliveries"
        first = await ada.api.get(f"{path}?limit=2")
        second = await ada.api.get(first.headers["link"].partition(">")[0].removeprefix("</api/v1"))
        listed = [*first.json(), *second.json()]
        assert [each["status"] for each in listed] == ["failed", "succeeded", "pending"]
        assert (await ada.api.get(f"{path}?status=failed")).json() == [listed[0]]
        assert_problem(await ada.api.get(f"{path}?status=lost"), 422, "invalid_input", "?status")

    @pytest.mark.parametrize(("status", "attempts"), [("succeeded", 0), ("failed", 0), ("pending", 4)])
    async def test_is_repeated(
        self, ada: Person, sql: asyncpg.Connection, webhook: dict[str, Any], status: str, attempts: int
    ) -> None:
        path = f"/webhooks/{webhook['id']}/deliveries"
        [listed] = (await ada.api.get(f"{path}?status={status}")).json()
        before = await last_entry(sql)
        answer = await ada.api.post(f"{path}/{listed['id']}/redeliver")
        again = answer.json()
        assert answer.status_code == 202
        assert again.pop("next_try_at") is not None
        del listed["next_try_at"]
        assert again == {**listed, "status": "pending", "attempts": attempts}
        assert await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'webhook'") == 1
        data = {"delivery_id": listed["id"]}
        assert await audited(sql, before) == [("webhook.redelivered", ada.id, "webhook", webhook["id"], data)]

    async def test_another_webhooks_is_404(self, ada: Person, webhook: dict[str, Any]) -> None:
        other = await created(ada)
        [listed] = (await ada.api.get(f"/webhooks/{webhook['id']}/deliveries?status=failed")).json()
        path = f"/webhooks/{other['id']}/deliveries/{listed['id']}/redeliver"
        assert_problem(await ada.api.post(path), 404, "not_found")

    async def test_not_while_the_webhook_is_stopped(
        self, ada: Person, sql: asyncpg.Connection, webhook: dict[str, Any]
    ) -> None:
        await ada.api.patch(f"/webhooks/{webhook['id']}", json={"is_active": False})
        [listed, *_] = (await ada.api.get(f"/webhooks/{webhook['id']}/deliveries")).json()
        path = f"/webhooks/{webhook['id']}/deliveries/{listed['id']}/redeliver"
        assert_problem(await ada.api.post(path), 409, "webhook_inactive")
        assert await sql.fetchval("SELECT count(*) FROM pgqueuer WHERE entrypoint = 'webhook'") == 0


async def test_public_targets_alone_are_admitted_by_default(
    app: FastAPI, api: Api, container: Container
) -> None:
    assert container.settings.webhook_allow_private is False
    assert container.targets._allow_private is False
