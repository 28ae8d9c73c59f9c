"""A summary of one customer, read by concurrent queries."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from pydantic import TypeAdapter

from service import accounts, notifications, orders
from service.customers.dashboard import repository as dashboard
from service.customers.dashboard.schemas import Statistics
from service.identity import Caller
from service.notifications import Notification
from service.platform.database import Database, Session
from service.platform.database.documents import array, with_member
from service.platform.database.pagination import Page

T = TypeVar("T")
LAST: Final = 10
_LIST: Final = TypeAdapter(list[Notification])


async def get(database: Database, caller: Caller, user_id: int) -> bytes:
    """The JSON of Dashboard: the caller's own, or any for an administrator; else UserNotFound.

    Each query has a session of its own, for a session is not for two tasks at once. The caller must
    hold none meanwhile: a request that keeps one connection and waits for three more would, often
    enough at once, wait for itself.
    """
    accounts.require_may_read(caller, user_id)
    try:
        # A group, not gather(): when one query fails the others are cancelled and waited for, so
        # that no connection outlives the request.
        async with asyncio.TaskGroup() as queries:
            figures = queries.create_task(
                _read(database, lambda session: dashboard.statistics(session, user_id))
            )
            latest = queries.create_task(
                _read(database, lambda session: orders.get_latest(session, user_id, LAST))
            )
            unread = queries.create_task(
                _read(database, lambda session: notifications.find(session, user_id, Page(LAST), unread=True))
            )
    except ExceptionGroup as faults:
        # The answer speaks of one fault; the group would be a 500 even where each query is a 503.
        raise faults.exceptions[0] from None
    row = figures.result()
    if row is None:
        raise accounts.UserNotFound
    document = b'{"user_id":%d}' % user_id
    document = with_member(document, "stats", Statistics.of(row).model_dump_json().encode())
    document = with_member(document, "orders", array(latest.result()))
    return with_member(document, "notifications", _LIST.dump_json(Notification.all_of(unread.result())))


async def _read(database: Database, read: Callable[[Session], Awaitable[T]]) -> T:
    async with database.reading() as session:
        return await read(session)
