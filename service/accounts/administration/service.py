"""Who administers the shop: what users may, and activating and deactivating them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from service import audit
from service.accounts.administration import repository
from service.accounts.administration.schemas import UserPatch
from service.accounts.errors import EmailTaken, LastAdministrator, UserNotFound
from service.accounts.schemas import User
from service.accounts.users import repository as users
from service.accounts.users.service import get, publish, publish_changed
from service.errors import ExternalIdTaken, Forbidden
from service.identity import Caller, end_sessions, lock_user, reauthorize
from service.platform.database import Record, Session
from service.platform.http import metadata
from service.platform.http.etag.versions import Versions, require

#: What the audit log calls a change of what a user may do.
CHANGES = {
    ("is_active", True): "user.activated",
    ("is_active", False): "user.deactivated",
    ("is_admin", True): "user.granted",
    ("is_admin", False): "user.withdrawn",
}
FLAGS: Final = ("is_active", "is_admin")
#: What a user may: changed by who administers staff.
RIGHTS: Final = ("is_admin", "scopes")


def require_other_administrator(administrators: Sequence[int], user_id: int) -> None:
    """Raises LastAdministrator if this user is the only one of the active administrators, who are locked."""
    if list(administrators) == [user_id]:
        raise LastAdministrator(
            "This is the last active administrator. Make another user an administrator first."
        )


async def ensure_administrator(session: Session, *, email: str, full_name: str, password_hash: str) -> bool:
    """Create the first administrator when there is none. Returns whether one was created.

    Never promotes an existing account: a stranger who registered the address first would become one.
    """
    if await repository.lock_administrators(session):
        return False
    made = await users.add(
        session, email=email, full_name=full_name, password_hash=password_hash, is_active=True, is_admin=True
    )
    if made is None:
        raise EmailTaken(
            "ADMIN_EMAIL belongs to an ordinary account, which is never promoted. Choose another."
        )
    await audit.record(session, "administrator.created", target_kind="user", target_id=made)
    return True


async def require_may_send(_: Session, caller: Caller, body: Any) -> None:
    """Raises Forbidden, as `administer` does, whatever else is wrong with the request."""
    if isinstance(body, dict):
        _require_may_change(caller, body)


def _require_may_change(caller: Caller, fields: Iterable[str]) -> None:
    for name in fields:
        scope = "staff:write" if name in RIGHTS else "users:write"
        if name in UserPatch.model_fields and not caller.may(scope):
            raise Forbidden(f"This needs the scope {scope}: leave out `{name}`.")


def _require_may_administer(caller: Caller, before: Record, values: Mapping[str, Any]) -> None:
    """Nobody gives what they do not have, and nobody changes who may more: that would be a way to get it.

    Raises Forbidden.
    """
    if caller.is_admin:
        return
    if before.is_admin or not all(map(caller.may, before.scopes)):
        raise Forbidden("This user may more than you. Ask an administrator.")
    if values.get("is_admin"):
        raise Forbidden("Only administrators make administrators: leave out `is_admin`.")
    more = [scope for scope in values.get("scopes", ()) if not caller.may(scope)]
    if more:
        raise Forbidden("You may give only scopes that you have yourself: leave out those that you have not.")


async def administer(
    session: Session, caller: Caller, user_id: int, patch: UserPatch, *, expected: Versions | None = None
) -> User:
    """Activate, deactivate, grant or withdraw. The last active administrator cannot be lost.

    A token is accepted for up to a second after its rights have been withdrawn. The caller must not use that
    second to grant them to their own account again.
    """
    _require_may_change(caller, patch.model_fields_set)
    administrators = await repository.lock_administrators(session, caller.user_id, user_id)
    await reauthorize(session, caller)
    before = await lock_user(session, user_id)
    if before is None:
        raise UserNotFound
    _require_may_administer(caller, before, patch.model_dump(exclude_unset=True))
    if patch.is_active is False or patch.is_admin is False:
        require_other_administrator(administrators, user_id)
    require(expected, before)
    values = _changes(before, patch)
    if values and not await repository.change(session, user_id, values):
        raise ExternalIdTaken.by("user", await users.get_id(session, values["external_id"]))
    if patch.is_active is False:
        await end_sessions(session, user_id)
    for name, value in values.items():
        await _record(session, caller, user_id, name, was=getattr(before, name), value=value)
    if values.get("is_active", before.is_active) == before.is_active:
        return await publish_changed(session, user_id, since=before.version)
    user = await get(session, user_id)
    await publish(session, "user.activated" if user.is_active else "user.deactivated", user)
    return user


def _changes(before: Record, patch: UserPatch) -> dict[str, Any]:
    """What the patch makes another, by columns. Raises Unprocessable for too much metadata."""
    values = patch.model_dump(exclude_unset=True)
    if "metadata" in values:
        values["metadata"] = metadata.changed(before.metadata, values["metadata"])
    return {name: value for name, value in values.items() if getattr(before, name) != value}


async def _record(session: Session, caller: Caller, user_id: int, name: str, *, was: Any, value: Any) -> None:
    # Of an erased person these are not kept, and an entry of the log cannot be changed.
    private = name in ("external_id", "metadata")
    data = {"changed": [name]} if private else {"before": {name: was}, "after": {name: value}}
    action = CHANGES.get((name, value), "user.changed") if name in FLAGS else "user.changed"
    await audit.record(session, action, by=caller, target_kind="user", target_id=user_id, data=data)
