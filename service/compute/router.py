"""A CPU load, to rehearse autoscaling and alerts on a slow event loop."""

from typing import Annotated

from fastapi import Query

from service.compute.schemas import ComputeResult
from service.compute.service import Squares
from service.identity.dependencies import Administrator
from service.platform.http.injection import Component
from service.platform.http.openapi import problems
from service.platform.http.route import api_router
from service.platform.http.schemas import DIGITS

router = api_router(tags=["operations"])

Count = Annotated[
    int, Query(ge=0, le=1_000_000, description="How many squares to add.", examples=[1000]), DIGITS
]


@router.get("/compute", responses=problems(403))
async def compute_squares(
    _: Administrator, n: Count, squares: Annotated[Squares, Component]
) -> ComputeResult:
    """Compute the sum of the squares of 0 to n-1. It loads a CPU, to rehearse scaling and overload."""
    return ComputeResult(result=await squares.add(n))
