"""A caller who may not see or send something learns that before what else is wrong with the request.

The handler's service refuses it anyway. It is asked here only once another error has been found, which would
otherwise be answered first: good requests pay nothing for it.
"""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.errors import ServiceError
from service.platform.database import Database, Session
from service.platform.http.authentication import caller_of
from service.platform.http.injection import component
from service.platform.http.schemas import MAX_ID

#: The errors of input, as they are raised, and their statuses.
INPUT_ERRORS: Final = (RequestValidationError, HTTPException, ServiceError)
STATUSES: Final = frozenset({400, 406, 413, 415, 422, 428})

Place = Literal["path", "query", "body"]
Check = Callable[[Session, Any, Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class AccessCheck:
    """Stands in the annotation of an id, of a body, or of a parameter of the query.

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
