"""The requests that are made up: what each asks, and what it leads to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st

from tests.helpers.orders import HOME
from tests.invariants.model import (
    ADMIN,
    FEES,
    MOST_UNPAID,
    OVERNIGHT_MINIMUM,
    TRANSITIONS,
    Line,
    Order,
    Outcome,
    Request,
    Shop,
    dollars,
)

V1 = "/api/v1"
CUSTOMERS = ("c", "d")
#: Prices whose discounts end in fractions of a cent, some of them in half a one.
PRICES = (18_00, 19_99, 4_50, 1, 25_01)
DISCOUNTS = (0, 5_00, 12_50, 33_33, 100_00)
UNKNOWN = 2**40
BODIES: dict[str, Any] = {
    "pay": {"reference": "pi_3MtwBw"},
    "ship": {"tracking": "00340434161094042557"},
    "deliver": None,
    "cancel": {"reason": "Ordered twice"},
    "refund": {"reference": "re_1Nispe"},
}

#: Few, so that they meet; None for one of its own, or none.
keys = st.sampled_from([None, None, None, "k1", "k2", "k3"])
#: Of orders, the newest first; the last is one that there is not.
MISSING = 12
positions = st.integers(0, MISSING)


@dataclass(frozen=True)
class Place:
    by: str
    lines: tuple[tuple[int, int], ...]
    #: What the customer has seen, or the administrator has agreed; None for the catalogue's.
    price: int | None
    discount: int
    shipping: str
    address: bool
    key: str | None

    def ask(self, shop: Shop, user_ids: dict[str, int]) -> Request:
        items = sorted(shop.items)
        owner, discount = (CUSTOMERS[0], self.discount) if self.by == ADMIN else (self.by, 0)
        body: dict[str, Any] = {"shipping": self.shipping, "lines": []}
        wanted: dict[int, int] = {}
        for position, quantity in self.lines:
            item_id = items[position % len(items)]
            wanted[item_id] = wanted.get(item_id, 0) + quantity
            line: dict[str, Any] = {"product_id": item_id, "quantity": quantity}
            if self.price is not None:
                line["unit_price"] = dollars(self.price)
            if discount:
                line["discount_pct"] = dollars(discount)
            body["lines"].append(line)
        if self.address:
            body["ship_to"] = HOME
        if self.by == ADMIN:
            body["user_id"] = user_ids[owner]
        act = partial(self._act, owner=owner, wanted=wanted, discount=discount)
        key = self.key or str(uuid4())
        return Request(self.by, "POST", f"{V1}/orders", "POST /orders", act, body, key)

    def _act(
        self, shop: Shop, order_id: int | None, *, owner: str, wanted: dict[int, int], discount: int
    ) -> Outcome:
        items = {item_id: shop.items[item_id] for item_id in wanted}
        lines = tuple(
            Line(item_id, wanted[item_id], item.price if self.price is None else self.price, discount)
            for item_id, item in items.items()
        )
        refusal = self._refusal(shop, owner, lines)
        if refusal is not None:
            return Outcome(*refusal, shop)
        if order_id is None or order_id in shop.orders:
            return Outcome(201, "a new order", shop)
        order = Order(owner, lines, FEES[self.shipping], self.address)
        after = shop.with_order(order_id, order)
        for line in lines:
            after.items[line.item_id] = items[line.item_id].moved(-line.quantity, may_warn=True)
        subtotal, discounted, fee, total = order.amounts
        shows = {"subtotal": subtotal, "discount": discounted, "shipping_fee": fee, "total": total}
        return Outcome(201, None, after, {**shows, "status": "placed"})

    def _refusal(self, shop: Shop, owner: str, lines: tuple[Line, ...]) -> tuple[int, str] | None:
        items = shop.items
        unpaid = [each for each in shop.orders.values() if (each.owner, each.status) == (owner, "placed")]
        by_customer = self.by != ADMIN
        withdrawn = any(not items[line.item_id].active for line in lines)
        other_price = by_customer and any(line.price != items[line.item_id].price for line in lines)
        too_cheap = self.shipping == "overnight" and sum(line.net for line in lines) < OVERNIGHT_MINIMUM
        too_few = any(line.quantity > items[line.item_id].stock for line in lines)
        # In this order, of which the first is told.
        refusals = (
            (withdrawn, (409, "item_withdrawn")),
            (other_price, (409, "price_changed")),
            (too_cheap, (422, "invalid_input")),
            (too_few, (409, "out_of_stock")),
            (by_customer and len(unpaid) >= MOST_UNPAID, (409, "too_many_unpaid")),
        )
        return next((refusal for so, refusal in refusals if so), None)


@dataclass(frozen=True)
class Transition:
    name: str
    by: str
    position: int
    key: str | None

    def ask(self, shop: Shop, user_ids: dict[str, int]) -> Request:
        order_id = _chosen(shop, self.position)
        act = partial(self._act, about=order_id)
        route = f"POST /orders/{{order_id}}/{self.name}"
        path = f"{V1}/orders/{order_id}/{self.name}"
        return Request(self.by, "POST", path, route, act, BODIES[self.name], self.key)

    def _act(self, shop: Shop, _: int | None, *, about: int) -> Outcome:
        order = shop.orders.get(about)
        if order is None or self.by not in (order.owner, ADMIN):
            return Outcome(404, "not_found", shop)
        sources, target = TRANSITIONS[self.name]
        if order.status not in sources or (target == "refunded" and not order.refund_due):
            return Outcome(409, "invalid_transition", shop)
        if target == "shipped" and not order.has_address:
            return Outcome(409, "address_required", shop)
        moved = replace(order, way=(*order.way, target))
        after = shop.with_order(about, moved)
        if target == "cancelled":
            for line in order.lines:
                item = after.items[line.item_id]
                after.items[line.item_id] = item.moved(line.quantity, may_warn=False)
        return Outcome(200, None, after, {"status": target, "refund_due": moved.refund_due, "id": about})


@dataclass(frozen=True)
class Redirect:
    by: str
    position: int

    def ask(self, shop: Shop, user_ids: dict[str, int]) -> Request:
        order_id = _chosen(shop, self.position)
        path = f"{V1}/orders/{order_id}/ship-to"
        return Request(self.by, "PUT", path, "", partial(self._act, about=order_id), HOME)

    def _act(self, shop: Shop, _: int | None, *, about: int) -> Outcome:
        order = shop.orders.get(about)
        if order is None or self.by not in (order.owner, ADMIN):
            return Outcome(404, "not_found", shop)
        if order.status not in ("placed", "paid"):
            return Outcome(409, "invalid_transition", shop)
        moved = replace(order, has_address=True, redirections=order.redirections + 1)
        return Outcome(200, None, shop.with_order(about, moved), {"status": order.status})


@dataclass(frozen=True)
class Restock:
    position: int
    delta: int
    key: str | None

    def ask(self, shop: Shop, user_ids: dict[str, int]) -> Request:
        item_id = sorted(shop.items)[self.position % len(shop.items)]
        body = {"delta": self.delta, "reason": "Delivery"}
        act = partial(self._act, about=item_id)
        path = f"{V1}/items/{item_id}/stock"
        return Request(ADMIN, "POST", path, "POST /items/{item_id}/stock", act, body, self.key)

    def _act(self, shop: Shop, _: int | None, *, about: int) -> Outcome:
        item = shop.items[about]
        if item.stock + self.delta < 0:
            return Outcome(409, "out_of_stock", shop)
        after = item.moved(self.delta, may_warn=True)
        return Outcome(200, None, shop.with_item(about, after), {"quantity": after.stock})


@dataclass(frozen=True)
class Change:
    """Another price, or off the catalogue and on it again; as of the version that is known, or of another."""

    position: int
    price: int | None
    active: bool | None
    #: What is added to the version that was read; None for whatever is there.
    stale: int | None

    def ask(self, shop: Shop, user_ids: dict[str, int]) -> Request:
        item_id = sorted(shop.items)[self.position % len(shop.items)]
        expected = None if self.stale is None else shop.items[item_id].version + self.stale
        values: dict[str, Any] = {}
        body: dict[str, Any] = {}
        if self.price is not None:
            values["price"], body["price"] = self.price, dollars(self.price)
        if self.active is not None:
            values["active"] = body["is_active"] = self.active
        act = partial(self._act, about=item_id, expected=expected, values=values)
        tag = "*" if expected is None else str(expected)
        return Request(ADMIN, "PATCH", f"{V1}/items/{item_id}", "", act, body, None, tag)

    @staticmethod
    def _act(
        shop: Shop, _: int | None, *, about: int, expected: int | None, values: dict[str, Any]
    ) -> Outcome:
        item = shop.items[about]
        if expected not in (None, item.version):
            return Outcome(412, "precondition_failed", shop)
        after = item.changed(**values)
        shows = {"price": dollars(after.price), "version": after.version, "availability": after.availability}
        return Outcome(200, None, shop.with_item(about, after), {**shows, "is_active": after.active})


Wanted = Place | Transition | Redirect | Restock | Change


def _chosen(shop: Shop, position: int) -> int:
    ids = sorted(shop.orders, reverse=True)
    return UNKNOWN if position == MISSING or not ids else ids[position % len(ids)]


def onward(shop: Shop, position: int, choice: int) -> Transition:
    """A transition that the order can make, if it can make any."""
    order = shop.orders.get(_chosen(shop, position))
    status = order.status if order else ""
    names = [name for name, (sources, _) in sorted(TRANSITIONS.items()) if status in sources] or sorted(
        TRANSITIONS
    )
    # `cancel` comes before all others: any other choice leads further.
    return Transition(names[-choice % len(names)], ADMIN, position, None)


def tried(shop: Shop, status: str, name: str) -> Transition:
    """A transition of the newest order in this state, if there is one, whether it is valid or not."""
    ids = sorted(shop.orders, reverse=True)
    found = [position for position, order_id in enumerate(ids) if shop.orders[order_id].status == status]
    return Transition(name, ADMIN, next((position for position in found if position != MISSING), 0), None)


def rush(shop: Shop, position: int, buyers: Sequence[str]) -> list[Place]:
    """Each buyer wants more than half of what is left of an item."""
    stock = shop.items[sorted(shop.items)[position]].stock
    lines = ((position, stock // 2 + 1),)
    return [Place(buyer, lines, None, 0, "standard", address=True, key=None) for buyer in buyers]


places = st.builds(
    Place,
    by=st.sampled_from((*CUSTOMERS, ADMIN)),
    lines=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), min_size=1, max_size=3).map(tuple),
    price=st.sampled_from([*[None] * 12, *PRICES]),
    discount=st.sampled_from(DISCOUNTS),
    shipping=st.sampled_from([*["standard"] * 4, "overnight"]),
    address=st.booleans(),
    key=keys,
)
cancels = st.builds(
    Transition,
    name=st.just("cancel"),
    by=st.sampled_from((*CUSTOMERS, ADMIN)),
    position=positions,
    key=keys,
)
transitions = st.builds(
    Transition,
    name=st.sampled_from(["pay", "pay", "ship", "deliver", "refund"]),
    by=st.just(ADMIN),
    position=positions,
    key=keys,
)
redirections = st.builds(Redirect, by=st.sampled_from((*CUSTOMERS, ADMIN)), position=positions)
restockings = st.builds(
    Restock, position=st.integers(0, 2), delta=st.sampled_from([8, 5, 3, 1, -1, -4]), key=keys
)
changes = st.builds(
    Change,
    position=st.integers(0, 2),
    price=st.sampled_from([None, *PRICES]),
    active=st.sampled_from([*[None] * 6, True, True, True, False]),
    stale=st.sampled_from([0, 0, None, -1, 1]),
).filter(lambda change: (change.price, change.active) != (None, None))

anything = st.one_of(places, places, cancels, transitions, redirections, restockings, changes)
