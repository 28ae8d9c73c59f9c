"""Users as staff see and change them."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Path, Query

from service.accounts.administration import repository
from service.accounts.administration import service as administration
from service.accounts.administration.schemas import UserPatch
from service.accounts.schemas import User
from service.errors import ExternalIdTaken
from service.identity.dependencies import StaffReader, UsersOrStaffWriter, UsersReader
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import ReaderDep, SessionDep
from service.platform.http.listing import ONE_OF, ChangesAfter, ListingDep, follows
from service.platform.http.metadata import PARAMETER, WantedMetadata
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS, MAX_ID, ExternalId, Line, Removed

router = api_router("/admin/users", tags=["admin"])
staff_router = api_router("/admin/staff", tags=["admin"])

IfUser = Annotated[Versions | None, Depends(IfMatch(User))]
UserId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@router.get("", responses=problems(403) | follows(), openapi_extra={"parameters": [PARAMETER]})
async def list_users(
    _: UsersReader,
    listing: ListingDep,
    reader: ReaderDep,
    changes_after: ChangesAfter,
    *,
    search: Annotated[Line | None, Query(description="Part of the name or the e-mail address.")] = None,
    is_active: Annotated[bool | None, Query(description="Only active or only inactive users.")] = None,
    is_admin: Annotated[bool | None, Query(description="Only administrators or only other users.")] = None,
    external_id: Annotated[
        ExternalId | None, Query(description="Only the user with this external id.", examples=["C-1042"])
    ] = None,
    metadata: Annotated[str | None, WantedMetadata],
) -> Document[Sequence[Annotated[User | Removed, ONE_OF]]]:
    """List users. Filter them by status and role, or search by name or e-mail address."""
    if changes_after is not None:
        return listing.changes(await repository.find_changes(reader, listing.page, changes_after))
    rows = await repository.find(
        reader,
        listing.page,
        search=search,
        is_active=is_active,
        is_admin=is_admin,
        external_id=external_id,
        metadata=metadata,
    )
    return listing.document(User, rows)


@router.patch(
    "/{user_id}",
    responses=problems(403, 404, ExternalIdTaken),
    openapi_extra={"security": [{"OAuth2": ["staff:write"]}]},
)
async def administer_user(
    user_id: UserId,
    patch: Annotated[UserPatch, AccessCheck(administration.require_may_send)],
    caller: UsersOrStaffWriter,
    expected: IfUser,
    session: SessionDep,
) -> User:
    """Update a user. Activates or deactivates it, changes what it may, sets the external id and
    metadata.

    `is_admin` and `scopes` need `staff:write`, the rest `users:write`. Nobody gives scopes that they do not
    have, or changes a user who may more.
    """
    return await administration.administer(session, caller, user_id, patch, expected=expected)


@staff_router.get("", responses=problems(403))
async def list_staff(_: StaffReader, listing: ListingDep, reader: ReaderDep) -> Document[Sequence[User]]:
    """List staff. Administrators, and users with scopes; inactive ones too."""
    return listing.document(User, await repository.find_staff(reader, listing.page))
