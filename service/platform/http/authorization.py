"""What every request of the API passes before its handler is asked for anything, and before its body is read.

The class of its route asks, and no dependency: the framework takes longer to solve one than these take
to decide, and reads the body before.
"""

from dataclasses import dataclass

from fastapi import Request

from service.identity import dependencies as caller
from service.identity.callers import AnyCaller
from service.identity.dependencies import Needs
from service.platform.http.openapi import Operation
from service.platform.http.rate_limit import dependencies as limits
from service.platform.http.validation import operation_of


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may call a route. `lenient`: bad credentials pass, for they are the handler's business."""

    needs: tuple[Needs, ...]
    lenient: bool

    async def admit(self, request: Request) -> Operation:
        """Under the caller's rate limit; who may not is told that, and nothing about what they sent."""
        await _count(request)
        operation = operation_of(request)
        await self._authorize(request)
        return operation

    async def confirm(self, request: Request) -> None:
        """Ask once more, after a wait. From memory, while the change feed is in sync: no query."""
        await caller.identify(request)
        await self._authorize(request)

    async def _authorize(self, request: Request) -> None:
        if self.lenient and not self.needs:
            return
        who = await caller.get_caller(request)
        for each in self.needs:
            each.check(request, who)


async def confirm(request: Request) -> None:
    """For what waits inside of a handler, such as for DNS: whether its caller may still do this.

    Raises Unauthenticated or Forbidden.
    """
    admission: Admission = request.scope["route"].admission
    await admission.confirm(request)


async def _count(request: Request) -> None:
    """By who is calling; bad credentials too. Where the database must be asked for that, before: past the
    limit nobody asks.
    """

    async def before_asking(who: AnyCaller | None) -> None:
        await limits.default(request, who, strict=who is None)

    await limits.default(request, await caller.identify(request, before_asking))
