"""Whether a caller may use a route: decided before its handler is called, and before the body is read.

The route class asks, and no dependency: FastAPI takes longer to solve one than this takes to decide, and
reads the body first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import Request
from fastapi.dependencies.models import Dependant

from service.platform.http.authentication import Caller, authenticate, caller_of
from service.platform.http.openapi import Operation
from service.platform.http.openapi_validation import operation_of
from service.platform.http.rate_limit import dependencies as limits


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

    async def authorize(self, request: Request) -> Operation:
        """Within the caller's rate limit. A caller who may not learns that, and nothing about the input."""
        await _authenticate(request)
        operation = operation_of(request)
        self._check(request)
        return operation

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
