"""Every route of the application, a valid request for it, and who may make it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from tests.client import V1
from tests.factories import PASSWORD, Make, Person

CALLERS: Final = ("anonymous", "owner", "other", "administrator")
_numbers = count(1)

Prepare = Callable[[Make, Person], Awaitable[int | None]]


@dataclass(frozen=True)
class Route:
    """`expects` has the statuses for CALLERS, in their order, each on a state of its own.

    `on` makes what the request is about, for its owner, and answers with what stands in the path.
    """

    method: str
    template: str
    expects: tuple[int, int, int, int]
    on: Prepare | None = None
    json: Any = None
    form: dict[str, str] | None = None
    query: str = ""
    note: str = ""

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.note}".strip()

    @property
    def is_public(self) -> bool:
        """Outside the API, where a token is not looked at, or where one is asked for."""
        return not self.template.startswith(V1) or self.template == f"{V1}/auth/token"

    async def request(self, make: Make, owner: Person) -> dict[str, Any]:
        """A valid request, as the client's `request` takes it."""
        key = await self.on(make, owner) if self.on else None
        head, brace, tail = self.template.partition("{")
        path = f"{head}{key}{tail.partition('}')[2]}" if brace else head
        fill = {"number": next(_numbers), "item": key, "owner": owner.email}
        made: dict[str, Any] = {"method": self.method, "url": f"http://shop.test{path}{self.query}"}
        if self.json is not None:
            made["json"] = filled(self.json, fill)
        if self.form is not None:
            made["data"] = filled(self.form, fill)
        return made


def filled(value: Any, fill: dict[str, Any]) -> Any:
    """`<name>` is what `fill` has under that name; inside of a text it is put in."""
    if isinstance(value, dict):
        return {name: filled(each, fill) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, fill) for each in value]
    for name, known in fill.items():
        if value == f"<{name}>":
            return known
        if isinstance(value, str):
            value = value.replace(f"<{name}>", str(known))
    return value


async def a_user(make: Make, owner: Person) -> int:
    return owner.id


async def an_item(make: Make, owner: Person) -> int:
    return (await make.item(stock=100, category="Tea")).id


async def a_withdrawn_item(make: Make, owner: Person) -> int:
    return (await make.item(is_active=False)).id


async def an_order(make: Make, owner: Person) -> int:
    body = {"product_id": await an_item(make, owner), "quantity": 2}
    order: int = (await owner.api.post("/orders", json=body)).json()["id"]
    return order


async def a_post(make: Make, owner: Person) -> int:
    return await make.post(owner)


async def a_pending_post(make: Make, owner: Person) -> int:
    return await make.post(owner, published=False)


async def a_notification(make: Make, owner: Person) -> int:
    await make.notification(owner)
    found: int = (await owner.api.get("/notifications")).json()[0]["id"]
    return found


async def a_city(make: Make, owner: Person) -> Any:
    return "Berlin"


HOME: Final = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
NEWS: Final = {"title": "Chai is back", "body": "The first boxes have arrived."}
CHAI: Final = {"name": "Chai", "price": "18.00", "sku": "NW-<number>", "stock": 5}
SIGN_IN: Final = {"grant_type": "password", "username": "<owner>", "password": PASSWORD}
MARIA: Final = {"email": "maria<number>@shop.example", "password": "Northwind1", "full_name": "Maria Anders"}
NEW_PASSWORD: Final = {"current_password": PASSWORD, "new_password": "battery-staple-2"}
ASSETS: Final = (
    "favicon.png", "redoc.standalone.js", "start-redoc.js", "start-swagger.js", "swagger-ui-bundle.js",
    "swagger-ui.css",
)  # fmt: skip

PUBLIC: Final = (200, 200, 200, 200)
SIGNED_IN: Final = (401, 200, 200, 200)
OWNED: Final = (401, 200, 404, 200)
STAFF: Final = (401, 403, 403, 200)

ROUTES: Final = (
    *(
        Route("GET", path, PUBLIC)
        for path in ("/", "/health", "/livez", "/readyz", "/startupz", "/.well-known/jwks.json")
    ),
    *(Route("GET", path, PUBLIC) for path in ("/docs", "/redoc", "/openapi.json")),
    *(Route("GET", f"/docs/assets/{name}", PUBLIC) for name in ASSETS),
    Route("POST", f"{V1}/auth/token", PUBLIC, form=SIGN_IN),
    Route("POST", f"{V1}/users", (201, 201, 201, 201), json=MARIA),
    Route("POST", f"{V1}/users", (403, 403, 403, 201), json={**MARIA, "is_active": False}, note="inactive"),
    Route("GET", f"{V1}/users/profile", SIGNED_IN),
    Route("PATCH", f"{V1}/users/profile", SIGNED_IN, json={"full_name": "Ana Trujillo", "address": HOME}),
    Route("POST", f"{V1}/users/profile/password", (401, 204, 204, 204), json=NEW_PASSWORD),
    Route("GET", f"{V1}/users/{{user_id}}", OWNED, on=a_user),
    Route("GET", f"{V1}/admin/users", STAFF, query="?search=maria&is_active=true&is_admin=false&limit=1"),
    Route("PATCH", f"{V1}/admin/users/{{user_id}}", STAFF, on=a_user, json={"is_active": False}),
    Route("GET", f"{V1}/items", PUBLIC, query="?search=chai&category=Tea&in_stock=true&min_price=1"),
    Route("GET", f"{V1}/items/categories", PUBLIC, on=an_item),
    Route("GET", f"{V1}/items/{{item_id}}", PUBLIC, on=an_item),
    Route("GET", f"{V1}/items/{{item_id}}", (404, 404, 404, 200), on=a_withdrawn_item, note="withdrawn"),
    Route("POST", f"{V1}/items", (401, 403, 403, 201), json=CHAI),
    Route("POST", f"{V1}/items/batch", (401, 403, 403, 201), json=[CHAI]),
    Route("PATCH", f"{V1}/items/{{item_id}}", STAFF, on=an_item, json={"price": "19.00"}),
    Route("DELETE", f"{V1}/items/{{item_id}}", (401, 403, 403, 204), on=an_item),
    Route("GET", f"{V1}/items/{{item_id}}/stock", STAFF, on=an_item),
    Route("POST", f"{V1}/items/{{item_id}}/stock", STAFF, on=an_item, json={"delta": 1, "reason": "Found"}),
    Route(
        "POST", f"{V1}/orders", (401, 201, 201, 201), on=an_item, json={"product_id": "<item>", "quantity": 1}
    ),
    Route("GET", f"{V1}/orders", SIGNED_IN, on=an_order, query="?status=placed&placed_from=2026-01-01"),
    Route("GET", f"{V1}/orders/{{order_id}}", OWNED, on=an_order),
    Route("POST", f"{V1}/orders/{{order_id}}/cancel", OWNED, on=an_order, json={"reason": "Ordered twice"}),
    Route("PUT", f"{V1}/orders/{{order_id}}/ship-to", OWNED, on=an_order, json=HOME),
    Route("GET", f"{V1}/weather/{{city}}", PUBLIC, on=a_city),
    Route("GET", f"{V1}/posts", PUBLIC, on=a_post, query="?order=asc"),
    Route("POST", f"{V1}/posts", (401, 201, 201, 201), json=NEWS),
    Route("GET", f"{V1}/posts/{{post_id}}", PUBLIC, on=a_post),
    Route("GET", f"{V1}/posts/{{post_id}}", (404, 200, 404, 200), on=a_pending_post, note="pending"),
    Route("PUT", f"{V1}/posts/{{post_id}}", (401, 200, 403, 200), on=a_post, json=NEWS),
    Route("PUT", f"{V1}/posts/{{post_id}}", OWNED, on=a_pending_post, json=NEWS, note="pending"),
    Route("PATCH", f"{V1}/posts/{{post_id}}", (401, 200, 403, 200), on=a_post, json={"title": "Gone"}),
    Route("DELETE", f"{V1}/posts/{{post_id}}", (401, 204, 403, 204), on=a_post),
    Route("POST", f"{V1}/posts/{{post_id}}/publish", STAFF, on=a_pending_post),
    Route("GET", f"{V1}/notifications", SIGNED_IN, on=a_notification, query="?unread=true"),
    Route("POST", f"{V1}/notifications/read", SIGNED_IN, on=a_notification),
    Route("POST", f"{V1}/notifications/{{notification_id}}/read", (401, 200, 404, 404), on=a_notification),
    Route("GET", f"{V1}/dashboard/{{user_id}}", OWNED, on=a_user),
    Route("GET", f"{V1}/compute", STAFF, query="?n=10"),
)
