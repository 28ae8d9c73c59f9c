"""Every statement on mails: asking for one, and what becomes of it."""

import json
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
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

from service.platform.database import Record, Session
from service.platform.jobs import enqueue as jobs
from service.platform.mail.models import Mail
from service.platform.mail.templates import Kind

#: The kind of job that sends one.
KIND: Final = "mail"
#: Somebody sits and waits for those without an event: they do not queue behind the others.
URGENT, ORDINARY = 1, 0

#: The row and its job in one round trip. A trigger leaves out what would be an erased person's.
_ASK = text(f"""
    WITH added AS (
        INSERT INTO mails (kind, user_id, event_id, address, facts, message_id)
        VALUES (:kind, :user_id, :event_id, :address, CAST(:facts AS jsonb), :message_id)
        ON CONFLICT (event_id, kind) DO NOTHING
        RETURNING id
    ),
    {jobs.queued_from("added", KIND, "json_build_object('mail_id', id)", priority=":priority")}
    SELECT id FROM added
""").bindparams(
    *(bindparam(name, type_=Text) for name in ("kind", "facts", "message_id", "headers")),
    *(bindparam(name, type_=BigInteger) for name in ("user_id", "event_id")),
    bindparam("address", type_=LargeBinary),
    bindparam("priority", type_=SmallInteger),
)
_open = Mail.status.in_(("queued", "sending"))
_nobody_at_it = or_(Mail.claimed_until.is_(None), Mail.claimed_until <= func.now())


async def ask(
    session: Session,
    kind: Kind,
    *,
    user_id: int | None = None,
    event_id: int | None = None,
    address: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
) -> int | None:
    """Have a mail sent, if this transaction is committed; its id.

    None where this event has had one of this kind, or the person has been erased. `address` is sealed;
    without one it goes to the account's own. `facts` are what it tells, and never a secret.
    """
    # Random, too: after a restored backup ids come again, and receivers drop what they think they have.
    about = kind if event_id is None else f"event-{event_id}.{kind}"
    values = {
        "kind": kind,
        "user_id": user_id,
        "event_id": event_id,
        "address": address,
        "facts": json.dumps(dict(facts or {})),
        "message_id": f"{about}.{secrets.token_hex(8)}",
        "headers": json.dumps(jobs.origin()),
        "priority": URGENT if event_id is None else ORDINARY,
    }
    mail_id: int | None = await session.scalar(_ASK, values)
    return mail_id


async def get(session: Session, mail_id: int) -> Record | None:
    """What is still to be sent; with `age`, and `held` for as long as somebody may be at it, in seconds."""
    age = extract("epoch", func.now() - Mail.created_at).label("age")
    # Null does not count, which stands for nobody.
    held = func.greatest(extract("epoch", Mail.claimed_until - func.now()), 0).label("held")
    statement = select(*Mail.__table__.columns, age, held)
    return (await session.execute(statement.where(Mail.id == mail_id, _open))).one_or_none()


async def claim(session: Session, mail_id: int, user_id: int | None, lease: timedelta) -> bool:
    """Whether it may be sent now: until the lease ends nobody else does. It is this person's."""
    statement = (
        update(Mail)
        .where(Mail.id == mail_id, _open, _nobody_at_it)
        .values(
            status="sending",
            claimed_until=func.now() + literal(lease, Interval),
            user_id=func.coalesce(Mail.user_id, user_id),
        )
    )
    return (await session.execute(statement.returning(Mail.id))).one_or_none() is not None


async def release(session: Session, mail_id: int) -> None:
    """It has not left, and somebody will try again."""
    values = {"status": "queued", "claimed_until": None}
    await session.execute(update(Mail).where(Mail.id == mail_id, _open).values(**values))


async def end(session: Session, mail_id: int, status: str, reason: str | None = None) -> None:
    """Sent, withheld or failed: then nobody needs to know any more where to, or what it told."""
    values = {"status": status, "reason": reason, "ended_at": func.now(), "claimed_until": None}
    ended = update(Mail).where(Mail.id == mail_id, _open).values(**values, address=None, facts={})
    await session.execute(ended)


async def remove(session: Session, mail_id: int) -> None:
    await session.execute(delete(Mail).where(Mail.id == mail_id))


async def count(
    session: Session, user_id: int, kinds: Collection[Kind], window: timedelta, *, but: int
) -> int:
    """How many mails of these kinds have gone to this person within the window, or are going."""
    statement = select(func.count()).where(
        Mail.user_id == user_id,
        Mail.kind.in_(kinds),
        or_(
            Mail.status == "sending",
            (Mail.status == "sent") & (Mail.ended_at > func.now() - literal(window, Interval)),
        ),
        Mail.id != but,
    )
    return await session.scalar(statement) or 0


async def purge(session: Session, before: datetime, *, most: int) -> int:
    """Forget at most so many that were asked for before this moment; how many those were."""
    old = select(Mail.id).where(Mail.created_at < before).limit(most)
    return len((await session.scalars(delete(Mail).where(Mail.id.in_(old)).returning(Mail.id))).all())
