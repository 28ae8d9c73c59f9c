"""Who is calling: users by their sessions and access tokens, machines by their API keys.

Domains use what is imported here, `dependencies` in their routers, and `models` in their statements.
"""

from service.identity.api_keys.format import new_key as new_api_key
from service.identity.callers import AnyCaller, Caller, KeyCaller, Scope
from service.identity.password_hashing import Passwords
from service.identity.repository import end_session, end_sessions, get_caller, lock_user
from service.identity.revocation import Revocations
from service.identity.service import authenticate_session, lock_own_account, reauthorize
from service.identity.tokens import ACCESS_TOKEN_SECONDS, AccessTokens, Pseudonyms, RefreshTokens

__all__ = (
    "ACCESS_TOKEN_SECONDS",
    "AccessTokens",
    "AnyCaller",
    "Caller",
    "KeyCaller",
    "Passwords",
    "Pseudonyms",
    "RefreshTokens",
    "Revocations",
    "Scope",
    "authenticate_session",
    "end_session",
    "end_sessions",
    "get_caller",
    "lock_own_account",
    "lock_user",
    "new_api_key",
    "reauthorize",
)
