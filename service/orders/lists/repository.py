"""The statements of lists of orders."""

from typing import Any, Final

from sqlalchemy import BigInteger, bindparam, func, or_, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY

from service.orders.lists.filters import Filters, Found
from service.orders.models import Order
from service.orders.repository import ORDER_JSON, OWN
from service.platform.database import Session
from service.platform.database.changes_after import Audience, Changes
from service.platform.database.documents import document
from service.platform.database.metadata import has_metadata
from service.platform.database.pagination import Conditions, Page, PagedSelect
from service.platform.http.schemas import Removed

_order: Final = Order.__table__.c
_SORTS: Final[dict[str, tuple[Any, ...]]] = {"id": (_order.id,)} | {
    name: (_order[name], _order.id) for name in ("placed_at", "updated_at", "total")
}
_FILTERS: Final = Conditions(
    {
        "user_id": OWN,
        "status": Order.status == bindparam("status"),
        "placed_from": Order.placed_at >= bindparam("placed_from"),
        "placed_until": Order.placed_at <= bindparam("placed_until"),
        "reference": Order.reference == bindparam("reference"),
        "external_id": Order.external_id == bindparam("external_id"),
        "metadata": has_metadata(Order.__table__),
        "search": or_(
            _order.id == bindparam("found_id", type_=BigInteger),
            _order.user_id == func.any(bindparam("customer_ids", type_=ARRAY(BigInteger))),
        ),
    }
)
_LISTS: Final = {
    (sign + name, whole): PagedSelect(
        select(document(shown), *columns), *columns, falling=bool(sign), filters=_FILTERS
    )
    for name, columns in _SORTS.items()
    for sign in ("", "-")
    for whole, shown in ORDER_JSON.items()
}
_CUSTOMERS: Final = text("""
    SELECT given.id FROM unnest(:user_ids) AS given (id)
    WHERE EXISTS (SELECT FROM orders WHERE orders.user_id = given.id)
    ORDER BY given.id
""").bindparams(bindparam("user_ids", type_=ARRAY(BigInteger)))
#: Of all customers, and of one.
_CHANGES, _OWN_CHANGES = (
    Changes(
        "orders",
        audience,
        rows=select(document(ORDER_JSON[whole])).where(visible),
        row_id=Order.__table__.c.id,
        removed=Removed,
    )
    for audience, whole, visible in (
        (Audience.EVERYTHING, True, true()),
        (Audience.OWNER, False, Order.user_id == bindparam("owner_id")),
    )
)


async def get_customers(session: Session, user_ids: list[int]) -> list[int]:
    """Those of these users who have orders.

    For users without any the planner expects as many as others have, and would read all orders of the shop,
    newest first, until it has found them.
    """
    return list(await session.values(_CUSTOMERS, {"user_ids": user_ids}))


async def find(
    session: Session, page: Page, filters: Filters, found: Found | None, *, sort: str, whole: bool
) -> list[Any]:
    """Documents of orders. `sort` is one of _SORTS; `-` before it reverses the order. `found` is what the
    search stands for. `whole`: for staff.
    """
    others = {"found_id": found.order_id, "customer_ids": found.customer_ids} if found is not None else {}
    return await _LISTS[sort, whole].read(session, page, filters.values(), **others)


async def find_changes(session: Session, page: Page, after: str, *, viewer_id: int | None) -> list[Any]:
    """Documents of orders and of Removed. Raises PositionUnknown."""
    changes = _CHANGES if viewer_id is None else _OWN_CHANGES
    return await changes.read(session, page, after, owner_id=viewer_id)
