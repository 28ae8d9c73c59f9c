"""Every route of the application, a valid request for it, and who may make it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from service.identity import Scope
from service.platform.http.problems import OAUTH_PATHS
from tests.helpers.client import V1
from tests.helpers.factories import PASSWORD, Make, Person
from tests.helpers.identity import sign_in
from tests.helpers.mailbox import mailed_token

CALLERS: Final = ("anonymous", "owner", "other", "administrator")
_numbers = count(1)

Prepare = Callable[[Make, Person], Awaitable[int | str | None]]


@dataclass(frozen=True)
class Route:
    """`expects` has the statuses for CALLERS, in their order, each on a state of its own.

    `on` makes what the request is about, for its owner, and answers with what stands in the path. `key`
    is the scope with which an API key is admitted, and its status; without, it is refused, or a stranger.
    """

    method: str
    template: str
    expects: tuple[int, int, int, int]
    on: Prepare | None = None
    json: Any = None
    form: dict[str, str] | None = None
    query: str = ""
    note: str = ""
    key: tuple[Scope, int] | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.template} {self.note}".strip()

    @property
    def ignores_tokens(self) -> bool:
        """Outside the API nobody is asked who they are, and where tokens are made nobody has one."""
        return not self.template.startswith(V1) or self.template in OAUTH_PATHS

    async def request(self, make: Make, owner: Person) -> dict[str, Any]:
        """A valid request, as the client's `request` takes it."""
        key = await self.on(make, owner) if self.on else None
        head, brace, tail = self.template.partition("{")
        path = f"{head}{key}{tail.rpartition('}')[2]}" if brace else head
        fill = {"number": next(_numbers), "item": key, "owner": owner.email, "owner_id": owner.id}
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


async def a_paid_order(make: Make, owner: Person) -> int:
    body = {"product_id": await an_item(make, owner), "quantity": 2, "ship_to": HOME}
    order: int = (await owner.api.post("/orders", json=body)).json()["id"]
    await (await make.admin()).api.post(f"/orders/{order}/pay", json={"reference": "pi_3MtwBw"})
    return order


async def a_shipped_order(make: Make, owner: Person) -> int:
    order = await a_paid_order(make, owner)
    await (await make.admin()).api.post(f"/orders/{order}/ship", json={"tracking": "00340434161094"})
    return order


async def a_refund_due(make: Make, owner: Person) -> int:
    order = await a_paid_order(make, owner)
    await owner.api.post(f"/orders/{order}/cancel")
    return order


async def a_post(make: Make, owner: Person) -> int:
    return await make.post(owner)


async def a_pending_post(make: Make, owner: Person) -> int:
    return await make.post(owner, published=False)


async def a_notification(make: Make, owner: Person) -> int:
    await make.notification(owner)
    found: int = (await owner.api.get("/notifications")).json()[0]["id"]
    return found


async def a_refresh_token(make: Make, owner: Person) -> Any:
    return (await sign_in(make.api, owner))["refresh_token"]


async def a_session(make: Make, owner: Person) -> int:
    return owner.caller.session_id


async def a_reset_token(make: Make, owner: Person) -> Any:
    await make.api.post("/auth/password-reset", json={"email": owner.email})
    return await mailed_token(make.container, owner.email)


async def a_verification_token(make: Make, owner: Person) -> Any:
    await owner.api.post("/auth/verify-email")
    return await mailed_token(make.container, owner.email)


async def an_api_key(make: Make, owner: Person) -> int:
    return (await make.key("orders:read")).id


async def a_webhook(make: Make, owner: Person) -> int:
    made: int = (await (await make.admin()).api.post("/webhooks", json=ERP)).json()["id"]
    return made


async def a_delivery(make: Make, owner: Person) -> str:
    """Of a webhook: `3/deliveries/5`, for both stand in the path."""
    admin = await make.admin()
    webhook_id = (await admin.api.post("/webhooks", json=ERP)).json()["id"]
    delivery_id = (await admin.api.post(f"/webhooks/{webhook_id}/ping")).json()["id"]
    return f"{webhook_id}/deliveries/{delivery_id}"


async def a_city(make: Make, owner: Person) -> Any:
    return "Berlin"


HOME: Final = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
NEWS: Final = {"title": "Chai is back", "body": "The first boxes have arrived."}
CHAI: Final = {"name": "Chai", "price": "18.00", "sku": "NW-<number>", "stock": 5}
ONE: Final = {"product_id": "<item>", "quantity": 1}
TILL: Final = {"name": "Till", "scopes": ["orders:read"]}
#: A public address: nobody has to look it up, and nobody is called.
ERP: Final = {"url": "https://93.184.216.34/hooks", "events": ["order.placed"]}
REFRESH: Final = {"grant_type": "refresh_token", "refresh_token": "<item>"}
SIGN_IN: Final = {"grant_type": "password", "username": "<owner>", "password": PASSWORD}
MARIA: Final = {"email": "maria<number>@shop.example", "password": "Northwind1", "full_name": "Maria Anders"}
RESET: Final = {"token": "<item>", "new_password": "battery-staple-2"}
NEW_PASSWORD: Final = {"current_password": PASSWORD, "new_password": "battery-staple-2"}
ASSETS: Final = (
    "favicon.png", "redoc.standalone.js", "start-redoc.js", "start-swagger.js", "swagger-ui-bundle.js",
    "swagger-ui.css",
)  # fmt: skip

PUBLIC: Final = (200, 200, 200, 200)
ALL_ACCEPTED: Final = (202, 202, 202, 202)
ALL_DONE: Final = (204, 204, 204, 204)
SIGNED_IN: Final = (401, 200, 200, 200)
OWNED: Final = (401, 200, 404, 200)
STAFF: Final = (401, 403, 403, 200)

ROUTES: Final = (
    *(Route("GET", path, PUBLIC) for path in ("/", "/health", "/livez", "/readyz", "/startupz")),
    Route("GET", "/.well-known/jwks.json", PUBLIC),
    Route("GET", "/.well-known/oauth-authorization-server", PUBLIC),
    *(Route("GET", path, PUBLIC) for path in ("/docs", "/redoc", "/openapi.json")),
    *(Route("GET", f"/docs/assets/{name}", PUBLIC) for name in ASSETS),
    Route("POST", f"{V1}/auth/token", PUBLIC, form=SIGN_IN),
    Route("POST", f"{V1}/auth/token", PUBLIC, on=a_refresh_token, form=REFRESH, note="refresh"),
    Route("POST", f"{V1}/auth/revoke", PUBLIC, on=a_refresh_token, form={"token": "<item>"}),
    Route("GET", f"{V1}/auth/sessions", SIGNED_IN, query="?limit=1"),
    Route("DELETE", f"{V1}/auth/sessions", (401, 204, 204, 204)),
    Route("DELETE", f"{V1}/auth/sessions/{{session_id}}", (401, 204, 404, 404), on=a_session),
    Route("POST", f"{V1}/auth/password-reset", ALL_ACCEPTED, json={"email": "<owner>"}),
    Route("POST", f"{V1}/auth/password-reset/confirm", ALL_DONE, on=a_reset_token, json=RESET),
    Route("POST", f"{V1}/auth/verify-email", (401, 202, 202, 202)),
    Route(
        "POST", f"{V1}/auth/verify-email/confirm", ALL_DONE, on=a_verification_token, json={"token": "<item>"}
    ),
    Route("POST", f"{V1}/users", (201, 201, 201, 201), json=MARIA),
    Route("POST", f"{V1}/users", (403, 403, 403, 201), json={**MARIA, "is_active": False}, note="inactive"),
    Route("GET", f"{V1}/users/profile", SIGNED_IN),
    Route("PATCH", f"{V1}/users/profile", SIGNED_IN, json={"full_name": "Ana Trujillo", "address": HOME}),
    Route("POST", f"{V1}/users/profile/password", (401, 204, 204, 204), json=NEW_PASSWORD),
    Route("DELETE", f"{V1}/users/profile", (401, 204, 204, 409), json={"current_password": PASSWORD}),
    Route("GET", f"{V1}/users/profile/export", SIGNED_IN),
    Route("GET", f"{V1}/users/{{user_id}}", OWNED, on=a_user, key=("users:read", 200)),
    Route(
        "GET",
        f"{V1}/admin/users",
        STAFF,
        query="?search=maria&is_active=true&is_admin=false&limit=1",
        key=("users:read", 200),
    ),
    Route("PATCH", f"{V1}/admin/users/{{user_id}}", STAFF, on=a_user, json={"is_active": False}),
    Route("POST", f"{V1}/api-keys", (401, 403, 403, 201), json=TILL),
    Route("GET", f"{V1}/api-keys", STAFF, on=an_api_key),
    Route("GET", f"{V1}/api-keys/{{key_id}}", STAFF, on=an_api_key),
    Route("PATCH", f"{V1}/api-keys/{{key_id}}", STAFF, on=an_api_key, json={"name": "Till 2"}),
    Route("DELETE", f"{V1}/api-keys/{{key_id}}", (401, 403, 403, 204), on=an_api_key),
    Route("POST", f"{V1}/webhooks", (401, 403, 403, 201), json=ERP),
    Route("GET", f"{V1}/webhooks", STAFF, on=a_webhook),
    Route("GET", f"{V1}/webhooks/{{webhook_id}}", STAFF, on=a_webhook),
    Route("PATCH", f"{V1}/webhooks/{{webhook_id}}", STAFF, on=a_webhook, json={"is_active": False}),
    Route("DELETE", f"{V1}/webhooks/{{webhook_id}}", (401, 403, 403, 204), on=a_webhook),
    Route("POST", f"{V1}/webhooks/{{webhook_id}}/rotate-secret", STAFF, on=a_webhook),
    Route("POST", f"{V1}/webhooks/{{webhook_id}}/ping", (401, 403, 403, 202), on=a_webhook),
    Route("GET", f"{V1}/webhooks/{{webhook_id}}/deliveries", STAFF, on=a_webhook, query="?status=pending"),
    Route(
        "POST",
        f"{V1}/webhooks/{{webhook_id}}/deliveries/{{delivery_id}}/redeliver",
        (401, 403, 403, 202),
        on=a_delivery,
    ),
    Route("GET", f"{V1}/admin/audit", STAFF, query="?action=session.refused&since=2026-01-01T00:00:00Z"),
    Route("GET", f"{V1}/items", PUBLIC, query="?search=chai&category=Tea&in_stock=true&min_price=1"),
    Route("GET", f"{V1}/items", PUBLIC, query="?updated_since=1970-01-01T00:00:00Z", note="since"),
    Route("GET", f"{V1}/items/removed", PUBLIC, query="?updated_since=1970-01-01T00:00:00Z"),
    Route("GET", f"{V1}/posts/removed", PUBLIC, query="?updated_since=1970-01-01T00:00:00Z"),
    Route("GET", f"{V1}/items/categories", PUBLIC, on=an_item),
    Route("GET", f"{V1}/items/{{item_id}}", PUBLIC, on=an_item),
    Route(
        "GET",
        f"{V1}/items/{{item_id}}",
        (404, 404, 404, 200),
        on=a_withdrawn_item,
        note="withdrawn",
        key=("catalogue:write", 200),
    ),
    Route("POST", f"{V1}/items", (401, 403, 403, 201), json=CHAI, key=("catalogue:write", 201)),
    Route("POST", f"{V1}/items/batch", (401, 403, 403, 201), json=[CHAI], key=("catalogue:write", 201)),
    Route(
        "PATCH",
        f"{V1}/items/{{item_id}}",
        STAFF,
        on=an_item,
        json={"price": "19.00"},
        key=("catalogue:write", 200),
    ),
    Route(
        "DELETE", f"{V1}/items/{{item_id}}", (401, 403, 403, 204), on=an_item, key=("catalogue:write", 204)
    ),
    Route("GET", f"{V1}/items/{{item_id}}/stock", STAFF, on=an_item, key=("catalogue:write", 200)),
    Route(
        "POST",
        f"{V1}/items/{{item_id}}/stock",
        STAFF,
        on=an_item,
        json={"delta": 1, "reason": "Found"},
        key=("catalogue:write", 200),
    ),
    Route("POST", f"{V1}/orders", (401, 201, 201, 201), on=an_item, json=ONE, key=("orders:write", 422)),
    Route(
        "POST",
        f"{V1}/orders",
        (401, 403, 403, 201),
        on=an_item,
        json={**ONE, "user_id": "<owner_id>"},
        note="for the owner",
        key=("orders:write", 201),
    ),
    Route(
        "GET",
        f"{V1}/orders",
        SIGNED_IN,
        on=an_order,
        query="?status=placed&placed_from=2026-01-01",
        key=("orders:read", 200),
    ),
    Route("GET", f"{V1}/orders/{{order_id}}", OWNED, on=an_order, key=("orders:read", 200)),
    Route("GET", f"{V1}/orders/{{order_id}}/invoice.pdf", OWNED, on=an_order, key=("orders:read", 200)),
    Route(
        "POST",
        f"{V1}/orders/{{order_id}}/cancel",
        OWNED,
        on=an_order,
        json={"reason": "Ordered twice"},
        key=("orders:write", 200),
    ),
    *(
        Route(
            "POST", f"{V1}/orders/{{order_id}}/{action}", STAFF, on=on, json=body, key=("orders:write", 200)
        )
        for action, on, body in (
            ("pay", an_order, {"reference": "pi_3MtwBw"}),
            ("ship", a_paid_order, {"tracking": "00340434161094"}),
            ("deliver", a_shipped_order, {}),
            ("refund", a_refund_due, {"reference": "re_1Nispe"}),
        )
    ),
    Route(
        "PUT", f"{V1}/orders/{{order_id}}/ship-to", OWNED, on=an_order, json=HOME, key=("orders:write", 200)
    ),
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
    Route("GET", f"{V1}/notifications/stream", SIGNED_IN, on=a_notification, query="?last_event_id=0"),
    Route("POST", f"{V1}/notifications/stream-ticket", SIGNED_IN),
    Route("POST", f"{V1}/notifications/{{notification_id}}/read", (401, 200, 404, 404), on=a_notification),
    Route("GET", f"{V1}/dashboard/{{user_id}}", OWNED, on=a_user),
    Route("GET", f"{V1}/compute", STAFF, query="?n=10"),
)
