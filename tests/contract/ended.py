"""Who may make a request, and each way in which that ends."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from tests.contract.routes import CALLERS, ROUTES, Route
from tests.helpers.client import V1, Api
from tests.helpers.factories import Machine, Make, Person

#: Of those who may make a request: the owner, an administrator, and an API key.
Kind = str
WRITES: Final = tuple(
    route
    for route in ROUTES
    if route.method != "GET" and route.template.startswith(V1) and not route.ignores_tokens
)


@dataclass(frozen=True)
class Attempt:
    """A request that is good as long as its caller's access lasts."""

    client: Api
    request: dict[str, Any]
    caller: Person | Machine


def kinds_of(route: Route) -> Iterator[Kind]:
    statuses = dict(zip(CALLERS, route.expects, strict=True))
    yield from (kind for kind in ("owner", "administrator") if statuses[kind] < 300)
    if route.key is not None and route.key[1] < 300:
        yield "key"


async def attempt(make: Make, route: Route, kind: Kind) -> Attempt:
    """On a state of its own: another owner, another thing."""
    owner = await make.user()
    caller: Person | Machine = owner
    if kind == "administrator":
        caller = await make.admin()
    elif kind == "key":
        assert route.key is not None
        caller = await make.key(route.key[0])
    request = await route.request(make, owner)
    return Attempt(caller.api, request, caller)


async def contents(sql: asyncpg.Connection, tables: list[str]) -> dict[str, list[str]]:
    """Every row of every table, but for when a key was last used."""
    found = {}
    for table in tables:
        rows = await sql.fetch(f"SELECT (to_jsonb(t) - 'last_used_at')::text AS row FROM {table} t")
        found[table] = sorted(row["row"] for row in rows)
    return found
