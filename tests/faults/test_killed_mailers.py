"""Workers that are killed while they send mails to a real server: every event's mail arrives, and a mail
that arrives again can be known by its Message-ID.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from service import events
from service.accounts.users import repository as users
from service.catalogue import service as items
from service.catalogue.schemas import ItemCreate
from service.identity import Caller
from service.orders.placing import service as placing
from service.orders.schemas import OrderCreate
from service.platform.config import Settings
from service.platform.database import Database
from tests.conftest import for_sqlalchemy
from tests.faults.test_killed_workers import EFFECTS, Fleet
from tests.helpers.rows import rows_of
from tests.helpers.smtp import Inbox, serving
from tests.server.process import cloned_database

MARIA = "maria@shop.example"
EVENT = re.compile(r"<event-(\d+)\.order_placed\.[0-9a-f]{16}@shop\.example>")
IN_ONE_TRANSACTION = 50


@pytest.fixture
def url() -> Iterator[str]:
    with cloned_database() as url:
        yield url


async def place_and_publish(url: str, count: int) -> None:
    """One order, and so many events that say it has been placed."""
    settings = Settings(environment="test", database_url=for_sqlalchemy(url))
    database = Database(for_sqlalchemy(url), settings)
    try:
        async with database.transaction() as session:
            user_id = await users.add(
                session, email=MARIA, full_name="Maria", password_hash="x", is_active=True
            )
            assert user_id is not None
            await users.change(session, user_id, {"email_verified": True})
            item = await items.create(session, ItemCreate(name="Chai", price=Decimal(18), stock=9), by=None)
            new = OrderCreate.model_validate({"product_id": item.id, "quantity": 2})
            order = await placing.place(session, settings, Caller(user_id, 1, is_admin=False), new)
        for begin in range(1, count, IN_ONE_TRANSACTION):
            size = min(IN_ONE_TRANSACTION, count - begin)
            async with database.transaction() as session:
                await events.publish_each(session, "order.placed", [{"id": order.id}] * size, user_id=user_id)
    finally:
        await database.close()


async def run(folder: Path, url: str, inbox: Inbox, *, count: int, size: int, each: int) -> int:
    """Until there is nothing left to do; how many workers were killed: one for about `each` mails."""
    chance, deadline, next_kill = random.Random(7), time.monotonic() + 1200, each
    connection = await asyncpg.connect(url)
    # What the deliveries of webhooks leave, for the same events.
    await connection.execute(EFFECTS)
    async with serving(inbox) as port:
        smtp = {"SMTP_URL": f"smtp://127.0.0.1:{port}", "MAIL_FROM": "shop@shop.example"}
        workers = Fleet(folder, url, size)
        workers.environment |= smtp
        try:
            await asyncio.to_thread(workers.fill)
            telling = asyncio.create_task(place_and_publish(url, count))
            left = count
            while left or not telling.done():
                assert time.monotonic() < deadline, f"{left} jobs are left after {workers.killed} kills"
                await asyncio.sleep(0.05)
                # By what they have done, not by the clock: they take their time to start.
                if len(inbox.mails) >= next_kill:
                    next_kill += chance.randint(1, 2 * each)
                    await asyncio.to_thread(workers.kill, chance)
                await asyncio.to_thread(workers.fill)
                left = await connection.fetchval("SELECT count(*) FROM pgqueuer WHERE status <> 'failed'")
            await telling
        finally:
            await asyncio.to_thread(workers.stop)
    await connection.close()
    return workers.killed


async def assert_each_once(url: str, inbox: Inbox, count: int, killed: int) -> None:
    told = {
        event_id for (event_id,) in await rows_of(url, "SELECT id FROM events WHERE type = 'order.placed'")
    }
    assert len(told) == count
    assert await rows_of(url, "SELECT kind, status, count(*) FROM mails GROUP BY 1, 2") == [
        ("order_placed", "sent", count)
    ]
    assert await rows_of(url, "SELECT status::text FROM pgqueuer") == []
    arrived = Counter(mail["Message-ID"] for mail in inbox.mails)
    matched = [EVENT.fullmatch(message_id) for message_id in arrived]
    assert sorted(int(match[1]) for match in matched if match) == sorted(told)
    # A copy comes of a worker that was killed between the server's 250 and the COMMIT, and of nothing else.
    copies = len(inbox.mails) - count
    assert 0 <= copies <= 10 * killed
    assert {mail["To"] for mail in inbox.mails} == {MARIA}


async def test_some_mails_through_two_workers(tmp_path: Path, url: str) -> None:
    inbox = Inbox()
    killed = await run(tmp_path, url, inbox, count=150, size=2, each=30)
    assert killed >= 1
    await assert_each_once(url, inbox, 150, killed)


@pytest.mark.proof
async def test_five_thousand_events_through_three_workers(tmp_path: Path, url: str) -> None:
    inbox = Inbox()
    killed = await run(tmp_path, url, inbox, count=5_000, size=3, each=200)
    assert killed >= 10
    await assert_each_once(url, inbox, 5_000, killed)
