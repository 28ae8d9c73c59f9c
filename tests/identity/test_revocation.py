"""Whether a valid token still authenticates a user: by what the process knows, or by the database."""

import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import asyncpg
import pytest
from cachetools import TTLCache
from pydantic import SecretStr

from service.container.api import Container
from service.errors import InvalidToken, Unavailable
from service.identity import Caller, authenticate_session
from service.identity import repository as sessions
from service.identity.revocation import REMEMBERED_SECONDS, Revocations
from service.identity.revocation import recent as recent_of
from service.identity.tokens import ACCESS_TOKEN_SECONDS, LEEWAY_SECONDS
from service.platform.config import Settings
from service.platform.database import READ_ONLY, Database, Session
from service.platform.database import change_feed as changes
from service.platform.database.change_feed import ChangeFeed
from tests.helpers.application import app_of
from tests.helpers.client import Api
from tests.helpers.clock import Clock
from tests.helpers.factories import Make, Person
from tests.helpers.statements import statements

Admit = Callable[[Caller], Awaitable[Caller]]

MARIA = Caller(user_id=7, session_id=70, is_admin=False)
ADA = Caller(user_id=8, session_id=80, is_admin=True)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recent(clock: Clock) -> TTLCache[int, str]:
    return recent_of(clock)


@pytest.fixture
def access(container: Container, sql: asyncpg.Connection) -> Revocations:
    return Revocations(container.database)


def user_change(user_id: int, *, is_active: bool = True, is_admin: bool = False) -> dict[str, Any]:
    return {"of": "users", "id": user_id, "is_active": is_active, "is_admin": is_admin}


class TestRecent:
    def test_is_kept_until_no_token_from_before_is_good(self) -> None:
        """A token signed on a clock that is LEEWAY ahead is taken until LEEWAY after its end."""
        assert REMEMBERED_SECONDS == ACCESS_TOKEN_SECONDS + 2 * LEEWAY_SECONDS

    def test_what_was_put_in_first_goes_first(self, recent: TTLCache[int, str], clock: Clock) -> None:
        recent[1] = "one"
        clock.now += 1
        recent[2] = "two"
        clock.now += REMEMBERED_SECONDS - 1.5
        recent[3] = "three"
        assert (recent.get(1), recent.get(2), len(recent)) == ("one", "two", 3)
        clock.now += 0.5
        recent[4] = "four"
        assert (recent.get(1), recent.get(2), recent.get(3), len(recent)) == (None, "two", "three", 3)

    def test_all_that_is_old_goes_at_once(self, recent: TTLCache[int, str], clock: Clock) -> None:
        for number in range(100):
            recent[number] = "old"
        clock.now += REMEMBERED_SECONDS
        recent[100] = "new"
        assert (len(recent), recent.get(100)) == (1, "new")

    def test_a_second_change_is_remembered_as_long_as_a_first(
        self, recent: TTLCache[int, str], clock: Clock
    ) -> None:
        recent[1] = "one"
        recent[2] = "two"
        clock.now += REMEMBERED_SECONDS - 1
        recent[1] = "uno"
        clock.now += 1
        recent[3] = "three"
        assert (recent.get(1), recent.get(2), len(recent)) == ("uno", None, 2)

    def test_what_is_there_can_be_kept(self, recent: TTLCache[int, str]) -> None:
        recent[1] = "heard"
        recent.setdefault(1, "loaded")
        recent.setdefault(2, "loaded")
        assert (recent.get(1), recent.get(2)) == ("heard", "loaded")

    def test_clear(self, recent: TTLCache[int, str]) -> None:
        recent[1] = "one"
        recent.clear()
        assert (recent.get(1), len(recent)) == (None, 0)


class TestHeard:
    def test_who_has_not_changed_is_whom_the_token_names(self, access: Revocations) -> None:
        access.on_change(user_change(9, is_active=False))
        access.on_change({"of": "sessions", "id": 90})
        access.on_change({"of": "items", "id": 7})
        assert access.apply(MARIA) is MARIA
        assert access.apply(ADA) is ADA

    def test_an_ended_session_is_not_authenticated(self, access: Revocations) -> None:
        access.on_change({"of": "sessions", "id": MARIA.session_id})
        with pytest.raises(InvalidToken):
            access.apply(MARIA)
        # The others of the same user go on.
        assert access.apply(replace(MARIA, session_id=71)).user_id == MARIA.user_id

    def test_a_deactivated_user_is_authenticated_by_no_session(self, access: Revocations) -> None:
        access.on_change(user_change(MARIA.user_id, is_active=False, is_admin=True))
        for session_id in (70, 71):
            with pytest.raises(InvalidToken):
                access.apply(replace(MARIA, session_id=session_id))

    def test_a_role_is_the_one_of_the_last_change_and_not_the_tokens(self, access: Revocations) -> None:
        access.on_change(user_change(ADA.user_id, is_admin=False))
        assert access.apply(ADA) == replace(ADA, is_admin=False)
        access.on_change(user_change(ADA.user_id, is_admin=True))
        assert access.apply(ADA) == ADA
        assert access.apply(replace(ADA, is_admin=False)) == ADA

    def test_reactivating_does_not_bring_ended_sessions_back(self, access: Revocations) -> None:
        access.on_change(user_change(MARIA.user_id, is_active=False))
        access.on_change({"of": "sessions", "id": MARIA.session_id})
        access.on_change(user_change(MARIA.user_id, is_active=True))
        with pytest.raises(InvalidToken):
            access.apply(MARIA)

    @pytest.mark.parametrize("change", [{}, {"of": "users"}, {"of": "users", "id": 7}, {"of": "sessions"}])
    def test_half_a_change_is_not_passed_over(self, access: Revocations, change: dict[str, Any]) -> None:
        """The feed then reads everything anew."""
        with pytest.raises(KeyError):
            access.on_change(change)


class TestLoaded:
    async def test_the_changes_of_the_last_token_lifetime(
        self, access: Revocations, make: Make, sql: asyncpg.Connection
    ) -> None:
        gone, former, ended, same = [await make.user(is_admin=True) for _ in range(4)]
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", gone.id)
        await sql.execute("UPDATE users SET is_admin = false WHERE id = $1", former.id)
        await sql.execute("UPDATE sessions SET ended_at = now() WHERE user_id = $1", ended.id)
        await access.load()
        for person in (gone, ended):
            with pytest.raises(InvalidToken):
                access.apply(person.caller)
        assert access.apply(former.caller).is_admin is False
        assert access.apply(same.caller) is same.caller

    @pytest.mark.parametrize(
        ("seconds", "held"), [(REMEMBERED_SECONDS - 30, True), (REMEMBERED_SECONDS, False)]
    )
    async def test_none_of_which_every_token_has_ended(
        self, access: Revocations, make: Make, sql: asyncpg.Connection, seconds: float, held: bool
    ) -> None:
        gone, ended = await make.user(), await make.user()
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", gone.id)
        past = f"now() - interval '{seconds} seconds'"
        await sql.execute(f"UPDATE users SET access_changed_at = {past} WHERE id = $1", gone.id)
        await sql.execute(f"UPDATE sessions SET ended_at = {past} WHERE user_id = $1", ended.id)
        await access.load()
        assert (len(access._users), len(access._ended)) == ((1, 1) if held else (0, 0))

    async def test_a_change_received_during_the_read_is_newer(
        self, access: Revocations, make: Make, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maria = await make.user()
        await sql.execute("UPDATE users SET is_active = false")
        read = sessions.get_access_changes

        async def slowly(session: Session, seconds: float) -> Any:
            rows = await read(session, seconds)
            access.on_change(user_change(maria.id, is_active=True, is_admin=True))
            access.on_change({"of": "sessions", "id": 4711})
            return rows

        monkeypatch.setattr(sessions, "get_access_changes", slowly)
        await access.load()
        assert access.apply(maria.caller) == replace(maria.caller, is_admin=True)
        with pytest.raises(InvalidToken):
            access.apply(replace(maria.caller, session_id=4711))

    async def test_what_was_held_before_is_dropped(
        self, access: Revocations, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        access.on_change(user_change(maria.id, is_active=False))
        await access.load()
        assert access.apply(maria.caller) is maria.caller


class TestAuthenticateSession:
    """Under the lease from what is held, without it by the database."""

    @pytest.fixture
    def feed(self, container: Container) -> ChangeFeed:
        """One that was never started: there is no lease."""
        url = container.settings.database_url
        assert url is not None
        return ChangeFeed(url.get_secret_value(), (), container.database.notify)

    @pytest.fixture
    def nowhere(self, settings: Settings) -> Iterator[Database]:
        """A database that refuses connections."""
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            yield Database(f"postgresql+asyncpg://user:word@127.0.0.1:{port}/nothing", settings)

    @pytest.fixture
    def without_lease(self, container: Container, feed: ChangeFeed, access: Revocations) -> Admit:
        return partial(authenticate_session, container.database, feed, access)

    async def test_under_the_lease_nothing_is_asked(
        self, nowhere: Database, feed: ChangeFeed, access: Revocations, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ChangeFeed, "has_lease", True)
        assert await authenticate_session(nowhere, feed, access, MARIA) is MARIA
        access.on_change({"of": "sessions", "id": MARIA.session_id})
        with pytest.raises(InvalidToken):
            await authenticate_session(nowhere, feed, access, MARIA)

    async def test_without_it_what_is_held_counts_for_nothing(
        self, without_lease: Admit, access: Revocations, make: Make, sql: asyncpg.Connection
    ) -> None:
        ada = await make.admin()
        assert await without_lease(ada.caller) == ada.caller
        access.on_change(user_change(ada.id, is_active=False))
        assert await without_lease(ada.caller) == ada.caller
        await sql.execute("UPDATE users SET is_admin = false")
        assert await without_lease(ada.caller) == replace(ada.caller, is_admin=False)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE users SET is_active = false WHERE id = $1",
            "UPDATE sessions SET ended_at = now() WHERE user_id = $1",
            "DELETE FROM sessions WHERE user_id = $1",
            "DELETE FROM users WHERE id = $1",
        ],
    )
    async def test_without_it_a_user_who_lost_access_is_refused(
        self, without_lease: Admit, make: Make, sql: asyncpg.Connection, change: str
    ) -> None:
        maria, other = await make.user(), await make.user()
        await sql.execute(change, maria.id)
        with pytest.raises(InvalidToken):
            await without_lease(maria.caller)
        assert await without_lease(other.caller) == other.caller

    async def test_without_it_another_persons_session_is_nobodys(
        self, without_lease: Admit, make: Make
    ) -> None:
        maria, other = await make.user(), await make.user()
        with pytest.raises(InvalidToken):
            await without_lease(replace(maria.caller, session_id=other.caller.session_id))

    async def test_without_it_and_without_the_database_no_caller_is_authenticated(
        self, nowhere: Database, feed: ChangeFeed, access: Revocations
    ) -> None:
        with pytest.raises(Unavailable):
            await authenticate_session(nowhere, feed, access, MARIA)


#: The queries of the process for its own metrics.
PING = READ_ONLY


class TestCost:
    @pytest.fixture
    async def maria(self, make: Make) -> Person:
        return await make.user()

    async def test_a_signed_in_read_asks_the_database_for_what_is_read_alone(
        self, maria: Person, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first request that a new process sees, by a token that it has never seen; then warm ones.

        However slow the machine is: without a lease it would rightly be asked once more.
        """
        monkeypatch.setattr(changes, "START_SECONDS", 60.0)
        monkeypatch.setattr(changes, "LEASE_SECONDS", 60.0)

        async def never(*_: object, **__: object) -> NoReturn:
            pytest.fail("who is calling was asked of the database")

        monkeypatch.setattr(sessions, "get_caller", never)
        app = app_of(settings)
        async with app.router.lifespan_context(app), Api.of(app, maria.token) as client:
            with statements(app.state.container.database) as seen:
                for _ in range(3):
                    assert (await client.get("/users/profile")).status_code == 200
                    assert len(seen) == 1, seen
                    assert "FROM users" in seen.pop()

    async def test_one_without_a_lease_asks_once_more(self, maria: Person, settings: Settings) -> None:
        nowhere = SecretStr("postgresql+asyncpg://user:word@127.0.0.1:1/nothing")
        app = app_of(settings.model_copy(update={"database_direct_url": nowhere}))
        async with app.router.lifespan_context(app), Api.of(app, maria.token) as client:
            with statements(app.state.container.database) as seen:
                assert (await client.get("/users/profile")).status_code == 200
            assert len(seen) == 2, seen
