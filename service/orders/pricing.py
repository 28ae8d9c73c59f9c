"""What an order costs: from the lines that a client requests to exact amounts.

Pure functions, tested against a model. Imported orders are priced by them too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from service.errors import FieldFault, Unprocessable
from service.orders.errors import PriceChanged
from service.orders.schemas import MAX_QUANTITY, NewLine, OrderCreate
from service.platform.http.schemas import MAX_AMOUNT, to_cents

OVERNIGHT_MINIMUM: Final = Decimal("50.00")
NOTHING: Final = Decimal("0.00")
#: The two forms of a request.
EITHER: Final = "send either `lines`, or a single `product_id` with its `quantity`"
SINGLE_FIELDS: Final = ("product_id", "quantity", "unit_price", "discount_pct")


@dataclass(frozen=True, slots=True)
class RequestedLine:
    """A line as it was sent, and its pointer into the body."""

    pointer: str
    line: NewLine


@dataclass(frozen=True, slots=True)
class PricedLine:
    """One product of an order, at its price in this order."""

    product_id: int
    name: str
    quantity: int
    unit_price: Decimal
    discount_pct: Decimal

    @property
    def gross(self) -> Decimal:
        """Before the discount."""
        return self.unit_price * self.quantity

    @property
    def line_total(self) -> Decimal:
        """Rounded once, at the end: Decimal's 28 digits hold everything before that exactly."""
        return to_cents(self.gross * (100 - self.discount_pct) / 100)


@dataclass(frozen=True, slots=True)
class Sums:
    """The amounts of an order. `discount` includes what the lines are rounded by, so that all adds up."""

    subtotal: Decimal
    goods: Decimal
    shipping_fee: Decimal

    @classmethod
    def of(cls, lines: Sequence[PricedLine], shipping_fee: Decimal) -> "Sums":
        subtotal = sum((line.gross for line in lines), NOTHING)
        return cls(subtotal, sum((line.line_total for line in lines), NOTHING), shipping_fee)

    @property
    def discount(self) -> Decimal:
        return self.subtotal - self.goods

    @property
    def total(self) -> Decimal:
        return self.goods + self.shipping_fee


def refuse(faults: Iterable[FieldFault]) -> None:
    """Raises Unprocessable if there are any."""
    found = tuple(faults)
    if found:
        detail = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in found[:3])
        raise Unprocessable(detail, errors=found)


def requested_lines(new: OrderCreate) -> list[RequestedLine]:
    """The lines of either form of an order. Raises Unprocessable for both forms at once, or neither."""
    given = [name for name in SINGLE_FIELDS if getattr(new, name) is not None]
    if new.lines is not None:
        both = "Send `lines`, or the fields of a single product, not both."
        refuse(FieldFault(f"/{name}", both, "two_forms") for name in ("lines", *given) if given)
        return [RequestedLine(f"/lines/{position}", line) for position, line in enumerate(new.lines)]
    if not given:
        refuse([FieldFault("/lines", f"Required: {EITHER}.", "missing")])
    missing = [name for name in ("product_id", "quantity") if getattr(new, name) is None]
    refuse(FieldFault(f"/{name}", f"Required: {EITHER}.", "missing") for name in missing)
    return [RequestedLine("", NewLine.model_validate({name: getattr(new, name) for name in given}))]


def price_lines(requested: Sequence[RequestedLine], products: Mapping[int, Any]) -> list[PricedLine]:
    """One line for each product, at the price that was sent or else that of the catalogue.

    `products` has `name` and `price` of what may be sold, by id. Raises Unprocessable for any other
    product, and for lines of one product that cannot be merged.
    """
    gone = "There is no such product: send the `id` of an item of GET /items."
    unknown = [each for each in requested if each.line.product_id not in products]
    refuse(FieldFault(f"{each.pointer}/product_id", gone, "unknown_product") for each in unknown)
    merged: dict[int, PricedLine] = {}
    faults: list[FieldFault] = []
    for each in requested:
        line = _priced(each.line, products[each.line.product_id])
        before = merged.get(line.product_id)
        if before is not None:
            faults += _contradictions(each.pointer, before, line)
            line = replace(before, quantity=before.quantity + line.quantity)
        merged[line.product_id] = line
        if line.gross > MAX_AMOUNT:
            faults.append(
                FieldFault(
                    f"{each.pointer}/quantity",
                    f"Send a smaller quantity: the line is worth more than {MAX_AMOUNT}.",
                    "too_large",
                )
            )
    refuse(faults)
    return list(merged.values())


def _priced(line: NewLine, product: Any) -> PricedLine:
    price = product.price if line.unit_price is None else line.unit_price
    return PricedLine(line.product_id, product.name, line.quantity, price, line.discount_pct)


def _contradictions(pointer: str, before: PricedLine, line: PricedLine) -> Iterable[FieldFault]:
    """Why a line cannot be merged into one for the same product before it."""
    again = "another line for this product"
    if line.unit_price != before.unit_price:
        yield FieldFault(
            f"{pointer}/unit_price", f"Send the same price as in {again}, or none.", "contradiction"
        )
    if line.discount_pct != before.discount_pct:
        yield FieldFault(f"{pointer}/discount_pct", f"Send the same discount as in {again}.", "contradiction")
    if line.quantity + before.quantity > MAX_QUANTITY:
        detail = f"Together with {again} this is more than {MAX_QUANTITY}: order fewer."
        yield FieldFault(f"{pointer}/quantity", detail, "too_many")


def sum_up(new: OrderCreate, lines: Sequence[PricedLine], shipping_fee: Decimal) -> Sums:
    """Raises Unprocessable for more than can be stored, and for less than overnight shipping needs."""
    sums = Sums.of(lines, shipping_fee)
    if max(sums.subtotal, sums.total) > MAX_AMOUNT:
        place = "/lines" if new.lines else "/quantity"
        refuse(
            [
                FieldFault(
                    place, f"The order is worth more than {MAX_AMOUNT}: place several orders.", "too_large"
                )
            ]
        )
    if new.shipping == "overnight" and sums.goods < OVERNIGHT_MINIMUM:
        # The first sentence is that of the tutorial which the API follows.
        detail = (
            f"Overnight shipping requires a $50+ order total: goods worth at least {OVERNIGHT_MINIMUM} after"
            f" discounts, without the shipping fee. These are worth {sums.goods}: add some, or choose"
            " another shipping method."
        )
        raise Unprocessable.at("/shipping", detail, "overnight_minimum")
    return sums


def order_values(new: OrderCreate, sums: Sums, currency: str) -> dict[str, Any]:
    """The columns of an order that follow from the request and its sums."""
    return {
        "shipping": new.shipping,
        "subtotal": sums.subtotal,
        "discount": sums.discount,
        "shipping_fee": sums.shipping_fee,
        "total": sums.total,
        "currency": currency,
        "reference": new.reference,
    }


def refuse_other_prices(lines: Sequence[PricedLine], products: Mapping[int, Any]) -> None:
    """Raises PriceChanged where the price that a customer has seen is not the catalogue's."""
    prices = [
        {"product_id": line.product_id, "yours": f"{line.unit_price:.2f}", "current": f"{current:.2f}"}
        for line in lines
        if line.unit_price != (current := products[line.product_id].price)
    ]
    if prices:
        detail = (
            "Prices have changed. `prices` lists yours and the current ones: order again at the current ones."
        )
        raise PriceChanged(detail, extra={"prices": prices})
