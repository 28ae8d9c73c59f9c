"""What the requests of the table of routes are about: each made for its owner."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from service.imports import repository as imports
from tests.helpers.factories import Make, Person
from tests.helpers.identity import sign_in
from tests.helpers.mailbox import mailed_token

#: Makes it, and answers with what stands in the path.
Prepare = Callable[[Make, Person], Awaitable[int | str | None]]

HOME: Final = {"street": "Obere Str. 57", "city": "Berlin", "country": "DE"}
#: A public address: nobody has to look it up, and nobody is called.
ERP: Final = {"url": "https://93.184.216.34/hooks", "events": ["order.placed"]}


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


async def an_import(make: Make, owner: Person) -> int:
    admin = await make.admin()
    answer = await admin.api.post("/imports", content=b"PK", headers={"Content-Type": "application/zip"})
    made: int = answer.json()["id"]
    return made


async def an_ended_import(make: Make, owner: Person) -> int:
    made = await an_import(make, owner)
    async with make.container.database.transaction() as session:
        await imports.end(session, made, error="It is no zip.")
    return made


async def a_city(make: Make, owner: Person) -> Any:
    return "Berlin"
