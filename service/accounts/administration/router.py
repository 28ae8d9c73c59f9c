"""Users as administrators see and change them."""

from typing import Annotated

from fastapi import Depends, Path, Query

from service.accounts.administration import repository
from service.accounts.administration import service as administration
from service.accounts.administration.schemas import UserPatch
from service.accounts.schemas import User
from service.identity.dependencies import Administrator, UsersReader
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import ReaderDep, SessionDep
from service.platform.http.listing import ListingDep
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, Line

router = api_router("/admin/users", tags=["admin"])


IfUser = Annotated[Versions | None, Depends(IfMatch(User))]
UserId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@router.get("", responses=problems(403))
async def list_users(
    _: UsersReader,
    listing: ListingDep,
    reader: ReaderDep,
    search: Annotated[Line | None, Query(description="Part of the name or the e-mail address.")] = None,
    is_active: Annotated[bool | None, Query(description="Only active or only inactive users.")] = None,
    is_admin: Annotated[bool | None, Query(description="Only administrators or only other users.")] = None,
) -> list[User]:
    """List users. Filter them by status and role, or search by name or e-mail address."""
    rows = await repository.find(reader, listing.page, search=search, is_active=is_active, is_admin=is_admin)
    return listing.of(User, rows)


@router.patch("/{user_id}", responses=problems(403, 404, 409))
async def administer_user(
    user_id: UserId, patch: UserPatch, caller: Administrator, expected: IfUser, session: SessionDep
) -> User:
    """Update a user's status or role. Activates or deactivates the user, grants or revokes the admin role."""
    return await administration.administer(session, caller, user_id, patch, expected=expected)
