"""Every route of the application, a valid request for it, and who may make it."""

from typing import Final

from service.identity import KeyScope, Scope
from service.platform.database.positions import encode
from tests.contract.objects import (
    ERP,
    HOME,
    Prepare,
    a_city,
    a_delivery,
    a_notification,
    a_paid_order,
    a_pending_post,
    a_post,
    a_refresh_token,
    a_refund_due,
    a_reset_token,
    a_session,
    a_shipped_order,
    a_user,
    a_verification_token,
    a_webhook,
    a_withdrawn_item,
    an_api_key,
    an_ended_import,
    an_import,
    an_item,
    an_order,
)
from tests.contract.route import Route
from tests.helpers.client import V1
from tests.helpers.factories import PASSWORD

NEWS: Final = {"title": "Chai is back", "body": "The first boxes have arrived."}
CHAI: Final = {"name": "Chai", "price": "18.00", "sku": "NW-<number>", "stock": 5}
ONE: Final = {"product_id": "<item>", "quantity": 1}
TILL: Final = {"name": "Till", "scopes": ["orders:read"]}
#: Before all events.
FIRST_POSITION: Final = encode("events", 0)
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

#: What the files of an import may hold.
IMPORTED: Final[tuple[Scope, ...]] = ("catalogue:write", "orders:write", "users:write")
EXPORTED: Final[tuple[tuple[str, Prepare, KeyScope], ...]] = (
    ("orders", an_order, "orders:read"),
    ("items", an_item, "catalogue:read"),
    ("customers", a_user, "users:read"),
)
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
    Route(
        "POST",
        f"{V1}/users",
        (403, 403, 403, 201),
        json={**MARIA, "is_active": False},
        note="inactive",
        scopes=("users:write",),
    ),
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
    Route(
        "GET",
        f"{V1}/admin/users",
        STAFF,
        query="?changes_after=start",
        note="changes",
        key=("users:read", 200),
    ),
    Route(
        "PATCH",
        f"{V1}/admin/users/{{user_id}}",
        STAFF,
        on=a_user,
        json={"is_active": False},
        scopes=("users:write",),
    ),
    Route("GET", f"{V1}/admin/staff", STAFF, query="?limit=1", scopes=("staff:read",)),
    Route(
        "PATCH",
        f"{V1}/admin/users/{{user_id}}",
        STAFF,
        on=a_user,
        json={"scopes": ["orders:read"]},
        note="scopes",
        scopes=("staff:write",),
        also=("orders:read",),
    ),
    Route(
        "POST",
        f"{V1}/api-keys",
        (401, 403, 403, 201),
        json=TILL,
        scopes=("keys:write",),
        also=("orders:read",),
    ),
    Route("GET", f"{V1}/api-keys", STAFF, on=an_api_key, scopes=("keys:read",)),
    Route("GET", f"{V1}/api-keys/{{key_id}}", STAFF, on=an_api_key, scopes=("keys:read",)),
    Route(
        "PATCH",
        f"{V1}/api-keys/{{key_id}}",
        STAFF,
        on=an_api_key,
        json={"name": "Till 2"},
        scopes=("keys:write",),
        also=("orders:read",),
    ),
    Route("DELETE", f"{V1}/api-keys/{{key_id}}", (401, 403, 403, 204), on=an_api_key, scopes=("keys:write",)),
    Route(
        "POST",
        f"{V1}/webhooks",
        (401, 403, 403, 201),
        json=ERP,
        scopes=("webhooks:write",),
        also=("orders:read",),
    ),
    Route("GET", f"{V1}/webhooks", STAFF, on=a_webhook, scopes=("webhooks:read",)),
    Route("GET", f"{V1}/webhooks/{{webhook_id}}", STAFF, on=a_webhook, scopes=("webhooks:read",)),
    Route(
        "PATCH",
        f"{V1}/webhooks/{{webhook_id}}",
        STAFF,
        on=a_webhook,
        json={"is_active": False},
        scopes=("webhooks:write",),
        also=("orders:read",),
    ),
    Route(
        "DELETE",
        f"{V1}/webhooks/{{webhook_id}}",
        (401, 403, 403, 204),
        on=a_webhook,
        scopes=("webhooks:write",),
    ),
    Route(
        "POST",
        f"{V1}/webhooks/{{webhook_id}}/rotate-secret",
        STAFF,
        on=a_webhook,
        scopes=("webhooks:write",),
        also=("orders:read",),
    ),
    Route(
        "POST",
        f"{V1}/webhooks/{{webhook_id}}/ping",
        (401, 403, 403, 202),
        on=a_webhook,
        scopes=("webhooks:write",),
    ),
    Route(
        "POST",
        f"{V1}/webhooks/{{webhook_id}}/replay",
        (401, 403, 403, 202),
        on=a_webhook,
        json={"after": FIRST_POSITION},
        scopes=("webhooks:write",),
        also=("orders:read",),
    ),
    Route(
        "GET",
        f"{V1}/webhooks/{{webhook_id}}/deliveries",
        STAFF,
        on=a_webhook,
        query="?status=pending",
        scopes=("webhooks:read",),
    ),
    Route(
        "POST",
        f"{V1}/webhooks/{{webhook_id}}/deliveries/{{delivery_id}}/redeliver",
        (401, 403, 403, 202),
        on=a_delivery,
        scopes=("webhooks:write",),
    ),
    Route("GET", f"{V1}/events", STAFF, query="?after=now&limit=1&wait=0", key=("events:read", 200)),
    Route(
        "GET",
        f"{V1}/admin/audit",
        STAFF,
        query="?action=session.refused&since=2026-01-01T00:00:00Z",
        scopes=("audit:read",),
    ),
    Route("GET", f"{V1}/items", PUBLIC, query="?search=chai&category=Tea&in_stock=true&min_price=1"),
    Route("GET", f"{V1}/items", PUBLIC, query="?updated_since=1970-01-01T00:00:00Z", note="since"),
    Route("GET", f"{V1}/items", PUBLIC, query="?changes_after=start", note="changes"),
    Route("GET", f"{V1}/items", PUBLIC, query="?ids=1,2,3&limit=100", note="ids"),
    Route("GET", f"{V1}/stock", STAFF, on=an_item, query="?ids=1,2,3", key=("catalogue:read", 200)),
    Route(
        "GET",
        f"{V1}/stock",
        STAFF,
        query="?changes_after=start",
        note="changes",
        key=("catalogue:read", 200),
    ),
    Route("GET", f"{V1}/items/removed", PUBLIC, query="?updated_since=1970-01-01T00:00:00Z"),
    Route("GET", f"{V1}/posts/removed", PUBLIC, query="?updated_since=1970-01-01T00:00:00Z"),
    Route("GET", f"{V1}/items/categories", PUBLIC, on=an_item),
    Route("GET", f"{V1}/items/facets", PUBLIC, query="?names=color&attributes[color]=red&max_price=20"),
    Route("GET", f"{V1}/items/{{item_id}}", PUBLIC, on=an_item),
    Route(
        "GET",
        f"{V1}/items/{{item_id}}",
        (404, 404, 404, 200),
        on=a_withdrawn_item,
        note="withdrawn",
        key=("catalogue:read", 200),
    ),
    Route("POST", f"{V1}/items", (401, 403, 403, 201), json=CHAI, key=("catalogue:write", 201)),
    Route("POST", f"{V1}/items/batch", (401, 403, 403, 201), json=[CHAI], key=("catalogue:write", 201)),
    Route(
        "PUT",
        f"{V1}/items/batch",
        STAFF,
        json=[{"sku": "NW-<number>", "name": "Chai", "price": "18.00"}],
        key=("catalogue:write", 200),
    ),
    Route(
        "PUT",
        f"{V1}/stock/batch",
        STAFF,
        on=an_item,
        json=[{"item_id": "<item>", "stock": 7}],
        key=("catalogue:write", 200),
    ),
    Route(
        "PATCH",
        f"{V1}/items/{{item_id}}",
        STAFF,
        on=an_item,
        json={"price": "19.00"},
        key=("catalogue:write", 200),
    ),
    Route(
        "DELETE",
        f"{V1}/items/{{item_id}}",
        (401, 403, 403, 204),
        on=an_item,
        key=("catalogue:write", 204),
    ),
    Route("GET", f"{V1}/items/{{item_id}}/stock", STAFF, on=an_item, key=("catalogue:read", 200)),
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
    Route(
        "GET",
        f"{V1}/orders",
        SIGNED_IN,
        on=an_order,
        query="?changes_after=start",
        note="changes",
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
    Route(
        "PATCH",
        f"{V1}/orders/{{order_id}}",
        STAFF,
        on=an_order,
        json={"external_id": "SO-<number>"},
        key=("orders:write", 200),
    ),
    *(
        Route(
            "POST",
            f"{V1}/orders/{{order_id}}/{action}",
            STAFF,
            on=on,
            json=body,
            key=("orders:write", 200),
        )
        for action, on, body in (
            ("pay", an_order, {"reference": "pi_3MtwBw"}),
            ("ship", a_paid_order, {"tracking": "00340434161094"}),
            ("deliver", a_shipped_order, {}),
            ("refund", a_refund_due, {"reference": "re_1Nispe"}),
        )
    ),
    Route(
        "PUT",
        f"{V1}/orders/{{order_id}}/ship-to",
        OWNED,
        on=an_order,
        json=HOME,
        key=("orders:write", 200),
    ),
    *(
        Route("GET", f"{V1}/exports/{of}.{form}", STAFF, on=on, query=query, key=(scope, 200))
        for of, on, scope in EXPORTED
        for form, query in (("csv", "?after=0&time_zone=Europe/Berlin"), ("jsonl", "?until=9000000000"))
    ),
    Route("POST", f"{V1}/imports", (401, 403, 403, 201), content=b"PK", scopes=IMPORTED),
    Route("GET", f"{V1}/imports", STAFF, on=an_import, scopes=IMPORTED),
    Route("GET", f"{V1}/imports/{{import_id}}", STAFF, on=an_import, scopes=IMPORTED),
    Route("GET", f"{V1}/imports/{{import_id}}/refusals.csv", STAFF, on=an_import, scopes=IMPORTED),
    Route("POST", f"{V1}/imports/{{import_id}}/repeat", STAFF, on=an_ended_import, scopes=IMPORTED),
    Route("GET", f"{V1}/weather/{{city}}", PUBLIC, on=a_city),
    Route("GET", f"{V1}/posts", PUBLIC, on=a_post, query="?order=asc"),
    Route("GET", f"{V1}/posts", PUBLIC, on=a_post, query="?changes_after=start", note="changes"),
    Route("POST", f"{V1}/posts", (401, 201, 201, 201), json=NEWS),
    Route("GET", f"{V1}/posts/{{post_id}}", PUBLIC, on=a_post),
    Route(
        "GET",
        f"{V1}/posts/{{post_id}}",
        (404, 200, 404, 200),
        on=a_pending_post,
        note="pending",
        key=("posts:read", 200),
    ),
    Route(
        "PUT", f"{V1}/posts/{{post_id}}", (401, 200, 403, 200), on=a_post, json=NEWS, scopes=("posts:write",)
    ),
    Route(
        "PUT",
        f"{V1}/posts/{{post_id}}",
        OWNED,
        on=a_pending_post,
        json=NEWS,
        note="pending",
        scopes=("posts:write",),
    ),
    Route(
        "PATCH",
        f"{V1}/posts/{{post_id}}",
        (401, 200, 403, 200),
        on=a_post,
        json={"title": "Gone"},
        scopes=("posts:write",),
    ),
    Route("DELETE", f"{V1}/posts/{{post_id}}", (401, 204, 403, 204), on=a_post, scopes=("posts:write",)),
    Route("POST", f"{V1}/posts/{{post_id}}/publish", STAFF, on=a_pending_post, scopes=("posts:write",)),
    Route("GET", f"{V1}/notifications", SIGNED_IN, on=a_notification, query="?unread=true"),
    Route("POST", f"{V1}/notifications/read", SIGNED_IN, on=a_notification),
    Route("GET", f"{V1}/notifications/stream", SIGNED_IN, on=a_notification, query="?last_event_id=0"),
    Route("POST", f"{V1}/notifications/stream-ticket", SIGNED_IN),
    Route("POST", f"{V1}/notifications/{{notification_id}}/read", (401, 200, 404, 404), on=a_notification),
    Route(
        "GET",
        f"{V1}/dashboard/{{user_id}}",
        OWNED,
        on=a_user,
        scopes=(
            "users:read",
            "orders:read",
        ),
    ),
    Route("GET", f"{V1}/compute", STAFF, query="?n=10"),
)
