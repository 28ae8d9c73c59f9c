"""Every statement on idempotency keys."""

from collections.abc import Mapping
from dataclasses import dataclass
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

    @property
    def names(self) -> dict[str, str]:
        return {"caller": self.caller, "route": self.route, "key": self.key}


#: The lock keeps another request with the key from running at the same time: without it that one would run
#: too, wait at the end for this one to commit, and be undone.
_TAKE = text("""
    SELECT held.got, known.fingerprint, known.rights, known.status, known.headers, known.body
    FROM (SELECT pg_try_advisory_xact_lock(:lock) AS got) AS held
    LEFT JOIN idempotency_keys AS known
        ON known.caller = :caller AND known.route = :route AND known.key = :key
        AND known.status IS NOT NULL AND known.created_at > now() - :retention
""").bindparams(
    bindparam("lock", type_=BigInteger),
    bindparam("caller", type_=Text),
    bindparam("route", type_=Text),
    bindparam("key", type_=Text),
    bindparam("retention", type_=Interval),
)


async def take(session: Session, slot: Slot, *, lock: int, retention: timedelta) -> Record:
    """`got`: whether no other transaction holds the slot, which is now this one's; and what is stored there:
    fingerprint, rights, status, headers and body, or None.

    `lock` is a number of 64 bits made from the slot.
    """
    values = {"lock": lock, **slot.names, "retention": retention}
    return (await session.rows(_TAKE, values))[0]


#: A row that has expired, or that no response was stored in, is taken over. So there is no other row but
#: where a request with the key was committed after this one had looked, and before it got the lock.
_STORE = text("""
    INSERT INTO idempotency_keys AS known (caller, route, key, fingerprint, rights, status, headers, body)
    VALUES (:caller, :route, :key, :fingerprint, :rights, :status, :headers, :body)
    ON CONFLICT (caller, route, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, rights = excluded.rights, created_at = now(),
        status = excluded.status, headers = excluded.headers, body = excluded.body
    WHERE known.status IS NULL OR known.created_at <= now() - :retention
""").bindparams(
    bindparam("fingerprint", type_=LargeBinary),
    bindparam("rights", type_=ARRAY(Text)),
    bindparam("headers", type_=JSONB),
    bindparam("body", type_=LargeBinary),
    bindparam("retention", type_=Interval),
)


async def store(session: Session, slot: Slot, values: Mapping[str, Any], *, retention: timedelta) -> bool:
    """Store fingerprint, rights, status, headers and body. False when the slot has a response already."""
    return await session.execute(_STORE, {**values, **slot.names, "retention": retention}) == 1


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
