"""Every statement on idempotency keys."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Interval, LargeBinary, Text, bindparam, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from service.platform.database import Record, Session
from service.platform.http.idempotency.models import IdempotencyKey


@dataclass(frozen=True, slots=True)
class Slot:
    """What a key is unique in: whose it is, and for which route."""

    caller: str
    route: str
    key: str


#: One round trip. The unique constraint is what makes it once; the lock beside it is what makes it at
#: once: an INSERT that meets another's, not yet committed, would wait for that, holding a connection.
#: A row that has expired, or that no answer was stored in, is taken over.
_TAKE = text("""
    WITH held AS (
        SELECT pg_try_advisory_xact_lock(:lock) AS got
    ), taken AS (
        INSERT INTO idempotency_keys AS known (caller, route, key, fingerprint, rights)
        SELECT :caller, :route, :key, :fingerprint, :rights FROM held WHERE got
        ON CONFLICT (caller, route, key) DO UPDATE
        SET fingerprint = excluded.fingerprint, rights = excluded.rights, created_at = now(),
            status = NULL, headers = NULL, body = NULL
        WHERE known.status IS NULL OR known.created_at <= now() - :retention
        RETURNING 1
    )
    SELECT got, EXISTS (SELECT FROM taken) AS taken FROM held
""").bindparams(
    bindparam("lock", type_=BigInteger),
    bindparam("caller", type_=Text),
    bindparam("route", type_=Text),
    bindparam("key", type_=Text),
    bindparam("fingerprint", type_=LargeBinary),
    bindparam("rights", type_=ARRAY(Text)),
    bindparam("retention", type_=Interval),
)


async def take(
    session: Session,
    slot: Slot,
    *,
    lock: int,
    fingerprint: bytes,
    rights: list[str],
    retention: timedelta,
) -> Record:
    """`got`: whether no other transaction holds the slot; `taken`: whether it is now this one's.

    With `got` and not `taken` there is an answer already. `lock` is a number of 64 bits made from the slot.
    """
    values = {
        "lock": lock,
        "caller": slot.caller,
        "route": slot.route,
        "key": slot.key,
        "fingerprint": fingerprint,
        "rights": rights,
        "retention": retention,
    }
    return (await session.rows(_TAKE, values))[0]


def _is(slot: Slot) -> tuple[Any, ...]:
    return (
        IdempotencyKey.caller == slot.caller,
        IdempotencyKey.route == slot.route,
        IdempotencyKey.key == slot.key,
    )


async def get(session: Session, slot: Slot) -> Record | None:
    """fingerprint, rights, status, headers and body of what is stored there."""
    columns = ("fingerprint", "rights", "status", "headers", "body")
    statement = select(*(getattr(IdempotencyKey, name) for name in columns)).where(*_is(slot))
    return await session.one(statement)


_STORE = text("""
    UPDATE idempotency_keys SET status = :status, headers = :headers, body = :body
    WHERE caller = :caller AND route = :route AND key = :key
""").bindparams(bindparam("headers", type_=JSONB), bindparam("body", type_=LargeBinary))


async def store(
    session: Session, slot: Slot, *, status: int, headers: Mapping[str, str], body: bytes
) -> None:
    values = {"status": status, "headers": dict(headers), "body": body}
    await session.execute(_STORE, values | asdict(slot))


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Remove up to `most` of what has expired; how many were removed."""
    expired = (
        select(IdempotencyKey.caller, IdempotencyKey.route, IdempotencyKey.key)
        .where(IdempotencyKey.created_at <= func.now() - kept)
        .order_by(IdempotencyKey.created_at)
        .limit(most)
        # A row that is being taken over is in use again.
        .with_for_update(skip_locked=True)
        .cte("expired")
    )
    statement = delete(IdempotencyKey).where(
        IdempotencyKey.caller == expired.c.caller,
        IdempotencyKey.route == expired.c.route,
        IdempotencyKey.key == expired.c.key,
    )
    return await session.execute(statement)


async def forget(session: Session, caller: str) -> None:
    """Remove what is stored of a caller: answers may hold personal data."""
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.caller == caller))
