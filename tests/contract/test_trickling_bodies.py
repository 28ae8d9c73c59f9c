"""A body that trickles does not outlive its caller's access: who is calling is asked again when it is in.

Every route with a body, by every caller who may call it, and each way to lose access: the first byte is sent,
the access ends and the process has heard of it, then the rest is sent.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import httpx2
import pytest

from tests.contract.ended import WRITES, Attempt, Kind, attempt, contents, kinds_of
from tests.contract.routes import CALLERS, NEW_PASSWORD, Route
from tests.helpers.client import assert_problem
from tests.helpers.factories import PASSWORD, Make
from tests.helpers.identity import until_answered

WITH_BODY: Final = tuple(route for route in WRITES if route.json is not None or route.form is not None)
each_route = pytest.mark.parametrize("route", WITH_BODY, ids=str)
#: Ends the access of this caller, a person or an API key.
End = Callable[[Make, Any], Awaitable[httpx2.Response]]


async def deactivated(make: Make, person: Any) -> httpx2.Response:
    return await (await make.admin()).api.patch(f"/admin/users/{person.id}", json={"is_active": False})


async def session_ended(make: Make, person: Any) -> httpx2.Response:
    again = await make.signed_in_again(person)
    return await again.api.delete(f"/auth/sessions/{person.caller.session_id}")


async def all_sessions_ended(make: Make, person: Any) -> httpx2.Response:
    return await (await make.signed_in_again(person)).api.delete("/auth/sessions")


async def password_changed(make: Make, person: Any) -> httpx2.Response:
    """By the owner, elsewhere: the token that is left is a thief's."""
    return await (await make.signed_in_again(person)).api.post("/users/profile/password", json=NEW_PASSWORD)


async def erased(make: Make, person: Any) -> httpx2.Response:
    await make.admin()  # so that this is not the last one
    again = await make.signed_in_again(person)
    return await again.api.request("DELETE", "/users/profile", json={"current_password": PASSWORD})


async def demoted(make: Make, person: Any) -> httpx2.Response:
    return await (await make.admin()).api.patch(f"/admin/users/{person.id}", json={"is_admin": False})


async def revoked(make: Make, machine: Any) -> httpx2.Response:
    return await (await make.admin()).api.delete(f"/api-keys/{machine.id}")


async def maker_demoted(make: Make, machine: Any) -> httpx2.Response:
    return await demoted(make, machine.maker)


OF_PERSONS: Final = (deactivated, session_ended, all_sessions_ended, password_changed, erased)
ENDS: Final[Mapping[Kind, Iterable[End]]] = {
    "owner": OF_PERSONS,
    "administrator": OF_PERSONS,
    "key": (revoked, maker_demoted),
}


@dataclass
class Trickle:
    """A request of which one byte is sent, and the rest when it is told to go on."""

    tried: Attempt
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self) -> httpx2.Response:
        client = self.tried.client
        whole = client.build_request(**self.tried.request)
        headers = {"Content-Type": whole.headers["content-type"]}
        return await client.request(
            whole.method, whole.url, content=self._in_two(whole.content), headers=headers
        )

    async def _in_two(self, body: bytes) -> AsyncIterator[bytes]:
        yield body[:1]
        self.begun.set()
        await self.go_on.wait()
        yield body[1:]


async def begun(make: Make, route: Route, kind: Kind) -> tuple[Trickle, asyncio.Task[httpx2.Response]]:
    trickle = Trickle(await attempt(make, route, kind))
    answer = asyncio.create_task(trickle.answer())
    waiting = asyncio.create_task(trickle.begun.wait())
    await asyncio.wait((answer, waiting), return_when=asyncio.FIRST_COMPLETED)
    assert not answer.done(), answer.result().text
    return trickle, answer


async def lose(make: Make, trickle: Trickle, end: End) -> None:
    """End the access of who has begun, and wait until the process has heard of it."""
    ended = await end(make, trickle.tried.caller)
    assert ended.status_code < 300, ended.text
    await until_answered(trickle.tried.client, "/items", 401)


@each_route
async def test_the_rest_comes_too_late(
    make: Make, sql: asyncpg.Connection, tables: list[str], route: Route
) -> None:
    ends = [(kind, end) for kind in kinds_of(route) for end in ENDS[kind]]
    under_way = [await begun(make, route, kind) for kind, _ in ends]
    losing = (lose(make, trickle, end) for (trickle, _), (_, end) in zip(under_way, ends, strict=True))
    assert await asyncio.gather(*losing)
    before = await contents(sql, tables)
    for trickle, answer in under_way:
        trickle.go_on.set()
        assert_problem(await answer, 401, "invalid_token")
    assert await contents(sql, tables) == before


@pytest.mark.parametrize("route", [each for each in WITH_BODY if "administrator" in kinds_of(each)], ids=str)
async def test_who_is_no_administrator_any_more_may_do_what_customers_may(
    make: Make, sql: asyncpg.Connection, tables: list[str], route: Route
) -> None:
    """With another user's object: what a customer may not is refused, and changes nothing."""
    expected = route.expects[CALLERS.index("other")]
    trickle, answer = await begun(make, route, "administrator")
    assert (await demoted(make, trickle.tried.caller)).status_code == 200
    await until_answered(trickle.tried.client, "/compute?n=0", 403)
    before = await contents(sql, tables)
    trickle.go_on.set()
    assert (await answer).status_code == expected, answer.result().text
    if expected >= 300:
        assert await contents(sql, tables) == before


async def test_a_key_that_may_do_less_meanwhile_does_no_more(
    make: Make, sql: asyncpg.Connection, tables: list[str]
) -> None:
    """Not even widen what others may: that takes a person."""
    route = next(route for route in WITH_BODY if str(route) == "POST /api/v1/items")
    trickle, answer = await begun(make, route, "key")
    body = {"scopes": ["users:read"]}
    path = f"/api-keys/{trickle.tried.caller.id}"
    assert (await (await make.admin()).api.patch(path, json=body)).status_code == 200
    await until_answered(trickle.tried.client, "/admin/users", 200)
    before = await contents(sql, tables)
    trickle.go_on.set()
    assert_problem(await answer, 403, "insufficient_scope")
    assert await contents(sql, tables) == before
