"""Every statement of the administration of users."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, or_, select

from service.accounts.users.repository import select_users
from service.identity.models import User
from service.platform.config import email_addresses
from service.platform.database import Session
from service.platform.database.pagination import Page


async def find(
    session: Session, page: Page, *, search: str | None, is_active: bool | None, is_admin: bool | None
) -> list[Any]:
    statement = select_users().order_by(User.id).limit(page.fetch).offset(page.skip)
    if page.after is not None:
        statement = statement.where(User.id > page.after[0])
    if search is not None:
        statement = statement.where(
            or_(
                User.email.icontains(email_addresses.readable(search), autoescape=True),
                func.lower(User.email).in_([func.lower(each) for each in email_addresses.spellings(search)]),
                User.full_name.icontains(search, autoescape=True),
            )
        )
    # Written out, not bound: the planner takes a partial index only for a value that it can see.
    if is_active is not None:
        statement = statement.where(User.is_active if is_active else ~User.is_active)
    if is_admin is not None:
        statement = statement.where(User.is_admin if is_admin else ~User.is_admin)
    return page.cut(await session.rows(statement), "id")


async def lock_administrators(session: Session) -> Sequence[int]:
    """The ids of all active administrators, their rows locked until the transaction ends.

    Not against references: a notification to an administrator, written by an order that already holds
    stock, would otherwise wait for this lock, and deadlock with a transaction that waits for that stock.
    """
    locked = select(User.id).where(User.is_admin, User.is_active).order_by(User.id)
    statement = locked.with_for_update(key_share=True)
    return await session.values(statement)
