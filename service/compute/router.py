"""A CPU load, to rehearse autoscaling and alerts on a slow event loop."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from service.compute.schemas import ComputeResult
from service.identity.dependencies import Administrator
from service.platform.http.openapi import problems
from service.platform.http.route import Route
from service.platform.http.schemas import DIGITS

router = APIRouter(route_class=Route, tags=["operations"])

MAX_CONCURRENCY: Final = 2
Count = Annotated[
    int, Query(ge=0, le=1_000_000, description="How many squares to add.", examples=[1000]), DIGITS
]


async def hold_slot(_: Administrator, n: Count) -> AsyncIterator[int]:
    """Held while the handler runs. Authorization and validation come first: a refusal does not wait."""
    yield n


#: A third request waits on the event loop, not in a thread; each process has its own slots.
Slot = Annotated[int, Depends(hold_slot, scope="function", max_concurrency=MAX_CONCURRENCY)]


@router.get("/compute", responses=problems(403))
def compute_squares(n: Slot) -> ComputeResult:
    """Compute the sum of the squares of 0 to n-1. It loads a CPU, to rehearse scaling and overload."""
    return ComputeResult(result=sum(i * i for i in range(n)))
