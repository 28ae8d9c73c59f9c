"""ASVS 5.0, V2: validation and business logic."""

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Make


@pytest.mark.parametrize(
    "email",
    [
        "Maria <maria@shop.example>",
        "<maria@shop.example>",
        "maria@shop.example,eve@shop.example",
        "maria@shop.example;eve@shop.example",
        "maria@shop.example\nBcc: eve@shop.example",
        "maria@shop.example\r\n\r\nText",
        "maria@shop.example\0",
        '"maria eve"@shop.example',
        "maria(comment)@shop.example",
        "maria@[127.0.0.1]",
        "maria@localhost",
        "maria@shop.example.",
        "maria@eve@shop.example",
        "ma\u00adria@shop.example",
        "maria\u200b@shop.example",
        "\u202emaria@shop.example",
    ],
)
async def test_v1_3_11_an_address_is_only_an_address(
    api: Api, make: Make, sql: asyncpg.Connection, email: str
) -> None:
    """No name, no second recipient, no header and nothing that does not show, wherever it comes in."""
    maria = await make.user()
    fields = {"email": email, "password": PASSWORD, "full_name": "Maria"}
    problem = assert_problem(await api.post("/users", json=fields), 422, "invalid_input", "/email")
    assert problem["errors"][0]["code"] in {"invalid_email", "forbidden_characters"}
    change = {"email": email, "current_password": PASSWORD}
    assert_problem(await maria.api.patch("/users/profile", json=change), 422, "invalid_input", "/email")
    assert_problem(
        await api.post("/auth/password-reset", json={"email": email}), 422, "invalid_input", "/email"
    )
    assert await sql.fetchval("SELECT count(*) FROM users") == 1
    assert await sql.fetchval("SELECT count(*) FROM mails") == 0
