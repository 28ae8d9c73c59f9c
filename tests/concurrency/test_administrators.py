"""A race does not remove the last administrator either."""

import asyncio

import asyncpg
import pytest

from service.accounts.administration import service as administration
from service.accounts.administration.schemas import UserPatch
from service.container.api import Container
from service.errors import Forbidden, InvalidToken, ServiceError
from tests.helpers.factories import Make
from tests.helpers.waiting import until_blocked


@pytest.mark.parametrize("change", [{"is_admin": False}, {"is_active": False}], ids=str)
async def test_two_who_end_each_other_leave_one(
    make: Make, sql: asyncpg.Connection, change: dict[str, bool]
) -> None:
    for _ in range(5):
        await sql.execute("UPDATE users SET is_admin = false")
        ada, grace = await make.admin(), await make.admin()
        answers = await asyncio.gather(
            ada.api.patch(f"/admin/users/{grace.id}", json=change),
            grace.api.patch(f"/admin/users/{ada.id}", json=change),
        )
        # The second one is the last administrator, or has already lost the role.
        assert min(answer.status_code for answer in answers) == 200
        assert {answer.status_code for answer in answers} <= {200, 401, 403, 409}
        left = await sql.fetchval("SELECT count(*) FROM users WHERE is_admin AND is_active")
        assert left == 1


async def test_all_who_resign_at_once_leave_one(make: Make, sql: asyncpg.Connection) -> None:
    admins = [await make.admin() for _ in range(6)]
    answers = await asyncio.gather(
        *(admin.api.patch(f"/admin/users/{admin.id}", json={"is_admin": False}) for admin in admins)
    )
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409]
    stayed = [admin.id for admin, answer in zip(admins, answers, strict=True) if answer.status_code == 409]
    rows = await sql.fetch("SELECT id FROM users WHERE is_admin AND is_active")
    assert [row["id"] for row in rows] == stayed


async def test_the_second_waits_for_the_first_and_sees_what_it_did(
    make: Make, sql: asyncpg.Connection
) -> None:
    """The race made certain: the first one's transaction is still open when the second one asks."""
    ada, grace = await make.admin(), await make.admin()
    async with sql.transaction():
        await sql.execute("SELECT id FROM users WHERE is_admin AND is_active ORDER BY id FOR UPDATE")
        await sql.execute("UPDATE users SET is_admin = false WHERE id = $1", grace.id)
        second = asyncio.create_task(ada.api.patch(f"/admin/users/{ada.id}", json={"is_admin": False}))
        await until_blocked(sql)
    answer = await second
    assert (answer.status_code, answer.json()["code"]) == (409, "last_administrator")
    rows = await sql.fetch("SELECT id FROM users WHERE is_admin AND is_active")
    assert [row["id"] for row in rows] == [ada.id]


@pytest.mark.parametrize(("lost", "refusal"), [("is_admin", Forbidden), ("is_active", InvalidToken)])
async def test_a_role_that_is_withdrawn_cannot_be_granted_to_oneself_again(
    make: Make, container: Container, sql: asyncpg.Connection, lost: str, refusal: type[ServiceError]
) -> None:
    """In the moment in which the token is still believed, the database is not."""
    ada, grace, maria = await make.admin(), await make.admin(), await make.user()
    await sql.execute(f"UPDATE users SET {lost} = false WHERE id = $1", grace.id)
    for user_id in (grace.id, maria.id):
        with pytest.raises(refusal):
            async with container.database.transaction() as session:
                await administration.administer(session, grace.caller, user_id, UserPatch(is_admin=True))
    rows = await sql.fetch("SELECT id FROM users WHERE is_admin AND is_active")
    assert [row["id"] for row in rows] == [ada.id]
