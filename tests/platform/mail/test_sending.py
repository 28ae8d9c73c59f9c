"""What a worker does for emails: each leaves once, whatever fails meanwhile, and only with cause."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.container.api import Container
from service.container.worker import EMAILS
from service.errors import NotFound, Unavailable
from service.platform.config import generate_key
from service.platform.database import Database
from service.platform.jobs import worker
from service.platform.mail import repository as mails
from service.platform.mail.mailer import LEASE, Mailer
from service.platform.mail.rendering import Message
from service.platform.mail.transports import DELIVERY_SECONDS, Nowhere, Outcome, Smtp, Transport, Undelivered
from tests.helpers.client import Api
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.mailbox import TOKEN, send_mails
from tests.helpers.recovering import confirm
from tests.helpers.smtp import Inbox, serving

SHOP = "The Shop <shop@shop.example>"


@pytest.fixture
async def maria(make: Make, sql: asyncpg.Connection) -> Person:
    """Her address is proven to be hers."""
    person = await make.user()
    await sql.execute("UPDATE users SET email_verified = true WHERE id = $1", person.id)
    return person


class Recorder:
    """A transport that keeps what it is given, after it has done what the test wants."""

    def __init__(self, before: Callable[[Message], Awaitable[object]] | None = None) -> None:
        self.messages: list[Message] = []
        self._before = before

    async def deliver(self, message: Message) -> Outcome:
        if self._before is not None:
            await self._before(message)
        self.messages.append(message)
        return "sent"

    @property
    def sent_to(self) -> list[tuple[str, str]]:
        return [(message.kind, message.to) for message in self.messages]


class Refusing(Recorder):
    """The first so many mails are not taken."""

    def __init__(self, *faults: Undelivered) -> None:
        super().__init__(self._refuse)
        self._faults = list(faults)

    async def _refuse(self, _: Message) -> None:
        if self._faults:
            raise self._faults.pop(0)


def later(reason: str = "SMTPRecipientRefused 451") -> Undelivered:
    return Undelivered(reason, passing=True)


def never() -> Undelivered:
    return Undelivered("SMTPRecipientRefused 550", passing=False)


def counted(kind: str, outcome: str) -> float:
    return REGISTRY.get_sample_value("mails_total", {"kind": kind, "outcome": outcome}) or 0.0


def mailing(container: Container, transport: Transport, **settings: Any) -> Mailer:
    ours = container.settings.model_copy(update=settings)
    return Mailer(ours, container.database, EMAILS, transport=transport)


async def enqueue(
    container: Container, person: Person, kind: Any = "password_changed", **options: Any
) -> int:
    async with container.database.transaction() as session:
        mail_id = await mails.enqueue(session, kind, user_id=person.id, **options)
    assert mail_id is not None
    return mail_id


async def rows(sql: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await sql.fetch("SELECT kind, status, reason FROM mails ORDER BY id")]


async def waiting(sql: asyncpg.Connection) -> list[Any]:
    """The payloads of the jobs that are in the queue."""
    found = await sql.fetch("SELECT payload FROM pgqueuer WHERE entrypoint = 'mail' ORDER BY id")
    return [json.loads(row["payload"]) for row in found]


async def make_due(sql: asyncpg.Connection) -> None:
    await sql.execute("UPDATE pgqueuer SET execute_after = now()")


class TestAsking:
    async def test_an_email_is_queued_when_its_cause_is_committed(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        async with container.database.transaction() as session:
            await mails.enqueue(session, "password_changed", user_id=maria.id)
            assert (await rows(sql), await waiting(sql)) == ([], [])
        [mail_id] = [row["id"] for row in await sql.fetch("SELECT id FROM mails")]
        assert await rows(sql) == [("password_changed", "queued", None)]
        # Nothing of a person is in the queue.
        assert await waiting(sql) == [{"mail_id": mail_id}]

    async def test_and_not_where_that_fails(
        self, maria: Person, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lost(session: object) -> None:
            raise Unavailable("lost")

        with suppress(NotFound):
            async with container.database.transaction() as session:
                await mails.enqueue(session, "password_changed", user_id=maria.id)
                raise NotFound("There is none.")
        monkeypatch.setattr(Database, "_commit", staticmethod(lost))
        with pytest.raises(Unavailable):
            await enqueue(container, maria)
        assert (await rows(sql), await waiting(sql)) == ([], [])

    async def test_those_that_a_user_waits_for_go_first(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        ordinary = await enqueue(container, maria, "order_placed", event_id=1, facts={"order_id": 1})
        urgent = await enqueue(container, maria, "verify_email")
        found = await sql.fetch("SELECT payload FROM pgqueuer ORDER BY priority DESC, id")
        assert [json.loads(row["payload"])["mail_id"] for row in found] == [urgent, ordinary]

    async def test_of_one_kind_for_one_event_there_is_one(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        async def again() -> int | None:
            async with container.database.transaction() as session:
                return await mails.enqueue(session, "order_placed", user_id=maria.id, event_id=7)

        first, *others = await asyncio.gather(*(again() for _ in range(4)))
        assert sorted([first, *others], key=lambda each: each is None)[1:] == [None] * 3
        assert len(await waiting(sql)) == 1
        assert await sql.fetchval("SELECT message_id FROM mails") != ""

    async def test_of_who_is_gone_there_is_none(
        self, make: Make, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        deletion = {"current_password": PASSWORD}
        assert (await maria.api.request("DELETE", "/users/profile", json=deletion)).status_code == 204
        async with container.database.transaction() as session:
            assert await mails.enqueue(session, "order_placed", user_id=maria.id, event_id=7) is None
        assert (await rows(sql), await waiting(sql)) == ([], [])


class TestSending:
    async def test_it_is_sent_and_what_it_said_is_forgotten(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        transport, before = Recorder(), counted("api_key_created", "sent")
        await enqueue(
            container, maria, "api_key_created", facts={"name": "Till in Berlin", "hint": "tp_1234"}
        )
        await send_mails(container, transport)
        assert transport.sent_to == [("api_key_created", maria.email)]
        assert '"Till in Berlin" (tp_1234...)' in transport.messages[0].text
        assert counted("api_key_created", "sent") == before + 1
        row = await sql.fetchrow("SELECT * FROM mails")
        assert row is not None
        assert (row["status"], row["address"], row["facts"]) == ("sent", None, "{}")
        assert row["ended_at"] >= row["created_at"]
        assert await waiting(sql) == []

    async def test_what_passes_is_tried_again_by_the_queue(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        transport = Refusing(later(), later("SMTPConnectError"))
        await enqueue(container, maria)
        for tries in (1, 2):
            with capture_logs() as logs:
                await send_mails(container, transport)
            assert transport.messages == []
            assert await rows(sql) == [("password_changed", "queued", None)]
            left = await sql.fetchrow("SELECT attempts, execute_after > now() AS later FROM pgqueuer")
            assert left is not None
            assert tuple(left) == (tries, True)
            assert [line["event"] for line in logs] == ["mail.put_off", "job.attempt_failed", "job.ended"]
            assert maria.email not in repr(logs)
            await make_due(sql)
        await send_mails(container, transport)
        assert transport.sent_to == [("password_changed", maria.email)]
        assert await rows(sql) == [("password_changed", "sent", None)]

    async def test_a_permanent_refusal_ends_it(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        before = counted("password_changed", "failed")
        await enqueue(container, maria)
        with capture_logs() as logs:
            await send_mails(container, Refusing(never()))
        assert await rows(sql) == [("password_changed", "failed", "SMTPRecipientRefused 550")]
        assert await waiting(sql) == []
        assert counted("password_changed", "failed") == before + 1
        [line] = [line for line in logs if line["event"] == "mail.failed"]
        assert (line["kind"], line["reason"]) == ("password_changed", "SMTPRecipientRefused 550")

    async def test_so_does_the_last_attempt(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        mail_id = await enqueue(container, maria)
        await mailing(container, Refusing(later())).send(mail_id, last=True)
        assert await rows(sql) == [("password_changed", "failed", "SMTPRecipientRefused 451")]

    async def test_without_a_server_it_ends_too(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        before = counted("password_changed", "not_configured")
        await enqueue(container, maria)
        await send_mails(container, Nowhere())
        assert await rows(sql) == [("password_changed", "failed", None)]
        assert counted("password_changed", "not_configured") == before + 1

    async def test_a_slow_mail_holds_no_other(self, make: Make, container: Container) -> None:
        slow, quick = await make.user(), await make.user()
        gate = asyncio.Event()

        async def hold(message: Message) -> None:
            if message.to == slow.email:
                await gate.wait()
            else:
                gate.set()

        transport = Recorder(hold)
        for person in (slow, quick):
            await enqueue(container, person)
        async with asyncio.timeout(60):
            await send_mails(container, transport)
        assert [to for _, to in transport.sent_to] == [quick.email, slow.email]

    async def test_while_an_email_is_being_sent_no_connection_is_held(
        self, maria: Person, container: Container
    ) -> None:
        async def look(_: Message) -> None:
            assert container.database.pool_usage[0] == 0

        transport = Recorder(look)
        await enqueue(container, maria)
        await send_mails(container, transport)
        assert len(transport.messages) == 1

    async def test_whatever_breaks_is_tried_again(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        """A template that is broken, say: the mail waits for the next release."""
        await enqueue(container, maria, "api_key_created", facts={"name": "Till"})
        await send_mails(container, Recorder())
        assert await rows(sql) == [("api_key_created", "queued", None)]
        assert len(await waiting(sql)) == 1


class TestOnce:
    def test_a_claim_outlasts_a_delivery_and_is_over_when_a_lost_job_comes_back(self) -> None:
        """Otherwise a worker that is slow would be doubled, or one that is lost waited for in vain."""
        assert LEASE.total_seconds() > DELIVERY_SECONDS
        assert LEASE <= worker.LEASE * (1 - 1 / worker.HEARTBEATS)

    async def test_two_workers_send_it_once(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        mail_id, sending, may = await enqueue(container, maria), asyncio.Event(), asyncio.Event()

        async def hold(_: Message) -> None:
            sending.set()
            await may.wait()

        transport = Recorder(hold)
        first = asyncio.create_task(mailing(container, transport).send(mail_id, last=False))
        await sending.wait()
        with pytest.raises(Unavailable):
            await mailing(container, transport).send(mail_id, last=False)
        may.set()
        await first
        await mailing(container, transport).send(mail_id, last=False)
        assert len(transport.messages) == 1
        assert await rows(sql) == [("password_changed", "sent", None)]

    async def test_of_many_that_begin_at_once_one_sends_it(self, make: Make, container: Container) -> None:
        anna, transport = await make.user(), Recorder()
        mail_id = await enqueue(container, anna, "verify_email")
        sender = mailing(container, transport)
        ends = await asyncio.gather(
            *(sender.send(mail_id, last=False) for _ in range(8)), return_exceptions=True
        )
        assert len(transport.messages) == 1
        assert {type(end) for end in ends} <= {type(None), Unavailable}

    async def test_after_a_worker_that_was_killed_it_has_the_same_id(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        """Between the server's 250 and the COMMIT the outcome is unknown: a receiver knows by the id."""
        inbox, mail_id = (
            Inbox(),
            await enqueue(container, maria, "order_placed", event_id=7, facts={"order_id": 1}),
        )
        await sql.execute("UPDATE mails SET kind = 'password_changed', facts = '{}'")

        class Killed(Exception):
            pass

        async with serving(inbox) as port:
            smtp = Smtp(f"smtp://127.0.0.1:{port}", SHOP)

            class Killing(Recorder):
                async def deliver(self, message: Message) -> Outcome:
                    await smtp.deliver(message)
                    raise Killed

            with pytest.raises(Killed):
                await mailing(container, Killing()).send(mail_id, last=False)
            assert await rows(sql) == [("password_changed", "sending", None)]
            await sql.execute("UPDATE mails SET claimed_until = now() - interval '1 second'")
            await mailing(container, smtp).send(mail_id, last=False)
        assert await rows(sql) == [("password_changed", "sent", None)]
        [first, second] = [mail["Message-ID"] for mail in inbox.mails]
        assert first == second
        assert first.startswith("<event-7.order_placed.")
        assert first.endswith("@shop.example>")

    async def test_recording_that_it_has_left_is_stubborn(
        self, maria: Person, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        end, faults = mails.end, [Unavailable("Not now."), Unavailable("Not yet.")]

        async def failing(*arguments: Any, **options: Any) -> None:
            if faults:
                raise faults.pop()
            await end(*arguments, **options)

        monkeypatch.setattr(mails, "end", failing)
        transport, mail_id = Recorder(), await enqueue(container, maria)
        await mailing(container, transport).send(mail_id, last=False)
        assert len(transport.messages) == 1
        assert await rows(sql) == [("password_changed", "sent", None)]

    async def test_what_has_ended_is_not_sent_again(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        transport, mail_id = Recorder(), await enqueue(container, maria)
        for _ in range(3):
            await mailing(container, transport).send(mail_id, last=False)
        await mailing(container, transport).send(mail_id + 1, last=False)
        assert len(transport.messages) == 1


class TestTokens:
    async def test_a_mail_that_is_tried_again_has_another_token_and_counts_once(
        self, api: Api, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        anna = await make.user()
        await anna.api.post("/auth/verify-email")
        tried: list[Message] = []

        async def lose(message: Message) -> None:
            tried.append(message)
            if len(tried) < 6:
                raise later()

        for _ in range(6):
            await make_due(sql)
            await send_mails(container, Recorder(lose))
        tokens = [TOKEN.findall(message.text)[0] for message in tried]
        assert len(set(tokens)) == 6
        assert len({message.message_id for message in tried}) == 1
        # One of the earlier may have arrived after all, and the last been taken for a copy of it.
        assert (await confirm(api, tokens[0])).status_code == 204
        assert await rows(sql) == [("verify_email", "sent", None)]

    async def test_after_an_hour_it_is_withheld(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        anna, transport = await make.user(), Recorder()
        await anna.api.post("/auth/verify-email")
        await sql.execute("UPDATE mails SET created_at = created_at - interval '1 hour'")
        await send_mails(container, transport)
        assert transport.messages == []
        assert await rows(sql) == [("verify_email", "withheld", "too late")]
        assert await sql.fetchval("SELECT count(*) FROM mail_tokens") == 0

    async def test_an_address_is_read_while_its_key_is_accepted(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        old, new = container.settings.secret_key, SecretStr(generate_key())
        await api.post("/auth/password-reset", json={"email": maria.email})
        transport = Recorder()
        sender = mailing(container, transport, secret_key=new, secret_keys_accepted=(old,))
        await send_all(sql, sender)
        assert transport.sent_to == [("reset_password", maria.email)]

    async def test_and_not_after_that(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        await api.post("/auth/password-reset", json={"email": maria.email})
        transport, new = Recorder(), SecretStr(generate_key())
        sender = mailing(container, transport, secret_key=new, secret_keys_accepted=())
        with capture_logs() as logs:
            await send_all(sql, sender)
        assert (transport.messages, await rows(sql)) == ([], [])
        assert [line["event"] for line in logs] == ["mail.address_not_decrypted"]


async def send_all(sql: asyncpg.Connection, sender: Mailer) -> None:
    for row in await sql.fetch("SELECT id FROM mails ORDER BY id"):
        await sender.send(row["id"], last=False)
