"""Whether a caller's access still holds: when a request comes in, and again before it writes."""

import math

from service.errors import Forbidden, InvalidToken
from service.identity import repository as sessions
from service.identity.api_keys import repository as api_keys
from service.identity.api_keys.cache import ApiKeyCache, CachedKey
from service.identity.api_keys.format import can_be_key
from service.identity.callers import AnyCaller, Caller, KeyCaller
from service.identity.revocation import Revocations
from service.platform.crypto import fingerprint
from service.platform.database import Database, Record, Session
from service.platform.database.change_feed import ChangeFeed
from service.platform.http.request_state import BeforeLookup


class InvalidApiKey(InvalidToken):
    def __init__(self) -> None:
        super().__init__("The API key is unknown, expired or revoked. Send a valid key.")


async def authenticate_session(
    database: Database,
    feed: ChangeFeed,
    revocations: Revocations,
    claimed: Caller,
    before_lookup: BeforeLookup | None = None,
) -> Caller:
    """The caller that a verified access token names, with the role of now.

    While the change feed is in sync, this process knows which sessions and users have lost access. Else the
    database is asked; `before_lookup` is awaited first, with the caller that the token names, or with None
    if the database has refused it before: a void token must not use up its user's rate limit.

    Raises InvalidToken if the session has ended or the user is not active.
    """
    if feed.has_lease:
        return revocations.apply(claimed)
    if before_lookup is not None:
        await before_lookup(None if revocations.was_refused(claimed) else claimed)
    async with database.reading() as session:
        row = await sessions.get_caller(session, user_id=claimed.user_id, session_id=claimed.session_id)
    if row is None:
        revocations.note_refused(claimed)
        raise InvalidToken
    return Caller(claimed.user_id, claimed.session_id, row.is_admin)


async def authenticate_key(
    database: Database,
    feed: ChangeFeed,
    cache: ApiKeyCache,
    key: str,
    before_lookup: BeforeLookup | None = None,
) -> KeyCaller:
    """The caller that an API key stands for.

    `before_lookup` is awaited before the database is asked, with the key's caller if the key was good
    before: a client can make up any number of other keys.

    Raises InvalidApiKey.
    """
    if not can_be_key(key):
        raise InvalidApiKey
    key_hash = fingerprint(key)
    cached = cache.get(key_hash) if feed.has_lease else None
    if cached is None:
        if before_lookup is not None:
            await before_lookup(cache.last_good(key_hash))
        cached = await look_up_key(database, cache, key_hash)
    caller = _used(cache, cached)
    if caller is None:
        raise InvalidApiKey
    return caller


def known_key(cache: ApiKeyCache, key: str) -> KeyCaller | None:
    """The caller of a key that this process has seen to be good, if it knows that it still is. The change
    feed must be in sync.
    """
    return _used(cache, cache.get(fingerprint(key))) if can_be_key(key) else None


def _used(cache: ApiKeyCache, cached: CachedKey | None) -> KeyCaller | None:
    """The caller, whose use of the key is noted; None for a key that is not good or has expired."""
    if cached is None or cached.ends <= cache.clock():
        return None
    cache.note_use(cached.caller.key_id)
    return cached.caller


async def look_up_key(database: Database, cache: ApiKeyCache, key_hash: bytes) -> CachedKey | None:
    """The key from the database. It is cached unless any key has changed meanwhile."""
    generation, asked = cache.generation, cache.clock()
    async with database.reading() as session:
        row = await api_keys.get_good(session, key_hash)
    if row is None:
        cache.remove(key_hash)
        return None
    left = math.inf if row.seconds_left is None else float(row.seconds_left)
    found = CachedKey(KeyCaller(row.id, frozenset(row.scopes)), asked + left)
    cache.add(key_hash, found, generation)
    return found


async def lock_own_account(session: Session, caller: Caller) -> Record | None:
    """Lock the caller's account, then check that the caller's access holds: before a change of the account.

    Returns `is_active`, `is_admin` and `version`. Raises InvalidToken, as `reauthorize` does.
    """
    account = await sessions.lock_user(session, caller.user_id)
    await reauthorize(session, caller, needs_role=False)
    return account


async def reauthorize(session: Session, caller: AnyCaller | None, *, needs_role: bool = True) -> None:
    """Check that the caller's access has not ended, and keep it from ending until the transaction does.

    For every write that needs more than a customer's rights, or that changes the access to an account. A
    token is accepted for up to a second after it is void, and the request may have waited since: for its
    body, for DNS, for the hashing of a password, for a lock. A transaction that ends the access at the same
    time waits for this one, or this one waits for it and refuses.

    Called before other rows are locked, but after the accounts that the transaction is going to change: two
    transactions that share a lock on a row and both want to change it would wait for each other. Without a
    caller, as at an import, there is nothing to check. `needs_role`: not for what users do with accounts of
    their own, administrators or not.

    Raises:
        InvalidToken: the session, the account or the key has ended.
        Forbidden: the role has been withdrawn, or the key may do less than before.
    """
    if caller is None:
        return
    if isinstance(caller, KeyCaller):
        scopes = await api_keys.lock_good(session, caller.key_id)
        if scopes is None:
            raise InvalidApiKey
        lost = not caller.scopes <= set(scopes)
    else:
        row = await sessions.get_caller(
            session, user_id=caller.user_id, session_id=caller.session_id, lock=True
        )
        if row is None:
            raise InvalidToken
        lost = needs_role and caller.is_admin and not row.is_admin
    if lost:
        raise Forbidden("Your permissions changed during this request. Send it again.")
