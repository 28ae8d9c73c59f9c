"""Who is calling, as far as a handler may ask: a signature says who may call it."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, OAuth2PasswordBearer

from service.dependencies.parts import Parts
from service.edge.context import WHO
from service.errors import Forbidden, InsufficientScope, InvalidToken, Unauthenticated
from service.schemas.api_keys import PREFIX
from service.security import AnyCaller, Caller, KeyCaller, Scope
from service.services import access

#: What the request's credentials have come to.
PRESENTED: Final = "presented"
#: Both document the schemes, so that Authorize works in the docs; reading the header is `get_caller`'s.
password_flow = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token", scheme_name="OAuth2", auto_error=False, description="Sign in."
)
api_key = HTTPBearer(
    bearerFormat=f"{PREFIX}...",
    scheme_name="ApiKey",
    auto_error=False,
    description="A machine's key, which needs the scope that is named.",
)


async def identify(request: Request, parts: Parts) -> AnyCaller | Unauthenticated | None:
    """The caller, or None without credentials; bad ones as a refusal: it is counted before it is raised.

    It is noted for `get_caller`, and for the log.
    """
    presented: AnyCaller | Unauthenticated | None
    state = request.scope["state"]
    try:
        presented = await _admitted(request, parts)
    except Unauthenticated as refusal:
        presented = refusal
    else:
        if presented is not None:
            known = {"key_id": presented.key_id} if isinstance(presented, KeyCaller) else {}
            state[WHO] = {"user_id": presented.user_id, **known}
    state[PRESENTED] = presented
    return presented


async def _admitted(request: Request, parts: Parts) -> AnyCaller | None:
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer":
        raise InvalidToken
    if token.startswith(PREFIX):
        return await parts.keys.admitted(parts.feed, token)
    named = parts.tokens.verify(token)
    if named is None:
        raise InvalidToken
    return await access.admitted(parts.database, parts.feed, parts.access, named)


async def get_caller(request: Request) -> AnyCaller | None:
    """The caller, or None without credentials. Bad ones are refused anywhere, on public routes too."""
    presented: AnyCaller | Unauthenticated | None = request.scope["state"][PRESENTED]
    if isinstance(presented, Unauthenticated):
        raise presented
    return presented


Identified = Annotated[AnyCaller | None, Depends(get_caller)]


async def get_anyone(caller: Identified) -> Caller | None:
    """On a public route a key opens nothing: it gets what everybody gets."""
    return caller if isinstance(caller, Caller) else None


async def get_signed_in(caller: Identified, _: Annotated[str | None, Depends(password_flow)]) -> Caller:
    if caller is None:
        raise Unauthenticated
    if isinstance(caller, KeyCaller):
        raise InsufficientScope(None)
    return caller


async def get_administrator(caller: Annotated[Caller, Depends(get_signed_in)]) -> Caller:
    if not caller.is_admin:
        raise Forbidden("Only administrators may do this.")
    return caller


def _signed_in_or_key(scope: Scope) -> Callable[..., Awaitable[AnyCaller]]:
    async def get_signed_in_or_key(
        caller: Identified,
        _: Annotated[str | None, Depends(password_flow)],
        __: Annotated[object, Security(api_key, scopes=[scope])],
    ) -> AnyCaller:
        if caller is None:
            raise Unauthenticated
        if isinstance(caller, KeyCaller) and not caller.may(scope):
            raise InsufficientScope(scope)
        return caller

    return get_signed_in_or_key


def _administrator_or_key(scope: Scope) -> Callable[..., Awaitable[AnyCaller]]:
    async def get_administrator_or_key(
        caller: Annotated[AnyCaller, Depends(_signed_in_or_key(scope))],
    ) -> AnyCaller:
        if not caller.may(scope):
            raise Forbidden("Only administrators may do this.")
        return caller

    return get_administrator_or_key


Anyone = Annotated[Caller | None, Depends(get_anyone)]
SignedIn = Annotated[Caller, Depends(get_signed_in)]
Administrator = Annotated[Caller, Depends(get_administrator)]

#: Anyone, where a key with catalogue:write sees what administrators see.
CatalogueReader = Identified
#: Administrators, and keys with the scope.
CatalogueWriter = Annotated[AnyCaller, Depends(_administrator_or_key("catalogue:write"))]
UsersReader = Annotated[AnyCaller, Depends(_administrator_or_key("users:read"))]
#: Anybody signed in, for what is theirs, and keys with the scope, for everybody's.
ProfileReader = Annotated[AnyCaller, Depends(_signed_in_or_key("users:read"))]
OrdersReader = Annotated[AnyCaller, Depends(_signed_in_or_key("orders:read"))]
OrdersWriter = Annotated[AnyCaller, Depends(_signed_in_or_key("orders:write"))]
#: Administrators, and keys with the scope.
OrdersKeeper = Annotated[AnyCaller, Depends(_administrator_or_key("orders:write"))]
