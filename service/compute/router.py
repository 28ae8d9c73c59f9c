"""CPU load on purpose: for rehearsing autoscaling and alerts on a slow event loop."""

from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query

from service.identity.dependencies import Administrator
from service.operations.schemas import ComputeResult
from service.platform.http.openapi import problems
from service.platform.http.route import Route
from service.platform.http.schemas import DIGITS

router = APIRouter(route_class=Route, tags=["operations"])

AT_ONCE: Final = 2
Count = Annotated[
    int, Query(ge=0, le=1_000_000, description="How many squares to add up.", examples=[1000]), DIGITS
]


async def hold_place(_: Administrator, n: Count) -> AsyncIterator[int]:
    """Held while the handler runs. The caller and `n` are checked first: a refusal waits for nobody."""
    yield n


#: Whoever comes third waits on the event loop, not in a thread; each process has its own places.
Place = Annotated[int, Depends(hold_place, scope="function", max_concurrency=AT_ONCE)]


@router.get("/compute", responses=problems(403))
def compute_squares(n: Place) -> ComputeResult:
    """Compute a sum of squares, of 0 to n-1, in a thread: a CPU load for rehearsals."""
    return ComputeResult(result=sum(i * i for i in range(n)))
