"""What deliveries leave behind: rows that go with a person, and counts."""

from typing import Any

import asyncpg
import pytest

from tests.helpers.factories import PASSWORD, Make, Person
from tests.platform.telemetry.counted import counted
from tests.webhooks.office import Office
from tests.webhooks.receiver import Receiver, answer

pytestmark = pytest.mark.usefixtures("private_targets")


async def test_notifications_are_deleted_and_orders_still_notify(
    office: Office, make: Make, ada: Person, erp: Receiver, sql: asyncpg.Connection
) -> None:
    await office.webhook(ada, erp)
    maria, ana = await make.user(), await make.user()
    for person in (maria, ana):
        await sql.executemany(
            "INSERT INTO events (type, object_id, user_id, data) VALUES ($1, 1, $2, '{}')",
            [(event_type, person.id) for event_type in ("order.placed", "order.paid", "user.registered")],
        )
    for row in await sql.fetch("SELECT id FROM events ORDER BY id"):
        await office.fan_out(row["id"])
    await sql.execute("UPDATE webhook_deliveries SET status = 'succeeded' WHERE event_type = 'order.placed'")
    gone = await maria.api.request("DELETE", "/users/profile", json={"current_password": PASSWORD})
    assert gone.status_code == 204
    assert await office.rows("user_id", "event_type", "status") == [
        (maria.id, "order.paid", "pending"),
        (ana.id, "order.placed", "succeeded"),
        (ana.id, "order.paid", "pending"),
        (ana.id, "user.registered", "pending"),
    ]


@pytest.mark.parametrize(("status", "outcome"), [(200, "succeeded"), (500, "retried"), (410, "failed")])
async def test_every_try_is_counted(
    office: Office, ada: Person, erp: Receiver, status: int, outcome: Any
) -> None:
    names = ("webhook_deliveries_total", "webhook_delivery_duration_seconds_count")
    before = [counted(name, outcome=outcome) for name in names]
    disabled = counted("webhooks_disabled_total", reason="gone")
    erp.otherwise = answer(status)
    await office.webhook(ada, erp)
    await office.happen()
    await office.work()
    assert [counted(name, outcome=outcome) for name in names] == [count + 1 for count in before]
    assert counted("webhooks_disabled_total", reason="gone") == disabled + (status == 410)
