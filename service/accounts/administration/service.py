"""Who administers the shop: promoting, demoting, activating and deactivating users."""

from collections.abc import Sequence

from service import audit
from service.accounts.administration import repository
from service.accounts.administration.schemas import UserPatch
from service.accounts.errors import EmailTaken, LastAdministrator, UserNotFound
from service.accounts.schemas import User
from service.accounts.users import repository as users
from service.accounts.users.service import get
from service.identity import Caller, end_sessions, lock_user, reauthorize
from service.platform.database import Session
from service.platform.http.etag.versions import Versions, require

#: What the audit log calls a change of what a user may do.
CHANGES = {
    ("is_active", True): "user.activated",
    ("is_active", False): "user.deactivated",
    ("is_admin", True): "user.granted",
    ("is_admin", False): "user.withdrawn",
}


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


async def administer(
    session: Session, caller: Caller, user_id: int, patch: UserPatch, *, expected: Versions | None = None
) -> User:
    """Activate, deactivate, grant or withdraw. The last active administrator cannot be lost.

    A token is accepted for up to a second after its role has been withdrawn. The caller must not use that
    second to grant the role to their own account again.
    """
    administrators = await repository.lock_administrators(session)
    await reauthorize(session, caller)
    loses = patch.is_active is False or patch.is_admin is False
    if loses:
        require_other_administrator(administrators, user_id)
    before = await lock_user(session, user_id)
    if before is None:
        raise UserNotFound
    require(expected, before)
    values: dict[str, bool] = patch.model_dump(exclude_unset=True)
    if values:
        await users.change(session, user_id, values)
    if patch.is_active is False:
        await end_sessions(session, user_id)
    for name, value in values.items():
        if value != (was := getattr(before, name)):
            data = {"before": {name: was}, "after": {name: value}}
            await audit.record(
                session, CHANGES[name, value], by=caller, target_kind="user", target_id=user_id, data=data
            )
    return await get(session, user_id)
