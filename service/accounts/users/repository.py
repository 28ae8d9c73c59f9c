"""Every statement on users and addresses."""

from collections.abc import Collection, Mapping
from typing import Any, TypeVarTuple

from sqlalchemy import JSON, Select, Text, bindparam, case, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from service.accounts import schemas
from service.identity.models import Address, User
from service.platform.config import email_addresses
from service.platform.database import Record, Session, any_of
from service.platform.database.documents import document, object_of

Columns = TypeVarTuple("Columns")

ADDRESS_COLUMNS = ("name", "street", "city", "region", "postal_code", "country")

_columns = (
    User.id,
    User.version,
    User.email,
    User.full_name,
    User.is_active,
    User.is_admin,
    User.email_verified,
    User.created_at,
)


_address = (
    select(object_of(schemas.Address, Address.__table__.c))
    .where(Address.user_id == User.id)
    .scalar_subquery()
)
#: As one document, or null: the row then has the shape of accounts.User.
_user_address = cast(_address, JSON).label("address")


def select_users() -> Select[Any]:
    return select(*_columns, _user_address)


_USER = select_users().where(User.id == bindparam("user_id"))
_DOCUMENT = select(document(object_of(schemas.User, User.__table__.c, address=_address)), User.version).where(
    User.id == bindparam("user_id")
)
_CUSTOMER = select(User.full_name, User.is_active, User.email_verified, _user_address).where(
    User.id == bindparam("user_id")
)
#: Domains above lock it in one statement with what they lock next.
LOCKED_CUSTOMER = _CUSTOMER.with_for_update(key_share=True, of=User)


async def get_customer(session: Session, user_id: int, *, lock: bool = False) -> Record | None:
    """Who an order is for: full_name, is_active, email_verified, and the address as a document or None.

    With `lock` the user's row is locked until the transaction ends, so that one customer's orders are
    placed one after the other. Locks are always taken in this order: user, then items.
    """
    statement = LOCKED_CUSTOMER if lock else _CUSTOMER
    return await session.one(statement, {"user_id": user_id})


async def add(
    session: Session,
    *,
    email: str,
    full_name: str,
    password_hash: str,
    is_active: bool,
    is_admin: bool = False,
) -> int | None:
    """The new user's id, or None when the address is taken (in any case)."""
    statement = (
        upsert(User)
        .values(
            email=email,
            full_name=full_name,
            password_hash=password_hash,
            is_active=is_active,
            is_admin=is_admin,
        )
        .on_conflict_do_nothing()
        .returning(User.id)
    )
    user_id: int | None = await session.value(statement)
    return user_id


async def get(session: Session, user_id: int) -> Record | None:
    return await session.one(_USER, {"user_id": user_id})


async def get_document(session: Session, user_id: int) -> Record | None:
    return await session.one(_DOCUMENT, {"user_id": user_id})


def has_address(statement: Select[*Columns], email: str) -> Select[*Columns]:
    """The statement on users for the address in any case; if several accounts have spellings of it, that
    with the given one first.
    """
    ours = [func.lower(each) for each in email_addresses.spellings(email)]
    stored = func.lower(User.email)
    ranks = [(stored == each, rank) for rank, each in enumerate(ours)]
    return statement.where(stored.in_(ours)).order_by(case(*ranks)).limit(1)


async def change(session: Session, user_id: int, values: Mapping[str, Any]) -> bool:
    """Whether there was such a user, not erased. `values` maps column names to new values."""
    statement = update(User).where(User.id == user_id, User.erased_at.is_(None))
    return bool(await session.execute(statement.values(**values, version=User.version + 1)))


async def put_address(session: Session, user_id: int, address: Mapping[str, Any]) -> None:
    values = {column: address.get(column) for column in ADDRESS_COLUMNS}
    statement = upsert(Address).values(user_id=user_id, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=values))


async def remove_address(session: Session, user_id: int) -> None:
    await session.execute(delete(Address).where(Address.user_id == user_id))


async def get_ids_by_email(session: Session, emails: Collection[str]) -> dict[str, int]:
    """The ids of those of these accounts that exist, by their address in lower case."""
    wanted = [email.lower() for email in emails]
    address = func.lower(User.email, type_=Text)
    rows = await session.rows(select(address.label("email"), User.id).where(any_of(address, wanted)))
    return {row.email: row.id for row in rows}
