"""Changes of items and stock: who sees what of them, and the exact stock of many items."""

import asyncpg
import pytest

from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make
from tests.helpers.following import POSITION, Follower
from tests.helpers.orders import placed


class TestItems:
    async def test_a_withdrawn_item_is_removed_for_the_public_and_comes_back_whole(
        self, api: Api, make: Make
    ) -> None:
        chai, staff, maria = await make.item(), await make.admin(), await make.user()
        public = Follower(api, "/items")
        customer = Follower(maria.api, "/items")
        for follower in (public, customer):
            assert await follower.names() == ["Chai"]
        await staff.api.delete(f"/items/{chai.id}")
        assert [await public.names(), await customer.names()] == [[chai.id], [chai.id]]
        await staff.api.patch(f"/items/{chai.id}", json={"is_active": True})
        assert [await public.names(), await customer.names()] == [["Chai"], ["Chai"]]
        assert (public.removed, await public.names()) == ([chai.id], [])

    async def test_who_sees_withdrawn_items_gets_them_whole(self, make: Make) -> None:
        chai, staff = await make.item(), await make.admin()
        machine = await make.key("catalogue:write")
        followers = [Follower(each.api, "/items") for each in (staff, machine)]
        for follower in followers:
            await follower.catch_up()
        await staff.api.delete(f"/items/{chai.id}")
        for follower in followers:
            assert [item["is_active"] for item in await follower.catch_up()] == [False]
            assert follower.removed == []

    async def test_what_was_never_on_sale_is_not_named(self, api: Api, make: Make) -> None:
        secret, staff = await make.item(name="Secret", is_active=False), await make.admin()
        public = Follower(api, "/items")
        assert await public.catch_up() == []
        await staff.api.patch(f"/items/{secret.id}", json={"name": "More secret"})
        await staff.api.delete(f"/items/{secret.id}")
        assert await public.catch_up() == []
        await staff.api.patch(f"/items/{secret.id}", json={"is_active": True})
        assert await public.names() == ["More secret"]

    async def test_who_may_see_more_now_starts_anew(self, api: Api, make: Make) -> None:
        """Or they would never learn of what was withdrawn before."""
        after = (await api.get("/items", params={"changes_after": "now"})).headers[POSITION]
        staff = await make.admin()
        answer = await staff.api.get("/items", params={"changes_after": after})
        assert_problem(answer, 410, "position_unknown")

    async def test_an_answer_is_never_kept(self, api: Api, make: Make) -> None:
        after = (await api.get("/items", params={"changes_after": "now"})).headers[POSITION]
        first = await api.get("/items", params={"changes_after": after})
        await make.item(name="Chai")
        second = await api.get("/items", params={"changes_after": after})
        assert (first.json(), [item["name"] for item in second.json()]) == ([], ["Chai"])
        again = await api.get(
            "/items", params={"changes_after": after}, headers={"If-None-Match": second.headers["etag"]}
        )
        assert (again.status_code, again.headers[POSITION]) == (304, second.headers[POSITION])


class TestStock:
    async def test_a_sale_a_return_and_an_adjustment_are_changes(self, make: Make) -> None:
        chai, chang = await make.item(stock=9), await make.item(stock=9)
        staff, maria = await make.admin(), await make.user()
        follower = Follower(staff.api, "/stock")
        assert await follower.names() == [9, 9]
        order = await placed(maria, chai.id, 2)
        assert await follower.catch_up() == [{"item_id": chai.id, "quantity": 7, "reorder_level": 0}]
        await staff.api.post(f"/items/{chang.id}/stock", json={"delta": 1, "reason": "Found"})
        await maria.api.post(f"/orders/{order['id']}/cancel")
        assert await follower.names() == [10, 9]
        await staff.api.patch(f"/items/{chai.id}", json={"reorder_level": 3})
        assert [row["reorder_level"] for row in await follower.catch_up()] == [3]

    async def test_many_sales_of_one_item_are_one_change(self, make: Make, sql: asyncpg.Connection) -> None:
        chai, staff, maria = await make.item(stock=9), await make.admin(), await make.user()
        follower = Follower(staff.api, "/stock")
        await follower.catch_up()
        for _ in range(3):
            await placed(maria, chai.id)
        pending = "SELECT count(*) FROM pending_changes WHERE kind = 'stock'"
        assert await sql.fetchval(pending) == 3
        assert await follower.names() == [6]

    async def test_what_changes_nothing_is_no_change(self, make: Make, sql: asyncpg.Connection) -> None:
        staff = await make.admin()
        await make.item(stock=9)
        follower = Follower(staff.api, "/stock")
        await follower.catch_up()
        await sql.execute("UPDATE stock SET quantity = quantity")
        assert await follower.catch_up() == []

    async def test_the_exact_stock_of_many_items_is_one_request(self, make: Make) -> None:
        made = [await make.item(stock=n, reorder_level=1) for n in range(4)]
        staff, machine = await make.admin(), await make.key("catalogue:write")
        wanted = f"{made[3].id},{made[0].id},{made[3].id},999999"
        for api in (staff.api, machine.api):
            answer = await api.get("/stock", params={"ids": wanted})
            assert answer.json() == [
                {"item_id": made[n].id, "quantity": n, "reorder_level": 1} for n in (0, 3)
            ]

    async def test_the_list_has_pages(self, make: Make) -> None:
        made = [await make.item(stock=n) for n in range(3)]
        api = (await make.admin()).api
        answer = await api.get("/stock", params={"limit": 2})
        assert [row["item_id"] for row in answer.json()] == [made[0].id, made[1].id]
        rest = await api.root(answer.links["next"]["url"])
        assert [row["item_id"] for row in rest.json()] == [made[2].id]
        assert "link" not in rest.headers


class TestIds:
    async def test_items_are_found_by_their_ids_as_far_as_the_caller_sees_them(
        self, api: Api, make: Make
    ) -> None:
        chai, gone, _ = await make.item(), await make.item(is_active=False), await make.item()
        staff = await make.admin()
        params = {"ids": f"{gone.id},{chai.id}"}
        assert [item["id"] for item in (await api.get("/items", params=params)).json()] == [chai.id]
        found = await staff.api.get("/items", params={**params, "sort": "-id"})
        assert [item["id"] for item in found.json()] == [gone.id, chai.id]

    @pytest.mark.parametrize(
        ("ids", "code"),
        [
            ("", "wrong_format"),
            ("1,", "wrong_format"),
            ("1;2", "wrong_format"),
            ("one", "wrong_format"),
            ("-1", "wrong_format"),
            ("1, 2", "wrong_format"),
            ("\u0661", "wrong_format"),
            ("0", "too_small"),
            ("9223372036854775808", "too_large"),
            (",".join(["1"] * 101), "too_long"),
        ],
    )
    async def test_what_are_no_ids_is_refused(self, api: Api, ids: str, code: str) -> None:
        problem = assert_problem(await api.get("/items", params={"ids": ids}), 422, "invalid_input", "?ids")
        assert problem["errors"][0]["code"] == code
