"""A small history by hand, in which everything that the rules look at happens once, and nothing is wrong."""

from typing import Any

from proofs.history.final import FinalState, Item, Movement, Order
from proofs.load.history import Call, History
from proofs.load.receiver import Delivery

TEA, CAKE = 1, 2
BEGINNING, EARLIER, LATER = "1970-01-01T00:00:00Z", "2026-11-30T17:00:00Z", "2026-11-30T17:00:00.000001Z"
FIRST, SECOND = 11, 12
AMOUNTS = ("subtotal", "discount", "shipping_fee", "total")
#: 3 x 10.00 less 33.33 % is 20.001; 0.35 less 5 % is 0.3325.
LINES = [[TEA, 3, "10.00", "33.33", "20.00"], [CAKE, 1, "0.35", "5.00", "0.33"]]
SUMS = {"subtotal": "30.35", "discount": "10.02", "shipping_fee": "7.45", "total": "27.78"}
ONE_LINE = [[TEA, 2, "12.00", "0.00", "24.00"]]
ONE_SUMS = {"subtotal": "24.00", "discount": "0.00", "shipping_fee": "0.00", "total": "24.00"}


class Book:
    """A history that is written a call at a time, and what is left in the end."""

    def __init__(self) -> None:
        self.history, self.final = History(), FinalState()
        self.now, self.history.wall = 100.0, 0.0

    def call(self, operation: str, status: int | None = 200, *, body: Any = None, **given: Any) -> Call:
        kind = given.pop("kind", operation.partition(".")[0])
        begin = given.pop("begin", self.now)
        end = given.pop("end", begin + 0.01)
        call = Call(
            client=given.pop("client", f"{kind}-1"),
            kind=kind,
            operation=operation,
            method="POST",
            path=f"/{operation}",
            begin=begin,
            end=end,
            status=status,
            body=body,
            digest=given.pop("digest", repr(body)),
            **given,
        )
        self.now = max(self.now, end) + 0.01
        self.history.add(call)
        return call

    def found(self, *operations: str) -> list[Call]:
        return [call for call in self.history.calls if call.operation in operations]

    def deliver(self, kind: str, number: int, version: int, **data: Any) -> None:
        if kind.startswith("order."):
            data = {"status": kind.removeprefix("order."), "reference": f"order-{number}", **data}
        self.final.deliveries.append(
            Delivery(
                self.now,
                f"evt_{len(self.final.deliveries)}",
                True,
                kind,
                number,
                version,
                f"{data}",
                True,
                data,
            )
        )


def shown(number: int, timeline: list[str], lines: list[Any], sums: dict[str, str]) -> dict[str, Any]:
    due = timeline[-1] == "cancelled" and "paid" in timeline
    facts = {"id": number, "version": len(timeline), "status": timeline[-1], "reference": f"order-{number}"}
    return {**facts, "refund_due": due, **sums, "lines": lines, "timeline": timeline}


def wanted(lines: list[Any], shipping: str = "standard") -> dict[str, Any]:
    """A request for lines as an order has them, without their prices."""
    asked = [
        {"product_id": product, "quantity": quantity, "discount_pct": discount}
        for product, quantity, _, discount, _ in lines
    ]
    return {"lines": asked, "shipping": shipping}


def good() -> Book:
    book = Book()
    _orders(book)
    _catalogue(book)
    _accounts(book)
    _polls(book)
    _left(book)
    return book


def _orders(book: Book) -> None:
    """The first answer is lost; the order is answered twice, paid, cancelled, refunded. Then refusals."""
    placed = shown(FIRST, ["placed"], LINES, SUMS)
    key = f"order-{FIRST}"
    book.call("order.place", None, key=key, sent=wanted(LINES, "express"), error="lost")
    book.now += 1
    book.call("order.place", 409, key=key, sent=wanted(LINES, "express"), code="idempotency_key_in_use")
    book.call("order.place", 201, key=key, sent=wanted(LINES, "express"), body=placed, replayed=True)
    book.call("order.place", 201, key=key, sent=wanted(LINES, "express"), body=placed, replayed=True)
    book.call("order.misuse_key", 422, key=key, sent=wanted(LINES, "express"), code="idempotency_key_reused")
    timeline = ["placed"]
    for name, status in (("pay", "paid"), ("cancel", "cancelled"), ("refund", "refunded")):
        timeline = [*timeline, status]
        body = shown(FIRST, timeline, LINES, SUMS)
        book.call(f"order.{name}", key=f"{name}-1", sent={"order": FIRST}, body=body)
    book.call("order.ship", 409, key="ship-1", sent={"order": FIRST}, code="invalid_transition")
    book.call("order.read", sent={"order": FIRST}, body=shown(FIRST, timeline, LINES, SUMS))
    book.call("order.list", sent={"limit": 20}, body=[[FIRST, 4, "refunded"]])
    many = wanted([[CAKE, 50, "0.35", "0.00", "17.50"]])
    book.call("order.place", 503, key="order-99", sent=many, code="unavailable", retry_after="1")
    book.call("order.place", 409, key="order-99", sent=many, code="out_of_stock")
    named = wanted([[CAKE, 1, "0.36", "0.00", "0.36"]])
    named["lines"][0]["unit_price"] = "0.36"
    book.call("order.place", 409, key="order-98", sent=named, code="price_changed")


def _catalogue(book: Book) -> None:
    book.call("item.read", sent={"item": TEA}, body=_item(TEA, 1, "10.00"))
    sent = {"item": TEA, "price": "12.00", "if_version": 1}
    book.call("item.price", sent=sent, body=_item(TEA, 2, "12.00"))
    book.now += 2
    book.call("item.read", sent={"item": TEA}, body=_item(TEA, 2, "12.00"))
    book.call("item.read", 304, sent={"item": TEA}, version=2)
    rows = [[TEA, 2, "12.00", "in_stock"], [CAKE, 1, "0.35", "in_stock"]]
    book.call("item.list", sent={"walk": 1, "page": 1, "last": False}, body=rows[:1])
    book.call("item.list", sent={"walk": 1, "page": 2, "last": True}, body=rows[1:])
    adjustment = {"item": CAKE, "delta": 4, "reason": "stock-1"}
    book.call("stock.adjust", key="stock-1", sent=adjustment, body={"item": CAKE, "quantity": 54})
    placed = shown(SECOND, ["placed"], ONE_LINE, ONE_SUMS)
    book.call("order.place", 201, key=f"order-{SECOND}", sent=wanted(ONE_LINE), body=placed)
    post = {"id": 5, "version": 1, "title": "News", "status": "published"}
    book.call("post.create", 201, key="post-1", sent={"title": "News"}, body=post)


def _item(number: int, version: int, price: str) -> dict[str, Any]:
    facts = {"id": number, "version": version, "price": price, "availability": "in_stock"}
    return {**facts, "is_active": True, "name": "Chai"}


def _accounts(book: Book) -> None:
    book.call("session.sign_in", body={"access": "a0", "refresh": "r0", "expires_in": 600})
    book.call("session.refresh", None, sent={"token": "r0"}, error="abandoned by the client")
    for _ in range(2):
        body = {"access": "a1", "refresh": "r1", "expires_in": 600}
        book.call("session.refresh", sent={"token": "r0"}, body=body)
    book.call("profile.change", sent={"full_name": "profile-1 2"}, version=2, body=_profile("profile-1 2"))
    book.call("profile.read", version=2, body=_profile("profile-1 2"))
    book.call("credential.use", credential="a0")
    book.call("session.end", 204, sent={"revokes": ["a0"]})
    book.call("credential.use", credential="a0")
    book.now += 1.1
    book.call("credential.use", 401, credential="a0", code="invalid_token")
    book.now += 22
    book.call("session.refresh", 400, sent={"token": "r0"}, code="invalid_grant")
    book.call("session.refresh", 400, sent={"token": "r1"}, code="invalid_grant")
    book.now += 1.1
    book.call("credential.use", 401, credential="a1", code="invalid_token", kind="thief")


def _profile(name: str) -> dict[str, Any]:
    return {"id": 7, "full_name": name}


def _polls(book: Book) -> None:
    def poll(name: str, since: str, mark: str, rows: list[list[Any]], limit: int = 100) -> None:
        book.call("list.poll", sent={"list": name, "since": since, "limit": limit}, mark=mark, body=rows)

    poll("items", BEGINNING, EARLIER, [[TEA, 1], [CAKE, 1], [3, 1]], limit=3)
    poll("items", EARLIER, LATER, [[TEA, 2]])
    poll("items/removed", BEGINNING, LATER, [[3, None]])
    poll("posts", BEGINNING, LATER, [[5, 1]])
    poll("posts/removed", BEGINNING, LATER, [])


def _left(book: Book) -> None:
    final = book.final
    timeline = ["placed", "paid", "cancelled", "refunded"]
    final.orders = [
        Order(FIRST, 7, f"order-{FIRST}", "refunded", "express", 4, False, dict(SUMS), LINES, timeline),
        Order(
            SECOND, 7, f"order-{SECOND}", "placed", "standard", 1, False, dict(ONE_SUMS), ONE_LINE, ["placed"]
        ),
    ]
    final.orders[0].moments = {"placed": 100.005}
    final.items = {
        TEA: Item(TEA, 2, "12.00", "in_stock", True, 48),
        CAKE: Item(CAKE, 1, "0.35", "in_stock", True, 54),
        3: Item(3, 2, "1.00", "in_stock", False, 5),
    }
    moves: list[tuple[int, int | None, str, int, str]] = [
        (TEA, None, "initial", 50, ""),
        (CAKE, None, "initial", 50, ""),
        (3, None, "initial", 5, ""),
    ]
    moves += [(TEA, FIRST, "sale", -3, ""), (CAKE, FIRST, "sale", -1, "")]
    moves += [(TEA, FIRST, "return", 3, ""), (CAKE, FIRST, "return", 1, "")]
    moves += [(CAKE, None, "adjustment", 4, "stock-1"), (TEA, SECOND, "sale", -2, "")]
    final.movements = [Movement(number, *move) for number, move in enumerate(moves, 1)]
    final.posts = {5: 1}
    final.start_stock, final.start_prices = {TEA: 50, CAKE: 50}, {TEA: "10.00", CAKE: "0.35"}
    for version, status in enumerate(("placed", "paid", "cancelled"), 1):
        book.deliver(f"order.{status}", FIRST, version, total="27.78")
    book.deliver("order.placed", SECOND, 1, total="24.00")
    book.deliver("post.published", 5, 1, title="News")
