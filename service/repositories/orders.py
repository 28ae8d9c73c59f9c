"""Every statement on orders and their lines."""

from typing import Any

from sqlalchemy import JSON, Numeric, Select, Text, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by

from service.database import Session
from service.models.orders import Order, OrderLine

LINE_COLUMNS = ("product_id", "name", "quantity", "unit_price", "discount_pct", "line_total")


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


async def latest(session: Session, user_id: int, count: int) -> list[Any]:
    """The user's last orders, newest first."""
    statement = _whole().where(Order.user_id == user_id).order_by(Order.placed_at.desc(), Order.id.desc())
    return list((await session.execute(statement.limit(count))).all())
