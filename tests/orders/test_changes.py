"""Changes of orders: a customer follows their own, staff and keys all of them."""

import asyncpg

from tests.helpers.client import assert_problem
from tests.helpers.factories import Make
from tests.helpers.following import POSITION, Follower
from tests.helpers.orders import placed


class TestChanges:
    async def test_a_customer_gets_their_own_and_staff_gets_all(self, make: Make) -> None:
        chai = await make.item(stock=9)
        maria, ana, staff = await make.user(), await make.user(), await make.admin()
        machine = await make.key("orders:read")
        one = await placed(maria, chai.id)
        two = await placed(ana, chai.id)
        seen = {}
        for name, person in (("maria", maria), ("ana", ana), ("staff", staff), ("machine", machine)):
            follower = Follower(person.api, "/orders")
            seen[name] = [row["id"] for row in await follower.catch_up()]
        both = [one["id"], two["id"]]
        assert seen == {"maria": both[:1], "ana": both[1:], "staff": both, "machine": both}

    async def test_each_transition_and_a_new_address_is_a_change(self, make: Make) -> None:
        chai, maria, staff = await make.item(stock=9), await make.user(), await make.admin()
        follower, own = Follower(staff.api, "/orders"), Follower(maria.api, "/orders")
        order = await placed(maria, chai.id)
        address = f"/orders/{order['id']}"
        home = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        for call, status in (
            (None, "placed"),
            (maria.api.put(f"{address}/ship-to", json=home), "placed"),
            (staff.api.post(f"{address}/pay", json={"reference": "pi_3MtwBw"}), "paid"),
            (staff.api.post(f"{address}/ship", json={"tracking": "0034"}), "shipped"),
            (staff.api.post(f"{address}/deliver"), "delivered"),
        ):
            if call is not None:
                assert (await call).status_code == 200
            now = (await staff.api.get(address)).json()
            assert [await follower.catch_up(), now["status"]] == [[now], status]
            assert await own.catch_up() == [(await maria.api.get(address)).json()]

    async def test_an_order_changes_with_the_address_of_its_customer(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, staff = await make.user(), await make.admin()
        order = await placed(maria, (await make.item(stock=1)).id)
        follower = Follower(staff.api, "/orders")
        await follower.catch_up()
        await sql.execute("UPDATE users SET email = 'other@shop.example' WHERE id = $1", maria.id)
        assert [row["id"] for row in await follower.catch_up()] == [order["id"]]

    async def test_a_deleted_order_is_named_to_its_customer_and_staff_alone(
        self, make: Make, sql: asyncpg.Connection
    ) -> None:
        maria, ana, staff = await make.user(), await make.user(), await make.admin()
        order = (await placed(maria, (await make.item(stock=1)).id))["id"]
        followers = [Follower(each.api, "/orders") for each in (maria, ana, staff)]
        for follower in followers:
            await follower.catch_up()
        await sql.execute("ALTER TABLE order_lines DISABLE TRIGGER USER")
        await sql.execute("DELETE FROM orders WHERE id = $1", order)
        await sql.execute("ALTER TABLE order_lines ENABLE TRIGGER USER")
        for follower in followers:
            await follower.catch_up()
        assert [follower.removed for follower in followers] == [[order], [], [order]]

    async def test_a_position_is_good_for_one_customer_alone(self, make: Make) -> None:
        maria, ana, staff = await make.user(), await make.user(), await make.admin()
        after = (await maria.api.get("/orders", params={"changes_after": "now"})).headers[POSITION]
        for other in (ana, staff):
            answer = await other.api.get("/orders", params={"changes_after": after})
            assert_problem(answer, 410, "position_unknown")
