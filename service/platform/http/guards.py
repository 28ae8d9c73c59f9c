"""What is not for the caller to see or to send is told before whatever else is wrong with a request.

The handler's service refuses it anyway. It is asked here only once a fault has been found, which would
otherwise be told first: good requests pay nothing for it.
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
from service.platform.http.components import component
from service.platform.http.schemas import MAX_ID

#: How what is wrong with a request is told, and with which statuses.
FAULTS: Final = (RequestValidationError, HTTPException, ServiceError)
STATUSES: Final = frozenset({400, 406, 413, 415, 422, 428})

Place = Literal["path", "query", "body"]
Check = Callable[[Session, Any, Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Guard:
    """Stands in the annotation of an id, of a body, or of a parameter of the query.

    `check` gets a session, the caller, and what was sent there, an id as a number and the rest as it came;
    it raises NotFound or Forbidden.
    """

    check: Check


@dataclass(frozen=True, slots=True)
class Guarded:
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


def guards_of(route: APIRoute) -> tuple[Guarded, ...]:
    return tuple(_guards(route))


def _guards(route: APIRoute) -> Iterator[Guarded]:
    for name, parameter in inspect.signature(route.endpoint).parameters.items():
        for guard in get_args(parameter.annotation):
            if isinstance(guard, Guard):
                yield Guarded(name, _place(route, name), guard.check)


def _place(route: APIRoute, name: str) -> Place:
    if name in route.param_convertors:
        return "path"
    return "body" if any(field.name == name for field in route.dependant.body_params) else "query"


async def refuse_first(request: Request, guards: tuple[Guarded, ...], fault: Exception) -> None:
    """Raises what any of the guards says against the caller, if it is a fault of what was sent."""
    if not guards or _status(fault) not in STATUSES:
        return
    caller = caller_of(request)
    async with component(request, Database).reading() as session:
        for guard in guards:
            sent = guard.sent(request)
            if sent is not None:
                await guard.check(session, caller, sent)


def _status(fault: Exception) -> int:
    if isinstance(fault, RequestValidationError):
        return 422
    return fault.status_code if isinstance(fault, HTTPException) else getattr(fault, "status", 500)
