"""Who is calling, as far as a handler may ask: a signature says who may call it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

from fastapi import Depends, Request, Security, params
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPBearer, OAuth2PasswordBearer

from service.accounts.api_keys.schemas import PREFIX
from service.errors import Forbidden, InsufficientScope, InvalidToken, Unauthenticated
from service.identity import revocation as access
from service.identity.callers import AnyCaller, Caller, KeyCaller, Scope
from service.identity.key_cache import Keys
from service.identity.revocation import Access
from service.identity.tokens import AccessTokens
from service.platform.database import Database
from service.platform.database.change_feed import ChangeFeed
from service.platform.http.components import component
from service.platform.http.context import WHO
from service.platform.http.rate_limit.policies import BeforeAsking

#: What the request's credentials have come to.
PRESENTED: Final = "presented"


async def identify(
    request: Request, before_asking: BeforeAsking | None = None
) -> AnyCaller | Unauthenticated | None:
    """The caller, or None without credentials; bad ones as a refusal: it is counted before it is raised.

    It is noted for `get_caller`, and for the log. Where the database must be asked, `before_asking` is
    awaited first.
    """
    presented: AnyCaller | Unauthenticated | None
    state = request.scope["state"]
    try:
        presented = await _admitted(request, before_asking)
    except Unauthenticated as refusal:
        presented = refusal
    else:
        if presented is not None:
            known = {"key_id": presented.key_id} if isinstance(presented, KeyCaller) else {}
            state[WHO] = {"user_id": presented.user_id, **known}
    state[PRESENTED] = presented
    return presented


async def _admitted(request: Request, before_asking: BeforeAsking | None) -> AnyCaller | None:
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer":
        raise InvalidToken
    if token.startswith(PREFIX):
        return await component(request, Keys).admitted(component(request, ChangeFeed), token, before_asking)
    named = component(request, AccessTokens).verify(token)
    if named is None:
        raise InvalidToken
    return await access.admitted(
        component(request, Database),
        component(request, ChangeFeed),
        component(request, Access),
        named,
        before_asking,
    )


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


class Needs(Protocol):
    """What a route asks of who calls it."""

    def check(self, request: Request, caller: AnyCaller | None) -> None:
        """Raises Unauthenticated or Forbidden."""


@dataclass(frozen=True, slots=True)
class Role:
    """Somebody signed in, or only administrators; and keys with the scope, if there is one."""

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


class Person(OAuth2PasswordBearer):
    """A dependency that names what a route needs: the class of the route has asked, before the body was read.

    It is the security scheme too, so that Authorize works in the docs.
    """

    def __init__(self, needs: Needs) -> None:
        super().__init__(
            tokenUrl="/api/v1/auth/token", scheme_name="OAuth2", auto_error=False, description="Sign in."
        )
        self.needs = needs

    async def __call__(self, request: Request) -> AnyCaller | None:  # type: ignore[override]  # not the token
        return await get_caller(request)


class Machine(HTTPBearer):
    """For the documentation alone, beside Person."""

    def __init__(self) -> None:
        super().__init__(
            bearerFormat=f"{PREFIX}...",
            scheme_name="ApiKey",
            auto_error=False,
            description="A machine's key, which needs the scope that is named.",
        )

    async def __call__(self, _: Request) -> None:  # type: ignore[override]  # it is not looked at
        return


def needs_of(dependant: Dependant) -> Iterator[Needs]:
    """What the dependencies of a handler ask of its caller."""
    needs: Needs | None = getattr(dependant.call, "needs", None)
    if needs is not None:
        yield needs
    for each in dependant.dependencies:
        yield from needs_of(each)


def _or_key(scope: Scope, *, administrators: bool = False) -> params.Depends:
    class PersonOrMachine(Person):
        async def __call__(  # type: ignore[override]  # the framework asks for what is named
            self, request: Request, _: Annotated[None, Security(Machine(), scopes=[scope])]
        ) -> AnyCaller | None:
            return await get_caller(request)

    return params.Depends(PersonOrMachine(Role(administrators, scope)))


Anyone = Annotated[Caller | None, Depends(get_anyone)]
SignedIn = Annotated[Caller, Depends(Person(Role()))]
Administrator = Annotated[Caller, Depends(Person(Role(administrators=True)))]

#: Anyone, where a key with catalogue:write sees what administrators see.
CatalogueReader = Identified
#: Administrators, and keys with the scope.
CatalogueWriter = Annotated[AnyCaller, _or_key("catalogue:write", administrators=True)]
UsersReader = Annotated[AnyCaller, _or_key("users:read", administrators=True)]
#: Anybody signed in, for what is theirs, and keys with the scope, for everybody's.
ProfileReader = Annotated[AnyCaller, _or_key("users:read")]
OrdersReader = Annotated[AnyCaller, _or_key("orders:read")]
OrdersWriter = Annotated[AnyCaller, _or_key("orders:write")]
#: Administrators, and keys with the scope.
OrdersKeeper = Annotated[AnyCaller, _or_key("orders:write", administrators=True)]
