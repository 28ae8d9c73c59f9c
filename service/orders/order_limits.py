"""How much a customer has ordered and not paid, and the condition that keeps it within limits.

The condition is part of the statement that adds an order, under the lock of its customer: of orders
placed at the same time, each counts those before it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
)

from service.orders.models import Order, OrderLine
from service.platform.database import Record, Session

_PARAMETERS: Final = ("max_unpaid", "max_reserved_before", "max_cancelled")
#: For an order without limits.
UNLIMITED: Final[Mapping[str, None]] = dict.fromkeys(_PARAMETERS)


@dataclass(frozen=True, slots=True)
class OrderLimits:
    """For one customer: unpaid orders, units in them, and orders cancelled unpaid within an hour."""

    unpaid: int
    units: int
    cancelled: int

    def parameters(self, units: int) -> dict[str, int]:
        """For an order of so many units."""
        return dict(zip(_PARAMETERS, (self.unpaid, self.units - units, self.cancelled), strict=True))


_order, _line = Order.__table__.c, OrderLine.__table__.c
_own = _order.user_id == bindparam("user_id", type_=_order.user_id.type)
# Literals, not parameters: otherwise the partial index of unpaid orders would not be used.
_unpaid = and_(_own, _order.status == literal_column("'placed'"))
_hour: ColumnElement[Any] = literal_column("interval '1 hour'")
#: By the customer, or by the system because it was not paid in time. A paid order was not held for nothing.
_cancelled = and_(
    _own,
    _order.placed_at > func.now() - _hour,
    _order.status == literal_column("'cancelled'"),
    _order.paid_at.is_(None),
    literal_column("orders.events -> -1 ->> 'by' IN ('customer', 'system')"),
)
_units_of = select(func.sum(_line.quantity)).where(_line.order_id == _order.id).scalar_subquery()
_each = select(_units_of.label("units")).where(_unpaid).subquery("unpaid")
_orders, _units = func.count(), func.coalesce(func.sum(_each.c.units).cast(BigInteger), 0)
_cancellations = select(func.count()).where(_cancelled)


def within_limits() -> ColumnElement[bool]:
    """Whether the customer `user_id` may have the order, by the parameters of OrderLimits or UNLIMITED."""
    unpaid, before, cancelled = (bindparam(name, type_=Integer) for name in _PARAMETERS)
    reserved = select(and_(_orders < unpaid, _units <= before)).select_from(_each).scalar_subquery()
    return or_(unpaid.is_(None), and_(reserved, _cancellations.scalar_subquery() < cancelled))


def _held() -> Select[Any]:
    moments = select(_order.placed_at).where(_cancelled).order_by(_order.placed_at.desc())
    nth = moments.limit(1).offset(bindparam("max_cancelled", type_=Integer) - 1).scalar_subquery()
    return select(
        select(_orders).select_from(_each).scalar_subquery().label("unpaid"),
        select(_units).select_from(_each).scalar_subquery().label("units"),
        func.ceil(func.extract("epoch", nth + _hour - func.now())).cast(Integer).label("wait"),
    )


_HELD: Final = _held()


async def get(session: Session, user_id: int, *, max_cancelled: int) -> Record:
    """The customer's `unpaid` orders, the `units` in them, and the seconds to `wait`.

    `wait` is None unless there are `max_cancelled` orders of the last hour that were cancelled.
    """
    values = {"user_id": user_id, "max_cancelled": max_cancelled}
    return (await session.rows(_HELD, values))[0]
