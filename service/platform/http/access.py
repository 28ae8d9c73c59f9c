"""Who is calling, and whether that caller may use a route: decided before the route's handler is called, and
before the body is read. service.identity.dependencies finds out who it is.

The route class asks, and no dependency: FastAPI takes longer to solve one than this takes to decide, and
reads the body first.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, get_args

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.errors import ServiceError, Unauthenticated
from service.platform.database import Database, Session
from service.platform.http import rate_limit as limits
from service.platform.http.injection import Authenticator, component
from service.platform.http.openapi import Operation
from service.platform.http.request_state import BeforeLookup, Caller, caller_of, state_of
from service.platform.http.schemas import MAX_ID

#: The errors of input, as they are raised, and their statuses.
INPUT_ERRORS: Final = (RequestValidationError, HTTPException, ServiceError)
STATUSES: Final = frozenset({400, 406, 413, 415, 422, 428})

Place = Literal["path", "query", "body"]
Check = Callable[[Session, Any, Any], Awaitable[object]]


async def authenticate(
    request: Request, before_lookup: BeforeLookup | None = None
) -> Caller | Unauthenticated | None:
    """The caller, noted for `caller_of` and the log; bad credentials as the refusal, not raised yet."""
    authenticator: Authenticator = request.app.state.container.authenticator
    state = state_of(request.scope)
    try:
        caller = await authenticator.authenticate(request, before_lookup)
    except Unauthenticated as refusal:
        state.unauthenticated = refusal
        return refusal
    state.caller, state.unauthenticated = caller, None
    return caller


class AccessRule(Protocol):
    """What a route requires of its caller. A dependency states it by its attribute `access_rule`."""

    def check(self, request: Request, caller: Any) -> None:
        """Raises Unauthenticated or Forbidden. `caller` is what the authenticator has returned."""


def access_rules(dependant: Dependant) -> Iterator[AccessRule]:
    """The rules that the dependencies of a handler state."""
    rule: AccessRule | None = getattr(dependant.call, "access_rule", None)
    if rule is not None:
        yield rule
    for each in dependant.dependencies:
        yield from access_rules(each)


@dataclass(frozen=True, slots=True)
class Authorization:
    """The rules of one route. `lenient`: the handler itself deals with bad credentials."""

    rules: tuple[AccessRule, ...]
    lenient: bool

    async def authorize(self, request: Request, operation: Operation) -> None:
        """Within the caller's rate limit. A caller who may not learns that, and nothing about the input."""
        await _authenticate(request)
        if request.scope["path"] in operation.elsewhere:
            raise HTTPException(405)
        self._check(request)

    async def confirm(self, request: Request) -> None:
        """Check again after a wait: rights may have ended. No query while the change feed is in sync."""
        await authenticate(request)
        self._check(request)

    def _check(self, request: Request) -> None:
        if self.lenient and not self.rules:
            return
        caller = caller_of(request)
        for rule in self.rules:
            rule.check(request, caller)


async def confirm(request: Request) -> None:
    """For a handler that has waited, such as for DNS: whether its caller may still do this.

    Raises Unauthenticated or Forbidden.
    """
    authorization: Authorization = request.scope["route"].authorization
    await authorization.confirm(request)


async def _authenticate(request: Request) -> None:
    """Count the request by its caller; one with bad credentials by its address. Where the database must be
    asked who is calling, count before: over its limit a client causes no query.
    """

    async def before_lookup(caller: Caller | None) -> None:
        await limits.default(request, caller, strict=caller is None)

    await limits.default(request, await authenticate(request, before_lookup))


@dataclass(frozen=True, slots=True)
class AccessCheck:
    """Stands in the annotation of an id, of a body, or of a parameter of the query: a caller who may not
    see or send something learns that before what else is wrong with the request.

    The handler's service refuses it anyway. It is asked here only once another error has been found, which
    would otherwise be answered first: good requests pay nothing for it.

    `check` gets a session, the caller, and what was sent there, an id as a number and the rest as it came;
    it raises NotFound or Forbidden.
    """

    check: Check


@dataclass(frozen=True, slots=True)
class PlacedCheck:
    name: str
    place: Place
    check: Check

    def sent(self, request: Request) -> Any:
        """What was sent there; None where that is nothing, or no id."""
        if self.place == "body":
            return getattr(request, "parsed", None)
        if self.place == "query":
            return request.query_params.get(self.name)
        text = request.path_params[self.name]
        number = int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else 0
        return number if 0 < number <= MAX_ID else None


def access_checks(route: APIRoute) -> Iterator[PlacedCheck]:
    for name, parameter in inspect.signature(route.endpoint).parameters.items():
        for mark in get_args(parameter.annotation):
            if isinstance(mark, AccessCheck):
                yield PlacedCheck(name, _place(route, name), mark.check)


def _place(route: APIRoute, name: str) -> Place:
    if name in route.param_convertors:
        return "path"
    return "body" if any(field.name == name for field in route.dependant.body_params) else "query"


async def check_access(request: Request, checks: tuple[PlacedCheck, ...], error: Exception) -> None:
    """Raises what any of the checks says against the caller, if `error` is one of input."""
    if not checks or _status(error) not in STATUSES:
        return
    caller = caller_of(request)
    async with component(request, Database).reading() as session:
        for each in checks:
            sent = each.sent(request)
            if sent is not None:
                await each.check(session, caller, sent)


def _status(error: Exception) -> int:
    if isinstance(error, RequestValidationError):
        return 422
    return error.status_code if isinstance(error, HTTPException) else getattr(error, "status", 500)
