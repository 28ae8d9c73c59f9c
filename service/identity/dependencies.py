"""Authentication for handlers: the annotation of `caller` says who may call."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request, Security, params
from fastapi.security import HTTPBearer, OAuth2PasswordBearer

from service.errors import Forbidden, InsufficientScope, InvalidToken, Unauthenticated
from service.identity import service as identity
from service.identity.api_keys.cache import ApiKeyCache
from service.identity.api_keys.format import PREFIX
from service.identity.callers import AnyCaller, Caller, KeyCaller, Scope
from service.identity.revocation import Revocations
from service.identity.tokens import AccessTokens
from service.platform.database import Database
from service.platform.database.change_feed import ChangeFeed
from service.platform.http import rate_limit as limits
from service.platform.http.access import AccessRule
from service.platform.http.request_state import BeforeLookup, caller_of


@dataclass(frozen=True, slots=True)
class BearerAuthenticator:
    """Access tokens and API keys, in the header Authorization (RFC 6750)."""

    database: Database
    feed: ChangeFeed
    revocations: Revocations
    api_keys: ApiKeyCache
    tokens: AccessTokens

    async def authenticate(
        self, request: Request, before_lookup: BeforeLookup | None = None
    ) -> AnyCaller | None:
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return None
        token = _token(authorization)
        if token is None:
            raise InvalidToken
        if token.startswith(PREFIX):
            return await identity.authenticate_key(
                self.database, self.feed, self.api_keys, token, before_lookup
            )
        claimed = self.tokens.verify(token)
        if claimed is None:
            raise InvalidToken
        return await identity.authenticate_session(
            self.database, self.feed, self.revocations, claimed, before_lookup
        )

    def known(self, authorization: str) -> AnyCaller | None:
        """The caller of credentials that this process has seen to be good, if it knows without a query that
        their access holds; else None.
        """
        token = _token(authorization)
        if token is None or not self.feed.has_lease:
            return None
        if token.startswith(PREFIX):
            return identity.known_key(self.api_keys, token)
        claimed = self.tokens.verified(token)
        with suppress(InvalidToken):
            return claimed and self.revocations.apply(claimed)
        return None


def _token(authorization: str) -> str | None:
    """The bearer token in the header; None for another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def get_caller(request: Request) -> AnyCaller | None:
    """The caller, or None without credentials. Bad ones are refused everywhere, on public routes too."""
    return cast("AnyCaller | None", caller_of(request))


Identified = Annotated[AnyCaller | None, Depends(get_caller)]


async def get_anyone(caller: Identified) -> Caller | None:
    """On a public route an API key gets what a client without credentials gets."""
    return caller if isinstance(caller, Caller) else None


@dataclass(frozen=True, slots=True)
class Role:
    """An access rule: signed-in users, or only administrators; and keys with the scope, if there is one."""

    administrators: bool = False
    scope: Scope | None = None

    def check(self, _: Request, caller: AnyCaller | None) -> None:
        if caller is None:
            raise Unauthenticated
        if isinstance(caller, KeyCaller):
            if self.scope is None or not caller.may(self.scope):
                raise InsufficientScope(self.scope)
        elif self.administrators and not caller.is_admin:
            raise Forbidden("Only administrators may do this.")


class UserToken(OAuth2PasswordBearer):
    """A dependency that states a route's access rule, which the route class checks before the body is read.

    It is the security scheme too, so that Authorize works in the docs.
    """

    def __init__(self, access_rule: AccessRule) -> None:
        super().__init__(
            tokenUrl="/api/v1/auth/token",
            scheme_name="OAuth2",
            auto_error=False,
            description="An access token of a signed-in user.",
        )
        self.access_rule = access_rule

    async def __call__(self, request: Request) -> AnyCaller | None:  # type: ignore[override]  # not the token
        return await get_caller(request)


class ApiKeyToken(HTTPBearer):
    """The security scheme of API keys, for the OpenAPI document."""

    def __init__(self) -> None:
        super().__init__(
            bearerFormat=f"{PREFIX}...",
            scheme_name="ApiKey",
            auto_error=False,
            description="An API key of a machine, with the scope that the operation requires.",
        )

    async def __call__(self, _: Request) -> None:  # type: ignore[override]  # it is not looked at
        return


def _user_or_api_key(scope: Scope, *, administrators: bool = False) -> params.Depends:
    class UserOrApiKey(UserToken):
        async def __call__(  # type: ignore[override]  # the framework asks for what is named
            self, request: Request, _: Annotated[None, Security(ApiKeyToken(), scopes=[scope])]
        ) -> AnyCaller | None:
            return await get_caller(request)

    return params.Depends(UserOrApiKey(Role(administrators, scope)))


Anyone = Annotated[Caller | None, Depends(get_anyone)]
SignedIn = Annotated[Caller, Depends(UserToken(Role()))]
Administrator = Annotated[Caller, Depends(UserToken(Role(administrators=True)))]

#: Every client; a key with catalogue:write sees what administrators see.
CatalogueReader = Identified
#: Administrators, and keys with the scope.
CatalogueWriter = Annotated[AnyCaller, _user_or_api_key("catalogue:write", administrators=True)]
UsersReader = Annotated[AnyCaller, _user_or_api_key("users:read", administrators=True)]
#: Signed-in users, for their own resources; and keys with the scope, for those of all users.
ProfileReader = Annotated[AnyCaller, _user_or_api_key("users:read")]
OrdersReader = Annotated[AnyCaller, _user_or_api_key("orders:read")]
OrdersWriter = Annotated[AnyCaller, _user_or_api_key("orders:write")]
#: Administrators, and keys with the scope.
OrdersAdministrator = Annotated[AnyCaller, _user_or_api_key("orders:write", administrators=True)]


async def limit_registration(request: Request, caller: Anyone) -> None:
    """Administrators, who enter customers, have the default rate limit alone."""
    if caller is None or not caller.is_admin:
        await limits.hit(request, "register", limits.client())
