"""The caller of a write, held to the access that it was admitted with."""

from service.errors import Forbidden, InvalidToken
from service.identity import sessions
from service.identity.api_keys import repository as api_keys
from service.identity.callers import AnyCaller, KeyCaller
from service.platform.database import Session


async def lock(session: Session, named: AnyCaller | None, *, needs_role: bool = True) -> None:
    """Check that the caller's access has not ended, and keep it from ending until the transaction does.

    For every write that needs more than a customer's rights, or that changes the access to an account. A
    token is believed for up to a second after it is void, and since its request was admitted that may have
    waited: for its body, for DNS, for the hashing of a password, for a lock. Whoever ends the access at the
    same time waits for this transaction, or this waits for them and refuses.

    Called before other rows are locked, but after the accounts that the transaction is going to change: two
    transactions that share a lock on a row and both want to change it would wait for each other. Without a
    caller, as at an import, there is nothing to check. `needs_role`: not for what people do with accounts of
    their own, administrators or not.

    Raises:
        InvalidToken: the session, the account or the key has ended.
        Forbidden: the role has been withdrawn, or the key may do less than before.
    """
    if named is None:
        return
    if isinstance(named, KeyCaller):
        scopes = await api_keys.lock_good(session, named.key_id)
        if scopes is None:
            raise InvalidToken("The API key is unknown, expired or revoked.")
        lost = not named.scopes <= set(scopes)
    else:
        row = await sessions.get_caller(
            session, user_id=named.user_id, session_id=named.session_id, lock=True
        )
        if row is None:
            raise InvalidToken
        lost = needs_role and named.is_admin and not row.is_admin
    if lost:
        raise Forbidden("What you may do has changed while this request was under way. Send it again.")
