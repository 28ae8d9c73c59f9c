"""Lists of orders: who may ask for which, and what a search finds."""

import re
from dataclasses import replace
from typing import Any, Final

from service.accounts import find_user_ids
from service.errors import Forbidden
from service.identity import AnyCaller
from service.orders.lists import repository as lists
from service.orders.lists.filters import Filters, Found
from service.platform.database import Session
from service.platform.database.pagination import Page
from service.platform.http.schemas import MAX_ID

#: Customers whose orders a search looks at: each is a look into an index.
CUSTOMERS: Final = 1_000


async def find(session: Session, caller: AnyCaller, page: Page, filters: Filters, *, sort: str) -> list[Any]:
    """Documents of the caller's own orders; staff and keys see all."""
    viewer_id = caller.sees_only
    if viewer_id is not None:
        filters = _own(viewer_id, filters)
    found = None if filters.search is None else await _search(session, page, filters.search)
    return await lists.find(session, page, filters, found, sort=sort, whole=viewer_id is None)


def _own(viewer_id: int, filters: Filters) -> Filters:
    """Those of a caller who sees only their own orders. Raises Forbidden."""
    if filters.user_id not in (None, viewer_id):
        raise _others_orders()
    if filters.external_id is not None or filters.metadata is not None:
        raise _staffs_members()
    if filters.search is not None:
        raise _searches()
    return replace(filters, user_id=viewer_id)


async def _search(session: Session, page: Page, search: str) -> Found:
    """By the account of the customer, and not by the copy of the name in the order: an index of a million
    orders would have each name once for each order.
    """
    ids = await find_user_ids(session, search, most=CUSTOMERS + 1)
    page.partial = len(ids) > CUSTOMERS
    number = re.fullmatch(r"#?([0-9]{1,19})", search, re.ASCII)
    order_id = int(number[1]) if number else None
    customer_ids = await lists.get_customers(session, ids[:CUSTOMERS])
    return Found(customer_ids, order_id if order_id is not None and order_id <= MAX_ID else None)


async def require_may_list(_: Session, caller: AnyCaller, user_id: str) -> None:
    """Raises Forbidden for another user's orders, as `find` does."""
    if caller.sees_only is not None and user_id != str(caller.sees_only) and user_id.isdecimal():
        raise _others_orders()


async def require_may_look(_: Session, caller: AnyCaller, __: str) -> None:
    """Raises Forbidden for callers who see neither external ids nor metadata."""
    if caller.sees_only is not None:
        raise _staffs_members()


async def require_may_search(_: Session, caller: AnyCaller, __: str) -> None:
    """Raises Forbidden for callers who see no customers."""
    if caller.sees_only is not None:
        raise _searches()


def _others_orders() -> Forbidden:
    return Forbidden("Only staff may list other users' orders: leave out `user_id`.")


def _staffs_members() -> Forbidden:
    return Forbidden(
        "Only staff and API keys may look for external ids and metadata: leave out `external_id` and"
        " `metadata`."
    )


def _searches() -> Forbidden:
    return Forbidden("Only staff and API keys may search orders: leave out `search`.")
