"""Registration, and the caller's profile."""

from typing import Annotated

from fastapi import Depends, Request

from service.accounts.recovery import service as recovery
from service.accounts.schemas import User
from service.accounts.users import service as users
from service.accounts.users.schemas import ProfilePatch, UserCreate
from service.identity import Passwords
from service.identity.dependencies import Anyone, SignedIn, limit_registration
from service.platform.http import rate_limit as limits
from service.platform.http.access import AccessCheck
from service.platform.http.documents import Document
from service.platform.http.etag.conditions import IfMatch
from service.platform.http.etag.versions import Versions
from service.platform.http.injection import Component, DatabaseDep, Located, ReaderDep, SessionDep
from service.platform.http.openapi import OPTIONAL_SIGN_IN, problems
from service.platform.http.route import api_router
from service.platform.mail import AddressCipher

router = api_router("/users", tags=["users"])

IfUser = Annotated[Versions | None, Depends(IfMatch(User))]


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
    """Register a user. Needs no sign-in; only administrators may register an inactive user."""
    user = await users.register(database, passwords, caller, new)
    located(user.id)
    return user


@router.get("/profile")
async def get_profile(caller: SignedIn, reader: ReaderDep) -> Document[User]:
    """Get the caller's profile."""
    return Document.of(User, await users.get_own_document(reader, caller))


async def get_patch(request: Request, patch: ProfilePatch) -> ProfilePatch:
    """The body. A new address needs the password: with a stolen token it must not be guessed."""
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
    """Update the caller's profile. Absent fields stay as they are; `null` removes a value (RFC 7396).

    A new e-mail address replaces the old one when the user confirms it with the token from the email.
    """
    await recovery.request_email_change(database, passwords, addresses, session, caller=caller, patch=patch)
    return await users.change_profile(session, caller, patch, expected=expected)
