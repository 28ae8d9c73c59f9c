"""Accounts."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from service.dependencies.caller import Administrator, Anyone, SignedIn
from service.dependencies.listing import ListingDep
from service.dependencies.located import Located
from service.dependencies.parts import PartsDep
from service.dependencies.session import ReaderDep, SessionDep
from service.edge.openapi import problems
from service.repositories import users as repository
from service.schemas.base import MAX_ID, Line
from service.schemas.users import PasswordChange, ProfilePatch, User, UserCreate, UserPatch, UserWithAddress
from service.services import users

router = APIRouter(prefix="/users", tags=["users"])
admin = APIRouter(prefix="/admin/users", tags=["admin"])

UserId = Annotated[int, Path(ge=1, le=MAX_ID)]


@router.post("", status_code=201, responses=problems(403, 409))
async def create_user(new: UserCreate, caller: Anyone, parts: PartsDep, located: Located) -> User:
    """Register."""
    user = await users.register(parts.database, parts.passwords, caller, new)
    located(user.id)
    return user


@router.get("/profile")
async def get_profile(caller: SignedIn, reader: ReaderDep) -> User:
    """One's own profile."""
    return await users.get(reader, caller.user_id)


@router.patch("/profile")
async def update_profile(patch: ProfilePatch, caller: SignedIn, session: SessionDep) -> User:
    """Change one's profile: what is absent stays, `null` removes (RFC 7396)."""
    return await users.change_profile(session, caller, patch)


@router.post("/profile/password", status_code=204)
async def change_password(change: PasswordChange, caller: SignedIn, parts: PartsDep) -> None:
    """Change one's password; ends one's other sessions."""
    await users.change_password(parts.database, parts.passwords, caller, change)


@router.get("/{user_id}", responses=problems(404))
async def get_user(user_id: UserId, caller: SignedIn, reader: ReaderDep) -> UserWithAddress:
    """A user with address and last orders: one's own, or any for an administrator."""
    return await users.get_with_orders(reader, caller, user_id)


@admin.get("", responses=problems(403))
async def list_users(
    _: Administrator,
    listing: ListingDep,
    reader: ReaderDep,
    search: Annotated[Line | None, Query(description="Part of the name or the e-mail address.")] = None,
    is_active: bool | None = None,
    is_admin: bool | None = None,
) -> list[User]:
    """Search and filter accounts."""
    rows = await repository.find(reader, listing.page, search=search, is_active=is_active, is_admin=is_admin)
    return listing.of(User, rows)


@admin.patch("/{user_id}", responses=problems(403, 404, 409))
async def administer_user(user_id: UserId, patch: UserPatch, _: Administrator, session: SessionDep) -> User:
    """Activate, deactivate, grant or withdraw administration."""
    return await users.administer(session, user_id, patch)
