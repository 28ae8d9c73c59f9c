"""API2:2023 Broken Authentication: tokens, passwords and what needs them again, at every route."""

from typing import Any, Final

import asyncpg
import pytest

from service.platform.config import Settings
from tests.abuse.walking import expected, operations, parameters, stored
from tests.contract.routes import ROUTES, Route
from tests.helpers.client import assert_problem
from tests.helpers.factories import Make
from tests.identity.test_tokens import LONG_AGO, public_key_as_secret, resigned, tampered, unsigned

pytestmark = pytest.mark.usefixtures("short_streams")

PROTECTED: Final = tuple(route for route in ROUTES if expected(route, "anonymous") == 401)
#: A browser's EventSource sends no header: a ticket is good once, for 30 seconds, and for the stream alone.
IN_AN_ADDRESS: Final = {("GET", "/api/v1/notifications/stream", "ticket")}
CREDENTIALS: Final = ("password", "token", "secret", "ticket", "api_key", "access")


@pytest.mark.parametrize("route", PROTECTED, ids=str)
async def test_no_route_takes_a_token_that_is_forged_or_over(
    make: Make, route: Route, settings: Settings, sql: asyncpg.Connection, tables: list[str]
) -> None:
    owner, ada = await make.user(), await make.admin()
    request = await route.request(make, owner)
    secret = settings.secret_key.get_secret_value()
    forged = {
        "unsigned": unsigned(ada.token),
        "tampered with": tampered(owner.token),
        "signed with the public key": public_key_as_secret(ada.token, secret),
        "over": resigned(secret, ada.token, {}, {"iat": LONG_AGO, "exp": LONG_AGO + 600}),
        "for another service": resigned(secret, ada.token, {}, {"aud": "https://other.example"}),
    }
    before = await stored(sql, tables)
    for name, token in forged.items():
        answer = await make.api.signed_in(token).request(**request)
        assert (name, assert_problem(answer, 401, "invalid_token")["code"]) == (name, "invalid_token")
    assert await stored(sql, tables) == before


def test_no_credential_stands_in_an_address() -> None:
    found = {
        (method, path, each["name"])
        for method, path, operation in operations()
        for each in parameters(operation)
        if each["in"] in ("query", "path") and any(word in each["name"] for word in CREDENTIALS)
    }
    assert found == IN_AN_ADDRESS


@pytest.mark.parametrize(
    "wanted",
    [
        ("PATCH", "/users/profile", {"email": "thief@shop.example"}),
        ("POST", "/users/profile/password", {"new_password": "battery-staple-2"}),
        ("DELETE", "/users/profile", {}),
    ],
    ids=lambda wanted: " ".join(wanted[:2]),
)
async def test_a_stolen_token_takes_no_account_over(
    make: Make, sql: asyncpg.Connection, tables: list[str], wanted: tuple[str, str, dict[str, Any]]
) -> None:
    """Without the current password, or with a wrong one, what a token's thief would want is refused."""
    method, path, body = wanted
    maria = await make.user()
    tables = [table for table in tables if not table.startswith("audit")]
    before = await stored(sql, tables)
    for given in (body, {**body, "current_password": "not-the-password-1"}):
        answer = await maria.api.request(method, path, json=given)
        assert_problem(answer, 422, "invalid_input", "/current_password")
    assert await stored(sql, tables) == before
