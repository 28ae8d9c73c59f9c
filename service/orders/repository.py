"""Every statement on orders and their lines."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Integer,
    ScalarSelect,
    Text,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from service.orders import metrics, schemas
from service.orders.models import INSTANT, STATUSES, Order, OrderLine
from service.platform.database import Record, Session, after_commit, any_of, none_of
from service.platform.database.documents import array_of, document, object_of, stored_array, stored_object
from service.platform.database.pagination import Conditions, Page, PagedSelect
from service.platform.http.etag.versions import AllBut, Versions

LINE_COLUMNS = ("product_id", "name", "quantity", "unit_price", "discount_pct", "line_total")


def _lines() -> ScalarSelect[Any]:
    """The lines of an order, as they are sent."""
    lines = array_of(object_of(schemas.OrderLine, OrderLine.__table__.c), OrderLine.position)
    return select(lines).where(OrderLine.order_id == Order.id).correlate(Order).scalar_subquery()


def _order() -> ColumnElement[str]:
    """An order as it is sent."""
    columns = Order.__table__.c
    return object_of(
        schemas.Order,
        columns,
        lines=_lines(),
        ship_to=stored_object(schemas.ShipTo, columns.ship_to),
        events=stored_array(schemas.OrderEvent, columns.events),
    )


#: The shape of schemas.Order. Built once, for it costs more than to ask the database.
_SHAPE = (*Order.__table__.columns, cast(_lines(), JSON).label("lines"))
_WHOLE = select(*_SHAPE)
_CHANGED = update(Order).returning(*_SHAPE)
_OWN = Order.user_id == bindparam("user_id")
_IS = Order.id == bindparam("order_id")
_BY_ID = _WHOLE.where(_IS)
_OWN_BY_ID = _BY_ID.where(_OWN)
#: As they are sent, each with what its tag and its place in a list are made of.
_DOCUMENTS = select(document(_order()), Order.version, Order.placed_at, Order.id)
_DOCUMENT = _DOCUMENTS.where(_IS)
_OWN_DOCUMENT = _DOCUMENT.where(_OWN)
_LATEST = (
    _DOCUMENTS.where(_OWN)
    .order_by(Order.placed_at.desc(), Order.id.desc())
    .limit(bindparam("count", type_=Integer))
)
_LIST = PagedSelect(
    _DOCUMENTS,
    Order.placed_at,
    Order.id,
    falling=True,
    filters=Conditions(
        {
            "user_id": _OWN,
            "status": Order.status == bindparam("status"),
            "placed_from": Order.placed_at >= bindparam("placed_from"),
            "placed_until": Order.placed_at <= bindparam("placed_until"),
        }
    ),
)


def _event(status: Any, at: Any, by: str | ColumnElement[str]) -> ColumnElement[Any]:
    """An entry of the timeline."""
    moment = func.to_char(func.timezone("UTC", at), INSTANT)
    return func.jsonb_build_object("status", cast(status, Text), "at", moment, "by", cast(by, Text))


def visible_to(user_id: int | None) -> ColumnElement[bool]:
    """The orders of this user, or with None of all users."""
    return true() if user_id is None else Order.user_id == user_id


async def get_latest(session: Session, user_id: int, count: int) -> list[Any]:
    """Documents of the user's last orders, newest first."""
    return await session.rows(_LATEST, {"user_id": user_id, "count": count})


async def get(session: Session, order_id: int, *, viewer_id: int | None) -> Record | None:
    """The order, if `viewer_id` may see it (None: a caller who sees all)."""
    statement = _BY_ID if viewer_id is None else _OWN_BY_ID
    return await session.one(statement, {"order_id": order_id, "user_id": viewer_id})


async def get_document(session: Session, order_id: int, *, viewer_id: int | None) -> Record | None:
    """The same, as it is sent."""
    statement = _DOCUMENT if viewer_id is None else _OWN_DOCUMENT
    return await session.one(statement, {"order_id": order_id, "user_id": viewer_id})


async def find(
    session: Session,
    page: Page,
    *,
    user_id: int | None,
    status: str | None,
    placed_from: datetime | None,
    placed_until: datetime | None,
) -> list[Any]:
    """Documents of orders, newest first; both ends of the time are included."""
    values = {
        "user_id": user_id,
        "status": status,
        "placed_from": placed_from,
        "placed_until": placed_until,
    }
    return await _LIST.read(session, page, values)


async def get_references(session: Session, references: Collection[str]) -> set[tuple[int, str]]:
    """Which of these references are taken, and by whom: pairs of user_id and reference."""
    wanted = bindparam("references", list(references), type_=ARRAY(Text))
    statement = select(Order.user_id, Order.reference).where(Order.reference == func.any(wanted))
    return {(row.user_id, row.reference or "") for row in await session.rows(statement)}


async def change(
    session: Session,
    order_id: int,
    *,
    viewer_id: int | None,
    sources: Iterable[str],
    values: Mapping[str, Any],
    guard: ColumnElement[bool] | None = None,
    expected: Versions | None = None,
) -> Record | None:
    """The order as changed, if `viewer_id` may see it, it is in one of these states, and `guard` holds.

    And if its version is `expected`. All of that is checked in the UPDATE itself: of two that change the
    order at once, the second finds it changed.
    """
    guards = (any_of(Order.status, sources), visible_to(viewer_id), true() if guard is None else guard)
    statement = _CHANGED.where(Order.id == order_id, *guards)
    if isinstance(expected, AllBut):
        statement = statement.where(none_of(Order.version, expected.versions))
    elif expected is not None:
        statement = statement.where(any_of(Order.version, expected))
    statement = statement.values(**values, version=Order.version + 1)
    return await session.one(statement)


#: Not before the transitions so far: a transaction that waits for the row began before the other's end.
_MOMENT = func.greatest(func.now(), *(getattr(Order, f"{status}_at") for status in STATUSES))
#: What a state needs besides the one before it.
_NEEDS: Mapping[str, ColumnElement[bool]] = {
    "shipped": Order.ship_to.is_not(None),
    "refunded": Order.refund_due.is_(True),
}


async def transition(
    session: Session,
    order_id: int,
    *,
    viewer_id: int | None,
    sources: Iterable[str],
    target: str,
    by: str,
    values: Mapping[str, Any],
) -> Record | None:
    """`change` into another state, at this time. Cancelling a paid order makes its refund due.

    What has no address does not ship, and what was not paid is not given back.
    """
    changed = {
        **values,
        "status": target,
        f"{target}_at": _MOMENT,
        "refund_due": Order.status == "paid" if target == "cancelled" else False,
        "events": Order.events.concat(_event(literal(target), _MOMENT, by)),
    }
    row = await change(
        session,
        order_id,
        viewer_id=viewer_id,
        sources=sources,
        values=changed,
        guard=_NEEDS.get(target),
    )
    if row is not None:
        after_commit(session, lambda: metrics.count_status(row.status, row.shipping, row.currency, row.total))
    return row


async def get_unpaid(session: Session, window: timedelta, *, after: int, count: int) -> Sequence[int]:
    """The ids of orders placed longer ago than that and unpaid, in order, beginning after `after`."""
    old = Order.placed_at < func.now() - window
    unpaid = (Order.status == literal_column("'placed'"), old, Order.id > after)
    return await session.values(select(Order.id).where(*unpaid).order_by(Order.id).limit(count))
