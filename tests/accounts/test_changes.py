"""Changes of users, for administrators and keys with `users:read`."""

from tests.helpers.client import assert_problem
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.following import Follower


class TestUsers:
    async def test_profile_address_and_role_are_changes(self, make: Make) -> None:
        staff, maria = await make.admin(), await make.user()
        machine = await make.key("users:read")
        follower = Follower(machine.api, "/admin/users")
        await follower.catch_up()
        home = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
        for call in (
            maria.api.patch("/users/profile", json={"full_name": "Maria Muster"}),
            maria.api.patch("/users/profile", json={"address": home}),
            maria.api.patch("/users/profile", json={"address": {"city": "Bonn"}}),
            maria.api.patch("/users/profile", json={"address": None}),
            staff.api.patch(f"/admin/users/{maria.id}", json={"is_admin": True}),
            staff.api.patch(f"/admin/users/{maria.id}", json={"is_active": False}),
        ):
            assert (await call).status_code == 200
            [changed] = await follower.catch_up()
            assert changed == (await staff.api.get("/admin/users", params={"search": maria.email})).json()[0]

    async def test_an_erased_account_is_named_by_its_id_alone(self, make: Make) -> None:
        staff, maria = await make.admin(), await make.user()
        follower = Follower(staff.api, "/admin/users")
        await follower.catch_up()
        body = {"current_password": PASSWORD}
        assert (await maria.api.request("DELETE", "/users/profile", json=body)).status_code == 204
        [gone] = await follower.catch_up()
        assert (set(gone), gone["id"]) == ({"id", "removed_at"}, maria.id)

    async def test_a_key_without_the_scope_is_refused(self, make: Make) -> None:
        machine = await make.key("orders:read")
        answer = await machine.api.get("/admin/users", params={"changes_after": "start"})
        assert_problem(answer, 403, "insufficient_scope")
