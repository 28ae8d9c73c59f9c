"""Tickets: POST /notifications/stream-ticket, and the streams that they open."""

import asyncio
from datetime import timedelta

import asyncpg
import httpx2
import pytest
from structlog.testing import capture_logs

from service.container.api import Container
from service.notifications.streams import repository
from service.platform.crypto import fingerprint
from tests.helpers.client import V1, Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.streaming import gauge, listening, notify, reason_of_end, ticket_of
from tests.helpers.waiting import eventually


class TestTickets:
    async def test_it_opens_a_stream_of_its_maker(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        answer = await maria.api.post("/notifications/stream-ticket")
        assert (answer.status_code, answer.json()["expires_in"]) == (200, 30)
        assert answer.headers["cache-control"] == "private, no-store"
        ticket = answer.json()["ticket"]
        [row] = await sql.fetch("SELECT *, expires_at - now() AS lasts FROM stream_tickets")
        assert (row["hash"], row["session_id"]) == (fingerprint(ticket), maria.caller.session_id)
        assert 25 < row["lasts"].total_seconds() <= 30
        before = gauge("ticket")
        async with listening(url, ticket=ticket) as stream:
            assert gauge("ticket") == before + 1
            await notify(sql, maria, "A")
            assert await stream.titles(1) == ["A"]
        assert await sql.fetchval("SELECT count(*) FROM stream_tickets") == 0

    async def test_it_goes_on_after_an_id(self, url: str, make: Make, sql: asyncpg.Connection) -> None:
        maria = await make.user()
        ids = await notify(sql, maria, "A", "B")
        ticket = await ticket_of(maria)
        async with listening(url, ticket=ticket, query={"last_event_id": ids[0]}) as stream:
            assert await stream.titles(1) == ["B"]

    async def test_it_is_good_once(self, url: str, make: Make, api: Api) -> None:
        maria = await make.user()
        ticket = await ticket_of(maria)
        async with listening(url, ticket=ticket):
            answer = await api.get("/notifications/stream", params={"ticket": ticket})
            assert_problem(answer, 401, "invalid_token")

    async def test_of_many_who_use_it_at_once_one_is_admitted(
        self, url: str, make: Make, container: Container
    ) -> None:
        maria = await make.user()
        ticket = await ticket_of(maria)

        async def use() -> int:
            params = {"ticket": ticket}
            async with (
                httpx2.AsyncClient() as client,
                client.stream("GET", f"{url}{V1}/notifications/stream", params=params) as answer,
            ):
                return answer.status_code

        assert sorted(await asyncio.gather(*(use() for _ in range(8)))) == [200] + [401] * 7

    async def test_an_unknown_one_is_refused(self, api: Api) -> None:
        answer = await api.get("/notifications/stream", params={"ticket": "x" * 43})
        assert_problem(answer, 401, "invalid_token")
        assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'

    @pytest.mark.parametrize("ticket", ["", "x", "ü\0", "x" * 44, "x" * 43 + "\n", "x.y.z"])
    async def test_what_is_none_is_refused(self, api: Api, ticket: str) -> None:
        answer = await api.get("/notifications/stream", params={"ticket": ticket})
        assert_problem(answer, 422, "invalid_input", "?ticket")

    async def test_it_authenticates_the_user_who_created_it(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, ana = await make.user(), await make.user()
        async with listening(url, ana.token, ticket=await ticket_of(maria)) as stream:
            await notify(sql, ana, "For Ana")
            await notify(sql, maria, "For Maria")
            assert await stream.titles(1) == ["For Maria"]

    @pytest.mark.parametrize("what", ["expires_at", "token_ends_at"])
    async def test_it_expires_and_so_does_its_token(
        self, make: Make, api: Api, sql: asyncpg.Connection, what: str
    ) -> None:
        maria = await make.user()
        ticket = await ticket_of(maria)
        await sql.execute(f"UPDATE stream_tickets SET {what} = now() - interval '1 ms'")
        answer = await api.get("/notifications/stream", params={"ticket": ticket})
        assert_problem(answer, 401, "invalid_token")

    @pytest.mark.parametrize(
        "end", ["UPDATE sessions SET ended_at = now()", "UPDATE users SET is_active = false"]
    )
    async def test_it_is_void_with_its_session(
        self, make: Make, api: Api, sql: asyncpg.Connection, end: str
    ) -> None:
        maria = await make.user()
        ticket = await ticket_of(maria)
        await sql.execute(end)
        answer = await api.get("/notifications/stream", params={"ticket": ticket})
        assert_problem(answer, 401, "invalid_token")

    async def test_the_stream_ends_with_the_token_it_was_made_with(
        self, url: str, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        ticket = await ticket_of(maria)
        await sql.execute("UPDATE stream_tickets SET token_ends_at = now() + interval '300 ms'")
        async with listening(url, ticket=ticket) as stream:
            assert await reason_of_end(stream) == "expired"

    async def test_it_is_in_no_line_of_the_log(self, url: str, make: Make, container: Container) -> None:
        maria = await make.user()
        ticket = await ticket_of(maria)
        with capture_logs() as lines:
            async with listening(url, ticket=ticket):
                pass
            await eventually(lambda: any(line["event"] == "request.answered" for line in lines))
            async with httpx2.AsyncClient() as client:
                await client.get(f"{url}{V1}/notifications/stream", params={"ticket": ticket})
        assert [line["route"] for line in lines if line["event"] == "request.answered"] == [
            f"{V1}/notifications/stream"
        ] * 2
        assert ticket not in str(lines)

    async def test_expired_ones_are_cleared_away(
        self, make: Make, container: Container, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        old, good = await ticket_of(maria), await ticket_of(maria)
        await sql.execute(
            "UPDATE stream_tickets SET expires_at = now() - interval '1 s' WHERE hash = $1", fingerprint(old)
        )
        async with container.database.transaction() as session:
            assert await repository.purge_tickets(session, timedelta(0), most=10) == 1
        assert await sql.fetchval("SELECT hash FROM stream_tickets") == fingerprint(good)
