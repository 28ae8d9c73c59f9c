"""Tickets for streams: a browser's EventSource cannot send a token."""

import secrets
from datetime import timedelta
from typing import Final

from service.errors import InvalidToken
from service.identity import Caller, reauthorize
from service.notifications.schemas import StreamTicket
from service.notifications.streams import repository
from service.platform.crypto import fingerprint
from service.platform.database import Database

TICKET_SECONDS: Final = 30


async def issue_ticket(database: Database, caller: Caller, token_seconds: float) -> StreamTicket:
    """A ticket for a client that cannot send a token. Its stream ends when the token expires.

    No response is stored under an idempotency key: a request that is sent twice may have two tickets.
    """
    ticket = secrets.token_urlsafe(32)
    async with database.transaction() as session:
        await reauthorize(session, caller, needs_role=False)
        await repository.add_ticket(
            session,
            caller.session_id,
            fingerprint(ticket),
            lasts=timedelta(seconds=TICKET_SECONDS),
            token_lasts=timedelta(seconds=token_seconds),
        )
    return StreamTicket(ticket=ticket, expires_in=TICKET_SECONDS)


async def use_ticket(database: Database, ticket: str) -> tuple[Caller, float]:
    """Use a ticket up: its caller, and for how many seconds. Raises InvalidToken."""
    async with database.transaction() as session:
        row = await repository.use_ticket(session, fingerprint(ticket))
    if row is None or row.seconds <= 0:
        raise InvalidToken(
            "The ticket is unknown, used or expired, or its session has ended. Request another."
        )
    return Caller(row.user_id, row.session_id, row.is_admin), float(row.seconds)
