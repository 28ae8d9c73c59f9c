"""A customer with what other domains know of them."""

from typing import Final

from service import accounts, orders
from service.customers.export import repository as export
from service.errors import InvalidToken
from service.identity import AnyCaller, Caller
from service.platform.database import Session
from service.platform.database.documents import array, with_member

LAST_ORDERS: Final = 100


async def get_with_orders(session: Session, caller: AnyCaller, user_id: int) -> bytes:
    """The JSON of UserWithAddress: the caller's own account, or any for a caller that may read all; else
    NotFound.
    """
    accounts.require_may_read(caller, user_id)
    user = await accounts.get_user_document(session, user_id)
    latest = await orders.get_latest(session, user_id, LAST_ORDERS)
    return with_member(user["document"], "orders", array(latest))


async def get_export(session: Session, caller: Caller) -> str:
    """The caller's data, as JSON text. Of an account that is lost the token is as good as expired."""
    document = await export.get(session, caller.user_id)
    if document is None:
        raise InvalidToken
    return document
