"""Every statement by which administrators manage API keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, insert, select, update

from service.identity.models import ApiKey
from service.platform.database import Record, Session
from service.platform.database.pagination import Page

#: All but the hash: the rows have the shape of schemas.api_keys.ApiKey.
_columns = tuple(column for column in ApiKey.__table__.columns if column.name != "hash")


async def add(
    session: Session,
    *,
    name: str,
    scopes: Sequence[str],
    expires_at: datetime | None,
    key_hash: bytes,
    hint: str,
    created_by: int,
) -> Record:
    """The new key. Its maker's access is locked: a role that is withdrawn meanwhile takes the key with it."""
    values: dict[str, Any] = {"name": name, "hash": key_hash, "hint": hint, "expires_at": expires_at}
    values |= {"scopes": list(scopes), "created_by": created_by}
    return (await session.rows(insert(ApiKey).values(**values).returning(*_columns)))[0]


async def get(session: Session, key_id: int, *, lock: bool = False) -> Record | None:
    statement = select(*_columns).where(ApiKey.id == key_id)
    if lock:
        statement = statement.with_for_update()
    return await session.one(statement)


async def find(session: Session, page: Page) -> list[Any]:
    """All keys, the newest first, with those that are revoked."""
    statement = select(*_columns).order_by(ApiKey.id.desc())
    if page.after is not None:
        statement = statement.where(ApiKey.id < page.after[0])
    rows = await session.rows(statement.limit(page.fetch).offset(page.skip))
    return page.cut(rows, "id")


async def change(session: Session, key_id: int, values: Mapping[str, Any]) -> None:
    """`values` maps column names to new values."""
    await session.execute(update(ApiKey).where(ApiKey.id == key_id).values(**values))


async def revoke(session: Session, key_id: int) -> None:
    await change(session, key_id, {"revoked_at": func.now()})
