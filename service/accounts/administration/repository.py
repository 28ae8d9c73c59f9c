"""Every statement of the administration of users."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from asyncpg import UniqueViolationError
from sqlalchemy import ARRAY, ColumnElement, Text, and_, cast, func, or_, select

from service.accounts.users import repository as users
from service.accounts.users.repository import DOCUMENTS
from service.identity.models import User
from service.platform.config import email_addresses
from service.platform.database import Session, any_of
from service.platform.database.changes_after import Audience, Changes
from service.platform.database.metadata import has_metadata
from service.platform.database.pagination import Page
from service.platform.http.schemas import Removed

#: Of the scopes.
_NONE: Final = cast([], ARRAY(Text))
_CHANGES: Final = Changes(
    "users",
    Audience.EVERYTHING,
    rows=DOCUMENTS.where(User.erased_at.is_(None)),
    row_id=User.__table__.c.id,
    removed=Removed,
)


def _matches(search: str) -> ColumnElement[bool]:
    """Users with this in their name or e-mail address."""
    return or_(
        User.email.icontains(email_addresses.readable(search), autoescape=True),
        func.lower(User.email).in_([func.lower(each) for each in email_addresses.spellings(search)]),
        User.full_name.icontains(search, autoescape=True),
    )


async def find(
    session: Session,
    page: Page,
    *,
    search: str | None,
    is_active: bool | None,
    is_admin: bool | None,
    external_id: str | None,
    metadata: str | None,
) -> list[Any]:
    """Documents of users."""
    statement = DOCUMENTS.add_columns(User.id).order_by(User.id).limit(page.fetch).offset(page.skip)
    if page.after is not None:
        statement = statement.where(User.id > page.after[0])
    if search is not None:
        statement = statement.where(_matches(search))
    if external_id is not None:
        statement = statement.where(User.external_id == external_id)
    if metadata is not None:
        statement = statement.where(has_metadata(User.__table__, metadata))
    # Written out, not bound: the planner takes a partial index only for a value that it can see.
    if is_active is not None:
        statement = statement.where(User.is_active if is_active else ~User.is_active)
    if is_admin is not None:
        statement = statement.where(User.is_admin if is_admin else ~User.is_admin)
    return page.cut(await session.rows(statement), "id")


async def find_ids(session: Session, search: str, *, most: int) -> list[int]:
    """The ids of users that a search finds: the first of them."""
    statement = select(User.id).where(_matches(search)).order_by(User.id).limit(most)
    return list(await session.values(statement))


async def find_staff(session: Session, page: Page) -> list[Any]:
    """Documents of users who may more than customers."""
    # What was granted has changed their access: there is an index of those, and of administrators.
    granted = and_(User.access_changed_at.is_not(None), User.scopes != _NONE)
    statement = DOCUMENTS.add_columns(User.id).where(or_(User.is_admin, granted))
    if page.after is not None:
        statement = statement.where(User.id > page.after[0])
    rows = await session.rows(statement.order_by(User.id).limit(page.fetch).offset(page.skip))
    return page.cut(rows, "id")


async def find_changes(session: Session, page: Page, after: str) -> list[Any]:
    """Documents of users and of Removed, for accounts that were erased. Raises PositionUnknown."""
    return await _CHANGES.read(session, page, after)


async def change(session: Session, user_id: int, values: Mapping[str, Any]) -> bool:
    """Whether it could be done: False when another user has the external id.

    It can be taken between any look and the UPDATE, so it is tried, in a savepoint.
    """
    if values.get("external_id") is None:
        await users.change(session, user_id, values)
        return True
    try:
        async with session.savepoint():
            await users.change(session, user_id, values)
    except UniqueViolationError:
        return False
    return True


async def lock_administrators(session: Session, *others: int) -> Sequence[int]:
    """The ids of all active administrators, their rows locked until the transaction ends; with them, and in
    one order, those of others that are going to be locked: staff who change each other do not deadlock. Staff
    come before customers, as where they order for one.

    Not against references: a notification to an administrator, written by an order that already holds
    stock, would otherwise wait for this lock, and deadlock with a transaction that waits for that stock.
    """
    administers = and_(User.is_admin, User.is_active)
    wanted = or_(administers, any_of(User.id, others)) if others else administers
    locked = select(User.id, administers.label("administers")).where(wanted)
    locked = locked.order_by(administers.desc(), (User.scopes != _NONE).desc(), User.id)
    rows = await session.rows(locked.with_for_update(key_share=True))
    return [row.id for row in rows if row.administers]
