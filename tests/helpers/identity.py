"""Signing in and staying signed in, for tests, and what that leaves in the database and the metrics."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx2
import pytest
from prometheus_client import REGISTRY

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import PASSWORD, Person

#: Why a refresh token is refused is told to nobody.
NOT_GOOD = {
    "error": "invalid_grant",
    "error_description": "The refresh token is unknown, expired or used already. Sign in again.",
}


async def sign_in(api: Api, person: Person) -> dict[str, Any]:
    """The answer to a sign-in with the password: access token and refresh token."""
    answer = await api.token(person.email, PASSWORD)
    assert answer.status_code == 200, answer.text
    tokens: dict[str, Any] = answer.json()
    return tokens


async def refresh(api: Api, refresh_token: str, **form: str) -> httpx2.Response:
    return await api.post(
        "/auth/token", data={"grant_type": "refresh_token", "refresh_token": refresh_token, **form}
    )


async def revoke(api: Api, token: str, **form: str) -> httpx2.Response:
    return await api.post("/auth/revoke", data={"token": token, **form})


async def rotated(api: Api, refresh_token: str) -> str:
    """The successor of this token."""
    answer = await refresh(api, refresh_token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["refresh_token"])


async def audited(sql: asyncpg.Connection, after: int = 0) -> list[tuple[Any, ...]]:
    """Action, actor, kind and id of the target, and data of each entry with a larger id, in order."""
    rows = await sql.fetch("SELECT * FROM audit_log WHERE id > $1 ORDER BY id", after)
    return [
        (row["action"], row["actor_id"], row["target_kind"], row["target_id"], json.loads(row["data"]))
        for row in rows
    ]


async def last_entry(sql: asyncpg.Connection) -> int:
    last: int = await sql.fetchval("SELECT coalesce(max(id), 0) FROM audit_log")
    return last


def counted() -> dict[str, float]:
    """How often each outcome of signing in and of refreshing has been counted so far."""
    return {
        f"{metric}.{outcome}": REGISTRY.get_sample_value(f"{metric}_total", {"outcome": outcome}) or 0
        for metric, outcomes in (
            ("sign_ins", ("succeeded", "refused")),
            ("token_refreshes", ("rotated", "refused", "reused")),
        )
        for outcome in outcomes
    }


def counted_since(before: dict[str, float]) -> dict[str, float]:
    """What has grown since then, and by how much."""
    return {name: count - before[name] for name, count in counted().items() if count != before[name]}


async def until_void(client: Api) -> None:
    """Return once the client's access token is refused: by the change feed, a moment after the COMMIT."""
    assert_problem(await until_answered(client, "/users/profile", 401), 401, "invalid_token")


async def until_answered(client: Api, path: str, status: int) -> httpx2.Response:
    """The first answer with this status."""
    for _ in range(12_000):
        answer = await client.get(path)
        if answer.status_code == status:
            return answer
        await asyncio.sleep(0.005)
    pytest.fail(f"{path} is never answered with {status}")
