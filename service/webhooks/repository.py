"""Every statement on webhooks but those on their deliveries."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, or_, select, update

from service.platform.database import Record, Session
from service.platform.database.pagination import Page
from service.webhooks.models import Webhook

#: Any number does, as long as every release uses the same.
COUNT_LOCK = 7_061_853_218
#: All but the secrets: the fields of the schema Webhook.
_SECRETS = ("secret", "previous_secret")
_columns = tuple(column for column in Webhook.__table__.columns if column.name not in _SECRETS)


async def add(
    session: Session, *, url: str, description: str, events: Sequence[str], secret: bytes, most: int
) -> Record | None:
    """The new webhook; None where there are `most` already. Transactions that add one wait for each other."""
    await session.execute(select(func.pg_advisory_xact_lock(COUNT_LOCK)))
    if (await session.value(select(func.count()).select_from(Webhook)) or 0) >= most:
        return None
    values = {"url": url, "description": description, "events": list(events), "secret": secret}
    return await session.one(insert(Webhook).values(**values).returning(*_columns))


async def get(session: Session, webhook_id: int, *, lock: bool = False) -> Record | None:
    statement = select(*_columns).where(Webhook.id == webhook_id)
    if lock:
        statement = statement.with_for_update(key_share=True)
    return await session.one(statement)


async def find(session: Session, page: Page) -> list[Any]:
    """Newest first."""
    statement = select(*_columns).order_by(Webhook.id.desc())
    if page.after is not None:
        statement = statement.where(Webhook.id < page.after[0])
    rows = await session.rows(statement.limit(page.fetch).offset(page.skip))
    return page.cut(rows, "id")


async def change(session: Session, webhook_id: int, values: Mapping[str, Any]) -> None:
    """`values` maps column names to new values."""
    await session.execute(update(Webhook).where(Webhook.id == webhook_id).values(**values))


async def rotate(session: Session, webhook_id: int, secret: bytes, overlap: timedelta) -> None:
    """The secret before this one signs too for the overlap; any earlier one is deleted."""
    values = {
        "previous_secret": Webhook.secret,
        "previous_until": func.now() + overlap,
        "secret": secret,
    }
    await session.execute(update(Webhook).where(Webhook.id == webhook_id).values(**values))


async def remove(session: Session, webhook_id: int) -> bool:
    """Delete a webhook with its deliveries; whether there was one."""
    return bool(await session.execute(delete(Webhook).where(Webhook.id == webhook_id)))


async def record_failure(
    session: Session, webhook_id: int, pause: timedelta | None, *, longest: timedelta
) -> bool:
    """Note a failed attempt, and pause the webhook; whether it has failed for `longest` without a success."""
    values: dict[str, Any] = {"failing_since": func.coalesce(Webhook.failing_since, func.now())}
    new: ColumnElement[bool] = Webhook.failing_since.is_(None)
    if pause is not None:
        values["paused_until"] = func.greatest(Webhook.paused_until, func.now() + pause)
        new = or_(new, Webhook.paused_until.is_(None), Webhook.paused_until < func.now() + pause)
    await session.execute(update(Webhook).where(Webhook.id == webhook_id, new).values(**values))
    since = select(Webhook.failing_since <= func.now() - longest).where(Webhook.id == webhook_id)
    return bool(await session.value(since))


async def disable(session: Session, webhook_id: int, reason: str) -> bool:
    """Whether the webhook was active."""
    values = {"is_active": False, "disabled_at": func.now(), "disabled_reason": reason}
    statement = update(Webhook).where(Webhook.id == webhook_id, Webhook.is_active).values(**values)
    return bool(await session.execute(statement))


async def get_secrets(session: Session) -> Sequence[Record]:
    """Every secret, encrypted; locked against another change."""
    columns = (Webhook.id, Webhook.secret, Webhook.previous_secret)
    return await session.rows(select(*columns).order_by(Webhook.id).with_for_update(key_share=True))
