"""One mailbox, one account, one password: however the address and the password are spelled."""

import asyncio
import unicodedata
from typing import Any

import asyncpg
import pytest
from argon2 import PasswordHasher

from service.accounts.sign_in.throttle import folded
from service.container.api import Container
from service.identity import Passwords
from service.platform.config.email_addresses import known_as, normalised, readable, spellings
from service.platform.config.types import _address
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make, Person
from tests.helpers.mailbox import mails_to

PASSWORD = "Käsebrot-1"
NFD = unicodedata.normalize("NFD", PASSWORD)
STORED = "Zoë.Q@bücher.example"
SPELLINGS = (
    "Zoë.Q@bücher.example",
    "zoë.q@BÜCHER.example",
    "Zoë.Q@xn--bcher-kva.example",
    "Zoë.Q@XN--BCHER-KVA.example",
    "Zoe\u0308.Q@bu\u0308cher.example",
    "Zoe\u0308.Q@xn--bcher-kva.example",
    "  Zoë.Q@bücher.example ",
    "Zoë.Q@b\uff55\u0308cher\uff0eexample",
)
#: As services of before this rule, and other programs, may have stored one and another.
OLDER = ("max@xn--bcher-kva.example", "max@bücher.example")


async def register(api: Api, email: str, password: str = PASSWORD) -> Any:
    return await api.post("/users", json={"email": email, "password": password, "full_name": "Zoë"})


@pytest.fixture
def hashes(container: Container, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of what each comparison of a hash is made with."""
    made: list[str] = []
    compare = container.passwords._verify

    def counted(stored: str, password: str) -> bool:
        made.append(password)
        return compare(stored, password)

    monkeypatch.setattr(container.passwords, "_verify", counted)
    return made


class TestAddresses:
    @pytest.mark.parametrize("email", SPELLINGS)
    async def test_who_registers_signs_in_in_any_spelling(self, api: Api, email: str) -> None:
        answer = await register(api, email)
        assert answer.status_code == 201
        assert answer.json()["email"].lower() == STORED.lower()
        for spelling in SPELLINGS:
            assert (await api.token(spelling, PASSWORD)).status_code == 200, spelling

    async def test_each_spelling_is_taken(self, api: Api, sql: asyncpg.Connection) -> None:
        await register(api, SPELLINGS[0])
        for email in SPELLINGS:
            assert_problem(await register(api, email), 409, "email_taken")
        assert await sql.fetchval("SELECT count(*) FROM users WHERE full_name = 'Zoë'") == 1

    @pytest.mark.parametrize("email", SPELLINGS)
    async def test_a_forgotten_password_is_reset_in_any_spelling(
        self, api: Api, container: Container, email: str
    ) -> None:
        await register(api, STORED)
        await mails_to(container, STORED)
        before = len(list((container.settings.data_dir / "mail").glob("*.eml")))
        assert (await api.post("/auth/password-reset", json={"email": email})).status_code == 202
        await mails_to(container, STORED)
        assert len(list((container.settings.data_dir / "mail").glob("*.eml"))) == before + 1

    @pytest.mark.parametrize("email", SPELLINGS)
    async def test_an_administrator_finds_it_in_any_spelling(self, api: Api, make: Make, email: str) -> None:
        user_id = (await register(api, STORED)).json()["id"]
        ada = await make.admin()
        answer = await ada.api.get("/admin/users", params={"search": email})
        assert [user["id"] for user in answer.json()] == [user_id]

    async def test_the_address_of_an_account_is_no_change_in_any_spelling(
        self, api: Api, container: Container, sql: asyncpg.Connection
    ) -> None:
        await register(api, STORED)
        token = (await api.token(STORED, PASSWORD)).json()["access_token"]
        for email in ("Zoë.Q@xn--bcher-kva.example", "Zoe\u0308.Q@bu\u0308cher.example"):
            body = {"email": email, "current_password": PASSWORD}
            answer = await api.signed_in(token).patch("/users/profile", json=body)
            assert (answer.status_code, answer.json()["email"]) == (200, STORED)
        assert await sql.fetchval("SELECT count(*) FROM mails WHERE kind = 'change_email'") == 0

    async def test_an_address_that_is_taken_is_so_in_any_spelling(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        await register(api, STORED)
        maria = await make.user()
        for email in SPELLINGS:
            body = {"email": email, "current_password": "correct-horse-1"}
            assert_problem(await maria.api.patch("/users/profile", json=body), 409, "email_taken")

    def test_failures_are_counted_for_the_mailbox(self) -> None:
        assert len({folded(email) for email in SPELLINGS}) == 1

    async def test_the_audit_log_has_one_pseudonym_for_it(self, api: Api, sql: asyncpg.Connection) -> None:
        for email in SPELLINGS[:4]:
            await api.token(email, "wrong-horse-1")
        people = await sql.fetch(
            "SELECT DISTINCT data->>'person' FROM audit_log WHERE action = 'session.refused'"
        )
        assert len(people) == 1

    @pytest.mark.parametrize("stored", OLDER)
    async def test_an_account_of_before_still_signs_in(
        self, api: Api, make: Make, stored: str, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        await sql.execute("UPDATE users SET email = $2 WHERE id = $1", maria.id, stored)
        for email in (*OLDER, *(each.upper() for each in OLDER)):
            assert (await api.token(email, "correct-horse-1")).status_code == 200, email

    async def test_of_two_accounts_of_before_each_has_its_own_spelling(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        people = [await make.user(email=email) for email in OLDER]
        for person, email in zip(people, OLDER, strict=True):
            token = (await api.token(email, "correct-horse-1")).json()["access_token"]
            assert (await api.signed_in(token).get("/users/profile")).json()["id"] == person.id

    @pytest.mark.parametrize(
        "text", ["nobody", "", "a@b", "\0", "x" * 320, "@", "a@xn--.example", "\ud800@x.example"]
    )
    def test_what_is_no_address_is_its_own_spelling(self, text: str) -> None:
        assert spellings(text) == (text.replace("\0", "").strip(),)
        assert known_as(text) == text.replace("\0", "").strip()

    def test_what_is_too_long_is_not_normalised(self) -> None:
        with pytest.raises(ValueError, match="2048"):
            normalised("a\u0301\u0323" * 1_000)

    def test_a_part_is_readable(self) -> None:
        assert readable("@XN--Bcher-kva.exa") == "@bücher.exa"
        assert readable("xn--\u00e9") == "xn--\u00e9"
        assert readable("Zoe\u0308") == "Zoë"

    def test_the_first_administrator_s_is_normalised(self) -> None:
        assert {_address(email) for email in SPELLINGS[:1] + SPELLINGS[2:3] + SPELLINGS[4:7]} == {STORED}


class TestPasswords:
    @pytest.mark.parametrize(("first", "second"), [(PASSWORD, NFD), (NFD, PASSWORD)])
    async def test_either_keyboard_signs_in(self, api: Api, first: str, second: str) -> None:
        await register(api, "zoe@shop.example", first)
        for password in (first, second):
            assert (await api.token("zoe@shop.example", password)).status_code == 200

    async def test_it_is_compared_so_wherever_it_is_asked_for(self, api: Api) -> None:
        await register(api, "zoe@shop.example", NFD)
        token = (await api.token("zoe@shop.example", PASSWORD)).json()["access_token"]
        zoe = api.signed_in(token)
        change = {"current_password": PASSWORD, "new_password": f"{NFD}-2"}
        assert (await zoe.post("/users/profile/password", json=change)).status_code == 204
        move = {"email": "z2@shop.example", "current_password": f"{PASSWORD}-2"}
        assert (await zoe.patch("/users/profile", json=move)).status_code == 200
        answer = await zoe.request("DELETE", "/users/profile", json={"current_password": f"{PASSWORD}-2"})
        assert answer.status_code == 204

    async def test_one_that_was_set_before_is_good_as_it_is_sent_and_hashed_anew(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        await self.store(sql, maria, NFD)
        before = await sql.fetchrow("SELECT version, password_hash FROM users WHERE id = $1", maria.id)
        assert before is not None
        answers = await asyncio.gather(*(api.token(maria.email, NFD) for _ in range(4)))
        assert [answer.status_code for answer in answers] == [200] * 4
        after = await sql.fetchrow("SELECT version, password_hash FROM users WHERE id = $1", maria.id)
        assert after is not None
        assert (after["version"], after["password_hash"] != before["password_hash"]) == (
            before["version"],
            True,
        )
        assert (await api.token(maria.email, PASSWORD)).status_code == 200
        # Who was signed in is so still.
        assert (await maria.api.get("/users/profile")).status_code == 200

    async def test_it_may_be_changed_with_one_that_was_set_before(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria = await make.user()
        await self.store(sql, maria, NFD)
        change = {"current_password": NFD, "new_password": "battery-staple-2"}
        assert (await maria.api.post("/users/profile/password", json=change)).status_code == 204

    @pytest.mark.parametrize(("password", "count"), [(PASSWORD, 1), (NFD, 2)])
    async def test_as_many_hashes_are_compared_whether_or_not_there_is_an_account(
        self, api: Api, make: Make, hashes: list[str], password: str, count: int
    ) -> None:
        maria = await make.user()
        counts = []
        for email in (maria.email, "nobody@shop.example"):
            before = len(hashes)
            assert (await api.token(email, password)).status_code == 400
            counts.append(len(hashes) - before)
        assert counts == [count, count]

    @pytest.mark.parametrize(
        ("password", "good"),
        [
            ("e\u0301" * 127 + "1", True),
            ("e\u0301" * 128 + "1", False),
            ("e\u0301" * 6 + "1", False),
            ("e\u0301" * 7 + "1", True),
        ],
        ids=["128", "129", "7", "8"],
    )
    async def test_the_length_counts_as_it_is_normalised(self, api: Api, password: str, good: bool) -> None:
        answer = await register(api, "zoe@shop.example", password)
        assert answer.status_code == (201 if good else 422)
        if good:
            assert (await api.token("zoe@shop.example", password)).status_code == 200

    async def test_what_is_too_long_is_compared_as_it_is(self) -> None:
        passwords = Passwords()
        assert await passwords.verify(None, "a\u0301\u0323" * 300_000) is False
        passwords.close()

    @staticmethod
    async def store(sql: asyncpg.Connection, person: Person, password: str) -> None:
        """As it was stored before passwords were normalised."""
        stored = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(password)
        await sql.execute("UPDATE users SET password_hash = $2 WHERE id = $1", person.id, stored)
