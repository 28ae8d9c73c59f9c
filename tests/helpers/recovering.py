"""What tests of password reset, verification and changes of address do and look at."""

from typing import Any

import asyncpg
import httpx2

from service.container.api import Container
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Person
from tests.helpers.mailbox import mailed_token

NEW_PASSWORD = "battery-staple-2"


async def ask_reset(container: Container, person: Person) -> str:
    """The token of a new mail."""
    assert (await person.api.post("/auth/password-reset", json={"email": person.email})).status_code == 202
    return await mailed_token(container, person.email)


async def ask_verification(container: Container, person: Person) -> str:
    assert (await person.api.post("/auth/verify-email")).status_code == 202
    return await mailed_token(container, person.email)


async def ask_change(container: Container, person: Person, email: str) -> str:
    body = {"email": email, "current_password": PASSWORD}
    assert (await person.api.patch("/users/profile", json=body)).status_code == 200
    return await mailed_token(container, email)


async def reset(api: Api, token: str, password: str = NEW_PASSWORD) -> httpx2.Response:
    body = {"token": token, "new_password": password}
    return await api.post("/auth/password-reset/confirm", json=body)


async def confirm(api: Api, token: str) -> httpx2.Response:
    return await api.post("/auth/verify-email/confirm", json={"token": token})


def assert_bad_token(answer: httpx2.Response) -> None:
    problem = assert_problem(answer, 422, "invalid_input", "/token")
    assert problem["errors"][0]["code"] == "invalid_token"
    assert (
        problem["detail"] == "This token is unknown, used, expired or no longer valid. Request another email."
    )


async def turn_passes(sql: asyncpg.Connection) -> None:
    """Those 15 minutes in which a mailbox gets no further mail; tokens stay good."""
    await sql.execute("UPDATE mail_tokens SET created_at = created_at - interval '15 minutes'")


async def row(sql: asyncpg.Connection, person: Person) -> dict[str, Any]:
    found = await sql.fetchrow(
        "SELECT email, password_hash, email_verified, version FROM users WHERE id = $1", person.id
    )
    assert found is not None
    return dict(found)


async def audited(sql: asyncpg.Connection, person: Person) -> list[str]:
    """What the audit log says was done by this person to their own account, but for signing in."""
    rows = await sql.fetch(
        "SELECT action FROM audit_log WHERE target_kind = 'user' AND target_id = $1 AND actor_id = $1"
        " ORDER BY id",
        person.id,
    )
    return [found["action"] for found in rows]
