"""A customer with what other domains know of them."""

from typing import Final

from service import accounts, orders
from service.customers.schemas import UserWithAddress
from service.identity import AnyCaller
from service.platform.database import Session

LAST_ORDERS: Final = 100


async def get_with_orders(session: Session, caller: AnyCaller, user_id: int) -> UserWithAddress:
    """The caller's own account, or any for a caller that may read all; else NotFound."""
    accounts.require_may_read(caller, user_id)
    user = await accounts.get_user(session, user_id)
    latest = await orders.get_latest(session, user_id, LAST_ORDERS)
    return UserWithAddress(**dict(user), orders=orders.Order.all_of(latest))
