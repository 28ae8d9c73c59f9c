from tests.helpers.client import Api, assert_problem
from tests.helpers.factories import Make


class TestProfile:
    async def test_shows_the_caller(self, make: Make) -> None:
        maria = await make.user(full_name="Maria Anders")
        answer = await maria.api.get("/users/profile")
        profile = answer.json()
        assert answer.status_code == 200
        assert profile.pop("created_at").endswith("Z")
        assert profile == {
            "id": maria.id,
            "email": maria.email,
            "full_name": "Maria Anders",
            "is_active": True,
            "is_admin": False,
            "email_verified": False,
            "address": None,
        }

    async def test_needs_a_token(self, api: Api) -> None:
        assert_problem(await api.get("/users/profile"), 401, "unauthenticated")
