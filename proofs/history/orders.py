"""Orders: every 201 is in the database once, with its lines and amounts, and nothing else is."""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from proofs.history.evidence import Checks, Evidence, answered, grouped, may_have_been_done, unless
from proofs.history.final import Order
from proofs.load.history import Call

CENT: Final = Decimal("0.01")
AMOUNTS: Final = ("subtotal", "discount", "shipping_fee", "total")


def in_the_database(evidence: Evidence) -> Checks:
    """Every order that was answered is there once, as it was answered; none that was refused is."""
    stored = grouped((order.reference, order) for order in evidence.final.orders)
    asked = {key: calls for (name, key), calls in evidence.uses_of_keys.items() if name == "order.place"}
    for reference, orders in stored.items():
        yield unless(reference in asked, f"order {orders[0].id} has reference {reference}, never sent")
        yield unless(
            len(orders) == 1,
            f"{len(orders)} orders for one key: ids {', '.join(str(order.id) for order in orders)};"
            f" {evidence.cite(*asked.get(reference, []))}",
        )
    for reference, calls in asked.items():
        yield from _one(evidence, calls, stored.get(reference, []))


def _one(evidence: Evidence, calls: list[Call], stored: Sequence[Order]) -> Checks:
    done = answered(calls)
    if done is None:
        if stored:
            yield unless(
                may_have_been_done(calls),
                f"order {stored[0].id} was refused and is there: {evidence.cite(*calls)}",
            )
        return
    order = next((each for each in stored if each.id == done.body["id"]), None)
    if order is None:
        yield f"order {done.body['id']} was answered and is lost: {evidence.cite(done)}"
        return
    yield unless(
        order.lines == done.body["lines"],
        f"order {order.id} has the lines {order.lines}, answered were {done.body['lines']}:"
        f" {evidence.cite(done)}",
    )
    answered_amounts = {name: done.body[name] for name in AMOUNTS}
    yield unless(
        order.amounts == answered_amounts,
        f"order {order.id} has the amounts {order.amounts}, answered were {answered_amounts}:"
        f" {evidence.cite(done)}",
    )
    yield from _as_asked(order, done, evidence)


def _as_asked(order: Order, done: Call, evidence: Evidence) -> Checks:
    """Products, quantities and discounts are those of the request, and so is a price that it names."""
    wanted = done.sent["lines"]
    same = len(wanted) == len(order.lines) and all(map(_is_as_asked, wanted, order.lines))
    yield unless(
        same, f"order {order.id} has the lines {order.lines}, asked for were {wanted}: {evidence.cite(done)}"
    )
    yield unless(
        order.shipping == done.sent["shipping"],
        f"order {order.id} is sent {order.shipping}, asked for was {done.sent['shipping']}:"
        f" {evidence.cite(done)}",
    )


def _is_as_asked(asked: dict[str, Any], stored: list[Any]) -> bool:
    product, quantity, price, discount, _ = stored
    return (
        (product, quantity) == (asked["product_id"], asked["quantity"])
        and Decimal(discount) == Decimal(asked.get("discount_pct", 0))
        and Decimal(price) == Decimal(asked.get("unit_price", price))
    )


def money(evidence: Evidence) -> Checks:
    """Line total = unit price x quantity x (1 - discount / 100), half a cent up; the amounts add up."""
    for order in evidence.final.orders:
        yield from _sums(f"order {order.id} in the database", order.lines, order.amounts)
    for call in evidence.calls:
        if call.done and call.operation.startswith("order.") and isinstance(call.body, dict):
            yield from _sums(evidence.cite(call), call.body["lines"], call.body)
    fees = grouped((order.shipping, order) for order in evidence.final.orders)
    for shipping, orders in fees.items():
        different = {order.amounts["shipping_fee"] for order in orders}
        yield unless(len(different) == 1, f"{shipping} costs {', '.join(sorted(different))}")


def _sums(name: str, lines: list[list[Any]], amounts: dict[str, str]) -> Checks:
    gross = net = Decimal(0)
    for product, quantity, price, discount, total in lines:
        line = Decimal(price) * quantity
        due = (line * (100 - Decimal(discount)) / 100).quantize(CENT, ROUND_HALF_UP)
        yield unless(Decimal(total) == due, f"{name}: {quantity} of {product} make {total}, due is {due}")
        gross, net = gross + line, net + due
    fee = Decimal(amounts["shipping_fee"])
    right = {"subtotal": gross, "discount": gross - net, "total": net + fee}
    for amount, value in right.items():
        yield unless(
            Decimal(amounts[amount]) == value, f"{name}: its {amount} is {amounts[amount]}, due is {value}"
        )


def prices(evidence: Evidence) -> Checks:
    """Each line has a price that the item had at some moment while the order was placed."""
    writes = grouped((call.sent["item"], call) for call in evidence.of("item.price"))
    for (name, _), calls in evidence.uses_of_keys.items():
        done = answered(calls) if name == "order.place" else None
        if done is None:
            continue
        begin, end = min(call.begin for call in calls), max(call.end for call in calls)
        for product, _, price, _, _ in done.body["lines"]:
            start = evidence.final.start_prices.get(product)
            possible = possible_prices(writes.get(product, []), start, begin, end)
            yield unless(
                price in possible,
                f"item {product} cost {price} in an order, when its price was"
                f" {' or '.join(sorted(possible))}: {evidence.cite(done)}",
            )


def possible_prices(writes: list[Call], start: str | None, begin: float, end: float) -> set[str]:
    """A change whose answer was lost may come to pass at any time after it was sent."""
    certain = [call for call in writes if call.done and call.end < begin]
    last = max(certain, key=lambda call: call.begin, default=None)
    since = last.begin if last else float("-inf")
    found = {
        call.sent["price"]
        for call in writes
        if call.begin <= end and not call.refused and (call.begin >= since or call.unknown)
    }
    return found | ({start} if last is None and start is not None else set())
