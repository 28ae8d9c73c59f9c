"""Signing in, staying signed in, and ending that."""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal

from pydantic import MISSING, SecretStr

from service import audit
from service.accounts import metrics
from service.accounts import repository as users
from service.accounts.signing_in.schemas import AuthorizationServer, Token, TokenRequest
from service.errors import NotFound, ServiceError
from service.identity import Caller, reauthorize
from service.identity import repository as sessions
from service.identity.passwords import Passwords
from service.identity.slow_down import SlowDown
from service.identity.tokens import ACCESS_TOKEN_SECONDS, AccessTokens, Pseudonyms, RefreshTokens
from service.platform.config import Settings
from service.platform.config.addresses import known_as
from service.platform.crypto import fingerprint
from service.platform.database import Database, Record, Session

DEFAULT_CLIENT = "tradepost"
GRANT_TYPES: Final = ("password", "refresh_token")


class InvalidGrant(ServiceError):
    """RFC 6749, section 5.2. The same words whatever was wrong: they must not tell who has an account."""

    status, code, title = 400, "invalid_grant", "Invalid grant"


class WrongCredentials(InvalidGrant):
    """Committed: the audit log keeps who was tried."""

    commit = True

    def __init__(self) -> None:
        super().__init__("The e-mail address or the password is wrong.")


class InvalidRefreshToken(InvalidGrant):
    outcome: ClassVar[Literal["refused", "reused"]] = "refused"

    def __init__(self) -> None:
        super().__init__("The refresh token is not good, or no longer. Sign in again.")


class ReusedRefreshToken(InvalidRefreshToken):
    """Somebody has a token that another has used before: theft. Committed: the session has ended."""

    outcome = "reused"
    commit = True


class UnsupportedGrantType(ServiceError):
    status, code, title = 400, "unsupported_grant_type", "Unsupported grant type"


class InvalidTokenRequest(ServiceError):
    status, code, title = 400, "invalid_request", "Invalid token request"


@dataclass(frozen=True)
class Issuer:
    """What it takes to issue tokens."""

    database: Database
    passwords: Passwords
    access_tokens: AccessTokens
    refresh_tokens: RefreshTokens
    pseudonyms: Pseudonyms
    slow_down: SlowDown


async def grant(issuer: Issuer, request: TokenRequest, *, client: str | None) -> Token:
    """Answer a token request. `client` is what the session is shown as."""
    if request.grant_type is None:
        raise InvalidTokenRequest(f"grant_type is missing: send {' or '.join(GRANT_TYPES)}.")
    if request.grant_type not in GRANT_TYPES:
        raise UnsupportedGrantType(f"This grant type is not known here: send {' or '.join(GRANT_TYPES)}.")
    if request.grant_type == "password":
        caller, refresh_token = await _sign_in(issuer, request, client)
    else:
        caller, refresh_token = await _refresh(issuer, request.refresh_token)
    access_token = issuer.access_tokens.issue(caller, client_id=request.client_id or DEFAULT_CLIENT)
    return Token(access_token=access_token, expires_in=ACCESS_TOKEN_SECONDS, refresh_token=refresh_token)


async def _sign_in(issuer: Issuer, request: TokenRequest, client: str | None) -> tuple[Caller, str]:
    """The hashing stands between two short transactions, in neither."""
    if not request.username or request.password is None:
        raise InvalidTokenRequest("username and password are both required.")
    email = known_as(request.username)
    attempt = await issuer.slow_down.attempt(email)
    account, good = await _known(issuer, request.username, request.password.get_secret_value())
    try:
        async with issuer.database.transaction() as session:
            session_id = None
            if account is not None and good:
                session_id = await sessions.start_session(
                    session, account.id, password_hash=account.password_hash, client=client
                )
            if account is None or session_id is None:
                await _note_refusal(session, issuer, email, account.id if account else None)
                raise WrongCredentials
            refresh_token = issuer.refresh_tokens.first()
            await sessions.add_refresh_token(session, session_id, fingerprint(refresh_token))
            await audit.record(
                session, "session.started", actor_id=account.id, target_kind="session", target_id=session_id
            )
    except WrongCredentials:
        metrics.signed_in(good=False)
        raise
    metrics.signed_in(good=True)
    await issuer.slow_down.succeeded(attempt)
    return Caller(account.id, session_id, account.is_admin), refresh_token


async def _known(issuer: Issuer, username: str, password: str) -> tuple[Record | None, bool]:
    """The account with this address, and whether the password is its own.

    One that was set before passwords were normalised is good as it is sent. It is hashed anew and looked at
    again: of several sign-ins at once each then finds the hash that stays.
    """
    while True:
        async with issuer.database.reading() as session:
            account = await users.get_credentials(session, username)
        match = await issuer.passwords.match(account.password_hash if account else None, password)
        if account is None or match != "as_sent":
            return account, match is not None
        fresh = await issuer.passwords.hash(password)
        async with issuer.database.transaction() as session:
            await users.rehash_password(session, account.id, old_hash=account.password_hash, new_hash=fresh)


async def _note_refusal(session: Session, issuer: Issuer, email: str, user_id: int | None) -> None:
    await audit.record(
        session,
        "session.refused",
        target_kind="user" if user_id else None,
        target_id=user_id,
        data={"person": issuer.pseudonyms.of(email)},
    )


async def _refresh(issuer: Issuer, given: SecretStr | None) -> tuple[Caller, str]:
    if given is None or not given.get_secret_value():
        raise InvalidTokenRequest("refresh_token is required.")
    try:
        async with issuer.database.transaction() as session:
            renewal = await _rotate(session, issuer.refresh_tokens, given.get_secret_value())
    except InvalidRefreshToken as refusal:
        metrics.refreshed(refusal.outcome)
        raise
    metrics.refreshed("rotated")
    return renewal


async def _rotate(session: Session, refresh_tokens: RefreshTokens, token: str) -> tuple[Caller, str]:
    """The caller that the token stands for, and its successor. One statement decides; the rest follows."""
    used = await sessions.use_refresh_token(session, fingerprint(token))
    if used is None:
        raise InvalidRefreshToken
    if used.is_reused:
        await sessions.end_session(session, used.session_id)
        await audit.record(
            session,
            "token.reuse_detected",
            target_kind="session",
            target_id=used.session_id,
            data={"user_id": used.user_id},
        )
        raise ReusedRefreshToken
    if used.is_fresh:
        handed_out = refresh_tokens.successors(token)[0]
        await sessions.add_refresh_token(session, used.session_id, fingerprint(handed_out))
    else:
        handed_out = await _newest(session, refresh_tokens, used.session_id, token)
    await sessions.touch_session(session, used.session_id)
    return Caller(used.user_id, used.session_id, used.is_admin), handed_out


async def _newest(session: Session, refresh_tokens: RefreshTokens, session_id: int, token: str) -> str:
    """The token that ends the chain which begins with this rotated one: the only one not rotated yet.

    Its direct successor may have been used by another tab since. To hand that out would make a thief of
    the caller, who would use it after its grace. The session is locked: the chain stays as it is.
    """
    while True:
        successors = {fingerprint(each): each for each in refresh_tokens.successors(token)}
        known = await sessions.get_known_token(session, session_id, list(successors))
        if known is None:
            # Its key has been dropped within these seconds. Another successor would fork the family.
            raise InvalidRefreshToken
        token = successors[known.hash]
        if not known.is_rotated:
            return token


async def revoke(session: Session, access_tokens: AccessTokens, token: str) -> None:
    """End the session that a refresh or an access token belongs to; any other text is ignored (RFC 7009)."""
    named = access_tokens.verify(token)
    if named is not None:
        session_id: int | None = named.session_id
    else:
        session_id = await sessions.get_session_of_token(session, fingerprint(token))
    user_id = await sessions.end_session(session, session_id) if session_id else None
    if user_id is not None:
        await audit.record(
            session, "session.ended", actor_id=user_id, target_kind="session", target_id=session_id
        )


async def end_session(session: Session, caller: Caller, session_id: int) -> None:
    """One of one's own; another person's is NotFound."""
    await sessions.lock_user(session, caller.user_id)
    await reauthorize(session, caller, needs_role=False)
    if await sessions.end_session(session, session_id, user_id=caller.user_id) is None:
        raise _no_session()
    await audit.record(
        session, "session.ended", actor_id=caller.user_id, target_kind="session", target_id=session_id
    )


async def require_own(session: Session, caller: Caller, session_id: int) -> None:
    """Raises NotFound, as `end_session` does."""
    if await sessions.get_caller(session, user_id=caller.user_id, session_id=session_id) is None:
        raise _no_session()


def _no_session() -> NotFound:
    return NotFound("There is no such session.")


async def end_sessions(session: Session, caller: Caller) -> None:
    """All of one's own, the current one as well."""
    await sessions.lock_user(session, caller.user_id)
    await reauthorize(session, caller, needs_role=False)
    ended = await sessions.end_sessions(session, caller.user_id)
    await audit.record(
        session,
        "session.ended",
        actor_id=caller.user_id,
        target_kind="user",
        target_id=caller.user_id,
        data={"sessions": sorted(ended)},
    )


def describe(settings: Settings, base_url: str) -> AuthorizationServer:
    """The metadata of RFC 8414. `base_url` counts where PUBLIC_URL does not say what clients should use."""
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
