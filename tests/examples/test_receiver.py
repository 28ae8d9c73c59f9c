"""examples/receiver.py against the service and a worker as they run."""

import base64
import json
import secrets
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.webhooks.signing import signature_headers
from tests.examples import shop as shops
from tests.examples.shop import administrator, key, loaded, whole
from tests.helpers.waiting import wait_until
from tests.server.process import free_port, started, statement

receiver = loaded("receiver")
#: The worker decrypts the secrets of webhooks that the API has encrypted.
SETTINGS: dict[str, Any] = {"SECRET_KEY": secrets.token_urlsafe(48), "WEBHOOK_ALLOW_PRIVATE": "true"}


#: An event's type, and the id and the version of its order.
Known = tuple[str, int, int]


def known(event: dict[str, Any]) -> Known:
    return event["type"], event["data"]["id"], event["data"]["version"]


def without_metadata(orders: dict[int, Any]) -> dict[int, Any]:
    """As events show them."""
    return {
        order_id: {name: value for name, value in order.items() if name != "metadata"}
        for order_id, order in orders.items()
    }


@dataclass
class Shop:
    admin: httpx2.Client
    url: str
    item_id: int
    user_id: int

    def order(self) -> int:
        body = {"user_id": self.user_id, "product_id": self.item_id, "quantity": 1}
        answer = self.admin.post("/orders", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
        assert answer.status_code == 201, answer.text
        made: int = answer.json()["id"]
        return made

    def move(self, order_id: int, transition: str, body: dict[str, str] | None = None) -> None:
        assert self.admin.post(f"/orders/{order_id}/{transition}", json=body).status_code == 200

    def orders(self) -> dict[int, Any]:
        return without_metadata(whole(self.admin, "/orders"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with (
        shops.shop(folder, **SETTINGS) as (service, url),
        started(
            folder / "worker",
            module=("service", "worker"),
            DATABASE_URL=url,
            LOG_LEVEL="error",
            **SETTINGS,
        ),
        administrator(service) as admin,
    ):
        item = admin.post("/items", json={"name": "Tea", "price": "1.00", "stock": 1_000}).json()
        yield Shop(admin, url, item["id"], admin.get("/users/profile").json()["id"])


@dataclass
class Away:
    """An integrator's side: its database, what messages came, and how often each event was applied."""

    shop: Shop
    path: Path
    port: int
    feed: Any
    webhook: dict[str, Any]
    messages: list[str] = field(default_factory=list)
    applied: Counter[Known] = field(default_factory=Counter)

    @contextmanager
    def running(self) -> Iterator[Any]:
        """The receiver's server, over the file of the earlier ones."""
        with closing(receiver.Store(self.path)) as store, self._noted(store):
            server = receiver.receiver(store, self.webhook["secret"], self.port)
            with server:
                thread = threading.Thread(target=server.serve_forever, daemon=True)
                thread.start()
                try:
                    yield store
                finally:
                    server.shutdown()
                    thread.join()

    @contextmanager
    def _noted(self, store: Any) -> Iterator[None]:
        take, apply = store.apply, store._apply

        def taken(events: Any, position: str | None = None) -> Any:
            new = take(events, position)
            if position is None:
                self.messages += [event_id for event_id, _ in events]
            return new

        def noted(event: dict[str, Any]) -> None:
            self.applied[known(event)] += 1
            apply(event)

        store.apply, store._apply = taken, noted
        yield


@pytest.fixture
def integrator(shop: Shop, tmp_path: Path) -> Iterator[Away]:
    port = free_port()
    events = [f"order.{name}" for name in ("placed", "paid", "cancelled")]
    body = {"url": f"http://127.0.0.1:{port}/hooks", "events": events}
    answer = shop.admin.post("/webhooks", json=body)
    assert answer.status_code == 201, answer.text
    feed = receiver.Feed(str(shop.admin.base_url).rstrip("/"), key(shop.admin, "events:read", "orders:read"))
    yield Away(shop, tmp_path / "orders.db", port, feed, answer.json())
    shop.admin.delete(f"/webhooks/{answer.json()['id']}")


def events_of(shop: Shop, order_ids: list[int]) -> Counter[Known]:
    """What the feed has of these orders."""
    counts: Counter[Known] = Counter()
    path = "/events?types=order.*"
    while path:
        answer = shop.admin.get(path)
        counts.update(known(event) for event in answer.json() if event["data"]["id"] in order_ids)
        path = answer.links["next"]["url"].removeprefix("/api/v1") if "next" in answer.links else ""
    return counts


def test_after_a_week_away_it_catches_up_by_one_call_and_applies_each_event_once(
    shop: Shop, integrator: Away
) -> None:
    shop.order()
    with integrator.running() as store:
        receiver.catch_up(integrator.feed, store)
        assert without_metadata(store.orders()) == shop.orders()
        # By webhook, while it is there.
        made = [shop.order()]
        wait_until(lambda: without_metadata(store.orders()) == shop.orders())

    # A week without the receiver. The shop has given up on the deliveries, and disabled the webhook.
    made += [shop.order() for _ in range(120)]
    for order_id in made[::3]:
        shop.move(order_id, "pay", {"reference": f"pi_{order_id}"})
    for order_id in made[::5]:
        shop.move(order_id, "cancel")
    path = f"/webhooks/{integrator.webhook['id']}"
    assert shop.admin.patch(path, json={"is_active": False}).status_code == 200
    statement(shop.url, "UPDATE events SET occurred_at = occurred_at - interval '7 days'")

    with integrator.running() as store:
        missed = receiver.catch_up(integrator.feed, store)
        assert missed == len(made) - 1 + len(made[::3]) + len(made[::5])
        assert without_metadata(store.orders()) == shop.orders()
        assert receiver.catch_up(integrator.feed, store) == 0
        # And goes on by webhook.
        assert shop.admin.patch(path, json={"is_active": True}).status_code == 200
        made.append(shop.order())
        wait_until(lambda: without_metadata(store.orders()) == shop.orders())
        receiver.catch_up(integrator.feed, store)
    applied = {event: times for event, times in integrator.applied.items() if event[1] in made}
    assert applied == events_of(shop, made)
    assert set(applied.values()) == {1}


def test_a_replay_sends_what_is_known_and_nothing_is_applied_again(shop: Shop, integrator: Away) -> None:
    with integrator.running() as store:
        receiver.catch_up(integrator.feed, store)
        position = store.position()
        made = [shop.order() for _ in range(3)]
        wait_until(lambda: len(integrator.messages) == len(made))
        # A replay ends where the feed ends, which may have them a moment later.
        wait_until(lambda: events_of(shop, made).total() == len(made))
        before = dict(integrator.applied)
        path = f"/webhooks/{integrator.webhook['id']}/replay"
        key = {"Idempotency-Key": str(uuid.uuid4())}
        assert shop.admin.post(path, json={"after": position}, headers=key).status_code == 202
        wait_until(lambda: len(integrator.messages) == 2 * len(made))
        assert dict(integrator.applied) == before
        assert without_metadata(store.orders()) == shop.orders()


def test_a_position_that_the_shop_does_not_know_any_more_begins_anew(shop: Shop, integrator: Away) -> None:
    shop.order()
    with integrator.running() as store:
        receiver.catch_up(integrator.feed, store)
        store.begin([{"id": 2**40, "version": 1}], "AAAAAAAAAAAAAAAA")
        receiver.catch_up(integrator.feed, store)
        assert without_metadata(store.orders()) == shop.orders()


class TestMessages:
    EVENT = json.dumps(
        {"type": "order.placed", "timestamp": "", "data": {"id": 2**40, "version": 1}}
    ).encode()

    def post(self, integrator: Away, body: bytes, **changed: str) -> int:
        message_id, timestamp = "evt_1", str(int(time.time()))
        signed = {"webhook-id": message_id, "webhook-timestamp": timestamp}
        signed["webhook-signature"] = signature(integrator.webhook["secret"], signed, body)
        headers = {**signed, **{name.replace("_", "-"): value for name, value in changed.items()}}
        answer = httpx2.post(f"http://127.0.0.1:{integrator.port}/hooks", content=body, headers=headers)
        return answer.status_code

    def test_genuine_ones_are_applied_once(self, integrator: Away) -> None:
        with integrator.running() as store:
            assert [self.post(integrator, self.EVENT) for _ in range(3)] == [204, 204, 204]
            assert list(store.orders()) == [2**40]
        assert list(integrator.applied.values()) == [1]

    def test_forged_changed_and_recorded_ones_are_refused(self, integrator: Away) -> None:
        old = {"webhook-id": "evt_1", "webhook-timestamp": str(int(time.time()) - 600)}
        recorded = signature(integrator.webhook["secret"], old, self.EVENT)
        with integrator.running() as store:
            for changed in (
                {"webhook_signature": "v1,AAAA"},
                {"webhook_id": "evt_2"},
                {"webhook_timestamp": old["webhook-timestamp"]},
                {"webhook_timestamp": old["webhook-timestamp"], "webhook_signature": recorded},
                {"webhook_timestamp": "yesterday"},
            ):
                assert self.post(integrator, self.EVENT, **changed) == 400
            assert self.post(integrator, b"x" * 30_000) == 413
            assert store.orders() == {}

    def test_a_ping_and_what_is_not_of_orders_are_taken(self, integrator: Away) -> None:
        with integrator.running() as store:
            for type_ in ("ping", "weather.changed"):
                assert self.post(integrator, json.dumps({"type": type_, "data": {}}).encode()) == 204
            assert store.orders() == {}

    def test_two_signatures_are_good_while_the_secret_is_changed(self, integrator: Away) -> None:
        timestamp = str(int(time.time()))
        signed = {"webhook-id": "evt_1", "webhook-timestamp": timestamp}
        good = signature(integrator.webhook["secret"], signed, self.EVENT)
        with integrator.running():
            status = self.post(
                integrator, self.EVENT, webhook_timestamp=timestamp, webhook_signature=f"v1,AAAA {good}"
            )
            assert status == 204


def signature(secret: str, headers: dict[str, str], body: bytes) -> str:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    given = signature_headers(headers["webhook-id"], int(headers["webhook-timestamp"]), body, [key])
    return given["webhook-signature"]
