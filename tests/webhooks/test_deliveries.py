"""Deliveries of webhooks, tried against real servers that behave well or badly."""

import asyncio
import json
import logging
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
import structlog
from standardwebhooks import WebhookVerificationError

from service.platform.jobs import queue as jobs
from service.webhooks.deliveries.retries import RETRY_DELAYS
from tests.helpers.factories import Make, Person
from tests.helpers.waiting import eventually
from tests.server.process import free_port
from tests.webhooks.office import ORDER, Office, verified
from tests.webhooks.receiver import Answering, Receiver, Request, answer, drip, hang, hang_up, never_ending

pytestmark = pytest.mark.usefixtures("private_targets")


class TestFanOut:
    async def test_to_those_that_want_it_and_to_no_other(
        self, office: Office, ada: Person, sql: asyncpg.Connection
    ) -> None:
        one = await office.webhook(ada, "http://a.example.com/", "order.placed", "order.paid")
        every = await office.webhook(ada, "http://b.example.com/")
        await office.webhook(ada, "http://c.example.com/", "order.paid")
        stopped = await office.webhook(ada, "http://d.example.com/", "order.placed")
        await ada.api.patch(f"/webhooks/{stopped['id']}", json={"is_active": False})
        event_id = await office.happen("order.placed")
        columns = ("webhook_id", "event_id", "event_type", "message_id", "status", "attempts")
        assert await office.rows(*columns) == [
            (webhook["id"], event_id, "order.placed", f"evt_{event_id}", "pending", 0)
            for webhook in (one, every)
        ]
        assert await office.jobs() == [row[0] for row in await office.rows("id")]

    async def test_once_for_an_event_however_often_it_is_published(self, office: Office, ada: Person) -> None:
        await office.webhook(ada, "http://a.example.com/")
        event_id = await office.happen()
        await office.webhook(ada, "http://b.example.com/")
        assert [await office.fan_out(event_id) for _ in range(2)] == [1, 0]
        both = await asyncio.gather(*(office.fan_out(event_id) for _ in range(3)))
        assert both == [0, 0, 0]
        assert len(await office.rows("id")) == len(await office.jobs()) == 2

    async def test_no_webhook_subscribes(self, office: Office, ada: Person) -> None:
        await office.webhook(ada, "http://a.example.com/", "post.published")
        await office.happen("order.placed")
        assert (await office.rows("id"), await office.jobs()) == ([], [])


class TestDelivery:
    async def test_the_official_library_verifies_it(self, office: Office, ada: Person, erp: Receiver) -> None:
        webhook = await office.webhook(ada, erp, "order.placed")
        event_id = await office.happen(customer_name="Lars Åkesson")
        assert await office.work() == 1
        [request] = erp.requests
        message = verified(webhook["secret"], request)
        assert (message["type"], message["data"]) == (
            "order.placed",
            {**ORDER, "customer_name": "Lars Åkesson"},
        )
        assert message["timestamp"].endswith("Z")
        # Receivers refuse what is older than some minutes, whatever the clock of the worker's machine says.
        signed = int(request.headers["webhook-timestamp"])
        tried = await office.sql.fetchval("SELECT extract(epoch FROM last_tried_at) FROM webhook_deliveries")
        assert abs(signed - tried) <= 1
        assert request.headers["webhook-id"] == f"evt_{event_id}"
        assert request.headers["content-type"] == "application/json"
        [listed] = (await ada.api.get(f"/webhooks/{webhook['id']}/deliveries")).json()
        assert listed.pop("duration_ms") >= 0
        assert listed.pop("last_tried_at") >= listed.pop("created_at")
        assert listed.pop("id")
        assert listed == {
            "event_id": event_id, "event_type": "order.placed", "message_id": f"evt_{event_id}",
            "status": "succeeded", "attempts": 1, "next_try_at": None, "last_status": 200, "fault": None,
            "answer": "ok",
        }  # fmt: skip

    async def test_during_a_rotation_with_either_secret(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        webhook = await office.webhook(ada, erp)
        rotated = (await ada.api.post(f"/webhooks/{webhook['id']}/rotate-secret")).json()
        await office.happen()
        await office.work()
        [during] = erp.requests
        assert verified(webhook["secret"], during) == verified(rotated["secret"], during)
        assert len(during.headers["webhook-signature"].split(" ")) == 2
        await sql.execute("UPDATE webhooks SET previous_until = now() - interval '1 second'")
        await office.happen()
        await office.work()
        after = erp.requests[1]
        verified(rotated["secret"], after)
        with pytest.raises(WebhookVerificationError):
            verified(webhook["secret"], after)

    async def test_every_try_has_the_same_id_and_the_same_bytes(
        self, office: Office, ada: Person, erp: Receiver
    ) -> None:
        webhook = await office.webhook(ada, erp)
        erp.script = [answer(500, b"broken\0 \xff"), hang_up]
        await office.happen(customer_name="茶")
        for _ in range(3):
            assert await office.work() == 1
            await office.pass_time()
        assert len({(request.headers["webhook-id"], request.body) for request in erp.requests}) == 1
        assert len(erp.requests) == 3
        for request in erp.requests:
            verified(webhook["secret"], request)
        assert await office.rows("status", "attempts", "last_status", "fault") == [
            ("succeeded", 3, 200, None)
        ]
        assert await office.work() == 0

    async def test_it_is_under_20_kb(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        webhook = await office.webhook(ada, erp)
        event_id = await office.happen("post.published")
        await sql.execute("DELETE FROM webhook_deliveries")
        await sql.execute("UPDATE events SET data = $1", json.dumps({**ORDER, "body": "茶" * 10_000}))
        await office.fan_out(event_id)
        await office.work()
        [request] = erp.requests
        assert len(request.body) <= 20_000
        data = verified(webhook["secret"], request)["data"]
        assert {**data, "body": data["body"][-2:]} == {**ORDER, "body": "茶…", "shortened": True}

    async def test_the_origin_is_in_the_log(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        webhook = await office.webhook(ada, f"{erp.url}?token=canary")
        trace = "4bf92f3577b34da6a3ce929d0e0e4736"
        await office.happen()
        await sql.execute(
            "UPDATE webhook_deliveries SET request_id = 'request-4711', traceparent = $1",
            f"00-{trace}-00f067aa0ba902b7-01",
        )
        with structlog.testing.capture_logs() as lines:
            await office.work()
        [line] = [line for line in lines if line["event"] == "webhook.delivered"]
        assert isinstance(line.pop("duration_ms"), int)
        [(delivery_id,)] = await office.rows("id")
        assert line == {
            "event": "webhook.delivered", "log_level": "info", "request_id": "request-4711",
            "trace_id": trace,
            "webhook_id": webhook["id"], "delivery_id": delivery_id, "type": "order.placed", "attempt": 1,
            "status": 200, "fault": None, "outcome": "succeeded",
        }  # fmt: skip

    async def test_neither_secret_nor_address_is_in_the_log(
        self, office: Office, ada: Person, erp: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        webhook = await office.webhook(ada, f"{erp.url}?token=canary")
        erp.script = [answer(500)]
        await office.happen()
        for _ in range(2):
            await office.work()
            await office.pass_time()
        told = "".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
        assert "webhook.delivered" in told
        for secret in (webhook["secret"], webhook["secret"].removeprefix("whsec_"), "token=canary"):
            assert secret not in told

    async def test_one_that_was_removed_is_not_called(
        self, office: Office, ada: Person, erp: Receiver
    ) -> None:
        webhook = await office.webhook(ada, erp)
        await office.happen()
        await ada.api.delete(f"/webhooks/{webhook['id']}")
        assert await office.work() == 1
        assert (erp.requests, await office.rows("id")) == ([], [])

    async def test_one_that_is_removed_while_it_is_called(
        self, office: Office, ada: Person, erp: Receiver
    ) -> None:
        webhook = await office.webhook(ada, erp)

        async def remove(request: Request, writer: asyncio.StreamWriter) -> None:
            await ada.api.delete(f"/webhooks/{webhook['id']}")
            await answer(500)(request, writer)

        erp.script = [remove]
        await office.happen()
        await office.work()
        assert (len(erp.requests), await office.rows("id"), await office.jobs()) == (1, [], [])


class TestOrigin:
    async def test_an_orders_request_is_in_its_deliverys_log_line(
        self, office: Office, make: Make, ada: Person, erp: Receiver
    ) -> None:
        await office.webhook(ada, erp, "order.placed")
        body = {"product_id": (await make.item(stock=1)).id, "quantity": 1}
        headers = {"X-Request-ID": "an-order-of-mine-1"}
        answered = await (await make.user()).api.post("/orders", json=body, headers=headers)
        assert answered.status_code == 201
        [event] = await office.sql.fetch("SELECT id, request_id FROM events WHERE type = 'order.placed'")
        await office.fan_out(event["id"])
        with structlog.testing.capture_logs() as lines:
            await office.work()
        [line] = [line for line in lines if line["event"] == "webhook.delivered"]
        assert line["request_id"] == event["request_id"] == "an-order-of-mine-1"

    async def test_one_that_waited_keeps_its_own(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection, database_url: str
    ) -> None:
        """Though another one's end has brought it on."""
        await office.webhook(ada, erp)
        for _ in range(6):
            await office.happen()
        await sql.execute(
            "UPDATE webhook_deliveries SET request_id = 'request-' || id,"
            " traceparent = format('00-%s-00f067aa0ba902b7-01', lpad(id::text, 32, '0'))"
        )
        sources: list[Any] = []
        enqueue = jobs.enqueue

        async def watched(*given: Any, source: Any = None, **options: Any) -> Any:
            if source:
                sources.append((given[2]["delivery_id"], source))
            return await enqueue(*given, source=source, **options)

        one_waits = asyncio.Event()

        async def answer_once_one_waits(request: Request, writer: asyncio.StreamWriter) -> None:
            await one_waits.wait()
            await answer()(request, writer)

        async def watch() -> None:
            beside = await asyncpg.connect(database_url)
            await eventually(lambda: beside.fetchval("SELECT bool_or(waiting) FROM webhook_deliveries"))
            await beside.close()
            one_waits.set()

        erp.otherwise = answer_once_one_waits
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(jobs, "enqueue", watched)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watch())
                await office.work()
        assert sources
        for delivery_id, source in sources:
            trace = f"00-{delivery_id:032}-00f067aa0ba902b7-01"
            assert source == {"request_id": f"request-{delivery_id}", "traceparent": trace}


class TestRepetition:
    @pytest.mark.parametrize("status", [200, 500])
    async def test_whatever_came_of_it(self, office: Office, ada: Person, erp: Receiver, status: int) -> None:
        erp.otherwise = answer(status)
        webhook = await office.webhook(ada, erp)
        await office.happen()
        for _ in range(10):
            await office.work()
            await office.pass_time()
        first = len(erp.requests)
        assert first == (1 if status == 200 else 10)
        erp.otherwise = answer()
        [(delivery_id,)] = await office.rows("id")
        again = await ada.api.post(f"/webhooks/{webhook['id']}/deliveries/{delivery_id}/redeliver")
        assert again.status_code == 202
        await office.work()
        assert len(erp.requests) == first + 1
        assert len({(request.headers["webhook-id"], request.body) for request in erp.requests}) == 1
        verified(webhook["secret"], erp.requests[-1])
        assert await office.rows("status", "attempts") == [("succeeded", 1)]

    async def test_a_pending_one_is_tried_now(self, office: Office, ada: Person, erp: Receiver) -> None:
        erp.script = [answer(500)]
        webhook = await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        [(delivery_id,)] = await office.rows("id")
        await ada.api.post(f"/webhooks/{webhook['id']}/deliveries/{delivery_id}/redeliver")
        await office.work()
        await office.pass_time()
        await office.work()
        assert len(erp.requests) == 2
        assert await office.rows("status", "attempts") == [("succeeded", 2)]


class TestPing:
    async def test_is_signed_and_tried_once(self, office: Office, ada: Person, erp: Receiver) -> None:
        erp.otherwise = answer(500)
        webhook = await office.webhook(ada, erp)
        await ada.api.patch(f"/webhooks/{webhook['id']}", json={"is_active": False})
        ping = (await ada.api.post(f"/webhooks/{webhook['id']}/ping")).json()
        await office.work()
        await office.pass_time()
        await office.work()
        [request] = erp.requests
        message = verified(webhook["secret"], request)
        assert (message["type"], message["data"]) == (
            "ping",
            {"webhook_id": webhook["id"], "delivery_id": ping["id"]},
        )
        assert await office.rows("status", "attempts", "last_status") == [("failed", 1, 500)]
        shown = (await ada.api.get(f"/webhooks/{webhook['id']}")).json()
        assert (shown["failing_since"], shown["disabled_at"]) == (None, None)


class TestClaim:
    async def test_two_jobs_for_one_delivery_are_one_try(
        self, office: Office, ada: Person, erp: Receiver
    ) -> None:
        webhook = await office.webhook(ada, erp)
        await office.happen()
        [(delivery_id,)] = await office.rows("id")
        await asyncio.gather(*(office.deliveries.deliver(webhook["id"], delivery_id) for _ in range(5)))
        assert len(erp.requests) == 1
        assert await office.rows("status", "attempts") == [("succeeded", 1)]

    async def test_a_worker_that_dies_has_used_up_a_try(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        await office.webhook(ada, erp)
        await office.happen()
        [(delivery_id,)] = await office.rows("id")
        dead = "UPDATE webhook_deliveries SET attempts = 1, claimed_until = now() + $1::interval"
        await sql.execute(dead, timedelta(seconds=30))
        await office.work()
        assert erp.requests == []
        [left] = await sql.fetch(
            "SELECT execute_after - now() AS left FROM pgqueuer WHERE entrypoint = 'webhook'"
        )
        assert timedelta(seconds=20) < left["left"] <= timedelta(seconds=30)
        await sql.execute(dead, timedelta(seconds=-1))
        await office.deliver(delivery_id)
        assert await office.rows("status", "attempts") == [("succeeded", 2)]

    async def test_one_whose_every_try_kills_a_worker_ends(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        await office.webhook(ada, erp)
        await office.happen()
        await sql.execute("UPDATE webhook_deliveries SET attempts = 10, claimed_until = now()")
        await office.work()
        assert erp.requests == []
        assert await office.rows("status", "attempts", "fault") == [("failed", 10, "interrupted")]

    async def test_a_job_that_comes_before_its_time_does_nothing(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        await office.webhook(ada, erp)
        await office.happen()
        await sql.execute("UPDATE webhook_deliveries SET next_try_at = now() + interval '1 minute'")
        await office.work()
        assert (erp.requests, await office.rows("attempts")) == ([], [(0,)])


class TestFailure:
    @pytest.mark.parametrize(
        ("how", "expected"),
        [
            (answer(500), (500, "status")),
            (answer(404), (404, "status")),
            (answer(301, Location="http://127.0.0.1:1/"), (301, "redirect")),
            (hang, (None, "timeout")),
            (hang_up, (None, "protocol")),
            (drip(503), (503, "status")),
        ],
        ids=["500", "404", "redirect", "hang", "hang up", "drip"],
    )
    async def test_is_noted_and_tried_again(
        self,
        office: Office,
        ada: Person,
        erp: Receiver,
        how: Answering,
        expected: tuple[int | None, str],
    ) -> None:
        erp.otherwise = how
        webhook = await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        assert await office.rows("status", "attempts", "last_status", "fault") == [("pending", 1, *expected)]
        [row] = await office.sql.fetch(
            "SELECT next_try_at - last_tried_at AS pause, execute_after - next_try_at AS off"
            " FROM webhook_deliveries, pgqueuer WHERE entrypoint = 'webhook'"
        )
        assert RETRY_DELAYS[0] <= row["pause"] < RETRY_DELAYS[0] * 1.1 + timedelta(seconds=3)
        assert abs(row["off"]) < timedelta(seconds=1)
        shown = (await ada.api.get(f"/webhooks/{webhook['id']}")).json()
        assert (shown["is_active"], shown["failing_since"] is not None) == (True, True)

    async def test_the_receiver_refuses_the_connection(self, office: Office, ada: Person) -> None:
        await office.webhook(ada, f"http://127.0.0.1:{free_port()}/")
        await office.happen()
        await office.work()
        assert await office.rows("status", "last_status", "fault") == [("pending", None, "connect")]

    @pytest.mark.parametrize("how", [never_ending, drip(200)], ids=["never ending", "drip"])
    async def test_a_body_without_an_end_is_cut(
        self, office: Office, ada: Person, erp: Receiver, how: Answering
    ) -> None:
        erp.otherwise = how
        await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        [(status, excerpt)] = await office.rows("status", "answer")
        assert status == "succeeded"
        assert 0 < len(excerpt) <= 1_024

    async def test_a_success_makes_good(self, office: Office, ada: Person, erp: Receiver) -> None:
        erp.script = [answer(500)]
        webhook = await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        await office.pass_time()
        await office.work()
        assert (await ada.api.get(f"/webhooks/{webhook['id']}")).json()["failing_since"] is None

    async def test_ten_tries_are_all(self, office: Office, ada: Person, erp: Receiver) -> None:
        erp.otherwise = answer(500)
        webhook = await office.webhook(ada, erp)
        await office.happen()
        for _ in range(12):
            await office.work()
            await office.pass_time()
        assert len(erp.requests) == 10
        assert await office.rows("status", "attempts", "next_try_at") == [("failed", 10, None)]
        assert (await ada.api.get(f"/webhooks/{webhook['id']}")).json()["is_active"] is True

    async def test_a_secret_that_cannot_be_decrypted_is_logged(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        await office.webhook(ada, erp)
        await sql.execute("UPDATE webhooks SET secret = decode('00', 'hex')")
        await office.happen()
        with structlog.testing.capture_logs() as lines:
            await office.work()
            await office.deliveries.maintain()
        assert erp.requests == []
        assert await office.rows("status", "fault") == [("pending", "secret_unreadable")]
        assert [line["event"] for line in lines if line["log_level"] == "error"] == [
            "webhook.secret_not_decrypted"
        ] * 2


class TestRetryAfter:
    @pytest.mark.parametrize("status", [429, 503])
    async def test_the_receiver_is_left_alone_for_so_long(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection, status: int
    ) -> None:
        """Whatever else is due for it: that costs no attempt."""
        erp.script = [answer(status, Retry_After="600")]
        await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        await office.happen()
        await office.work()
        assert len(erp.requests) == 1
        pauses = await sql.fetch(
            "SELECT next_try_at - now() AS pause, attempts FROM webhook_deliveries ORDER BY id"
        )
        for row, attempts in zip(pauses, (1, 0), strict=True):
            assert timedelta(seconds=590) < row["pause"] < timedelta(seconds=670)
            assert row["attempts"] == attempts
        await office.pass_time()
        await office.work()
        assert await office.rows("status", "attempts") == [("succeeded", 2), ("succeeded", 1)]

    async def test_for_an_hour_at_most_altogether(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        erp.script = [answer(429, Retry_After="999999999")]
        await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        [row] = await sql.fetch(
            "SELECT next_try_at - now() AS this, paused_until - now() AS others"
            " FROM webhook_deliveries, webhooks"
        )
        assert timedelta(hours=23.9) < row["this"] < timedelta(hours=26.5)
        assert timedelta(minutes=59) < row["others"] <= timedelta(hours=1)
