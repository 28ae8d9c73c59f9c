"""Every statement that asks whether an API key is good."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import extract, func, or_, select, update

from service.identity.models import ApiKey
from service.platform.database import Record, Session

#: How exact the time of a key's last use is.
USE_NOTED_EVERY: Final = timedelta(minutes=1)
_not_expired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())


async def get_good(session: Session, key_hash: bytes) -> Record | None:
    """Id, scopes and, by the database's clock, the seconds left (None: no end) of a key that is good."""
    left = extract("epoch", ApiKey.expires_at - func.now()).label("seconds_left")
    statement = select(ApiKey.id, ApiKey.scopes, left).where(
        ApiKey.hash == key_hash, ApiKey.revoked_at.is_(None), _not_expired
    )
    return await session.one(statement)


async def lock_good(session: Session, key_id: int) -> Sequence[str] | None:
    """The scopes of a key that is good, which stay so until the transaction ends; None for a bad one."""
    statement = select(ApiKey.scopes).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None), _not_expired)
    scopes: Sequence[str] | None = await session.value(statement.with_for_update(read=True))
    return scopes


async def note_use(session: Session, key_id: int) -> None:
    """Now, unless it has been noted a short while ago, by any process."""
    long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= func.now() - USE_NOTED_EVERY)
    await session.execute(update(ApiKey).where(ApiKey.id == key_id, long_ago).values(last_used_at=func.now()))
