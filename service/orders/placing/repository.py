"""The statements that place an order, and that announce what has happened to one.

A round trip costs both sides more than most of what is written, so customer and items are locked by one
statement, and everything that an order writes is one: the order with its lines, stock and its ledger, the
audit log, events with their jobs, and notifications. Each domain has its part of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import CTE, Select, bindparam, func, insert, literal, literal_column, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from service import accounts, audit, catalogue, events, notifications
from service.events import NewEvent
from service.notifications import NewNotification
from service.orders import metrics
from service.orders.models import Order, OrderLine
from service.orders.order_limits import UNLIMITED, OrderLimits, within_limits
from service.orders.repository import LINE_COLUMNS
from service.platform.database import Record, Session, after_commit

GIVEN_COLUMNS: Final = (
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
    "events",
    "placed_at",
    "paid_at",
    "shipped_at",
    "delivered_at",
)
#: The states that an order can be recorded in, and how it came there.
STATES: Final = ("placed", "paid", "shipped", "delivered")


@dataclass(frozen=True, slots=True)
class Locked:
    """`order_id` and `now` are those of the order that may be placed."""

    customer: Record
    items: Mapping[int, Record]
    order_id: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Announcement:
    """What is written of an order's new status: the parameters of its entry in the audit log, events,
    notifications, and the stock that moves.
    """

    entries: Mapping[str, Any]
    events: Sequence[NewEvent]
    notifications: Sequence[NewNotification]
    movements: catalogue.Movements | None = None


def _locking() -> Select[Any]:
    """First the customer, then the items: those are looked for once there is a customer."""
    customer = accounts.LOCKED_CUSTOMER.cte("customer").prefix_with("MATERIALIZED")
    order_id = select(func.nextval(literal_column("'orders_id_seq'"))).scalar_subquery().label("order_id")
    exists = select(customer.c.full_name).exists()
    item = catalogue.LOCKED_ITEMS.where(exists).cte("item").prefix_with("MATERIALIZED")
    is_active = customer.c.is_active.label("customer_is_active")
    return select(
        order_id,
        func.now().label("now"),
        customer.c.full_name,
        is_active,
        customer.c.email_verified,
        customer.c.address,
        item,
    ).select_from(customer.outerjoin(item, true()))


_LOCK: Final = _locking()


async def lock(session: Session, customer_id: int, item_ids: Sequence[int]) -> Locked | None:
    """The customer and the items, locked until the transaction ends; None without a customer.

    Of one customer, orders are placed one after the other; the items' rows are as of the lock, and unknown
    ids have none.
    """
    rows = await session.rows(_LOCK, {"user_id": customer_id, "item_ids": item_ids})
    if not rows:
        return None
    items = {row.id: row for row in rows if row.id is not None}
    return Locked(rows[0], items, rows[0].order_id, rows[0].now)


def _adding() -> tuple[CTE, CTE]:
    """The order, unless its customer would exceed a limit, and its lines."""
    table = Order.__table__.c
    order_id = func.coalesce(
        bindparam("id", type_=table.id.type), func.nextval(literal_column("'orders_id_seq'"))
    )
    values = [bindparam(name, type_=table[name].type) for name in GIVEN_COLUMNS]
    source = select(order_id, *values).where(within_limits())
    order = insert(Order).from_select(["id", *GIVEN_COLUMNS], source).returning(table.id).cte("added")
    columns = [OrderLine.__table__.c[name] for name in LINE_COLUMNS]
    arrays = [bindparam(f"line_{column.name}", type_=ARRAY(column.type)) for column in columns]
    line = func.unnest(*arrays).table_valued(*LINE_COLUMNS, with_ordinality="position", name="line")
    line = line.render_derived()
    lines = insert(OrderLine).from_select(
        ["order_id", "position", *LINE_COLUMNS],
        select(order.c.id, line.c.position, *(line.c[name] for name in LINE_COLUMNS)).join_from(
            order, line, true()
        ),
    )
    return order, lines.cte("added_lines")


_ORDER, _LINES = _adding()


@cache
def _statement(*, adds: bool, moves: bool, shows: bool, publishes: bool, one: bool) -> Select[Any]:
    """Without the parts that would write nothing: they cost as much. `one`: there is one notification, and no
    more than one event.
    """
    parts: list[CTE] = [_ORDER, _LINES] if adds else []
    if moves:
        parts += catalogue.movements("EXISTS (SELECT FROM added)" if adds else "true")
    if shows:
        parts += catalogue.AVAILABILITIES
    parts += audit.ENTRY
    if publishes:
        parts += events.EVENT if one else events.EVENTS
    parts += notifications.NOTIFICATION if one else notifications.NOTIFICATIONS
    return select(_ORDER.c.id if adds else literal(True)).add_cte(*parts)


async def place(
    session: Session,
    values: Mapping[str, Any],
    lines: Sequence[Any],
    announcement: Announcement,
    *,
    limits: OrderLimits | None,
) -> bool:
    """Add an order, and announce it. False when its customer would exceed `limits`.

    `values` has `id` and each of GIVEN_COLUMNS that is not null, and `lines` have the attributes of
    LINE_COLUMNS. The caller holds the locks of `lock`.
    """
    if await _write(session, announcement, _parameters(values, lines, limits)) is None:
        return False
    _count(session, values)
    return True


async def announce(session: Session, announcement: Announcement) -> None:
    await _write(session, announcement, {})


async def _write(session: Session, announcement: Announcement, order: Mapping[str, Any]) -> Any:
    movements, news = announcement.movements, announcement.events
    parameters = {**order, **announcement.entries}
    if movements:
        parameters |= movements.parameters
    if news:
        parameters |= events.to_publish(session, news)
    parameters |= notifications.to_notify(announcement.notifications)
    shows = movements is not None and bool(movements.shown)
    one = len(announcement.notifications) == 1
    statement = _statement(
        adds=bool(order), moves=movements is not None, shows=shows, publishes=bool(news), one=one
    )
    return await session.value(statement, parameters)


_ADD: Final = select(_ORDER.c.id).add_cte(_LINES)


async def add(session: Session, values: Mapping[str, Any], lines: Sequence[Any]) -> int:
    """Add an order that is not announced and takes no stock; its id."""
    order_id: int = await session.value(_ADD, _parameters(values, lines))
    _count(session, values)
    return order_id


def _count(session: Session, values: Mapping[str, Any]) -> None:
    counted = (values["status"], values["shipping"], values["currency"], values["total"])
    after_commit(session, lambda: metrics.count_status(*counted))


def _parameters(
    values: Mapping[str, Any], lines: Sequence[Any], limits: OrderLimits | None = None
) -> dict[str, Any]:
    parameters: dict[str, Any] = dict.fromkeys(("id", *GIVEN_COLUMNS))
    parameters |= values
    parameters |= {f"line_{name}": [getattr(line, name) for line in lines] for name in LINE_COLUMNS}
    parameters |= limits.parameters(sum(line.quantity for line in lines)) if limits else UNLIMITED
    return parameters


def timeline(values: Mapping[str, Any], by: str) -> list[dict[str, str]]:
    """The events of a new order, for each moment that `values` has. `by` is one of models.ACTORS."""
    moments = ((state, values.get(f"{state}_at")) for state in STATES)
    return [{"status": state, "at": instant(at), "by": by} for state, at in moments if at is not None]


def instant(at: datetime) -> str:
    """As models.INSTANT has it."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
