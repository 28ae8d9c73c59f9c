import asyncio
import json
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from structlog.testing import capture_logs

from service.container.api import Container
from service.platform.mail.transports import Undelivered
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.mailbox import mailed_token, mails_to, send_mails
from tests.helpers.recovering import (
    NEW_PASSWORD,
    ask_change,
    ask_reset,
    ask_verification,
    assert_bad_token,
    audited,
    confirm,
    reset,
    row,
    turn_passes,
)
from tests.helpers.statements import statements
from tests.platform.mail.test_sending import Refusing

#: As long as a good one.
UNKNOWN = "A" * 43


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


@pytest.fixture
def subjects(container: Container) -> Callable[..., Any]:
    async def of(address: str) -> list[str]:
        return [mail["Subject"] for mail in await mails_to(container, address)]

    return of


async def works(person: Person) -> bool:
    return (await person.api.get("/users/profile")).status_code == 200


class TestRequestPasswordReset:
    async def test_the_response_does_not_reveal_whether_an_account_exists(
        self, api: Api, make: Make, maria: Person, subjects: Callable[..., Any]
    ) -> None:
        gone = await make.user(is_active=False)
        answers = [
            await api.post("/auth/password-reset", json={"email": email})
            for email in (maria.email, "nobody@shop.example", gone.email)
        ]
        for answer in answers:
            assert (answer.status_code, answer.content) == (202, b"")
            assert set(answer.headers) == set(answers[0].headers)
        assert await subjects(maria.email) == ["Reset your password"]
        assert await subjects("nobody@shop.example") == []
        assert await subjects(gone.email) == []

    async def test_the_request_looks_no_account_up(
        self, api: Api, maria: Person, container: Container, subjects: Callable[..., Any]
    ) -> None:
        """It makes the same statements for both, and none of them names the table."""
        with statements(container.database) as asked:
            counts = []
            for email in (maria.email, "nobody@shop.example"):
                assert (await api.post("/auth/password-reset", json={"email": email})).status_code == 202
                counts.append(len(asked))
        assert counts == [1, 2]
        assert asked[0] == asked[1]
        assert "users" not in asked[0]
        assert await subjects(maria.email) == ["Reset your password"]

    async def test_an_address_is_encrypted_until_it_is_known_to_have_no_account(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        for email in (maria.email, "nobody@shop.example"):
            await api.post("/auth/password-reset", json={"email": email})
        stored = str(await sql.fetch("SELECT * FROM mails")) + str(await sql.fetch("SELECT * FROM pgqueuer"))
        assert "shop.example" not in stored
        assert b"shop.example" not in b"".join(
            [row["address"] for row in await sql.fetch("SELECT address FROM mails")]
        )
        await send_mails(container)
        rows = await sql.fetch("SELECT user_id, kind, status, address, facts FROM mails")
        assert [tuple(row) for row in rows] == [(maria.id, "reset_password", "sent", None, "{}")]

    async def test_in_any_case_and_to_the_address_that_is_stored(
        self, api: Api, make: Make, subjects: Callable[..., Any]
    ) -> None:
        maria = await make.user(email="Maria.Stored@shop.example")
        await api.post("/auth/password-reset", json={"email": "mARIA.sTORED@shop.EXAMPLE"})
        assert await subjects(maria.email) == ["Reset your password"]

    async def test_a_stranger_who_asks_first_does_not_withhold_the_owner_s_mail(
        self, api: Api, make: Make, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        """One mail every 15 minutes, as long as a token is good; and that of the last one is good."""
        other = await make.user()
        for turn in (1, 2, 3):
            for email in [maria.email.upper()] * 5 + [other.email]:
                answer = await api.post("/auth/password-reset", json={"email": email})
                assert answer.status_code == 202
            assert [len(await mails_to(container, person.email)) for person in (maria, other)] == [turn, turn]
            # Some of them have waited for the outcome of the first.
            await sql.execute("UPDATE pgqueuer SET execute_after = now()")
            token = await mailed_token(container, maria.email)
            assert [len(await mails_to(container, person.email)) for person in (maria, other)] == [turn, turn]
            await turn_passes(sql)
        assert (await reset(api, token)).status_code == 204

    async def test_what_is_withheld_is_logged_without_the_address(
        self, api: Api, maria: Person, container: Container
    ) -> None:
        await ask_reset(container, maria)
        with capture_logs() as logs:
            await ask_reset(container, maria)
        withheld = [line for line in logs if line["event"] == "mail.withheld"]
        assert [(line["kind"], line["user_id"], line["reason"]) for line in withheld] == [
            ("reset_password", maria.id, "too many lately")
        ]
        assert maria.email not in repr(logs)

    async def test_a_stranger_s_request_does_not_void_the_token_that_was_mailed(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_reset(container, maria)
        for _ in range(2):
            await turn_passes(sql)
            await ask_reset(container, maria)
        assert (await reset(api, token)).status_code == 204

    async def test_one_even_where_many_ask_at_once(
        self, api: Api, maria: Person, sql: asyncpg.Connection, subjects: Callable[..., Any]
    ) -> None:
        body = {"email": maria.email}
        await asyncio.gather(*(api.post("/auth/password-reset", json=body) for _ in range(8)))
        for _ in range(2):
            assert await subjects(maria.email) == ["Reset your password"]
            # Some have waited for the outcome of the first.
            await sql.execute("UPDATE pgqueuer SET execute_after = now()")
        assert [row["status"] for row in await sql.fetch("SELECT status FROM mails")] == ["sent"]

    async def test_a_mail_that_failed_does_not_count(
        self, api: Api, maria: Person, container: Container, subjects: Callable[..., Any]
    ) -> None:
        body = {"email": maria.email}
        await api.post("/auth/password-reset", json=body)
        await send_mails(container, Refusing(Undelivered("550", passing=False)))
        await api.post("/auth/password-reset", json=body)
        assert await subjects(maria.email) == ["Reset your password"]

    async def test_the_token_is_not_stored(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_reset(container, maria)
        stored = await sql.fetchrow("SELECT * FROM mail_tokens WHERE user_id = $1", maria.id)
        assert stored is not None
        assert (len(stored["hash"]), len(stored["account_state"])) == (32, 32)
        assert token not in repr(stored)
        assert (stored["purpose"], stored["email"], stored["used_at"]) == (
            "reset_password",
            maria.email,
            None,
        )
        assert (stored["expires_at"] - stored["created_at"]).total_seconds() == 900

    async def test_the_log_has_neither_address_nor_token(self, maria: Person, container: Container) -> None:
        with capture_logs() as logs:
            token = await ask_reset(container, maria)
            assert (await reset(maria.api, token)).status_code == 204
            await send_mails(container)
        assert [line["kind"] for line in logs if line["event"] == "mail.written"] == [
            "reset_password",
            "password_reset",
        ]
        assert maria.email not in repr(logs)
        assert token not in repr(logs)

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, "/email"),
            ({"email": "nobody"}, "/email"),
            ({"email": "a@shop.example\r\nBcc: b@shop.example"}, "/email"),
            ({"email": "a@shop.example", "x": 1}, "/x"),
        ],
    )
    async def test_bad_input(self, api: Api, body: dict[str, Any], pointer: str) -> None:
        assert_problem(await api.post("/auth/password-reset", json=body), 422, "invalid_input", pointer)


class TestResetPassword:
    async def test_sets_the_password_and_ends_every_session(
        self,
        api: Api,
        maria: Person,
        container: Container,
        sql: asyncpg.Connection,
        subjects: Callable[..., Any],
    ) -> None:
        answer = await reset(api, await ask_reset(container, maria))
        assert (answer.status_code, answer.content) == (204, b"")
        assert (await api.token(maria.email, PASSWORD)).status_code == 400
        assert (await api.token(maria.email, NEW_PASSWORD)).status_code == 200
        ended = await sql.fetch("SELECT ended_at IS NOT NULL AS ended FROM sessions ORDER BY id")
        assert [session["ended"] for session in ended] == [True, False]
        assert (await row(sql, maria))["email_verified"] is True
        assert await audited(sql, maria) == ["password.reset", "email.verified"]
        assert await subjects(maria.email) == ["Reset your password", "Your password has been reset"]

    async def test_an_address_that_is_verified_is_not_verified_again(
        self, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        await sql.execute("UPDATE users SET email_verified = true WHERE id = $1", maria.id)
        await reset(maria.api, await ask_reset(container, maria))
        assert await audited(sql, maria) == ["password.reset"]

    async def test_a_token_is_good_once(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_reset(container, maria)
        await reset(api, token)
        before = await row(sql, maria)
        assert_bad_token(await reset(api, token, "something-else-3"))
        assert await row(sql, maria) == before

    async def test_for_fifteen_minutes(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_reset(container, maria)
        before = await row(sql, maria)
        await sql.execute("UPDATE mail_tokens SET expires_at = now()")
        assert_bad_token(await reset(api, token))
        assert await row(sql, maria) == before
        assert await works(maria)

    async def test_using_one_voids_the_others(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        first = await ask_reset(container, maria)
        await turn_passes(sql)
        second = await ask_reset(container, maria)
        assert (await reset(api, first)).status_code == 204
        before = await row(sql, maria)
        assert_bad_token(await reset(api, second, "something-else-3"))
        assert await row(sql, maria) == before

    async def test_changing_the_password_voids_them(self, maria: Person, container: Container) -> None:
        token = await ask_reset(container, maria)
        change = {"current_password": PASSWORD, "new_password": "something-else-3"}
        assert (await maria.api.post("/users/profile/password", json=change)).status_code == 204
        assert_bad_token(await reset(maria.api, token))

    async def test_changing_the_address_voids_them(
        self, api: Api, maria: Person, container: Container
    ) -> None:
        token = await ask_reset(container, maria)
        assert (await confirm(api, await ask_change(container, maria, "m1@shop.example"))).status_code == 204
        assert_bad_token(await reset(api, token))

    async def test_verifying_the_address_does_not(
        self, api: Api, maria: Person, container: Container
    ) -> None:
        token = await ask_reset(container, maria)
        assert (await confirm(api, await ask_verification(container, maria))).status_code == 204
        assert (await reset(api, token)).status_code == 204

    async def test_a_deactivated_account_stays_closed(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_reset(container, maria)
        await sql.execute("UPDATE users SET is_active = false WHERE id = $1", maria.id)
        before = await row(sql, maria)
        assert_bad_token(await reset(api, token))
        assert await row(sql, maria) == before

    async def test_of_two_at_once_one_wins(
        self,
        api: Api,
        maria: Person,
        container: Container,
        sql: asyncpg.Connection,
        subjects: Callable[..., Any],
    ) -> None:
        """With one token, and with two: neither may be good after the other."""
        token = await ask_reset(container, maria)
        await turn_passes(sql)
        other = await ask_reset(container, maria)
        answers = await asyncio.gather(
            *(reset(api, each, f"new-password-{n}") for n, each in enumerate([token, other, token, other]))
        )
        assert sorted(answer.status_code for answer in answers) == [204, 422, 422, 422]
        winner = [answer.status_code for answer in answers].index(204)
        assert (await api.token(maria.email, f"new-password-{winner}")).status_code == 200
        assert (await audited(sql, maria)).count("password.reset") == 1
        assert (await subjects(maria.email)).count("Your password has been reset") == 1

    async def test_tokens_for_something_else_are_not_good(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token, before = await ask_verification(container, maria), await row(sql, maria)
        assert_bad_token(await reset(api, token))
        assert await row(sql, maria) == before
        assert (await confirm(api, token)).status_code == 204

    async def test_a_bad_password_does_not_use_the_token_up(
        self, api: Api, maria: Person, container: Container
    ) -> None:
        token = await ask_reset(container, maria)
        for password in ("short1", "no-digit-here", "password1", "x" * 128 + "1"):
            answer = await reset(api, token, password)
            assert_problem(answer, 422, "invalid_input", "/new_password")
            assert password not in answer.text
        assert (await reset(api, token)).status_code == 204

    async def test_for_a_bad_token_nothing_is_hashed(
        self, api: Api, container: Container, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container.passwords, "_waiting", container.passwords.QUEUE)
        assert_bad_token(await reset(api, UNKNOWN))

    @pytest.mark.parametrize("token", ["x", "\0", "ü" * 200, UNKNOWN])
    async def test_unknown_tokens(self, api: Api, token: str) -> None:
        assert_bad_token(await reset(api, token))

    @pytest.mark.parametrize("token", ["", "x" * 201, 7, None, "\ud800"])
    async def test_what_cannot_be_a_token(self, api: Api, token: Any) -> None:
        body = json.dumps({"token": token, "new_password": NEW_PASSWORD})
        answer = await api.post(
            "/auth/password-reset/confirm", content=body, headers={"Content-Type": "application/json"}
        )
        assert_problem(answer, 422, "invalid_input", "/token")


class TestVerifyEmail:
    async def test_registration_sends_the_mail(
        self, api: Api, container: Container, sql: asyncpg.Connection, subjects: Callable[..., Any]
    ) -> None:
        address = "newcomer@shop.example"
        new = {"email": address, "password": NEW_PASSWORD, "full_name": "New <b>Comer</b>"}
        answer = await api.post("/users", json=new)
        assert (answer.status_code, answer.json()["email_verified"]) == (201, False)
        assert await subjects(address) == ["Confirm your e-mail address"]
        assert (await confirm(api, await mailed_token(container, address))).status_code == 204
        assert await sql.fetchval("SELECT email_verified FROM users WHERE email = $1", address) is True

    async def test_a_refused_registration_sends_none(
        self, api: Api, maria: Person, subjects: Callable[..., Any]
    ) -> None:
        new = {"email": maria.email, "password": NEW_PASSWORD, "full_name": "Maria"}
        assert_problem(await api.post("/users", json=new), 409, "email_taken")
        assert await subjects(maria.email) == []

    async def test_a_mail_on_request(
        self,
        api: Api,
        maria: Person,
        container: Container,
        sql: asyncpg.Connection,
        subjects: Callable[..., Any],
    ) -> None:
        before = await row(sql, maria)
        answer = await maria.api.post("/auth/verify-email")
        assert (answer.status_code, answer.content) == (202, b"")
        assert (await confirm(api, await mailed_token(container, maria.email))).status_code == 204
        assert await row(sql, maria) == {**before, "email_verified": True, "version": before["version"] + 1}
        assert (await maria.api.get("/users/profile")).json()["email_verified"] is True
        assert await audited(sql, maria) == ["email.verified"]
        assert await subjects(maria.email) == ["Confirm your e-mail address"]

    async def test_none_where_it_is_verified(
        self, maria: Person, sql: asyncpg.Connection, subjects: Callable[..., Any]
    ) -> None:
        await sql.execute("UPDATE users SET email_verified = true WHERE id = $1", maria.id)
        assert (await maria.api.post("/auth/verify-email")).status_code == 202
        assert await subjects(maria.email) == []

    async def test_needs_a_caller(self, api: Api) -> None:
        assert_problem(await api.post("/auth/verify-email"), 401, "unauthenticated")

    async def test_once_and_for_fifteen_minutes(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        first = await ask_verification(container, maria)
        await turn_passes(sql)
        second = await ask_verification(container, maria)
        await sql.execute("UPDATE mail_tokens SET expires_at = now()")
        assert_bad_token(await confirm(api, first))
        assert (await row(sql, maria))["email_verified"] is False
        await sql.execute("UPDATE mail_tokens SET expires_at = now() + interval '1 minute'")
        assert (await confirm(api, second)).status_code == 204
        assert_bad_token(await confirm(api, second))
        assert_bad_token(await confirm(api, first))
        assert await audited(sql, maria) == ["email.verified"]

    async def test_a_new_password_leaves_it_good(self, api: Api, maria: Person, container: Container) -> None:
        token = await ask_verification(container, maria)
        change = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
        await maria.api.post("/users/profile/password", json=change)
        assert (await confirm(api, token)).status_code == 204

    async def test_of_two_at_once_one_wins(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_verification(container, maria)
        answers = await asyncio.gather(confirm(api, token), confirm(api, token))
        assert sorted(answer.status_code for answer in answers) == [204, 422]
        assert await audited(sql, maria) == ["email.verified"]

    async def test_tokens_of_a_reset_are_not_good(
        self, api: Api, maria: Person, container: Container, sql: asyncpg.Connection
    ) -> None:
        token = await ask_reset(container, maria)
        assert_bad_token(await confirm(api, token))
        assert (await row(sql, maria))["email_verified"] is False
        assert (await reset(api, token)).status_code == 204
