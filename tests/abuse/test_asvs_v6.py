"""ASVS 5.0, V6: passwords."""

import asyncpg
import pytest

from tests.contract.test_bad_input import DOCUMENT
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make

LONG = "Correct-Horse-1 " * 8


@pytest.mark.parametrize(
    ("password", "others"),
    [
        (LONG[:128], (LONG[:127], LONG[:72], LONG[:128].lower(), LONG[:128].strip())),
        (" correct horse 1 ", ("correct horse 1", "correct horse 1 ", " Correct horse 1 ")),
        ("ﬁsh-and-chips-1", ("fish-and-chips-1",)),
        ("pass\u00a0word-is-1", ("pass word-is-1",)),
        ("пароль-верный-1", ("Пароль-верный-1",)),
    ],
    ids=["long", "spaces", "compatible", "no-break", "cyrillic"],
)
async def test_v6_2_8_a_password_is_neither_cut_nor_folded(
    api: Api, password: str, others: tuple[str, ...]
) -> None:
    fields = {"email": "maria@shop.example", "password": password, "full_name": "Maria"}
    assert (await api.post("/users", json=fields)).status_code == 201
    assert (await api.token("maria@shop.example", password)).status_code == 200
    for other in others:
        assert (await api.token("maria@shop.example", other)).status_code == 400, other


async def test_v6_2_10_an_old_password_is_good(api: Api, make: Make, sql: asyncpg.Connection) -> None:
    maria = await make.user()
    await sql.execute("UPDATE users SET created_at = now() - interval '20 years'")
    assert (await api.token(maria.email, PASSWORD)).status_code == 200


def test_v6_4_2_no_field_asks_for_a_hint() -> None:
    names = {
        name for schema in DOCUMENT["components"]["schemas"].values() for name in schema.get("properties", {})
    }
    assert [name for name in names if "question" in name or "password_hint" in name] == []
    # The first letters of an API key, and what RFC 7009 calls so.
    assert {name for name in names if "hint" in name} == {"hint", "token_type_hint"}


async def test_v6_4_3_an_address_is_not_found_out_by_signing_in_or_forgetting(api: Api, make: Make) -> None:
    """A form that is wrong says so; a pair that is wrong says the same for every address."""
    maria, gone = await make.user(), await make.user(is_active=False)
    answers = [
        await api.token(email, "wrong-horse-1")
        for email in (maria.email, gone.email, "none@shop.example", "x")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {
        (answers[0].status_code, answers[0].text)
    }
    sent = [
        await api.post("/auth/password-reset", json={"email": email})
        for email in (maria.email, gone.email, "none@shop.example")
    ]
    assert {(answer.status_code, answer.text) for answer in sent} == {(202, sent[0].text)}
    assert_problem(await api.get(f"/users/{maria.id}"), 401, "unauthenticated")
