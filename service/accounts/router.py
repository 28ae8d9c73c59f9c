"""Accounts."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from service.accounts import repository
from service.accounts import service as users
from service.accounts.recovery import service as recovery
from service.accounts.schemas import (
    PasswordChange,
    ProfilePatch,
    User,
    UserCreate,
    UserPatch,
)
from service.identity.dependencies import Administrator, Anyone, SignedIn, UsersReader, limit_registration
from service.identity.passwords import Passwords
from service.platform.http.access_checks import AccessCheck
from service.platform.http.components import Component, DatabaseDep
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.listing import ListingDep
from service.platform.http.location import Located
from service.platform.http.openapi import OPTIONAL_SIGN_IN, problems
from service.platform.http.rate_limit import dependencies as limits
from service.platform.http.route import Route
from service.platform.http.schemas import DIGITS, MAX_ID, Line
from service.platform.http.session import ReaderDep, SessionDep
from service.platform.mail import AddressCipher

router = APIRouter(route_class=Route, prefix="/users", tags=["users"])
admin = APIRouter(route_class=Route, prefix="/admin/users", tags=["admin"])

IfUser = Annotated[Versions | None, Depends(IfMatch(User))]
UserId = Annotated[int, Path(ge=1, le=MAX_ID), DIGITS]


@router.post(
    "",
    status_code=201,
    responses=problems(403, 409),
    dependencies=[Depends(limit_registration)],
    openapi_extra=OPTIONAL_SIGN_IN,
)
async def create_user(
    new: Annotated[UserCreate, AccessCheck(users.require_may_send)],
    caller: Anyone,
    database: DatabaseDep,
    passwords: Annotated[Passwords, Component],
    located: Located,
) -> User:
    """Register a user. Administrators may register one that is not active."""
    user = await users.register(database, passwords, caller, new)
    located(user.id)
    return user


@router.get("/profile")
async def get_profile(caller: SignedIn, reader: ReaderDep) -> User:
    """Get the caller's profile."""
    return await users.get(reader, caller.user_id)


async def get_patch(request: Request, patch: ProfilePatch) -> ProfilePatch:
    """The body. A new address needs the password, which whoever has found a token might guess."""
    if "email" in patch.model_fields_set:
        await limits.own_password(request)
    return patch


@router.patch("/profile", responses=problems(409))
async def update_profile(
    *,
    patch: Annotated[ProfilePatch, Depends(get_patch)],
    caller: SignedIn,
    expected: IfUser,
    session: SessionDep,
    addresses: Annotated[AddressCipher, Component],
    database: DatabaseDep,
    passwords: Annotated[Passwords, Component],
) -> User:
    """Update the caller's profile. Absent fields stay; `null` removes (RFC 7396).

    A new e-mail address gets a mail, and holds once that is answered.
    """
    await recovery.ask_change(database, passwords, addresses, session, caller=caller, patch=patch)
    return await users.change_profile(session, caller, patch, expected=expected)


@router.post("/profile/password", dependencies=[Depends(limits.own_password)], status_code=204)
async def change_password(
    change: PasswordChange,
    caller: SignedIn,
    database: DatabaseDep,
    passwords: Annotated[Passwords, Component],
) -> None:
    """Change the caller's password. Ends the other sessions."""
    await users.change_password(database, passwords, caller, change)


@admin.get("", responses=problems(403))
async def list_users(
    _: UsersReader,
    listing: ListingDep,
    reader: ReaderDep,
    search: Annotated[Line | None, Query(description="Part of the name or the e-mail address.")] = None,
    is_active: bool | None = None,
    is_admin: bool | None = None,
) -> list[User]:
    """List users, with filters and a search."""
    rows = await repository.find(reader, listing.page, search=search, is_active=is_active, is_admin=is_admin)
    return listing.of(User, rows)


@admin.patch("/{user_id}", responses=problems(403, 404, 409))
async def administer_user(
    user_id: UserId, patch: UserPatch, admin: Administrator, expected: IfUser, session: SessionDep
) -> User:
    """Update a user's status or role: activate, deactivate, grant or withdraw administration."""
    return await users.administer(session, admin, user_id, patch, expected=expected)
