"""GET /notifications/stream and POST /notifications/stream-ticket, over a real connection."""

import asyncio
import random
import time
from contextlib import AsyncExitStack, suppress

import asyncpg
import pytest
from fastapi import FastAPI
from prometheus_client import REGISTRY

from service import notifications
from service.container.api import Container
from service.notifications.streams.subscribers import BATCH
from service.platform.http.sse import RETRY_MS
from tests.helpers.client import V1, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.streaming import ENDED, gauge, listening, notify, reason_of_end, served, ticket_of
from tests.helpers.waiting import eventually


class TestStreaming:
    async def test_a_notification_arrives_in_full(self, url: str, make: Make) -> None:
        maria = await make.user()
        async with listening(url, maria.token) as stream:
            await make.notification(maria, title="Order 1 has been shipped")
            event = await stream.event()
        listed = (await maria.api.get("/notifications")).json()[0]
        assert (event.id, event.event, event.data) == (str(listed["id"]), "notification", listed)

    async def test_the_headers_and_the_opening(self, url: str, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        [last] = await notify(sql, maria, "Old")
        async with listening(url, maria.token) as stream:
            headers = stream.answer.headers
            assert headers["content-type"] == "text/event-stream; charset=utf-8"
            assert headers.get_list("cache-control") == ["private, no-store"]
            assert headers["x-accel-buffering"] == "no"
            assert "ratelimit" in headers
            assert (stream.opening.id, stream.opening.retry) == (str(last), RETRY_MS)
            await notify(sql, maria, "New")
            assert await stream.titles(1) == ["New"]

    async def test_a_text_of_several_lines_is_one_line_of_data(self, url: str, make: Make) -> None:
        maria = await make.user()
        async with listening(url, maria.token) as stream:
            await make.notification(maria, title="Ünïcödé\r\nid: 1\n\ndata: x \N{LINE SEPARATOR}")
            assert (await stream.event()).data["title"] == "Ünïcödé\r\nid: 1\n\ndata: x \N{LINE SEPARATOR}"

    async def test_a_user_gets_no_notifications_of_others(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, ana, ada = await make.user(), await make.user(), await make.admin()
        async with listening(url, maria.token) as hers, listening(url, ada.token, after=0) as admins:
            await notify(sql, ana, "For Ana", "For Ana too")
            await notify(sql, maria, "For Maria")
            await notify(sql, ada, "For Ada")
            assert (await hers.titles(1), await admins.titles(1)) == (["For Maria"], ["For Ada"])

    async def test_every_stream_of_a_person_gets_everything(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        async with listening(url, maria.token) as first, listening(url, maria.token) as second:
            await notify(sql, maria, "A", "B")
            assert [await first.titles(2), await second.titles(2)] == [["A", "B"], ["A", "B"]]

    async def test_an_order_arrives(self, url: str, make: Make) -> None:
        maria, ada, item = await make.user(), await make.admin(), await make.item(stock=3, reorder_level=2)
        async with listening(url, maria.token) as hers, listening(url, ada.token) as admins:
            body = {"product_id": item.id, "quantity": 2}
            order = (await maria.api.post("/orders", json=body)).json()
            event = await hers.event()
            assert (event.data["kind"], event.data["data"]["order_id"]) == ("order.placed", order["id"])
            event = await admins.event()
            assert (event.data["kind"], event.data["data"]["item_id"]) == ("item.low_stock", item.id)

    async def test_nothing_that_was_rolled_back(self, url: str, make: Make, container: Container) -> None:
        maria = await make.user()
        async with listening(url, maria.token) as stream:
            with suppress(RuntimeError):
                async with container.database.transaction() as session:
                    await notifications.notify(session, maria.id, kind="x", title="No", body="", data={})
                    raise RuntimeError
            await make.notification(maria, title="Yes")
            assert await stream.titles(1) == ["Yes"]

    async def test_silence_is_broken_by_a_comment(
        self, url: str, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert container.subscribers.ping_seconds == 15
        monkeypatch.setattr(container.subscribers, "ping_seconds", 0.05)
        maria = await make.user()
        async with listening(url, maria.token) as stream:
            for _ in range(3):
                block = await stream.block()
                assert block is not None
                assert (block.comments, block.id, block.data) == (["still here"], None, None)
            await make.notification(maria, title="Still")
            assert await stream.titles(1) == ["Still"]

    async def test_head_has_the_headers_alone(self, url: str, make: Make, container: Container) -> None:
        maria = await make.user()
        answer = await maria.api.head("/notifications/stream")
        assert (answer.status_code, answer.content) == (200, b"")
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert len(container.subscribers) == 0

    async def test_another_form_is_not_to_be_had(self, make: Make, container: Container) -> None:
        maria = await make.user()
        answer = await maria.api.get("/notifications/stream", headers={"Accept": "application/json"})
        assert_problem(answer, 406, "not_acceptable")
        assert len(container.subscribers) == 0


class TestResuming:
    async def test_after_an_id_by_header_or_parameter(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        ids = await notify(sql, maria, "A", "B", "C")
        async with listening(url, maria.token, after=ids[0]) as stream:
            assert stream.opening.id == str(ids[0])
            assert await stream.titles(2) == ["B", "C"]
        async with listening(url, maria.token, query={"last_event_id": ids[1]}) as stream:
            assert await stream.titles(1) == ["C"]
        # A browser that connects again by itself has both, and the header is newer.
        async with listening(url, maria.token, after=ids[1], query={"last_event_id": ids[0]}) as stream:
            assert await stream.titles(1) == ["C"]

    async def test_more_than_is_read_at_once(self, url: str, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        titles = [str(number) for number in range(3 * BATCH)]
        await notify(sql, maria, *titles)
        async with listening(url, maria.token, after=0) as stream:
            assert await stream.titles(len(titles)) == titles

    async def test_an_id_that_is_yet_to_come_is_now(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        """It may be from before a backup was restored: otherwise all up to it would be missed."""
        maria = await make.user()
        [last] = await notify(sql, maria, "Old")
        async with listening(url, maria.token, after=2**63 - 1) as stream:
            assert stream.opening.id == str(last)
            await notify(sql, maria, "New")
            assert await stream.titles(1) == ["New"]

    @pytest.mark.parametrize("value", ["x", "-1", "1.5", str(2**63), "1_0", " "])
    async def test_what_is_no_id_is_refused(self, make: Make, container: Container, value: str) -> None:
        maria = await make.user()
        answer = await maria.api.get("/notifications/stream", headers={"Last-Event-ID": value})
        assert_problem(answer, 422, "invalid_input", "Last-Event-ID")
        answer = await maria.api.get("/notifications/stream", params={"last_event_id": value})
        assert_problem(answer, 422, "invalid_input", "?last_event_id")
        assert len(container.subscribers) == 0

    async def test_ids_are_committed_in_their_order(
        self, url: str, make: Make, sql: asyncpg.Connection, database_url: str
    ) -> None:
        """The first transaction to tell her is the last to end: the second waits, and has the larger id."""
        maria = await make.user()
        slow, quick = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
        try:
            async with listening(url, maria.token) as stream:
                transaction = slow.transaction()
                await transaction.start()
                # A column's default is drawn before the lock is there: that must not count.
                early = await quick.fetchval("SELECT nextval('notifications_id_seq')")
                [first] = await notify(slow, maria, "First")
                waiting = asyncio.create_task(notify(quick, maria, "Second", drawn=early))
                await self.until_blocked(sql)
                ana = await make.user()
                await notify(sql, ana, "Others do not wait")
                await transaction.commit()
                [second] = await waiting
                assert early < first < second
                assert await stream.titles(2) == ["First", "Second"]
            async with listening(url, maria.token, after=first) as stream:
                assert await stream.titles(1) == ["Second"]
        finally:
            await slow.close()
            await quick.close()

    @staticmethod
    async def until_blocked(sql: asyncpg.Connection) -> None:
        query = """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        for _ in range(12_000):
            if await sql.fetchval(query):
                return
            await asyncio.sleep(0.01)
        pytest.fail("nobody waits")

    async def test_no_gap_and_no_repeat_while_the_client_reconnects_under_load(
        self, url: str, make: Make, sql: asyncpg.Connection, database_url: str
    ) -> None:
        """Transactions that tell two people each, and last as they like; the client leaves at any moment."""
        maria, ana = await make.user(), await make.user()
        writers, each = 6, 25

        async def write(number: int) -> None:
            connection, chance = await asyncpg.connect(database_url), random.Random(number)
            try:
                for place in range(each):
                    async with connection.transaction():
                        # In the order of the users, as notifications/repository.py does it.
                        await notify(connection, maria, f"{number}/{place}")
                        await notify(connection, ana, f"{number}/{place}")
                        await asyncio.sleep(chance.random() * 0.01)
            finally:
                await connection.close()

        async def listen(person: Person) -> list[str]:
            chance, last = random.Random(person.id), 0
            heard: list[str] = []
            while len(heard) < writers * each:
                async with listening(url, person.token, after=last) as stream:
                    for _ in range(min(chance.randint(0, 20), writers * each - len(heard))):
                        event = await stream.event()
                        last, heard = int(event.id or 0), [*heard, event.data["title"]]
            return heard

        results = await asyncio.gather(listen(maria), listen(ana), *(write(each) for each in range(writers)))
        expected = sorted(f"{number}/{place}" for number in range(writers) for place in range(each))
        for heard in results[:2]:
            assert heard is not None
            assert sorted(heard) == expected


class TestEnd:
    async def test_with_the_token(
        self, url: str, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container.subscribers, "longest_seconds", 0.2)
        maria = await make.user()
        async with listening(url, maria.token) as stream:
            blocks = await stream.rest()
        assert [(block.comments, block.retry) for block in blocks] == [(["expired"], RETRY_MS)]

    async def test_it_lasts_no_longer_than_the_token(self, make: Make, container: Container) -> None:
        maria = await make.user()
        left = container.tokens.seconds_left(maria.token)
        assert 590 < left <= 600
        assert container.tokens.seconds_left("x.y.z") == 0
        stream = container.subscribers.open(maria.caller, "token", 5.0)
        assert 4 < stream._ends - asyncio.get_running_loop().time() <= 5
        stream.close()

    async def test_a_token_in_its_leeway_opens_none(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria = await make.user()
        later = time.time() + 610
        monkeypatch.setattr(container.tokens, "_clock", lambda: later)
        assert (await maria.api.get("/notifications")).status_code == 200
        assert_problem(await maria.api.get("/notifications/stream"), 401, "invalid_token")
        assert_problem(await maria.api.post("/notifications/stream-ticket"), 401, "invalid_token")
        assert len(container.subscribers) == 0

    @pytest.mark.parametrize("way", ["session", "all sessions", "deactivation", "password", "erasure"])
    @pytest.mark.parametrize("opener", ["token", "ticket"])
    async def test_with_the_access(self, url: str, make: Make, way: str, opener: str) -> None:
        maria, ana, ada = await make.user(), await make.user(), await make.admin()
        ticket = await ticket_of(maria) if opener == "ticket" else None
        token = None if ticket else maria.token
        async with listening(url, token, ticket=ticket) as hers, listening(url, ana.token) as other:
            ended = asyncio.create_task(reason_of_end(hers))
            if way == "session":
                answer = await maria.api.delete(f"/auth/sessions/{maria.caller.session_id}")
            elif way == "all sessions":
                answer = await maria.api.delete("/auth/sessions")
            elif way == "deactivation":
                answer = await ada.api.patch(f"/admin/users/{maria.id}", json={"is_active": False})
            elif way == "password":
                form = {"current_password": "correct-horse-1", "new_password": "battery-staple-2"}
                elsewhere = await make.signed_in_again(maria)
                answer = await elsewhere.api.post("/users/profile/password", json=form)
            else:
                password = {"current_password": "correct-horse-1"}
                answer = await maria.api.request("DELETE", "/users/profile", json=password)
            assert answer.is_success, answer.text
            assert await ended == "revoked"
            await make.notification(ana, title="Goes on")
            assert await other.titles(1) == ["Goes on"]

    async def test_not_with_what_changes_nothing_for_it(self, url: str, make: Make) -> None:
        maria, ada = await make.user(), await make.admin()
        elsewhere = await make.signed_in_again(maria)
        async with listening(url, maria.token) as stream:
            await ada.api.patch(f"/admin/users/{maria.id}", json={"is_admin": True})
            await maria.api.delete(f"/auth/sessions/{elsewhere.caller.session_id}")
            await make.notification(maria, title="Goes on")
            assert await stream.titles(1) == ["Goes on"]

    async def test_what_ends_the_access_while_it_is_opened_is_not_missed(
        self, make: Make, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria, real = await make.user(), container.subscribers.open

        def late(*arguments: object) -> object:
            container.revocations.on_change({"of": "sessions", "id": maria.caller.session_id})
            return real(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(container.subscribers, "open", late)
        assert_problem(await maria.api.get("/notifications/stream"), 401, "invalid_token")
        assert len(container.subscribers) == 0

    async def test_with_a_server_that_has_no_patience_left(self, app: FastAPI, make: Make) -> None:
        """As in development, where nobody tells the streams: their tasks are cancelled."""
        maria = await make.user()
        async with AsyncExitStack() as connection:
            async with served(app) as url:
                stream = await connection.enter_async_context(listening(url, maria.token))
            [last] = await stream.rest()
        assert last.comments == ["stopping"]

    async def test_a_client_that_leaves_is_noticed(self, url: str, make: Make, container: Container) -> None:
        maria = await make.user()
        before, counted = gauge("token"), REGISTRY.get_sample_value(ENDED, {"reason": "left"}) or 0
        async with listening(url, maria.token):
            assert (len(container.subscribers), gauge("token")) == (1, before + 1)
        await eventually(lambda: len(container.subscribers) == 0)
        assert gauge("token") == before
        assert REGISTRY.get_sample_value(ENDED, {"reason": "left"}) == counted + 1

    async def test_a_client_that_sends_more_than_a_request_is_shown_out(
        self, url: str, make: Make, container: Container
    ) -> None:
        maria, port = await make.user(), int(url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"GET {V1}/notifications/stream HTTP/1.1\r\nHost: shop.example\r\n"
        head += f"Authorization: Bearer {maria.token}\r\nTransfer-Encoding: chunked\r\n\r\n"
        size = container.settings.max_body_bytes + 1
        writer.write(head.encode() + f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        writer.close()
