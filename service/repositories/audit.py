"""Every statement on the audit log."""

from typing import Any

from sqlalchemy import insert

from service.database import Session
from service.models.audit import AuditAddress, AuditEntry
from service.observability import request


async def add(
    session: Session,
    action: str,
    *,
    actor_id: int | None = None,
    key_id: int | None = None,
    target_kind: str | None = None,
    target_id: int | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Note what has been done, in its own transaction, with the ids and the address of the request.

    `action` is `noun.past_verb`. Persons appear as ids, or in `data` as HMACs: never an address, a
    name or a token, for an entry can never be changed.
    """
    facts = request.facts()
    entry = (
        insert(AuditEntry)
        .values(
            actor_id=actor_id,
            key_id=key_id,
            action=action,
            target_kind=target_kind,
            target_id=target_id,
            data=data or {},
            request_id=facts.own_id,
            caller_request_id=facts.caller_request_id,
        )
        .returning(AuditEntry.id, AuditEntry.at)
    )
    row = (await session.execute(entry)).one()
    if facts.address is not None:
        where = {"audit_id": row.id, "at": row.at, "address": facts.address}
        await session.execute(insert(AuditAddress).values(**where))
