"""Writes that ask for their caller under a lock do not wait for each other in circles."""

import asyncio
import itertools
from collections.abc import Awaitable, Iterator

import asyncpg
import httpx2
from prometheus_client import REGISTRY

from tests.helpers.factories import Machine, Make, Person

NEWS = {"title": "Chai is back", "body": "The first boxes have arrived."}


def run_again() -> float:
    """How many requests have been run again after a deadlock."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "database_transactions_retried"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


def everything(
    by: Person | Machine, items: list[int], customer: Person, number: int
) -> Iterator[Awaitable[httpx2.Response]]:
    """What administrators do, and keys may too, on the same rows."""
    for item in items:
        yield by.api.post(f"/items/{item}/stock", json={"delta": -1, "reason": "Broken"})
        yield by.api.patch(f"/items/{item}", json={"name": f"Chai {number}"})
    order = {"lines": [{"product_id": item, "quantity": 1} for item in items], "user_id": customer.id}
    yield by.api.post("/orders", json=order)
    if isinstance(by, Person):
        yield by.api.post("/orders", json={**order, "user_id": by.id})
        yield by.api.patch("/users/profile", json={"full_name": f"Ada {number}"})
        yield by.api.post("/posts", json=NEWS)
        yield by.api.patch(f"/admin/users/{customer.id}", json={"is_active": True})
        yield by.api.post("/notifications/stream-ticket")
        yield by.api.post("/auth/verify-email")


async def test_all_at_once_none_is_run_again(make: Make, sql: asyncpg.Connection) -> None:
    customer, ada, grace = await make.user(), await make.admin(), await make.admin()
    till = await make.key("catalogue:write", "orders:write")
    # Each falls to its reorder level on the way, of which every administrator is told.
    items = [(await make.item(stock=100, reorder_level=90)).id for _ in range(2)]
    before = run_again()
    for number in range(5):
        asked = [everything(by, items, customer, number) for by in (ada, grace, till)]
        answers = await asyncio.gather(*itertools.chain.from_iterable(asked))
        assert [answer.text for answer in answers if answer.status_code >= 300] == []
    assert run_again() == before
