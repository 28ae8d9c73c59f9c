"""No request within the limits holds the event loop for much longer than a plain one of its size.

By CPU time of the loop's thread, each compared with the plain request in the same run: what else the machine
does changes neither by much, and the factors are far above what is measured (docs/benchmarks/worst.md).
"""

import time
from typing import Any, Final

import httpx2
import pytest

from tests.contract.routes import ROUTES, Route
from tests.contract.test_bad_input import WITH_BODY
from tests.contract.test_callers import allowed_caller, prepared
from tests.contract.worst import HEADERS, KIB, PLAIN_HEADER, PLAIN_QUERY, QUERIES, sized
from tests.helpers.client import Api
from tests.helpers.factories import Make

pytestmark = pytest.mark.usefixtures("short_streams")

#: Times a plain request. Some hundreds, before bodies were bounded.
MOST: Final = 60
#: A large body, and one that is as large as any but a batch's may be.
SIZES: Final = (1000 * KIB, 127 * KIB)
TRIES: Final = 3
#: What is answered from memory takes so little that anything would be many times of it.
LEAST_SECONDS: Final = 0.001
#: Holds whatever it is asked: it waits for its turn, or for another service.
SLOW: Final = ("/compute", "/weather/{city}", "/invoice.pdf", "/stream")


class Unchecked(Api):
    """The answers are held against the documentation elsewhere, which takes longer than the requests."""

    async def send(self, request: httpx2.Request, *, stream: bool = False, **options: Any) -> httpx2.Response:
        return await httpx2.AsyncClient.send(self, request, stream=stream, **options)


async def spent(client: Api, request: dict[str, Any]) -> float:
    """CPU of this thread in seconds: of the cheapest of several tries, the one disturbed least."""
    found = []
    for _ in range(TRIES):
        began = time.thread_time()
        answer = await Unchecked.send(client, client.build_request(**request))  # type: ignore[arg-type]
        found.append(time.thread_time() - began)
        assert answer.status_code < 500, answer.text
    return min(found)


async def dearest(client: Api, base: dict[str, Any], plain: Any, worst: dict[str, Any]) -> dict[str, float]:
    """What takes more than MOST times as long as the plain request."""
    await spent(client, base | plain)
    usual = max(await spent(client, base | plain), LEAST_SECONDS)
    times = {name: await spent(client, base | request) / usual for name, request in worst.items()}
    return {name: round(factor, 1) for name, factor in times.items() if factor > MOST}


async def without_body(make: Make, route: Route) -> tuple[Api, dict[str, Any]]:
    client, request = await prepared(make, route, allowed_caller(route))
    return client, {"method": route.method, "url": request["url"].partition("?")[0]}


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_no_body_takes_much_longer_than_a_plain_one(make: Make, route: Route) -> None:
    client, base = await without_body(make, route)
    for size in SIZES:
        plain, worst = sized(size, form=route.form is not None)
        assert await dearest(client, base, plain, worst) == {}


@pytest.mark.parametrize("route", [each for each in ROUTES if not each.template.endswith(SLOW)], ids=str)
async def test_no_header_or_query_takes_much_longer_than_a_plain_one(make: Make, route: Route) -> None:
    client, base = await without_body(make, route)
    if route.method != "GET":
        base["content"] = b"{}"
    headers = {name: {"headers": header} for name, header in HEADERS.items()}
    assert await dearest(client, base, {"headers": PLAIN_HEADER}, headers) == {}
    queries = {name: {"url": f"{base['url']}?{query}"} for name, query in QUERIES.items()}
    assert await dearest(client, base, {"url": f"{base['url']}?{PLAIN_QUERY}"}, queries) == {}
