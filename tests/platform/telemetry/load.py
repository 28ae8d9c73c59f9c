"""What people, machines and thieves do in a shop, so that there is something to see on its dashboard."""

import random
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final
from uuid import uuid4

import httpx2

from tests.contract.upstream import NOBODY_KNOWS
from tests.helpers.orders import HOME
from tests.platform.telemetry.world import World
from tests.server.process import PASSWORD, statement

ADMIN: Final = "ada@shop.example"
#: Of these the last is sold out.
ITEMS: Final = range(1, 20)
SOLD_OUT: Final = 20
_numbers = count(1)


class Load:
    """Rounds of everything, in threads of its own, until `stop` is set."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stop = threading.Event()
        self.admin = httpx2.Client()

    def prepare(self) -> None:
        self.world.service.register(ADMIN)
        statement(self.world.database, f"UPDATE users SET is_admin = true WHERE email = '{ADMIN}'")
        self.admin = self.world.service.client(self.world.service.sign_in(ADMIN).json()["access_token"])
        for path in ("erp", "broken"):
            self.add_webhook(path)

    def add_webhook(self, path: str) -> None:
        body = {"url": f"{self.world.receiver}/{path}", "events": ["*"]}
        answer = self.admin.post("/webhooks", json=body)
        assert answer.status_code == 201, answer.text

    def rounds(self, act: Callable[[], None], pause: float) -> None:
        try:
            while not self.stop.is_set():
                # Who waits for too long goes; on a machine with much else to do that is nobody's fault.
                with suppress(httpx2.TransportError):
                    act()
                self.stop.wait(pause)
        except Exception:  # noqa: BLE001 - raised where its result is awaited
            self.world.faults.append(traceback.format_exc())

    def client(self, token: str | None = None) -> httpx2.Client:
        """Of an address of its own, for whose sign-ins there is a limit."""
        client = self.world.service.client(token)
        number = next(_numbers)
        client.headers["X-Forwarded-For"] = f"198.51.{number // 250 % 250}.{number % 250 + 1}"
        return client

    def shop(self) -> None:
        """A customer looks around, orders, pays, and gets the order or not."""
        email = f"person{uuid4().hex[:12]}@shop.example"
        with self.client() as client:
            body = {"email": email, "password": PASSWORD, "full_name": "Maria Anders", "address": HOME}
            assert client.post("/users", json=body).status_code == 201
            answer = sign_in(client, email)
            assert answer.status_code == 200, answer.text
            tokens = answer.json()
            client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
            for path in ("/items", "/items/3", "/items/categories", "/notifications", "/weather/Berlin"):
                assert client.get(path).status_code == 200, path
            with client.stream("GET", "/notifications/stream") as stream:
                assert stream.status_code == 200
                orders = [self.order(client, shipping) for shipping in ("standard", "express", "overnight")]
                self.deal_with(client, orders)
            self.refresh(client, tokens["refresh_token"])

    def browse(self) -> None:
        """An anonymous visitor looks around: these responses come from the cache."""
        with self.client() as client:
            for _ in range(20):
                path = random.choice(("/items", "/items/categories", f"/items/{random.choice(ITEMS)}"))
                assert client.get(path).status_code == 200, path

    def curate(self) -> None:
        """An administrator changes a price."""
        path = f"/items/{random.choice(ITEMS)}"
        tag = self.admin.get(path).headers["ETag"]
        price = f"{random.randint(60, 80)}.00"
        answer = self.admin.patch(path, json={"price": price}, headers={"If-Match": tag})
        # 412: it was sold in between, which is a change too.
        assert answer.status_code in {200, 412}, answer.text

    def order(self, client: httpx2.Client, shipping: str) -> int:
        """Placed, and sent again under its key."""
        body = {"product_id": random.choice(ITEMS), "quantity": random.randint(1, 5), "shipping": shipping}
        if shipping == "express":
            body["reference"] = "contended"
        key = {"Idempotency-Key": str(uuid4())}
        answers = [client.post("/orders", json=body, headers=key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201], answers[0].text
        return int(answers[0].json()["id"])

    def deal_with(self, client: httpx2.Client, orders: list[int]) -> None:
        """One goes all the way, one is paid back, one is left to be paid."""
        first, second, _ = orders
        steps: tuple[tuple[httpx2.Client, int, str, dict[str, str]], ...] = (
            (self.admin, first, "pay", {"reference": "pi_1"}),
            (self.admin, first, "ship", {"tracking": "0034"}),
            (self.admin, first, "deliver", {}),
            (self.admin, second, "pay", {"reference": "pi_2"}),
            (client, second, "cancel", {"reason": "Ordered twice"}),
            (self.admin, second, "refund", {"reference": "re_2"}),
        )
        for who, order, step, body in steps:
            answer = who.post(f"/orders/{order}/{step}", json=body, headers={"Idempotency-Key": str(uuid4())})
            assert answer.status_code == 200, (step, answer.text)
        # 503: others wait for theirs.
        assert client.get(f"/orders/{first}/invoice.pdf").status_code in {200, 503}
        for refused in (
            {"product_id": SOLD_OUT, "quantity": 1},
            {"product_id": 1, "quantity": 1, "unit_price": "1.00"},
        ):
            answer = client.post("/orders", json=refused, headers={"Idempotency-Key": str(uuid4())})
            assert answer.status_code == 409, answer.text

    def refresh(self, client: httpx2.Client, token: str) -> None:
        """Rotated, and the old one used again by another client."""
        del client.headers["Authorization"]
        form = {"grant_type": "refresh_token", "refresh_token": token}
        newer = client.post("/auth/token", data=form)
        assert newer.status_code == 200, newer.text
        again = client.post("/auth/token", data={**form, "refresh_token": newer.json()["refresh_token"]})
        assert again.status_code == 200
        # Two uses at the same moment are forgiven.
        later = "UPDATE refresh_tokens SET rotated_at = rotated_at - interval '1 hour'"
        statement(self.world.database, later)
        stolen = client.post("/auth/token", data=form)
        assert stolen.status_code == 400, stolen.text

    def guess(self) -> None:
        """A thief tries passwords, until nobody listens any more."""
        status, client = 0, self.client()
        with client:
            while status != 429 and not self.stop.is_set():
                status = sign_in(client, "nobody@shop.example").status_code
                assert status in {400, 401, 429, 503}

    def break_down(self) -> None:
        """A table is missing: a fault of ours, a 500. The weather is, which is none: a 503. A webhook's
        receiver has gone for good. Redis hangs."""
        self.add_webhook("gone")
        statement(self.world.database, "ALTER TABLE posts RENAME TO posts_gone")
        try:
            with self.client() as client:
                assert client.get("/posts").status_code == 500
                assert client.get(f"/weather/{NOBODY_KNOWS}").status_code == 503
        finally:
            statement(self.world.database, "ALTER TABLE posts_gone RENAME TO posts")
        self.world.redis.send(signal.SIGSTOP)
        self.stop.wait(0.5)
        self.world.redis.send(signal.SIGCONT)


def sign_in(client: httpx2.Client, email: str) -> httpx2.Response:
    form = {"grant_type": "password", "username": email, "password": PASSWORD}
    return client.post("/auth/token", data=form)


@contextmanager
def under_load(world: World, shoppers: int = 2) -> Iterator[Load]:
    load = Load(world)
    load.prepare()
    acts = [
        *[(load.shop, 0.05)] * shoppers,
        *[(load.browse, 0.05)] * shoppers,
        (load.curate, 2.0),
        (load.guess, 5.0),
        (load.break_down, 20.0),
    ]
    threads = [threading.Thread(target=load.rounds, args=act, daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stop.set()
        for thread in threads:
            thread.join()
        load.admin.close()
    assert world.faults == [], world.faults[0]
