"""Registration and profiles."""

from typing import Any

from pydantic import ValidationError

from service import audit, events
from service.accounts.errors import EmailTaken, UserNotFound
from service.accounts.schemas import AddressIn, AddressPatch, User
from service.accounts.users import repository as users
from service.accounts.users.schemas import ProfilePatch, UserCreate
from service.errors import FieldFault, Forbidden, InvalidToken, Unprocessable
from service.identity import AnyCaller, Caller, Passwords, lock_own_account, reauthorize
from service.platform.database import Database, Record, Session
from service.platform.http.etag.versions import Versions, require
from service.platform.http.field_errors import REQUIRED
from service.platform.mail import repository as mails


async def register(database: Database, passwords: Passwords, caller: Caller | None, new: UserCreate) -> User:
    """Raises EmailTaken, which does reveal that the address is known: on purpose (product contract)."""
    _require_may_register(caller, new.is_active)
    password_hash = await passwords.hash(new.password.get_secret_value())
    async with database.transaction() as session:
        await reauthorize(session, caller)
        user = await create(session, new, password_hash)
        await audit.record(session, "user.registered", by=caller, target_kind="user", target_id=user.id)
        data = {**user.model_dump(mode="json"), "version": 1}
        await events.publish(session, "user.registered", object_id=user.id, user_id=user.id, data=data)
        await mails.enqueue(session, "verify_email", user_id=user.id)
    return user


async def require_may_send(_: Session, caller: AnyCaller | None, body: Any) -> None:
    """Refuse an account that is not the caller's to create, though it may be wrong otherwise.

    Raises Forbidden, as `register` does.
    """
    if isinstance(body, dict):
        _require_may_register(caller, body.get("is_active"))


def _require_may_register(caller: AnyCaller | None, is_active: object) -> None:
    if is_active is False and not (isinstance(caller, Caller) and caller.is_admin):
        raise Forbidden("Only administrators may create an inactive account.")


async def create(session: Session, new: UserCreate, password_hash: str, *, is_admin: bool = False) -> User:
    user_id = await users.add(
        session,
        email=new.email,
        full_name=new.full_name,
        password_hash=password_hash,
        is_active=new.is_active,
        is_admin=is_admin,
    )
    if user_id is None:
        raise EmailTaken("There is an account with this e-mail address. Sign in, or use another address.")
    if new.address is not None:
        await users.put_address(session, user_id, new.address.model_dump())
    if is_admin:
        await audit.record(session, "administrator.created", target_kind="user", target_id=user_id)
    return await get(session, user_id)


async def get(session: Session, user_id: int) -> User:
    row = await users.get(session, user_id)
    if row is None:
        raise UserNotFound
    return User.of(row)


async def get_document(session: Session, user_id: int) -> Record:
    """The user as it is sent."""
    row = await users.get_document(session, user_id)
    if row is None:
        raise UserNotFound
    return row


async def get_own_document(session: Session, caller: Caller) -> Record:
    """The caller as it is sent.

    A token outlives its account where the database was restored to a time before: it is as good as expired.
    """
    row = await users.get_document(session, caller.user_id)
    if row is None:
        raise InvalidToken
    return row


def require_may_read(caller: AnyCaller, user_id: int) -> None:
    """Raises UserNotFound for another user's account, unless the caller may read all."""
    if not caller.may("users:read") and caller.user_id != user_id:
        raise UserNotFound


async def require_visible(_: Session, caller: AnyCaller, user_id: int) -> None:
    """The same as a guard of a route."""
    require_may_read(caller, user_id)


async def change_profile(
    session: Session, caller: Caller, patch: ProfilePatch, *, expected: Versions | None = None
) -> User:
    account = await lock_own_account(session, caller)
    require(expected, account)
    given = patch.model_fields_set
    if "full_name" in given:
        await users.change(session, caller.user_id, {"full_name": patch.full_name})
    if "address" in given:
        await _change_address(session, caller.user_id, patch.address)
    return await get(session, caller.user_id)


async def _change_address(session: Session, user_id: int, patch: AddressPatch | None) -> None:
    if patch is None:
        await users.remove_address(session, user_id)
        return
    row = await users.get(session, user_id)
    before: dict[str, Any] = (row.address if row else None) or {}
    merged = {**before, **patch.model_dump(exclude_unset=True)}
    try:
        address = AddressIn.model_validate({key: value for key, value in merged.items() if value is not None})
    except ValidationError as fault:
        missing = [str(error["loc"][0]) for error in fault.errors()]
        raise _required(*(f"/address/{name}" for name in missing)) from None
    await users.put_address(session, user_id, address.model_dump())


def _required(*pointers: str) -> Unprocessable:
    faults = tuple(FieldFault(pointer, REQUIRED, "missing") for pointer in pointers)
    return Unprocessable("; ".join(f"{pointer}: {REQUIRED}" for pointer in pointers), errors=faults)
