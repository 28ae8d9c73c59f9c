"""Who is calling, as far as a handler may ask: a signature says who may call it."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import OAuth2PasswordBearer

from service.dependencies.parts import PartsDep
from service.errors import Forbidden, InvalidToken, Unauthenticated
from service.security import Caller
from service.services import access

#: Documents the scheme, so that Authorize works in the docs; reading the header is `get_caller`'s.
password_flow = OAuth2PasswordBearer(
    tokenUrl="/api/v1/auth/token", scheme_name="OAuth2", auto_error=False, description="Sign in."
)


async def get_caller(request: Request, parts: PartsDep) -> Caller | None:
    """The caller, or None without credentials. Bad ones are refused anywhere, on public routes too."""
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    named = parts.tokens.verify(token.strip()) if scheme.lower() == "bearer" else None
    if named is None:
        raise InvalidToken
    return await access.admitted(parts.database, parts.feed, parts.access, named)


async def get_signed_in(
    caller: Annotated[Caller | None, Depends(get_caller)],
    _: Annotated[str | None, Depends(password_flow)],
) -> Caller:
    if caller is None:
        raise Unauthenticated
    return caller


async def get_administrator(caller: Annotated[Caller, Depends(get_signed_in)]) -> Caller:
    if not caller.is_admin:
        raise Forbidden("Only administrators may do this.")
    return caller


Anyone = Annotated[Caller | None, Depends(get_caller)]
SignedIn = Annotated[Caller, Depends(get_signed_in)]
Administrator = Annotated[Caller, Depends(get_administrator)]
