"""Every statement of exports. A row is one text, which PostgreSQL writes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from asyncpg import InvalidParameterValueError
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Label,
    ScalarSelect,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from service.accounts import USER_JSON
from service.catalogue import CURRENCY, ITEM_JSON
from service.catalogue.models import Item, Stock
from service.identity.models import Address, User
from service.orders import ORDER_JSON
from service.orders.models import Order, OrderLine
from service.platform.database import Session, csv_rows
from service.platform.database.documents import document

Of = Literal["orders", "items", "customers"]
Format = Literal["csv", "jsonl"]

ZONE: Final = bindparam("time_zone", type_=Text)
_AFTER: Final = bindparam("after", type_=BigInteger)
_UNTIL: Final = bindparam("until", type_=BigInteger)
_COUNT: Final = bindparam("count", type_=Integer)
_LINE_END: Final[ColumnElement[str]] = literal_column("E'\\n'")
ADDRESS: Final = ("name", "street", "city", "region", "postal_code", "country")


@dataclass(frozen=True, slots=True)
class Rows:
    """What an export consists of. `first`: what stands before its rows."""

    read: Select[Any]
    last: Select[Any]
    first: bytes = b""


async def begin(session: Session, rows: Rows, *, until: int, time_zone: str) -> tuple[int, datetime] | None:
    """The id of the last row up to this one, or 0, and the time of the snapshot; None for a time zone that
    PostgreSQL does not know.
    """
    try:
        row = await session.one(rows.last, {"until": until, "time_zone": time_zone})
    except InvalidParameterValueError:
        return None
    assert row is not None  # noqa: S101 - an aggregate has one row
    return row.last or 0, row.at


async def read(session: Session, rows: Rows, values: Mapping[str, Any]) -> list[Any]:
    """`document` and `id` of the next rows: `after` one, `until` another, `count` at most."""
    return await session.rows(rows.read, {**values, "currency": session.currency})


def _named(prefix: str, columns: Mapping[str, ColumnElement[Any]]) -> dict[str, ColumnElement[Any]]:
    return {f"{prefix}{name}": column for name, column in columns.items()}


def _of(columns: Any, *names: str) -> dict[str, ColumnElement[Any]]:
    return {name: columns[name] for name in names}


_order: Final = Order.__table__.c
_user: Final = User.__table__.c
_item: Final = Item.__table__.c
_stock: Final = Stock.__table__.c
_address: Final = Address.__table__.c

#: A row for each line, as shops export them. What tells orders apart stands in each row, so that rows can be
#: filtered; the amounts of the whole order only in its first, so that a column can be added up.
_LINES: Final = (
    select(
        *OrderLine.__table__.c,
        func.row_number(type_=Integer).over(order_by=OrderLine.__table__.c.position).label("line"),
        func.count(type_=Integer).over().label("lines"),
    )
    .where(OrderLine.__table__.c.order_id == _order.id)
    .correlate(Order.__table__)
    .subquery("each")
)
_AMOUNTS: Final = ("subtotal", "discount", "shipping_fee", "total")


def _first_line(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((_LINES.c.line == literal_column("1"), column))


def _ship_to(name: str) -> ColumnElement[Any]:
    member: ColumnElement[str] = literal_column(f"'{name}'")
    return _order.ship_to.op("->>", return_type=Text())(member)


_ORDER_CELLS: Final[Mapping[str, ColumnElement[Any]]] = {
    **_of(
        _order,
        "id",
        "external_id",
        "reference",
        "status",
        "placed_at",
        "paid_at",
        "shipped_at",
        "delivered_at",
    ),
    **_of(_order, "cancelled_at", "refunded_at", "user_id", "customer_name"),
    "customer_email": case((_user.erased_at.is_(None), _user.email)),
    **_of(_order, "shipping", "currency"),
    **{name: _first_line(_order[name]) for name in _AMOUNTS},
    **_named("ship_to_", {name: _ship_to(name) for name in ADDRESS}),
    **_of(_order, "tracking", "payment_reference", "refund_reference", "refund_due", "cancel_reason"),
    **_of(_LINES.c, "line", "lines", "product_id"),
    "sku": _item.sku,
    "product_name": _LINES.c.name,
    **_of(_LINES.c, "quantity", "unit_price", "discount_pct", "line_total"),
}
_ITEM_CELLS: Final[Mapping[str, ColumnElement[Any]]] = {
    **_of(_item, "id", "external_id", "sku", "name", "description", "category", "price"),
    "currency": CURRENCY,
    "availability": _item.availability,
    "stock": _stock.quantity,
    "reorder_level": _stock.reorder_level,
    **_of(_item, "is_active", "images", "attributes", "version", "created_at", "updated_at"),
}
_CUSTOMER_CELLS: Final[Mapping[str, ColumnElement[Any]]] = {
    **_of(
        _user,
        "id",
        "external_id",
        "email",
        "full_name",
        "is_active",
        "is_admin",
        "email_verified",
        "created_at",
    ),
    **_named("address_", _of(_address, *ADDRESS)),
}


def _order_rows() -> ScalarSelect[Any]:
    row = csv_rows.row_of(_ORDER_CELLS, zone=ZONE)
    rows = func.string_agg(row, aggregate_order_by(literal_column("''"), _LINES.c.line))
    lines = select(rows).select_from(_LINES.join(Item.__table__, _item.id == _LINES.c.product_id))
    return lines.correlate(Order.__table__, User.__table__).scalar_subquery()


def _rows(
    row_id: Any,
    text: ColumnElement[Any],
    tables: Any,
    *shown: ColumnElement[bool],
    cells: Mapping[str, Any] | None = None,
) -> Rows:
    written: Label[bytes] = document(text if cells else func.concat(text, _LINE_END, type_=Text))
    read = select(written, row_id).select_from(tables).where(row_id > _AFTER, row_id <= _UNTIL, *shown)
    now = func.now()
    last = select(func.max(row_id).label("last"), now.label("at"), func.timezone(ZONE, now).label("local"))
    first = csv_rows.header(cells) if cells else b""
    return Rows(read.order_by(row_id).limit(_COUNT), last.where(row_id <= _UNTIL, *shown), first)


_orders_and_users: Final = Order.__table__.join(User.__table__, _user.id == _order.user_id)
_items_and_stock: Final = Item.__table__.outerjoin(Stock.__table__, _stock.item_id == _item.id)
_users_and_addresses: Final = User.__table__.outerjoin(Address.__table__, _address.user_id == _user.id)
_not_erased: Final = _user.erased_at.is_(None)

ROWS: Final[Mapping[tuple[Of, Format], Rows]] = {
    ("orders", "jsonl"): _rows(_order.id, ORDER_JSON[True], Order.__table__),
    ("orders", "csv"): _rows(_order.id, _order_rows(), _orders_and_users, cells=_ORDER_CELLS),
    ("items", "jsonl"): _rows(_item.id, ITEM_JSON[True], Item.__table__),
    ("items", "csv"): _rows(
        _item.id, csv_rows.row_of(_ITEM_CELLS, zone=ZONE), _items_and_stock, cells=_ITEM_CELLS
    ),
    ("customers", "jsonl"): _rows(_user.id, USER_JSON[True], User.__table__, _not_erased),
    ("customers", "csv"): _rows(
        _user.id,
        csv_rows.row_of(_CUSTOMER_CELLS, zone=ZONE),
        _users_and_addresses,
        _not_erased,
        cells=_CUSTOMER_CELLS,
    ),
}
