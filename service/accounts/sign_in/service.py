"""Signing in, and ending sessions. Refreshing is in `refresh`."""

from dataclasses import dataclass
from typing import Final

from pydantic import MISSING

from service import audit, identity
from service.accounts import metrics
from service.accounts.passwords.repository import rehash_password
from service.accounts.sign_in import repository as sessions
from service.accounts.sign_in.errors import InvalidTokenRequest, UnsupportedGrantType, WrongCredentials
from service.accounts.sign_in.refresh import refresh
from service.accounts.sign_in.schemas import AuthorizationServer, Token, TokenRequest
from service.accounts.sign_in.throttle import SignInThrottle
from service.errors import NotFound
from service.identity import ACCESS_TOKEN_SECONDS, AccessTokens, Caller, Passwords, Pseudonyms, RefreshTokens
from service.platform.config import Settings
from service.platform.config.email_addresses import known_as
from service.platform.crypto import fingerprint
from service.platform.database import Database, Record, Session

DEFAULT_CLIENT = "tradepost"
GRANT_TYPES: Final = ("password", "refresh_token")


class SessionNotFound(NotFound):
    def __init__(self) -> None:
        super().__init__("You have no session with this id. Check the id.")


@dataclass(frozen=True)
class Issuer:
    """The components that issue tokens."""

    database: Database
    passwords: Passwords
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    pseudonyms: Pseudonyms
    throttle: SignInThrottle


async def grant(issuer: Issuer, request: TokenRequest, *, client: str | None) -> Token:
    """Issue tokens for a token request. `client` is the name that the list of sessions shows."""
    if request.grant_type is None:
        raise InvalidTokenRequest(f"grant_type is missing: send {' or '.join(GRANT_TYPES)}.")
    if request.grant_type not in GRANT_TYPES:
        raise UnsupportedGrantType(f"This grant type is not supported: send {' or '.join(GRANT_TYPES)}.")
    if request.grant_type == "password":
        caller, refresh_token = await _sign_in(issuer, request, client)
    else:
        caller, refresh_token = await refresh(issuer.database, issuer.refresh_tokens, request.refresh_token)
    access_token = issuer.access_tokens.issue(caller, client_id=request.client_id or DEFAULT_CLIENT)
    return Token(access_token=access_token, expires_in=ACCESS_TOKEN_SECONDS, refresh_token=refresh_token)


async def _sign_in(issuer: Issuer, request: TokenRequest, client: str | None) -> tuple[Caller, str]:
    """Hashes between two short transactions, in neither."""
    if not request.username or request.password is None:
        raise InvalidTokenRequest("username or password is missing: send both.")
    email = known_as(request.username)
    attempt = await issuer.throttle.attempt(email)
    account, good = await _find_account(issuer, request.username, request.password.get_secret_value())
    try:
        async with issuer.database.transaction() as session:
            session_id = None
            if account is not None and good:
                session_id = await sessions.start_session(
                    session, account.id, password_hash=account.password_hash, client=client
                )
            if account is None or session_id is None:
                await _record_refusal(session, issuer, email, account.id if account else None)
                raise WrongCredentials
            refresh_token = issuer.refresh_tokens.first()
            await sessions.add_refresh_token(session, session_id, fingerprint(refresh_token))
            await _record(session, "session.started", account.id, session_id)
    except WrongCredentials:
        metrics.signed_in(good=False)
        raise
    metrics.signed_in(good=True)
    await issuer.throttle.succeeded(attempt)
    return Caller(account.id, session_id, account.is_admin), refresh_token


async def _find_account(issuer: Issuer, username: str, password: str) -> tuple[Record | None, bool]:
    """The account with this address, and whether it has this password.

    A password that was set before passwords were normalised matches as it is sent. It is hashed anew, and the
    account is read again: of several sign-ins at once each then finds the hash that stays.
    """
    while True:
        async with issuer.database.reading() as session:
            account = await sessions.get_credentials(session, username)
        match = await issuer.passwords.match(account.password_hash if account else None, password)
        if account is None or match != "as_sent":
            return account, match is not None
        fresh = await issuer.passwords.hash(password)
        async with issuer.database.transaction() as session:
            await rehash_password(session, account.id, old_hash=account.password_hash, new_hash=fresh)


async def _record(session: Session, action: str, user_id: int, session_id: int | None) -> None:
    await audit.record(session, action, actor_id=user_id, target_kind="session", target_id=session_id)


async def _record_refusal(session: Session, issuer: Issuer, email: str, user_id: int | None) -> None:
    await audit.record(
        session,
        "session.refused",
        target_kind="user" if user_id else None,
        target_id=user_id,
        data={"person": issuer.pseudonyms.of(email)},
    )


async def revoke(session: Session, access_tokens: AccessTokens, token: str) -> None:
    """End the session that a refresh or an access token belongs to; any other text is ignored (RFC 7009)."""
    claimed = access_tokens.verify(token)
    if claimed is not None:
        session_id: int | None = claimed.session_id
    else:
        session_id = await sessions.get_session_of_token(session, fingerprint(token))
    user_id = await identity.end_session(session, session_id) if session_id else None
    if user_id is not None:
        await _record(session, "session.ended", user_id, session_id)


async def end_session(session: Session, caller: Caller, session_id: int) -> None:
    """End a session of the caller. Raises SessionNotFound for another user's."""
    await identity.lock_own_account(session, caller)
    if await identity.end_session(session, session_id, user_id=caller.user_id) is None:
        raise SessionNotFound
    await _record(session, "session.ended", caller.user_id, session_id)


async def require_own(session: Session, caller: Caller, session_id: int) -> None:
    """Raises SessionNotFound, as `end_session` does."""
    if await identity.get_caller(session, user_id=caller.user_id, session_id=session_id) is None:
        raise SessionNotFound


async def end_sessions(session: Session, caller: Caller) -> None:
    """End all sessions of the caller, the current one too."""
    await identity.lock_own_account(session, caller)
    ended = await identity.end_sessions(session, caller.user_id)
    await audit.record(
        session,
        "session.ended",
        actor_id=caller.user_id,
        target_kind="user",
        target_id=caller.user_id,
        data={"sessions": sorted(ended)},
    )


def describe(settings: Settings, base_url: str) -> AuthorizationServer:
    """The metadata of RFC 8414. Without PUBLIC_URL the addresses begin with `base_url`."""
    base = settings.public_url or base_url.rstrip("/")
    return AuthorizationServer(
        issuer=settings.token_issuer,
        token_endpoint=f"{base}/api/v1/auth/token",
        revocation_endpoint=f"{base}/api/v1/auth/revoke",
        jwks_uri=f"{base}/.well-known/jwks.json",
        grant_types_supported=list(GRANT_TYPES),
        response_types_supported=[],
        token_endpoint_auth_methods_supported=["none"],
        revocation_endpoint_auth_methods_supported=["none"],
        service_documentation=f"{base}/docs" if settings.docs_enabled else MISSING,
    )
