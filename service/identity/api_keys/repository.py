"""Every statement on API keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import extract, func, insert, or_, select, update

from service.identity.models import ApiKey
from service.platform.database import Record, Session
from service.platform.database.pagination import Page

#: How exactly one can tell when a key was last used.
USE_NOTED_EVERY: Final = timedelta(minutes=1)
#: All but the hash: the rows have the shape of schemas.api_keys.ApiKey.
_columns = tuple(column for column in ApiKey.__table__.columns if column.name != "hash")
_not_expired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


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
    row: Record = (await session.execute(insert(ApiKey).values(**values).returning(*_columns))).one()
    return row


async def get(session: Session, key_id: int, *, lock: bool = False) -> Record | None:
    statement = select(*_columns).where(ApiKey.id == key_id)
    if lock:
        statement = statement.with_for_update()
    row: Record | None = (await session.execute(statement)).one_or_none()
    return row


async def find(session: Session, page: Page) -> list[Any]:
    """All keys, the newest first, with those that are revoked."""
    statement = select(*_columns).order_by(ApiKey.id.desc())
    if page.after is not None:
        statement = statement.where(ApiKey.id < page.after[0])
    rows = (await session.execute(statement.limit(page.fetch).offset(page.skip))).all()
    return page.cut(rows, "id")


async def change(session: Session, key_id: int, values: Mapping[str, Any]) -> None:
    """`values` maps column names to new values."""
    await session.execute(update(ApiKey).where(ApiKey.id == key_id).values(**values))


async def revoke(session: Session, key_id: int) -> None:
    await change(session, key_id, {"revoked_at": func.now()})


async def get_good(session: Session, key_hash: bytes) -> Record | None:
    """Id, scopes and, by the database's clock, the seconds left (None: no end) of a key that is good."""
    left = extract("epoch", ApiKey.expires_at - func.now()).label("seconds_left")
    statement = select(ApiKey.id, ApiKey.scopes, left).where(
        ApiKey.hash == key_hash, ApiKey.revoked_at.is_(None), _not_expired
    )
    return (await session.execute(statement)).one_or_none()


async def lock_good(session: Session, key_id: int) -> Sequence[str] | None:
    """The scopes of a key that is good, which stay so until the transaction ends; None for a bad one."""
    statement = select(ApiKey.scopes).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None), _not_expired)
    scopes: Sequence[str] | None = await session.scalar(statement.with_for_update(read=True))
    return scopes


async def note_use(session: Session, key_id: int) -> None:
    """Now, unless it has been noted a short while ago, by whichever process."""
    long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= func.now() - USE_NOTED_EVERY)
    await session.execute(update(ApiKey).where(ApiKey.id == key_id, long_ago).values(last_used_at=func.now()))
