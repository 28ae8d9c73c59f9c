"""What the shop is supposed to do, in plain Python: one request after the other, money in whole cents.

Nothing here comes from the service: two who reckon alike can be wrong alike.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

#: Units at and under which an item is said to run low.
REORDER_LEVEL = 2
MOST_UNPAID = 20
OVERNIGHT_MINIMUM = 50_00
FEES = {"standard": 0, "overnight": 7_45}
#: Where each transition leads, and from where.
TRANSITIONS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "pay": (("placed",), "paid"),
    "ship": (("paid",), "shipped"),
    "deliver": (("shipped",), "delivered"),
    "cancel": (("placed", "paid"), "cancelled"),
    "refund": (("cancelled",), "refunded"),
}
#: A caller is known by a letter; the administrator may see and enter the orders of all.
ADMIN = "a"


def dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


@dataclass(frozen=True)
class Item:
    price: int
    stock: int
    active: bool = True
    version: int = 1
    #: How often the administrator was told that it runs low: once, for no machine runs for an hour.
    warnings: int = 0

    @property
    def availability(self) -> str:
        if self.stock == 0:
            return "out_of_stock"
        return "low_stock" if self.stock <= REORDER_LEVEL else "in_stock"

    def moved(self, delta: int, *, may_warn: bool) -> "Item":
        after = replace(self, stock=self.stock + delta)
        if after.availability != self.availability:
            after = replace(after, version=after.version + 1)
        if may_warn and after.stock <= REORDER_LEVEL < self.stock:
            after = replace(after, warnings=1)
        return after

    def changed(self, **values: Any) -> "Item":
        after = replace(self, **values)
        return after if after == self else replace(after, version=after.version + 1)


@dataclass(frozen=True)
class Line:
    item_id: int
    quantity: int
    price: int
    #: In hundredths of a per cent.
    discount: int

    @property
    def gross(self) -> int:
        return self.price * self.quantity

    @property
    def net(self) -> int:
        """Half a cent is rounded up."""
        return (2 * self.gross * (10_000 - self.discount) + 10_000) // 20_000


@dataclass(frozen=True)
class Order:
    owner: str
    lines: tuple[Line, ...]
    fee: int
    has_address: bool
    way: tuple[str, ...] = ("placed",)
    redirections: int = 0

    @property
    def status(self) -> str:
        return self.way[-1]

    @property
    def amounts(self) -> tuple[str, ...]:
        """Subtotal, discount, fee and total."""
        gross, net = sum(line.gross for line in self.lines), sum(line.net for line in self.lines)
        return tuple(map(dollars, (gross, gross - net, self.fee, net + self.fee)))

    @property
    def refund_due(self) -> bool:
        return self.status == "cancelled" and "paid" in self.way

    @property
    def version(self) -> int:
        return len(self.way) + self.redirections


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    replayed: bool = False
    #: How often it was asked for until it came.
    tries: int = 1
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> str | None:
        return self.body.get("code")


@dataclass
class Outcome:
    """What a request leads to: the answer, with what it shows at least, and the shop afterwards."""

    status: int
    code: str | None
    shop: "Shop"
    shows: dict[str, Any] = field(default_factory=dict)

    def is_told_by(self, answer: Answer) -> bool:
        if (answer.status, answer.code if self.code else None) != (self.status, self.code):
            return False
        return all(answer.body.get(name) == value for name, value in self.shows.items())


@dataclass(frozen=True)
class Request:
    """`act` says what it leads to in a shop; the id of a new order is the database's to choose."""

    caller: str
    method: str
    path: str
    #: The path with its parameters' names: what a key is good for.
    route: str
    act: Callable[["Shop", int | None], Outcome] = field(repr=False)
    body: Any = None
    key: str | None = None
    if_match: str | None = None

    @property
    def slot(self) -> tuple[str, str, str | None]:
        return self.caller, self.route, self.key

    @property
    def asks(self) -> tuple[str, str]:
        return self.path, json.dumps(self.body, sort_keys=True)


@dataclass
class Shop:
    items: dict[int, Item] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    #: What was asked under each key, and the answer.
    keys: dict[tuple[str, str, str | None], tuple[tuple[str, str], bytes]] = field(default_factory=dict)

    def copy(self) -> "Shop":
        return Shop(dict(self.items), dict(self.orders), dict(self.keys))

    def with_item(self, item_id: int, item: Item) -> "Shop":
        after = self.copy()
        after.items[item_id] = item
        return after

    def with_order(self, order_id: int, order: Order) -> "Shop":
        after = self.copy()
        after.orders[order_id] = order
        return after

    def picture(self) -> dict[str, Any]:
        """Everything that can be seen of it from outside."""
        return {
            "items": {
                item_id: (
                    dollars(item.price),
                    item.stock,
                    item.stock,
                    item.active,
                    item.availability,
                    item.version,
                    item.warnings,
                )
                for item_id, item in self.items.items()
            },
            "orders": {order_id: _picture(order) for order_id, order in self.orders.items()},
            "keys": len(self.keys),
        }


def _picture(order: Order) -> dict[str, Any]:
    sold = sorted((line.item_id, line.quantity) for line in order.lines)
    return {
        "owner": order.owner,
        "amounts": order.amounts,
        "refund_due": order.refund_due,
        "has_address": order.has_address,
        "version": order.version,
        "way": list(order.way),
        "told": list(order.way),
        "audited": order.version,
        "lines": [
            (line.item_id, line.quantity, dollars(line.price), dollars(line.discount), dollars(line.net))
            for line in order.lines
        ],
        "sold": sold,
        "returned": sold if "cancelled" in order.way else [],
    }


def ends(requests: Sequence[Request], answers: Sequence[Answer], shop: Shop) -> Iterator[Shop]:
    """The shops that the answers can have left behind, whichever request came first."""
    if not requests:
        yield shop
    for position, (request, answer) in enumerate(zip(requests, answers, strict=True)):
        others = [*requests[:position], *requests[position + 1 :]]
        their_answers = [*answers[:position], *answers[position + 1 :]]
        for after in _after(request, answer, shop):
            yield from ends(others, their_answers, after)


def _after(request: Request, answer: Answer, shop: Shop) -> Iterator[Shop]:
    if answer.status == 503:
        # Without a key a client learns no more: nothing was done, or the outcome is unknown.
        yield shop
        if answer.code == "outcome_unknown":
            yield request.act(shop, None).shop
    elif request.key is not None and request.slot in shop.keys:
        if _is_told_again(request, answer, shop) or _hides_order(request, answer, shop):
            yield shop
    elif answer.replayed <= (answer.tries > 1):
        outcome = request.act(shop, answer.body.get("id"))
        if outcome.is_told_by(answer):
            yield _kept(request, answer, outcome.shop)


def _is_told_again(request: Request, answer: Answer, shop: Shop) -> bool:
    asked, told = shop.keys[request.slot]
    if asked != request.asks:
        return (answer.status, answer.code) == (422, "idempotency_key_reused")
    return answer.replayed and answer.content == told


def _hides_order(request: Request, answer: Answer, shop: Shop) -> bool:
    """The 404 of an order that the caller may not see comes before the 422 of a key that is used again."""
    return (
        request.route.startswith("POST /orders/") and request.act(shop, None).status == answer.status == 404
    )


def _kept(request: Request, answer: Answer, shop: Shop) -> Shop:
    after = shop.copy()
    if request.key is not None and answer.status < 400:
        after.keys[request.slot] = request.asks, answer.content
    return after
