"""What PostgreSQL writes as JSON is what pydantic would write of the same row, to the byte."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from inspect import signature
from typing import Any, Final, get_origin

import asyncpg
import pytest
from pydantic import TypeAdapter

from service.accounts import Address, User
from service.catalogue.schemas import Item
from service.customers.dashboard.schemas import Dashboard, Statistics
from service.customers.schemas import UserWithAddress
from service.main import ROUTERS
from service.notifications import Notification
from service.orders.models import STATUSES
from service.orders.schemas import Order
from service.platform.http.documents import Document
from service.platform.http.etag.versions import Versioned, tag_of
from service.platform.http.schemas import MAX_AMOUNT, MAX_ID, money_text
from service.posts.schemas import Post
from tests.helpers.client import V1
from tests.helpers.factories import Make, Person

#: What JSON escapes, what it could escape, and what only looks as if.
AWKWARD: Final = "Käse \"Ö\" \\ / </a> \\u0041 \b\f\n\r\t\x01\x1f\x7f\u2028\ufeff é 🧀 %s $1 :x {} ''"
#: The driver takes the very first and the very last for infinite.
FIRST, LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
WHOLE: Final = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)
TENTH, TINY = WHOLE + timedelta(microseconds=100_000), WHOLE + timedelta(microseconds=1)


@dataclass(frozen=True)
class Case:
    """`write` writes awkward rows for this person, and answers with the path that shows them.
    `read` makes of the same rows what the route should send.
    """

    write: Callable[[Make, asyncpg.Connection, Person], Awaitable[str]]
    read: Callable[[asyncpg.Connection, Person], Awaitable[Any]]


@asynccontextmanager
async def unchecked(sql: asyncpg.Connection) -> AsyncIterator[None]:
    """Without triggers and foreign keys: what is written need not have come about."""
    async with sql.transaction():
        await sql.execute("SET LOCAL session_replication_role = replica")
        yield


async def insert(sql: asyncpg.Connection, table: str, **values: Any) -> None:
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await sql.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({places})", *values.values())


def event(status: str, at: str, by: str = "customer") -> dict[str, str]:
    return {"status": status, "at": at, "by": by}


async def write_order(sql: asyncpg.Connection, person: Person, order_id: int, **values: Any) -> None:
    """With one line, or one more for each further amount."""
    amounts: Sequence[str] = values.pop("amounts", ["18.00"])
    total = sum(map(Decimal, amounts))
    events = values.pop("events", [event("placed", "2026-11-22T10:30:00.000000Z")])
    ship_to = values.pop("ship_to", None)
    order = {
        "id": order_id, "user_id": person.id, "customer_name": "Maria", "shipping": "standard",
        "subtotal": total, "discount": 0, "shipping_fee": 0, "total": total, "currency": "USD",
        "ship_to": json.dumps(ship_to), "events": json.dumps(events), "placed_at": WHOLE, "updated_at": WHOLE,
    }  # fmt: skip
    await insert(sql, "orders", **order | ({} if ship_to else {"ship_to": None}) | values)
    # In the order of their positions, which is not that of the key.
    for position, amount in enumerate(amounts):
        price = Decimal(amount)
        line = {"order_id": order_id, "product_id": MAX_ID - position, "position": position, "name": AWKWARD}
        await insert(sql, "order_lines", **line, quantity=1, unit_price=price, line_total=price)


async def write_orders(_: Make, sql: asyncpg.Connection, person: Person) -> str:
    address = {"street": AWKWARD, "city": "Köln", "postal_code": "", "country": "DE"}
    async with unchecked(sql):
        await write_order(sql, person, 1, amounts=["0.01", "100.10", "18.00"])
        await write_order(
            sql, person, MAX_ID, customer_name=AWKWARD, status="refunded", amounts=[str(MAX_AMOUNT)],
            ship_to={**address, "name": None, "region": AWKWARD}, reference=AWKWARD, cancel_reason=AWKWARD,
            tracking=AWKWARD, version=MAX_ID, placed_at=LAST, updated_at=TENTH, paid_at=TINY,
            cancelled_at=WHOLE, refunded_at=FIRST, payment_reference="pi_1",
            events=[
                event("placed", "2026-11-22T10:30:00.000000Z", "unknown"),
                event("paid", "2026-11-22T10:30:00.000001Z", "staff"),
                event("cancelled", "0001-01-01T00:00:00.100000Z", "api_key"),
                event("refunded", "9999-12-31T23:59:59.999999Z", "system"),
            ],
        )  # fmt: skip
        await write_order(
            sql, person, 2, status="delivered", ship_to={**address, "name": "", "region": None},
            placed_at=FIRST, paid_at=WHOLE, shipped_at=TENTH, delivered_at=LAST, reference="",
            events=[event("delivered", "2026-11-22T10:30:00.100000Z", "import")],
        )  # fmt: skip
        await write_order(
            sql, person, 3, status="cancelled", refund_due=True, paid_at=WHOLE, cancelled_at=WHOLE,
            events=[event("cancelled", "2026-11-22T10:30:00.000000Z")],
        )  # fmt: skip
    return "/orders"


async def read_orders(sql: asyncpg.Connection, person: Person) -> list[Order]:
    query = "SELECT * FROM orders WHERE user_id = $1 ORDER BY placed_at DESC, id DESC"
    found = []
    for row in await sql.fetch(query, person.id):
        lines = await sql.fetch("SELECT * FROM order_lines WHERE order_id = $1 ORDER BY position", row["id"])
        documents = {name: json.loads(row[name] or "null") for name in ("ship_to", "events")}
        found.append(Order.of({**row, **documents, "lines": [written(line) for line in lines]}))
    return found


def written(row: asyncpg.Record) -> dict[str, Any]:
    return {key: money_text(value) if isinstance(value, Decimal) else value for key, value in row.items()}


async def write_profile(_: Make, sql: asyncpg.Connection, person: Person) -> str:
    query = "UPDATE users SET version = $2, email_verified = true, created_at = $3 WHERE id = $1"
    await sql.execute(query, person.id, 2**62, TENTH)
    await insert(
        sql, "addresses", user_id=person.id, name=AWKWARD, street="", city=AWKWARD, country="DE"
    )  # fmt: skip
    return "/users/profile"


async def read_profile(sql: asyncpg.Connection, person: Person) -> User:
    [user] = await sql.fetch("SELECT * FROM users WHERE id = $1", person.id)
    address = await sql.fetchrow("SELECT * FROM addresses WHERE user_id = $1", person.id)
    return User.of({**user, "address": address and Address.of(dict(address))})


async def write_posts(_: Make, sql: asyncpg.Connection, person: Person) -> str:
    async with unchecked(sql):
        for post_id, title, moment in ((1, AWKWARD, WHOLE), (2, "", TENTH), (MAX_ID, "x", LAST)):
            times = {"created_at": moment, "updated_at": FIRST, "published_at": moment}
            post = {"id": post_id, "title": title, "body": AWKWARD * 3, "author_id": person.id, **times}
            await insert(sql, "posts", **post, status="published", version=post_id)
        await insert(sql, "posts", id=3, title="x", body="x", author_id=person.id)
    return "/posts"


async def read_posts(sql: asyncpg.Connection, _: Person) -> list[Post]:
    rows = await sql.fetch(
        "SELECT posts.*, full_name AS author_name FROM posts JOIN users ON users.id = author_id"
        " ORDER BY posts.id DESC"
    )
    return [Post.of(dict(row)) for row in rows]


async def write_items(_: Make, sql: asyncpg.Connection, __: Person) -> str:
    async with unchecked(sql):
        for item_id, price, moment in ((1, "0.01", WHOLE), (2, "100.10", TENTH), (MAX_ID, MAX_AMOUNT, LAST)):
            texts = {"sku": f"{AWKWARD}{item_id}", "name": AWKWARD, "description": AWKWARD, "category": ""}
            times = {"created_at": moment, "updated_at": FIRST}
            await insert(sql, "items", id=item_id, **texts, price=Decimal(price), **times, version=item_id)
    return "/items"


async def read_items(sql: asyncpg.Connection, _: Person) -> list[Item]:
    return [Item.of(dict(row)) for row in await sql.fetch("SELECT * FROM items ORDER BY id")]


async def write_notifications(_: Make, sql: asyncpg.Connection, person: Person) -> str:
    whole = {"order_id": MAX_ID, AWKWARD: AWKWARD, "total": "18.00", "left": 0, "paid": True, "none": None}
    async with unchecked(sql):
        for number, data in ((1, whole), (2, {}), (MAX_ID, {"b": -1, "a": "", "aa": False})):
            texts = {"kind": "order.placed", "title": AWKWARD, "body": AWKWARD}
            times = {"read_at": TENTH if number == 1 else None, "created_at": LAST}
            row = {"id": number, "user_id": person.id, "data": json.dumps(data), **texts, **times}
            await insert(sql, "notifications", **row)
    return "/notifications"


async def read_notifications(sql: asyncpg.Connection, person: Person) -> list[Notification]:
    rows = await sql.fetch("SELECT * FROM notifications WHERE user_id = $1 ORDER BY id DESC", person.id)
    return [Notification.of({**row, "data": json.loads(row["data"])}) for row in rows]


async def write_person(make: Make, sql: asyncpg.Connection, person: Person) -> str:
    for write in (write_profile, write_orders, write_notifications):
        await write(make, sql, person)
    return f"/users/{person.id}"


async def read_person(sql: asyncpg.Connection, person: Person) -> UserWithAddress:
    user = await read_profile(sql, person)
    return UserWithAddress(**dict(user), orders=await read_orders(sql, person))


async def write_dashboard(make: Make, sql: asyncpg.Connection, person: Person) -> str:
    await write_person(make, sql, person)
    return f"/dashboard/{person.id}"


async def read_dashboard(sql: asyncpg.Connection, person: Person) -> Dashboard:
    by_status = dict.fromkeys(STATUSES, 0) | {"placed": 1, "delivered": 1, "cancelled": 1, "refunded": 1}
    stats = Statistics.of(
        {
            "orders_count": 4, "orders_by_status": by_status, "unpaid_count": 1, "total_spent": "136.11",
            "first_order_at": FIRST, "last_order_at": LAST, "posts_count": 0, "unread_notifications_count": 2,
        }
    )  # fmt: skip
    unread = [each for each in await read_notifications(sql, person) if each.read_at is None]
    return Dashboard(
        user_id=person.id, stats=stats, orders=await read_orders(sql, person), notifications=unread
    )


def one_of(many: Case) -> Case:
    """The same rows, of which the route shows the one with the greatest id."""

    async def write(make: Make, sql: asyncpg.Connection, person: Person) -> str:
        return f"{await many.write(make, sql, person)}/{MAX_ID}"

    async def read(sql: asyncpg.Connection, person: Person) -> Any:
        return next(each for each in await many.read(sql, person) if each.id == MAX_ID)

    return Case(write, read)


ORDERS, POSTS, ITEMS = (
    Case(write_orders, read_orders), Case(write_posts, read_posts), Case(write_items, read_items)
)  # fmt: skip
CASES: Final = {
    "/dashboard/{user_id}": Case(write_dashboard, read_dashboard),
    "/items": ITEMS,
    "/items/{item_id}": one_of(ITEMS),
    "/orders": ORDERS,
    "/orders/{order_id}": one_of(ORDERS),
    "/posts": POSTS,
    "/posts/{post_id}": one_of(POSTS),
    "/users/profile": Case(write_profile, read_profile),
    "/users/{user_id}": Case(write_person, read_person),
}


def test_every_route_that_sends_documents_has_a_case() -> None:
    routes: list[Any] = [route for router in ROUTERS for route in router.routes]
    documents = [
        route for route in routes if get_origin(signature(route.endpoint).return_annotation) is Document
    ]
    assert {route.path.removeprefix(V1) for route in documents} == set(CASES)


@pytest.mark.parametrize("template", CASES)
async def test_is_what_pydantic_writes(template: str, make: Make, sql: asyncpg.Connection) -> None:
    case, person = CASES[template], await make.user(full_name=AWKWARD)
    path = await case.write(make, sql, person)
    answer = await person.api.get(path)
    assert answer.status_code == 200, answer.text
    expected = await case.read(sql, person)
    assert answer.content == TypeAdapter(type(expected)).dump_json(expected)
    assert answer.headers["content-type"] == "application/json"
    if isinstance(expected, Versioned) and expected.tagged:
        assert answer.headers["etag"] == tag_of(expected)


async def test_a_profile_without_an_address(make: Make, sql: asyncpg.Connection) -> None:
    person = await make.user()
    expected = await read_profile(sql, person)
    assert expected.address is None
    assert (await person.api.get("/users/profile")).content == TypeAdapter(User).dump_json(expected)


@pytest.mark.parametrize("template", [path for path in CASES if "{" not in path and path != "/users/profile"])
async def test_a_list_of_nothing(template: str, make: Make) -> None:
    answer = await (await make.user()).api.get(template)
    assert (answer.status_code, answer.content) == (200, b"[]")
