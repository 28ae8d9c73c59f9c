"""Authentication for handlers: the annotation of `caller` says who may call."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final, cast

from fastapi import Depends, Request, Security, params
from fastapi.security import HTTPBearer, OAuth2PasswordBearer

from service.errors import Forbidden, InsufficientScope, InvalidToken, Unauthenticated
from service.identity import service as identity
from service.identity.api_keys.cache import ApiKeyCache
from service.identity.api_keys.format import PREFIX
from service.identity.callers import KEY_SCOPES, AnyCaller, Caller, KeyCaller, KeyScope, Scope
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


#: What each scope opens, in the OpenAPI document.
OPENS: Final[dict[str, str]] = {
    "catalogue:read": "Stock, reorder levels and withdrawn items",
    "catalogue:write": "Creating and changing items and stock",
    "orders:read": "The orders of all customers",
    "orders:write": "Placing and changing orders of all customers",
    "users:read": "All users",
    "users:write": "Creating, activating and deactivating users",
    "posts:read": "Pending posts of all users",
    "posts:write": "Publishing and changing posts of all users",
    "webhooks:read": "Webhooks and their deliveries",
    "webhooks:write": "Creating and changing webhooks",
    "keys:read": "API keys, without the keys themselves",
    "keys:write": "Creating, changing and revoking API keys",
    "staff:read": "Who has which scopes",
    "staff:write": "Giving and taking scopes",
    "events:read": "The event feed",
    "audit:read": "The audit log",
}
#: Scopes that together admit a caller; of several such, any.
Ways = tuple[tuple[Scope, ...], ...]


async def get_posts_reader(caller: Identified) -> AnyCaller | None:
    """The same, but a key with posts:read gets what staff get."""
    return caller if isinstance(caller, Caller) or (caller and caller.may("posts:read")) else None


@dataclass(frozen=True, slots=True)
class Role:
    """An access rule: users and keys with the scopes of one of these ways. With `own` all signed-in users,
    for what is theirs.
    """

    ways: Ways = ()
    own: bool = False

    @property
    def key_scope(self) -> Scope | None:
        """The scope with which a key is admitted, if any is."""
        return next((way[0] for way in self.ways if len(way) == 1 and way[0] in KEY_SCOPES), None)

    def check(self, _: Request, caller: AnyCaller | None) -> None:
        if caller is None:
            raise Unauthenticated
        if isinstance(caller, KeyCaller):
            if self.key_scope is None or not caller.may(self.key_scope):
                raise InsufficientScope(self.key_scope)
        elif not self.own:
            self._check_user(caller)

    def _check_user(self, caller: Caller) -> None:
        if not self.ways:
            if not caller.is_admin:
                raise Forbidden("Only administrators may do this.")
        elif not any(all(map(caller.may, way)) for way in self.ways):
            needed = " or ".join(" and ".join(way) for way in self.ways)
            raise Forbidden(f"Only administrators and staff with the scope {needed} may do this.")


class UserToken(OAuth2PasswordBearer):
    """A dependency that states a route's access rule, which the route class checks before the body is read.

    It is the security scheme too, so that Authorize works in the docs.
    """

    def __init__(self, access_rule: AccessRule) -> None:
        super().__init__(
            tokenUrl="/api/v1/auth/token",
            scheme_name="OAuth2",
            auto_error=False,
            scopes=OPENS,
            description="An access token of a signed-in user, which has all scopes of that user.",
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


def _user(rule: Role) -> params.Depends:
    """Where no key is admitted. A further way stands in the route's `openapi_extra`."""
    return params.Security(UserToken(rule), scopes=rule.ways[0] if rule.ways else ())


def _user_or_api_key(scope: KeyScope, *, own: bool = False) -> params.Depends:
    """`own`: all signed-in users too, for what is theirs."""
    rule = Role(((scope,),), own)

    class UserOrApiKey(UserToken):
        async def __call__(  # type: ignore[override]  # the framework asks for what is named
            self, request: Request, _: Annotated[None, Security(ApiKeyToken(), scopes=[scope])]
        ) -> AnyCaller | None:
            return await get_caller(request)

    return params.Security(UserOrApiKey(rule), scopes=() if own else (scope,))


Anyone = Annotated[Caller | None, Depends(get_anyone)]
SignedIn = Annotated[Caller, _user(Role(own=True))]
#: For what no scope opens.
Administrator = Annotated[Caller, _user(Role())]

#: Every client; with catalogue:read also what is withdrawn.
ItemsReader = Identified
#: Every client; authors also their own pending posts, and with posts:read all.
PostsReader = Annotated[AnyCaller | None, Depends(get_posts_reader)]
CatalogueReader = Annotated[AnyCaller, _user_or_api_key("catalogue:read")]
CatalogueWriter = Annotated[AnyCaller, _user_or_api_key("catalogue:write")]
EventsReader = Annotated[AnyCaller, _user_or_api_key("events:read")]
UsersReader = Annotated[AnyCaller, _user_or_api_key("users:read")]
#: Those of all customers.
AllOrdersReader = Annotated[AnyCaller, _user_or_api_key("orders:read")]
AllOrdersWriter = Annotated[AnyCaller, _user_or_api_key("orders:write")]
#: Signed-in users, for their own resources; with the scope for those of all users.
ProfileReader = Annotated[AnyCaller, _user_or_api_key("users:read", own=True)]
OrdersReader = Annotated[AnyCaller, _user_or_api_key("orders:read", own=True)]
OrdersWriter = Annotated[AnyCaller, _user_or_api_key("orders:write", own=True)]

#: Users alone: a machine administers neither persons nor keys nor where events are sent.
PostsWriter = Annotated[Caller, _user(Role((("posts:write",),)))]
WebhooksReader = Annotated[Caller, _user(Role((("webhooks:read",),)))]
WebhooksWriter = Annotated[Caller, _user(Role((("webhooks:write",),)))]
KeysReader = Annotated[Caller, _user(Role((("keys:read",),)))]
KeysWriter = Annotated[Caller, _user(Role((("keys:write",),)))]
StaffReader = Annotated[Caller, _user(Role((("staff:read",),)))]
#: Of an account its state, or what its user may.
UsersOrStaffWriter = Annotated[Caller, _user(Role((("users:write",), ("staff:write",))))]
#: Files of all of these.
Importer = Annotated[Caller, _user(Role((("catalogue:write", "orders:write", "users:write"),)))]
AuditReader = Annotated[Caller, _user(Role((("audit:read",),)))]


async def limit_registration(request: Request, caller: Anyone) -> None:
    """Staff who enter customers have the default rate limit alone."""
    if caller is None or not caller.may("users:write"):
        await limits.hit(request, "register", limits.client())
