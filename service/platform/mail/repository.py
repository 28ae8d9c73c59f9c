"""Every statement on emails: to enqueue, claim, release and end one."""

import secrets
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Interval,
    LargeBinary,
    SmallInteger,
    Text,
    bindparam,
    delete,
    extract,
    func,
    literal,
    or_,
    select,
    text,
    update,
)

from service.platform.database import Record, Session, any_of
from service.platform.jobs import queue as jobs
from service.platform.mail.models import Mail

#: The kind of job that sends one.
KIND: Final = "mail"
#: A user waits for those without an event: they do not queue behind the others.
URGENT, ORDINARY = 1, 0

#: The row and its job in one round trip. A trigger leaves out what would be an erased person's.
_ENQUEUE = text(f"""
    WITH added AS (
        INSERT INTO mails (kind, user_id, event_id, address, facts, message_id)
        VALUES (:kind, :user_id, :event_id, :address, CAST(:facts AS jsonb), :message_id)
        ON CONFLICT (event_id, kind) DO NOTHING
        RETURNING id
    ),
    {jobs.queued_from("added", KIND, "json_build_object('mail_id', id)", priority=":priority")}
    SELECT id FROM added
""").bindparams(
    *(bindparam(name, type_=Text) for name in ("kind", "message_id")),
    *(bindparam(name, type_=BigInteger) for name in ("user_id", "event_id")),
    bindparam("address", type_=LargeBinary),
    bindparam("priority", type_=SmallInteger),
)
_open = any_of(Mail.status, ("queued", "sending"))
_unclaimed = or_(Mail.claimed_until.is_(None), Mail.claimed_until <= func.now())


async def enqueue(
    session: Session,
    kind: str,
    *,
    user_id: int | None = None,
    event_id: int | None = None,
    address: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
) -> int | None:
    """Queue an email, sent once this transaction is committed; its id.

    None where this event has had one of this kind, or the person has been erased. `address` is encrypted;
    without one the email goes to the account's. `facts` are what it says, and never a secret.
    """
    # Random, too: after a restored backup ids come again, and receivers drop what they think they have.
    about = kind if event_id is None else f"event-{event_id}.{kind}"
    values = {
        "kind": kind,
        "user_id": user_id,
        "event_id": event_id,
        "address": address,
        "facts": dict(facts or {}),
        "message_id": f"{about}.{secrets.token_hex(8)}",
        "headers": jobs.origin(),
        "priority": URGENT if event_id is None else ORDINARY,
    }
    mail_id: int | None = await session.value(_ENQUEUE, values)
    return mail_id


async def get(session: Session, mail_id: int) -> Record | None:
    """An email that has not ended, with its `age` and what is left of its lease, in seconds."""
    age = extract("epoch", func.now() - Mail.created_at).label("age")
    # Null where it is not claimed, which `greatest` skips.
    leased = func.greatest(extract("epoch", Mail.claimed_until - func.now()), 0).label("leased_seconds")
    statement = select(*Mail.__table__.columns, age, leased)
    return await session.one(statement.where(Mail.id == mail_id, _open))


async def claim(session: Session, mail_id: int, user_id: int | None, lease: timedelta) -> bool:
    """Take the email under a lease, for this account; False while another worker has it."""
    statement = (
        update(Mail)
        .where(Mail.id == mail_id, _open, _unclaimed)
        .values(
            status="sending",
            claimed_until=func.now() + literal(lease, Interval),
            user_id=func.coalesce(Mail.user_id, user_id),
        )
    )
    return bool(await session.execute(statement))


async def release(session: Session, mail_id: int) -> None:
    """It has not left, and may be claimed again."""
    values = {"status": "queued", "claimed_until": None}
    await session.execute(update(Mail).where(Mail.id == mail_id, _open).values(**values))


async def end(session: Session, mail_id: int, status: str, reason: str | None = None) -> None:
    """Sent, withheld or failed: its address and facts are no longer needed, and deleted."""
    values = {"status": status, "reason": reason, "ended_at": func.now(), "claimed_until": None}
    ended = update(Mail).where(Mail.id == mail_id, _open).values(**values, address=None, facts={})
    await session.execute(ended)


async def remove(session: Session, mail_id: int) -> None:
    await session.execute(delete(Mail).where(Mail.id == mail_id))


async def count(
    session: Session, user_id: int, kinds: Collection[str], window: timedelta, *, but: int
) -> int:
    """How many emails of these kinds were sent to this account within the window, or are being sent."""
    statement = select(func.count()).where(
        Mail.user_id == user_id,
        any_of(Mail.kind, kinds),
        or_(
            Mail.status == "sending",
            (Mail.status == "sent") & (Mail.ended_at > func.now() - literal(window, Interval)),
        ),
        Mail.id != but,
    )
    return await session.value(statement) or 0


async def purge(session: Session, kept: timedelta, *, most: int) -> int:
    """Delete at most so many that were queued longer ago than that; how many they were."""
    old = select(Mail.id).where(Mail.created_at < func.now() - kept).limit(most)
    return await session.execute(delete(Mail).where(Mail.id.in_(old)))
