"""Who is calling: users by their sessions and access tokens, machines by their API keys.

Domains use what is imported here, `dependencies` in their routers, and `models` in their statements.
"""

from service.identity.callers import AnyCaller, Caller, KeyCaller, Scope
from service.identity.passwords import Passwords
from service.identity.repository import end_session, end_sessions, get_caller, lock_user
from service.identity.revocation import Revocations
from service.identity.service import authenticate_session, lock_own_account, reauthorize
from service.identity.tokens import ACCESS_TOKEN_SECONDS, AccessTokens

__all__ = (
    "ACCESS_TOKEN_SECONDS",
    "AccessTokens",
    "AnyCaller",
    "Caller",
    "KeyCaller",
    "Passwords",
    "Revocations",
    "Scope",
    "authenticate_session",
    "end_session",
    "end_sessions",
    "get_caller",
    "lock_own_account",
    "lock_user",
    "reauthorize",
)
