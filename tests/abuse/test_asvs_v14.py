"""ASVS 5.0, V14: data in URLs and caches."""

import asyncpg
import pytest

from tests.helpers.client import Api
from tests.helpers.factories import Make

#: None is part of the key under which an answer is cached, so none may change the answer.
UNKEYED = (
    ("Host", "evil.example"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Host", "evil.example"),
    ("Forwarded", "host=evil.example;proto=http"),
    ("X-Forwarded-Proto", "http"),
    ("X-Forwarded-Port", "1234"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Original-URL", "/api/v1/admin/users"),
    ("X-HTTP-Method-Override", "POST"),
    ("Origin", "https://evil.example"),
    ("Referer", "https://evil.example/<script>"),
    ("User-Agent", "<script>alert(1)</script>"),
    ("Accept-Language", "xx"),
    ("Accept-Encoding", "br"),
    ("Range", "bytes=0-1"),
    ("Cookie", "session=evil"),
    ("X-Request-ID", "evil-evil-evil"),
    ("Transfer-Encoding", "identity"),
)


@pytest.mark.parametrize("way", ["access_token", "token", "bearer_token", "api_key", "key", "jwt", "auth"])
async def test_v14_2_1_no_token_is_taken_from_a_url_or_a_body(api: Api, make: Make, way: str) -> None:
    """Where a parameter of this name is not known the answer is a refusal, and the token is not in it."""
    maria = await make.user()
    by_query = await api.get("/users/profile", params={way: maria.token})
    by_form = await api.post("/posts", data={way: maria.token, "title": "x", "body": "y"})
    by_json = await api.post("/posts", json={way: maria.token, "title": "x", "body": "y"})
    for answer in (by_query, by_form, by_json):
        assert answer.status_code == 401
        assert maria.token not in answer.text
    header = {"X-API-Key": maria.token, "X-Auth-Token": maria.token, "X-Access-Token": maria.token}
    assert (await api.get("/users/profile", headers=header)).status_code == 401


@pytest.mark.usefixtures("lease")
async def test_v14_2_2_no_header_that_is_no_key_changes_a_cached_answer(
    api: Api, make: Make, sql: asyncpg.Connection
) -> None:
    """A client cannot plant an answer that others get: what a request says changes nothing but itself."""
    await make.item(name="Chai", category="Tea")
    own = ("x-request-id", "ratelimit", "ratelimit-policy")
    for path in ("/items", "/items?category=Tea&limit=1", "/items/categories"):
        api.app.state.container.response_cache.clear()
        plain = await api.get(path)
        for name, value in UNKEYED:
            api.app.state.container.response_cache.clear()
            planted = await api.get(path, headers={name: value})
            assert planted.status_code == 200, name
            after = await api.get(path)
            assert (after.status_code, after.content) == (200, plain.content), name
            kept = {key: each for key, each in after.headers.items() if key not in own}
            assert kept == {key: each for key, each in plain.headers.items() if key not in own}, name
            assert "evil" not in after.text + str(after.headers)


@pytest.mark.usefixtures("lease")
async def test_v14_2_2_no_personal_answer_is_kept_under_a_public_name(api: Api, make: Make) -> None:
    """Web cache deception: what looks like a file is not found, and what is personal is not stored."""
    maria = await make.user()
    for path in (
        "/users/profile/x.css",
        "/users/profile.js",
        "/users/profile%2fx.css",
        "/users/profile;x.png",
    ):
        answer = await maria.api.get(path)
        assert answer.status_code in {404, 422}, path
        assert answer.headers["cache-control"] == "private, no-store"
        assert maria.email not in answer.text
    await maria.api.get("/users/profile")
    assert (await api.get("/users/profile")).status_code == 401
