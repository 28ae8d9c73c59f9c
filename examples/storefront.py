"""A storefront's session with a shop: sign up, browse, order at the prices seen, get the invoice, cancel.

    export SHOP=http://127.0.0.1:8000/api/v1
    python examples/storefront.py maria@shop.example correct-horse-1 category=Beverages attributes[origin]=USA

Nothing but the standard library is used.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen
from uuid import uuid4

#: The service is busy, or restarts: the same request is good after `Retry-After` seconds.
AGAIN = (429, 503)
TRIES = 8

Row = dict[str, Any]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"


class Refused(Exception):
    """A refusal; `problem` says why (RFC 9457, and RFC 6749 where one signs in)."""

    def __init__(self, status: int, problem: Row) -> None:
        super().__init__(f"{status} {problem.get('code')}: {problem.get('detail')}")
        self.status, self.problem = status, problem

    @property
    def code(self) -> str:
        return str(self.problem.get("code") or self.problem.get("error"))


@dataclass
class Answer:
    content: bytes
    headers: Mapping[str, str]

    @property
    def document(self) -> Any:
        return json.loads(self.content)


def send(method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
    """The answer to a request that may be sent twice: a read, or one with a key. Raises Refused."""
    for attempt in range(1, TRIES + 1):
        try:
            with urlopen(Request(url, content, dict(headers), method=method), timeout=60) as answer:
                return Answer(answer.read(), answer.headers)
        except HTTPError as error:
            with error:
                problem = json.load(error)
            code = problem.get("code")
            # The same order under the same key may be under way still, after a lost answer.
            if attempt == TRIES or not (error.code in AGAIN or code == "idempotency_key_in_use"):
                raise Refused(error.code, problem) from None
            time.sleep(int(error.headers.get("Retry-After", "1")))
        except OSError:
            # The answer is lost; perhaps the request has been done.
            if attempt == TRIES:
                raise
            time.sleep(attempt)
    raise AssertionError("the last attempt returns or raises")


@dataclass
class Session:
    """A customer's calls. Without signing in, those that are open to everyone."""

    url: str
    tokens: Row = field(default_factory=dict)

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """As this customer. An access token is good for ten minutes: an expired one is renewed, once."""
        content = None if body is None else json.dumps(body).encode()
        for is_last in (False, True):
            signed = {"Authorization": f"Bearer {self.tokens['access_token']}"} if self.tokens else {}
            try:
                return send(
                    method, self.url + path, content, {"Content-Type": JSON, **signed, **(headers or {})}
                )
            except Refused as refused:
                if refused.status != 401 or not self.tokens or is_last:
                    raise
                self._sign("refresh_token", refresh_token=self.tokens["refresh_token"])
        raise AssertionError("the last attempt returns or raises")

    def sign_up(self, email: str, password: str, name: str) -> None:
        """Register, and sign in. Whose address is known already is signed in with it.

        Registering takes no key. After a lost answer the address is taken, by oneself.
        """
        try:
            self.call("POST", "/users", {"email": email, "password": password, "full_name": name})
        except Refused as refused:
            if refused.code != "email_taken":
                raise
        self.sign_in(email, password)

    def sign_in(self, email: str, password: str) -> None:
        """Raises Refused with `invalid_grant` for a wrong password."""
        self._sign("password", username=email, password=password)

    def sign_out(self) -> None:
        form = urlencode({"token": self.tokens["refresh_token"]}).encode()
        send("POST", f"{self.url}/auth/revoke", form, {"Content-Type": FORM})
        self.tokens = {}

    def _sign(self, grant: str, **fields: str) -> None:
        """A refresh token is good once; sent again within 20 seconds it gives the same successor."""
        form = urlencode({"grant_type": grant, **fields}).encode()
        self.tokens = send("POST", f"{self.url}/auth/token", form, {"Content-Type": FORM}).document

    def browse(self, **filters: Any) -> Iterator[Row]:
        """The items that pass these filters, page by page: `browse(**{"attributes[origin]": "USA"})`."""
        path = f"/items?{urlencode({'limit': 100, **filters})}"
        while path:
            answer = self.call("GET", path)
            yield from answer.document
            path = next_page(self.url, answer)

    def facets(self, *names: str, **filters: Any) -> dict[str, dict[Any, int]]:
        """How many of these items each value of an attribute would leave."""
        query = {"names": ",".join(names), **filters} if names else filters
        facets = self.call("GET", f"/items/facets?{urlencode(query)}").document
        return {each["name"]: {value["value"]: value["count"] for value in each["values"]} for each in facets}

    def order(self, cart: "Cart") -> Row:
        """Place the order, or raise Refused; what has changed meanwhile is in the cart then."""
        try:
            answer = self.call("POST", "/orders", cart.order(), {"Idempotency-Key": cart.key})
        except Refused as refused:
            cart.take_in(refused)
            raise
        order: Row = answer.document
        return order

    def invoice(self, order_id: int) -> bytes:
        """A PDF file."""
        return self.call("GET", f"/orders/{order_id}/invoice.pdf").content

    def cancel(self, order_id: int, reason: str) -> Row:
        """Until it is shipped: then it is refused with `invalid_transition`."""
        key = {"Idempotency-Key": str(uuid4())}
        cancelled: Row = self.call("POST", f"/orders/{order_id}/cancel", {"reason": reason}, key).document
        return cancelled


def next_page(url: str, answer: Answer) -> str:
    """The path below the API of what follows, or nothing."""
    link = answer.headers.get("Link")
    return link.split("<")[1].split(">")[0].removeprefix(urlsplit(url).path) if link else ""


@dataclass
class Line:
    name: str
    price: Decimal
    quantity: int


@dataclass
class Cart:
    """What a customer wants, at the prices that they have seen.

    The key stands for this order: kept with the cart until the order is placed, it makes one order of however
    many clicks, lost answers and restarts. Only what has succeeded is kept under a key, so that the cart can
    be sent again under it after a refusal.
    """

    lines: dict[int, Line] = field(default_factory=dict)
    key: str = field(default_factory=lambda: str(uuid4()))
    #: What the customer should be shown before they order.
    news: list[str] = field(default_factory=list)

    def add(self, item: Row, quantity: int) -> None:
        self.lines[item["id"]] = Line(item["name"], Decimal(item["price"]), quantity)

    def order(self) -> Row:
        lines = [
            {"product_id": item_id, "quantity": line.quantity, "unit_price": str(line.price)}
            for item_id, line in self.lines.items()
        ]
        return {"lines": lines}

    def take_in(self, refused: Refused) -> None:
        """The cart as the shop can fulfil it. The customer decides: nothing is ordered at a price unseen."""
        problem = refused.problem
        if refused.code == "out_of_stock":
            for product in problem["products"]:
                self._leave(product["product_id"], product["left"])
        elif refused.code == "item_withdrawn":
            for product in problem["products"]:
                self._leave(product["product_id"], 0)
        elif refused.code == "price_changed":
            for price in problem["prices"]:
                line = self.lines[price["product_id"]]
                self.news.append(f"{line.name} costs {price['current']} now, not {line.price}")
                line.price = Decimal(price["current"])

    def _leave(self, item_id: int, quantity: int) -> None:
        line = self.lines[item_id]
        self.news.append(f"{line.name}: {quantity} left of {line.quantity}")
        if quantity:
            line.quantity = quantity
        else:
            del self.lines[item_id]


#: After these the cart is another one; shown to the customer, it can be sent again.
ABOUT_THE_CART = ("out_of_stock", "price_changed", "item_withdrawn")


def main() -> None:
    email, password, *filters = sys.argv[1:]
    shop, chosen = Session(os.environ["SHOP"]), dict(each.split("=", 1) for each in filters)
    print(shop.facets(**chosen))
    cart = Cart()
    for item in shop.browse(in_stock="true", sort="price", **chosen):
        print(f"{item['id']:>6} {item['name']:<40} {item['price']:>10} {item['currency']}")
        if len(cart.lines) < 2:
            cart.add(item, 2)
    shop.sign_up(email, password, email.partition("@")[0])
    while cart.lines:
        try:
            order = shop.order(cart)
        except Refused as refused:
            if refused.code not in ABOUT_THE_CART:
                raise
            print(*cart.news, sep="\n")
            cart.news.clear()
            continue  # A real storefront asks the customer here.
        print(f"order {order['id']}: {order['total']} {order['currency']}")
        print(f"invoice: {len(shop.invoice(order['id']))} bytes")
        print(f"it is {shop.cancel(order['id'], 'Only a test')['status']}")
        break
    shop.sign_out()


if __name__ == "__main__":
    main()
