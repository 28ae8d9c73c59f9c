"""ASVS 5.0, V7: sessions."""

import asyncpg
import pytest

from tests.helpers.client import Api
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.identity import NOT_GOOD, refresh, sign_in


async def test_v7_2_4_a_sign_in_takes_over_nothing(api: Api, make: Make, sql: asyncpg.Connection) -> None:
    """No token, session or id of a client's choice becomes part of the session that begins."""
    maria, eve = await make.user(), await make.user()
    planted = (await sign_in(api, eve))["refresh_token"]
    form = {
        "grant_type": "password",
        "username": maria.email,
        "password": PASSWORD,
        "refresh_token": planted,
        "session_id": str(eve.caller.session_id),
        "access_token": eve.token,
    }
    headers = {"Cookie": f"session={eve.token}", "Authorization": f"Bearer {eve.token}"}
    tokens = (await api.post("/auth/token", data=form, headers=headers)).json()
    assert tokens["refresh_token"] != planted
    client = api.signed_in(tokens["access_token"])
    assert (await client.get("/users/profile")).json()["id"] == maria.id
    owners = await sql.fetch("SELECT DISTINCT user_id FROM sessions WHERE id = $1", eve.caller.session_id)
    assert [row["user_id"] for row in owners] == [eve.id]
    # What was planted is still the planter's, and no other account's.
    successor = (await refresh(api, planted)).json()["access_token"]
    assert (await api.signed_in(successor).get("/users/profile")).json()["id"] == eve.id


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ("last_used_at = now() - interval '14 days'", False),
        ("last_used_at = now() - interval '13 days 23 hours'", True),
        ("created_at = now() - interval '90 days'", False),
        ("created_at = now() - interval '89 days 23 hours'", True),
    ],
)
async def test_v7_3_1_a_session_ends_unused_and_at_the_latest(
    api: Api, make: Make, sql: asyncpg.Connection, change: str, good: bool
) -> None:
    """However often it was refreshed before: its 90 days count from the sign-in."""
    maria = await make.user()
    token = (await sign_in(api, maria))["refresh_token"]
    token = (await refresh(api, token)).json()["refresh_token"]
    await sql.execute(f"UPDATE sessions SET {change}")
    answer = await refresh(api, token)
    assert answer.status_code == (200 if good else 400)
    assert good or answer.json() == NOT_GOOD
