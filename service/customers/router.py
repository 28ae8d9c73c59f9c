"""What joins the domains for one person: the account with its orders, its export and its deletion."""

from typing import Annotated

from fastapi import Depends, Path, Response

from service import accounts
from service.customers import service as customers
from service.customers.erasure import service as erasure
from service.customers.erasure.schemas import AccountDeletion
from service.customers.export.schemas import Export
from service.customers.schemas import UserWithAddress
from service.identity import Passwords
from service.identity.dependencies import ProfileReader, SignedIn
from service.platform.http import rate_limit as limits
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import Component, DatabaseDep, ReaderDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID

router = api_router("/users", tags=["users"])

IfUser = Annotated[Versions | None, Depends(IfMatch(accounts.User))]


@router.delete(
    "/profile", status_code=204, responses=problems(409), dependencies=[Depends(limits.own_password)]
)
async def delete_profile(
    deletion: AccountDeletion,
    caller: SignedIn,
    expected: IfUser,
    database: DatabaseDep,
    passwords: Annotated[Passwords, Component],
) -> None:
    """Delete the caller's account. Erases the personal data for good, and keeps the orders."""
    await erasure.erase(database, passwords, caller, deletion, expected=expected)


@router.get("/profile/export", response_model=Export)
async def export_profile(caller: SignedIn, reader: ReaderDep) -> Response:
    """Export the caller's data. One JSON document with all that the service stores about the caller."""
    document = await customers.get_export(reader, caller)
    as_file = {"Content-Disposition": 'attachment; filename="tradepost-export.json"'}
    return Response(document, media_type="application/json", headers=as_file)


@router.get("/{user_id}", responses=problems(404))
async def get_user(
    user_id: Annotated[int, Path(ge=1, le=MAX_ID), DIGITS, AccessCheck(accounts.require_visible)],
    caller: ProfileReader,
    reader: ReaderDep,
) -> Document[UserWithAddress]:
    """Get a user. With the address and the last orders; users may read their own, administrators any."""
    return Document(await customers.get_with_orders(reader, caller, user_id))
