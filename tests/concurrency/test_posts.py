"""What an administrator lets through is what becomes public."""

import asyncio

import asyncpg

from tests.client import Api, assert_problem
from tests.concurrency.waiting import somebody_waits
from tests.factories import Make


async def test_a_change_that_meets_the_publication_waits_for_an_administrator_again(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    maria = await make.user()
    path = f"/posts/{await make.post(maria, published=False)}"
    async with sql.transaction():
        await sql.execute("UPDATE posts SET status = 'published', version = version + 1")
        change = asyncio.create_task(maria.api.patch(path, json={"body": "Something else"}))
        await somebody_waits(sql)
    answer = await change
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "pending", 3)
    assert_problem(await api.get(path), 404, "not_found")


async def test_a_change_that_meets_the_removal_is_404(make: Make, sql: asyncpg.Connection) -> None:
    maria = await make.user()
    path = f"/posts/{await make.post(maria)}"
    async with sql.transaction():
        await sql.execute("DELETE FROM posts")
        change = asyncio.create_task(maria.api.patch(path, json={"body": "Something else"}))
        await somebody_waits(sql)
    assert_problem(await change, 404, "not_found")
    assert await sql.fetchval("SELECT count(*) FROM posts") == 0
