"""Cursors, tokens and keys that are nearly good: each is refused, in the way of its kind."""

import asyncpg
import pytest
from hypothesis import given

from tests.contract.ended import contents
from tests.fuzz.profile import Change, changed, changes, fuzzed, pieces
from tests.helpers.client import assert_problem
from tests.helpers.factories import Machine, Make, Person
from tests.helpers.identity import sign_in
from tests.helpers.mailbox import mailed_token


@pytest.fixture
async def maria(make: Make) -> Person:
    return await make.user()


@pytest.fixture
async def till(make: Make) -> Machine:
    return await make.key("orders:read")


@pytest.fixture
async def cursor(make: Make) -> str:
    for number in range(2):
        await make.item(name=f"Tea {number}")
    link = (await make.api.get("/items?limit=1")).headers["link"]
    return str(link.partition("cursor=")[2].partition(">")[0].partition("&")[0])


@pytest.fixture
async def refresh_token(make: Make, maria: Person) -> str:
    return str((await sign_in(make.api, maria))["refresh_token"])


@pytest.fixture
async def mail_token(make: Make, maria: Person) -> str:
    await make.api.post("/auth/password-reset", json={"email": maria.email})
    return str(await mailed_token(make.container, maria.email))


@fuzzed
@given(change=changes)
async def test_a_cursor(make: Make, cursor: str, change: Change) -> None:
    bad = changed(cursor, change)
    answer = await make.api.get("/items", params={"limit": "1", "cursor": bad})
    if bad != cursor:
        assert_problem(answer, 422, "invalid_input", "?cursor")
        assert len(bad) < 9 or bad not in answer.text


@fuzzed
@given(text=pieces("e", "0", "=", "-", "_", "A" * 40, ".", "%", "[", "]"))
async def test_any_text_for_a_cursor(make: Make, text: str) -> None:
    for path in ("/items", "/posts"):
        answer = await make.api.get(path, params={"cursor": text})
        assert_problem(answer, 422, "invalid_input", "?cursor")


@fuzzed
@given(change=changes)
async def test_an_access_token(make: Make, maria: Person, change: Change) -> None:
    bad = changed(maria.token, change)
    answer = await make.api.signed_in(bad).get("/users/profile")
    if bad != maria.token:
        assert_problem(answer, 401, "invalid_token")


@fuzzed
@given(change=changes)
async def test_an_api_key(make: Make, till: Machine, change: Change) -> None:
    bad = changed(till.key, change)
    answer = await make.api.signed_in(bad).get("/orders")
    if bad != till.key:
        assert_problem(answer, 401, "invalid_token")


@fuzzed
@given(change=changes, text=pieces("A" * 43, "-", "_"))
async def test_a_refresh_token(
    make: Make, sql: asyncpg.Connection, refresh_token: str, change: Change, text: str
) -> None:
    before = await contents(sql, ["sessions", "refresh_tokens"])
    for bad in (changed(refresh_token, change), text):
        if bad == refresh_token:
            continue
        form = {"grant_type": "refresh_token", "refresh_token": bad}
        answer = await make.api.post("/auth/token", data=form)
        assert answer.status_code == 400
        assert answer.json()["error"] in ("invalid_grant", "invalid_request")
    assert await contents(sql, ["sessions", "refresh_tokens"]) == before


@fuzzed
@given(change=changes, text=pieces("A" * 43, "-", "_"))
async def test_a_token_of_an_email(
    make: Make, sql: asyncpg.Connection, mail_token: str, change: Change, text: str
) -> None:
    before = await contents(sql, ["users", "sessions"])
    for bad in (changed(mail_token, change), text):
        if bad != mail_token:
            body = {"token": bad, "new_password": "battery-staple-2"}
            answer = await make.api.post("/auth/password-reset/confirm", json=body)
            assert_problem(answer, 422, "invalid_input", "/token")
    assert await contents(sql, ["users", "sessions"]) == before


@fuzzed
@given(text=pieces("A" * 43, "A", "-", "_", "=", "%00"))
async def test_a_ticket_of_a_stream(make: Make, text: str) -> None:
    answer = await make.api.get("/notifications/stream", params={"ticket": text})
    if answer.status_code == 422:
        assert_problem(answer, 422, "invalid_input", "?ticket")
    else:
        assert answer.status_code == 401
