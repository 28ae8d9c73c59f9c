"""Every statement on orders and their lines."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Integer,
    Numeric,
    Select,
    Text,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from service.database import Record, Session
from service.models.items import Item, StockMovement
from service.models.orders import Order, OrderLine
from service.models.users import Address, User
from service.pagination import Page

LINE_COLUMNS = ("product_id", "name", "quantity", "unit_price", "discount_pct", "line_total")
GIVEN_COLUMNS = (
    "user_id",
    "customer_name",
    "status",
    "shipping",
    "subtotal",
    "discount",
    "shipping_fee",
    "total",
    "currency",
    "ship_to",
    "reference",
    "paid_at",
    "shipped_at",
    "delivered_at",
)


def _in_json(column: Any) -> Any:
    """A value inside a document. Amounts as text: a JSON number would become a float on its way."""
    return cast(column, Text) if isinstance(column.type, Numeric) else column


def _whole() -> Select[Any]:
    """An order with its lines as one document: the row has the shape of schemas.orders.Order."""
    pairs = [part for name in LINE_COLUMNS for part in (name, _in_json(getattr(OrderLine, name)))]
    line = func.json_build_object(*pairs)
    lines = select(func.json_agg(aggregate_order_by(line, OrderLine.position), type_=JSON)).where(
        OrderLine.order_id == Order.id
    )
    return select(*Order.__table__.columns, lines.scalar_subquery().label("lines"))


def visible_to(user_id: int | None) -> ColumnElement[bool]:
    """Whose orders may be seen: this user's, or with None everybody's."""
    return true() if user_id is None else Order.user_id == user_id


async def latest(session: Session, user_id: int, count: int) -> list[Any]:
    """The user's last orders, newest first."""
    statement = _whole().where(Order.user_id == user_id).order_by(Order.placed_at.desc(), Order.id.desc())
    return list((await session.execute(statement.limit(count))).all())


async def get(session: Session, order_id: int, *, viewer_id: int | None) -> Record | None:
    """The order, if `viewer_id` may see it (None: anybody's)."""
    statement = _whole().where(Order.id == order_id, visible_to(viewer_id))
    row: Record | None = (await session.execute(statement)).one_or_none()
    return row


async def find(
    session: Session,
    page: Page,
    *,
    user_id: int | None,
    status: str | None,
    placed_from: datetime | None,
    placed_until: datetime | None,
) -> list[Any]:
    """Orders, newest first; both ends of the time are part of it."""
    statement = _whole().where(visible_to(user_id)).order_by(Order.placed_at.desc(), Order.id.desc())
    if page.after is not None:
        statement = statement.where(tuple_(Order.placed_at, Order.id) < page.after)
    if status is not None:
        statement = statement.where(Order.status == status)
    if placed_from is not None:
        statement = statement.where(Order.placed_at >= placed_from)
    if placed_until is not None:
        statement = statement.where(Order.placed_at <= placed_until)
    rows = (await session.execute(statement.limit(page.fetch).offset(page.skip))).all()
    return page.cut(rows, "placed_at", "id")


async def get_customer(session: Session, user_id: int, *, lock: bool = False) -> Record | None:
    """Who an order is for: full_name, is_active, and the address as a document or None.

    With `lock` the user's row is locked until the transaction ends, so that one customer's orders are
    placed one after the other. Locks are always taken in this order: user, then items.
    """
    columns = [column for column in Address.__table__.columns if column.name != "user_id"]
    document = func.json_build_object(*(part for c in columns for part in (c.name, c)), type_=JSON)
    address = select(document).where(Address.user_id == User.id).scalar_subquery()
    statement = select(User.full_name, User.is_active, address.label("address")).where(User.id == user_id)
    if lock:
        statement = statement.with_for_update(key_share=True, of=User)
    row: Record | None = (await session.execute(statement)).one_or_none()
    return row


async def get_products(session: Session, item_ids: Collection[int]) -> dict[int, Record]:
    """id, name, price and is_active of the items, withdrawn ones too, by id; without locks."""
    wanted = bindparam("item_ids", list(item_ids), type_=ARRAY(Item.__table__.c.id.type))
    statement = select(Item.id, Item.name, Item.price, Item.is_active).where(Item.id == func.any(wanted))
    return {row.id: row for row in (await session.execute(statement)).all()}


async def get_references(session: Session, references: Collection[str]) -> set[tuple[int, str]]:
    """Which of these references are taken, and by whom: pairs of user_id and reference."""
    wanted = bindparam("references", list(references), type_=ARRAY(Text))
    statement = select(Order.user_id, Order.reference).where(Order.reference == func.any(wanted))
    return {(row.user_id, row.reference or "") for row in (await session.execute(statement)).all()}


def _adding() -> Select[Any]:
    """One round trip: the order, unless its customer has too many unpaid ones, and its lines."""
    table = Order.__table__.c
    values = [bindparam(name, type_=table[name].type) for name in GIVEN_COLUMNS]
    placed_at = func.coalesce(bindparam("placed_at", type_=table.placed_at.type), func.now())
    # A literal, not a parameter: otherwise the partial index of unpaid orders would not be used.
    unpaid = select(func.count()).where(
        table.user_id == bindparam("user_id"), table.status == literal_column("'placed'")
    )
    most = bindparam("most_unpaid", type_=Integer)
    source = select(*values, placed_at).where(or_(most.is_(None), unpaid.scalar_subquery() < most))
    order = insert(Order).from_select([*GIVEN_COLUMNS, "placed_at"], source)
    added = order.returning(*Order.__table__.columns).cte("added")
    columns = [OrderLine.__table__.c[name] for name in LINE_COLUMNS]
    arrays = [bindparam(f"line_{column.name}", type_=ARRAY(column.type)) for column in columns]
    line = func.unnest(*arrays).table_valued(*LINE_COLUMNS, with_ordinality="position", name="line")
    line = line.render_derived()
    lines = insert(OrderLine).from_select(
        ["order_id", "position", *LINE_COLUMNS],
        select(added.c.id, line.c.position, *(line.c[name] for name in LINE_COLUMNS)).join_from(
            added, line, true()
        ),
    )
    return select(added).add_cte(lines.cte("added_lines"))


_ADD = _adding()


async def add(
    session: Session, values: Mapping[str, Any], lines: Sequence[Any], *, most_unpaid: int | None = None
) -> Record | None:
    """The new order without its lines, or None when its customer has `most_unpaid` unpaid ones.

    `values` has each of GIVEN_COLUMNS that is not null, and `placed_at` where it is not now. `lines`
    have the attributes of LINE_COLUMNS. The caller holds the customer's lock.
    """
    parameters: dict[str, Any] = dict.fromkeys((*GIVEN_COLUMNS, "placed_at"))
    parameters |= values
    parameters |= {f"line_{name}": [getattr(line, name) for line in lines] for name in LINE_COLUMNS}
    row: Record | None = (
        await session.execute(_ADD, parameters | {"most_unpaid": most_unpaid})
    ).one_or_none()
    return row


async def change(
    session: Session,
    order_id: int,
    *,
    viewer_id: int | None,
    sources: Iterable[str],
    refund_due: bool,
    values: Mapping[str, Any],
) -> bool:
    """Whether the order, if `viewer_id` may see it, was in one of these states and has changed.

    The state is asked in the UPDATE itself: of two that change it at once, the second finds it changed.
    """
    guards = (Order.status.in_(tuple(sources)), Order.refund_due.is_(refund_due), visible_to(viewer_id))
    statement = update(Order).where(Order.id == order_id, *guards).returning(Order.id)
    statement = statement.values(**values, version=Order.version + 1)
    return (await session.execute(statement)).first() is not None


async def transition(
    session: Session,
    order_id: int,
    *,
    viewer_id: int | None,
    sources: Iterable[str],
    refund_due: bool,
    target: str,
    values: Mapping[str, Any],
) -> bool:
    """`change` into another state, at this time; who has paid and cancels is owed a refund."""
    owed = Order.status == "paid" if target == "cancelled" else False
    moved = {**values, "status": target, f"{target}_at": func.now(), "refund_due": owed}
    return await change(
        session, order_id, viewer_id=viewer_id, sources=sources, refund_due=refund_due, values=moved
    )


async def get_taken(session: Session, order_id: int) -> dict[int, int]:
    """What the ledger says the order took from stock: units by item id. Nothing, if it is imported."""
    statement = select(StockMovement.item_id, StockMovement.delta).where(
        StockMovement.order_id == order_id, StockMovement.kind == "sale"
    )
    return {row.item_id: -row.delta for row in (await session.execute(statement)).all()}
