import asyncio
from typing import Any

import asyncpg
import pytest

from service.accounts.recovery import repository as tokens
from service.container.api import Container
from service.errors import Unavailable
from service.platform.database import Database
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.mailbox import mails_to, send_mails, text_of
from tests.helpers.recovering import (
    NEW_PASSWORD,
    ask_change,
    assert_bad_token,
    audited,
    confirm,
    row,
    turn_passes,
)

NEW = "maria.new@shop.example"


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


@pytest.fixture(autouse=True)
async def no_mails_yet(container: Container) -> None:
    """The address of all these tests is the same."""
    for file in (container.settings.data_dir / "mail").glob("*.eml"):
        file.unlink()


async def subjects(container: Container, address: str) -> list[str]:
    return [mail["Subject"] for mail in await mails_to(container, address)]


class TestAskForTheChange:
    async def test_the_old_address_stays_until_the_new_one_answers(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        before = await row(sql, maria)
        answer = await maria.api.patch(
            "/users/profile", json={"email": NEW, "current_password": PASSWORD, "full_name": "Maria"}
        )
        assert answer.status_code == 200
        profile = answer.json()
        assert (profile["email"], profile["full_name"]) == (maria.email, "Maria")
        assert await row(sql, maria) == {**before, "version": before["version"] + 1}
        [mail] = await mails_to(container, NEW)
        assert mail["Subject"] == "Confirm your new e-mail address"
        assert maria.email not in text_of(mail)
        assert await subjects(container, maria.email) == []
        assert PASSWORD not in answer.text

    @pytest.mark.parametrize(
        ("body", "fault"),
        [
            ({"email": NEW}, ("/current_password", "missing")),
            ({"email": NEW, "current_password": "wrong-1"}, ("/current_password", "wrong_password")),
            ({"email": NEW, "current_password": "\0"}, ("/current_password", "wrong_password")),
            ({"email": NEW, "current_password": None}, ("/current_password", "wrong_type")),
            ({"email": None, "current_password": PASSWORD}, ("/email", "wrong_type")),
            ({"email": "maria", "current_password": PASSWORD}, ("/email", "invalid_email")),
        ],
    )
    async def test_bad_input(
        self,
        maria: Person,
        sql: asyncpg.Connection,
        body: dict[str, Any],
        fault: tuple[str, str],
        container: Container,
    ) -> None:
        before = await row(sql, maria)
        answer = await maria.api.patch("/users/profile", json={**body, "full_name": "Eve"})
        problem = assert_problem(answer, 422, "invalid_input", fault[0])
        assert problem["errors"][0]["code"] == fault[1]
        assert await row(sql, maria) == before
        assert await subjects(container, NEW) == []

    async def test_an_address_that_is_taken(
        self, make: Make, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        other = await make.user()
        body = {"email": other.email.upper(), "current_password": PASSWORD, "full_name": "Eve"}
        before = await row(sql, maria)
        assert_problem(await maria.api.patch("/users/profile", json=body), 409, "email_taken")
        assert await row(sql, maria) == before
        assert await subjects(container, other.email) == []

    async def test_that_it_is_taken_is_revealed_only_with_the_password(
        self, make: Make, maria: Person
    ) -> None:
        other = await make.user()
        answer = await maria.api.patch("/users/profile", json={"email": other.email})
        assert_problem(answer, 422, "invalid_input", "/current_password")

    async def test_the_address_that_it_is_already_changes_nothing(
        self, maria: Person, container: Container
    ) -> None:
        answer = await maria.api.patch("/users/profile", json={"email": maria.email})
        assert (answer.status_code, answer.json()["email"]) == (200, maria.email)
        assert await subjects(container, maria.email) == []

    async def test_no_mail_where_nothing_is_committed(
        self, maria: Person, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def lost(session: object) -> None:
            raise Unavailable("lost")

        monkeypatch.setattr(Database, "_commit", staticmethod(lost))
        body = {"email": NEW, "current_password": PASSWORD}
        assert_problem(await maria.api.patch("/users/profile", json=body), 503, "unavailable")
        monkeypatch.undo()
        assert await subjects(container, NEW) == []

    async def test_no_mail_where_the_password_has_changed_meanwhile(
        self, maria: Person, container: Container, sql: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may, lookup = asyncio.Event(), tokens.get_account

        async def held(session: Any, user_id: int, *, lock: bool = False) -> Any:
            if lock:
                await may.wait()
            return await lookup(session, user_id, lock=lock)

        monkeypatch.setattr(tokens, "get_account", held)
        body = {"email": NEW, "current_password": PASSWORD}
        assert (await maria.api.patch("/users/profile", json=body)).status_code == 200
        await sql.execute("UPDATE users SET password_hash = 'new' WHERE id = $1", maria.id)
        may.set()
        assert await subjects(container, NEW) == []

    async def test_strangers_who_ask_for_the_mailbox_withhold_nothing_from_its_owner(
        self, api: Api, make: Make, maria: Person, container: Container
    ) -> None:
        strangers = [await make.user() for _ in range(4)]
        for person in [*strangers, *strangers]:
            body = {"email": NEW, "current_password": PASSWORD}
            assert (await person.api.patch("/users/profile", json=body)).status_code == 200
        assert len(await mails_to(container, NEW)) == 4
        assert (await confirm(api, await ask_change(container, maria, NEW))).status_code == 204

    async def test_one_mail_every_fifteen_minutes_for_an_account_and_a_mailbox(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        for email, count in ((NEW, 1), (NEW.title(), 1), ("maria.other@shop.example", 2)):
            body = {"email": email, "current_password": PASSWORD}
            await maria.api.patch("/users/profile", json=body)
            await send_mails(container)
            assert len(list((container.settings.data_dir / "mail").glob("*.eml"))) == count
        await turn_passes(sql)
        await ask_change(container, maria, NEW)
        assert len(await mails_to(container, NEW)) == 2

    async def test_an_account_writes_to_eight_mailboxes_a_day(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        async def ask(number: int) -> int:
            body = {"email": f"m{number}@shop.example", "current_password": PASSWORD}
            await maria.api.patch("/users/profile", json=body)
            await send_mails(container)
            return len(list((container.settings.data_dir / "mail").glob("*.eml")))

        assert [await ask(number) for number in range(10)] == [*range(1, 9), 8, 8]
        await sql.execute("UPDATE mails SET ended_at = ended_at - interval '1 day'")
        assert await ask(10) == 9


class TestConfirmTheChange:
    async def test_the_address_is_changed_and_verified(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_change(container, maria, NEW)
        before = await row(sql, maria)
        answer = await confirm(api, token)
        assert (answer.status_code, answer.content) == (204, b"")
        changed = {"email": NEW, "email_verified": True, "version": before["version"] + 1}
        assert await row(sql, maria) == {**before, **changed}
        assert await audited(sql, maria) == ["email.changed"]
        assert await subjects(container, maria.email) == [
            "The e-mail address of your account has been changed"
        ]
        assert await subjects(container, NEW) == ["Confirm your new e-mail address"]
        assert (await api.token(NEW, PASSWORD)).status_code == 200
        assert (await api.token(maria.email, PASSWORD)).status_code == 400

    async def test_it_ends_every_session_of_the_account(
        self, api: Api, make: Make, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        other = await make.user()
        token = await ask_change(container, maria, NEW)
        # The session that confirms belongs to another user, not to the account.
        assert (await confirm(other.api, token)).status_code == 204
        open_now = await sql.fetch("SELECT user_id FROM sessions WHERE ended_at IS NULL")
        assert [session["user_id"] for session in open_now] == [other.id]

    async def test_but_for_the_one_that_asks(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        await api.token(maria.email, PASSWORD)
        assert (await confirm(maria.api, await ask_change(container, maria, NEW))).status_code == 204
        open_now = await sql.fetch("SELECT id FROM sessions WHERE ended_at IS NULL")
        assert [session["id"] for session in open_now] == [maria.caller.session_id]
        assert (await maria.api.get("/users/profile")).json()["email"] == NEW

    async def test_an_address_that_was_taken_meanwhile(
        self, api: Api, make: Make, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_change(container, maria, NEW)
        await make.user(email=NEW.title())
        before = await row(sql, maria)
        assert_problem(await confirm(api, token), 409, "email_taken")
        assert await row(sql, maria) == before
        assert await audited(sql, maria) == []
        assert (await maria.api.get("/users/profile")).status_code == 200

    async def test_only_the_case_of_an_address_may_change(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        upper = maria.email.replace("person", "PERSON")
        assert (await confirm(api, await ask_change(container, maria, upper))).status_code == 204
        assert (await row(sql, maria))["email"] == upper

    async def test_of_two_for_one_address_at_once_one_wins(
        self, api: Api, make: Make, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        other = await make.user()
        first, second = await ask_change(container, maria, NEW), await ask_change(container, other, NEW)
        answers = await asyncio.gather(confirm(api, first), confirm(api, second))
        assert sorted(answer.status_code for answer in answers) == [204, 409]
        assert await sql.fetchval("SELECT count(*) FROM users WHERE email = $1", NEW) == 1

    async def test_of_two_addresses_for_one_account_at_once_one_wins(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        first = await ask_change(container, maria, NEW)
        second = await ask_change(container, maria, "maria.third@shop.example")
        answers = await asyncio.gather(confirm(api, first), confirm(api, second))
        assert sorted(answer.status_code for answer in answers) == [204, 422]
        assert await audited(sql, maria) == ["email.changed"]

    async def test_a_token_is_good_once_and_until_the_password_changes(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        used, void = await ask_change(container, maria, NEW), await ask_change(container, maria, NEW)
        change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        assert (await maria.api.post("/users/profile/password", json=change)).status_code == 204
        assert_bad_token(await confirm(api, void))
        body = {"email": NEW, "current_password": NEW_PASSWORD}
        assert (await maria.api.patch("/users/profile", json=body)).status_code == 200
        assert_bad_token(await confirm(api, used))
        assert (await row(sql, maria))["email"] == maria.email


class TestTellOfCredentials:
    async def test_the_owner_of_a_new_api_key_gets_an_email(self, make: Make, container: Container) -> None:
        ada = await make.admin()
        new = {"name": "ERP <script>", "scopes": ["orders:read"]}
        made = (await ada.api.post("/api-keys", json=new)).json()
        [mail] = await mails_to(container, ada.email)
        assert mail["Subject"] == "A new API key"
        assert f'"ERP <script>" ({made["hint"]}...)' in text_of(mail)
        assert made["key"] not in mail.as_string()
        assert "<script>" not in mail.as_string().partition("text/html")[2]

    async def test_a_changed_password_is_confirmed_by_email(
        self, maria: Person, container: Container
    ) -> None:
        change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        assert (await maria.api.post("/users/profile/password", json=change)).status_code == 204
        [mail] = await mails_to(container, maria.email)
        assert mail["Subject"] == "Your password has been changed"
        assert NEW_PASSWORD not in mail.as_string()

    async def test_a_refused_change_is_not(self, maria: Person, container: Container) -> None:
        change = {"current_password": "wrong-horse-1", "new_password": NEW_PASSWORD}
        assert (await maria.api.post("/users/profile/password", json=change)).status_code == 422
        assert await mails_to(container, maria.email) == []
