"""The audit log."""

from typing import Annotated

from fastapi import Depends, Query

from service.audit import repository
from service.audit.repository import Filters
from service.audit.schemas import AuditEntry
from service.identity.dependencies import Administrator
from service.platform.http.injection import ReaderDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Moment, ShortLine

router = api_router("/admin/audit", tags=["admin"])

AnId = Annotated[int | None, Query(ge=1, le=MAX_ID), DIGITS]


async def get_filters(
    *,
    action: Annotated[ShortLine | None, Query(examples=["session.refused"])] = None,
    actor_id: AnId = None,
    target_kind: Annotated[ShortLine | None, Query(examples=["user"])] = None,
    target_id: AnId = None,
    request_id: Annotated[
        str | None,
        Query(
            pattern="^[A-Za-z0-9_-]{8,128}$",
            description="Only entries of the request with this id, which the service or the client made.",
            examples=["bd2d17c9f5214d84be140b80d6116333"],
        ),
    ] = None,
    since: Annotated[
        Moment | None,
        Query(
            description="Only entries of this time or later (RFC 3339).", examples=["2026-11-22T10:30:00Z"]
        ),
    ] = None,
    until: Annotated[
        Moment | None,
        Query(description="Only entries before this time (RFC 3339).", examples=["2026-11-23T10:30:00Z"]),
    ] = None,
) -> Filters:
    return Filters(action, actor_id, target_kind, target_id, request_id, since, until)


@router.get("", responses=problems(403))
async def list_audit_entries(
    _: Administrator,
    listing: ListingDep,
    reader: ReaderDep,
    filters: Annotated[Filters, Depends(get_filters)],
) -> list[AuditEntry]:
    """List audit entries. They record sign-ins, credentials, administration and orders, newest first."""
    return listing.of(AuditEntry, await repository.find(reader, listing.page, filters))
