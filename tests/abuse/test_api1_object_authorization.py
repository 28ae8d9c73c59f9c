"""API1:2023 Broken Object Level Authorization: the id of another's object leads nowhere."""

from typing import Any

import asyncpg
import pytest

from service.identity.models import SCOPES
from tests.abuse.walking import NOWHERE, OWNED, shown, stored
from tests.contract.routes import Route, an_order
from tests.helpers.client import Api
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")


def of_nothing(route: Route, request: dict[str, Any]) -> dict[str, Any]:
    """The same request for an object that does not exist."""
    head, _, _ = route.template.partition("{")
    tail = request["url"].partition(head)[2].partition("?")[0]
    own_id, slash, rest = tail.partition("/")
    url = request["url"].replace(f"{head}{own_id}{slash}{rest}", f"{head}{NOWHERE}{slash}{rest}", 1)
    return {**request, "url": url}


async def intruders(make: Make, route: Route) -> dict[str, Api]:
    """Another customer, who has such objects too; a key with every scope but the one that the route takes;
    and a caller without credentials.
    """
    other = await make.user()
    await route.request(make, other)
    scopes = [scope for scope in SCOPES if route.key is None or scope != route.key[0]]
    return {"another customer": other.api, "a key": (await make.key(*scopes)).api, "anonymous": make.api}


@pytest.mark.parametrize("route", OWNED, ids=str)
async def test_anothers_object_is_as_if_it_did_not_exist(
    make: Make, route: Route, sql: asyncpg.Connection, tables: list[str]
) -> None:
    owner = await make.user()
    request = await route.request(make, owner)
    callers = await intruders(make, route)
    before = await stored(sql, tables)
    for name, client in callers.items():
        answer = await client.request(**request)
        missing = await client.request(**of_nothing(route, request))
        assert (name, shown(answer)) == (name, shown(missing))
        assert answer.status_code in (401, 403, 404)
        assert owner.email not in answer.text
    assert await stored(sql, tables) == before


class TestLists:
    """A list is an object of its caller's: it has what is the caller's, and nothing else."""

    @pytest.mark.parametrize("path", ["/orders", "/notifications", "/auth/sessions"])
    async def test_has_nothing_of_another_customer(self, make: Make, path: str) -> None:
        maria, ana = await make.user(), await make.user()
        for person in (maria, ana):
            await an_order(make, person)
        hers = {each["id"] for each in (await maria.api.get(path)).json()}
        others = {each["id"] for each in (await ana.api.get(path)).json()}
        assert hers
        assert others
        assert hers.isdisjoint(others)

    async def test_filters_by_another_customer_are_refused_as_if_there_were_none(self, make: Make) -> None:
        maria, ana = await make.user(), await make.user()
        await an_order(make, ana)
        known = await maria.api.get(f"/orders?user_id={ana.id}")
        unknown = await maria.api.get(f"/orders?user_id={NOWHERE}")
        assert shown(known) == shown(unknown)
        assert known.status_code == 403

    async def test_a_cursor_of_another_customers_list_shows_nothing_of_it(self, make: Make) -> None:
        maria, ana = await make.user(), await make.user()
        hers = await an_order(make, maria)
        for _ in range(2):
            await an_order(make, ana)
        link = (await ana.api.get("/orders?limit=1")).headers["link"]
        answer = await maria.api.root(link.partition("<")[2].partition(">")[0])
        if answer.status_code == 200:
            assert {order["id"] for order in answer.json()} <= {hers}
        else:
            assert answer.status_code == 422


class TestKeysOfARetry:
    async def test_anothers_idempotency_key_replays_nothing(self, make: Make) -> None:
        """The key of a retry is an id too: under another caller it stands for another request."""
        maria, ana, tea = await make.user(), await make.user(), await make.item(stock=10)
        body, headers = {"product_id": tea.id, "quantity": 1}, {"Idempotency-Key": "order-of-the-day"}
        first = await maria.api.post("/orders", json=body, headers=headers)
        second = await ana.api.post("/orders", json=body, headers=headers)
        assert (first.status_code, second.status_code) == (201, 201)
        assert "idempotent-replayed" not in second.headers
        assert first.json()["id"] != second.json()["id"]
