"""When a webhook is disabled, how many attempts it may have at the same time, and the maintenance job."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from service.container.api import Container
from service.platform.config import generate_key
from service.webhooks.deliveries.concurrency import LOW_CONCURRENCY, MAX_CONCURRENCY
from service.webhooks.deliveries.service import DISABLED_AFTER, OVERDUE, Deliveries
from service.webhooks.signing import SecretCipher
from tests.helpers.factories import Make, Person
from tests.helpers.identity import audited, last_entry
from tests.helpers.waiting import eventually
from tests.webhooks.office import Office, office_of, verified
from tests.webhooks.receiver import Receiver, Request, answer, receiver

pytestmark = pytest.mark.usefixtures("private_targets")


class TestDisabling:
    async def notified(self, sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
        rows = await sql.fetch("SELECT user_id, kind, title, data FROM notifications ORDER BY user_id")
        return [(row["user_id"], row["kind"], row["title"], json.loads(row["data"])) for row in rows]

    async def test_410_ends_it_at_once(
        self, office: Office, make: Make, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        erp.otherwise = answer(410)
        await make.user()
        grace = await make.admin()
        webhook = await office.webhook(ada, erp)
        await office.happen()
        await office.happen()
        before = await last_entry(sql)
        [first, _] = await office.jobs()
        await office.deliver(first)
        assert await office.work() == 2
        assert len(erp.requests) == 1
        assert await office.rows("status", "last_status", "fault", "next_try_at") == [
            ("failed", 410, "status", None),
            ("failed", None, "disabled", None),
        ]
        shown = (await ada.api.get(f"/webhooks/{webhook['id']}")).json()
        assert (shown["is_active"], shown["disabled_reason"]) == (False, "gone")
        assert shown["disabled_at"] is not None
        data = {"webhook_id": webhook["id"], "reason": "gone"}
        assert await audited(sql, before) == [("webhook.disabled", None, "webhook", webhook["id"], data)]
        title = f"Webhook {webhook['id']} has been disabled"
        assert await self.notified(sql) == [
            (person, "webhook.disabled", title, data) for person in sorted((ada.id, grace.id))
        ]
        await office.happen()
        assert len(await office.rows("id")) == 2

    async def test_three_days_of_failure_end_it(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        erp.otherwise = answer(500)
        webhook = await office.webhook(ada, erp)
        await office.happen()
        since = "UPDATE webhooks SET failing_since = now() - $1::interval"
        for age, active in ((DISABLED_AFTER - timedelta(minutes=1), True), (DISABLED_AFTER, False)):
            await sql.execute(since, age)
            await office.work()
            shown = (await ada.api.get(f"/webhooks/{webhook['id']}")).json()
            assert shown["is_active"] is active
            await office.pass_time()
        assert shown["disabled_reason"] == "failing"
        assert await office.rows("status", "attempts", "fault") == [("failed", 2, "disabled")]
        assert [title for _, _, title, _ in await self.notified(sql)] == [
            f"Webhook {webhook['id']} has been disabled"
        ]

    async def test_a_success_in_between_saves_it(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        webhook = await office.webhook(ada, erp)
        await sql.execute("UPDATE webhooks SET failing_since = now() - interval '4 days'")
        await office.happen()
        await office.work()
        erp.otherwise = answer(500)
        await office.happen()
        await office.work()
        assert (await ada.api.get(f"/webhooks/{webhook['id']}")).json()["is_active"] is True

    async def test_enabled_again_it_begins_anew(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        erp.script = [answer(410)]
        webhook = await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        shown = (await ada.api.patch(f"/webhooks/{webhook['id']}", json={"is_active": True})).json()
        assert [shown[name] for name in ("is_active", "failing_since", "disabled_at", "disabled_reason")] == [
            True, None, None, None,
        ]  # fmt: skip
        await office.happen()
        await office.work()
        assert [status for (status,) in await office.rows("status")] == ["failed", "succeeded"]


class TestConcurrency:
    async def test_one_that_hangs_has_its_limit_and_no_more(
        self, container: Container, sql: asyncpg.Connection, ada: Person, erp: Receiver
    ) -> None:
        """While it takes its time, the others get every event."""
        goes_on = asyncio.Event()

        async def hold(request: Request, writer: asyncio.StreamWriter) -> None:
            await goes_on.wait()
            await answer()(request, writer)

        async with receiver(otherwise=hold) as slow, office_of(container, sql, total=30) as office:
            for target in (slow, erp):
                await office.webhook(ada, target)
            for _ in range(20):
                await office.happen()
            working = asyncio.create_task(office.work())
            await eventually(lambda: len(erp.requests) == 20)
            assert (len(slow.requests), slow.under_way) == (LOW_CONCURRENCY, LOW_CONCURRENCY)
            goes_on.set()
            # A delivery that waits starts when another one ends.
            await working
            assert slow.most_under_way <= MAX_CONCURRENCY
        assert await office.rows("status", "waiting") == [("succeeded", False)] * 40

    async def test_one_that_is_quick_has_a_larger_limit(
        self, office: Office, ada: Person, erp: Receiver
    ) -> None:
        async def count(request: Request, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.05)
            await answer()(request, writer)

        await office.webhook(ada, erp)
        await office.happen()
        await office.work()
        erp.otherwise = count
        for _ in range(30):
            await office.happen()
        await office.work()
        assert (len(erp.requests), erp.most_under_way) == (31, MAX_CONCURRENCY)

    async def test_what_a_worker_that_died_has_left_waiting_is_found(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        await office.webhook(ada, erp)
        for _ in range(2):
            await office.happen()
        await sql.execute("DELETE FROM pgqueuer")
        await sql.execute("UPDATE webhook_deliveries SET waiting = true")
        await office.deliveries.maintain()
        assert await office.jobs() == []
        await sql.execute("UPDATE webhook_deliveries SET next_try_at = now() - $1::interval", OVERDUE * 2)
        await office.deliveries.maintain()
        await office.deliveries.maintain()
        assert len(await office.jobs()) == 2
        await office.work()
        assert await office.rows("status") == [("succeeded",)] * 2


class TestMaintenance:
    async def test_what_is_old_and_over_is_forgotten(
        self, office: Office, ada: Person, erp: Receiver, sql: asyncpg.Connection
    ) -> None:
        await office.webhook(ada, erp)
        for _ in range(3):
            await office.happen()
        [(old,), (pending,), (young,)] = await office.rows("id")
        await office.deliver(old)
        await office.deliver(young)
        await sql.execute(
            "UPDATE webhook_deliveries SET created_at = now() - interval '31 days' WHERE id = ANY($1)",
            [old, pending],
        )
        await office.deliveries.maintain()
        assert await office.rows("id") == [(pending,), (young,)]

    async def test_secrets_are_encrypted_under_the_new_key_while_the_old_one_is_accepted(
        self, office: Office, ada: Person, erp: Receiver, container: Container, sql: asyncpg.Connection
    ) -> None:
        webhook = await office.webhook(ada, erp)
        rotated = (await ada.api.post(f"/webhooks/{webhook['id']}/rotate-secret")).json()
        new_key, old_key = generate_key(), container.settings.secret_key.get_secret_value()
        sender = office.deliveries._client
        during = Deliveries(container.database, sender, SecretCipher(new_key, (old_key,)), timedelta(days=30))
        await during.maintain()
        sealed = await sql.fetchrow("SELECT secret, previous_secret FROM webhooks")
        await during.maintain()
        assert await sql.fetchrow("SELECT secret, previous_secret FROM webhooks") == sealed
        office.deliveries = Deliveries(
            container.database, sender, SecretCipher(new_key, ()), timedelta(days=30)
        )
        await office.happen()
        await office.work()
        for secret in (webhook["secret"], rotated["secret"]):
            verified(secret, erp.requests[0])

    async def test_it_is_made_of_settings(self, container: Container) -> None:
        settings = container.settings.model_copy(
            update={"webhook_allow_private": True, "secret_keys_accepted": (SecretStr(generate_key()),)}
        )
        made = Deliveries.of(settings, container.database)
        await made.deliver(1, 1)
        await made.aclose()
