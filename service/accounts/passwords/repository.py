"""Every statement on password hashes."""

from sqlalchemy import and_, select, update

from service.identity.models import User
from service.platform.database import Session


async def rehash_password(session: Session, user_id: int, *, old_hash: str, new_hash: str) -> None:
    """Store another hash of the same password, unless that was changed meanwhile."""
    statement = update(User).where(User.id == user_id, User.password_hash == old_hash)
    await session.execute(statement.values(password_hash=new_hash))


async def get_password_hash(session: Session, user_id: int) -> str | None:
    stored: str | None = await session.value(select(User.password_hash).where(User.id == user_id))
    return stored


async def change_password(session: Session, user_id: int, *, old_hash: str, new_hash: str) -> bool:
    """Compare and set: False when the password was changed meanwhile."""
    statement = (
        update(User)
        .where(and_(User.id == user_id, User.password_hash == old_hash))
        .values(password_hash=new_hash, version=User.version + 1)
    )
    return bool(await session.execute(statement))
