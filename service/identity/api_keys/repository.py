"""Every statement that asks whether an API key is good."""

from datetime import timedelta
from typing import Final

from sqlalchemy import extract, func, or_, select, update

from service.identity.models import ApiKey, User
from service.platform.database import Record, Session

#: How exact the time of a key's last use is.
USE_NOTED_EVERY: Final = timedelta(minutes=1)
_not_expired = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.now())
_left = extract("epoch", ApiKey.expires_at - func.now()).label("seconds_left")


_good = (
    select(ApiKey.id, ApiKey.scopes.label("given"), ApiKey.created_by, User.is_admin, User.scopes, _left)
    .join(User, User.id == ApiKey.created_by)
    .where(ApiKey.revoked_at.is_(None), _not_expired, User.is_active)
)


async def get_good(session: Session, key_hash: bytes) -> Record | None:
    """Id, the scopes `given` and `created_by` of a key that is good, its maker's `is_admin` and `scopes`,
    and, by the database's clock, the seconds left (None: no end).
    """
    return await session.one(_good.where(ApiKey.hash == key_hash))


async def lock_good(session: Session, key_id: int) -> Record | None:
    """The same of the key with this id, which stays so until the transaction ends; None for a bad one.

    Its maker is locked first, as where accounts are changed and with them their keys.
    """
    statement = _good.where(ApiKey.id == key_id)
    return await session.one(statement.with_for_update(read=True, of=[User, ApiKey]))


async def note_use(session: Session, key_id: int) -> None:
    """Now, unless it has been noted a short while ago, by any process."""
    long_ago = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= func.now() - USE_NOTED_EVERY)
    await session.execute(update(ApiKey).where(ApiKey.id == key_id, long_ago).values(last_used_at=func.now()))
