"""Signing in."""

from service.database import Database
from service.errors import ServiceError
from service.repositories import auth as sessions
from service.repositories import users
from service.schemas.auth import Token, TokenRequest
from service.security import ACCESS_TOKEN_SECONDS, AccessTokens, Caller, Passwords

DEFAULT_CLIENT = "tradepost"


class InvalidGrant(ServiceError):
    """RFC 6749, section 5.2. The same words whatever was wrong: they must not tell who has an account."""

    status, code, title = 400, "invalid_grant", "Invalid grant"


class UnsupportedGrantType(ServiceError):
    status, code, title = 400, "unsupported_grant_type", "Unsupported grant type"


class InvalidTokenRequest(ServiceError):
    status, code, title = 400, "invalid_request", "Invalid token request"


async def grant(
    database: Database,
    passwords: Passwords,
    tokens: AccessTokens,
    request: TokenRequest,
    *,
    client: str | None,
) -> Token:
    """Answer a token request. The hashing stands between two short transactions, in neither."""
    if request.grant_type is None:
        raise InvalidTokenRequest("grant_type is missing: send grant_type=password.")
    if request.grant_type != "password":
        raise UnsupportedGrantType("This grant type is not known here: send grant_type=password.")
    if not request.username or request.password is None:
        raise InvalidTokenRequest("username and password are both required.")
    caller = await _sign_in(
        database, passwords, request.username, request.password.get_secret_value(), client
    )
    token = tokens.issue(caller, client_id=request.client_id or DEFAULT_CLIENT)
    return Token(access_token=token, expires_in=ACCESS_TOKEN_SECONDS)


async def _sign_in(
    database: Database, passwords: Passwords, email: str, password: str, client: str | None
) -> Caller:
    refusal = InvalidGrant("The e-mail address or the password is wrong.")
    async with database.reading() as session:
        account = await users.get_credentials(session, email.replace("\0", ""))
    good = await passwords.verify(account.password_hash if account else None, password)
    if account is None or not good:
        raise refusal
    async with database.transaction() as session:
        session_id = await sessions.start_session(
            session, account.id, password_hash=account.password_hash, client=client
        )
    if session_id is None:
        raise refusal
    return Caller(account.id, session_id, account.is_admin)
