"""Changes of posts: what the public, an author and an administrator get of them."""

import asyncpg

from tests.helpers.client import Api
from tests.helpers.factories import Make
from tests.helpers.following import Follower


class TestPosts:
    async def test_a_deleted_post_and_an_unpublished_one_are_removed(self, api: Api, make: Make) -> None:
        maria = await make.user()
        first, second = await make.post(maria, title="One"), await make.post(maria, title="Two")
        public, mine = Follower(api, "/posts"), Follower(maria.api, "/posts")
        for follower in (public, mine):
            assert await follower.names() == ["One", "Two"]
        await maria.api.delete(f"/posts/{first}")
        await maria.api.patch(f"/posts/{second}", json={"title": "Too"})
        assert await public.names() == [first, second]
        assert await mine.names() == [first, "Too"]

    async def test_pending_posts_are_for_their_author_and_administrators(self, api: Api, make: Make) -> None:
        maria, ana, staff = await make.user(), await make.user(), await make.admin()
        await make.post(ana, title="Public")
        followers = [Follower(each, "/posts", limit=1) for each in (api, ana.api, maria.api, staff.api)]
        pending = (await maria.api.post("/posts", json={"title": "Mine", "body": "Hm."})).json()["id"]
        assert [await each.names() for each in followers] == [
            ["Public"],
            ["Public"],
            ["Public", "Mine"],
            ["Public", "Mine"],
        ]
        await maria.api.delete(f"/posts/{pending}")
        assert [await each.names() for each in followers] == [[], [], [pending], [pending]]

    async def test_a_new_name_of_the_author_is_a_change(self, api: Api, make: Make) -> None:
        maria, public = await make.user(), Follower(api, "/posts")
        await make.post(maria)
        await public.catch_up()
        await maria.api.patch("/users/profile", json={"full_name": "Maria Muster"})
        assert [post["author_name"] for post in await public.catch_up()] == ["Maria Muster"]

    async def test_the_rows_of_a_truncated_table_are_removed(
        self, api: Api, make: Make, sql: asyncpg.Connection
    ) -> None:
        post, public = await make.post(await make.user()), Follower(api, "/posts")
        await public.catch_up()
        await sql.execute("TRUNCATE posts")
        assert await public.names() == [post]
