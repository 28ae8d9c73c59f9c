"""What every request of the API passes before its handler is asked for anything.

The class of its route asks, and no dependency: the framework takes longer to solve one than these take
to decide, and reads the body before.
"""

from fastapi import Request

from service.dependencies import caller, limits
from service.dependencies.contract import honour_contract
from service.dependencies.parts import parts_of


async def admit_anyone(request: Request) -> None:
    """Under the caller's rate limit, and as the documentation says. Bad credentials count, and pass: where
    tokens are got and given back they are the handler's business.
    """
    await _count(request)
    honour_contract(request)


async def admit(request: Request) -> None:
    """The same, but bad credentials are refused, also where nobody asks who is calling."""
    await _count(request)
    await caller.get_caller(request)
    honour_contract(request)


async def _count(request: Request) -> None:
    parts = parts_of(request)
    await limits.default(request, await caller.identify(request, parts), parts)
