"""POST /webhooks/{id}/replay: a receiver that was away gets what it has missed."""

import json
from typing import Any

import asyncpg
import pytest

from service.platform.jobs.kinds import Attempt
from service.webhooks import example
from service.webhooks.replays import service as replays
from tests.helpers.client import assert_problem
from tests.helpers.events import POSITION, Follower, end_of_feed
from tests.helpers.factories import Person
from tests.helpers.identity import audited, last_entry
from tests.webhooks.office import Office
from tests.webhooks.receiver import Receiver

#: An order with all its members, as the feed must show it.
WHOLE = example("order.placed")["data"]
pytestmark = pytest.mark.usefixtures("private_targets")


async def waiting(sql: asyncpg.Connection) -> list[dict[str, Any]]:
    """The payloads of the jobs of replays."""
    rows = await sql.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = $1 ORDER BY id", replays.KIND)
    return [json.loads(row["payload"]) for row in rows]


async def replay(office: Office) -> None:
    """As a worker does, until no job is left."""
    while jobs := await waiting(office.sql):
        await office.sql.execute("DELETE FROM pgqueuer WHERE entrypoint = $1", replays.KIND)
        for payload in jobs:
            await replays.run(office.container.database, Attempt(payload, 1, 12))


class TestReplaying:
    async def test_events_from_before_the_webhook_and_during_an_outage(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        start = await end_of_feed(ada.api)
        before = [await office.happen("order.placed", **{**WHOLE, "id": number}) for number in (1, 2, 3)]
        webhook = await office.webhook(ada, erp)
        address = f"/webhooks/{webhook['id']}"
        await ada.api.patch(address, json={"is_active": False})
        missed = await office.happen("order.paid", **WHOLE)
        end = (await ada.api.get("/events?after=now")).headers[POSITION]
        await ada.api.patch(address, json={"is_active": True})
        types = ["order.placed", "order.paid"]
        answer = await ada.api.post(f"{address}/replay", json={"after": start, "types": types})
        assert answer.status_code == 202
        assert answer.json() == {"webhook_id": webhook["id"], "after": start, "until": end, "types": types}
        await replay(office)
        assert await office.rows("message_id", "status") == [
            (f"evt_{event}", "pending") for event in (*before, missed)
        ]
        await office.work()
        sent = {request.headers["webhook-id"]: json.loads(request.body) for request in erp.requests}
        fed = await Follower(ada.api).poll()
        assert sent == {
            event["id"]: {name: event[name] for name in ("type", "timestamp", "data")} for event in fed
        }

    async def test_one_that_was_delivered_is_delivered_again_under_its_id(
        self, office: Office, ada: Person, erp: Receiver
    ) -> None:
        start = await end_of_feed(ada.api)
        webhook = await office.webhook(ada, erp, "order.placed")
        event_id = await office.happen("order.placed")
        await end_of_feed(ada.api)
        assert await office.work() == 1
        await ada.api.post(f"/webhooks/{webhook['id']}/replay", json={"after": start})
        await replay(office)
        assert await office.work() == 1
        first, second = erp.requests
        assert first.headers["webhook-id"] == second.headers["webhook-id"] == f"evt_{event_id}"
        assert first.body == second.body
        assert await office.rows("event_id", "status", "attempts") == [(event_id, "succeeded", 1)]

    async def test_one_that_is_pending_is_left_as_it_is(
        self, office: Office, ada: Person, sql: asyncpg.Connection
    ) -> None:
        start = await end_of_feed(ada.api)
        webhook = await office.webhook(ada, "http://a.example.com/", "order.placed")
        await office.happen("order.placed")
        await end_of_feed(ada.api)
        await sql.execute("UPDATE webhook_deliveries SET attempts = 3")
        before = (await office.rows("*"), await office.jobs())
        await ada.api.post(f"/webhooks/{webhook['id']}/replay", json={"after": start})
        await replay(office)
        assert (await office.rows("*"), await office.jobs()) == before

    async def test_up_to_a_position_and_of_some_types(self, office: Office, ada: Person) -> None:
        for event_type in ("order.placed", "order.paid", "order.placed", "order.placed"):
            await office.happen(event_type, **WHOLE)
        first, _, third, _ = await Follower(ada.api).poll()
        webhook = await office.webhook(ada, "http://a.example.com/")
        body = {"after": first["position"], "until": third["position"], "types": ["order.placed"]}
        answer = await ada.api.post(f"/webhooks/{webhook['id']}/replay", json=body)
        assert answer.json() == {"webhook_id": webhook["id"], **body}
        await replay(office)
        assert await office.rows("message_id") == [(third["id"],)]

    async def test_part_by_part(
        self, office: Office, ada: Person, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replays, "BATCH", 2)
        start = await end_of_feed(ada.api)
        events = [await office.happen() for _ in range(5)]
        await end_of_feed(ada.api)
        webhook = await office.webhook(ada, "http://a.example.com/")
        await ada.api.post(f"/webhooks/{webhook['id']}/replay", json={"after": start})
        queued = []
        while jobs := await waiting(sql):
            await sql.execute("DELETE FROM pgqueuer WHERE entrypoint = $1", replays.KIND)
            [payload] = jobs
            await replays.run(office.container.database, Attempt(payload, 1, 12))
            queued.append(len(await office.rows("id")))
        assert queued == [2, 4, 5]
        assert await office.rows("event_id") == [(event,) for event in events]
        rows = await sql.fetch("SELECT DISTINCT priority FROM pgqueuer WHERE entrypoint = 'webhook'")
        assert [row["priority"] for row in rows] == [-1]

    async def test_it_pauses_while_much_is_pending(
        self, office: Office, ada: Person, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replays, "MOST_PENDING", 1)
        start = await end_of_feed(ada.api)
        webhook = await office.webhook(ada, "http://a.example.com/")
        await office.happen()
        await end_of_feed(ada.api)
        await ada.api.post(f"/webhooks/{webhook['id']}/replay", json={"after": start})
        before, [payload] = await office.rows("*"), await waiting(sql)
        await sql.execute("DELETE FROM pgqueuer WHERE entrypoint = $1", replays.KIND)
        await replays.run(office.container.database, Attempt(payload, 1, 12))
        assert await office.rows("*") == before
        assert await waiting(sql) == [payload]
        delayed = "SELECT execute_after > now() FROM pgqueuer WHERE entrypoint = $1"
        assert await sql.fetchval(delayed, replays.KIND) is True

    @pytest.mark.parametrize("change", ["disabled", "deleted"])
    async def test_it_stops_with_its_webhook(
        self, office: Office, ada: Person, sql: asyncpg.Connection, change: str
    ) -> None:
        start = await end_of_feed(ada.api)
        await office.happen()
        await end_of_feed(ada.api)
        webhook = await office.webhook(ada, "http://a.example.com/")
        await ada.api.post(f"/webhooks/{webhook['id']}/replay", json={"after": start})
        if change == "disabled":
            await ada.api.patch(f"/webhooks/{webhook['id']}", json={"is_active": False})
        else:
            await ada.api.delete(f"/webhooks/{webhook['id']}")
        await replay(office)
        assert (await office.rows("id"), await waiting(sql)) == ([], [])

    async def test_once_under_an_idempotency_key_and_audited(
        self, office: Office, ada: Person, sql: asyncpg.Connection
    ) -> None:
        start = await end_of_feed(ada.api)
        webhook = await office.webhook(ada, "http://a.example.com/", "order.placed")
        before = await last_entry(sql)
        answers = [
            await ada.api.post(
                f"/webhooks/{webhook['id']}/replay", json={"after": start}, headers={"Idempotency-Key": "one"}
            )
            for _ in range(2)
        ]
        assert answers[0].json() == answers[1].json()
        assert answers[1].headers["idempotent-replayed"] == "true"
        assert len(await waiting(sql)) == 1
        data = {"after": start, "until": start, "types": ["order.placed"]}
        assert await audited(sql, before) == [("webhook.replayed", ada.id, "webhook", webhook["id"], data)]


class TestRefusals:
    async def test_what_is_wrong_with_the_range(
        self, office: Office, ada: Person, sql: asyncpg.Connection
    ) -> None:
        webhook = await office.webhook(ada, "http://a.example.com/", "order.placed")
        for _ in range(2):
            await office.happen(**WHOLE)
        first, second = [event["position"] for event in await Follower(ada.api).poll()]
        address = f"/webhooks/{webhook['id']}/replay"
        for body in ({"after": "AAAAAAAAAAAAAAAA"}, {"after": first, "until": "AAAAAAAAAAAAAAAA"}):
            assert_problem(await ada.api.post(address, json=body), 410, "position_unknown")
        swapped = {"after": second, "until": first}
        assert_problem(await ada.api.post(address, json=swapped), 422, "invalid_input", "/until")
        other = {"after": first, "types": ["order.paid"]}
        assert_problem(await ada.api.post(address, json=other), 422, "invalid_input", "/types")
        assert await waiting(sql) == []

    async def test_a_webhook_that_is_not_active_or_not_there(
        self, office: Office, ada: Person, sql: asyncpg.Connection
    ) -> None:
        start = await end_of_feed(ada.api)
        webhook = await office.webhook(ada, "http://a.example.com/")
        await ada.api.patch(f"/webhooks/{webhook['id']}", json={"is_active": False})
        answer = await ada.api.post(f"/webhooks/{webhook['id']}/replay", json={"after": start})
        assert_problem(answer, 409, "webhook_inactive")
        missing = await ada.api.post("/webhooks/999999/replay", json={"after": start})
        assert_problem(missing, 404, "not_found")
        assert await waiting(sql) == []


async def test_beside_a_subscription_of_a_later_version(
    office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
) -> None:
    """While that is rolled out, or after it was rolled back: its types are shown, and match nothing."""
    start = await end_of_feed(ada.api)
    webhook = await office.webhook(ada, erp, "order.placed")
    address, subscribed = f"/webhooks/{webhook['id']}", ["order.returned", "order.placed"]
    await sql.execute("UPDATE webhooks SET events = $1", subscribed)
    [listed], one = (await ada.api.get("/webhooks")).json(), (await ada.api.get(address)).json()
    assert listed["events"] == one["events"] == subscribed
    patched = (await ada.api.patch(address, json={"description": "ERP"})).json()
    assert (patched["events"], patched["description"]) == (subscribed, "ERP")
    await office.happen("order.paid")
    event_id = await office.happen("order.placed")
    assert await office.work() == 1
    assert [request.headers["webhook-id"] for request in erp.requests] == [f"evt_{event_id}"]
    replayed = await ada.api.post(f"{address}/replay", json={"after": start})
    assert (replayed.status_code, replayed.json()["types"]) == (202, ["order.placed"])
