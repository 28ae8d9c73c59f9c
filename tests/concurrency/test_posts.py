"""What an administrator lets through is what becomes public."""

import asyncio

import asyncpg

from service.posts.service import MAX_PENDING
from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.waiting import until_blocked

NEWS = {"title": "Chai is back", "body": "The first boxes have arrived."}


async def test_a_change_that_meets_the_publication_waits_for_an_administrator_again(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    maria = await make.user()
    path = f"/posts/{await make.post(maria, published=False)}"
    async with sql.transaction():
        await sql.execute("UPDATE posts SET status = 'published', version = version + 1")
        change = asyncio.create_task(maria.api.patch(path, json={"body": "Something else"}))
        await until_blocked(sql)
    answer = await change
    assert (answer.status_code, answer.json()["status"], answer.json()["version"]) == (200, "pending", 3)
    assert_problem(await api.get(path), 404, "not_found")


async def test_posts_written_at_once_are_no_more_than_one_after_the_other(
    make: Make, sql: asyncpg.Connection
) -> None:
    maria = await make.user()
    for _ in range(MAX_PENDING - 2):
        await make.post(maria, published=False)
    answers = await asyncio.gather(*(maria.api.post("/posts", json=NEWS) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [409] * 6
    assert await sql.fetchval("SELECT count(*) FROM posts WHERE status = 'pending'") == MAX_PENDING


async def test_a_change_that_meets_the_removal_is_404(make: Make, sql: asyncpg.Connection) -> None:
    maria = await make.user()
    path = f"/posts/{await make.post(maria)}"
    async with sql.transaction():
        await sql.execute("DELETE FROM posts")
        change = asyncio.create_task(maria.api.patch(path, json={"body": "Something else"}))
        await until_blocked(sql)
    assert_problem(await change, 404, "not_found")
    assert await sql.fetchval("SELECT count(*) FROM posts") == 0
