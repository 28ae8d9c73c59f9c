"""Refresh tokens: rotation, and the detection of a stolen one."""

from pydantic import SecretStr

from service import audit
from service.accounts import metrics
from service.accounts.sign_in import repository as sessions
from service.accounts.sign_in.errors import InvalidRefreshToken, InvalidTokenRequest, ReusedRefreshToken
from service.identity import Caller, RefreshTokens, end_session
from service.platform.crypto import fingerprint
from service.platform.database import Database, Session


async def refresh(
    database: Database, refresh_tokens: RefreshTokens, given: SecretStr | None
) -> tuple[Caller, str]:
    if given is None or not given.get_secret_value():
        raise InvalidTokenRequest("refresh_token is missing: send the last one that you received.")
    try:
        async with database.transaction() as session:
            renewal = await _rotate(session, refresh_tokens, given.get_secret_value())
    except InvalidRefreshToken as refusal:
        metrics.refreshed(refusal.outcome)
        raise
    metrics.refreshed("rotated")
    return renewal


async def _rotate(session: Session, refresh_tokens: RefreshTokens, token: str) -> tuple[Caller, str]:
    """The caller whose token this is, and its successor. One statement decides whether it is used again."""
    used = await sessions.use_refresh_token(session, fingerprint(token))
    if used is None:
        raise InvalidRefreshToken
    if used.is_reused:
        await end_session(session, used.session_id)
        await audit.record(
            session,
            "token.reuse_detected",
            target_kind="session",
            target_id=used.session_id,
            data={"user_id": used.user_id},
        )
        raise ReusedRefreshToken
    if used.is_fresh:
        successor = refresh_tokens.successors(token)[0]
        await sessions.add_refresh_token(session, used.session_id, fingerprint(successor))
    else:
        successor = await _newest(session, refresh_tokens, used.session_id, token)
    await sessions.touch_session(session, used.session_id)
    return Caller(used.user_id, used.session_id, used.is_admin), successor


async def _newest(session: Session, refresh_tokens: RefreshTokens, session_id: int, token: str) -> str:
    """The token that ends the chain which begins with this rotated one: the only one not rotated yet.

    Its direct successor may have been used by another tab since. A caller who got that
    one would use it after its grace, as a thief would. The session is locked: the chain stays as it is.
    """
    while True:
        successors = {fingerprint(each): each for each in refresh_tokens.successors(token)}
        known = await sessions.get_known_token(session, session_id, list(successors))
        if known is None:
            # Its key was withdrawn within these seconds. Another successor would fork the chain.
            raise InvalidRefreshToken
        token = successors[known.hash]
        if not known.is_rotated:
            return token
