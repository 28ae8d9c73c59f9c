"""Copies of every list, kept by clients that restart at random while 32 writers commit out of order."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg

from tests.helpers.client import Api
from tests.helpers.factories import Make, Person
from tests.helpers.following import Follower
from tests.helpers.orders import placed

WRITERS, WRITES, ROWS = 32, 12, 8
#: The longest that a writer leaves a transaction open, in seconds: longer than several polls.
LONGEST = 0.05
ITEM, ORDER, POST, USER = (
    f"(SELECT id FROM {table} ORDER BY random() LIMIT 1)" for table in ("items", "orders", "posts", "users")
)
NEW = "version = version + 1 WHERE id ="
#: Each changes one row, so that no two writers deadlock.
CHANGES = (
    "INSERT INTO items (sku, name, price) VALUES (gen_random_uuid()::text, 'New', 1)",
    f"UPDATE items SET price = price + 1, {NEW} {ITEM}",
    f"UPDATE items SET is_active = NOT is_active, {NEW} {ITEM}",
    f"UPDATE stock SET quantity = quantity + 1 WHERE item_id = {ITEM}",
    f"UPDATE orders SET reference = gen_random_uuid()::text, {NEW} {ORDER}",
    f"UPDATE users SET full_name = gen_random_uuid()::text, {NEW} {USER}",
    f"INSERT INTO posts (author_id, title, body, status) VALUES ({USER}, 'New', '', 'published')",
    f"UPDATE posts SET title = gen_random_uuid()::text, {NEW} {POST}",
    f"UPDATE posts SET status = 'pending', published_at = NULL, {NEW} {POST}",
    f"UPDATE posts SET status = 'published', published_at = now(), {NEW} {POST}",
    f"DELETE FROM posts WHERE id = {POST}",
)


@dataclass
class Copy:
    """A client that may stop before it has kept what it was sent, and then begins where it was."""

    follower: Follower
    chance: random.Random

    async def follow(self, done: asyncio.Event) -> None:
        while not done.is_set():
            self.follower.limit = self.chance.randint(1, 7)
            if self.chance.random() < 0.3:
                self._restart(await self._lost())
            before = {number: row.get("version", 0) for number, row in self.follower.copy.items()}
            await self.follower.page()
            for number, row in self.follower.copy.items():
                assert row.get("version", 0) >= before.get(number, 0), "a row went back"
            await asyncio.sleep(self.chance.random() * LONGEST / 4)
        self.follower.limit = 100
        while await self.follower.catch_up():
            pass

    async def _lost(self) -> Follower:
        """What is left of one that was sent a page and did not keep it."""
        kept = self.follower
        left = Follower(kept.api, kept.path, after=kept.after, limit=kept.limit)
        left.copy = dict(kept.copy)
        await kept.page()
        return left

    def _restart(self, left: Follower) -> None:
        self.follower = left


async def test_every_copy_is_in_the_end_what_the_database_holds(
    api: Api, make: Make, sql: asyncpg.Connection, database_url: str
) -> None:
    chance = random.Random(20261130)
    staff, maria = await make.admin(), await make.user()
    await fill(make, staff, maria)
    callers = [(staff.api, path) for path in ("/items", "/stock", "/orders", "/posts", "/admin/users")]
    callers += [(api, "/items"), (api, "/posts"), (maria.api, "/posts"), (maria.api, "/orders")]
    copies = [Copy(Follower(each, path), random.Random(n)) for n, (each, path) in enumerate(callers)]
    done = asyncio.Event()
    following = [asyncio.create_task(copy.follow(done)) for copy in copies]
    seeds = [chance.randrange(2**32) for _ in range(WRITERS)]
    await asyncio.gather(*(write(database_url, seed) for seed in seeds))
    done.set()
    await asyncio.gather(*following)
    for copy in copies:
        follower = copy.follower
        assert follower.copy == await there(follower.api, follower.path), (follower.path, follower.api)
    assert await sql.fetchval("SELECT count(*) FROM pending_changes") == 0


async def fill(make: Make, staff: Person, maria: Person) -> None:
    for _ in range(ROWS):
        item = await make.item(stock=9)
        await placed(maria, item.id)
        await placed(staff, item.id)
        await make.post(maria)


async def write(url: str, seed: int) -> None:
    chance, connection = random.Random(seed), await asyncpg.connect(url)
    try:
        for _ in range(WRITES):
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(chance.choice(CHANGES))
            await asyncio.sleep(chance.random() * LONGEST)
            await (transaction.rollback if chance.random() < 0.1 else transaction.commit)()
    finally:
        await connection.close()


async def there(api: Api, path: str) -> dict[int, dict[str, Any]]:
    """The list as it is, by its pages."""
    found: dict[int, dict[str, Any]] = {}
    get: Callable[..., Awaitable[Any]] = api.get
    url = f"{path}?limit=100"
    while True:
        answer = await get(url, headers={"Cache-Control": "no-cache"})
        found |= {row.get("id") or row["item_id"]: row for row in answer.json()}
        if "next" not in answer.links:
            return found
        get, url = api.root, answer.links["next"]["url"]
