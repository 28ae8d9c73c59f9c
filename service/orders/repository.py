"""Every statement on orders and their lines."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from asyncpg import UniqueViolationError
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

from service.catalogue.models import Item
from service.identity.models import User
from service.orders import metrics, schemas
from service.orders.models import INSTANT, STATUSES, Order, OrderLine
from service.platform.database import Record, Session, after_commit, any_of, none_of
from service.platform.database.documents import array_of, document, object_of, stored_array, stored_object
from service.platform.http.etag.versions import AllBut, Versions

LINE_COLUMNS = ("product_id", "name", "quantity", "unit_price", "discount_pct", "line_total")


def _lines(*, whole: bool) -> ScalarSelect[Any]:
    """The lines of an order, as they are sent. `whole`: to staff."""
    line = object_of(schemas.OrderLine, OrderLine.__table__.c, whole=whole, sku=Item.__table__.c.sku)
    lines = select(array_of(line, OrderLine.position)).where(OrderLine.order_id == Order.id)
    if whole:
        lines = lines.join(Item, Item.id == OrderLine.product_id)
    return lines.correlate(Order).scalar_subquery()


_customer_email = (
    select(User.email).where(User.id == Order.user_id, User.erased_at.is_(None)).scalar_subquery()
)


def _order(*, whole: bool) -> ColumnElement[str]:
    """An order as it is sent. `whole`: to staff."""
    columns = Order.__table__.c
    return object_of(
        schemas.Order,
        columns,
        whole=whole,
        customer_email=_customer_email,
        lines=_lines(whole=whole),
        ship_to=stored_object(schemas.ShipTo, columns.ship_to),
        events=stored_array(schemas.OrderEvent, columns.events),
    )


#: The JSON of an order, by whether it is for staff; for the statements of packages above too.
ORDER_JSON = {whole: _order(whole=whole) for whole in (False, True)}
#: The shape of schemas.Order, whole. Built once, for it costs more than to ask the database.
_SHAPE = (
    *Order.__table__.columns,
    _customer_email.label("customer_email"),
    cast(_lines(whole=True), JSON).label("lines"),
)
_WHOLE = select(*_SHAPE)
_CHANGED = update(Order).returning(*_SHAPE)
OWN = Order.user_id == bindparam("user_id")
_IS = Order.id == bindparam("order_id")
_BY_ID = _WHOLE.where(_IS)
_OWN_BY_ID = _BY_ID.where(OWN)
_LOCKED = _BY_ID.with_for_update(key_share=True, of=Order)
_BY_EXTERNAL_ID = select(Order.id).where(Order.external_id == bindparam("external_id"))
#: As they are sent to customers, and whole to staff: each with what its tag and its place among a customer's
#: last ones are made of.
_DOCUMENTS = {
    whole: select(document(shown), Order.version, Order.placed_at, Order.id)
    for whole, shown in ORDER_JSON.items()
}
_DOCUMENT = _DOCUMENTS[True].where(_IS)
_OWN_DOCUMENT = _DOCUMENTS[False].where(_IS, OWN)
_LATEST = {
    whole: documents.where(OWN)
    .order_by(Order.placed_at.desc(), Order.id.desc())
    .limit(bindparam("count", type_=Integer))
    for whole, documents in _DOCUMENTS.items()
}


def _event(status: Any, at: Any, by: str | ColumnElement[str]) -> ColumnElement[Any]:
    """An entry of the timeline."""
    moment = func.to_char(func.timezone("UTC", at), INSTANT)
    return func.jsonb_build_object("status", cast(status, Text), "at", moment, "by", cast(by, Text))


def visible_to(user_id: int | None) -> ColumnElement[bool]:
    """The orders of this user, or with None of all users."""
    return true() if user_id is None else Order.user_id == user_id


async def get_latest(session: Session, user_id: int, count: int, *, whole: bool) -> list[Any]:
    """Documents of the user's last orders, newest first. `whole`: for staff."""
    return await session.rows(_LATEST[whole], {"user_id": user_id, "count": count})


async def get(session: Session, order_id: int, *, viewer_id: int | None) -> Record | None:
    """The order, if `viewer_id` may see it (None: a caller who sees all)."""
    statement = _BY_ID if viewer_id is None else _OWN_BY_ID
    return await session.one(statement, {"order_id": order_id, "user_id": viewer_id})


async def get_document(session: Session, order_id: int, *, viewer_id: int | None) -> Record | None:
    """The same, as it is sent: whole to a caller who sees all."""
    statement = _DOCUMENT if viewer_id is None else _OWN_DOCUMENT
    return await session.one(statement, {"order_id": order_id, "user_id": viewer_id})


async def lock(session: Session, order_id: int) -> Record | None:
    """The order, locked until the transaction ends."""
    return await session.one(_LOCKED, {"order_id": order_id})


async def get_id(session: Session, external_id: str | None) -> int | None:
    """The id of the order that has this external id."""
    order_id: int | None = await session.value(_BY_EXTERNAL_ID, {"external_id": external_id})
    return order_id


async def set_fields(session: Session, order_id: int, values: Mapping[str, Any]) -> Record | None:
    """The order as changed; None when another one has its external id. The caller holds its lock.

    An external id can be taken between any look and the UPDATE, so it is tried, in a savepoint.
    """
    given = {Order.__table__.c[name]: value for name, value in values.items()}
    statement = _CHANGED.where(Order.id == order_id).values({**given, Order.version: Order.version + 1})
    try:
        async with session.savepoint():
            return await session.one(statement)
    except UniqueViolationError:
        return None


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
